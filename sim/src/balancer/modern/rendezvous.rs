//! Rendezvous (highest random weight) hashing: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates",
//! IEEE/ACM Transactions on Networking 6(1), 1998; with weights by the logarithmic method of Schindelhauer and Schomaker,
//! "Weighted Distributed Hash Tables", SPAA 2005.
//!
//! A client's cost of a server is `-ln(u) / weight`, u being a uniform number made of both; the least wins. A server
//! that leaves or changes its weight moves only its own share. The hash of both is SplitMix64's finaliser, not the paper's
//! linear congruence.
//!
//! A pick looks at every server, so its time grows with their number.

use super::hash::{mix, xxh64};
use super::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// The server that ranks first for the client.
#[derive(Clone, Debug, Default)]
pub struct Rendezvous {
    /// XXH64 of each server's address.
    seeds: Box<[u64]>,
    /// Servers that may be used, with their weights.
    present: Vec<Candidate>,
    /// Servers that were configured.
    configured: Vec<Candidate>,
    /// Whether all weights in `present` are equal.
    equal: bool,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    seed: u64,
    weight: u32,
    server: ServerId,
}

/// The first of `candidates` that `allowed` lets pass, for a client; the earlier of equals.
#[inline]
fn first(
    candidates: &[Candidate],
    key: u64,
    equal: bool,
    allowed: impl Fn(ServerId) -> bool,
) -> Option<ServerId> {
    let allowed = candidates.iter().filter(|candidate| allowed(candidate.server));
    if equal {
        // With equal weights the least cost is the largest hash, and no logarithm is needed.
        let mut best = None;
        for candidate in allowed {
            let hash = mix(key ^ candidate.seed);
            if best.is_none_or(|(most, _)| hash > most) {
                best = Some((hash, candidate.server));
            }
        }
        return best.map(|(_, server)| server);
    }
    let mut best: Option<(f64, ServerId)> = None;
    for candidate in allowed {
        let unit = ((mix(key ^ candidate.seed) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        let weight = f64::from(candidate.weight);
        // -ln(u) is never below 1 - u, which spares most logarithms.
        if best.is_some_and(|(least, _)| (1.0 - unit) / weight >= least) {
            continue;
        }
        let cost = -libm::log(unit) / weight;
        if best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, candidate.server));
        }
    }
    best.map(|(_, server)| server)
}

fn all_equal(candidates: &[Candidate]) -> bool {
    candidates.windows(2).all(|pair| pair[0].weight == pair[1].weight)
}

impl Balancer for Rendezvous {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        if request.tries() == 0 && servers.is_as_configured() {
            request.reason = Reason::Hashed;
            return first(&self.present, request.key, self.equal, |_| true);
        }
        let untried = |server| !request.tried().contains(&server);
        let server = first(&self.present, request.key, self.equal, untried)?;
        let home = first(&self.configured, request.key, all_equal(&self.configured), |_| true);
        request.reason = servers.reason_of_hash(home, server, request);
        Some(server)
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        if self.seeds.len() != servers.len() {
            let seed = |index| xxh64(servers.address(ServerId::from_index(index)).as_bytes(), 0);
            self.seeds = (0..servers.len()).map(seed).collect();
        }
        let candidate =
            |server: ServerId, weight| Candidate { seed: self.seeds[server.index()], weight, server };
        self.present.clear();
        self.present.extend(servers.usable().iter().map(|&server| candidate(server, servers.weight(server))));
        let all = (0..servers.len()).map(ServerId::from_index);
        self.configured.clear();
        self.configured.extend(
            all.map(|server| candidate(server, servers.configured_weight(server)))
                .filter(|candidate| candidate.weight > 0),
        );
        self.equal = all_equal(&self.present);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn skipping_logarithms_changes_no_choice(
            weights in prop::collection::vec(1_u32..50, 1..12),
            key: u64,
        ) {
            let candidate = |(i, &weight): (usize, &u32)| {
                Candidate { seed: mix(i as u64), weight, server: ServerId::from_index(i) }
            };
            let candidates: Vec<_> = weights.iter().enumerate().map(candidate).collect();
            let cost = |candidate: &Candidate| {
                let unit = ((mix(key ^ candidate.seed) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
                -libm::log(unit) / f64::from(candidate.weight)
            };
            let least = candidates.iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).map(|c| c.server);
            prop_assert_eq!(first(&candidates, key, false, |_| true), least);
        }
    }
}
