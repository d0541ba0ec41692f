//! Sessions in a store: when requests ask it, what they find, and what that makes of them.
//!
//! A worker reads the session when it begins with a request and writes it when it is done with the page, and waits for both;
//! a server that shares its processor does both when the request comes. A request's findings are kept beside it, so that
//! requests of strategies without such a store carry nothing.

use super::Cluster;
use super::event::Event;
use super::request::{FlowEnd, Origin, Request, SessionWork};
use crate::engine::queue::PendingEvents;
use crate::engine::{Sampler, Scheduler, SimDuration, SimTime, Stream};
use crate::ids::{RequestId, ServerId};
use crate::metrics::LossCause;
use crate::metrics::recorder::{Failure, Recorder};
use crate::scenario::Scenario;
use crate::session::sessions::{Cut, Lookup};
use crate::session::{OnStoreError, SessionPlan, StoreSession};
use crate::store::plan::{AtSwitch, HybridRule, StorePlan};
use crate::store::{Access, Found, Gone, NewSession, RecordId, Reply, Store, StoreStreams, Why};
use crate::tier::{Layer, Outcome};

/// Names of the operations of a request.
const READ: u64 = 0;
const WRITE: u64 = 1;

/// How far a request has got with the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Fresh,
    Begun,
    Done,
}

/// What a request has found and made.
#[derive(Clone, Copy, Debug)]
struct Step {
    stage: Stage,
    /// What the store said; `None` while it was not asked, and where the servers' memory is.
    found: Option<Found>,
    /// The record that a login made, until a session has it.
    made: Option<RecordId>,
    /// Whether the request ends in an error.
    fails: bool,
}

const FRESH: Step = Step { stage: Stage::Fresh, found: None, made: None, fails: false };

/// The store of a run, and who has what in it.
#[derive(Debug)]
pub(super) struct Stored {
    store: Store,
    on_store_error: OnStoreError,
    /// Whether where a request is routed decides what it finds.
    is_on_servers: bool,
    rule: Option<HybridRule>,
    /// Whether sessions are kept in the store now, and since when that is so.
    in_use: bool,
    switched_at: SimTime,
    /// By session: its record; none where the session is in the memory of its server.
    records: Vec<Option<RecordId>>,
    /// By request.
    steps: Vec<Step>,
    /// The step of the request whose answer is being taken.
    answered: Step,
    writes: f64,
    bytes: Sampler,
    bytes_stream: Stream,
    writes_stream: Stream,
}

impl Stored {
    pub(super) fn new(
        scenario: &Scenario,
        session: &StoreSession,
        streams: StoreStreams,
        own: (Stream, Stream),
    ) -> Self {
        Self {
            store: Store::new(&session.store, scenario.servers.len(), streams),
            on_store_error: session.on_store_error,
            is_on_servers: session.store.is_on_servers(),
            rule: session.rule,
            in_use: session.rule.is_none(),
            switched_at: SimTime::ZERO,
            records: Vec::new(),
            steps: Vec::new(),
            answered: FRESH,
            writes: scenario.session.writes,
            bytes: scenario.session.bytes.sampler(),
            bytes_stream: own.0,
            writes_stream: own.1,
        }
    }

    fn step(&mut self, id: RequestId) -> &mut Step {
        if self.steps.len() <= id.index() {
            self.steps.resize(id.index() + 1, FRESH);
        }
        &mut self.steps[id.index()]
    }

    fn record(&self, slot: u32) -> Option<RecordId> {
        self.records.get(slot as usize).copied().flatten()
    }

    /// Keeps sessions where the rule says, by the connections that are open now.
    fn follow_rule(&mut self, now: SimTime, active: u32) {
        let Some(rule) = self.rule else { return };
        let in_use = if self.in_use { active > rule.resume } else { active > rule.threshold };
        if in_use != self.in_use {
            self.in_use = in_use;
            self.switched_at = now;
        }
    }

