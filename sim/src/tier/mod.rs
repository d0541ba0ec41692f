//! A tier instance: one nginx, one IPVS director, one HAProxy. It is the unit that is driven, by the simulation and by recorded
//! traces alike: affinity, health, retries and the [`crate::balancer::Balancer`] behind one set of inputs.
//!
//! Time is an argument of every input and never goes back; the phases of the program's clocks are parameters of its
//! construction. Every input first does what the program's timers would have done by then.

pub mod dns;
pub mod ecmp;
pub(crate) mod flows;
pub mod haproxy;
mod key;
pub mod lvs;
pub mod nginx;
pub mod proxy;
mod shown;

use std::net::IpAddr;

use crate::balancer::haproxy::Admin;
use crate::engine::{SimDuration, SimTime};
use crate::health::Verdict;
use crate::ids::ServerId;

pub use crate::balancer::{CookieLife, Reason, Skipped};
pub use dns::{Dns, DnsConfig, DnsOrder};
pub use ecmp::{Ecmp, EcmpConfig, EcmpHash};
pub use haproxy::{Haproxy, HaproxyConfig};
pub use key::{Key, KeyError};
pub use lvs::{KernelClock, Lvs, LvsConfig};
pub use nginx::{Nginx, NginxConfig};
pub use proxy::{Proxy, ProxyConfig};
pub use shown::{Page, RequestFields, Shown, Value, push_client_number};

/// What the opening of a flow (a connection for LVS, a request for nginx and HAProxy) shows to an instance.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// The source address as the instance sees it.
    pub address: IpAddr,
    /// The source port.
    pub port: u16,
    /// What the configured hash key evaluates to; empty where none is configured.
    pub key: &'a [u8],
    /// The request's method.
    pub method: Method,
    /// The worker process that accepted the connection, from 0.
    pub worker: u16,
    /// Which virtual service of the instance is addressed, in configuration order; 0 where there is only one.
    pub service: u16,
    /// What may tie the request to a server; [`Ties::NONE`] for programs that do not look.
    pub ties: Ties<'a>,
}

/// What a request carries, besides its address and key, that may tie it to a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ties<'a> {
    /// The server that its persistence cookie names (as [`HaproxyConfig::server_of_cookie`] says for HAProxy); `None`
    /// without a cookie, if it is too old ([`CookieLife`]), or if it names nobody. Read by instances that give such cookies
    /// ([`Instance::cookie_to_set`]).
    pub cookie: Option<ServerId>,
    /// The sample that HAProxy's stick rules look at, where that is not the address; empty if the request lacks it.
    pub sample: &'a [u8],
    /// What HAProxy's configuration says of such a request.
    pub persistence: Persistence,
}

impl Ties<'_> {
    /// Nothing.
    pub const NONE: Self = Self { cookie: None, sample: &[], persistence: Persistence::Normal };
}

/// Whether a tie to a server counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Persistence {
    /// If the server is up.
    #[default]
    Normal,
    /// `force-persist`: even if the server is down.
    Forced,
    /// `ignore-persist`: cookies are neither read nor set.
    Ignored,
}

/// HTTP methods, as far as balancers tell them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Method {
    /// Idempotent: GET, HEAD, PUT, DELETE, OPTIONS.
    #[default]
    Get,
    /// Not idempotent: POST, LOCK, PATCH.
    Post,
}

/// A flow that an instance knows: a slot and its generation, so that a flow that has ended is told from a later one
/// in the same slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct FlowId {
    /// The slot in the instance's table of flows.
    pub slot: u32,
    /// How often the slot had been used before.
    pub generation: u32,
}

/// What an instance decided for one try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The server, or `None` when the instance refuses by itself.
    pub server: Option<ServerId>,
    /// Why this server, or why none.
    pub reason: Reason,
    /// Number of the try within its flow, from 1.
    pub attempt: u8,
}

/// How one try at a server ended, as its balancer sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Answered with this status.
    Status(u16),
    /// Connecting was refused or reset before the request was sent.
    ConnectRefused,
    /// Connecting took longer than the instance waits.
    ConnectTimeout,
    /// The connection broke after the request was sent.
    Reset,
    /// No answer within the time that the instance waits, after the request was sent.
    ReadTimeout,
}

