//! The fault language: what befalls which part, when, and how often.
//!
//! The three are independent of each other: any kind can come once, again and again, or at random, and be about one server,
//! several, or a zone. Faults may overlap. What a server suffers at a time is then a function of all that last: it is down as
//! long as any of them keeps it down, factors multiply, and shares of what goes wrong add up as independent ones do.

use crate::engine::{Distribution, SimDuration};
use crate::ids::ServerId;

/// Something that breaks, or that an operator does.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When it begins, from the end of the warm-up; one that comes at random does not come before.
    pub at: SimDuration,
    /// Whether it comes again.
    pub recurs: Recurs,
    /// How long it lasts each time; zero for what takes no time, lasts to the end of the run, or is drawn.
    pub lasts: SimDuration,
    /// What it is about.
    pub part: Part,
    /// What it is.
    pub kind: FaultKind,
}

/// Whether a fault comes again.
#[derive(Clone, Debug, PartialEq)]
pub enum Recurs {
    /// It comes once.
    Never,
    /// It comes again after this time, counted from beginning to beginning.
    Every {
        /// From one beginning to the next, longer than the fault lasts.
        period: SimDuration,
        /// How often in all, at least 1; `None`: to the end of the run.
        times: Option<u32>,
    },
    /// It comes and goes at random, for each server by itself, but for all of a zone together. The first time up is drawn from
    /// the residual law, so that the part is met at any point of its life.
    Random {
        /// `mtbf`: time from the end of one to the beginning of the next.
        mtbf: Distribution,
        /// `mttr`: how long it lasts.
        mttr: Distribution,
    },
}

/// What a fault is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// No part in particular.
    Site,
    /// Servers, in configuration order; at least one.
    Servers {
        /// Which.
        servers: Vec<ServerId>,
        /// The zone by whose name they were called.
        zone: Option<String>,
    },
    /// A node of the session store: of MySQL and Redis first the primary (of each shard in turn), then its replicas; of a cache
    /// with write-behind the cache is 0 and the database 1. Strategies whose store has no such node notice nothing.
    StoreNode(u32),
    /// An instance of a tier: its place among [`super::Scenario::instances`]. Strategies without such an instance notice nothing.
    Instance(u16),
    /// The link between clients and the site.
    Clients,
    /// The links from servers to nodes of the session store. Strategies whose store has no such node notice nothing.
    StoreLinks {
        /// From which servers.
        servers: Vec<ServerId>,
        /// The zone by whose name they were called.
        zone: Option<String>,
        /// To which node; `None`: to all.
        node: Option<u32>,
    },
    /// The links from a node of the session store to the others.
    Replication(u32),
    /// A disk, or whatever else servers and nodes of the session store share: what befalls it befalls all of them together.
    Disk {
        /// The servers on it.
        servers: Vec<ServerId>,
        /// The nodes of the session store on it.
        nodes: Vec<u32>,
    },
}

/// Answers that are errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorRule {
    /// Share of requests that are answered so, above 0 and at most 1.
    pub share: f64,
    /// Their status, 400 to 599.
    pub status: u16,
    /// How long a worker takes for one.
    pub latency: SimDuration,
}

/// A process on an instance's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// The instance's own: an nginx, an HAProxy, another proxy.
    Balancer,
    /// keepalived, which speaks VRRP for it and checks a director's servers.
    Keepalived,
}

impl Process {
    /// Its name in scenarios.
    pub fn name(self) -> &'static str {
        match self {
            Self::Balancer => "balancer",
            Self::Keepalived => "keepalived",
        }
    }
}

