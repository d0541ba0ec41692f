//! HAProxy's balancing algorithms and the table of servers that they share.
//!
//! Source: HAProxy 2.6, `src/backend.c` and `src/lb_*.c`. HAProxy is GPL, and what is here describes what it does; checked
//! against recordings of it ([`crate::conformance::haproxy`]). Integers are 32 bits wide and wrap, as there.
//!
//! An algorithm chooses among the servers of a [`Servers`]; whether a request is tied to a server, waits for one or tries
//! again is the tier's part ([`crate::tier::haproxy`]). Not modelled: agents.

mod configure;
mod functions;
mod keyed;
mod lookup;
mod map;
mod ring;
mod servers;
mod tree;

pub use configure::BalanceError;
pub use functions::{HashFunction, avalanche, hash_address};
pub use lookup::{HashOptions, HashType, UnknownWord};
pub use servers::{Admin, HaproxyServer, Servers, WEIGHT_MAX};

use std::net::IpAddr;

use super::Reason;
use crate::ids::ServerId;

super::catalogue! {
    /// HAProxy algorithms, named as in `balance`.
    haproxy: HaproxyMethod<Servers = Servers, Request = HaproxyRequest> {
        /// Weighted round robin that follows changes of weights smoothly, HAProxy's default in most examples.
        roundrobin::RoundRobin [Recorded] {
            source: "HAProxy 2.6, `lb_fwrr.c`",
            shares: ByWeight(Exact), ties: Nothing, refuses: Never, cost: Tree,
        },
        /// Weighted round robin over a table made in advance.
        static_rr = "static-rr"::StaticRr [Recorded] {
            source: "HAProxy 2.6, `lb_map.c`",
            shares: ByWeight(Exact), ties: Nothing, refuses: Never, cost: Table,
        },
        /// The least requests in flight by weight, the one that has rested longest among equals.
        leastconn::LeastConn [Recorded] {
            source: "HAProxy 2.6, `lb_fwlc.c`",
            shares: OpenByWeight, ties: Nothing, refuses: Never, cost: Tree,
        },
        /// The first server by `id` that has room.
        first::First [Recorded] {
            source: "HAProxy 2.6, `lb_fas.c`",
            shares: OneServer,
            ties: Nothing,
            refuses: Never,
            cost: Scan("servers are looked at by `id` until one has room; below `maxconn` that is the first"),
        },
        /// A hash of the client's address.
        source::Source [Recorded] {
            source: "HAProxy 2.6, `backend.c` and `lb_map.c`",
            shares: ByWeight(Exact),
            ties: Client { out: Unbounded, deleted: Unbounded },
            refuses: Never,
            cost: Table,
        },
        /// A hash of the request's URI.
        uri::Uri [Recorded] {
            source: "HAProxy 2.6, `backend.c` and `lb_map.c`",
            shares: ByWeight(Exact),
            ties: Client { out: Unbounded, deleted: Unbounded },
            refuses: Never,
            cost: Table,
        },
        /// A hash of a parameter of the URI's query.
        url_param::UrlParam [Recorded] {
            source: "HAProxy 2.6, `backend.c` and `lb_map.c`",
            shares: ByWeight(Exact),
            ties: Client { out: Unbounded, deleted: Unbounded },
            refuses: Never,
            cost: Table,
        },
        /// A hash of a request header.
        hdr::Hdr [Recorded] {
            source: "HAProxy 2.6, `backend.c` and `lb_map.c`",
            shares: ByWeight(Exact),
            ties: Client { out: Unbounded, deleted: Unbounded },
            refuses: Never,
            cost: Table,
        },
        /// A hash of the RDP cookie.
        rdp_cookie = "rdp-cookie"::RdpCookie [Recorded] {
            source: "HAProxy 2.6, `backend.c` and `lb_map.c`",
            shares: ByWeight(Exact),
            ties: Client { out: Unbounded, deleted: Unbounded },
            refuses: Never,
            cost: Table,
        },
        /// A hash of any sample of the request.
        hash::Hash [NotRecorded] {
            source: "HAProxy 2.6, `backend.c` and `lb_map.c`",
            shares: ByWeight(Exact),
            ties: Client { out: Unbounded, deleted: Unbounded },
            refuses: Never,
            cost: Table,
        },
        /// Random points on the consistent ring, and the least loaded of their servers.
        random::Random [Recorded] {
            source: "HAProxy 2.6, `backend.c`",
            shares: ByWeight(Points(16)), ties: Nothing, refuses: Never, cost: Ring,
        },
    }
}

/// What an algorithm knows of one request.
#[derive(Clone, Copy, Debug)]
pub struct HaproxyRequest {
    /// Hash of what the algorithm looks at ([`HaproxyMethod::key_hash`]); `None` if the request lacks it.
    pub key_hash: Option<u32>,
    /// The server of the last try, when another one is wanted.
    pub avoid: Option<ServerId>,
    /// The thread that serves the request, from 0.
    pub thread: u16,
    /// Set by the algorithm: why the choice fell as it did.
    pub reason: Reason,
}

impl HaproxyRequest {
    /// A request without a key.
    pub fn new(thread: u16) -> Self {
        Self { key_hash: None, avoid: None, thread, reason: Reason::Scheduled { tie: false } }
    }
}

impl HaproxyMethod {
    /// The hash of what the algorithm looks at; `None` if the request lacks it, or nothing is hashed. What `key` must hold
    /// is said by each algorithm; an empty one is none.
    #[inline]
    pub fn key_hash(&self, address: IpAddr, key: &[u8]) -> Option<u32> {
        match self {
            Self::Source(source) => Some(source.hash(address)),
            Self::Uri(uri) => uri.hash(key),
            Self::UrlParam(param) => param.hash(key),
            Self::Hdr(hdr) => hdr.hash(key),
            Self::RdpCookie(cookie) => cookie.hash(key),
            Self::Hash(hash) => hash.hash(key),
            Self::RoundRobin(_)
            | Self::StaticRr(_)
            | Self::LeastConn(_)
            | Self::First(_)
            | Self::Random(_) => None,
        }
    }

    /// Whether a key decides: then a failed request is not moved to another server before its last retry.
    #[inline]
    pub fn hashes(&self) -> bool {
        self.hash_options().is_some()
    }

    /// Whether weights are those of a table made in advance.
    pub fn has_static_weights(&self) -> bool {
        match self {
            Self::StaticRr(_) => true,
            _ => self.hash_options().is_some_and(|options| !options.hash_type.consistent),
        }
    }

    /// `hash-type` and `hash-balance-factor`, if the algorithm hashes a key.
    pub fn hash_options(&self) -> Option<&HashOptions> {
        let lookup = match self {
            Self::Source(source) => &source.lookup,
            Self::Uri(uri) => &uri.lookup,
            Self::UrlParam(param) => &param.lookup,
            Self::Hdr(hdr) => &hdr.lookup,
            Self::RdpCookie(cookie) => &cookie.lookup,
            Self::Hash(hash) => &hash.lookup,
            Self::RoundRobin(_)
            | Self::StaticRr(_)
            | Self::LeastConn(_)
            | Self::First(_)
            | Self::Random(_) => return None,
        };
        Some(&lookup.options)
    }
}