/// What an instance does after a try has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// The flow has ended; the client gets this status.
    Done {
        /// HTTP status that the client gets.
        status: u16,
    },
    /// Another try, or a wait in a queue ([`Reason::Queued`]).
    Retry(Decision),
    /// Nothing before this time is over; then [`Instance::resume`].
    Wait(SimDuration),
}

/// A change of a TCP connection that an L4 instance sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segment {
    /// The client's handshake was completed.
    Established,
    /// Data or an acknowledgement from the client.
    FromClient,
    /// Data or an acknowledgement from the server (not seen in direct routing).
    FromServer,
    /// The client's FIN.
    ClientFin,
    /// The server's FIN (not seen in direct routing).
    ServerFin,
    /// A reset by the client.
    ClientReset,
    /// A reset by the server (not seen in direct routing).
    ServerReset,
}

/// What became of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwarded {
    /// It went to the flow's server.
    To(ServerId),
    /// It was dropped without a word: the server is no longer configured.
    Dropped,
    /// The instance does not know the connection: the client gets a reset.
    Reset,
}

/// Whether an instance decides for each connection or for each request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// Layer 4: once per connection.
    Connection,
    /// Layer 7: for each request.
    Request,
}

/// A flow that was opened.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// The flow, to be named in later inputs; meaningless when the decision names no server.
    pub flow: FlowId,
    /// Where it goes.
    pub decision: Decision,
}

/// One tier instance of any program.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a run has one instance or few, and a box would cost each request a load"
)]
pub enum Instance {
    /// An nginx.
    Nginx(Nginx),
    /// An IPVS director.
    Lvs(Lvs),
    /// An HAProxy.
    HaProxy(Haproxy),
    /// A layer 7 proxy of no particular program.
    Proxy(Proxy),
}

impl Instance {
    /// Whether it decides for each connection or for each request.
    pub fn layer(&self) -> Layer {
        match self {
            Self::Nginx(_) | Self::HaProxy(_) | Self::Proxy(_) => Layer::Request,
            Self::Lvs(_) => Layer::Connection,
        }
    }

    /// A flow opens: a connection (layer 4) or a request (layer 7).
    #[inline(always)]
    pub fn open(&mut self, now: SimTime, open: &Open<'_>) -> Opened {
        match self {
            Self::Nginx(nginx) => nginx.open(now, open),
            Self::Lvs(lvs) => lvs.open(now, open),
            Self::HaProxy(haproxy) => haproxy.open(now, open),
            Self::Proxy(proxy) => proxy.open(now, open),
        }
    }

    /// A try of a request ended. Only for layer 7.
    #[inline(always)]
    pub fn attempt_ended(&mut self, now: SimTime, flow: FlowId, outcome: Outcome) -> Then {
        match self {
            Self::Nginx(nginx) => nginx.attempt_ended(now, flow, outcome),
            Self::Proxy(proxy) => proxy.attempt_ended(now, flow, outcome),
            Self::Lvs(_) => unreachable!("a layer 4 instance sees segments, not attempts"),
            Self::HaProxy(haproxy) => haproxy.attempt_ended(now, flow, outcome),
        }
    }

    /// The server that the answer to the try under way will name in a cookie, if it sets one. Only for layer 7.
    #[inline]
    pub fn cookie_to_set(&self, flow: FlowId) -> Option<ServerId> {
        match self {
            Self::Nginx(nginx) => nginx.cookie_to_set(flow),
            Self::HaProxy(haproxy) => haproxy.cookie_to_set(flow),
            Self::Proxy(proxy) => proxy.cookie_to_set(flow),
            Self::Lvs(_) => None,
        }
    }

    /// The time that [`Then::Wait`] named is over. Only for HAProxy, since no other program waits.
    pub fn resume(&mut self, now: SimTime, flow: FlowId) -> Then {
        match self {
            Self::Nginx(_) | Self::Lvs(_) | Self::Proxy(_) => {
                unreachable!("only HAProxy waits before a retry")
            }
            Self::HaProxy(haproxy) => haproxy.resume(now, flow),
        }
    }

    /// The client went away while a try was under way. Only for layer 7.
    pub fn abort(&mut self, now: SimTime, flow: FlowId) {
        match self {
            Self::Nginx(nginx) => nginx.abort(now, flow),
            Self::Proxy(proxy) => proxy.abort(flow),
            Self::Lvs(_) => unreachable!("a layer 4 instance sees segments, not requests"),
            Self::HaProxy(haproxy) => haproxy.abort(now, flow),
        }
    }

