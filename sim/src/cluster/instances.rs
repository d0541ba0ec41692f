//! Instances of tiers that die and come back, directors that no longer hear each other, and the checks of tiers in front.

use std::net::IpAddr;

use super::Cluster;
use super::accounting::{self, AccountingError};
use super::event::Event;
use super::paths::{Alive, FrontKind, Path, Paths, tier_at};
use super::request::{FlowEnd, Origin, Request, Unanswered, Waits};
use super::watch::warm_up_share;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimTime};
use crate::health::Verdict;
use crate::health::keepalived::Sight;
use crate::ids::{ConnectionId, RequestId, ServerId};
use crate::metrics::recorder::Failure;
use crate::scenario::{FaultKind, Process};
use crate::tier::{Forwarded, Instance, Layer, Segment};

/// Stands where there is no instance: nobody has answered.
pub(super) const NOBODY: u16 = u16::MAX;

impl Cluster<'_> {
    /// The tier that has the instance at a place of [`crate::scenario::Scenario::instances`], and its number there.
    pub(super) fn find_instance(&self, faulty: u16) -> Option<(usize, u16)> {
        let named = self.scenario.instances.get(usize::from(faulty));
        self.strategy.programs().find_map(|(place, plan)| {
            let instance = plan.instances.iter().position(|instance| Some(&instance.name) == named)?;
            Some((place, instance as u16))
        })
    }

    /// Brings a tier's instance into the condition that follows from all that befalls it now, if the strategy has it.
    pub(super) fn instance_changes<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        faulty: u16,
        pending: &mut Scheduler<Q>,
    ) {
        let Some((place, instance)) = self.find_instance(faulty) else { return };
        let kills = |process| self.faults.befalls(faulty, |kind| *kind == FaultKind::Kill { process });
        let host = !self.faults.befalls(faulty, |kind| *kind == FaultKind::Crash);
        let of_pair = self.strategy.programs().filter(|&(at, _)| at == place);
        let parted = of_pair.flat_map(|(_, plan)| &plan.instances).any(|instance| {
            let place = self.scenario.instances.iter().position(|known| *known == instance.name);
            place.is_some_and(|place| self.faults.befalls(place as u16, |kind| *kind == FaultKind::Partition))
        });
        let Some(paths) = self.paths.as_deref_mut() else { return };
        let reach = &mut paths.reach[place];
        let tier = tier_at(&mut paths.fronts, &mut self.tier, place);
        // LVS has no process.
        let has_process = !matches!(tier.instances[0], Instance::Lvs(_));
        let wanted = Alive {
            host,
            keepalived: host && !kills(Process::Keepalived),
            balancer: host && !(has_process && kills(Process::Balancer)),
        };
        let before = std::mem::replace(&mut reach.alive[usize::from(instance)], wanted);
        if let Some(pair) = &mut reach.pair {
            pair.sync(now, &mut tier.instances);
            pair.part(now, parted);
            pair.look_for(now, instance, wanted.balancer);
            match (before.keepalived, wanted.keepalived) {
                (true, false) if wanted.host => pair.kill(now, instance),
                (_, false) if !wanted.host => pair.crash(now, instance),
                (false, true) => pair.start(now, instance),
                (true, true) | (_, false) => {}
            }
        }
        let mut others = (0..reach.alive.len()).filter(|&other| other != usize::from(instance));
        if !before.balancer
            && wanted.balancer
            && let Some(other) = others.find(|&other| reach.alive[other].balancer)
        {
            tier.learn_from(now, instance, other);
        }
        match (before.keepalived, wanted.keepalived) {
            (true, false) => tier.watch_stops(instance.into()),
            (false, true) => self.keepalived_starts(now, place, instance, pending),
            (true, true) | (false, false) => {}
        }
        if before.balancer && !wanted.balancer {
            self.lose_instance(now, place, instance, pending);
        }
    }

    /// keepalived begins anew beside a director.
    fn keepalived_starts<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        place: usize,
        instance: u16,
        pending: &mut Scheduler<Q>,
    ) {
        let (clock, number) = (self.streams.clock, usize::from(instance));
        let Some(paths) = self.paths.as_deref_mut() else { return };
        let is_last = place == paths.last();
        let tier = tier_at(&mut paths.fronts, &mut self.tier, place);
        // Proxies are checked by somebody who has no part in this.
        if !matches!(tier.instances[0], Instance::Lvs(_)) {
            return;
        }
        let faults = &self.faults;
        let out = |server| is_last && faults.of(server).any(|kind| *kind == FaultKind::Down);
        tier.watch_starts(now, number, |server| warm_up_share(&clock, now, place, instance, server), out);
        if let Some(watch) = tier.watches.get(number) {
            for server in watch.checked() {
                let check = match is_last {
                    true => Event::Check { server, instance },
                    false => Event::CheckInstance { place: place as u8, target: server.0, instance },
                };
                pending.at(watch.due(server), check.word());
            }
        }
        self.note_sorry_server(now);
    }

    /// What an instance knew is lost, and with one that ends TCP all connections to it.
    fn lose_instance<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        place: usize,
        instance: u16,
        pending: &mut Scheduler<Q>,
    ) {
        let Some(paths) = self.paths.as_deref_mut() else { return };
        let tier = tier_at(&mut paths.fronts, &mut self.tier, place);
        if let Instance::Lvs(director) = &mut tier.instances[usize::from(instance)] {
            return director.lose_tables(now);
        }
        let entry = paths.entry;
        self.break_holds_through(now, place, instance, pending);
        if place != entry {
            return self.lose_inner_instance(now, place, instance, pending);
        }
        // The kernel of a machine that lives ends its connections. Of a machine that died clients learn when they send something, and
        // whoever has the address then does not know the connection.
        let host =
            self.paths.as_ref().is_some_and(|paths| paths.reach[place].alive[usize::from(instance)].host);
        let mut ended = Vec::new();
        for slot in 0..self.connections.slots() {
            let row = self.connections.get_mut(slot);
            if row.open && row.instance == instance && !row.is_orphan {
                if row.unanswered == Unanswered::Nothing && (host || row.in_flight > 0) {
                    ended.push(ConnectionId(slot));
                } else {
                    row.is_orphan = true;
                }
            }
        }
        let cut = self.under_way_at_entry(instance);
        let cut: Vec<_> = cut.into_iter().map(|id| (id, self.requests.get(id.0).origin)).collect();
        for &(id, _) in &cut {
            if self.chained {
                self.abort_in_chain(now, self.requests.get(id.0).flow);
            }
            self.leave(id);
        }
        for connection in ended {
            self.drop_connection(now, connection);
        }
        self.restart_instance(now, place, instance);
        for (_, origin) in cut {
            self.request_failed(now, origin, Failure::NoDirector, pending);
        }
    }

    /// Requests that clients have under way through an instance of the proxies at which their connections end.
    fn under_way_at_entry(&self, instance: u16) -> Vec<RequestId> {
        if let Some(Paths { entry, chain: Some(chain), .. }) = self.paths.as_deref() {
            return chain.under_way_at(*entry, instance).into_iter().map(|(_, id)| id).collect();
        }
        let mut cut = self.waiting_at(instance);
        for slot in 0..self.requests.slots() {
            let request = self.requests.get(slot);
            let is_live = request.in_server || request.due != SimTime::NEVER;
            let id = RequestId(slot);
            if request.instance == instance
                && is_live
                && request.flow_end != FlowEnd::Detached
                && request.waits != Waits::Site
                && !cut.contains(&id)
            {
                cut.push(id);
            }
        }
        cut
    }

    /// A tier in front checks one of the next tier's instances; `instance` says which of its own does, if each does by itself.
    pub(super) fn check_instance<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        place: usize,
        target: u16,
        instance: u16,
        pending: &mut Scheduler<Q>,
    ) {
        let Some(paths) = self.paths.as_deref_mut() else { return };
        let sight = paths.reach[place + 1].sight(now, target);
        let front = &mut paths.fronts[place];
        let due = match &mut front.kind {
            FrontKind::Dns(_) | FrontKind::Ecmp(_) => {
                let checker = &mut front.checkers[usize::from(target)];
                let listed = checker.tick(now, sight);
                let due = checker.due();
                if let Some(listed) = listed {
                    front.verdicts.push(Verdict::new(now, 0, ServerId(target), !listed));
                }
                match (&mut front.kind, listed) {
                    (FrontKind::Dns(dns), Some(listed)) => dns.list(target, listed),
                    (FrontKind::Ecmp(router), Some(listed)) => router.list(target, listed),
                    (FrontKind::Dns(_) | FrontKind::Ecmp(_), None) | (FrontKind::Tier(_), _) => {}
                }
                due
            }
            FrontKind::Tier(tier) => {
                let (server, watch) = (ServerId(target), usize::from(instance));
                if let Instance::HaProxy(haproxy) = &mut tier.instances[usize::from(instance)] {
                    let Some(next) = haproxy.check_ended(now, server, sight == Sight::Good) else { return };
                    let check = Event::CheckInstance { place: place as u8, target, instance };
                    return pending.at(now + next, check.word());
                }
                // One that was killed has left its events behind.
                if tier.watches[watch].due(server) != now {
                    return;
                }
                tier.check(now, watch, server, sight, |_| false);
                tier.watches[watch].due(server)
            }
        };
        pending.at(due, Event::CheckInstance { place: place as u8, target, instance }.word());
    }

    /// One of several instances of the last tier has decided about a request.
    #[inline(never)]
    pub(super) fn note_decision(&mut self, now: SimTime, instance: u16) {
        self.recorder.decided(now, self.tier.first, instance);
        if self.tier.learnt.is_some() {
            self.tell_peers(now, instance);
        }
    }

    /// What an HAProxy has learnt of clients goes to its peers.
    #[inline(never)]
    pub(super) fn tell_peers(&mut self, now: SimTime, instance: u16) {
        let reach = self.paths.as_deref().and_then(|paths| paths.reach.last());
        self.tier.share(now, instance, |place| reach.is_none_or(|reach| reach.alive[place].balancer));
    }

    /// The address and port that the last tier sees on a way, where a tier in front hides the client's.
    pub(super) fn seen_at_last(&self, path: &Path) -> Option<(IpAddr, u16)> {
        self.paths.as_ref().filter(|paths| paths.hides_clients()).map(|_| path.last)
    }

    /// An answer goes back to its client by the tiers that see it. Returns whether it is lost on the way.
    #[inline]
    pub(super) fn is_answer_lost(&mut self, now: SimTime, request: &Request) -> bool {
        // The kernel of a client that has closed its socket resets what comes after.
        let gone = request.origin == Origin::Gone;
        let reply = if gone { Segment::ClientReset } else { Segment::FromClient };
        let sent = self.pass(now, request.connection, Segment::FromServer);
        if self.paths.is_none() {
            self.pass(now, request.connection, reply);
            return false;
        }
        let is_open = self.connections.get(request.connection.0).open;
        if !matches!(sent, Forwarded::To(_)) {
            return is_open && !gone;
        }
        if self.pass(now, request.connection, reply) == Forwarded::Reset && is_open {
            self.count_reset(now);
            self.drop_connection(now, request.connection);
        }
        false
    }

    /// An answer did not come through: its connection is of no more use.
    pub(super) fn answer_lost<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let connection = self.requests.get(id.0).connection;
        self.count_reset(now);
        self.drop_connection(now, connection);
        self.give_up(now, id, Failure::Reset, pending);
    }

    /// A connection was reset by a director that did not know it.
    pub(super) fn count_reset(&mut self, now: SimTime) {
        if let Some(counts) = self.recorder.at(now) {
            counts.tiers.connections_reset += 1;
        }
    }

    /// Lets the recorder count what each instance decides, where there are several.
    pub(super) fn watch_instances(&mut self) {
        let mut first = 0;
        if let Some(paths) = &mut self.paths {
            let tiers = paths.fronts.iter_mut().map(|front| match &mut front.kind {
                FrontKind::Tier(tier) => Some(tier),
                FrontKind::Dns(_) | FrontKind::Ecmp(_) => None,
            });
            let tiers = tiers.chain([Some(&mut self.tier)]);
            for (place, (tier, reach)) in (0..).zip(tiers.zip(&mut paths.reach)) {
                let Some(tier) = tier else { continue };
                tier.first = first;
                first += tier.instances.len() as u32;
                if let Some(pair) = &mut reach.pair {
                    let clock = self.streams.clock;
                    pair.start_sync(&mut tier.instances, |looks| clock.below(looks, 4 << 32 | place, 0));
                }
            }
        } else {
            first = self.tier.instances.len() as u32;
        }
        if first > 1 {
            self.recorder.watch_instances(first as usize);
        }
    }

    /// Ends the run for the tiers in front and the pairs: checks their accounts, and records who had the virtual addresses.
    pub(super) fn close_paths(&mut self, end: SimTime) -> Result<(), AccountingError> {
        let Some(paths) = self.paths.as_deref_mut() else { return Ok(()) };
        let mut open = (0, 0);
        for (slot, row) in self.connections.rows().iter().enumerate() {
            if row.stands() {
                let opened = paths.path(ConnectionId(slot as u32)).opened;
                open = (open.0 + 1, open.1 + u128::from(end.since(opened).0));
            }
        }
        let Paths { stations, chain, entry, .. } = &mut *paths;
        for (place, station) in stations.iter_mut().enumerate() {
            station.integrate(end);
            let walking = chain.as_ref().filter(|_| place >= *entry);
            let open = walking.map_or(open, |chain| chain.present(place, end));
            accounting::check_tier(station, open)?;
        }
        for pair in paths.reach.iter_mut().filter_map(|reach| reach.pair.as_mut()) {
            pair.reached(end);
            for &(from, until) in &pair.silences {
                if let Some(counts) = self.recorder.at(from) {
                    counts.tiers.silent.record(until.since(from));
                }
            }
            for &(at, sent) in &pair.traffic {
                if let Some(counts) = self.recorder.at(at) {
                    counts.tiers.sync_messages += sent.messages;
                    counts.tiers.sync_bytes += sent.bytes;
                }
            }
            for &at in &pair.moves {
                if let Some(counts) = self.recorder.at(at) {
                    counts.tiers.takeovers += 1;
                }
            }
        }
        Ok(())
    }

    /// Counts a new connection at the instances that it goes through.
    pub(super) fn count_path(&mut self, now: SimTime, connection: ConnectionId) {
        let layer = self.layer();
        let instance = self.connections.get(connection.0).instance;
        let Some(paths) = self.paths.as_deref() else { return };
        for (front, hop) in paths.fronts[..paths.entry].iter().zip(paths.path(connection).hops) {
            if let FrontKind::Tier(tier) = &front.kind {
                self.recorder.decided(now, tier.first, hop.instance);
            }
        }
        if layer == Layer::Connection {
            self.recorder.decided(now, self.tier.first, instance);
        }
    }
}
