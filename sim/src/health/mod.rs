//! How a program finds out that a server does not work.

pub mod passive;

pub use passive::{PassiveRule, PassiveWindow};
