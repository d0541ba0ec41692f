//! Who is taken for dead: passive rules (nginx, Envoy) and active checks (keepalived, HAProxy).

pub mod haproxy;
pub mod keepalived;
pub mod outlier;
pub mod passive;
pub mod verdict;

pub use haproxy::{HaproxyCheck, HaproxyHealth};
pub use outlier::{OutlierDetection, Outliers, SuccessRate};
pub use passive::{PassiveRule, PassiveWindow};
pub use verdict::{Standing, Verdict};