/// What can break, or be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// A server's processes die, its memory is lost, and its port refuses connections until it is back. Of an instance: its machine
    /// dies, what it knew is lost, and packets to it vanish.
    Crash,
    /// A process on an instance's machine is killed, and its machine lives.
    Kill {
        /// Which.
        process: Process,
    },
    /// A node of the session store dies.
    StoreCrash {
        /// Whether its machine loses power, and with it what was not flushed to the disk; else only its process dies.
        power_loss: bool,
    },
    /// An operator restarts a server: as a crash, but on purpose.
    Restart,
    /// A server's processes stand still: its kernel accepts connections until its backlog is full, and nobody answers.
    Hang,
    /// Of a server: nothing gets through between it and its balancer, and neither end is told. Of an instance: the directors of its
    /// pair no longer hear each other, while clients reach both. Of a link: nothing gets through on it.
    Partition,
    /// All that goes over a link, or between a server and its balancer, takes longer.
    Delay {
        /// By how much, each way.
        each_way: SimDuration,
    },
    /// A server takes longer for everything.
    Slow {
        /// How many times as long; above 0.
        factor: f64,
    },
    /// A server answers some requests with an error, after a time that has nothing to do with what they asked for.
    Errors(ErrorRule),
    /// Packets between a server and its balancer are lost, or between clients and the site.
    Loss {
        /// Share of packets that are lost, above 0 and below 1.
        share: f64,
    },
    /// A server slows down as it gets busy: garbage collection, swapping, lock contention. It is no fault of any moment but one of
    /// load, and goes away with it.
    BrownOut {
        /// Share of busy workers above which it is slow, 0 to 1.
        above: f64,
        /// How many times as long a request takes then; above 0.
        factor: f64,
    },
    /// An operator keeps new clients from a server (`set server … state drain`, `ipvsadm -e -w 0`). nginx cannot do that before
    /// 1.29.6, and is reloaded with `down`.
    Drain {
        /// After which time the server is taken out, whoever is still there.
        deadline: Option<SimDuration>,
    },
    /// An operator takes a server out (`set server … state maint`, `ipvsadm -d`, a reload of nginx with `down`).
    Down,
    /// An operator changes a server's weight (`set server … weight`, `ipvsadm -e -w`, a reload of nginx).
    Weight {
        /// The weight; 0 keeps new clients away.
        to: u32,
    },
    /// nginx is reloaded with the configuration that it has: all it knows of its servers is forgotten. The other programs change at
    /// run time and have no use for it.
    Reload,
    /// An operator restarts servers batch by batch, in configuration order: each batch is drained, then restarted.
    Deploy {
        /// Servers at a time, at least 1.
        batch: u32,
        /// How long a batch is drained before its restart.
        drain: SimDuration,
        /// From the end of one batch to the beginning of the next.
        pause: SimDuration,
    },
    /// Servers that were not in service are put there, for good.
    ScaleOut,
    /// Servers are taken out of service for good.
    ScaleIn {
        /// How long they are drained before that.
        drain: SimDuration,
    },
    /// Servers come and go as they are busy ([`super::Autoscaling`]), from the run's beginning to its end. Each time that one
    /// does is a `scale_out` or a `scale_in`.
    Autoscaling,
}

impl FaultKind {
    /// Its name in scenarios.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Kill { .. } => "kill",
            Self::StoreCrash { .. } => "store_crash",
            Self::Restart => "restart",
            Self::Hang => "hang",
            Self::Partition => "partition",
            Self::Delay { .. } => "delay",
            Self::Slow { .. } => "slow",
            Self::Errors(_) => "errors",
            Self::Loss { .. } => "loss",
            Self::BrownOut { .. } => "brown_out",
            Self::Drain { .. } => "drain",
            Self::Down => "down",
            Self::Weight { .. } => "weight",
            Self::Reload => "reload",
            Self::Deploy { .. } => "deploy",
            Self::ScaleOut => "scale_out",
            Self::ScaleIn { .. } => "scale_in",
            Self::Autoscaling => "autoscaling",
        }
    }

    /// Whether somebody does it on purpose.
    pub fn is_planned(&self) -> bool {
        match self {
            Self::Restart
            | Self::Drain { .. }
            | Self::Down
            | Self::Weight { .. }
            | Self::Reload
            | Self::Deploy { .. }
            | Self::ScaleOut
            | Self::ScaleIn { .. }
            | Self::Autoscaling => true,
            Self::Crash
            | Self::Kill { .. }
            | Self::StoreCrash { .. }
            | Self::Hang
            | Self::Partition
            | Self::Delay { .. }
            | Self::Slow { .. }
            | Self::Errors(_)
            | Self::Loss { .. }
            | Self::BrownOut { .. } => false,
        }
    }

    /// Whether its server cannot take new clients, or is not to: it has no fair share then.
    pub fn keeps_clients_away(&self) -> bool {
        match self {
            Self::Weight { to } => *to == 0,
            Self::Crash | Self::Restart | Self::Hang | Self::Partition | Self::Drain { .. } | Self::Down => {
                true
            }
            Self::Kill { .. }
            | Self::StoreCrash { .. }
            | Self::Delay { .. }
            | Self::Slow { .. }
            | Self::Errors(_)
            | Self::Loss { .. }
            | Self::BrownOut { .. }
            | Self::Reload
            | Self::Deploy { .. }
            | Self::ScaleOut
            | Self::ScaleIn { .. }
            | Self::Autoscaling => false,
        }
    }

    /// Whether its balancer is told of it.
    pub fn is_operation(&self) -> bool {
        matches!(
            self,
            Self::Drain { .. } | Self::Down | Self::Weight { .. } | Self::ScaleOut | Self::ScaleIn { .. }
        )
    }
}

impl Fault {
    /// The servers that it is about; none if it is about something else.
    pub fn servers(&self) -> &[ServerId] {
        match &self.part {
            Part::Servers { servers, .. } | Part::Disk { servers, .. } => servers,
            Part::Site
            | Part::StoreNode(_)
            | Part::Instance(_)
            | Part::Clients
            | Part::StoreLinks { .. }
            | Part::Replication(_) => &[],
        }
    }

