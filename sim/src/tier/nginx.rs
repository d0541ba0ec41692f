//! One nginx as a tier instance.

use crate::balancer::nginx::NginxMethod;
use crate::engine::{SimDuration, SimTime};

use super::{FlowId, Open, Opened, Outcome, TableSizes, Then};

/// An nginx `upstream` with the `proxy_*` directives that matter to it.
#[derive(Clone, Debug)]
pub struct NginxConfig {
    /// The balancing method.
    pub method: NginxMethod,
    /// The `server` lines, in their order; server `i` is [`crate::ids::ServerId`] `i`.
    pub servers: Vec<NginxServer>,
    /// Worker processes.
    pub workers: u16,
    /// Whether the upstream has a shared memory `zone`.
    pub zone: bool,
    /// `proxy_next_upstream`.
    pub next_upstream: NextUpstream,
    /// `proxy_next_upstream_tries`; 0 is no limit.
    pub next_upstream_tries: u32,
    /// `proxy_next_upstream_timeout`; zero is no limit.
    pub next_upstream_timeout: SimDuration,
    /// `proxy_connect_timeout`.
    pub connect_timeout: SimDuration,
    /// `proxy_read_timeout`.
    pub read_timeout: SimDuration,
    /// What the wall clock's part below a second shows at time zero. nginx's failure windows count whole seconds.
    pub clock_phase: SimDuration,
}

/// One `server` line of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct NginxServer {
    /// `weight`, at least 1.
    pub weight: u32,
    /// `max_fails`; 0 turns failure accounting off.
    pub max_fails: u32,
    /// `fail_timeout`, in whole seconds as nginx keeps it.
    pub fail_timeout_s: u64,
    /// `max_conns`; 0 is no limit.
    pub max_conns: u32,
    /// `down`.
    pub down: bool,
    /// `backup`.
    pub backup: bool,
}

impl Default for NginxServer {
    fn default() -> Self {
        Self { weight: 1, max_fails: 1, fail_timeout_s: 10, max_conns: 0, down: false, backup: false }
    }
}

/// The conditions of `proxy_next_upstream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextUpstream {
    /// `error`.
    pub error: bool,
    /// `timeout`.
    pub timeout: bool,
    /// `http_500`, `http_502`, `http_503`, `http_504`, `http_403`, `http_404`, `http_429`, in this order.
    pub statuses: [bool; 7],
    /// `non_idempotent`.
    pub non_idempotent: bool,
}

impl NextUpstream {
    /// The statuses that can be listed, in the order of [`NextUpstream::statuses`].
    pub const STATUSES: [u16; 7] = [500, 502, 503, 504, 403, 404, 429];
}

impl Default for NextUpstream {
    /// nginx's default: `error timeout`.
    fn default() -> Self {
        Self { error: true, timeout: true, statuses: [false; 7], non_idempotent: false }
    }
}

/// One nginx with one upstream.
#[derive(Debug)]
pub struct Nginx {}

impl Nginx {
    /// An nginx that has just started.
    pub fn new(_config: NginxConfig) -> Self {
        unimplemented!()
    }

    /// A request arrives.
    pub fn open(&mut self, _now: SimTime, _open: &Open<'_>) -> Opened {
        unimplemented!()
    }

    /// A try ended.
    pub fn attempt_ended(&mut self, _now: SimTime, _flow: FlowId, _outcome: Outcome) -> Then {
        unimplemented!()
    }

    /// The client went away.
    pub fn abort(&mut self, _now: SimTime, _flow: FlowId) {
        unimplemented!()
    }

    /// Table sizes.
    pub fn table_sizes(&self) -> TableSizes {
        unimplemented!()
    }
}
