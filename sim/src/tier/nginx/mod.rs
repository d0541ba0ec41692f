//! One nginx as a tier instance: which server each try of a request goes to, and what its end leads to.
//!
//! Source: nginx 1.22.1, `src/http/ngx_http_upstream.c` (`ngx_http_upstream_init_request`, `ngx_http_upstream_connect`,
//! `ngx_http_upstream_test_next`, `ngx_http_upstream_next`, `ngx_http_upstream_finalize_request`). Which server is chosen is
//! [`crate::balancer::nginx`]'s part.
//!
//! Departures: connections to servers are not kept (nginx's default before 1.29.7; see [`NginxVersion`]); names of servers are not resolved; a
//! request body is always buffered (`proxy_request_buffering on`), so it can be sent again.

mod config;
mod epoch;
mod flows;
#[cfg(test)]
mod sticky_tests;
mod version;

use crate::balancer::nginx::NginxMethod;
use crate::balancer::{Balancer, Reason};
use crate::engine::SimTime;
use crate::health::Verdict;
use crate::ids::ServerId;

use super::flows::Flows;
use super::{Decision, FlowId, Method, Open, Opened, Outcome, TableSizes, Then};
use epoch::{BAD_GATEWAY, Epoch, Table};
use flows::Flow;

pub use config::{NextUpstream, NginxConfig, NginxConfigError, NginxServer, StickyCookie, UnknownCondition};
pub use version::NginxVersion;

/// What nginx logs when the client went away.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// One nginx with one upstream.
///
/// State lives in each worker, or in one table for all of them if the upstream has a `zone`. A reload starts from zero
/// with the new configuration, `zone` or not, while requests in flight finish under the old one.
#[derive(Debug)]
pub struct Nginx {
    /// The present configuration and older ones; a place whose requests have all ended is used again.
    epochs: Vec<Epoch>,
    /// The present configuration.
    current: u32,
    flows: Flows<Flow>,
    /// Requests that have arrived.
    requests: u64,
    no_live_upstreams: u64,
    /// Who went out, and who came back, since that was asked last.
    verdicts: Vec<Verdict>,
}

impl Nginx {
    /// An nginx that has just started.
    ///
    /// # Panics
    /// Panics if nginx would not start: see [`NginxConfig::check`].
    pub fn new(config: NginxConfig) -> Self {
        Self {
            epochs: vec![Epoch::new(config)],
            current: 0,
            flows: Flows::default(),
            requests: 0,
            no_live_upstreams: 0,
            verdicts: Vec::new(),
        }
    }

    /// Its present configuration.
    pub fn config(&self) -> &NginxConfig {
        &self.epochs[self.current as usize].config
    }

    /// `nginx -s reload`: requests from `now` on find new workers, whose state starts from zero; requests in flight finish
    /// with the servers and the state of the old ones.
    ///
    /// # Panics
    /// Panics if nginx would refuse the configuration: see [`NginxConfig::check`].
    pub fn reload(&mut self, now: SimTime, config: NginxConfig) {
        for (view, table) in (0..).zip(&self.epochs[self.current as usize].tables) {
            let forgiven = table.peers.failed().map(|server| Verdict::new(now, view, server, false));
            self.verdicts.extend(forgiven);
        }
        let epoch = Epoch::new(config);
        match self.epochs.iter().position(|old| old.in_flight == 0) {
            Some(place) => {
                self.epochs[place] = epoch;
                self.current = place as u32;
            }
            None => {
                self.current = self.epochs.len() as u32;
                self.epochs.push(epoch);
            }
        }
    }

