//! `ip_hash`: clients of one network go to one server.
//!
//! nginx 1.22.1, `src/http/modules/ngx_http_upstream_ip_hash_module.c`. For each byte `b` of the client's network (the
//! first three of an IPv4 address, all sixteen of an IPv6 one, IPv4-mapped ones among them)
//! `h = (h * 113 + b) % 6271`, from `h = 89`; the rest of `h` by the total weight, `down` servers included, falls into the
//! share of one server. If that may not be used, the chain goes on from `h`; more than 20 such steps in the life of a request,
//! and this and all later tries of it are round robin's.

use std::net::IpAddr;

use super::round_robin::{MISSES_MAX, RoundRobin, round_robin_instead};
use super::{Peers, RequestState};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// Where the chain starts.
const SEED: u32 = 89;
const FACTOR: u32 = 113;
const MODULUS: u32 = 6_271;

/// The hash of the client's network.
///
/// Reasons: [`Reason::Hashed`] when the first server that the request hashes to is picked; [`Reason::Rehashed`] later, with
/// why that *first* server was passed over, so also on every try after the first; [`Skipped::TriesExhausted`](crate::balancer::Skipped) whenever
/// round robin decided in the end. With a single server nothing is hashed, and the reason is round robin's.
#[derive(Clone, Debug, Default)]
pub struct IpHash {}

impl Balancer for IpHash {
    type Servers = Peers;
    type Request = RequestState;

    #[inline]
    fn pick(&mut self, peers: &mut Peers, request: &mut RequestState) -> Option<ServerId> {
        if peers.is_single() {
            return RoundRobin {}.pick(peers, request);
        }
        if request.misses > MISSES_MAX {
            return round_robin_instead(peers, request);
        }
        if let Some(server) = peers.take_hinted(request) {
            return Some(server);
        }
        let step = Step::of(request.address);
        let mut hash = request.go_on_from(SEED);
        loop {
            hash = step.after(hash);
            let peer = peers.primary_of(hash);
            let Some(skipped) = peers.passed_over(peer, request) else {
                request.hash = Some(hash);
                request.reason = request.first_skip.map_or(Reason::Hashed, Reason::Rehashed);
                return Some(peers.take(peer, request));
            };
            request.first_skip.get_or_insert(skipped);
            request.misses += 1;
            if request.misses > MISSES_MAX {
                return round_robin_instead(peers, request);
            }
        }
    }
}

/// What all bytes of a network together do to the hash. Since every step is taken modulo 6,271, so can be the whole:
/// `h * 113^n + (b1 * 113^(n-1) + ... + bn)`, one remainder instead of one a byte.
#[derive(Clone, Copy)]
struct Step {
    factor: u32,
    addend: u32,
}

impl Step {
    const FACTOR_3: u32 = power(3);
    const FACTOR_16: u32 = power(16);

    #[inline]
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                let addend = (u32::from(a) * FACTOR + u32::from(b)) * FACTOR + u32::from(c);
                Self { factor: Self::FACTOR_3, addend }
            }
            IpAddr::V6(address) => {
                // Four bytes at a time stay far below 2^64: 6,271 * 113^4 is 10^12.
                let addend = address.octets().chunks(4).fold(0, |high, bytes| {
                    let sum = bytes.iter().fold(high, |sum, &b| sum * u64::from(FACTOR) + u64::from(b));
                    sum % u64::from(MODULUS)
                });
                Self { factor: Self::FACTOR_16, addend: addend as u32 }
            }
        }
    }

    /// At most 6,270 * 6,270 + 255 * 12,883 before the remainder, so it fits 32 bits.
    #[inline]
    fn after(self, hash: u32) -> u32 {
        (hash * self.factor + self.addend) % MODULUS
    }
}

