//! Evenkeel's simulator.

pub mod balancer;
pub mod conformance;
pub mod engine;
pub mod health;
pub mod ids;
pub mod population;
pub mod table;
pub mod tier;