    /// A request arrives. If no server may be used ("no live upstreams"), the client gets a 502 and there is no flow.
    #[inline]
    pub fn open(&mut self, now: SimTime, open: &Open<'_>) -> Opened {
        let epoch = &mut self.epochs[self.current as usize];
        let clock_ms = epoch.clock_ms(now);
        let tables = epoch.tables.len();
        let table = if usize::from(open.worker) < tables {
            open.worker.into()
        } else {
            usize::from(open.worker) % tables
        };
        let Table { peers, method } = &mut epoch.tables[table];
        let flow = self.flows.insert(Flow {
            epoch: self.current,
            table: table as u16,
            attempt: 1,
            non_idempotent: open.method == Method::Post,
            started_ms: clock_ms,
            request: peers.begin(open.address),
        });
        let request = &mut self.flows.live(flow).request;
        request.set_number(self.requests);
        self.requests += 1;
        if !open.key.is_empty() {
            request.set_key(open.key);
        }
        if epoch.config.next_upstream_tries != 0 {
            request.limit_tries(epoch.config.next_upstream_tries);
        }
        if epoch.gives_cookies {
            request.set_hint(open.ties.cookie);
        }
        request.set_clock(clock_ms / 1_000);
        let Some(server) = method.pick(peers, request) else {
            peers.finish(request);
            self.flows.remove(flow);
            self.no_live_upstreams += 1;
            let decision = Decision { server: None, reason: Reason::NoneUsable, attempt: 1 };
            return Opened { flow: FlowId::NONE, decision };
        };
        epoch.in_flight += 1;
        let decision = Decision { server: Some(server), reason: request.reason(), attempt: 1 };
        Opened { flow, decision }
    }

    /// A try ended.
    ///
    /// The client gets the server's status when it is passed on, 502 when the last try was refused or broke off, 504 when
    /// it timed out, and 502 whenever another try finds no server to go to. A flow that has ended already (the client went
    /// away, and the server's answer comes too late) stays ended: 499, as nginx logs it.
    #[inline]
    pub fn attempt_ended(&mut self, now: SimTime, id: FlowId, outcome: Outcome) -> Then {
        let Some(flow) = self.flows.get_mut(id) else {
            return Then::Done { status: CLIENT_CLOSED_REQUEST };
        };
        let epoch = &mut self.epochs[flow.epoch as usize];
        let clock_ms = epoch.clock_ms(now);
        let verdict = epoch.judge(flow, clock_ms, outcome);
        let Table { peers, method } = &mut epoch.tables[flow.table as usize];
        flow.request.set_clock(clock_ms / 1_000);
        let changed = peers.end_try(&mut flow.request, verdict.failed);
        if let Some(out) = changed.filter(|_| flow.epoch == self.current) {
            self.verdicts.push(Verdict::new(now, flow.table, peers.server(&flow.request), out));
        }
        method.ended(peers, &flow.request);
        let mut status = verdict.status;
        if verdict.may_retry && flow.request.tries() > 0 {
            if let Some(server) = method.pick(peers, &mut flow.request) {
                flow.attempt = flow.attempt.saturating_add(1);
                let reason = flow.request.reason();
                return Then::Retry(Decision { server: Some(server), reason, attempt: flow.attempt });
            }
            self.no_live_upstreams += 1;
            status = BAD_GATEWAY;
        }
        peers.finish(&flow.request);
        epoch.in_flight -= 1;
        self.flows.remove(id);
        Then::Done { status }
    }

