//! Faults as they happen, and the checks that notice them.

use super::Cluster;
use super::event::Event;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimTime};
use crate::health::keepalived::{CheckKind, Sight};
use crate::ids::{ConnectionId, RequestId, ServerId};
use crate::scenario::FaultKind;
use crate::tier::{Instance, Layer, Segment};

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

impl Cluster<'_> {
    pub(super) fn fault_begins<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        fault: u32,
        pending: &mut Scheduler<Q>,
    ) {
        let kind = &self.scenario.faults[fault as usize].kind;
        if *kind == FaultKind::Reload {
            return self.reload(now);
        }
        let was_out = kind.server().is_some_and(|server| self.is_out(server));
        self.active_faults.push(fault);
        pending.at(now + kind.lasts(), Event::FaultEnds(fault).word());
        if kind.instance().is_some() {
            return self.instance_changes(now, kind, true, pending);
        }
        let Some(server) = kind.server() else { return self.store_node_changes(now, kind, true) };
        if !was_out && self.is_out(server) {
            self.outages.push(Outage { server, from: now, until: SimTime::NEVER });
        }
        match kind {
            FaultKind::Crash { .. } if self.servers.is_up(server) => self.crash(now, server, pending),
            FaultKind::Hang { .. } => self.hang(now, server, pending),
            FaultKind::Drain { .. } | FaultKind::Down { .. } | FaultKind::Weight { .. } => {
                self.operate(now, server);
            }
            FaultKind::Crash { .. }
            | FaultKind::StoreCrash { .. }
            | FaultKind::InstanceCrash { .. }
            | FaultKind::Partition { .. }
            | FaultKind::Reload => {}
        }
    }

    pub(super) fn fault_ends<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        fault: u32,
        pending: &mut Scheduler<Q>,
    ) {
        let kind = &self.scenario.faults[fault as usize].kind;
        self.active_faults.retain(|&active| active != fault);
        if kind.instance().is_some() {
            return self.instance_changes(now, kind, false, pending);
        }
        let Some(server) = kind.server() else { return self.store_node_changes(now, kind, false) };
        match kind {
            FaultKind::Crash { .. } => {
                if !self.active_kinds(server).any(|kind| matches!(kind, FaultKind::Crash { .. })) {
                    self.servers.recover(server);
                    self.store_server_changes(now, server, false);
                }
            }
            FaultKind::Hang { .. } => self.goes_on(now, server, pending),
            FaultKind::Drain { .. } | FaultKind::Down { .. } | FaultKind::Weight { .. } => {
                self.operate(now, server);
            }
            FaultKind::Reload
            | FaultKind::StoreCrash { .. }
            | FaultKind::InstanceCrash { .. }
            | FaultKind::Partition { .. } => {}
        }
        if !self.is_out(server)
            && let Some(outage) = self.outages.iter_mut().rev().find(|outage| outage.server == server)
            && outage.until == SimTime::NEVER
        {
            outage.until = now;
        }
    }

    /// The faults of a server that last now.
    pub(super) fn active_kinds(&self, server: ServerId) -> impl Iterator<Item = &FaultKind> {
        let kinds = self.active_faults.iter().map(|&fault| &self.scenario.faults[fault as usize].kind);
        kinds.filter(move |kind| kind.server() == Some(server))
    }

    /// Whether a server cannot take new clients, or is not to.
    fn is_out(&self, server: ServerId) -> bool {
        self.active_kinds(server).any(FaultKind::keeps_clients_away)
    }

    /// A server's processes stand still. Clients whose answers were certain to come in time wait with an end now.
    fn hang<Q: PendingEvents>(&mut self, now: SimTime, server: ServerId, pending: &mut Scheduler<Q>) {
        let mut frozen = Vec::new();
        for slot in 0..self.requests.slots() {
            let request = self.requests.get_mut(slot);
            if request.in_server && request.server == server && request.due != SimTime::NEVER {
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
            for slot in 0..self.connections.slots() {
                let row = *self.connections.get(slot);
                if row.open && row.server == server {
                    self.pass(now, ConnectionId(slot), Segment::ServerFin);
                    self.pass(now, ConnectionId(slot), Segment::ClientFin);
                    // A request on it is cut off below and then drops the connection.
                    if row.in_flight == 0 {
                        self.drop_connection(now, ConnectionId(slot));
                    }
                }
            }
        }
        for slot in 0..self.requests.slots() {
            let request = self.requests.get(slot);
            if request.in_server && request.server == server {
                self.cut_off(now, RequestId(slot), pending);
            }
        }
        self.break_holds(now, |held| held.server == server, pending);
    }

    /// A health check of a server takes place.
    pub(super) fn check<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        instance: u16,
        pending: &mut Scheduler<Q>,
    ) {
        let accepts = self.servers.accepts_connections(server);
        if let Instance::HaProxy(haproxy) = self.instance(instance) {
            if let Some(next) = haproxy.check_ended(now, server, accepts) {
                pending.at(now + next, Event::Check { server, instance }.word());
            }
            return;
        }
        let out = self.active_kinds(server).any(|kind| matches!(kind, FaultKind::Down { .. }));
        let tier = &mut self.tier;
        let checker = &mut tier.checkers[server.index()];
        let well = match checker.kind() {
            CheckKind::Tcp => accepts,
            CheckKind::Http => self.servers.answers(server),
        };
        let sight = match (well, self.servers.is_up(server)) {
            (true, _) => Sight::Good,
            // Its kernel refuses for a dead process, and keeps silent when a living one takes no more.
            (false, false) => Sight::Bad,
            (false, true) => Sight::Silent,
        };
        let verdict = checker.tick(now, sight);
        pending.at(checker.due(), Event::Check { server, instance }.word());
        for instance in &mut tier.instances {
            match verdict {
                None => {}
                Some(false) => instance.remove_server(now, server),
                Some(true) if out || !instance.uses(server) => {}
                Some(true) => instance.add_server(now, server, tier.weights[server.index()]),
            }
        }
    }
}
