//! Faults as they happen, and the checks that notice them.

use super::Cluster;
use super::event::Event;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimTime};
use crate::health::active::Verdict;
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
        self.active_faults.push(fault);
        match self.scenario.faults[fault as usize].kind {
            FaultKind::Crash { server, lasts } => {
                pending.at(now + lasts, Event::FaultEnds(fault).word());
                if self.servers.is_up(server) {
                    self.outages.push(Outage { server, from: now, until: SimTime::NEVER });
                    self.crash(now, server, pending);
                }
            }
            kind @ FaultKind::StoreCrash { lasts, .. } => {
                pending.at(now + lasts, Event::FaultEnds(fault).word());
                self.store_node_changes(now, &kind, true);
            }
        }
    }

    pub(super) fn fault_ends(&mut self, now: SimTime, fault: u32) {
        self.active_faults.retain(|&active| active != fault);
        match self.scenario.faults[fault as usize].kind {
            FaultKind::Crash { server, .. } => {
                let kind = self.scenario.faults[fault as usize].kind;
                let strikes = |&other: &u32| self.scenario.faults[other as usize].kind.is_of_same_part(&kind);
                if !self.active_faults.iter().any(strikes) {
                    self.servers.recover(server);
                    self.store_server_changes(now, server, false);
                    if let Some(outage) = self.outages.iter_mut().rev().find(|outage| outage.server == server)
                    {
                        outage.until = now;
                    }
                }
            }
            kind @ FaultKind::StoreCrash { .. } => {
                let strikes = |&other: &u32| self.scenario.faults[other as usize].kind.is_of_same_part(&kind);
                if !self.active_faults.iter().any(strikes) {
                    self.store_node_changes(now, &kind, false);
                }
            }
        }
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
                    self.instance(row.instance).segment(now, row.flow, Segment::ServerFin);
                    self.instance(row.instance).segment(now, row.flow, Segment::ClientFin);
                    // A request on it is cut off below and then drops the connection.
                    if row.in_flight == 0 {
                        self.drop_connection(ConnectionId(slot));
                    }
                }
            }
        }
        for slot in 0..self.requests.slots() {
            let request = self.requests.get(slot);
            if request.in_server && request.server() == server {
                self.cut_off(now, RequestId(slot), pending);
            }
        }
        self.break_holds(now, server, pending);
    }

    /// A health check of a server takes place.
    pub(super) fn check<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        pending: &mut Scheduler<Q>,
    ) {
        let accepts = self.servers.is_up(server);
        if let Instance::HaProxy(haproxy) = self.instance(0) {
            if let Some(next) = haproxy.check_ended(now, server, accepts) {
                pending.at(now + next, Event::Check(server).word());
            }
            return;
        }
        let tier = &mut self.tiers[0];
        let (verdict, next) = tier.checkers[server.index()].probe(accepts);
        for instance in &mut tier.instances {
            match verdict {
                Verdict::Unchanged => {}
                Verdict::Remove => instance.remove_server(now, server),
                Verdict::Add if !instance.uses(server) => {}
                Verdict::Add => instance.add_server(now, server, tier.weights[server.index()]),
            }
        }
        pending.at(now + next, Event::Check(server).word());
    }
}
