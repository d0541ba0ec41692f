//! Faults as they happen.
//!
//! Every beginning and every end is followed by a look at all that lasts, and whatever differs from before is carried out: so
//! faults may overlap in any way.

use super::Cluster;
use super::event::Event;
use super::timetable::{Occurrence, Target};
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::{ConnectionId, RequestId, ServerId};
use crate::scenario::FaultKind;
use crate::store::LinkCondition;
use crate::tier::{Layer, Segment};

/// A time during which a server was down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outage {
    /// The server.
    pub server: ServerId,
    /// Its start.
    pub from: SimTime,
    /// Its end; [`SimTime::NEVER`] if the run ended first.
    pub until: SimTime,
}

/// What a fault did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultCounts {
    /// Sessions whose loss it caused.
    pub users_logged_out: u64,
    /// Requests that failed while it lasted.
    pub requests_failed: u64,
}

/// A time during which a fault lasted somewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spell {
    /// The fault's place in the scenario.
    pub fault: u32,
    /// Its start.
    pub from: SimTime,
    /// Its end; [`SimTime::NEVER`] for good.
    pub until: SimTime,
    /// What an autoscaler did, if it was that.
    pub act: Option<ScalingAct>,
}

/// A server that an autoscaler asked for or let go: from the decision until it was in service, or out of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScalingAct {
    /// The server.
    pub server: ServerId,
    /// Whether it came, else it went.
    pub comes: bool,
}

impl Spell {
    /// That of an occurrence. What goes on before the run counts from its end.
    pub(super) fn of(one: &Occurrence) -> Self {
        let from = if one.from == SimTime::ZERO { one.until } else { one.from };
        let act = match (one.kind, one.target) {
            (FaultKind::ScaleOut, Target::Server(server)) => Some(ScalingAct { server, comes: true }),
            (FaultKind::ScaleIn { .. }, Target::Server(server)) => Some(ScalingAct { server, comes: false }),
            _ => None,
        };
        Self { fault: one.fault, from, until: one.until, act }
    }
}

