//! Consistent hashing on a ring with many points per server (Karger et al., STOC 1997; the layout that ketama made common).
//!
//! Ketama and libmemcached place 160 points per server, 40 md5 digests of 4 points each. Here the number is the same, but the
//! points lie where Envoy's XXH64 puts them ([`super::ring::Ring::add_points`]), so single clients go elsewhere than
//! with ketama while the distribution of shares is the same.
//!
//! A server that leaves takes its points along and moves nobody else; a server of weight w has w times the points, all
//! weights in lowest terms. A retry goes on along the ring.

use super::ring::{POINTS_MAX, Ring};
use super::slots::{Member, counts};
use super::twofold::Twofold;
use super::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, OptionVisitor, Reason};
use crate::ids::ServerId;

/// Points per unit of weight at most.
const POINTS_PER_SERVER_MAX: u32 = 100_000;

/// A ring with `points` points per server.
#[derive(Clone, Debug)]
pub struct RingHash {
    /// Points per server of weight 1.
    points: u32,
    rings: Twofold<Ring>,
}

impl Default for RingHash {
    fn default() -> Self {
        Self { points: 160, rings: Twofold::default() }
    }
}

impl RingHash {
    /// The ring of the servers that may be used now; `None` before any are known.
    pub fn ring(&self) -> Option<&Ring> {
        self.rings.present()
    }
}

/// A ring on which each member has `points` points per unit of weight.
pub(super) fn ring_of(servers: &ProxyServers, members: &[Member], points: u32) -> Ring {
    let counts = counts(members, points, POINTS_MAX);
    let mut all = Vec::with_capacity(counts.iter().map(|&count| count as usize).sum());
    for (member, &count) in members.iter().zip(&counts) {
        Ring::add_points(&mut all, servers.address(member.server), member.server, count);
    }
    Ring::new(all)
}

impl Balancer for RingHash {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        let ring = self.rings.present()?;
        if request.tries() == 0 && servers.is_as_configured() {
            request.reason = Reason::Hashed;
            return ring.owner(request.key);
        }
        let server = ring.walk(request.key).find(|server| !request.tried().contains(server))?;
        let home = self.rings.configured()?.owner(request.key);
        request.reason = servers.reason_of_hash(home, server, request);
        Some(server)
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        let points = self.points;
        self.rings.rebuild(servers, |members| ring_of(servers, members, points));
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        visitor.whole("points", &mut self.points, 1, POINTS_PER_SERVER_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::table_of;
    use super::*;

    #[test]
    fn points_lie_where_envoy_puts_them() {
        // The ring in `ring_hash_lb_test.cc`, test `Basic`: two points of each of six hosts.
        let servers = table_of((90..96).map(|port| (format!("127.0.0.1:{port}"), 1)));
        let mut balancer = RingHash { points: 2, ..RingHash::default() };
        balancer.servers_changed(&servers);
        let ring = balancer.ring().expect("built");
        for (key, port) in [
            (0, 94),
            (833_437_586_790_550_860, 94),
            (833_437_586_790_550_861, 92),
            (1_033_482_794_131_418_490, 90),
            (3_551_244_743_356_806_947, 95),
            (3_551_244_743_356_806_948, 93),
            (5_583_722_120_771_150_861, 91),
            (13_444_792_449_719_432_967, 92),
            (16_117_243_373_044_804_889, 90),
            (u64::MAX, 94),
        ] {
            assert_eq!(ring.owner(key), Some(ServerId(port - 90)), "{key}");
        }
    }
}
