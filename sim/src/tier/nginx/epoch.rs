//! One configuration of an nginx, the state of the workers that run it, and what the end of a try means to it.

use crate::balancer::Balancer;
use crate::balancer::nginx::{NginxMethod, Peers};
use crate::engine::SimTime;
use crate::tier::Outcome;

use super::NginxConfig;
use super::flows::Flow;

/// What the client gets when no server may be used, or the last try was refused or broke off.
pub(super) const BAD_GATEWAY: u16 = 502;
/// What the client gets when the last try timed out.
const GATEWAY_TIMEOUT: u16 = 504;

/// One configuration and the state of the workers that run it.
#[derive(Debug)]
pub(super) struct Epoch {
    pub(super) config: NginxConfig,
    /// One table per worker, or a single one in a `zone`.
    pub(super) tables: Vec<Table>,
    pub(super) in_flight: u32,
    /// Whether it gives cookies to browsers.
    pub(super) gives_cookies: bool,
}

/// The state of one worker, or of the zone.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) peers: Peers,
    pub(super) method: NginxMethod,
}

impl Epoch {
    pub(super) fn new(config: NginxConfig) -> Self {
        if let Err(error) = config.check() {
            panic!("{error}");
        }
        let mut peers = Peers::new(&config.servers);
        peers.set_draws(config.draws, config.instance);
        let mut method = config.method.clone();
        method.servers_changed(&peers);
        let table = || Table { peers: peers.clone(), method: method.clone() };
        let tables = if config.zone || method.shares_state() { 1 } else { config.workers };
        let tables = (0..tables).map(|_| table()).collect();
        let gives_cookies = config.cookies().is_some();
        Self { config, tables, in_flight: 0, gives_cookies }
    }

    /// nginx's cached clock, in milliseconds.
    #[inline]
    pub(super) fn clock_ms(&self, now: SimTime) -> u64 {
        (now + self.config.clock_phase).0 / 1_000_000
    }

    /// Whether `proxy_next_upstream_timeout` is over for a request that arrived at `started_ms`.
    fn out_of_time(&self, started_ms: u64, clock_ms: u64) -> bool {
        let limit_ms = self.config.next_upstream_timeout.0 / 1_000_000;
        limit_ms != 0 && clock_ms.saturating_sub(started_ms) >= limit_ms
    }

    /// What the end of a try means to nginx; `flow.request` still counts the try that ended.
    #[inline]
    pub(super) fn judge(&self, flow: &Flow, clock_ms: u64, outcome: Outcome) -> Verdict {
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

/// What the end of a try means.
pub(super) struct Verdict {
    /// Whether it counts as a failure of the server.
    pub(super) failed: bool,
    /// What the client gets unless another try follows.
    pub(super) status: u16,
    /// Whether another try may follow, as long as there are any left.
    pub(super) may_retry: bool,
}