    /// Looks for a session. `None` where it has to be looked for in the memory of a server.
    fn find(&mut self, access: &Access, slot: u32) -> (Option<Found>, SimTime) {
        let record = self.record(slot);
        let forgets = self.rule.is_some_and(|rule| rule.at_switch == AtSwitch::Forget);
        if forgets && record.is_some() != self.in_use {
            let gone = Gone { why: Why::Switched, at: self.switched_at };
            return (Some(Found::Missing(gone)), access.now);
        }
        match record {
            Some(record) => {
                let Reply { at, found } = self.store.read(access, record);
                (Some(found), at)
            }
            None => (None, access.now),
        }
    }

    /// Makes a record for a new session, named after the request that creates it.
    fn make(&mut self, access: &Access, idle_timeout: SimDuration) -> (Option<RecordId>, Reply) {
        let bytes = self.bytes.sample(&self.bytes_stream, access.entity, access.index);
        let session = NewSession {
            name: crate::balancer::modern::hash::mix(access.entity) ^ access.index,
            bytes: libm::ceil(bytes).clamp(1.0, f64::from(u32::MAX)) as u32,
            idle_timeout,
        };
        let (record, reply) = self.store.create(access, &session);
        if reply.found == Found::Failed {
            self.store.release(record);
            return (None, reply);
        }
        (Some(record), reply)
    }

    /// Brings the costs since the last time to the account of the phase at `now`.
    fn account(&mut self, now: SimTime, waited: SimDuration, recorder: &mut Recorder) {
        let (_, memory) = self.store.stored();
        let costs = self.store.costs();
        if let Some(counts) = recorder.at(now) {
            counts.store_operations += costs.operations;
            counts.store_messages += costs.messages;
            counts.store_bytes += costs.bytes;
            counts.store_wait.record(waited);
            counts.store_memory_max = counts.store_memory_max.max(memory);
            counts.lost_writes += costs.rolled_back;
            counts.forked += costs.forked;
            counts.store_busy_ns.resize(costs.busy_ns.len(), 0);
            counts.store_busy_ns.iter_mut().zip(&costs.busy_ns).for_each(|(all, busy)| *all += busy);
        }
        costs.busy_ns.fill(0);
        (costs.operations, costs.messages, costs.bytes) = (0, 0, 0);
        (costs.rolled_back, costs.forked) = (0, 0);
    }
}

/// How the store's operations of a request are named.
fn access(now: SimTime, request: &Request, operation: u64) -> Access {
    let draw = request.demand;
    Access {
        now,
        server: request.server,
        entity: draw.entity,
        index: draw.index << 5 | (draw.purpose as u64) << 2 | operation,
        stands: operation == WRITE && request.work == SessionWork::Use,
    }
}

