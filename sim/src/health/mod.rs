//! Who is taken for dead: passive rules (nginx) and active checks (keepalived, HAProxy).

pub mod active;
pub mod haproxy;
pub mod keepalived;
pub mod passive;

pub use haproxy::{HaproxyCheck, HaproxyHealth};
pub use passive::{PassiveRule, PassiveWindow};
