//! Evenkeel's simulator.

pub mod backend;
pub mod balancer;
pub mod cluster;
pub mod conformance;
pub mod engine;
pub mod experiment;
pub mod health;
pub mod ids;
pub mod metrics;
pub mod population;
pub mod scenario;
pub mod session;
pub mod table;
pub mod tier;
