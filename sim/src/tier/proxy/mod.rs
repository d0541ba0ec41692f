//! A layer 7 proxy of no particular program, as a tier instance, for the algorithms of [`crate::balancer::modern`] and
//! [`crate::balancer::envoy`].
//!
//! What it does around the algorithm is what such proxies have in common, in its simplest form:
//! - failed connections take a server out for a time ([`Ejection`]), or Envoy's outlier detection does;
//! - a connection that was refused or timed out is retried on another server, for any method; one that broke, or an answer that
//!   did not come, only for a method that may be repeated (Envoy's `connect-failure` and `reset`, the latter
//!   as HAProxy and nginx do it);
//! - an answer is passed on whatever its status;
//! - a cookie, if configured, names the server of the first answer, whatever the method; the first try of a request goes there
//!   if the server may be used, else the method chooses, and the answer names another server. It lives from the answer
//!   that set it (Envoy's stateful sessions: `stateful_session/cookie`, whose `ttl` it is, without `strict`);
//! - without a server to go to the client gets a 503, as from Envoy ("no healthy upstream") and HAProxy.

mod budget;
mod config;
mod subset;

use crate::balancer::modern::hash::client_key;
use crate::balancer::modern::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, Reason, Skipped};
use crate::engine::SimTime;
use crate::health::Verdict;
use crate::ids::ServerId;

use super::flows::Flows;
use super::{Decision, FlowId, Method, Open, Opened, Outcome, TableSizes, Then};
use budget::RetryAccount;

pub use budget::RetryBudget;
pub use config::{Ejection, ProxyConfig, ProxyConfigError, ProxyDraws, ProxyMethod, ProxyServer, TRIES_MAX};
pub use subset::Subset;

/// What the client gets when no server may be used, or the last try was refused or broke off.
const SERVICE_UNAVAILABLE: u16 = 503;
/// What the client gets when the last try timed out.
const GATEWAY_TIMEOUT: u16 = 504;
/// What is logged when the client went away.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// One proxy.
#[derive(Debug)]
pub struct Proxy {
    method: ProxyMethod,
    servers: ProxyServers,
    max_tries: u32,
    retries: RetryAccount,
    gives_cookies: bool,
    flows: Flows<Flow>,
    /// Requests that have arrived: the number of the next is its name among random draws.
    requests: u64,
}

impl Proxy {
    /// A proxy that has just started.
    ///
    /// # Panics
    /// Panics if it would not start: see [`ProxyConfig::check`].
    pub fn new(config: ProxyConfig, draws: ProxyDraws) -> Self {
        if let Err(error) = config.check() {
            panic!("{error}");
        }
        let mut servers = ProxyServers::new(&config.servers, config.ejection, draws.stream, draws.entity);
        servers.set_panic_threshold(config.panic_threshold);
        if let Some(rule) = config.outlier_detection {
            servers.set_outlier_detection(rule, config.clock_phase);
        }
        let mut method = config.method;
        method.servers_changed(&servers);
        let gives_cookies = config.cookie.is_some();
        Self {
            method,
            servers,
            max_tries: config.max_tries,
            retries: RetryAccount::new(config.retry_budget),
            gives_cookies,
            flows: Flows::default(),
            requests: 0,
        }
    }

    /// A request arrives. If no server may be used, the client gets a 503 and there is no flow.
    #[inline]
    pub fn open(&mut self, now: SimTime, open: &Open<'_>) -> Opened {
        let number = self.requests;
        self.requests += 1;
        self.readmit(now);
        let mut request = ProxyRequest::new(client_key(open.address, open.key), number, now);
        let named = open.ties.cookie.filter(|_| self.gives_cookies);
        let Some(server) = self.follow(named, &mut request) else {
            let decision = Decision { server: None, reason: Reason::NoneUsable, attempt: 1 };
            return Opened { flow: FlowId::NONE, decision };
        };
        self.servers.begin_try(&mut request, server);
        let decision = Decision { server: Some(server), reason: request.reason(), attempt: 1 };
        let flow = Flow { request, method: open.method, named, retries: false };
        Opened { flow: self.flows.insert(flow), decision }
    }