    /// A segment of a known connection passes. Only for layer 4.
    #[inline(always)]
    pub fn segment(&mut self, now: SimTime, flow: FlowId, segment: Segment) -> Forwarded {
        match self {
            Self::Nginx(_) | Self::HaProxy(_) | Self::Proxy(_) => {
                unreachable!("a layer 7 instance sees requests, not segments")
            }
            Self::Lvs(lvs) => lvs.segment(now, flow, segment),
        }
    }

    /// Changes a server's weight; 0 takes it out for new clients (`ipvsadm -e -w`, `set server … weight`). No effect on
    /// nginx, whose weights change only by a reload.
    pub fn set_weight(&mut self, now: SimTime, server: ServerId, weight: u32) {
        match self {
            Self::Nginx(_) => {}
            Self::Lvs(lvs) => lvs.set_weight(now, server, weight),
            Self::HaProxy(haproxy) => {
                haproxy.set_weight(now, server, weight);
            }
            Self::Proxy(proxy) => proxy.set_weight(now, server, weight),
        }
    }

    /// Removes a server from the table (`ipvsadm -d`, as keepalived does when a check fails; `set server … state maint`).
    pub fn remove_server(&mut self, now: SimTime, server: ServerId) {
        match self {
            Self::Nginx(_) => {}
            Self::Lvs(lvs) => lvs.remove_server(now, server),
            Self::HaProxy(haproxy) => haproxy.set_admin(now, server, Admin::Maint),
            Self::Proxy(proxy) => proxy.remove_server(now, server),
        }
    }

    /// Adds a server, or one that was removed, with a weight (`ipvsadm -a`; `set server … state ready`).
    pub fn add_server(&mut self, now: SimTime, server: ServerId, weight: u32) {
        match self {
            Self::Nginx(_) => {}
            Self::Lvs(lvs) => lvs.add_server(now, server, weight),
            Self::HaProxy(haproxy) => {
                haproxy.set_weight(now, server, weight);
                haproxy.set_admin(now, server, Admin::Ready);
            }
            Self::Proxy(proxy) => proxy.add_server(now, server, weight),
        }
    }

    /// Whether it uses a server at all, now or when that is well: one that its configuration gives a weight. Others than
    /// proxies of no particular program use all.
    #[inline]
    pub fn uses(&self, server: ServerId) -> bool {
        match self {
            Self::Nginx(_) | Self::Lvs(_) | Self::HaProxy(_) => true,
            Self::Proxy(proxy) => proxy.uses(server),
        }
    }

    /// How many of its processes judge health each for itself: the workers of an nginx that do not share their state.
    pub fn views(&self) -> u16 {
        match self {
            Self::Nginx(nginx) => nginx.views(),
            Self::Lvs(_) | Self::HaProxy(_) | Self::Proxy(_) => 1,
        }
    }

    /// Whom its health rules took out and who came back, since this was asked last, in order. A director has none of its own:
    /// keepalived changes its table.
    pub fn take_verdicts(&mut self) -> Vec<Verdict> {
        match self {
            Self::Nginx(nginx) => nginx.take_verdicts(),
            Self::Lvs(_) => Vec::new(),
            Self::HaProxy(haproxy) => haproxy.take_verdicts(),
            Self::Proxy(proxy) => proxy.take_verdicts(),
        }
    }

    /// Entries in the affinity table (persistence templates), and bytes of all tables of connections.
    pub fn table_sizes(&self) -> TableSizes {
        match self {
            Self::Nginx(nginx) => nginx.table_sizes(),
            Self::Lvs(lvs) => lvs.table_sizes(),
            Self::HaProxy(haproxy) => haproxy.table_sizes(),
            Self::Proxy(proxy) => proxy.table_sizes(),
        }
    }
}

/// What an instance keeps in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSizes {
    /// Connections or requests that it knows now.
    pub flows: u64,
    /// Clients that it remembers now.
    pub affinity_entries: u64,
    /// Bytes of these tables.
    pub bytes: u64,
}

impl TableSizes {
    /// Those of two instances together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            flows: self.flows + other.flows,
            affinity_entries: self.affinity_entries + other.affinity_entries,
            bytes: self.bytes + other.bytes,
        }
    }
}
