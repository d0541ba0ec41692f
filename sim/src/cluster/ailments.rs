//! What befalls the parts of a run now, and what each fault has done so far.

use super::faults::FaultCounts;
use super::rosters::Rosters;
use super::timetable::{Occurrence, Target};
use crate::engine::{SimDuration, SimTime, Stream};
use crate::ids::ServerId;
use crate::scenario::{ErrorRule, FaultKind};
use crate::table::Column;

/// The faults of a run.
#[derive(Debug)]
pub(super) struct Ailments {
    /// All that happens, in order of its beginning.
    pub timetable: Vec<Occurrence>,
    /// By server.
    pub servers: Column<ServerId, ServerAilments>,
    /// Occurrences that last now and are not about a server.
    pub others: Vec<u32>,
    /// Share of packets that are lost between clients and the site.
    pub clients_loss: f64,
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
            brown_out: None,
        }
    }
}

impl Condition {
    /// Whether something goes wrong with single requests.
    pub fn ails(&self) -> bool {
        self.errors.is_some() || self.loss > 0.0 || self.brown_out.is_some()
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
            | FaultKind::ScaleIn { .. } => {}
        }
        self
    }
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
        let rosters = (!timetable.is_empty()).then(|| Box::new(Rosters::new(servers)));
        Self {
            timetable,
            rosters,
            servers: Column::from_vec(vec![ServerAilments::default(); servers]),
            others: Vec::new(),
            clients_loss: 0.0,
            ailing: 0,
            errors: draws.0,
            losses: draws.1,
            counts: vec![Running::default(); faults],
        }
    }

    /// The faults of a server that last now.
    pub fn of(&self, server: ServerId) -> impl DoubleEndedIterator<Item = &FaultKind> {
        self.servers[server].active.iter().map(|&at| &self.timetable[at as usize].kind)
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

    /// Share of packets that are lost now between clients and the site.
    pub fn loss_at_clients(&self) -> f64 {
        let here = self.others.iter().map(|&at| &self.timetable[at as usize]);
        here.filter(|one| one.target == Target::Clients).fold(0.0, |loss, one| match one.kind {
            FaultKind::Loss { share } => either(loss, share),
            _ => loss,
        })
    }

    /// An occurrence begins; `failed` is the number of requests that have failed so far.
    pub fn begins(&mut self, place: u32, failed: u64) {
        let occurrence = self.timetable[place as usize];
        match occurrence.target {
            Target::Server(server) => {
                self.servers[server].active.push(place);
                self.servers[server].begun.push(place);
            }
            Target::Site | Target::StoreNode(_) | Target::Instance(_) | Target::Clients => {
                self.others.push(place);
            }
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
            Target::Site | Target::StoreNode(_) | Target::Instance(_) | Target::Clients => &mut self.others,
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

    /// How many occurrences like this one last, itself included.
    pub fn alike(&self, place: u32) -> usize {
        let Occurrence { kind, target, .. } = self.timetable[place as usize];
        let others = self.others.iter().map(|&at| &self.timetable[at as usize]);
        others.filter(|other| other.target == target && other.kind.name() == kind.name()).count()
    }

    /// A user was logged out by a fault.
    pub fn logged_out(&mut self, fault: u32) {
        self.counts[fault as usize].counts.users_logged_out += 1;
    }

    /// The occurrence that destroyed a server's memory at a time.
    pub fn destroyer(&self, server: ServerId, at: SimTime) -> Option<&Occurrence> {
        let begun = self.servers[server].begun.iter().rev().map(|&place| &self.timetable[place as usize]);
        let mut near = begun.skip_while(|one| one.from > at).take_while(|one| one.from == at);
        near.find(|one| matches!(one.kind, FaultKind::Crash | FaultKind::Restart))
    }

    /// The last thing that was done to a server on purpose, not later than `at`.
    pub fn last_operation(&self, server: ServerId, at: SimTime) -> Option<&Occurrence> {
        let begun = self.servers[server].begun.iter().rev().map(|&place| &self.timetable[place as usize]);
        begun.into_iter().find(|one| one.from <= at && one.kind.is_planned())
    }

    /// The last occurrence not later than `at` that is as wanted.
    pub fn last_before(&self, at: SimTime, wanted: impl Fn(&Occurrence) -> bool) -> Option<&Occurrence> {
        let begun = self.timetable.partition_point(|one| one.from <= at);
        self.timetable[..begun].iter().rev().find(|&one| wanted(one))
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
