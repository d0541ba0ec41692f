//! What a balancer holds of its servers' health, change by change: what times of detection and recovery are told from.

use crate::engine::SimTime;
use crate::ids::ServerId;

/// What health makes of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It gets new clients, as far as health goes.
    In,
    /// It was taken out.
    Out,
    /// It is out until it has passed a first check.
    Untried,
}

/// A change of a server's standing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// When.
    pub at: SimTime,
    /// Who holds it so: the worker of an nginx whose workers do not share their state, else 0.
    pub view: u16,
    /// The server.
    pub server: ServerId,
    /// How it stands from then on.
    pub standing: Standing,
}

impl Verdict {
    /// A server is out from now on, or in again.
    pub fn new(at: SimTime, view: u16, server: ServerId, out: bool) -> Self {
        Self { at, view, server, standing: if out { Standing::Out } else { Standing::In } }
    }
}
