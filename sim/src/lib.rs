//! Evenkeel's simulator.

pub mod backend;
pub mod balancer;
pub mod conformance;
pub mod engine;
pub mod experiment;
pub mod ids;
pub mod metrics;
pub mod population;
pub mod scenario;
pub mod session;
pub mod table;
pub mod tier;