    /// The server of a first try: the one that a cookie names, if it may be used, else the method's choice.
    #[inline]
    fn follow(&mut self, named: Option<ServerId>, request: &mut ProxyRequest) -> Option<ServerId> {
        if let Some(named) = named
            && self.servers.passed_over(named, request).is_none()
        {
            request.reason = Reason::Affinity;
            return Some(named);
        }
        self.choose(named, request)
    }

    /// The method's choice, though a cookie may have named a server.
    #[inline]
    fn choose(&mut self, named: Option<ServerId>, request: &mut ProxyRequest) -> Option<ServerId> {
        let server = self.method.pick(&mut self.servers, request)?;
        if let Some(named) = named {
            let skipped = self.servers.passed_over(named, request).unwrap_or(Skipped::Tried);
            request.reason = Reason::AffinityUnusable(skipped);
        }
        Some(server)
    }

    /// The server that the answer to the try under way will name in a cookie: the present one, unless the cookie has named it.
    #[inline]
    pub fn cookie_to_set(&self, id: FlowId) -> Option<ServerId> {
        let flow = self.flows.get(id).filter(|_| self.gives_cookies)?;
        flow.request.tried().last().copied().filter(|_| flow.request.reason() != Reason::Affinity)
    }

    /// A try ended. A flow that has ended already (the client went away) stays ended: 499.
    #[inline]
    pub fn attempt_ended(&mut self, now: SimTime, id: FlowId, outcome: Outcome) -> Then {
        let Some(flow) = self.flows.get_mut(id) else {
            return Then::Done { status: CLIENT_CLOSED_REQUEST };
        };
        flow.request.set_clock(now);
        let repeatable = flow.method == Method::Get;
        let (answer, may_retry, status) = match outcome {
            Outcome::Status(status) => (Some(status), false, status),
            Outcome::ConnectRefused => (None, true, SERVICE_UNAVAILABLE),
            Outcome::ConnectTimeout => (None, true, GATEWAY_TIMEOUT),
            Outcome::Reset => (None, repeatable, SERVICE_UNAVAILABLE),
            Outcome::ReadTimeout => (None, repeatable, GATEWAY_TIMEOUT),
        };
        let changed = self.servers.end_try(&flow.request, answer);
        self.method.ended(&self.servers, &flow.request);
        if changed {
            self.method.servers_changed(&self.servers);
        }
        if std::mem::take(&mut flow.retries) {
            self.retries.gives_back();
        }
        if answer.is_some() {
            self.retries.answered(now);
        }
        let (named, mut request) = (flow.named, flow.request);
        let may_retry = may_retry && request.tries() < self.max_tries;
        if may_retry && self.retries.takes(now, self.flows.len() as u64 - 1) {
            if self.servers.readmit(now) {
                self.method.servers_changed(&self.servers);
            }
            if let Some(server) = self.choose(named, &mut request) {
                self.servers.begin_try(&mut request, server);
                let (attempt, reason) = (request.tries() as u8, request.reason());
                if let Some(flow) = self.flows.get_mut(id) {
                    (flow.request, flow.retries) = (request, true);
                }
                return Then::Retry(Decision { server: Some(server), reason, attempt });
            }
            self.retries.gives_back();
        }
        self.flows.remove(id);
        Then::Done { status }
    }

    /// The client went away. A flow that has ended already stays so.
    pub fn abort(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(id) {
            self.servers.abort_try(&flow.request);
            if flow.retries {
                self.retries.gives_back();
            }
            self.flows.remove(id);
        }
    }

    /// How many retries its budget has refused since this was asked last.
    pub fn take_refused_retries(&mut self) -> u64 {
        std::mem::take(&mut self.retries.refused)
    }

    /// Whether its configuration gives the server a weight.
    #[inline]
    pub fn uses(&self, server: ServerId) -> bool {
        self.servers.configured_weight(server) > 0
    }

    /// Whom ejection or checks took out and who came back, since this was asked last, in order.
    pub fn take_verdicts(&mut self) -> Vec<Verdict> {
        self.servers.take_verdicts()
    }

