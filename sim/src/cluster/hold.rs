//! Exchanges that stay open: WebSocket connections with messages on them, and answers of a long poll that are held back.
//!
//! Through a layer 7 instance the flow stays open, so the instance counts it for its server all the while; through a director
//! the connection stays established. A held exchange takes no worker of the server, only its messages do. When its server dies
//! the exchange breaks, and its client comes back through the balancer.

use super::Cluster;
use super::browser::{Held, pause};
use super::request::{Draw, FlowEnd, Origin, Purpose, Request, Unanswered};
use crate::backend::servers::Accepted;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::{ClientId, ConnectionId, RequestId};
use crate::metrics::recorder::Failure;
use crate::scenario::HoldPlan;
use crate::tier::{Layer, Method, Outcome, Reason, Segment};

impl Cluster<'_> {
    /// A click that is to be held has had its first answer.
    pub(super) fn begin_hold<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        hold: &HoldPlan,
        request: &Request,
        pending: &mut Scheduler<Q>,
    ) {
        match self.layer() {
            Layer::Request if self.chained => self.hold_in_chain(now, request.flow),
            Layer::Request => self.take_cookie(now, request),
            Layer::Connection => {}
        }
        let slot = self.open_tab(id);
        if self.tabs.get(slot).held_until == SimTime::NEVER {
            let name = self.part_name(id, 0);
            let law = &self.browser_samplers(id).hold;
            let time = law.as_ref().map(|law| law.duration(&self.streams.hold, u64::from(id.0), name));
            let tab = self.tabs.get_mut(slot);
            tab.held_until = now + time.unwrap_or(SimDuration::ZERO);
            tab.messages = 0;
        }
        // A director may have reset what followed the answer.
        let connection = Some(request.connection).filter(|open| self.connections.get(open.0).open);
        let tab = self.tabs.get_mut(slot);
        tab.tries = 0;
        tab.held =
            Some(Held { server: request.server, instance: request.instance, flow: request.flow, connection });
        if let Some(rosters) = &mut self.faults.rosters {
            let is_here = |slot| self.tabs.get(slot).is_held_by(request.server);
            rosters.tabs.note(request.server, slot, is_here);
        }
        self.recorder.held(now, request.server, 1);
        self.next_message(now, id, slot, hold, pending);
    }

    /// A client that was to come back to its exchange finds a login page: the exchange is over.
    pub(super) fn forget_hold(&mut self, id: ClientId) {
        let row = self.clients.row(id);
        if let Some(slot) = row.has_browser().then(|| row.tab()).flatten() {
            self.tabs.get_mut(slot).held_until = SimTime::NEVER;
        }
    }

    /// A click that was to be held is over with its first answer, if that was a login page.
    pub(super) fn end_unless_held(&mut self, now: SimTime, id: ClientId, request: &Request) {
        let held = self.clients.row(id).tab().and_then(|slot| self.tabs.get(slot).held);
        if self.layer() == Layer::Request && held.is_none_or(|held| held.flow != request.flow) {
            self.attempt_ended(now, request.instance, request.flow, Outcome::Status(200));
        }
    }

    /// Announces the next message of a held exchange, or its end.
    fn next_message<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        slot: u32,
        hold: &HoldPlan,
        pending: &mut Scheduler<Q>,
    ) {
        let tab = *self.tabs.get(slot);
        let left = tab.held_until.max(now).since(now);
        let name = self.part_name(id, u64::from(tab.messages));
        let law = self.browser_samplers(id).messages.as_ref().filter(|_| hold.messages.is_some());
        let gap = law.map(|law| law.duration(&self.streams.message_gap, u64::from(id.0), name));
        self.announce(now, id, gap.map_or(left, |gap| gap.min(left)), pending);
    }

    /// Sends a message on a held exchange; nobody waits for the answer.
    pub(super) fn send_message<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        slot: u32,
        hold: &HoldPlan,
        pending: &mut Scheduler<Q>,
    ) {
        let Some(held) = self.tabs.get(slot).held else { return };
        let name = self.part_name(id, u64::from(self.tabs.get(slot).messages) + 1);
        // The user's address may have changed, or a director have forgotten the connection, and then it is reset.
        let standing = self.standing_connection(now, id, held.connection, name);
        let carries = standing.is_some() && (!self.chained || self.carries_message(now, held.flow));
        let carrying = if carries { self.reuse_connection(now, standing, Method::Post) } else { Ok(None) };
        let Ok(Some(connection)) = carrying else {
            if let Some(gone) = held.connection.filter(|_| standing.is_none() || carries) {
                self.forget_in_browser(id, gone);
            }
            self.break_hold(now, slot, hold, pending);
            return;
        };
        let is_heard = self.connections.get(connection.0).unanswered == Unanswered::Nothing;
        self.tabs.get_mut(slot).messages += 1;
        let demand = Draw { entity: u64::from(id.0), index: name, purpose: Purpose::Message };
        let origin = Origin::Message(id);
        let mut request = Request::new(now, origin, connection, Method::Post, None, demand);
        request.flow_end = FlowEnd::Detached;
        request.from = self.connections.get(connection.0).address;
        (request.server, request.instance, request.reason) = (held.server, held.instance, Reason::LiveEntry);
        self.recorder.ledger.requests_issued += 1;
        if is_heard {
            let sent = RequestId(self.requests.insert(request));
            self.message_is_heard(now, sent, pending);
        } else {
            self.send_into_silence(now, request, None, pending);
        }
        self.next_message(now, id, slot, hold, pending);
    }

    /// A message comes to its server.
    pub(super) fn message_is_heard<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let Request { server, origin, demand, .. } = *self.requests.get(id.0);
        if let Some(refusal) = self.enter_server(now, id, server, (demand, 0), pending) {
            let full = refusal == Accepted::Full;
            self.release(id);
            let failure = if full { Failure::QueueFull } else { Failure::Refused };
            self.request_failed(now, origin, failure, pending);
        }
    }

    /// The connection of a message is no more: the exchange that it carried breaks.
    pub(super) fn message_is_lost<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        connection: ConnectionId,
        pending: &mut Scheduler<Q>,
    ) {
        let (_, plan) = self.plan_of(self.clients.row(id));
        let hold = plan.browser.as_ref().and_then(|browser| browser.hold.as_ref());
        if let (Some(slot), Some(hold)) = (self.clients.row(id).tab(), hold)
            && self
                .tabs
                .get(slot)
                .held
                .is_some_and(|held| held.connection.is_none_or(|held| held == connection))
        {
            self.break_hold(now, slot, hold, pending);
        }
    }

    /// A held exchange has lasted as long as it was to, or its client has not come back in time.
    pub(super) fn end_hold(&mut self, now: SimTime, id: ClientId, slot: u32, hold: &HoldPlan) {
        let tab = self.tabs.get_mut(slot);
        tab.held_until = SimTime::NEVER;
        tab.tries = 0;
        let Some(held) = tab.held.take() else { return };
        self.leave_hold(now, held);
        let Some(connection) = held.connection else { return };
        if self.is_watched() {
            // The answer that was held back, or the last message.
            self.pass(now, connection, Segment::FromServer);
            self.pass(now, connection, Segment::FromClient);
        }
        // A connection that was given over to messages cannot go back to requests.
        if hold.messages.is_some() {
            self.close_if_open(now, connection);
            self.forget_in_browser(id, connection);
        }
    }

    /// The end of a held exchange for the instance that it went through.
    fn leave_hold(&mut self, now: SimTime, held: Held) {
        self.recorder.held(now, held.server, -1);
        if self.layer() == Layer::Request {
            // Whatever ends it, its answer had begun: no instance counts that as a failure or tries again.
            self.attempt_ended(now, held.instance, held.flow, Outcome::Status(200));
        }
    }

    /// A held exchange breaks: its client will be back.
    fn break_hold<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        slot: u32,
        hold: &HoldPlan,
        pending: &mut Scheduler<Q>,
    ) {
        let tab = self.tabs.get_mut(slot);
        let Some(held) = tab.held.take() else { return };
        tab.tries = 1;
        let (id, messages) = (tab.client, tab.messages);
        self.leave_hold(now, held);
        if let Some(connection) = held.connection {
            if self.layer() == Layer::Request {
                self.close_if_open(now, connection);
            }
            self.forget_in_browser(id, connection);
        }
        let name = self.part_name(id, u64::from(messages) | 1 << 19);
        let law = &self.browser_samplers(id).reconnect;
        let first = law.as_ref().map_or(0.0, |law| law.sample(&self.streams.backoff, u64::from(id.0), name));
        self.browser_waits(now, id, pause(&hold.reconnect, first, 1), pending);
    }

    /// The exchange of a tab breaks if `breaks` says so of it.
    pub(super) fn break_hold_if<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        slot: u32,
        breaks: impl Fn(&Held) -> bool,
        pending: &mut Scheduler<Q>,
    ) {
        let tab = self.tabs.get(slot);
        if tab.held.as_ref().is_some_and(breaks) {
            let (_, plan) = self.plan_of(self.clients.row(tab.client));
            if let Some(hold) = plan.browser.as_ref().and_then(|browser| browser.hold.as_ref()) {
                self.break_hold(now, slot, hold, pending);
            }
        }
    }

    /// A proxy through which exchanges were held has died: they break.
    pub(super) fn break_holds_through<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        place: usize,
        instance: u16,
        pending: &mut Scheduler<Q>,
    ) {
        let chain = self.paths.as_ref().and_then(|paths| paths.chain.as_ref());
        let flows: Option<Vec<_>> = chain.map(|chain| chain.held_at(place, instance).collect());
        for slot in 0..self.tabs.slots() {
            let breaks = |held: &Held| match &flows {
                None => held.instance == instance,
                Some(flows) => flows.contains(&held.flow),
            };
            self.break_hold_if(now, slot, breaks, pending);
        }
    }
}
