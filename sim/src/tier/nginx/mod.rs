//! One nginx as a tier instance: which server each try of a request goes to, and what its end leads to.
//!
//! Source: nginx 1.22.1, `src/http/ngx_http_upstream.c` (`ngx_http_upstream_init_request`, `ngx_http_upstream_connect`,
//! `ngx_http_upstream_test_next`, `ngx_http_upstream_next`, `ngx_http_upstream_finalize_request`). Which server is chosen is
//! [`crate::balancer::nginx`]'s part.
//!
//! Departures: connections to servers are not kept (nginx's default before 1.29.7); names of servers are not resolved; a
//! request body is always buffered (`proxy_request_buffering on`), so it can be sent again.

mod config;
mod flows;

use crate::balancer::nginx::{NginxMethod, Peers};
use crate::balancer::{Balancer, Reason};
use crate::engine::SimTime;

use super::{Decision, FlowId, Method, Open, Opened, Outcome, TableSizes, Then};
use flows::{Flow, Flows};

pub use config::{NextUpstream, NginxConfig, NginxConfigError, NginxServer, UnknownCondition};

/// What the client gets when no server may be used.
const BAD_GATEWAY: u16 = 502;
/// What the client gets when the last try timed out.
const GATEWAY_TIMEOUT: u16 = 504;
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
    flows: Flows,
    no_live_upstreams: u64,
}

/// One configuration and the state of the workers that run it.
#[derive(Debug)]
struct Epoch {
    config: NginxConfig,
    /// One table per worker, or a single one in a `zone`.
    tables: Vec<Table>,
    in_flight: u32,
}

/// The state of one worker, or of the zone.
#[derive(Debug)]
struct Table {
    peers: Peers,
    method: NginxMethod,
}

impl Epoch {
    fn new(config: NginxConfig) -> Self {
        if let Err(error) = config.check() {
            panic!("{error}");
        }
        let peers = Peers::new(&config.servers);
        let mut method = config.method.clone();
        method.servers_changed(&peers);
        let table = || Table { peers: peers.clone(), method: method.clone() };
        let tables = if config.zone { 1 } else { config.workers };
        let tables = (0..tables).map(|_| table()).collect();
        Self { config, tables, in_flight: 0 }
    }

    /// nginx's cached clock [ms].
    #[inline]
    fn clock_ms(&self, now: SimTime) -> u64 {
        (now + self.config.clock_phase).0 / 1_000_000
    }

    /// Whether `proxy_next_upstream_timeout` is over for a request that arrived at `started_ms`.
    fn out_of_time(&self, started_ms: u64, clock_ms: u64) -> bool {
        let limit_ms = self.config.next_upstream_timeout.0 / 1_000_000;
        limit_ms != 0 && clock_ms.saturating_sub(started_ms) >= limit_ms
    }
}

/// What the end of a try means.
struct Verdict {
    /// Whether it counts as a failure of the server.
    failed: bool,
    /// What the client gets unless another try follows.
    status: u16,
    /// Whether another try may follow, as long as there are any left.
    may_retry: bool,
}

impl Nginx {
    /// An nginx that has just started.
    ///
    /// # Panics
    /// Panics if nginx would not start: see [`NginxConfig::check`].
    pub fn new(config: NginxConfig) -> Self {
        Self { epochs: vec![Epoch::new(config)], current: 0, flows: Flows::default(), no_live_upstreams: 0 }
    }

    /// `nginx -s reload`: requests from `now` on find new workers, whose state starts from zero; requests in flight finish
    /// with the servers and the state of the old ones.
    ///
    /// # Panics
    /// Panics if nginx would refuse the configuration: see [`NginxConfig::check`].
    pub fn reload(&mut self, _now: SimTime, config: NginxConfig) {
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
        let mut request = peers.begin(open.address);
        if epoch.config.next_upstream_tries != 0 {
            request.limit_tries(epoch.config.next_upstream_tries);
        }
        request.set_clock(clock_ms / 1_000);
        let Some(server) = method.pick(peers, &mut request) else {
            peers.finish(&request);
            self.no_live_upstreams += 1;
            let decision = Decision { server: None, reason: Reason::NoneUsable, attempt: 1 };
            return Opened { flow: Flows::NONE, decision };
        };
        epoch.in_flight += 1;
        let decision = Decision { server: Some(server), reason: request.reason(), attempt: 1 };
        let flow = self.flows.insert(Flow {
            epoch: self.current,
            table: table as u16,
            attempt: 1,
            non_idempotent: open.method == Method::Post,
            started_ms: clock_ms,
            request,
        });
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
        peers.end_try(&mut flow.request, verdict.failed);
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
        let peers = &mut epoch.tables[flow.table as usize].peers;
        flow.request.set_clock(now_s);
        // `ngx_http_upstream_finalize_request` frees the peer with state 0, which is no `NGX_PEER_FAILED`.
        peers.end_try(&mut flow.request, false);
        peers.finish(&flow.request);
        epoch.in_flight -= 1;
        self.flows.remove(id);
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

impl Epoch {
    /// What the end of a try means to nginx; `flow.request` still counts the try that ended.
    #[inline]
    fn judge(&self, flow: &Flow, clock_ms: u64, outcome: Outcome) -> Verdict {
        let next = &self.config.next_upstream;
        let in_time = || !self.out_of_time(flow.started_ms, clock_ms);
        // Once it was sent, a request that is not idempotent goes to one server only, unless configured otherwise.
        let repeatable = !flow.non_idempotent || next.non_idempotent;
        match outcome {
            // `ngx_http_upstream_test_next`: with no try left the answer is passed on, and is no failure then.
            Outcome::Status(status) => {
                let again = status >= 400
                    && next.lists(status)
                    && flow.request.tries() > 1
                    && repeatable
                    && in_time();
                // `ngx_http_upstream_next`: 403 and 404 are retried as `NGX_PEER_NEXT`.
                Verdict { failed: again && !matches!(status, 403 | 404), status, may_retry: again }
            }
            // Errors and time-outs count against the server whether or not they are listed.
            Outcome::ConnectRefused => {
                Verdict { failed: true, status: BAD_GATEWAY, may_retry: next.error && in_time() }
            }
            Outcome::Reset => Verdict {
                failed: true,
                status: BAD_GATEWAY,
                may_retry: next.error && repeatable && in_time(),
            },
            Outcome::ConnectTimeout => {
                Verdict { failed: true, status: GATEWAY_TIMEOUT, may_retry: next.timeout && in_time() }
            }
            Outcome::ReadTimeout => Verdict {
                failed: true,
                status: GATEWAY_TIMEOUT,
                may_retry: next.timeout && repeatable && in_time(),
            },
        }
    }
}