    /// Changes a server's weight; 0 takes it out for new requests.
    pub fn set_weight(&mut self, now: SimTime, server: ServerId, weight: u32) {
        self.servers.set_weight(now, server, weight);
        self.method.servers_changed(&self.servers);
    }

    /// Takes a server out, as a failed health check does.
    pub fn remove_server(&mut self, now: SimTime, server: ServerId) {
        self.servers.set_removed(now, server, true);
        self.method.servers_changed(&self.servers);
    }

    /// Puts back a server that was taken out, with a weight.
    pub fn add_server(&mut self, now: SimTime, server: ServerId, weight: u32) {
        self.servers.set_removed(now, server, false);
        self.set_weight(now, server, weight);
    }

    /// Requests in flight, and what they and the table of servers occupy. It remembers no client.
    pub fn table_sizes(&self) -> TableSizes {
        let bytes = self.flows.bytes() + self.servers.bytes();
        TableSizes { flows: self.flows.len() as u64, affinity_entries: 0, bytes: bytes as u64 }
    }

    #[inline]
    fn readmit(&mut self, now: SimTime) {
        if self.servers.readmit(now) {
            self.method.servers_changed(&self.servers);
        }
    }
}

/// One request in flight.
#[derive(Clone, Copy, Debug)]
struct Flow {
    request: ProxyRequest,
    method: Method,
    /// The server that its cookie names.
    named: Option<ServerId>,
    /// Whether its try under way is one that the budget counts.
    retries: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{SimDuration, Stream};
    use crate::health::OutlierDetection;
    use crate::ids::StreamId;
    use crate::tier::{CookieLife, Ties};
    use std::net::IpAddr;

