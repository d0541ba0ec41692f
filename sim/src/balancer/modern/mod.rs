//! Balancing algorithms from papers and libraries, for a layer 7 proxy of no particular program.
//!
//! Each is a file of its own, which names its source and how it departs from it. They share the table of servers
//! ([`ProxyServers`]), the hash of the client ([`hash::client_key`]) and these habits:
//! - weights are honoured unless the algorithm's file says otherwise; a server of weight 0 gets nothing;
//! - a hash that cannot have its first choice says why ([`crate::balancer::Reason::Rehashed`]): the server is out, was tried
//!   in this request, or the table was built anew without others ([`crate::balancer::Skipped::TableRebuilt`]). The first
//!   choice is always that of the configuration, with all servers in;
//! - random choices are named by the proxy, the request's number and the try, so nothing else can shift them.
//!
//! Subsets of servers and cookies are the tier's part ([`crate::tier::proxy`]): they go with any of the algorithms.

pub mod hash;
pub mod ring;
pub mod sampler;
pub mod servers;
pub(super) mod slots;
pub(super) mod twofold;

pub use servers::{Ejection, ProxyRequest, ProxyServer, ProxyServers, TRIES_MAX};

super::catalogue! {
    /// Algorithms of no particular program.
    modern: ModernMethod<Servers = ProxyServers, Request = ProxyRequest> {
        /// Maglev: a lookup table in which servers take turns to claim their preferred entries.
        maglev::Maglev [NotRecorded] {
            source: "Eisenbud et al., NSDI 2016; table as in Envoy",
            shares: ByWeight(Places(65_537)),
            ties: Client { out: AtMost(0.005), deleted: AtMost(0.005) },
            refuses: Never,
            cost: Table,
        },
        /// Consistent hashing: a ring with a number of points per unit of weight.
        ring_hash::RingHash [NotRecorded] {
            source: "Karger et al., STOC 1997; points as in Envoy",
            shares: ByWeight(Points(160)),
            ties: Client { out: Nobody, deleted: Nobody },
            refuses: Never,
            cost: Ring,
        },
        /// Rendezvous hashing: each client ranks the servers by a hash of both.
        rendezvous::Rendezvous [NotRecorded] {
            source: "Thaler and Ravishankar, 1998; Schindelhauer and Schomaker, 2005",
            shares: ByWeight(Exact),
            ties: Client { out: Nobody, deleted: Nobody },
            refuses: Never,
            cost: Scan("every server is ranked by a hash of its own"),
        },
        /// Jump consistent hash: no table at all.
        jump::Jump [NotRecorded] {
            source: "Lamping and Veach, arXiv 1406.2294",
            shares: ByWeight(Exact),
            ties: Client { out: Nobody, deleted: Unbounded },
            refuses: Never,
            cost: Steps,
        },
        /// Consistent hashing with bounded loads: a full server passes its clients on along the ring.
        bounded_load::BoundedLoad [NotRecorded] {
            source: "Mirrokni, Thorup and Zadimoghaddam, SODA 2018",
            shares: ByWeight(Points(160)),
            ties: Client { out: Nobody, deleted: Nobody },
            refuses: Never,
            cost: Ring,
        },
        /// AnchorHash: consistent hashing over a fixed set of buckets.
        anchor_hash::AnchorHash [NotRecorded] {
            source: "Mendelson et al., arXiv 1812.09674",
            shares: ByWeight(Exact),
            ties: Client { out: Nobody, deleted: Unbounded },
            refuses: Never,
            cost: Arithmetic,
        },
        /// Uniformly random, in proportion to the weights.
        random::Random [NotRecorded] {
            source: "Envoy's `random`; HAProxy's `random(1)`",
            shares: ByWeight(Exact), ties: Nothing, refuses: Never, cost: Draws,
        },
        /// The least loaded of d servers drawn at random.
        power_of_d::PowerOfD [NotRecorded] {
            source: "Mitzenmacher, TPDS 2001",
            shares: ByWeight(Exact), ties: Nothing, refuses: Never, cost: Draws,
        },
        /// The cheaper of two random servers: response time, quick to rise and slow to fall, times requests in flight.
        peak_ewma::PeakEwma [NotRecorded] {
            source: "Finagle; tower 0032923, `peak_ewma.rs`",
            shares: ByWeight(Exact), ties: Nothing, refuses: Never, cost: Draws,
        },
        /// Prequal: the fastest of the servers probed lately that are not crowded.
        prequal::Prequal [NotRecorded] {
            source: "Wydrowski et al., NSDI 2024",
            shares: Other("probed at random, whatever the weights"),
            ties: Nothing,
            refuses: Never,
            cost: Scan("the answers of three servers and a pool of 16 probes, of however many servers"),
        },
    }
}

#[cfg(test)]
pub(super) mod fixture;
