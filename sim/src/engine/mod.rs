//! Events in order, and nothing about the web: time, the pending-event set, random numbers, distributions and the
//! loop that drives a [`Model`].

pub mod distribution;
mod elementary;
pub mod empirical;
mod normal;
pub mod queue;
pub mod rng;
mod sampler;
pub mod simulation;
pub mod time;

pub use distribution::Distribution;
pub use empirical::Empirical;
pub use queue::{Ladder, PendingEvents, QuadHeap};
pub use rng::{Draws, Stream};
pub use sampler::Sampler;
pub use simulation::{Model, Scheduler, Simulation};
pub use time::{SimDuration, SimTime};