    /// The instance of a tier that it is about: its place among [`super::Scenario::instances`].
    pub fn instance(&self) -> Option<u16> {
        match self.part {
            Part::Instance(instance) => Some(instance),
            Part::Site
            | Part::Servers { .. }
            | Part::StoreNode(_)
            | Part::Clients
            | Part::StoreLinks { .. }
            | Part::Replication(_)
            | Part::Disk { .. } => None,
        }
    }

    /// How long it takes from its beginning until all is as before, or until what it was to do is done, each time.
    pub fn takes(&self) -> SimDuration {
        match self.kind {
            FaultKind::Deploy { batch, drain, pause } => {
                let batches = self.servers().len().div_ceil(batch.max(1) as usize) as u64;
                (drain + self.lasts) * batches + pause * batches.saturating_sub(1)
            }
            FaultKind::ScaleIn { drain } => drain,
            FaultKind::Crash
            | FaultKind::Kill { .. }
            | FaultKind::StoreCrash { .. }
            | FaultKind::Restart
            | FaultKind::Hang
            | FaultKind::Partition
            | FaultKind::Delay { .. }
            | FaultKind::Slow { .. }
            | FaultKind::Errors(_)
            | FaultKind::Loss { .. }
            | FaultKind::BrownOut { .. }
            | FaultKind::Drain { .. }
            | FaultKind::Down
            | FaultKind::Weight { .. }
            | FaultKind::Reload
            | FaultKind::ScaleOut
            | FaultKind::Autoscaling => self.lasts,
        }
    }

    /// When the last time that it comes is over, from the end of the warm-up; `None`: with the run.
    pub fn until(&self) -> Option<SimDuration> {
        match self.recurs {
            Recurs::Never if self.kind == FaultKind::Autoscaling => None,
            Recurs::Never => Some(self.at + self.takes()),
            Recurs::Every { period, times } => {
                times.map(|times| self.at + period * u64::from(times.saturating_sub(1)) + self.takes())
            }
            Recurs::Random { .. } => None,
        }
    }

    /// In words: `crash of web2`, `hang of zone a, again and again`.
    pub fn in_words(&self, servers: &[super::Server], instances: &[String]) -> String {
        let what = match &self.part {
            Part::Site => self.kind.name().to_owned(),
            Part::Clients => format!("{} on the clients' link", self.kind.name()),
            Part::StoreNode(node) => {
                let kind = match self.kind {
                    FaultKind::StoreCrash { .. } => "crash",
                    _ => self.kind.name(),
                };
                format!("{kind} of node {node} of the session store")
            }
            Part::Replication(node) => {
                format!("{} between node {node} of the session store and the others", self.kind.name())
            }
            Part::StoreLinks { servers: from, zone, node } => {
                let from = match zone {
                    Some(zone) => format!("zone {zone}"),
                    None => in_words(from, servers),
                };
                let to = node.map_or_else(String::new, |node| format!("node {node} of "));
                format!("{} between {from} and {to}the session store", self.kind.name())
            }
            Part::Disk { servers: on, nodes } => {
                let nodes: Vec<_> = nodes.iter().map(|node| format!("node {node}")).collect();
                let nodes = (!nodes.is_empty()).then(|| format!("{} of the session store", nodes.join(", ")));
                let servers = (!on.is_empty()).then(|| in_words(on, servers));
                let all: Vec<_> = servers.into_iter().chain(nodes).collect();
                format!("{} of the disk of {}", self.kind.name(), all.join(", "))
            }
            Part::Instance(place) => {
                let instance = &instances[usize::from(*place)];
                match self.kind {
                    FaultKind::Kill { process } => format!("kill of the {} of {instance}", process.name()),
                    _ => format!("{} of {instance}", self.kind.name()),
                }
            }
            Part::Servers { zone: Some(zone), .. } => format!("{} of zone {zone}", self.kind.name()),
            Part::Servers { servers: several, .. } => {
                format!("{} of {}", self.kind.name(), in_words(several, servers))
            }
        };
        match self.recurs {
            Recurs::Never => what,
            Recurs::Every { .. } => format!("{what}, again and again"),
            Recurs::Random { .. } => format!("{what}, at random"),
        }
    }
}

/// Servers in words: `web1, web2`, `all servers`, `12 servers`.
fn in_words(some: &[ServerId], servers: &[super::Server]) -> String {
    match some {
        all if all.len() > 1 && all.len() == servers.len() => "all servers".to_owned(),
        few if few.len() <= 3 => {
            let names: Vec<_> = few.iter().map(|server| servers[server.index()].name.as_str()).collect();
            names.join(", ")
        }
        many => format!("{} servers", many.len()),
    }
}
