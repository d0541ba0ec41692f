//! What befalls the parts of a run now, and what each fault has done so far.

use super::faults::FaultCounts;
use super::rosters::Rosters;
use super::scaling::Scaled;
use super::timetable::{Occurrence, Target};
use crate::engine::{SimDuration, SimTime, Stream};
use crate::ids::ServerId;
use crate::scenario::{ErrorRule, FaultKind};
use crate::store::{Death, LinkCondition, NodeCondition};
use crate::table::Column;

/// The faults of a run.
#[derive(Debug)]
pub(super) struct Ailments {
    /// All that happens: first what is planned, in order of its beginning, then the acts of an autoscaler, as they come.
    pub timetable: Vec<Occurrence>,
    /// How much of it is planned.
    pub planned: usize,
    /// By server.
    pub servers: Column<ServerId, ServerAilments>,
    /// Occurrences that last now and are not about a server.
    pub others: Vec<u32>,
    /// Whether nothing gets through between clients and the site.
    pub clients_cut: bool,
    /// What befalls that link beside.
    pub clients: LinkCondition,
    /// Servers on which, or on whose links, something goes wrong request by request; and the clients' link, if it does there.
    pub ailing: u32,
    /// Draws of who gets an error.
    pub errors: Stream,
    /// Draws of packets that are lost.
    pub losses: Stream,
    /// Who is at which server, if faults are to come.
    pub rosters: Option<Box<Rosters>>,
    /// By fault: what it did.
    counts: Vec<Running>,
}

/// What befalls a server.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerAilments {
    /// Occurrences that last now, in order of their beginning.
    pub active: Vec<u32>,
    /// Occurrences that have begun, in order.
    begun: Vec<u32>,
    /// What it suffers at all times.
    base: Condition,
    /// What follows from that and from those that last.
    pub condition: Condition,
    /// The place among the run's outages of the one that lasts.
    pub outage: Option<usize>,
    /// Where it stands in an autoscaled group.
    pub scaled: Scaled,
}

/// What follows for a server from all that befalls it at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Condition {
    /// Its processes are dead.
    pub is_dead: bool,
    /// Its processes stand still, or seem to, nothing getting through.
    pub is_frozen: bool,
    /// Nothing gets through to it.
    pub is_cut: bool,
    /// How many times as long everything takes.
    pub factor: f64,
    /// Errors that it answers with.
    pub errors: Option<ErrorRule>,
    /// Share of packets that are lost on the way to it.
    pub loss: f64,
    /// Time that packets take longer on that way, each way.
    pub delay: SimDuration,
    /// Share of busy workers above which a request takes so many times as long.
    pub brown_out: Option<(f64, f64)>,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            is_dead: false,
            is_frozen: false,
            is_cut: false,
            factor: 1.0,
            errors: None,
            loss: 0.0,
            delay: SimDuration::ZERO,
            brown_out: None,
        }
    }
}

impl Condition {
    /// Whether something goes wrong with single requests.
    pub fn ails(&self) -> bool {
        self.errors.is_some() || self.loss > 0.0 || !self.delay.is_zero() || self.brown_out.is_some()
    }

    fn with(mut self, kind: &FaultKind) -> Self {
        match *kind {
            FaultKind::Crash | FaultKind::Restart => self.is_dead = true,
            FaultKind::Hang => self.is_frozen = true,
            FaultKind::Partition => (self.is_frozen, self.is_cut) = (true, true),
            FaultKind::Slow { factor } => self.factor *= factor,
            FaultKind::Errors(rule) => {
                let before = self.errors.map_or(0.0, |errors| errors.share);
                // The last to begin says what an error looks like.
                self.errors = Some(ErrorRule { share: either(before, rule.share), ..rule });
            }
            FaultKind::Loss { share } => self.loss = either(self.loss, share),
            FaultKind::Delay { each_way } => self.delay += each_way,
            FaultKind::BrownOut { above, factor } => {
                let (least, product) = self.brown_out.unwrap_or((1.0, 1.0));
                self.brown_out = Some((least.min(above), product * factor));
            }
            FaultKind::Kill { .. }
            | FaultKind::StoreCrash { .. }
            | FaultKind::Drain { .. }
            | FaultKind::Down
            | FaultKind::Weight { .. }
            | FaultKind::Reload
            | FaultKind::Deploy { .. }
            | FaultKind::ScaleOut
            | FaultKind::ScaleIn { .. }
            | FaultKind::Autoscaling => {}
        }
        self
    }
}