impl Cluster<'_> {
    pub(super) fn fault_begins<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        place: u32,
        pending: &mut Scheduler<Q>,
    ) {
        let occurrence = self.faults.timetable[place as usize];
        let planned = &self.faults.timetable[..self.faults.planned];
        if let Some(next) = planned.get(place as usize + 1) {
            pending.at(next.from, Event::FaultBegins(place + 1).word());
        }
        if occurrence.target == Target::Site {
            return self.reload(now);
        }
        self.begin_occurrence(now, place, pending);
    }

    /// Something begins to last.
    pub(super) fn begin_occurrence<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        place: u32,
        pending: &mut Scheduler<Q>,
    ) {
        let until = self.faults.timetable[place as usize].until;
        self.faults.begins(place, self.recorder.ledger.requests_failed);
        if until != SimTime::NEVER {
            pending.at(until, Event::FaultEnds(place).word());
        }
        self.changes(now, place, pending);
    }

    pub(super) fn fault_ends<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        place: u32,
        pending: &mut Scheduler<Q>,
    ) {
        // The announcement of what was cut short is out of date.
        if self.faults.timetable[place as usize].until == now {
            self.end_occurrence(now, place, pending);
        }
    }

    /// Something lasts no longer.
    pub(super) fn end_occurrence<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        place: u32,
        pending: &mut Scheduler<Q>,
    ) {
        let Occurrence { kind, target, .. } = self.faults.timetable[place as usize];
        self.faults.ends(place, self.recorder.ledger.requests_failed);
        if let (FaultKind::ScaleOut | FaultKind::ScaleIn { .. }, Target::Server(server)) = (kind, target) {
            self.act_is_done(now, place, server);
        }
        self.changes(now, place, pending);
    }

    /// Something has begun, or is over.
    fn changes<Q: PendingEvents>(&mut self, now: SimTime, place: u32, pending: &mut Scheduler<Q>) {
        let occurrence = self.faults.timetable[place as usize];
        match occurrence.target {
            Target::Site => {}
            Target::Server(server) => {
                self.server_changes(now, server, occurrence.kind.is_operation(), pending);
            }
            Target::StoreNode(node) => self.store_node_changes(now, node),
            Target::StoreLink(server, node) => self.store_link_changes(server, node),
            Target::Replication(node) => self.replication_changes(now, node),
            Target::Instance(instance) => self.instance_changes(now, instance, pending),
            Target::Clients => {
                let link = self.faults.clients_link();
                let ails = |link: LinkCondition| u32::from(link.loss > 0.0 || !link.delay.is_zero());
                self.faults.ailing = self.faults.ailing + ails(link) - ails(self.faults.clients);
                self.faults.clients = link;
                self.faults.clients_cut = link.cut_until > SimTime::ZERO;
            }
        }
    }

    /// What befalls a server has changed, by an operation that its balancers are told of or by something else.
    pub(super) fn server_changes<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        is_operation: bool,
        pending: &mut Scheduler<Q>,
    ) {
        self.settle(now, server, pending);
        if is_operation {
            self.operate(now, server);
        }
        self.note_outage(now, server);
    }

    /// Brings a server into the condition that follows from all that befalls it now.
    fn settle<Q: PendingEvents>(&mut self, now: SimTime, server: ServerId, pending: &mut Scheduler<Q>) {
        let wanted = self.faults.condition(server);
        let before = std::mem::replace(&mut self.faults.servers[server].condition, wanted);
        if wanted == before {
            return;
        }
        self.faults.ailing = self.faults.ailing + u32::from(wanted.ails()) - u32::from(before.ails());
        self.servers.set_cut(server, wanted.is_cut);
        match (before.is_dead, wanted.is_dead) {
            (false, true) => self.crash(now, server, pending),
            (true, false) => {
                self.servers.recover(server);
                self.store_server_changes(now, server, false);
            }
            (true, true) | (false, false) => {}
        }
        let (before_runs, runs) =
            (!before.is_dead && !before.is_frozen, !wanted.is_dead && !wanted.is_frozen);
        if wanted.factor != before.factor {
            self.change_pace(now, server, (before_runs, before.factor), wanted.factor, pending);
        }
        if !wanted.is_dead {
            match (before_runs, runs) {
                (true, false) => self.hang(now, server, pending),
                (false, false) if before.is_dead => self.hang(now, server, pending),
                (false, true) if !before.is_dead => self.goes_on(now, server, pending),
                (false, _) | (true, true) => {}
            }
        }
    }

    /// Keeps account of when a server is out of service.
    fn note_outage(&mut self, now: SimTime, server: ServerId) {
        let sorry = self.strategy.tier.pool.config.sorry_server;
        let waits = sorry == Some(server) && !self.tier.watches.iter().any(|watch| watch.lists(server));
        let is_out = waits || self.faults.of(server).any(FaultKind::keeps_clients_away);
        let ailments = &mut self.faults.servers[server];
        match (ailments.outage, is_out) {
            (None, true) => {
                ailments.outage = Some(self.outages.len());
                self.outages.push(Outage { server, from: now, until: SimTime::NEVER });
            }
            (Some(place), false) => {
                ailments.outage = None;
                self.outages[place].until = now;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// A sorry server is in service while it is in a table.
    pub(super) fn note_sorry_server(&mut self, now: SimTime) {
        if let Some(server) = self.strategy.tier.pool.config.sorry_server {
            self.note_outage(now, server);
        }
    }

    /// A server takes `factor` times as long for everything from now on, what it has begun included; `before` says whether it was
    /// running, and its factor then.
    fn change_pace<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        before: (bool, f64),
        factor: f64,
        pending: &mut Scheduler<Q>,
    ) {
        if let Some(due) = self.servers.set_factor(now, server, factor) {
            pending.at(due, Event::SharedServiceDone(server).word());
        }
        let (was_running, old) = before;
        if !was_running || !self.servers.is_up(server) {
            return;
        }
        for slot in self.requests_at(server) {
            let request = self.requests.get_mut(slot);
            if request.due != SimTime::NEVER {
                let left = request.due.since(now).as_secs_f64() * factor / old;
                request.due = now + SimDuration::from_secs_f64(left);
                pending.at(request.due, Event::ServiceDone(RequestId(slot)).word());
                self.watch(RequestId(slot), pending);
            }
        }
    }

    /// A server's processes stand still. Clients whose answers were certain to come in time wait with an end now.
    fn hang<Q: PendingEvents>(&mut self, now: SimTime, server: ServerId, pending: &mut Scheduler<Q>) {
        let mut frozen = Vec::new();
        for slot in self.requests_at(server) {
            let request = self.requests.get_mut(slot);
            if request.due != SimTime::NEVER {
                frozen.push((RequestId(slot), request.due.since(now)));
                request.due = SimTime::NEVER;
                self.watch(RequestId(slot), pending);
            }
        }
        self.servers.hang(now, server, frozen);
    }

    /// A server's processes go on where they stood still.
    fn goes_on<Q: PendingEvents>(&mut self, now: SimTime, server: ServerId, pending: &mut Scheduler<Q>) {
        let resumed = self.servers.resume(now, server);
        for (request, due) in resumed.started {
            self.requests.get_mut(request.0).due = self.begin_service(now, request, due, pending);
        }
        if let Some(due) = resumed.shared_due {
            pending.at(due, Event::SharedServiceDone(server).word());
        }
        let (present, busy) = self.servers.level(server);
        self.recorder.level(now, server, present, busy);
    }

    /// A server's processes die. Its kernel lives: it ends the connections and refuses new ones.
    fn crash<Q: PendingEvents>(&mut self, now: SimTime, server: ServerId, pending: &mut Scheduler<Q>) {
        self.servers.crash(now, server);
        self.store_server_changes(now, server, true);
        self.recorder.level(now, server, 0, 0);
        if self.layer() == Layer::Connection {
            for slot in self.connections_to(server) {
                let row = *self.connections.get(slot);
                if row.goes_to(server) {
                    self.pass(now, ConnectionId(slot), Segment::ServerFin);
                    self.pass(now, ConnectionId(slot), Segment::ClientFin);
                    // A request on it is cut off below and then drops the connection.
                    if row.in_flight == 0 {
                        self.drop_connection(now, ConnectionId(slot));
                    }
                }
            }
        }
        // The end of one may be the end of another.
        for slot in self.requests_at(server) {
            if self.requests.get(slot).is_at(server) {
                self.cut_off(now, RequestId(slot), pending);
            }
        }
        for slot in self.tabs_held_by(server) {
            self.break_hold_if(now, slot, |held| held.server == server, pending);
        }
    }

    /// Requests that a server has, by slot.
    fn requests_at(&mut self, server: ServerId) -> Vec<u32> {
        let Some(rosters) = &mut self.faults.rosters else { return Vec::new() };
        rosters.requests.present(server, |slot| self.requests.get(slot).is_at(server))
    }

    /// Open connections that a director sends to a server, by slot.
    fn connections_to(&mut self, server: ServerId) -> Vec<u32> {
        let Some(rosters) = &mut self.faults.rosters else { return Vec::new() };
        rosters.connections.present(server, |slot| self.connections.get(slot).goes_to(server))
    }

    /// Tabs whose exchange a server holds open, by slot.
    fn tabs_held_by(&mut self, server: ServerId) -> Vec<u32> {
        let Some(rosters) = &mut self.faults.rosters else { return Vec::new() };
        rosters.tabs.present(server, |slot| self.tabs.get(slot).is_held_by(server))
    }
}
