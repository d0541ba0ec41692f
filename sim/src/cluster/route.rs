//! The way of a request: tier instance, server and back.

use std::net::{IpAddr, Ipv4Addr};

use super::event::Event;
use super::request::{Draw, FlowEnd, Origin, Purpose, Request, SessionWork};
use super::{Cluster, Tier, evidence};
use crate::backend::servers::Accepted;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::{ConnectionId, RequestId, ServerId};
use crate::metrics::LossCause;
use crate::metrics::recorder::Failure;
use crate::session::SessionPlan;
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
        store_time: SimDuration,
    ) -> Self {
        Self {
            sent: now,
            entered: now,
            due: SimTime::NEVER,
            store_time,
            flow: NO_FLOW,
            demand,
            origin,
            connection,
            session,
            session_generation: 0,
            gives_up_at: SimTime::NEVER,
            watched: false,
            flow_end: FlowEnd::WithAnswer,
            route: Cut {
                at: now,
                from: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                to: ServerId(0),
                reason: Reason::NoneUsable,
                cause: LossCause::NoAffinity,
                instance: 0,
            },
            work: SessionWork::None,
            has_cookie: false,
            connecting: false,
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
        self.tier.instances[0].layer()
    }

    /// Sends a request on its connection. Its row can be read until another request is sent. `cookie` is the visitor's
    /// number, if the site has given it a cookie and it keeps cookies.
    #[inline]
    pub(super) fn send<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        mut request: Request,
        cookie: Option<u64>,
        pending: &mut Scheduler<Q>,
    ) -> RequestId {
        request.session_generation = request.session.map_or(0, |slot| self.sessions.get(slot).generation);
        let method = request.method;
        let connection = *self.connections.get(request.connection.0);
        request.route.instance = connection.instance;
        request.has_cookie = cookie.is_some();
        request.route.from = connection.address;
        let id = RequestId(self.requests.insert(request));
        if now >= self.next_sample {
            self.sample_connections(now);
        }
        match self.layer() {
            Layer::Connection => {
                let decision =
                    Decision { server: Some(connection.server), reason: connection.reason, attempt: 1 };
                self.attempt(now, id, decision, pending);
            }
            Layer::Request => {
                self.write_keys(request.origin, request.demand, connection.address, cookie);
                let Tier { instances, key_text, cookies, .. } = &mut self.tier;
                // A browser that keeps no cookies has no number either.
                let jars = cookies.as_ref().filter(|_| cookie.is_some());
                let cookie = jars.and_then(|jars| jars.server(now, request.origin));
                let ties = Ties { cookie, sample: &key_text.stick, persistence: key_text.persistence };
                let open = Open {
                    address: connection.address,
                    port: connection.port,
                    key: &key_text.hash,
                    method,
                    worker: connection.worker,
                    service: 0,
                    ties,
                };
                let opened = instances[usize::from(connection.instance)].open(now, &open);
                if instances.len() > 1 {
                    self.recorder.decided(now, self.tier.first, connection.instance);
                }
                self.requests.get_mut(id.0).flow = opened.flow;
                self.attempt(now, id, opened.decision, pending);
            }
        }
        id
    }

    /// Carries out a decision, and those that follow as long as servers refuse.
    #[inline]
    pub(super) fn attempt<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        mut decision: Decision,
        pending: &mut Scheduler<Q>,
    ) {
        let layer = self.layer();
        loop {
            let Some(server) = decision.server else {
                if decision.reason == Reason::Queued {
                    return self.wait_in_queue(now, id, pending);
                }
                return self.give_up(now, id, Failure::NoServer, pending);
            };
            let reason = decision.reason;
            let request = self.requests.get(id.0);
            let (flow, from, instance) = (request.flow, request.route.from, request.route.instance);
            let generation = request.session_generation;
            // A session of a log's client may have ended while a retry was under way.
            let session = request.session.filter(|&slot| self.sessions.get(slot).generation == generation);
            let split = session.is_some_and(|slot| self.is_split(slot, instance, reason));
            let cause = evidence::departure_cause(reason, self.tier.remembers, split);
            let connection = request.connection;
            let mut route = Cut { at: now, from, to: server, reason, cause, instance };
            if let Some(slot) = session {
                route.cause = self.planned_cause(self.sessions.get(slot), reason, route.cause);
                if self.sessions.get(slot).home != server && self.address_made_leave(now, slot, &route) {
                    route.cause = LossCause::AddressChanged;
                }
                if self.paths.is_some() {
                    route.cause = self.cause_on_path(now, slot, connection, &route);
                }
                self.sessions.routed(slot, &self.servers, route);
            }
            self.requests.get_mut(id.0).route = route;
            if let Some(counts) = self.recorder.at(now) {
                counts.retried += u64::from(decision.attempt > 1);
                counts.connections[server.index()] += u64::from(layer == Layer::Request);
            }
            let (outcome, failure) = match self.enter_server(now, id, server, pending) {
                None => return,
                Some(Accepted::Full) => (Outcome::Status(503), Failure::QueueFull),
                Some(Accepted::Silent) if layer == Layer::Request => {
                    return self.wait_for_connection(now, id, pending);
                }
                Some(Accepted::Silent) => (Outcome::ConnectTimeout, Failure::Dropped),
                Some(_) => (Outcome::ConnectRefused, Failure::Refused),
            };
            if layer == Layer::Connection {
                return self.give_up(now, id, failure, pending);
            }
            match self.instance(instance).attempt_ended(now, flow, outcome) {
                Then::Retry(next) => decision = next,
                Then::Wait(delay) => return self.wait_before_retry(now, id, delay, pending),
                Then::Done { .. } => return self.give_up(now, id, failure, pending),
            }
        }
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

    /// Brings a request to a server. Returns `None` when it is in, else why it is not.
    #[inline(always)]
    pub(super) fn enter_server<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        server: ServerId,
        pending: &mut Scheduler<Q>,
    ) -> Option<Accepted> {
        let request = self.requests.get(id.0);
        let demand = self.demand(request.demand, server) + request.store_time;
        let demand = demand + self.store_both(now, id, server);
        let accepted = self.servers.accept(now, server, id, demand);
        let due = match accepted {
            Accepted::Full | Accepted::Refused | Accepted::Silent => return Some(accepted),
            Accepted::Queued => SimTime::NEVER,
            Accepted::Started { due } => self.begin_service(now, id, due, pending),
            Accepted::Shared { next_due } => {
                pending.at(next_due, Event::SharedServiceDone(server).word());
                SimTime::NEVER
            }
        };
        let request = self.requests.get_mut(id.0);
        request.entered = now;
        request.due = due;
        request.in_server = true;
        self.recorder.accepted(now, server);
        let (present, busy) = self.servers.level(server);
        self.recorder.level(now, server, present, busy);
        None
    }

    /// Service demand by its name, in the law of the server.
    #[inline(always)]
    fn demand(&self, draw: Draw, server: ServerId) -> SimDuration {
        let stream = match draw.purpose {
            Purpose::Click | Purpose::Arrival => &self.streams.demand,
            Purpose::Relogin => &self.streams.relogin,
            Purpose::LogLine => &self.streams.log_demand,
            Purpose::Object | Purpose::Message => return self.part_demand(draw, server),
        };
        let index = if draw.purpose == Purpose::Relogin { draw.index << 2 | 2 } else { draw.index };
        self.samplers.demand[server].duration(stream, draw.entity, index)
    }

    /// Time that a worker will wait for the session store, and counts the operations.
    #[inline]
    pub(super) fn store_time(&mut self, now: SimTime, operations: u64, draw: Draw) -> SimDuration {
        if !matches!(self.strategy.session, SessionPlan::Shared { .. }) {
            return SimDuration::ZERO;
        }
        if let Some(counts) = self.recorder.at(now) {
            counts.store_operations += operations;
        }
        let purpose = draw.purpose as u64;
        (0..operations).fold(SimDuration::ZERO, |sum, operation| {
            let index = draw.index << 4 | purpose << 2 | operation;
            sum + self.samplers.store.duration(&self.streams.store_latency, draw.entity, index)
        })
    }

    /// A worker is done with a request, unless the announcement is out of date.
    #[inline]
    pub(super) fn service_done<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = self.requests.get(id.0);
        if request.due != now || !request.in_server {
            return;
        }
        let server = request.server();
        if let Some(written) = self.store_write(now, id) {
            self.requests.get_mut(id.0).due = written;
            return pending.at(written, Event::ServiceDone(id).word());
        }
        if let Some((next, due)) = self.servers.worker_done(now, server) {
            self.requests.get_mut(next.0).due = self.begin_service(now, next, due, pending);
        }
        self.request_done(now, id, server, pending);
    }

    /// A processor-sharing server is done with a request, unless the announcement is out of date.
    pub(super) fn shared_service_done<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        pending: &mut Scheduler<Q>,
    ) {
        let Some((id, next)) = self.servers.shared_done(now, server) else { return };
        if let Some(due) = next {
            pending.at(due, Event::SharedServiceDone(server).word());
        }
        self.request_done(now, id, server, pending);
    }

    #[inline]
    fn request_done<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        server: ServerId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = *self.requests.get(id.0);
        let (present, busy) = self.servers.level(server);
        self.recorder.level(now, server, present, busy);
        self.recorder.left(now, request.entered);
        if self.store_answers(id) {
            return self.answered_with_error(now, id, pending);
        }
        match self.layer() {
            Layer::Request if request.flow_end == FlowEnd::WithAnswer => {
                self.take_cookie(now, &request);
                self.show_answer(now, &request);
                let instance = request.route.instance;
                self.instance(instance).attempt_ended(now, request.flow, Outcome::Status(200));
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
            Origin::Message(_) | Origin::Gone => {}
            Origin::Arrival => self.close_connection(now, request.connection),
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
        let (flow, entered, instance) = (request.flow, request.entered, request.route.instance);
        let detached = request.flow_end == FlowEnd::Detached;
        self.recorder.left(now, entered);
        if detached || self.layer() == Layer::Connection {
            return self.give_up(now, id, Failure::Reset, pending);
        }
        match self.instance(instance).attempt_ended(now, flow, Outcome::Reset) {
            Then::Retry(decision) => self.attempt(now, id, decision, pending),
            Then::Wait(delay) => self.wait_before_retry(now, id, delay, pending),
            Then::Done { .. } => self.give_up(now, id, Failure::Reset, pending),
        }
        self.watch(id, pending);
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
        self.release(id);
        self.store_tidies(id);
        if self.layer() == Layer::Connection && !matches!(failure, Failure::QueueFull | Failure::Store) {
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
            Origin::Client(_) | Origin::Object(_) | Origin::Message(_) | Origin::Log { .. } => {}
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
        for &fault in &self.active_faults {
            self.faults[fault as usize].requests_failed += 1;
        }
        match origin {
            Origin::Client(client) => self.client_failed(now, client, failure, pending),
            Origin::Object(client) => self.object_over(now, client, pending),
            Origin::Message(_) | Origin::Gone | Origin::Arrival | Origin::Log { .. } | Origin::Script(_) => {}
        }
    }
}