/// What follows for a link.
fn link<'a>(here: impl Iterator<Item = &'a Occurrence>) -> LinkCondition {
    here.fold(LinkCondition::WELL, |mut all, one| {
        match one.kind {
            FaultKind::Partition => all.cut_until = all.cut_until.max(one.until),
            FaultKind::Delay { each_way } => all.delay += each_way,
            FaultKind::Loss { share } => all.loss = either(all.loss, share),
            _ => {}
        }
        all
    })
}

/// The probability of one of two independent mishaps.
fn either(one: f64, other: f64) -> f64 {
    1.0 - (1.0 - one) * (1.0 - other)
}

/// A fault and what it has done.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    /// How many of its occurrences last.
    active: u32,
    /// Failed requests of the run when the first of these began.
    failed_before: u64,
    counts: FaultCounts,
}

impl Ailments {
    /// Nothing has happened yet.
    pub fn new(timetable: Vec<Occurrence>, servers: usize, faults: usize, draws: (Stream, Stream)) -> Self {
        let rosters = (faults > 0).then(|| Box::new(Rosters::new(servers)));
        Self {
            planned: timetable.len(),
            timetable,
            rosters,
            servers: Column::from_vec(vec![ServerAilments::default(); servers]),
            others: Vec::new(),
            clients_cut: false,
            clients: LinkCondition::WELL,
            ailing: 0,
            errors: draws.0,
            losses: draws.1,
            counts: vec![Running::default(); faults],
        }
    }

    /// The faults of a server that last now.
    pub fn of(&self, server: ServerId) -> impl DoubleEndedIterator<Item = &FaultKind> {
        let row = &self.servers[server];
        row.scaled.kinds().iter().chain(row.active.iter().map(|&at| &self.timetable[at as usize].kind))
    }

    /// Adds what an autoscaler does now; returns its place.
    pub fn add_act(&mut self, act: Occurrence) -> u32 {
        self.timetable.push(act);
        self.timetable.len() as u32 - 1
    }

    /// An occurrence is over before its time.
    pub fn cut_short(&mut self, place: u32, now: SimTime) {
        self.timetable[place as usize].until = now;
    }

    /// What follows for a server from what lasts now.
    pub fn condition(&self, server: ServerId) -> Condition {
        self.of(server).fold(self.servers[server].base, Condition::with)
    }

    /// A server answers everything with an error, at all times.
    pub fn always_errs(&mut self, server: ServerId, status: u16) {
        let errors = Some(ErrorRule { share: 1.0, status, latency: SimDuration::from_millis(1) });
        let row = &mut self.servers[server];
        row.base.errors = errors;
        row.condition.errors = errors;
        self.ailing += 1;
    }

    /// An occurrence begins; `failed` is the number of requests that have failed so far.
    pub fn begins(&mut self, place: u32, failed: u64) {
        let occurrence = self.timetable[place as usize];
        match occurrence.target {
            Target::Server(server) => {
                self.servers[server].active.push(place);
                self.servers[server].begun.push(place);
            }
            Target::Site
            | Target::StoreNode(_)
            | Target::Instance(_)
            | Target::Clients
            | Target::StoreLink(..)
            | Target::Replication(_) => self.others.push(place),
        }
        if occurrence.from == SimTime::ZERO {
            return;
        }
        let running = &mut self.counts[occurrence.fault as usize];
        if running.active == 0 {
            running.failed_before = failed;
        }
        running.active += 1;
    }

    /// An occurrence is over.
    pub fn ends(&mut self, place: u32, failed: u64) {
        let occurrence = self.timetable[place as usize];
        let active = match occurrence.target {
            Target::Server(server) => &mut self.servers[server].active,
            Target::Site
            | Target::StoreNode(_)
            | Target::Instance(_)
            | Target::Clients
            | Target::StoreLink(..)
            | Target::Replication(_) => &mut self.others,
        };
        active.retain(|&other| other != place);
        // What went on before the run is a beginning, and not to blame for what failed meanwhile.
        if occurrence.from == SimTime::ZERO {
            return;
        }
        let running = &mut self.counts[occurrence.fault as usize];
        running.active -= 1;
        if running.active == 0 {
            running.counts.requests_failed += failed - running.failed_before;
        }
    }

