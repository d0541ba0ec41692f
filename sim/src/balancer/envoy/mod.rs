//! Envoy's load balancing policies where they differ from those of [`crate::balancer::modern`], for the same proxy.
//!
//! Source: Envoy, `source/extensions/load_balancing_policies/` at the commits that each file names. Options keep the
//! spelling of its API (`envoy.extensions.load_balancing_policies`). `maglev` does not differ: see
//! [`crate::balancer::modern::maglev`].
//!
//! Of Envoy around the policies: ejection as in [`crate::balancer::modern::Ejection`] or by Envoy's own outlier detection
//! ([`crate::health::OutlierDetection`]), a panic threshold
//! ([`crate::balancer::modern::ProxyServers::set_panic_threshold`]) without `fail_traffic_on_panic`, no priorities and
//! localities, one worker.

use super::modern::{ProxyRequest, ProxyServers};

super::catalogue! {
    /// Envoy's policies.
    envoy: EnvoyMethod<Servers = ProxyServers, Request = ProxyRequest> {
        /// The least loaded of a few random servers; with unequal weights round robin by weight over load.
        least_request::LeastRequest [NotRecorded] {
            source: "Envoy 0a31a54, `least_request_lb.cc`",
            shares: ByWeight(Exact), ties: Nothing, refuses: Never, cost: Draws,
        },
        /// A ring whose size, not the points per server, is given.
        ring_hash::RingHash [NotRecorded] {
            source: "Envoy 0d2acde, `ring_hash_lb.cc`",
            shares: ByWeight(PointsInAll(1_024)),
            ties: Client { out: AtMost(0.1), deleted: AtMost(0.1) },
            refuses: Never,
            cost: Ring,
        },
    }
}
