//! Health checks of servers as they happen: those of keepalived, of a prober, and HAProxy's.
//!
//! A check that asks for a page is a request like any other to the server: it waits for a worker, and takes it for as long as a page
//! does in the mean. So a server that is merely busy may answer too late, and the server works on for a check that has been given up.

use super::Cluster;
use super::event::Event;
use super::request::{Draw, FlowEnd, Origin, Purpose, Request};
use super::route::NO_CONNECTION;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::health::keepalived::{CheckKind, Sight, next_syn};
use crate::ids::{RequestId, ServerId};
use crate::scenario::FaultKind;
use crate::tier::{Instance, Method};

/// What is under way of the checks of one server by one of those who check it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// The page that it waits for.
    page: Option<RequestId>,
    /// When HAProxy's try began; [`SimTime::NEVER`] between two.
    began: SimTime,
    /// When HAProxy has something to do.
    due: SimTime,
}

impl Probe {
    /// Nothing is under way.
    pub const IDLE: Self = Self { page: None, began: SimTime::NEVER, due: SimTime::NEVER };
}

impl Cluster<'_> {
    #[inline]
    fn probe(&mut self, server: ServerId, instance: u16) -> &mut Probe {
        &mut self.probes[usize::from(instance) * self.servers.len() + server.index()]
    }

    /// HAProxy's next check of a server comes at `due`.
    pub(super) fn plan_check(&mut self, server: ServerId, instance: u16, due: SimTime) {
        self.probe(server, instance).due = due;
    }

    /// A health check of a server takes place, or goes on.
    pub(super) fn check<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        instance: u16,
        pending: &mut Scheduler<Q>,
    ) {
        if self.is_haproxy() {
            return self.haproxy_checks(now, server, instance, pending);
        }
        let watch = usize::from(instance);
        // One that was killed, or whose page came, has left its events behind.
        if self.tier.watches[watch].due(server) != now {
            return;
        }
        let sight = match self.tier.watches[watch].kind() {
            CheckKind::Tcp => self.sight(server),
            // The page is waited for.
            CheckKind::Http if self.probe(server, instance).page.is_some() => Sight::Silent,
            CheckKind::Http => self.ask_for_page(now, server, instance, pending),
        };
        self.watch_sees(now, server, instance, sight, pending);
    }

    /// Whether the balancers check by themselves.
    fn is_haproxy(&self) -> bool {
        matches!(self.tier.instances[0], Instance::HaProxy(_))
    }

    /// What a connection to a server meets now.
    fn sight(&self, server: ServerId) -> Sight {
        match (self.servers.accepts_connections(server), self.servers.is_silent(server)) {
            (true, _) => Sight::Good,
            // The kernel refuses for a dead process, and keeps silent when a living one takes no more.
            (false, true) => Sight::Silent,
            (false, false) => Sight::Bad,
        }
    }

    /// A check asks a server for a page. [`Sight::Silent`] if it has to wait: for the connection, or if that was made, for the answer.
    fn ask_for_page<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        instance: u16,
        pending: &mut Scheduler<Q>,
    ) -> Sight {
        let sight = self.sight(server);
        if sight != Sight::Good {
            return sight;
        }
        let draw = Draw { entity: 0, index: 0, purpose: Purpose::Arrival };
        let mut request = Request::new(now, Origin::Check, NO_CONNECTION, Method::Get, None, draw);
        (request.server, request.instance, request.flow_end) = (server, instance, FlowEnd::Detached);
        let condition = self.faults.servers[server].condition;
        let mut work =
            SimDuration::from_secs_f64(self.scenario.servers[server.index()].capacity.service.mean());
        match (condition.errors, condition.brown_out) {
            (Some(rule), _) if self.answers_a_check_with_an_error(now, server) => {
                (request.fails_with, work) = (rule.status, rule.latency);
            }
            (_, Some((above, factor))) if self.servers.busy_share(server) > above => {
                work = SimDuration::from_secs_f64(work.as_secs_f64() * factor);
            }
            _ => {}
        }
        let id = RequestId(self.requests.insert(request));
        if self.occupy(now, id, server, work, pending).is_some() {
            self.requests.remove(id.0);
            return Sight::Bad;
        }
        self.gone += 1;
        let (present, busy) = self.servers.level(server);
        self.recorder.check_entered(now, server, present, busy);
        self.probe(server, instance).page = Some(id);
        Sight::Silent
    }

    /// A server has answered a check, or has died over it, unless nobody waits for the answer any more.
    #[inline(never)]
    pub(super) fn check_answered<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        answered: bool,
        pending: &mut Scheduler<Q>,
    ) {
        let Request { server, instance, fails_with, .. } = *self.requests.get(id.0);
        self.store_tidies(id);
        self.release(id);
        self.gone -= 1;
        let passed = answered && fails_with == 0;
        let probe = self.probe(server, instance);
        if probe.page != Some(id) {
            return;
        }
        probe.page = None;
        if self.is_haproxy() {
            return self.haproxy_check_ended(now, server, instance, passed, pending);
        }
        // keepalived may have been killed meanwhile.
        if self.tier.watches[usize::from(instance)].is_trying(server) {
            let sight = if passed { Sight::Good } else { Sight::Bad };
            self.watch_sees(now, server, instance, sight, pending);
        }
    }

    /// A try of keepalived or a prober meets something.
    fn watch_sees<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        instance: u16,
        sight: Sight,
        pending: &mut Scheduler<Q>,
    ) {
        let watch = usize::from(instance);
        let faults = &self.faults;
        let out = |server| faults.of(server).any(|kind| *kind == FaultKind::Down);
        self.tier.check(now, watch, server, sight, out);
        if !self.tier.watches[watch].is_trying(server) {
            self.probe(server, instance).page = None;
        }
        pending.at(self.tier.watches[watch].due(server), Event::Check { server, instance }.word());
        self.note_sorry_server(now);
    }

    /// HAProxy begins a check of a server, or its try under way has waited for as long as it may.
    fn haproxy_checks<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        instance: u16,
        pending: &mut Scheduler<Q>,
    ) {
        let probe = self.probe(server, instance);
        if probe.due != now {
            return;
        }
        if probe.began == SimTime::NEVER {
            probe.began = now;
        }
        let (began, waits_for_page) = (probe.began, probe.page.is_some());
        let Instance::HaProxy(haproxy) = self.instance(instance) else { return };
        let timeout = haproxy.config().connect_timeout;
        let Some(check) = haproxy.config().servers[server.index()].check else { return };
        let limit = began + check.connect_limit((!timeout.is_zero()).then_some(timeout));
        let sight = match (waits_for_page, check.httpchk) {
            (true, _) => Sight::Bad,
            // At its end nothing is sent any more.
            _ if now > began && now >= limit => Sight::Bad,
            (false, true) => self.ask_for_page(now, server, instance, pending),
            (false, false) => self.sight(server),
        };
        match sight {
            Sight::Good | Sight::Bad => {
                self.haproxy_check_ended(now, server, instance, sight == Sight::Good, pending);
            }
            Sight::Silent => {
                let probe = self.probe(server, instance);
                probe.due = match probe.page {
                    Some(_) => check.answer_limit(began, now),
                    None => next_syn(began, now).min(limit),
                };
                pending.at(probe.due, Event::Check { server, instance }.word());
            }
        }
    }

    fn haproxy_check_ended<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        instance: u16,
        passed: bool,
        pending: &mut Scheduler<Q>,
    ) {
        let Instance::HaProxy(haproxy) = self.instance(instance) else { return };
        let Some(next) = haproxy.check_ended(now, server, passed) else { return };
        let due = now + next;
        *self.probe(server, instance) = Probe { due, ..Probe::IDLE };
        pending.at(due, Event::Check { server, instance }.word());
    }
}
