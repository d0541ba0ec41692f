//! The way of a request: tier instance, server and back.

use std::net::{IpAddr, Ipv4Addr};

use super::request::{Connection, Draw, FlowEnd, Origin, Request, SessionWork, Unanswered, Waits};
use super::{Cluster, Tier, evidence};
use crate::backend::servers::Accepted;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimTime};
use crate::ids::{ConnectionId, RequestId, ServerId};
use crate::metrics::LossCause;
use crate::metrics::recorder::Failure;
use crate::session::sessions::Cut;
use crate::tier::{Decision, FlowId, Instance, Layer, Method, Open, Outcome, Reason, Then, Ties};

/// Stands where there is no connection: nobody waits for the request any more.
pub(super) const NO_CONNECTION: ConnectionId = ConnectionId(u32::MAX);

/// Stands where there is no flow.
pub(super) const NO_FLOW: FlowId = FlowId { slot: u32::MAX, generation: 0 };

impl Request {
    /// A request that the client sends now.
    #[inline]
    pub(super) fn new(
        now: SimTime,
        origin: Origin,
        connection: ConnectionId,
        method: Method,
        session: Option<u32>,
        demand: Draw,
    ) -> Self {
        Self {
            sent: now,
            entered: now,
            due: SimTime::NEVER,
            gives_up_at: SimTime::NEVER,
            flow: NO_FLOW,
            demand,
            origin,
            connection,
            session,
            session_generation: 0,
            instance: 0,
            server: ServerId(0),
            reason: Reason::NoneUsable,
            cause: LossCause::NoAffinity,
            from: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            store_operations: 0,
            watched: false,
            flow_end: FlowEnd::WithAnswer,
            work: SessionWork::None,
            has_cookie: false,
            waits: Waits::Instance,
            syns_again: 0,
            fails_with: 0,
            begins_session: false,
            in_server: false,
            method,
        }
    }
}

