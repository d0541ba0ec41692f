//! Who is taken for dead: passive rules (nginx) and active checks (keepalived).

pub mod active;
pub mod passive;

pub use passive::{PassiveRule, PassiveWindow};
