//! One HAProxy process with one backend as a tier instance: cookies, stick table, queues, retries and health around the
//! algorithms of [`crate::balancer::haproxy`].
//!
//! Source: HAProxy 2.6, `src/backend.c` (`assign_server`, `assign_server_and_queue`, `back_handle_st_cer`,
//! `stream_choose_redispatch`), `src/stream.c` (`process_sticking_rules`, `process_store_rules`), `src/http_ana.c`
//! (cookies, `do_l7_retry`), `src/queue.c`, `src/server.c`. HAProxy is GPL, and what is here describes what it does;
//! checked against recordings of it ([`crate::conformance::haproxy`]).
//!
//! Departures: connections to servers are not kept; a change of state takes effect at once in all threads. What the balancers do not model is listed there.

mod condition;
mod config;
mod dispatch;
mod flows;
mod operation;
mod peers;
mod queues;
mod slowstart;
mod stick;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::balancer::haproxy::{HaproxyMethod, HaproxyRequest, Servers};
use crate::balancer::{Balancer, Reason, Skipped};
use crate::engine::{SimDuration, SimTime};
use crate::health::{HaproxyHealth, Verdict};
use crate::ids::ServerId;

use super::flows::Flows;
use super::{Decision, FlowId, Method, Open, Opened, Outcome, Persistence, TableSizes, Then};
use flows::{Flow, Stage};
use queues::Queues;
use slowstart::Starting;
use stick::{KeyBytes, StickTable};

pub use condition::{ConditionNotModelled, PathCondition, PersistenceRules};
pub use config::{
    CookieMode, HaproxyConfig, HaproxyConfigError, HaproxyLine, HaproxyServer, RetryOn, StickConfig,
    StickKey, StickRule, StickSource, StickTableConfig, StoreAt, UnknownCondition,
};

pub use peers::StickUpdates;

/// What the client gets when no server may be used, or the last connection failed.
const SERVICE_UNAVAILABLE: u16 = 503;
/// What the client gets when the server broke off.
const BAD_GATEWAY: u16 = 502;
/// What the client gets when the server did not answer in time.
const GATEWAY_TIMEOUT: u16 = 504;
/// What stands for the status of a flow that has ended already.
const CLIENT_CLOSED_REQUEST: u16 = 499;
/// The longest wait before a retry of a refused connection.
const TURN_AROUND: SimDuration = SimDuration::from_secs(1);

/// One HAProxy with one backend.
#[derive(Debug)]
pub struct Haproxy {
    config: HaproxyConfig,
    servers: Servers,
    method: HaproxyMethod,
    /// Health of the servers that are checked.
    health: Vec<Option<HaproxyHealth>>,
    stick: Option<StickTable>,
    flows: Flows<Flow>,
    queues: Queues,
    /// Requests that left a queue and whose driver does not know yet.
    started: VecDeque<(FlowId, Decision)>,
    /// Servers that have come back and do not have their whole share yet.
    starting: Vec<Starting>,
    /// Who went down, and who came up, since that was asked last.
    verdicts: Vec<Verdict>,
}