    /// Whether something as wanted befalls an instance of a tier now.
    pub fn befalls(&self, instance: u16, wanted: impl Fn(&FaultKind) -> bool) -> bool {
        let here = self.others.iter().map(|&at| &self.timetable[at as usize]);
        here.filter(|one| one.target == Target::Instance(instance)).any(|one| wanted(&one.kind))
    }

    fn here(&self, is_here: impl Fn(Target) -> bool) -> impl Iterator<Item = &Occurrence> {
        let others = self.others.iter().map(|&at| &self.timetable[at as usize]);
        others.filter(move |one| is_here(one.target))
    }

    /// What follows for a node of the session store from what lasts now.
    pub fn store_node(&self, node: u32) -> NodeCondition {
        let here = self.here(|target| target == Target::StoreNode(node));
        here.fold(NodeCondition::WELL, |mut all, one| {
            match one.kind {
                FaultKind::StoreCrash { power_loss: true } => all.death = Some(Death::Power),
                FaultKind::StoreCrash { power_loss: false } | FaultKind::Crash => {
                    all.death.get_or_insert(Death::Process);
                }
                FaultKind::Restart => _ = all.death.get_or_insert(Death::Stopped),
                FaultKind::Hang => all.hangs_until = all.hangs_until.max(one.until),
                FaultKind::Slow { factor } => all.factor *= factor,
                FaultKind::Errors(rule) => all.errors = either(all.errors, rule.share),
                _ => {}
            }
            all
        })
    }

    /// What follows for the link from a server to a node of the session store from what lasts now.
    pub fn store_link(&self, server: ServerId, node: u32) -> LinkCondition {
        link(self.here(|target| match target {
            Target::StoreLink(from, to) => from == server && to.is_none_or(|to| to == node),
            _ => false,
        }))
    }

    /// What follows for the link from a node of the session store to the others from what lasts now.
    pub fn replication(&self, node: u32) -> LinkCondition {
        link(self.here(|target| target == Target::Replication(node)))
    }

    /// What follows for the link between clients and the site from what lasts now.
    pub fn clients_link(&self) -> LinkCondition {
        link(self.here(|target| target == Target::Clients))
    }

    /// A user was logged out by a fault.
    pub fn logged_out(&mut self, fault: u32) {
        self.counts[fault as usize].counts.users_logged_out += 1;
    }

    /// The occurrence that destroyed a server's memory at a time.
    pub fn destroyer(&self, server: ServerId, at: SimTime) -> Option<&Occurrence> {
        let begun = self.servers[server].begun.iter().rev().map(|&place| &self.timetable[place as usize]);
        let mut near = begun.skip_while(|one| one.from > at).take_while(|one| one.from == at);
        let found = near.find(|one| matches!(one.kind, FaultKind::Crash | FaultKind::Restart));
        // A server that is scaled in loses its memory at the end of that.
        let scales_in = |one: &&Occurrence| {
            one.target == Target::Server(server)
                && one.until == at
                && matches!(one.kind, FaultKind::ScaleIn { .. })
        };
        found.or_else(|| self.timetable[self.planned..].iter().rev().find(scales_in))
    }

    /// The last thing that was done to a server on purpose, not later than `at`.
    pub fn last_operation(&self, server: ServerId, at: SimTime) -> Option<&Occurrence> {
        let begun = self.servers[server].begun.iter().rev().map(|&place| &self.timetable[place as usize]);
        begun.into_iter().find(|one| one.from <= at && one.kind.is_planned())
    }

    /// The last occurrence not later than `at` that is as wanted.
    pub fn last_before(&self, at: SimTime, wanted: impl Fn(&Occurrence) -> bool) -> Option<&Occurrence> {
        let (planned, acts) = self.timetable.split_at(self.planned);
        let last = |row: &'_ [Occurrence]| row.partition_point(|one| one.from <= at);
        let planned = planned[..last(planned)].iter().rev().find(|&one| wanted(one));
        let act = acts[..last(acts)].iter().rev().find(|&one| wanted(one));
        [planned, act].into_iter().flatten().max_by_key(|one| one.from)
    }

    /// What each fault did, when the run ends.
    pub fn close(&self, failed: u64) -> Vec<FaultCounts> {
        let close = |running: &Running| {
            let mut counts = running.counts;
            if running.active > 0 {
                counts.requests_failed += failed - running.failed_before;
            }
            counts
        };
        self.counts.iter().map(close).collect()
    }
}