    /// The client went away (499). No failure of the server: it is given back as after an answer, so that if this try was
    /// the probe of a server that was out, the server is back. A flow that has ended already stays so.
    pub fn abort(&mut self, now: SimTime, id: FlowId) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let epoch = &mut self.epochs[flow.epoch as usize];
        let now_s = epoch.clock_ms(now) / 1_000;
        let Table { peers, method } = &mut epoch.tables[flow.table as usize];
        flow.request.set_clock(now_s);
        // `ngx_http_upstream_finalize_request` frees the peer with state 0, which is no `NGX_PEER_FAILED`.
        let changed = peers.end_try(&mut flow.request, false);
        if let Some(out) = changed.filter(|_| flow.epoch == self.current) {
            self.verdicts.push(Verdict::new(now, flow.table, peers.server(&flow.request), out));
        }
        method.ended(peers, &flow.request);
        peers.finish(&flow.request);
        epoch.in_flight -= 1;
        self.flows.remove(id);
    }

    /// The server that the answer to the try under way will name in a cookie. `sticky` sets it with every answer, so that
    /// `expires` counts from the last one.
    #[inline]
    pub fn cookie_to_set(&self, id: FlowId) -> Option<ServerId> {
        let flow = self.flows.get(id)?;
        let epoch = &self.epochs[flow.epoch as usize];
        let sets = match &epoch.tables[flow.table as usize].method {
            _ if epoch.config.sticky.is_some() => true,
            NginxMethod::SessionSticky(method) => method.sets_cookie(&flow.request),
            _ => false,
        };
        sets.then(|| epoch.tables[flow.table as usize].peers.server(&flow.request))
    }

    /// Tables of peers: one for each worker, or a single one.
    pub fn views(&self) -> u16 {
        self.epochs[self.current as usize].tables.len() as u16
    }

    /// Who went out by failures and who came back, since this was asked last, in order. [`Verdict::view`] is the worker.
    pub fn take_verdicts(&mut self) -> Vec<Verdict> {
        std::mem::take(&mut self.verdicts)
    }

    /// How often it found no server to try and said "no live upstreams".
    pub fn no_live_upstreams(&self) -> u64 {
        self.no_live_upstreams
    }

    /// Requests in flight, and what they and the tables of peers occupy. nginx remembers no client.
    pub fn table_sizes(&self) -> TableSizes {
        let tables = self.epochs.iter().flat_map(|epoch| &epoch.tables);
        let bytes = self.flows.bytes() + tables.map(|table| table.peers.bytes()).sum::<usize>();
        TableSizes { flows: self.flows.len() as u64, affinity_entries: 0, bytes: bytes as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{SimDuration, Stream};
    use crate::ids::StreamId;
    use crate::tier::{Skipped, Ties};
    use std::net::IpAddr;

    pub(super) const GET: Open<'static> = Open {
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        port: 40_000,
        key: &[],
        method: Method::Get,
        worker: 0,
        service: 0,
        ties: Ties::NONE,
    };
    const POST: Open<'static> = Open { method: Method::Post, ..GET };
    pub(super) const OK: Outcome = Outcome::Status(200);

    pub(super) fn config(method: &str, servers: Vec<NginxServer>) -> NginxConfig {
        NginxConfig {
            version: NginxVersion::default(),
            sticky: None,
            method: NginxMethod::by_name(method).expect("in the catalogue"),
            servers,
            workers: 1,
            zone: false,
            next_upstream: NextUpstream::default(),
            next_upstream_tries: 0,
            next_upstream_timeout: SimDuration::ZERO,
            connect_timeout: SimDuration::from_secs(60),
            read_timeout: SimDuration::from_secs(60),
            clock_phase: SimDuration::ZERO,
            draws: Stream::new(1, 0, StreamId::Balancer),
            instance: 0,
        }
    }

    fn equal(servers: usize) -> NginxConfig {
        config("round_robin", vec![NginxServer::default(); servers])
    }

    fn at(seconds: u64) -> SimTime {
        SimTime::from_millis(seconds * 1_000)
    }

    fn server(opened: &Opened) -> Option<u16> {
        opened.decision.server.map(|server| server.0)
    }

    /// Runs one request through; `outcome` says how a try at each server ends. Gives the servers tried, and the status.
    fn run(
        nginx: &mut Nginx,
        now: SimTime,
        open: &Open<'_>,
        outcome: impl Fn(u16) -> Outcome,
    ) -> (Vec<u16>, u16) {
        let opened = nginx.open(now, open);
        let Some(first) = server(&opened) else { return (vec![], BAD_GATEWAY) };
        let mut tried = vec![first];
        loop {
            match nginx.attempt_ended(now, opened.flow, outcome(tried[tried.len() - 1])) {
                Then::Done { status } => return (tried, status),
                Then::Wait(_) => unreachable!("nginx tries again at once"),
                Then::Retry(decision) => {
                    tried.push(decision.server.expect("a retry names a server").0);
                    assert_eq!(usize::from(decision.attempt), tried.len());
                }
            }
        }
    }

    fn refused_by(bad: u16) -> impl Fn(u16) -> Outcome {
        move |server| if server == bad { Outcome::ConnectRefused } else { OK }
    }

    #[test]
    fn a_refused_request_is_answered_by_the_next_server_and_the_refuser_stays_out() {
        let mut nginx = Nginx::new(equal(3));
        assert_eq!(run(&mut nginx, at(1), &GET, refused_by(0)), (vec![0, 1], 200));
        let later: Vec<_> = (0..4).map(|_| run(&mut nginx, at(11), &GET, refused_by(0)).0[0]).collect();
        assert!(!later.contains(&0), "server 0 is out through second 11: {later:?}");
        // It lost its effective weight, which comes back by one a round.
        assert!((0..4).any(|_| run(&mut nginx, at(12), &GET, |_| OK).0 == [0]), "a probe in second 12");
    }

    #[test]
    fn an_error_that_is_not_listed_reaches_the_client_and_still_counts() {
        let mut nginx = Nginx::new(NginxConfig { next_upstream: NextUpstream::OFF, ..equal(2) });
        assert_eq!(run(&mut nginx, at(1), &GET, |_| Outcome::ReadTimeout), (vec![0], 504));
        assert_eq!(run(&mut nginx, at(1), &GET, |_| Outcome::ConnectRefused), (vec![1], 502));
        assert_eq!(run(&mut nginx, at(1), &GET, |_| OK), (vec![], 502));
        assert_eq!(nginx.no_live_upstreams(), 1);
    }

    #[test]
    fn a_post_that_was_sent_is_not_sent_again() {
        for outcome in [Outcome::ReadTimeout, Outcome::Reset] {
            let (tried, _) = run(&mut Nginx::new(equal(2)), at(1), &POST, |_| outcome);
            assert_eq!(tried, [0]);
        }
        for outcome in [Outcome::ConnectRefused, Outcome::ConnectTimeout] {
            let (tried, _) = run(&mut Nginx::new(equal(2)), at(1), &POST, |_| outcome);
            assert_eq!(tried, [0, 1], "it was not sent yet");
        }
        let next_upstream = NextUpstream { non_idempotent: true, ..NextUpstream::default() };
        let mut nginx = Nginx::new(NginxConfig { next_upstream, ..equal(2) });
        assert_eq!(run(&mut nginx, at(1), &POST, |_| Outcome::Reset), (vec![0, 1], 502));
    }

    #[test]
    fn a_listed_status_is_retried_and_passed_on_by_the_last_server_without_counting() {
        let next_upstream = "error timeout http_503".parse().expect("valid");
        let mut nginx = Nginx::new(NginxConfig { next_upstream, ..equal(3) });
        let unavailable = |_| Outcome::Status(503);
        assert_eq!(run(&mut nginx, at(1), &GET, unavailable), (vec![0, 1, 2], 503));
        assert_eq!(run(&mut nginx, at(1), &GET, |_| OK), (vec![2], 200), "only the last one is still in");
        assert_eq!(run(&mut nginx, at(1), &GET, |_| Outcome::Status(500)), (vec![2], 500));
    }

    #[test]
    fn a_404_is_retried_without_being_a_failure() {
        let next_upstream = "http_404".parse().expect("valid");
        let mut nginx = Nginx::new(NginxConfig { next_upstream, ..equal(2) });
        assert_eq!(run(&mut nginx, at(1), &GET, |_| Outcome::Status(404)), (vec![0, 1], 404));
        assert_eq!(run(&mut nginx, at(1), &GET, |_| OK).1, 200);
    }

    #[test]
    fn a_single_server_is_tried_every_time_and_once() {
        let mut nginx = Nginx::new(equal(1));
        for _ in 0..3 {
            assert_eq!(run(&mut nginx, at(1), &GET, |_| Outcome::ConnectRefused), (vec![0], 502));
        }
    }

    #[test]
    fn tries_and_their_time_are_limited() {
        let limited = NginxConfig { next_upstream_tries: 2, ..equal(4) };
        let (tried, _) = run(&mut Nginx::new(limited), at(1), &GET, |_| Outcome::ConnectRefused);
        assert_eq!(tried.len(), 2);

        let config = NginxConfig { next_upstream_timeout: SimDuration::from_secs(2), ..equal(4) };
        let mut nginx = Nginx::new(config);
        let opened = nginx.open(at(1), &GET);
        let retry = nginx.attempt_ended(at(2), opened.flow, Outcome::ReadTimeout);
        assert!(matches!(retry, Then::Retry(_)));
        let done = nginx.attempt_ended(at(3), opened.flow, Outcome::ReadTimeout);
        assert_eq!(done, Then::Done { status: 504 });
    }

    #[test]
    fn each_worker_pays_its_own_failed_probe_unless_a_zone_shares_the_state() {
        for (zone, probes) in [(false, 4), (true, 1)] {
            let mut nginx = Nginx::new(NginxConfig { workers: 4, zone, ..equal(3) });
            let mut probed = 0;
            for request in 0..40 {
                let open = Open { worker: request % 4, ..GET };
                probed += run(&mut nginx, at(1), &open, refused_by(1)).0.iter().filter(|&&s| s == 1).count();
            }
            assert_eq!(probed, probes, "zone {zone}");
        }
    }

    #[test]
    fn a_reload_forgets_failures_while_requests_in_flight_finish_on_the_old_servers() {
        let mut nginx = Nginx::new(equal(2));
        run(&mut nginx, at(1), &GET, refused_by(0));
        let old = nginx.open(at(1), &GET);
        assert_eq!(server(&old), Some(1), "server 0 is out");
        nginx.reload(at(2), equal(3));
        assert_eq!(server(&nginx.open(at(2), &GET)), Some(0), "the new state starts from zero");
        let end = nginx.attempt_ended(at(2), old.flow, Outcome::ConnectRefused);
        assert_eq!(end, Then::Done { status: 502 }, "to the old workers, server 0 is still out");
        nginx.reload(at(3), equal(3));
        nginx.reload(at(3), equal(3));
        assert_eq!(nginx.epochs.len(), 2, "a configuration without requests makes room");
    }

    #[test]
    fn a_client_that_leaves_a_probe_brings_the_server_back() {
        let mut nginx = Nginx::new(equal(2));
        run(&mut nginx, at(1), &GET, refused_by(0));
        let probe = loop {
            let opened = nginx.open(at(12), &GET);
            if server(&opened) == Some(0) {
                break opened;
            }
            nginx.attempt_ended(at(12), opened.flow, OK);
        };
        nginx.abort(at(12), probe.flow);
        assert!((0..2).any(|_| run(&mut nginx, at(12), &GET, |_| OK).0 == [0]));
    }

    #[test]
    fn an_answer_to_a_client_that_has_left_changes_nothing() {
        let mut nginx = Nginx::new(equal(2));
        let gone = nginx.open(at(1), &GET);
        nginx.abort(at(1), gone.flow);
        let next = nginx.open(at(1), &GET);
        assert_eq!(gone.flow.slot, next.flow.slot, "the slot is used again");
        assert_eq!(nginx.attempt_ended(at(1), gone.flow, Outcome::Reset), Then::Done { status: 499 });
        nginx.abort(at(1), gone.flow);
        assert_eq!(nginx.table_sizes().flows, 1);
        assert_eq!(nginx.attempt_ended(at(1), next.flow, OK), Then::Done { status: 200 });
    }

    #[test]
    fn the_clock_phase_says_where_seconds_begin() {
        // The first server fails at 0.4 s, in second 0 either way, and is out through second 10. That lasts until 11.0 s
        // without the phase and until 10.5 s with it.
        for (phase_ms, status) in [(0, 502), (500, 200)] {
            let phase = SimDuration::from_millis(phase_ms);
            let mut nginx = Nginx::new(NginxConfig { clock_phase: phase, ..equal(2) });
            run(&mut nginx, SimTime::from_millis(400), &GET, refused_by(0));
            run(&mut nginx, SimTime::from_millis(600), &GET, refused_by(1));
            let now = SimTime::from_millis(10_550);
            assert_eq!(run(&mut nginx, now, &GET, |_| OK).1, status, "phase {phase_ms} ms");
        }
    }

    #[test]
    fn ip_hash_says_why_a_client_left_home() {
        let mut nginx = Nginx::new(config("ip_hash", vec![NginxServer::default(); 3]));
        let first = nginx.open(at(1), &GET);
        assert_eq!(first.decision.reason, Reason::Hashed);
        let Then::Retry(second) = nginx.attempt_ended(at(1), first.flow, Outcome::ConnectRefused) else {
            panic!("there are two servers left");
        };
        assert_eq!(second.reason, Reason::Rehashed(Skipped::Tried));
        assert_eq!(nginx.open(at(1), &GET).decision.reason, Reason::Rehashed(Skipped::Unhealthy));
    }

    #[test]
    fn a_key_is_hashed_anew_for_each_try_without_being_kept() {
        let mut nginx =
            Nginx::new(config("hash", vec![NginxServer { max_fails: 0, ..NginxServer::default() }; 5]));
        let mut orders: Vec<Vec<u16>> = (0..30_u8)
            .map(|key| {
                let open = Open { key: &[b'k', key], ..GET };
                let (tried, status) = run(&mut nginx, at(1), &open, |_| Outcome::ConnectRefused);
                assert_eq!((tried.len(), status), (5, 502));
                tried
            })
            .collect();
        orders.sort();
        orders.dedup();
        assert!(orders.len() > 10, "the order of tries depends on the key: {orders:?}");
    }

    #[test]
    fn workers_and_reloads_leave_the_draws_of_random_alone() {
        let servers = vec![NginxServer::default(); 8];
        for method in ["random", "random_two"] {
            let picks = |workers, reload: bool| {
                let config = NginxConfig { workers, ..config(method, servers.clone()) };
                let mut nginx = Nginx::new(config.clone());
                let pick = |request: u16| {
                    if reload && request == 20 {
                        nginx.reload(at(1), config.clone());
                    }
                    run(&mut nginx, at(1), &Open { worker: request % 4, ..GET }, |_| OK).0[0]
                };
                (0..40).map(pick).collect::<Vec<_>>()
            };
            let expected = picks(1, false);
            assert_ne!(expected[..20], expected[20..], "no draw is made twice");
            assert_eq!(picks(4, false), expected);
            assert_eq!(picks(1, true), expected);
        }
    }

    #[test]
    fn least_conn_knows_only_the_connections_of_its_own_worker_without_a_zone() {
        for (zone, second) in [(true, 1), (false, 0)] {
            let config = config("least_conn", vec![NginxServer::default(); 2]);
            let mut nginx = Nginx::new(NginxConfig { workers: 2, zone, ..config });
            assert_eq!(server(&nginx.open(at(1), &GET)), Some(0));
            assert_eq!(server(&nginx.open(at(1), &Open { worker: 1, ..GET })), Some(second), "zone {zone}");
        }
    }
}