impl Haproxy {
    /// An HAProxy that has just started.
    ///
    /// # Panics
    /// Panics if HAProxy would not start: see [`HaproxyConfig::check`].
    pub fn new(config: HaproxyConfig) -> Self {
        if let Err(error) = config.check() {
            panic!("{error}");
        }
        let lines: Vec<_> = config.servers.iter().map(|line| line.server).collect();
        let mut servers = Servers::new(&lines, config.method.has_static_weights(), config.allbackups);
        servers.set_fullconn(config.fullconn);
        let mut method = config.method.clone();
        method.servers_changed(&servers);
        Self {
            health: config.servers.iter().map(|line| line.check.map(HaproxyHealth::new)).collect(),
            stick: config.stick.as_ref().map(|stick| StickTable::new(stick.table)),
            flows: Flows::default(),
            queues: Queues::new(servers.len()),
            started: VecDeque::new(),
            starting: Vec::new(),
            verdicts: Vec::new(),
            servers,
            method,
            config,
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &HaproxyConfig {
        &self.config
    }

    /// HAProxy's clock, in milliseconds.
    fn clock_ms(&self, now: SimTime) -> u64 {
        (now + self.config.clock_phase).0 / 1_000_000
    }

    /// A request arrives. If no server may be used, the client gets a 503 and there is no flow. If all servers are full,
    /// the decision names none for [`Reason::Queued`], and the flow starts later ([`Haproxy::next_started`]).
    pub fn open(&mut self, now: SimTime, open: &Open<'_>) -> Opened {
        self.advance(now);
        let mut flow = Flow {
            stage: Stage::Trying,
            request: HaproxyRequest {
                key_hash: self.method.key_hash(open.address, open.key),
                ..HaproxyRequest::new(open.worker)
            },
            target: None,
            assigned: false,
            direct: false,
            by_cookie: false,
            place: None,
            welcomed: None,
            tie_skipped: None,
            forced: open.ties.persistence == Persistence::Forced,
            cookies: self.config.cookie.is_some() && open.ties.persistence != Persistence::Ignored,
            sets_cookie: match self.config.cookie {
                Some(CookieMode::Insert { .. }) => {
                    !self.config.cookie_postonly || open.method == Method::Post
                }
                // They change the application's own cookie, which it sets for those who have none, and at a login.
                Some(CookieMode::Prefix | CookieMode::Rewrite) => {
                    open.ties.cookie.is_none() || open.method == Method::Post
                }
                None => false,
            },
            retries: 0,
            attempt: 0,
            stores: None,
        };
        if let Some(named) = open.ties.cookie.filter(|_| flow.cookies) {
            self.follow_cookie(&mut flow, named);
        }
        if self.stick.is_some() {
            self.apply_stick_rules(now, open, &mut flow);
        }
        self.servers.arrive();
        let id = self.flows.insert(flow);
        match self.route(id) {
            Some(decision) => Opened { flow: id, decision },
            None => {
                self.end(id);
                Opened { flow: FlowId::NONE, decision: NONE_USABLE }
            }
        }
    }

    /// A cookie names a server: the first one of that name that may be used takes the request.
    fn follow_cookie(&self, flow: &mut Flow, named: ServerId) {
        let name = &self.config.servers[named.index()].cookie;
        let mut namesakes = self.config.servers.iter().enumerate().skip(named.index());
        let usable = namesakes.find_map(|(server, line)| {
            let server = ServerId::from_index(server);
            (line.cookie == *name && self.may_follow(flow, server)).then_some(server)
        });
        match usable {
            Some(server) => {
                flow.tie_to(server);
                flow.by_cookie = true;
            }
            None => flow.tie_skipped = Some(self.why_unusable(named)),
        }
    }

    /// Whether a tie to a server counts.
    fn may_follow(&self, flow: &Flow, server: ServerId) -> bool {
        self.servers.is_running(server) || self.config.persist || flow.forced
    }

    fn why_unusable(&self, server: ServerId) -> Skipped {
        if self.servers.is_up(server) { Skipped::OutOfService } else { Skipped::Unhealthy }
    }

    /// The rules of the stick table, when a request arrives.
    fn apply_stick_rules(&mut self, now: SimTime, open: &Open<'_>, flow: &mut Flow) {
        let now_ms = self.clock_ms(now);
        let (Some(table), Some(stick)) = (&mut self.stick, &self.config.stick) else { return };
        let mut room = KeyBytes::default();
        for rule in &stick.rules {
            let key = match rule.key {
                StickSource::Address => table.key_of_address(open.address, &mut room),
                StickSource::Sample => table.key_of_sample(open.ties.sample),
            };
            let Some(key) = key else { continue };
            // Only the first rule that stores counts, so those behind one that did are left out.
            if rule.stores == Some(StoreAt::Request) && flow.stores.is_some() {
                continue;
            }
            if rule.matches
                && let Some(server) = table.find(now_ms, key)
                && !flow.assigned
            {
                let running = self.servers.is_running(server);
                if running || self.config.persist || flow.forced {
                    flow.tie_to(server);
                } else {
                    let up = self.servers.is_up(server);
                    flow.tie_skipped = Some(if up { Skipped::OutOfService } else { Skipped::Unhealthy });
                }
            }
            if rule.stores == Some(StoreAt::Request) {
                flow.stores = table.prepare(now_ms, key);
            }
        }
    }

    /// The server that the stick table has for an address, if it has a table. Looking leaves no trace in it.
    pub fn remembered(&self, now: SimTime, address: IpAddr) -> Option<ServerId> {
        let table = self.stick.as_ref()?;
        table.peek(self.clock_ms(now), table.key_of_address(address, &mut KeyBytes::default())?)
    }

    /// What the answer of a try that is under way shows to rules that store at the answer; to be told before its end.
    pub fn answer_sample(&mut self, now: SimTime, id: FlowId, sample: &[u8]) {
        let now_ms = self.clock_ms(now);
        let (Some(table), Some(stick)) = (&mut self.stick, &self.config.stick) else { return };
        let Some(flow) = self.flows.get_mut(id) else { return };
        let stores = stick.rules.iter().any(|rule| rule.stores == Some(StoreAt::Response));
        if stores
            && flow.stores.is_none()
            && let Some(key) = table.key_of_sample(sample)
        {
            flow.stores = table.prepare(now_ms, key);
        }
    }

    /// The server whose name the answer of a try that is under way will bring the browser: with `cookie … insert`, when the server
    /// was not chosen by the cookie, or always with `maxidle`; else when the application sets its own cookie. `None` if it
    /// brings none.
    pub fn cookie_to_set(&self, id: FlowId) -> Option<ServerId> {
        let flow = self.flows.get(id)?;
        let news = match self.config.cookie? {
            CookieMode::Insert { .. } => !flow.by_cookie || self.config.cookie_life.idle.is_some(),
            CookieMode::Prefix | CookieMode::Rewrite => true,
        };
        let sets = flow.cookies && flow.sets_cookie && news;
        flow.target.filter(|server| sets && self.config.servers[server.index()].cookie.is_some())
    }

    /// A try ended.
    ///
    /// The client gets the server's status, 503 when the last connection failed, 502 when the server broke off, 504 when it
    /// timed out. A flow that has ended already stays ended: 499.
    pub fn attempt_ended(&mut self, now: SimTime, id: FlowId, outcome: Outcome) -> Then {
        self.advance(now);
        let Some(flow) = self.flows.get(id) else {
            return Then::Done { status: CLIENT_CLOSED_REQUEST };
        };
        let may_retry = flow.retries < self.config.retries;
        if let Some(server) = flow.target {
            self.observe(now, server, outcome);
        }
        let retry_on = &self.config.retry_on;
        let (status, again) = match outcome {
            Outcome::Status(status) => (status, retry_on.lists(status)),
            Outcome::ConnectRefused | Outcome::ConnectTimeout => (SERVICE_UNAVAILABLE, retry_on.conn_failure),
            Outcome::Reset => (BAD_GATEWAY, retry_on.empty_response),
            Outcome::ReadTimeout => (GATEWAY_TIMEOUT, retry_on.response_timeout),
        };
        if !again || !may_retry {
            if matches!(outcome, Outcome::Status(_)) {
                self.store(now, id);
            }
            self.end(id);
            return Then::Done { status };
        }
        self.flows.live(id).retries += 1;
        let moves = self.moves_on(id);
        if moves {
            self.flows.live(id).untie(Skipped::Tried);
            self.give_place_back(id);
        }
        // The same server would most likely refuse again at once.
        if outcome == Outcome::ConnectRefused && (!moves || self.servers.actives() <= 1) {
            self.flows.live(id).stage = Stage::Waiting;
            let limit = self.config.connect_timeout;
            return Then::Wait(if limit.is_zero() { TURN_AROUND } else { limit.min(TURN_AROUND) });
        }
        self.retry(id)
    }

    /// Whether a request waits in a queue.
    pub fn is_queued(&self, id: FlowId) -> bool {
        self.flows.get(id).is_some_and(|flow| matches!(flow.stage, Stage::Queued { .. }))
    }

    /// How long a request may wait in a queue; `None` is for ever. Then [`Haproxy::resume`].
    pub fn queue_timeout(&self) -> Option<SimDuration> {
        let HaproxyConfig { queue_timeout, connect_timeout, .. } = self.config;
        let timeout = if queue_timeout.is_zero() { connect_timeout } else { queue_timeout };
        (!timeout.is_zero()).then_some(timeout)
    }

    /// The wait before a retry is over, or that in a queue: then the client gets a 503. A flow that has ended already stays
    /// ended: 499.
    pub fn resume(&mut self, now: SimTime, id: FlowId) -> Then {
        self.advance(now);
        match self.flows.get(id).map(|flow| flow.stage) {
            Some(Stage::Waiting) => self.retry(id),
            Some(Stage::Queued { .. }) => {
                self.end(id);
                Then::Done { status: SERVICE_UNAVAILABLE }
            }
            _ => Then::Done { status: CLIENT_CLOSED_REQUEST },
        }
    }

    fn retry(&mut self, id: FlowId) -> Then {
        match self.route(id) {
            Some(decision) => Then::Retry(decision),
            None => {
                self.end(id);
                Then::Done { status: SERVICE_UNAVAILABLE }
            }
        }
    }

    /// The stick table learns who answered.
    fn store(&mut self, now: SimTime, id: FlowId) {
        let now_ms = self.clock_ms(now);
        let flow = self.flows.live(id);
        if let (Some(table), Some(server)) = (&mut self.stick, flow.target)
            && !self.config.servers[server.index()].non_stick
            && let Some(pending) = flow.stores.take()
        {
            table.store(now_ms, pending, server);
        }
    }

    /// A flow ends.
    fn end(&mut self, id: FlowId) {
        let flow = self.flows.live(id);
        if let (Some(table), Some(pending)) = (&mut self.stick, flow.stores.take()) {
            table.discard(pending);
        }
        if let Stage::Queued { server, .. } = flow.stage {
            self.servers.dequeue(server);
            flow.stage = Stage::Waiting;
        }
        self.servers.leave();
        self.give_place_back(id);
        self.flows.remove(id);
    }

    /// The client went away, or waited in a queue for too long. A flow that has ended already stays so.
    pub fn abort(&mut self, _now: SimTime, id: FlowId) {
        if self.flows.get(id).is_some() {
            self.end(id);
        }
    }

    /// Requests in flight, entries of the stick table, and what all tables occupy.
    pub fn table_sizes(&self) -> TableSizes {
        let stick = self.stick.as_ref().map_or(0, StickTable::bytes);
        let bytes = self.flows.bytes() + self.servers.bytes() + self.queues.bytes() + stick;
        TableSizes {
            flows: self.flows.len() as u64,
            affinity_entries: self.stick.as_ref().map_or(0, StickTable::len) as u64,
            bytes: bytes as u64,
        }
    }
}

/// The decision when no server may be used.
const NONE_USABLE: Decision = Decision { server: None, reason: Reason::NoneUsable, attempt: 1 };

impl Flow {
    /// A cookie or an entry of the stick table names the server.
    fn tie_to(&mut self, server: ServerId) {
        self.target = Some(server);
        (self.assigned, self.direct, self.tie_skipped) = (true, true, None);
    }

    /// The request is to be balanced anew; `why` if a cookie or an entry had tied it.
    fn untie(&mut self, why: Skipped) {
        if self.direct {
            self.tie_skipped = Some(why);
        }
        (self.direct, self.by_cookie, self.assigned) = (false, false, false);
    }
}