/// 113 to the power of `exponent`, modulo 6,271.
const fn power(exponent: u32) -> u32 {
    let mut power = 1;
    let mut i = 0;
    while i < exponent {
        power = power * FACTOR % MODULUS;
        i += 1;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::super::NginxServer;
    use super::*;
    use crate::balancer::Skipped;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The chain as nginx computes it, byte by byte.
    fn bytewise(mut hash: u32, bytes: &[u8]) -> u32 {
        for &byte in bytes {
            hash = (hash * FACTOR + u32::from(byte)) % MODULUS;
        }
        hash
    }

    fn begin(peers: &mut Peers, address: impl Into<IpAddr>) -> RequestState {
        peers.begin(address.into())
    }

    fn first_pick(peers: &mut Peers, address: impl Into<IpAddr>) -> (Option<ServerId>, Reason) {
        let mut request = begin(peers, address);
        let server = IpHash {}.pick(peers, &mut request);
        if server.is_some() {
            peers.end_try(&mut request, false);
        }
        (server, request.reason())
    }

    proptest! {
        #[test]
        fn one_step_for_all_bytes_equals_a_step_a_byte(v4: [u8; 4], v6: [u8; 16], hash in 0..MODULUS) {
            prop_assert_eq!(Step::of(Ipv4Addr::from(v4).into()).after(hash), bytewise(hash, &v4[..3]));
            prop_assert_eq!(Step::of(Ipv6Addr::from(v6).into()).after(hash), bytewise(hash, &v6));
        }

        #[test]
        fn the_last_byte_of_an_ipv4_address_does_not_matter(
            address: [u8; 4],
            host: u8,
            weights in prop::collection::vec(1u32..9, 2..20),
        ) {
            let server = |&weight| NginxServer { weight, ..NginxServer::default() };
            let mut peers = Peers::new(&weights.iter().map(server).collect::<Vec<_>>());
            let [a, b, c, _] = address;
            prop_assert_eq!(
                first_pick(&mut peers, Ipv4Addr::from(address)),
                first_pick(&mut peers, Ipv4Addr::new(a, b, c, host))
            );
        }

        #[test]
        fn marking_a_server_down_moves_only_its_own_clients(address: u32, down in 0usize..5) {
            let up = vec![NginxServer::default(); 5];
            let (before, _) = first_pick(&mut Peers::new(&up), Ipv4Addr::from(address));
            let mut servers = up;
            servers[down].down = true;
            let (after, reason) = first_pick(&mut Peers::new(&servers), Ipv4Addr::from(address));
            if before == Some(ServerId::from_index(down)) {
                prop_assert_ne!(after, before);
                prop_assert!(matches!(
                    reason,
                    Reason::Rehashed(Skipped::OutOfService | Skipped::TriesExhausted)
                ));
            } else {
                prop_assert_eq!((after, reason), (before, Reason::Hashed));
            }
        }
    }

    #[test]
    fn all_sixteen_bytes_of_an_ipv6_address_count() {
        let mut peers = Peers::new(&vec![NginxServer::default(); 8]);
        let host = |host| first_pick(&mut peers, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)).0;
        let picks: Vec<_> = (0..16).map(host).collect();
        assert!(picks.iter().any(|&pick| pick != picks[0]), "hosts of one /64 must not all share a server");
    }

    #[test]
    fn a_second_try_is_never_told_as_the_first_choice() {
        for net in 0..50 {
            let mut peers = Peers::new(&vec![NginxServer::default(); 3]);
            let mut request = begin(&mut peers, [10, 1, net, 3]);
            IpHash {}.pick(&mut peers, &mut request);
            peers.end_try(&mut request, true);
            IpHash {}.pick(&mut peers, &mut request);
            assert_eq!(request.reason(), Reason::Rehashed(Skipped::Tried), "10.1.{net}.3");
        }
    }

    #[test]
    fn the_reason_stays_with_the_first_server_over_all_tries() {
        let mut peers = Peers::new(&vec![NginxServer::default(); 3]);
        let mut request = begin(&mut peers, [10, 1, 2, 3]);
        let first = IpHash {}.pick(&mut peers, &mut request);
        assert_eq!(request.reason(), Reason::Hashed);
        for _ in 0..2 {
            peers.end_try(&mut request, true);
            assert_ne!(IpHash {}.pick(&mut peers, &mut request), first);
            assert_eq!(request.reason(), Reason::Rehashed(Skipped::Tried));
        }
        let (_, reason) = first_pick(&mut peers, [10, 1, 2, 99]);
        assert_eq!(reason, Reason::Rehashed(Skipped::Unhealthy));
    }

    #[test]
    fn a_full_server_passes_its_clients_on() {
        let full = NginxServer { max_conns: 1, ..NginxServer::default() };
        let mut peers = Peers::new(&[full.clone(), full]);
        let mut holding = begin(&mut peers, [10, 1, 2, 3]);
        let home = IpHash {}.pick(&mut peers, &mut holding);
        let (other, reason) = first_pick(&mut peers, [10, 1, 2, 3]);
        assert_ne!(other, home);
        assert_eq!(reason, Reason::Rehashed(Skipped::Full));
    }

    #[test]
    fn past_twenty_rehashes_round_robin_decides() {
        // Nearly all weight is down, so nearly every chain runs into the limit.
        let heavy = NginxServer { weight: 1_000_000, down: true, ..NginxServer::default() };
        let mut peers = Peers::new(&[heavy, NginxServer::default(), NginxServer::default()]);
        let picks: Vec<_> = (0..4).map(|net| first_pick(&mut peers, [10, 0, net, 1])).collect();
        let reason = Reason::Rehashed(Skipped::TriesExhausted);
        assert_eq!(picks, [1, 2, 1, 2].map(|server| (Some(ServerId(server)), reason)));
    }
}