impl Cluster<'_> {
    /// A worker begins with a request, and would be done at `due`: reads the session. Returns when it will be done.
    #[inline]
    pub(super) fn store_read(&mut self, now: SimTime, id: RequestId, due: SimTime) -> SimTime {
        if self.stored.is_none() {
            return due;
        }
        self.read_session(now, id, due)
    }

    #[inline(never)]
    fn read_session(&mut self, now: SimTime, id: RequestId, due: SimTime) -> SimTime {
        let request = *self.requests.get(id.0);
        if request.fails_with > 0 {
            return due;
        }
        let session = self.session_of(&request);
        let active = self.connections.len() as u32;
        let Some(stored) = self.stored.as_deref_mut() else { return due };
        // A server that hung goes on with what it had begun.
        if stored.step(id).stage != Stage::Fresh {
            return due;
        }
        stored.follow_rule(now, active);
        *stored.step(id) = Step { stage: Stage::Begun, ..FRESH };
        let start = now + stored.store.work_of(request.server);
        let mut due = due + start.since(now);
        let mut waited = SimDuration::ZERO;
        if let (SessionWork::Use, Some(slot)) = (request.work, session) {
            let (found, at) = stored.find(&access(start, &request, READ), slot);
            waited = at.since(start);
            due = due + waited;
            stored.step(id).found = found;
            if found == Some(Found::Failed) && stored.on_store_error == OnStoreError::Fail {
                // There is no page without its session.
                *stored.step(id) = Step { stage: Stage::Done, found, fails: true, made: None };
                due = at;
            }
        }
        stored.account(now, waited, &mut self.recorder);
        due
    }

    /// Whether the end of service that is announced for a request is that of its page, not of the write after it.
    pub(super) fn page_is_done(&self, id: RequestId) -> bool {
        let step = self.stored.as_ref().and_then(|stored| stored.steps.get(id.index()));
        step.is_none_or(|step| step.stage != Stage::Done)
    }

    /// A worker is done with a page: writes the session. Returns when the write is done, if the worker has to wait for it.
    #[inline]
    pub(super) fn store_write(&mut self, now: SimTime, id: RequestId) -> Option<SimTime> {
        self.stored.as_ref()?;
        self.write_session(now, id)
    }

    #[inline(never)]
    fn write_session(&mut self, now: SimTime, id: RequestId) -> Option<SimTime> {
        let request = *self.requests.get(id.0);
        if request.fails_with > 0 {
            return None;
        }
        let session = self.session_of(&request);
        let idle_timeout = self.idle_timeout_of(request.origin);
        // A login that fails leaves no session.
        let logs_in = match (request.work, request.origin) {
            (SessionWork::Login, Origin::Client(client)) => self.knows_token(client, request.server),
            _ => true,
        };
        let stored = self.stored.as_deref_mut()?;
        let step = *stored.step(id);
        if step.stage == Stage::Done {
            return None;
        }
        stored.step(id).stage = Stage::Done;
        let access = access(now, &request, WRITE);
        let record = session.and_then(|slot| stored.record(slot));
        let found = matches!(step.found, Some(Found::Current | Found::Stale));
        let reply = match (request.work, record) {
            (SessionWork::Use, Some(record)) if found => {
                if stored.writes_stream.uniform(access.entity, access.index) >= stored.writes {
                    stored.store.keep(&access, record);
                    return None;
                }
                let stale = u64::from(step.found == Some(Found::Stale));
                if let Some(counts) = self.recorder.at(now) {
                    // What was written since the state that was read is overwritten.
                    counts.lost_writes += stale;
                }
                stored.store.write(&access, record)
            }
            (SessionWork::Login, _) if !logs_in => return None,
            (SessionWork::Login, Some(record)) if stored.in_use => stored.store.write(&access, record),
            (SessionWork::Login, _) if stored.in_use => {
                let (made, reply) = stored.make(&access, idle_timeout);
                stored.step(id).made = made;
                reply
            }
            (SessionWork::Logout, Some(record)) => stored.store.remove(&access, record),
            (SessionWork::None | SessionWork::Use | SessionWork::Login | SessionWork::Logout, _) => {
                return None;
            }
        };
        if reply.found == Found::Failed {
            let step = stored.step(id);
            step.fails = true;
            step.found = Some(Found::Failed);
        }
        stored.account(now, reply.at.since(now), &mut self.recorder);
        (reply.at > now).then_some(reply.at)
    }

    /// A request comes to a server, perhaps after another. One that shares its processor reads and writes at once; returns the
    /// time that this takes.
    #[inline]
    pub(super) fn store_both(&mut self, now: SimTime, id: RequestId, server: ServerId) -> SimDuration {
        if self.stored.is_none() {
            return SimDuration::ZERO;
        }
        self.forget_step(id);
        if !self.servers.shares_processor(server) {
            return SimDuration::ZERO;
        }
        let read = self.read_session(now, id, now);
        self.write_session(read, id).unwrap_or(read).since(now)
    }

    /// The session of a request, unless it has ended since.
    fn session_of(&self, request: &Request) -> Option<u32> {
        let generation = request.session_generation;
        request.session.filter(|&slot| self.sessions.get(slot).generation == generation)
    }

    fn idle_timeout_of(&self, origin: Origin) -> SimDuration {
        let plan = match origin {
            Origin::Client(client) | Origin::Object(client) | Origin::Message(client) => {
                let population = self.clients.row(client).population();
                let traffic = &self.scenario.populations[population.index()].traffic;
                traffic.visit().map(|plan| plan.session_idle_timeout)
            }
            Origin::Log { source, .. } => self.log_idle_timeout(source),
            Origin::Gone | Origin::Check | Origin::Arrival | Origin::Script(_) => None,
        };
        plan.unwrap_or(SimDuration::ZERO)
    }

    /// The answer to a request is ready: keeps what it has found for whoever takes it. Returns whether it is an error.
    #[inline]
    pub(super) fn store_answers(&mut self, id: RequestId) -> bool {
        let Some(stored) = self.stored.as_deref_mut() else { return false };
        stored.answered = std::mem::replace(stored.step(id), FRESH);
        stored.answered.fails
    }

    /// A request is over: what a login made and nobody took goes.
    #[inline]
    pub(super) fn store_tidies(&mut self, id: RequestId) {
        if self.stored.is_some() {
            self.forget_step(id);
        }
    }

    fn forget_step(&mut self, id: RequestId) {
        let Some(stored) = self.stored.as_deref_mut() else { return };
        let step = std::mem::replace(stored.step(id), FRESH);
        let unused = [stored.answered.made.take(), step.made];
        unused.into_iter().flatten().for_each(|record| stored.store.release(record));
    }

    /// The application answers a request with an error: that of a fault, or since it cannot ask its store.
    pub(super) fn answered_with_error<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let (status, failure) = match std::mem::take(&mut self.requests.get_mut(id.0).fails_with) {
            0 => (500, Failure::Store),
            status => (status, Failure::Error),
        };
        if let Some(counts) = self.recorder.at(now) {
            counts.store_failed += u64::from(failure == Failure::Store);
        }
        let request = self.requests.get_mut(id.0);
        request.in_server = false;
        request.due = SimTime::NEVER;
        let (flow, instance) = (request.flow, request.instance);
        let detached = request.flow_end == FlowEnd::Detached;
        if detached || self.layer() == Layer::Connection {
            return self.give_up(now, id, failure, pending);
        }
        let then = self.attempt_ended(now, instance, flow, Outcome::Status(status));
        self.go_on(now, id, then, failure, pending);
    }

    /// Whether the answer just taken is that of a login which could not be stored.
    pub(super) fn login_was_not_stored(&self) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.answered.found == Some(Found::Failed))
    }

    /// A session has begun: it takes the record that its request has made, or a new one where no login came before.
    pub(super) fn store_session(&mut self, now: SimTime, slot: u32, request: &Request) {
        let idle_timeout = self.idle_timeout_of(request.origin);
        let Some(stored) = self.stored.as_deref_mut() else { return };
        let mut record = stored.answered.made.take();
        if record.is_none() && stored.in_use && request.work != SessionWork::Login {
            record = stored.make(&access(now, request, WRITE), idle_timeout).0;
            stored.account(now, SimDuration::ZERO, &mut self.recorder);
        }
        if stored.records.len() <= slot as usize {
            stored.records.resize(slot as usize + 1, None);
        }
        let before = std::mem::replace(&mut stored.records[slot as usize], record);
        debug_assert!(before.is_none(), "the slot's last session has let go of its record");
    }

    /// A user logs in again under the id of a lost session, whose record was written again.
    pub(super) fn store_session_again(&mut self, now: SimTime, slot: u32, request: &Request) {
        let Some(stored) = self.stored.as_deref() else { return };
        let had = stored.record(slot).is_some();
        if had && stored.in_use {
            return;
        }
        if had {
            self.drop_record(slot);
        }
        self.store_session(now, slot, request);
    }

    /// Whether a session is in the store.
    pub(super) fn is_in_store(&self, slot: u32) -> bool {
        self.stored.as_deref().is_some_and(|stored| stored.record(slot).is_some())
    }

    fn drop_record(&mut self, slot: u32) {
        if let Some(stored) = self.stored.as_deref_mut()
            && let Some(record) = stored.records.get_mut(slot as usize).and_then(Option::take)
        {
            stored.store.release(record);
        }
    }

    /// A session is of no more use to anybody.
    #[inline]
    pub(super) fn end_session(&mut self, slot: u32) {
        if self.stored.is_some() {
            self.drop_record(slot);
        }
        self.sessions.end(slot);
    }

    /// What a request that went by `route` has found, with the cause if that is a loss.
    pub(super) fn find_stored(
        &mut self,
        now: SimTime,
        slot: u32,
        route: &Cut,
        idle_timeout: SimDuration,
    ) -> Option<Lookup> {
        let stored = self.stored.as_deref()?;
        let found = stored.answered.found?;
        let session = self.sessions.get(slot);
        if now.since(session.last_hit) > idle_timeout {
            return Some(Lookup::Expired);
        }
        let departure = *session.first_cut.as_ref().unwrap_or(route);
        let lost = |cause, at| Lookup::Lost { cause, destroyed_at: Some(at) };
        let gone = match found {
            Found::Current | Found::Stale => {
                if let Some(counts) = self.recorder.at(now) {
                    counts.stale += u64::from(found == Found::Stale);
                }
                let elsewhere = self.keeps_copies_apart() && session.home != route.to;
                let found = self.sessions.look_up_shared(now, slot, route, idle_timeout);
                return Some(if elsewhere { Lookup::Resumed { fell_back: false } } else { found });
            }
            Found::Failed => return Some(lost(LossCause::StoreLost, now)),
            Found::Missing(gone) => gone,
        };
        // In the servers' own memory, what was destroyed after routing had left home anyway is not to blame.
        let blameless = stored.is_on_servers && gone.at > departure.at;
        let by_departure = Lookup::Lost { cause: departure.cause, destroyed_at: None };
        Some(match gone.why {
            Why::NodeLost | Why::Evicted if blameless => by_departure,
            Why::NodeLost if stored.is_on_servers => lost(LossCause::ServerLost, gone.at),
            Why::NodeLost => lost(LossCause::StoreLost, gone.at),
            Why::Evicted => lost(LossCause::StoreEvicted, gone.at),
            Why::Lagged => lost(LossCause::StoreStale, gone.at),
            Why::Switched => lost(LossCause::StoreSwitched, gone.at),
            Why::Moved => lost(LossCause::Remapped, gone.at),
            Why::Elsewhere => by_departure,
            Why::Expired => Lookup::Expired,
        })
    }

    /// Whether each server has its own copies and knows nothing of the others'.
    fn keeps_copies_apart(&self) -> bool {
        matches!(&self.strategy.session, SessionPlan::Store(StoreSession { store: StorePlan::Local(_), .. }))
    }

    /// Something befalls a node of the store, or is over.
    pub(super) fn store_node_changes(&mut self, now: SimTime, node: u32) {
        if node as usize >= self.strategy.session.store_nodes() {
            return;
        }
        let condition = self.faults.store_node(node);
        let Some(stored) = self.stored.as_deref_mut() else { return };
        stored.store.node_is(now, node as usize, condition);
        stored.account(now, SimDuration::ZERO, &mut self.recorder);
    }

    /// Something befalls the link from a server to a node of the store, or to all of them, or is over.
    pub(super) fn store_link_changes(&mut self, server: ServerId, node: Option<u32>) {
        let nodes = self.strategy.session.store_nodes() as u32;
        let Some(stored) = self.stored.as_deref_mut() else { return };
        for node in (0..nodes).filter(|&one| node.is_none_or(|node| node == one)) {
            stored.store.link_is(server, node as usize, self.faults.store_link(server, node));
        }
    }

    /// Something befalls the link from a node of the store to the others, or is over.
    pub(super) fn replication_changes(&mut self, now: SimTime, node: u32) {
        if node as usize >= self.strategy.session.store_nodes() {
            return;
        }
        let Some(stored) = self.stored.as_deref_mut() else { return };
        stored.store.replication_is(now, node as usize, self.faults.replication(node));
        stored.account(now, SimDuration::ZERO, &mut self.recorder);
    }

    /// A server's processes die, or it is back.
    pub(super) fn store_server_changes(&mut self, now: SimTime, server: ServerId, lost: bool) {
        let Some(stored) = self.stored.as_deref_mut() else { return };
        if lost {
            stored.store.server_lost(now, server);
        } else {
            stored.store.server_back(now, server);
        }
        stored.account(now, SimDuration::ZERO, &mut self.recorder);
    }

    /// A worker that has begun with a request announces when it will be done.
    #[inline(always)]
    pub(super) fn begin_service<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        due: SimTime,
        pending: &mut Scheduler<Q>,
    ) -> SimTime {
        let due = self.store_read(now, id, due);
        pending.at(due, Event::ServiceDone(id).word());
        due
    }
}
