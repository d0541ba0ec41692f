//! How a request's way through the proxies ends, or stays open, other than by an answer: time-outs, clients that leave, instances that die, and
//! directors in between that no longer know a connection.

use super::{Cluster, HELD, Parts};
use crate::cluster::Event;
use crate::cluster::paths::{Hop, meet, tier_at};
use crate::cluster::request::{FlowEnd, Waits};
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimTime};
use crate::ids::{RequestId, ServerId};
use crate::metrics::recorder::Failure;
use crate::scenario::FrontPlan;
use crate::tier::{FlowId, Forwarded, Instance, Outcome, Segment};

impl Cluster<'_> {
    /// A segment passes `number` directors behind a proxy at `at`, through which a request's try has gone.
    fn pass_leg(
        &mut self,
        now: SimTime,
        flow: FlowId,
        (at, number): (usize, usize),
        segment: Segment,
    ) -> Forwarded {
        let from_server = matches!(segment, Segment::FromServer | Segment::ServerFin | Segment::ServerReset);
        let Parts { fronts, reach, chain, .. } = Parts::of(&mut self.paths);
        let last = &mut self.tier;
        let relay = chain.relays.live(flow);
        let mut target = ServerId(relay.stops[at].hop.target);
        for (place, reach) in reach.iter_mut().enumerate().skip(at + 1).take(number) {
            let stop = &mut relay.stops[place];
            let tier = tier_at(fronts, last, place);
            // In direct routing the servers' packets pass by.
            if from_server && tier.one_way {
                target = ServerId(stop.hop.target);
                continue;
            }
            let way = (target.0, stop.peer, relay.called);
            match meet(tier, reach, now, way, segment, &mut stop.hop) {
                Forwarded::To(next) => target = next,
                lost @ (Forwarded::Dropped | Forwarded::Reset) => {
                    if lost == Forwarded::Reset {
                        self.count_reset(now);
                    }
                    return lost;
                }
            }
        }
        Forwarded::To(target)
    }

    /// The connection of the innermost proxy's try is over. Returns whether an answer has come through.
    pub(super) fn close_leg(&mut self, now: SimTime, flow: FlowId, outcome: Outcome) -> bool {
        let relay = self.relay(flow);
        let (at, number) = (relay.at, std::mem::take(&mut relay.leg));
        if number == 0 {
            return true;
        }
        let segments: &[Segment] = match outcome {
            Outcome::Status(_) => &[Segment::FromServer, Segment::ServerFin, Segment::ClientFin],
            Outcome::ConnectRefused => &[Segment::ServerReset],
            Outcome::ConnectTimeout => &[],
            Outcome::Reset => &[Segment::ServerFin, Segment::ClientFin],
            Outcome::ReadTimeout => &[Segment::ClientFin, Segment::ServerFin],
        };
        let mut came_through = true;
        for &segment in segments {
            let passed = self.pass_leg(now, flow, (at, number), segment);
            if !matches!(passed, Forwarded::To(_)) {
                came_through = segment != Segment::FromServer;
                break;
            }
        }
        for place in at + 1..=at + number {
            self.leave_stop(now, flow, place);
        }
        came_through
    }

    /// A request is no longer at a tier.
    pub(super) fn leave_stop(&mut self, now: SimTime, flow: FlowId, place: usize) {
        let since = self.relay(flow).stops[place].since;
        let Parts { stations, .. } = Parts::of(&mut self.paths);
        if let Some(station) = stations.get_mut(place) {
            station.leaves(now, since);
        }
    }

    /// The proxy at `place` closes the connection of its try: all behind it see their client leave.
    fn abort_behind(&mut self, now: SimTime, flow: FlowId, place: usize) {
        loop {
            self.close_leg(now, flow, Outcome::ReadTimeout);
            let relay = self.relay(flow);
            (relay.connecting, relay.leg) = (false, 0);
            let (at, hop) = (relay.at, relay.stops[relay.at].hop);
            if at == place {
                return;
            }
            let Parts { fronts, .. } = Parts::of(&mut self.paths);
            let last = &mut self.tier;
            tier_at(fronts, last, at).instances[usize::from(hop.instance)].abort(now, hop.flow);
            self.leave_stop(now, flow, at);
            let chain = self.chain_mut();
            let before = chain.before(at);
            let relay = chain.relays.live(flow);
            (relay.at, relay.leg) = (before, at - before - 1);
        }
    }

    /// The first answer of an exchange that stays open has come through.
    pub(in crate::cluster) fn hold_in_chain(&mut self, now: SimTime, flow: FlowId) {
        let Parts { fronts, chain, .. } = Parts::of(&mut self.paths);
        let last = &mut self.tier;
        let relay = chain.relays.live(flow);
        for place in chain.entry..=relay.at {
            if chain.links[place].is_proxy {
                let Hop { instance, flow: own, .. } = relay.stops[place].hop;
                let tier = tier_at(fronts, last, place);
                relay.stops[place].cookie = tier.instances[usize::from(instance)].cookie_to_set(own);
            }
        }
        let seen = *relay;
        relay.request = HELD;
        relay.stops.iter_mut().for_each(|stop| stop.cookie = None);
        self.set_cookies(now, &seen);
    }

    /// The client has left. As [`Instance::abort`].
    pub(in crate::cluster) fn abort_in_chain(&mut self, now: SimTime, flow: FlowId) {
        if self.chain_ref().relays.get(flow).is_none() {
            return;
        }
        let entry = self.chain_ref().entry;
        self.abort_behind(now, flow, entry);
        let hop = self.relay(flow).stops[entry].hop;
        let Parts { fronts, .. } = Parts::of(&mut self.paths);
        let last = &mut self.tier;
        tier_at(fronts, last, entry).instances[usize::from(hop.instance)].abort(now, hop.flow);
        self.leave_stop(now, flow, entry);
        self.chain_mut().relays.remove(flow);
    }

    /// Whether a message on a held exchange comes through between the proxies.
    pub(in crate::cluster) fn carries_message(&mut self, now: SimTime, flow: FlowId) -> bool {
        let chain = self.chain_ref();
        let Some(relay) = chain.relays.get(flow) else { return false };
        let (mut at, mut leg) = (relay.at, relay.leg);
        loop {
            if !matches!(self.pass_leg(now, flow, (at, leg), Segment::FromClient), Forwarded::To(_)) {
                return false;
            }
            let chain = self.chain_ref();
            if at == chain.entry {
                return true;
            }
            let before = chain.before(at);
            (at, leg) = (before, at - before - 1);
        }
    }

    /// Requests that a proxy has had for as long as it waits are taken back by it.
    pub(in crate::cluster) fn overdue_in_chain<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        pending: &mut Scheduler<Q>,
    ) {
        let requests = &self.requests;
        let entered = |id: RequestId| {
            let request = requests.get(id.0);
            let entered = if request.in_server { request.entered } else { SimTime::NEVER };
            // An answer that only the client has not got has come to the proxies.
            let waits = request.flow_end == FlowEnd::WithAnswer && request.waits != Waits::Client;
            waits.then_some(entered)
        };
        let (due, next) = self.chain_ref().overdue(now, entered);
        for (flow, place) in due {
            self.take_back_in_chain(now, flow, place, Outcome::ReadTimeout, Failure::ProxyTimeout, pending);
        }
        pending.at(next, Event::Overdue.word());
    }

    /// The try of the proxy at `place` ends, whatever becomes of it behind.
    fn take_back_in_chain<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        flow: FlowId,
        place: usize,
        outcome: Outcome,
        failure: Failure,
        pending: &mut Scheduler<Q>,
    ) {
        let id = self.relay(flow).request;
        let id = self.detach(id);
        self.relay(flow).request = id;
        self.abort_behind(now, flow, place);
        let then = self.attempt_ended_in_chain(now, flow, outcome);
        self.go_on(now, id, then, failure, pending);
    }

    /// An instance of a proxy behind another dies: those who had sent it requests see the connections break.
    pub(in crate::cluster) fn lose_inner_instance<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        place: usize,
        instance: u16,
        pending: &mut Scheduler<Q>,
    ) {
        let cut = self.chain_ref().under_way_at(place, instance);
        let before = self.chain_ref().before(place);
        // First all leave it, so that none meets the one that comes after it.
        for &(flow, id) in &cut {
            let id = self.detach(id);
            self.relay(flow).request = id;
            self.abort_behind(now, flow, before);
        }
        self.restart_instance(now, place, instance);
        for (flow, _) in cut {
            let id = self.relay(flow).request;
            let then = self.attempt_ended_in_chain(now, flow, Outcome::Reset);
            self.go_on(now, id, then, Failure::NoDirector, pending);
        }
    }

    /// An instance begins anew and knows nothing.
    pub(in crate::cluster) fn restart_instance(&mut self, now: SimTime, place: usize, instance: u16) {
        let (streams, strategy) = (self.streams, self.strategy);
        let number = (strategy.fronts.len() - place) as u64;
        let plan = strategy.fronts.get(place).map_or(Some(&strategy.tier), FrontPlan::plan);
        let Some(plan) = plan else { return };
        let tier = match self.paths.as_deref_mut() {
            Some(paths) => tier_at(&mut paths.fronts, &mut self.tier, place),
            None => &mut self.tier,
        };
        tier.restart(now, plan, number, instance, &streams);
    }

    /// Requests that may leave the queues of proxies go on.
    pub(in crate::cluster) fn start_waiting_in_chain<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        pending: &mut Scheduler<Q>,
    ) {
        let (entry, last) = (self.chain_ref().entry, self.strategy.fronts.len());
        for place in entry..=last {
            let Parts { fronts, .. } = Parts::of(&mut self.paths);
            let instances = tier_at(fronts, &mut self.tier, place).waiting.instances();
            for instance in 0..instances {
                self.start_waiting_in_chain_at(now, place, instance, pending);
            }
        }
    }

    fn start_waiting_in_chain_at<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        place: usize,
        instance: usize,
        pending: &mut Scheduler<Q>,
    ) {
        loop {
            let Parts { fronts, .. } = Parts::of(&mut self.paths);
            let tier = tier_at(fronts, &mut self.tier, place);
            let Instance::HaProxy(haproxy) = &mut tier.instances[instance] else { return };
            let Some((own, decision)) = haproxy.next_started() else { return };
            let id = tier.waiting.of(instance, own);
            let flow = self.requests.get(id.0).flow;
            // Whoever was let in may have been taken back since, by a proxy in front of this one.
            if !self.chain_ref().waits(flow, place, own) {
                continue;
            }
            self.leaves_queue(now, id);
            let then = self.leaves_queue_in_chain(now, flow, decision);
            self.go_on(now, id, then, Failure::NoServer, pending);
        }
    }
}
