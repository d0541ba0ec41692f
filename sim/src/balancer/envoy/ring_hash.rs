//! Envoy's `ring_hash` (`ring_hash/ring_hash_lb.cc`, commit 0d2acde, `Ring::Ring` and `Ring::chooseHost`).
//!
//! The whole ring, not each server, has a number of points: `minimum_ring_size`, scaled up so that the lightest server gets
//! whole points and cut at `maximum_ring_size`. The ring is built of the usable servers alone, so when one of them leaves,
//! the others get more points each and more clients move than with [`crate::balancer::modern::ring_hash`].
//!
//! Departures: the client's key is [`crate::balancer::modern::hash::client_key`]; a retry goes on along the ring to a server
//! that was not tried, where Envoy takes the next point, which may be of the same server; the order in which servers
//! get their points, which matters when the ring is cut, is that of the configuration; `hash_function` is always `XX_HASH`.

use crate::balancer::modern::ring::{POINTS_MAX, Ring};
use crate::balancer::modern::slots::Member;
use crate::balancer::modern::twofold::Twofold;
use crate::balancer::modern::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, OptionVisitor, Reason};
use crate::ids::ServerId;

/// A ring of a given size.
#[derive(Clone, Debug)]
pub struct RingHash {
    minimum_ring_size: u32,
    maximum_ring_size: u32,
    rings: Twofold<Ring>,
}

impl Default for RingHash {
    fn default() -> Self {
        Self { minimum_ring_size: 1_024, maximum_ring_size: POINTS_MAX as u32, rings: Twofold::default() }
    }
}

/// How many points each member gets.
fn counts(members: &[Member], minimum: u32, maximum: u32) -> Vec<u32> {
    let total: f64 = members.iter().map(|member| f64::from(member.weight)).sum();
    let normalized = |member: &Member| f64::from(member.weight) / total;
    let least = members.iter().map(normalized).fold(f64::INFINITY, f64::min);
    let scale = ((least * f64::from(minimum)).ceil() / least).min(maximum.into());
    let (mut placed, mut target) = (0.0, 0.0);
    let count = |member: &Member| {
        target += scale * normalized(member);
        let mut count = 0;
        while placed < target {
            placed += 1.0;
            count += 1;
        }
        count
    };
    members.iter().map(count).collect()
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
        // On a ring that was cut a usable server may have no point.
        let untried = ring.walk(request.key).find(|server| !request.tried().contains(server));
        let server = untried.or_else(|| servers.first_usable(request))?;
        let home = self.rings.configured()?.owner(request.key);
        request.reason = servers.reason_of_hash(home, server, request);
        Some(server)
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        let (minimum, maximum) = (self.minimum_ring_size, self.maximum_ring_size);
        self.rings.rebuild(servers, |members| {
            let mut points = Vec::new();
            for (member, count) in members.iter().zip(counts(members, minimum, maximum)) {
                Ring::add_points(&mut points, servers.address(member.server), member.server, count);
            }
            Ring::new(points)
        });
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        visitor.whole("minimum_ring_size", &mut self.minimum_ring_size, 1, POINTS_MAX as u32);
        visitor.whole(
            "maximum_ring_size",
            &mut self.maximum_ring_size,
            self.minimum_ring_size,
            POINTS_MAX as u32,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(weights: &[u32], minimum: u32, maximum: u32) -> Vec<u32> {
        let member = |(index, &weight)| Member { server: ServerId::from_index(index), weight };
        counts(&weights.iter().enumerate().map(member).collect::<Vec<_>>(), minimum, maximum)
    }

    #[test]
    fn the_lightest_server_gets_whole_points() {
        // `ring_hash_lb_test.cc`: 12 points of six hosts are two each; with weights 1 and 2, 3 points are one and two.
        assert_eq!(points(&[1; 6], 12, 8 << 20), [2; 6]);
        assert_eq!(points(&[1, 2], 3, 8 << 20), [1, 2]);
        assert_eq!(points(&[1; 3], 1_024, 8 << 20), [342; 3]);
    }

    #[test]
    fn a_ring_that_is_cut_shares_out_its_points_in_order() {
        // The example in `Ring::Ring`: four hosts, six points.
        assert_eq!(points(&[1; 4], 1, 6), [1; 4]);
        assert_eq!(points(&[1; 4], 6, 6), [2, 1, 2, 1]);
    }
}
