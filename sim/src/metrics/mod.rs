//! What is measured: the catalogue of metrics, the counters of a run, fairness, losses by cause.

pub mod catalogue;
pub mod loss;

pub use catalogue::{Direction, Metric, MetricId, Phase, Unit};
pub use loss::LossCause;
