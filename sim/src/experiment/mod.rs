//! Strategies times replications, and what they add up to.

pub mod summary;
