//! Balancers that do not wait for good: time-outs of connections to servers and of answers.
//!
//! The server goes on with a request that its balancer has given up. Time-outs of answers cost nothing per request: one event for
//! all looks for those that have taken too long, and comes again when the oldest of the others will have.

use super::Cluster;
use super::event::Event;
use super::request::{FlowEnd, Origin, Request, Waits};
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

/// How long a program waits for an answer (`proxy_read_timeout`, `timeout server`, `per_try_timeout`); `None` is for ever.
pub(super) fn read_timeout_of(program: &Program) -> Option<SimDuration> {
    let timeout = match program {
        Program::Nginx(config) => config.read_timeout,
        Program::HaProxy(config) => config.server_timeout,
        Program::Proxy(config) => config.per_try_timeout,
        Program::Lvs(_) => SimDuration::ZERO,
    };
    (!timeout.is_zero()).then_some(timeout)
}

/// How long a program waits for a connection (`proxy_connect_timeout`, `timeout connect`).
pub(super) fn connect_timeout_of(program: &Program) -> SimDuration {
    let timeout = match program {
        Program::Nginx(config) => config.connect_timeout,
        Program::HaProxy(config) => config.connect_timeout,
        Program::Lvs(_) | Program::Proxy(_) => SimDuration::ZERO,
    };
    if timeout.is_zero() { KERNEL_CONNECT_TIMEOUT } else { timeout }
}

impl Cluster<'_> {
    /// How long balancers wait for an answer at least; `None` is for ever.
    pub(super) fn read_timeout(&self) -> Option<SimDuration> {
        match self.paths.as_ref().and_then(|paths| paths.chain.as_ref()) {
            Some(chain) => chain.shortest_read_timeout(),
            None => read_timeout_of(&self.strategy.tier.program),
        }
    }

    /// How long the balancer that connects to the servers waits for that.
    pub(super) fn connect_timeout(&self) -> SimDuration {
        match self.paths.as_ref().and_then(|paths| paths.chain.as_ref()) {
            Some(chain) => chain.server_connect_timeout(),
            None => connect_timeout_of(&self.strategy.tier.program),
        }
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
        let then = self.attempt_ended(now, request.instance, request.flow, Outcome::ConnectTimeout);
        self.go_on(now, id, then, Failure::ProxyTimeout, pending);
    }

    /// Requests that a server has had for as long as their balancer waits are taken back.
    pub(super) fn overdue<Q: PendingEvents>(&mut self, now: SimTime, pending: &mut Scheduler<Q>) {
        if self.chained {
            return self.overdue_in_chain(now, pending);
        }
        let Some(timeout) = self.read_timeout() else { return };
        let mut listed = std::mem::take(&mut self.longest_in_servers);
        loop {
            if listed.is_empty() {
                self.list_waiting(&mut listed);
            }
            let Some(&(entered, id)) = listed.last() else { break };
            if entered + timeout > now && self.waits_since(id, entered) {
                break;
            }
            listed.pop();
            if self.waits_since(id, entered) {
                self.take_back(now, id, pending);
            }
        }
        // Who comes from now on is due later than those who are listed.
        let oldest = listed.last().map_or(now, |&(entered, _)| entered);
        self.longest_in_servers = listed;
        pending.at(oldest + timeout, Event::Overdue.word());
    }

    /// Whether a server has had a request since then, and its balancer waits for the answer.
    fn waits_since(&self, id: RequestId, entered: SimTime) -> bool {
        let request = self.requests.get(id.0);
        request.in_server && request.entered == entered && request.flow_end == FlowEnd::WithAnswer
    }

    /// Lists the requests for whose answers balancers wait, the oldest last. That is done anew only when all of a list are gone, so once
    /// in a time-out at most, however many become overdue.
    fn list_waiting(&self, listed: &mut Vec<(SimTime, RequestId)>) {
        let rows = (0..self.requests.slots()).map(|slot| (self.requests.get(slot).entered, RequestId(slot)));
        listed.extend(rows.filter(|&(entered, id)| self.waits_since(id, entered)));
        listed.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// The balancer gives up on an answer.
    fn take_back<Q: PendingEvents>(&mut self, now: SimTime, id: RequestId, pending: &mut Scheduler<Q>) {
        let id = self.detach(id);
        let Request { instance, flow, .. } = *self.requests.get(id.0);
        let then = self.attempt_ended(now, instance, flow, Outcome::ReadTimeout);
        self.go_on(now, id, then, Failure::ProxyTimeout, pending);
    }

    /// Takes a request from where it is. If that is a server, its row stays there; what follows has the row that is returned.
    pub(super) fn detach(&mut self, id: RequestId) -> RequestId {
        let left = self.requests.get_mut(id.0);
        let mut request = *left;
        (request.in_server, request.due) = (false, SimTime::NEVER);
        request.waits = Waits::Instance;
        if !left.in_server {
            *left = request;
            return id;
        }
        request.watched = false;
        (left.origin, left.flow_end, left.connection) = (Origin::Gone, FlowEnd::Detached, NO_CONNECTION);
        (left.session, left.gives_up_at) = (None, SimTime::NEVER);
        self.gone += 1;
        RequestId(self.requests.insert(request))
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
