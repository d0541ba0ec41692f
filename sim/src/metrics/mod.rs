//! What is measured: the catalogue of metrics, the counters of a run, fairness, losses by cause.

mod calendar;
pub mod catalogue;
mod failure;
pub mod fairness;
pub mod health_counts;
pub mod histogram;
mod ledger;
pub mod loss;
pub mod measure;
pub mod outages;
pub(crate) mod quantiles;
pub mod recorder;
mod station;
mod stretch;
pub mod tier_counts;

pub use catalogue::{Direction, Metric, Phase, Unit};
pub use fairness::Fairness;
pub use histogram::Histogram;
pub use loss::LossCause;
pub use quantiles::{MetricId, Timed};