impl Cluster<'_> {
    /// An instance that clients reach, by its number.
    #[inline(always)]
    pub(super) fn instance(&mut self, number: u16) -> &mut Instance {
        &mut self.tier.instances[usize::from(number)]
    }

    #[inline(always)]
    pub(super) fn layer(&self) -> Layer {
        self.layer
    }

    /// As [`Cluster::send`], kept apart from the event loop's own copy.
    #[inline(never)]
    pub(super) fn send_apart<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        request: Request,
        cookie: Option<u64>,
        pending: &mut Scheduler<Q>,
    ) -> RequestId {
        self.send(now, request, cookie, pending)
    }

    /// Sends a request on its connection. Its row can be read until another request is sent. `cookie` is the visitor's
    /// number, if the site has given it a cookie and it keeps cookies.
    #[inline(always)]
    pub(super) fn send<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        mut request: Request,
        cookie: Option<u64>,
        pending: &mut Scheduler<Q>,
    ) -> RequestId {
        if let Some(slot) = request.session {
            request.session_generation = self.sessions.get(slot).generation;
        }
        request.has_cookie = cookie.is_some();
        if self.connections.get(request.connection.0).unanswered != Unanswered::Nothing {
            return self.send_into_silence(now, request, cookie, pending);
        }
        if self.chained {
            let id = RequestId(self.requests.insert(request));
            if now >= self.next_sample {
                self.sample_connections(now);
            }
            self.send_through_proxies(now, id, cookie, pending);
            return id;
        }
        let decision = self.decide(now, &mut request, cookie);
        let id = RequestId(self.requests.insert(request));
        if now >= self.next_sample {
            self.sample_connections(now);
        }
        if let Some(refusal) = self.carry_out(now, id, decision, pending)
            && let Some(next) = self.after_refusal(now, id, refusal, pending)
        {
            self.attempt(now, id, next, pending);
        }
        id
    }

    /// A request reaches the instance of its connection: where it is to go.
    #[inline(always)]
    pub(super) fn decide(&mut self, now: SimTime, request: &mut Request, cookie: Option<u64>) -> Decision {
        let connection = self.connections.get(request.connection.0);
        let Connection { address, port, instance, worker, server, reason, .. } = *connection;
        request.instance = instance;
        request.from = address;
        match self.layer() {
            Layer::Connection => Decision { server: Some(server), reason, attempt: 1 },
            Layer::Request => {
                self.write_keys(request.origin, request.demand, address, cookie);
                let Tier { instances, key_text, cookies, .. } = &mut self.tier;
                // A browser that keeps no cookies has no number either.
                let jars = cookies.as_ref().filter(|_| cookie.is_some());
                let cookie = jars.and_then(|jars| jars.server(now, request.origin));
                let ties = Ties { cookie, sample: &key_text.stick, persistence: key_text.persistence };
                let method = request.method;
                let open = Open { address, port, key: &key_text.hash, method, worker, service: 0, ties };
                let opened = instances[usize::from(instance)].open(now, &open);
                if instances.len() > 1 {
                    self.note_decision(now, instance);
                }
                request.flow = opened.flow;
                opened.decision
            }
        }
    }

    /// Carries out a decision, and those that follow as long as servers refuse.
    #[inline(never)]
    pub(super) fn attempt<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        mut decision: Decision,
        pending: &mut Scheduler<Q>,
    ) {
        while let Some(refusal) = self.carry_out(now, id, decision, pending) {
            match self.after_refusal(now, id, refusal, pending) {
                Some(next) => decision = next,
                None => return,
            }
        }
    }

    /// Carries out a decision. If that is to go to a server which does not take the request, returns why.
    #[inline(always)]
    fn carry_out<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        decision: Decision,
        pending: &mut Scheduler<Q>,
    ) -> Option<Accepted> {
        let Some(server) = decision.server else {
            self.stay_away(now, id, decision.reason, pending);
            return None;
        };
        let request = self.requests.get_mut(id.0);
        (request.server, request.reason) = (server, decision.reason);
        let (demand, operations) = (request.demand, request.store_operations);
        if let Some(slot) = request.session {
            self.take_evidence(now, id, slot);
        }
        self.recorder.tried(now, server, self.layer() == Layer::Request, decision.attempt > 1);
        if self.faults.ailing > 0 && self.is_late(now, id, server, pending) {
            return None;
        }
        self.enter_server(now, id, server, (demand, operations), pending)
    }

    /// The instance sends a request to no server now.
    #[inline(never)]
    fn stay_away<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        reason: Reason,
        pending: &mut Scheduler<Q>,
    ) {
        if reason == Reason::Queued {
            self.wait_in_queue(now, id, pending);
        } else {
            self.give_up(now, id, Failure::NoServer, pending);
        }
    }

    /// A server has not taken a request. Returns where it goes next, if that is decided now.
    #[inline(never)]
    pub(super) fn after_refusal<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        refusal: Accepted,
        pending: &mut Scheduler<Q>,
    ) -> Option<Decision> {
        let layer = self.layer();
        let (outcome, failure) = match refusal {
            Accepted::Full => (Outcome::Status(503), Failure::QueueFull),
            Accepted::Silent if layer == Layer::Request => {
                self.wait_for_connection(now, id, 0, pending);
                return None;
            }
            Accepted::Silent => {
                self.falls_silent(now, id, pending);
                return None;
            }
            Accepted::Refused | Accepted::Started { .. } | Accepted::Queued | Accepted::Shared { .. } => {
                (Outcome::ConnectRefused, Failure::Refused)
            }
        };
        if layer == Layer::Connection {
            self.give_up(now, id, failure, pending);
            return None;
        }
        let Request { flow, instance, .. } = *self.requests.get(id.0);
        match self.attempt_ended(now, instance, flow, outcome) {
            Then::Retry(next) => return Some(next),
            Then::Wait(delay) => self.wait_before_retry(now, id, delay, pending),
            Then::Done { .. } => self.give_up(now, id, failure, pending),
        }
        None
    }

    /// A request of a session goes to a server: what that makes the cause, should the session turn out to be lost.
    fn take_evidence(&mut self, now: SimTime, id: RequestId, slot: u32) {
        let Request { from, server, reason, instance, session_generation, connection, flow, .. } =
            *self.requests.get(id.0);
        // A session of a log's client may have ended while a retry was under way.
        if self.sessions.get(slot).generation != session_generation {
            return;
        }
        let split = self.is_split(slot, instance, reason);
        let cause = evidence::departure_cause(reason, self.tier.remembers, split);
        let cause = self.planned_cause(self.sessions.get(slot), reason, cause);
        let mut route = Cut { at: now, from, to: server, reason, cause, instance };
        if self.sessions.get(slot).home != server && self.address_made_leave(now, slot, &route) {
            route.cause = LossCause::AddressChanged;
        }
        if self.paths.is_some() {
            route.cause = self.cause_on_path(now, slot, (connection, flow), &route);
        }
        self.sessions.routed(slot, &self.servers, route);
        self.requests.get_mut(id.0).cause = route.cause;
    }

    /// Whether a request that leaves home does so because its instance knows other servers, or other failures, than the one that
    /// chose home.
    #[inline]
    fn is_split(&self, session: u32, instance: u16, reason: Reason) -> bool {
        let instances = &self.tier.instances;
        if instances.len() == 1 {
            return false;
        }
        let session = self.sessions.get(session);
        session.instance != instance
            && (reason == Reason::Hashed || !instances[usize::from(instance)].uses(session.home))
    }

    /// The answer to a request goes back from its server to whoever sent it.
    #[inline(always)]
    pub(super) fn answer<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = *self.requests.get(id.0);
        if self.store_answers(id) || request.fails_with > 0 {
            return self.answered_with_error(now, id, pending);
        }
        match self.layer() {
            Layer::Request if request.flow_end == FlowEnd::WithAnswer && self.chained => {
                let then = self.attempt_ended_in_chain(now, request.flow, Outcome::Status(200));
                // Directors between proxies may have lost the connection, and the answer with it.
                if then != (Then::Done { status: 200 }) {
                    let request = self.requests.get_mut(id.0);
                    (request.in_server, request.due) = (false, SimTime::NEVER);
                    return self.go_on(now, id, then, Failure::Reset, pending);
                }
            }
            Layer::Request if request.flow_end == FlowEnd::WithAnswer => {
                self.take_cookie(now, &request);
                self.show_answer(now, &request);
                self.instance(request.instance).attempt_ended(now, request.flow, Outcome::Status(200));
                if self.tier.learnt.is_some() {
                    self.tell_peers(now, request.instance);
                }
            }
            Layer::Request | Layer::Connection => {}
        }
        if self.is_watched() && request.connection != NO_CONNECTION && self.is_answer_lost(now, &request) {
            return self.answer_lost(now, id, pending);
        }
        self.release(id);
        if request.origin == Origin::Gone {
            self.store_tidies(id);
            return self.answered_in_vain(now);
        }
        self.recorder.ledger.requests_served += 1;
        if let Some(counts) = self.recorder.at(now) {
            counts.served += 1;
            counts.latency.record(now.since(request.sent));
        }
        match request.origin {
            Origin::Client(client) => self.client_answered(now, client, &request, pending),
            Origin::Object(client) => self.object_answered(now, client, request.connection, pending),
            Origin::Message(_) | Origin::Gone | Origin::Check => {}
            // A director that does not know it may have reset it by now.
            Origin::Arrival => self.close_if_open(now, request.connection),
            Origin::Log { source, user } => self.log_answered(now, source, user, &request, pending),
            Origin::Script(connection) => self.script_answered(now, connection),
        }
        self.store_tidies(id);
    }

    /// A request that its server's death cut off: another try, or its end.
    pub(super) fn cut_off<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = self.requests.get_mut(id.0);
        request.in_server = false;
        request.due = SimTime::NEVER;
        let (flow, entered, instance) = (request.flow, request.entered, request.instance);
        let detached = request.flow_end == FlowEnd::Detached;
        self.recorder.left(now, entered);
        if self.requests.get(id.0).origin == Origin::Check {
            return self.check_answered(now, id, false, pending);
        }
        if detached || self.layer() == Layer::Connection {
            return self.give_up(now, id, Failure::Reset, pending);
        }
        let then = self.attempt_ended(now, instance, flow, Outcome::Reset);
        self.go_on(now, id, then, Failure::Reset, pending);
    }

    /// A request ends without an answer.
    pub(super) fn give_up<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        failure: Failure,
        pending: &mut Scheduler<Q>,
    ) {
        let request = *self.requests.get(id.0);
        // A request whose connection reaches nobody has no instance.
        if let Some(Instance::Proxy(proxy)) = self.tier.instances.get_mut(usize::from(request.instance)) {
            let refused = proxy.take_refused_retries();
            if let Some(counts) = self.recorder.at(now) {
                counts.retries_refused += refused;
            }
        }
        self.release(id);
        self.store_tidies(id);
        if self.layer() == Layer::Connection
            && !matches!(failure, Failure::QueueFull | Failure::Store | Failure::Error)
        {
            self.drop_connection(now, request.connection);
        }
        match request.origin {
            Origin::Arrival => self.close_if_open(now, request.connection),
            Origin::Gone => return self.gone -= 1,
            // An error page is an answer, too, where the connection has survived.
            Origin::Log { source, user } if self.connections.get(request.connection.0).open => {
                self.rest_log_connection(now, source, user, request.connection, pending);
            }
            Origin::Script(connection) => self.script_answered(now, connection),
            Origin::Client(_)
            | Origin::Object(_)
            | Origin::Message(_)
            | Origin::Check
            | Origin::Log { .. } => {}
        }
        self.request_failed(now, request.origin, failure, pending);
    }

    #[inline]
    pub(super) fn release(&mut self, id: RequestId) {
        let request = self.requests.get_mut(id.0);
        request.in_server = false;
        request.due = SimTime::NEVER;
        request.gives_up_at = SimTime::NEVER;
        let connection = request.connection;
        self.requests.remove(id.0);
        if connection == NO_CONNECTION {
            return;
        }
        let row = self.connections.get_mut(connection.0);
        row.in_flight -= 1;
        if !row.open && row.in_flight == 0 {
            self.connections.remove(connection.0);
        }
    }

    /// Counts a failed request and tells its sender.
    pub(super) fn request_failed<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        origin: Origin,
        failure: Failure,
        pending: &mut Scheduler<Q>,
    ) {
        self.recorder.ledger.requests_failed += 1;
        if let Some(counts) = self.recorder.at(now) {
            counts.failed[failure as usize] += 1;
        }
        match origin {
            Origin::Client(client) => self.client_failed(now, client, failure, pending),
            Origin::Object(client) => self.object_over(now, client, pending),
            Origin::Message(_)
            | Origin::Gone
            | Origin::Check
            | Origin::Arrival
            | Origin::Log { .. }
            | Origin::Script(_) => {}
        }
    }
}
