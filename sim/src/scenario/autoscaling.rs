//! A controller that puts servers into service and takes them out as they are busy.
//!
//! Its rule is that of Kubernetes' horizontal pod autoscaler (`pkg/controller/podautoscaler`), whose target tracking is that of the
//! clouds' groups of machines, too; [`crate::cluster`] carries it out.

use super::faults::{Fault, FaultKind, Part, Recurs};
use crate::engine::{Distribution, SimDuration};
use crate::ids::ServerId;

/// Which servers come and go, and by what.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscaling {
    /// The group, in configuration order: servers go into service from its beginning, and out of it from its end.
    pub servers: Vec<ServerId>,
    /// Servers of the group in service at least, 1 or more.
    pub min: u32,
    /// Servers of the group at most, not fewer than `min` nor more than there are.
    pub max: u32,
    /// Servers of the group in service when the run begins, `min` to `max`.
    pub initial: u32,
    /// What it keeps, on average over the group.
    pub target: ScalingTarget,
    /// From one look at the servers to the next.
    pub period: SimDuration,
    /// Share by which what is seen may differ from the target without an act; 0 or more.
    pub tolerance: f64,
    /// Time after a server was asked for in which no other is.
    pub scale_out_cooldown: SimDuration,
    /// How far back it looks before it takes servers out: as many stay as were wanted at any time within.
    pub scale_in_stabilisation: SimDuration,
    /// From the decision to have another server until it is in service \[s\].
    pub boot: Distribution,
    /// How long a server is drained before its processes end.
    pub drain: SimDuration,
}

impl Autoscaling {
    /// Its line among the faults, by which what it does is told and blamed.
    pub fn as_fault(&self) -> Fault {
        Fault {
            at: SimDuration::ZERO,
            recurs: Recurs::Never,
            lasts: SimDuration::ZERO,
            part: Part::Servers { servers: self.servers.clone(), zone: None },
            kind: FaultKind::Autoscaling,
        }
    }
}

/// What an autoscaler keeps.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ScalingTarget {
    /// Busy share of the workers; above 0, at most 1.
    Utilisation(f64),
    /// Requests at a server, waiting or in service; above 0.
    InFlight(f64),
}

impl ScalingTarget {
    /// Its name in scenarios.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utilisation(_) => "utilisation",
            Self::InFlight(_) => "in_flight",
        }
    }

    /// Its value.
    pub fn value(self) -> f64 {
        let (Self::Utilisation(value) | Self::InFlight(value)) = self;
        value
    }
}