    const GET: Open<'static> = Open {
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        port: 40_000,
        key: &[],
        method: Method::Get,
        worker: 0,
        service: 0,
        ties: Ties::NONE,
    };

    fn config(method: &str, servers: usize) -> ProxyConfig {
        ProxyConfig {
            method: ProxyMethod::by_name("modern", method).expect("in the catalogue"),
            servers: (0..servers)
                .map(|i| ProxyServer { address: format!("10.0.0.{i}:80"), weight: 1 })
                .collect(),
            max_tries: 3,
            retry_budget: RetryBudget::Unlimited,
            per_try_timeout: SimDuration::ZERO,
            ejection: Ejection { failures: 2, time: SimDuration::from_secs(30) },
            outlier_detection: None,
            clock_phase: SimDuration::ZERO,
            panic_threshold: 0.0,
            subset: Subset::All,
            cookie: None,
        }
    }

    fn start(config: ProxyConfig) -> Proxy {
        Proxy::new(config, ProxyDraws { stream: Stream::new(1, 0, StreamId::Balancer), entity: 0 })
    }

    fn proxy(method: &str, servers: usize) -> Proxy {
        start(config(method, servers))
    }

    fn at(seconds: u64) -> SimTime {
        SimTime::from_millis(1_000 * seconds)
    }

    /// Runs one request through; `outcome` says how a try at each server ends. Gives the decisions and the status.
    fn run(
        proxy: &mut Proxy,
        now: SimTime,
        open: &Open<'_>,
        outcome: impl Fn(ServerId) -> Outcome,
    ) -> (Vec<Decision>, u16) {
        let opened = proxy.open(now, open);
        let mut decisions = vec![opened.decision];
        while let Some(server) = decisions.last().and_then(|decision| decision.server) {
            match proxy.attempt_ended(now, opened.flow, outcome(server)) {
                Then::Done { status } => return (decisions, status),
                Then::Retry(decision) => decisions.push(decision),
                Then::Wait(_) => unreachable!("it tries again at once"),
            }
        }
        (decisions, SERVICE_UNAVAILABLE)
    }

    #[test]
    fn a_refused_request_tries_other_servers_up_to_its_limit() {
        for method in ["maglev", "ring_hash", "rendezvous", "jump", "anchor_hash", "random", "power_of_d"] {
            let (decisions, status) = run(&mut proxy(method, 5), at(1), &GET, |_| Outcome::ConnectRefused);
            let mut servers: Vec<_> = decisions.iter().filter_map(|decision| decision.server).collect();
            servers.sort();
            servers.dedup();
            assert_eq!((servers.len(), status), (3, 503), "{method}");
            assert_eq!(decisions.iter().map(|decision| decision.attempt).collect::<Vec<_>>(), [1, 2, 3]);
        }
    }

    #[test]
    fn a_cookie_is_followed_if_its_server_may_be_used_and_set_when_it_did_not_decide() {
        for method in ["maglev", "power_of_d", "peak_ewma", "prequal"] {
            let mut proxy = start(ProxyConfig { cookie: Some(CookieLife::UNLIMITED), ..config(method, 5) });
            let naming = |server| Open { ties: Ties { cookie: Some(ServerId(server)), ..Ties::NONE }, ..GET };
            let opened = proxy.open(at(1), &GET);
            assert_eq!(proxy.cookie_to_set(opened.flow), opened.decision.server, "{method}");
            let opened = proxy.open(at(1), &naming(3));
            assert_eq!(
                (opened.decision.server, opened.decision.reason),
                (Some(ServerId(3)), Reason::Affinity)
            );
            assert_eq!(proxy.cookie_to_set(opened.flow), None, "{method}");
            let Then::Retry(decision) = proxy.attempt_ended(at(1), opened.flow, Outcome::ConnectRefused)
            else {
                panic!("{method}: it is tried again")
            };
            assert_eq!(decision.reason, Reason::AffinityUnusable(Skipped::Tried), "{method}");
            assert_eq!(proxy.cookie_to_set(opened.flow), decision.server, "{method}");
            proxy.remove_server(at(1), ServerId(3));
            let reason = proxy.open(at(1), &naming(3)).decision.reason;
            assert_eq!(reason, Reason::AffinityUnusable(Skipped::OutOfService), "{method}");
        }
    }

    #[test]
    fn outlier_detection_ejects_whoever_answers_badly_and_looks_at_its_interval_who_comes_back() {
        let rule = OutlierDetection { max_ejection_percent: 50, ..OutlierDetection::default() };
        let mut proxy = start(ProxyConfig { outlier_detection: Some(rule), ..config("random", 4) });
        let at = |seconds: u64| SimTime::from_millis(seconds * 1_000);
        let mut serve = |now: SimTime| {
            let opened = proxy.open(now, &GET);
            let server = opened.decision.server.expect("a server").0;
            proxy.attempt_ended(now, opened.flow, Outcome::Status(if server == 2 { 500 } else { 200 }));
            server
        };
        let first: Vec<u16> = (0..100).map(|_| serve(at(1))).collect();
        assert_eq!(first.iter().filter(|&&server| server == 2).count(), 5);
        // Ejected at 1 s for 30 s: the look at 30 s is too early.
        assert!((0..100).all(|_| serve(at(39)) != 2));
        assert!((0..100).any(|_| serve(at(40)) == 2));
    }

    #[test]
    fn below_the_panic_threshold_servers_that_are_out_are_used_again() {
        let mut proxy = start(ProxyConfig { panic_threshold: 50.0, ..config("maglev", 4) });
        let used = |proxy: &mut Proxy| {
            let client = |i: u8| Open { address: IpAddr::from([192, 0, 2, i]), ..GET };
            let mut used: Vec<_> =
                (0..100).filter_map(|i| proxy.open(at(1), &client(i)).decision.server).collect();
            used.sort();
            used.dedup();
            used.len()
        };
        // Three of four are 75 %, two are 50 %: no panic yet. One is 25 %.
        for (server, expected) in [(0, 3), (1, 2), (2, 4), (3, 4)] {
            proxy.remove_server(at(1), ServerId(server));
            assert_eq!(used(&mut proxy), expected, "after {server}");
        }
        proxy.add_server(at(1), ServerId(0), 1);
        assert_eq!(used(&mut proxy), 4);
        proxy.add_server(at(1), ServerId(1), 1);
        assert_eq!(used(&mut proxy), 2);
    }

    #[test]
    fn a_post_that_broke_is_not_repeated_but_one_that_was_refused_is() {
        let post = Open { method: Method::Post, ..GET };
        for (outcome, tries, status) in [
            (Outcome::Reset, 1, 503),
            (Outcome::ReadTimeout, 1, 504),
            (Outcome::ConnectTimeout, 3, 504),
            (Outcome::Status(503), 1, 503),
        ] {
            let (decisions, got) = run(&mut proxy("maglev", 4), at(1), &post, |_| outcome);
            assert_eq!((decisions.len(), got), (tries, status), "{outcome:?}");
        }
    }

    #[test]
    fn a_server_that_fails_twice_in_a_row_is_out_for_its_time_and_its_clients_know_why() {
        let mut proxy = proxy("ring_hash", 3);
        let home = proxy.open(at(1), &GET).decision.server.expect("all are usable");
        let dead = |server| if server == home { Outcome::ConnectRefused } else { Outcome::Status(200) };
        for _ in 0..2 {
            let (decisions, status) = run(&mut proxy, at(1), &GET, dead);
            assert_eq!((decisions.len(), status), (2, 200));
            assert_eq!(decisions[1].reason, Reason::Rehashed(Skipped::Tried));
        }
        let (decisions, _) = run(&mut proxy, at(30), &GET, dead);
        assert_eq!((decisions.len(), decisions[0].reason), (1, Reason::Rehashed(Skipped::Unhealthy)));
        let (decisions, _) = run(&mut proxy, at(31), &GET, |_| Outcome::Status(200));
        assert_eq!((decisions[0].server, decisions[0].reason), (Some(home), Reason::Hashed));
    }

    #[test]
    fn when_all_are_out_the_proxy_answers_itself() {
        let mut proxy = proxy("random", 2);
        for server in 0..2 {
            proxy.remove_server(at(1), ServerId(server));
        }
        let opened = proxy.open(at(1), &GET);
        assert_eq!((opened.decision.server, opened.decision.reason), (None, Reason::NoneUsable));
        proxy.add_server(at(1), ServerId(1), 1);
        assert_eq!(proxy.open(at(1), &GET).decision.server, Some(ServerId(1)));
        assert_eq!(proxy.table_sizes().flows, 1);
    }

    #[test]
    fn an_answer_to_a_client_that_has_left_changes_nothing() {
        let mut proxy = proxy("power_of_d", 2);
        let gone = proxy.open(at(1), &GET);
        proxy.abort(gone.flow);
        let next = proxy.open(at(1), &GET);
        assert_eq!(gone.flow.slot, next.flow.slot, "the slot is used again");
        assert_eq!(proxy.attempt_ended(at(1), gone.flow, Outcome::Reset), Then::Done { status: 499 });
        proxy.abort(gone.flow);
        assert_eq!((proxy.table_sizes().flows, proxy.servers.in_flight_total()), (1, 1));
    }

    #[test]
    fn a_retry_keeps_its_place_in_the_budget_until_its_request_ends() {
        let mut proxy = start(ProxyConfig { retry_budget: RetryBudget::AtATime(1), ..config("maglev", 4) });
        let [first, second, third] = [(); 3].map(|()| proxy.open(at(1), &GET).flow);
        let mut fails = |flow| proxy.attempt_ended(at(1), flow, Outcome::ConnectRefused);
        assert!(matches!(fails(first), Then::Retry(_)));
        assert_eq!(fails(second), Then::Done { status: 503 });
        // It takes the place that it had.
        assert!(matches!(fails(first), Then::Retry(_)));
        assert_eq!(proxy.take_refused_retries(), 1);
        proxy.abort(first);
        assert!(matches!(proxy.attempt_ended(at(1), third, Outcome::ConnectRefused), Then::Retry(_)));
        assert_eq!(proxy.take_refused_retries(), 0);
    }

    #[test]
    fn a_configured_key_decides_instead_of_the_address() {
        let mut proxy = proxy("maglev", 50);
        let mut server_of = |key: &[u8], host| {
            let open = Open { address: [10, 0, 0, host].into(), key, ..GET };
            proxy.open(at(1), &open).decision.server
        };
        assert_eq!(server_of(b"user=7", 1), server_of(b"user=7", 2));
        assert!((0..9).any(|host| server_of(b"", host) != server_of(b"", 9)));
    }
}
