//! Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018, arXiv 1608.01350).
//!
//! A request walks along the ring of [`super::ring_hash`] from its own point to the first server that is not full; full is a
//! server whose requests in flight, with this one, would exceed `ceil(factor * m * w / W)`: m requests in flight in
//! all, with this one, and the server's share w / W of the usable weight. The paper's balls stay where they are placed
//! until they are removed; requests in flight do the same. `factor` is the paper's 1 + epsilon; HAProxy
//! (`hash-balance-factor`, in percent, after which this kind of bound is usually set to 125 to 150) and Envoy
//! (`hash_balance_factor`) have it too.
//!
//! At factor 1 every server is held to its exact share; the larger it is, the fewer clients leave home. Requests in flight at
//! servers that are out count in m, so that the bound loosens rather than tightens when a server fails.

use super::ring::Ring;
use super::ring_hash::ring_of;
use super::twofold::Twofold;
use super::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, OptionVisitor, Reason, Skipped};
use crate::ids::ServerId;

/// A ring whose servers take only so much.
#[derive(Clone, Debug)]
pub struct BoundedLoad {
    /// Points per server of weight 1.
    points: u32,
    /// Load of a server at most, relative to its fair share; at least 1.
    factor: f64,
    rings: Twofold<Ring>,
}

impl Default for BoundedLoad {
    fn default() -> Self {
        Self { points: 160, factor: 1.25, rings: Twofold::default() }
    }
}

/// What a request finds: how full a server may be.
#[derive(Clone, Copy, Debug)]
struct Bound {
    /// The factor times all requests in flight, this one among them.
    in_all: f64,
    usable_weight: f64,
}

impl Bound {
    #[inline]
    fn now(servers: &ProxyServers, factor: f64) -> Self {
        let in_all = factor * (servers.in_flight_total() + 1) as f64;
        Self { in_all, usable_weight: servers.usable_weight() as f64 }
    }

    /// Whether one more request would be too many for a server.
    #[inline]
    fn is_reached(self, servers: &ProxyServers, server: ServerId) -> bool {
        let most = (self.in_all * f64::from(servers.weight(server)) / self.usable_weight).ceil();
        f64::from(servers.in_flight(server)) + 1.0 > most
    }
}

impl Balancer for BoundedLoad {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        let ring = self.rings.present()?;
        let bound = Bound::now(servers, self.factor);
        let first = ring.owner(request.key)?;
        if request.tries() == 0 && servers.is_as_configured() && !bound.is_reached(servers, first) {
            request.reason = Reason::Hashed;
            return Some(first);
        }
        let mut last_full = None;
        let free = ring.walk(request.key).find(|&server| {
            // Neighbouring points often have the same owner.
            if last_full == Some(server) || request.tried().contains(&server) {
                return false;
            }
            let full = bound.is_reached(servers, server);
            last_full = full.then_some(server);
            !full
        });
        // Only when the servers with room left have all been tried is there none.
        let server = free.or_else(|| servers.first_usable(request))?;
        let home = self.rings.configured()?.owner(request.key);
        request.reason = match servers.reason_of_hash(home, server, request) {
            Reason::Rehashed(Skipped::TableRebuilt)
                if home.is_some_and(|home| bound.is_reached(servers, home)) =>
            {
                Reason::Rehashed(Skipped::Full)
            }
            reason => reason,
        };
        Some(server)
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        let points = self.points;
        self.rings.rebuild(servers, |members| ring_of(servers, members, points));
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        visitor.whole("points", &mut self.points, 1, 100_000);
        visitor.number("factor", &mut self.factor, 1.0, 1_000.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{request, table_of};
    use super::*;

    #[test]
    fn no_server_ever_holds_more_than_its_bound() {
        for factor in [1.0, 1.25, 2.0] {
            let mut servers = table_of((0..7).map(|i| (format!("10.0.0.{i}:80"), 1 + i % 2)));
            let mut balancer = BoundedLoad { factor, ..BoundedLoad::default() };
            balancer.servers_changed(&servers);
            let mut spilled = 0;
            for placed in 1..=500_u64 {
                // Two clients send everything: without the bound, two servers would get it.
                let mut request = request((1 + placed % 2) << 60);
                let server = balancer.pick(&mut servers, &mut request).expect("all are usable");
                spilled += u64::from(request.reason == Reason::Rehashed(Skipped::Full));
                servers.begin_try(&mut request, server);
                let weights = f64::from(servers.weight(server)) / servers.usable_weight() as f64;
                // The small part is for rounding where the share is a whole number.
                let bound = (factor * placed as f64 * weights + 1e-9).ceil();
                assert!(f64::from(servers.in_flight(server)) <= bound, "{server:?} at {placed}");
            }
            assert!(spilled > 0, "{factor}");
        }
    }

    #[test]
    fn a_client_comes_home_when_there_is_room_again() {
        let mut servers = table_of([("a:1".into(), 1), ("b:1".into(), 1)]);
        let mut balancer = BoundedLoad { factor: 1.0, ..BoundedLoad::default() };
        balancer.servers_changed(&servers);
        let mut first = request(42);
        let home = balancer.pick(&mut servers, &mut first).expect("both are usable");
        assert_eq!(first.reason, Reason::Hashed);
        servers.begin_try(&mut first, home);
        let mut second = request(42);
        assert_ne!(balancer.pick(&mut servers, &mut second), Some(home));
        assert_eq!(second.reason, Reason::Rehashed(Skipped::Full));
        servers.end_try(&first, Some(200));
        assert_eq!(balancer.pick(&mut servers, &mut second), Some(home));
    }
}
