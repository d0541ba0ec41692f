//! Balancers that do not wait for good: time-outs of connections to servers and of answers.
//!
//! The server goes on with a request that its balancer has given up. Time-outs of answers cost nothing per request: one event for
//! all looks for those that have taken too long, and comes again when the oldest of the others will have.

use super::Cluster;
use super::event::Event;
use super::request::{FlowEnd, Origin, Waits};
use super::route::NO_CONNECTION;
use super::silence::{SYN_RETRIES, syn_again};
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::RequestId;
use crate::metrics::recorder::Failure;
use crate::scenario::Program;
use crate::tier::{Outcome, Then};

/// How long Linux tries to connect where the program sets no limit: `net.ipv4.tcp_syn_retries` 6.
const KERNEL_CONNECT_TIMEOUT: SimDuration = SimDuration::from_secs(127);

impl Cluster<'_> {
    /// How long the balancer waits for an answer (`proxy_read_timeout`, `timeout server`, `per_try_timeout`); `None` is for ever.
    pub(super) fn read_timeout(&self) -> Option<SimDuration> {
        let timeout = match &self.strategy.tier.program {
            Program::Nginx(config) => config.read_timeout,
            Program::HaProxy(config) => config.server_timeout,
            Program::Proxy(config) => config.per_try_timeout,
            Program::Lvs(_) => SimDuration::ZERO,
        };
        (!timeout.is_zero()).then_some(timeout)
    }

    pub(super) fn connect_timeout(&self) -> SimDuration {
        let timeout = match &self.strategy.tier.program {
            Program::Nginx(config) => config.connect_timeout,
            Program::HaProxy(config) => config.connect_timeout,
            Program::Lvs(_) | Program::Proxy(_) => SimDuration::ZERO,
        };
        if timeout.is_zero() { KERNEL_CONNECT_TIMEOUT } else { timeout }
    }

    /// A server does not answer the balancer's SYN, which its kernel has sent `again` so often.
    pub(super) fn wait_for_connection<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        again: u8,
        pending: &mut Scheduler<Q>,
    ) {
        let timeout = self.connect_timeout();
        let request = self.requests.get_mut(id.0);
        if request.waits != Waits::Server {
            (request.waits, request.entered) = (Waits::Server, now);
        }
        request.syns_again = again;
        let next = if again < SYN_RETRIES { syn_again(again).min(timeout) } else { timeout };
        let due = request.entered + next;
        self.wait_before_retry(now, id, due.since(now), pending);
    }

    /// The balancer's kernel sends its SYN again, or the balancer gives up waiting for the server.
    pub(super) fn connects_again<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = *self.requests.get(id.0);
        let is_silent =
            self.servers.is_silent(request.server) && !self.servers.accepts_connections(request.server);
        if now < request.entered + self.connect_timeout() {
            if is_silent {
                return self.wait_for_connection(now, id, request.syns_again + 1, pending);
            }
            return self.arrives(now, id, pending);
        }
        self.requests.get_mut(id.0).waits = Waits::Instance;
        let instance = self.instance(request.instance);
        let then = instance.attempt_ended(now, request.flow, Outcome::ConnectTimeout);
        self.go_on(now, id, then, Failure::ProxyTimeout, pending);
    }

    /// Requests that a server has had for as long as their balancer waits are taken back.
    pub(super) fn overdue<Q: PendingEvents>(&mut self, now: SimTime, pending: &mut Scheduler<Q>) {
        let Some(timeout) = self.read_timeout() else { return };
        let mut oldest = now;
        for slot in 0..self.requests.slots() {
            let request = self.requests.get(slot);
            if !request.in_server || request.flow_end != FlowEnd::WithAnswer {
                continue;
            }
            if request.entered + timeout <= now {
                self.take_back(now, RequestId(slot), pending);
            } else {
                oldest = oldest.min(request.entered);
            }
        }
        pending.at(oldest + timeout, Event::Overdue.word());
    }

    /// The balancer gives up on an answer. The row of the request stays with the server; what follows has a row of its own.
    fn take_back<Q: PendingEvents>(&mut self, now: SimTime, id: RequestId, pending: &mut Scheduler<Q>) {
        let mut request = *self.requests.get(id.0);
        let left = self.requests.get_mut(id.0);
        (left.origin, left.flow_end, left.connection) = (Origin::Gone, FlowEnd::Detached, NO_CONNECTION);
        (left.session, left.gives_up_at) = (None, SimTime::NEVER);
        self.gone += 1;
        (request.in_server, request.due, request.watched) = (false, SimTime::NEVER, false);
        let id = RequestId(self.requests.insert(request));
        let instance = self.instance(request.instance);
        let then = instance.attempt_ended(now, request.flow, Outcome::ReadTimeout);
        self.go_on(now, id, then, Failure::ProxyTimeout, pending);
    }

    /// Does what a balancer says when a try has ended.
    pub(super) fn go_on<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        then: Then,
        failure: Failure,
        pending: &mut Scheduler<Q>,
    ) {
        match then {
            Then::Retry(decision) => self.attempt(now, id, decision, pending),
            Then::Wait(delay) => self.wait_before_retry(now, id, delay, pending),
            Then::Done { .. } => return self.give_up(now, id, failure, pending),
        }
        self.watch(id, pending);
    }
}
