//! Servers: their queues, their discipline, what they have done.

pub mod servers;

use crate::engine::Distribution;

/// What a server can do.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// In which order work is done.
    pub discipline: Discipline,
    /// Service demand of a request \[s\].
    pub service: Distribution,
}

/// In which order work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// First come, first served by a number of workers.
    Fcfs {
        /// Requests served at a time, at least 1.
        workers: u32,
        /// Requests that may wait; one more is answered with 503. `None`: no limit.
        queue_limit: Option<u32>,
    },
    /// Processor sharing: all requests at once, each slowed by the number of others.
    ProcessorSharing {
        /// Requests at a time that are served at full speed (cores), at least 1.
        cores: u32,
        /// Requests at a time; one more is answered with 503. `None`: no limit.
        limit: Option<u32>,
    },
}
