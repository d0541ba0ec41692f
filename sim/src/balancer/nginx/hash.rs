//! `hash KEY`: requests with one key go to one server.
//!
//! nginx 1.22.1, `ngx_http_upstream_get_hash_peer` in `src/http/modules/ngx_http_upstream_hash_module.c`, compatible with
//! Cache::Memcached. The k-th hash of a request is the CRC-32 of the decimal number k (nothing for k = 0) and the key, of
//! which bits 16 to 30 are added to those of the hashes before; the sum by the total weight, `down` servers included, falls
//! into the share of one server. If that may not be used, the key is hashed again; more than 20 such steps in the life of a
//! request, and this and all later tries of it are round robin's. An empty key leaves the request to round robin.
//!
//! The sums are linear, so if the weights are equal and the servers a power of two, keys of one length that a server loses all
//! go to one and the same other server.
//!
//! Later versions decide alike: where 1.22.1 asks for a single server, 1.27.3 asks for fewer than two, which is the same
//! since nginx refuses `backup` here.

use std::io::Write;

use super::round_robin::{MISSES_MAX, RoundRobin, round_robin_instead};
use super::{Peers, RequestState};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// The hash of the configured key, [`RequestState::set_key`].
///
/// Reasons: as of [`super::ip_hash::IpHash`]; with an empty key round robin's.
#[derive(Clone, Debug, Default)]
pub struct Hash {}

impl Balancer for Hash {
    type Servers = Peers;
    type Request = RequestState;

    #[inline]
    fn pick(&mut self, peers: &mut Peers, request: &mut RequestState) -> Option<ServerId> {
        if peers.is_single() || request.key.len == 0 {
            return RoundRobin {}.pick(peers, request);
        }
        if request.misses > MISSES_MAX {
            return round_robin_instead(peers, request);
        }
        if let Some(server) = peers.take_hinted(request) {
            return Some(server);
        }
        let mut hash = request.go_on_from(0);
        loop {
            hash = hash.wrapping_add(next_crc(request) >> 16 & 0x7fff);
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

/// The CRC-32 of the number of hashes so far and the key, and counts this one.
#[inline]
fn next_crc(request: &mut RequestState) -> u32 {
    let number = request.hashes;
    request.hashes += 1;
    if number == 0 { request.key.crc } else { numbered_crc(request, number) }
}

#[cold]
fn numbered_crc(request: &RequestState, number: u32) -> u32 {
    let mut digits = [0; 10];
    let free = {
        let mut rest = &mut digits[..];
        // Ten digits hold any number, so nothing can go wrong.
        let _ = write!(rest, "{number}");
        rest.len()
    };
    request.key.behind(&digits[..digits.len() - free], request.key.shift())
}

#[cfg(test)]
mod tests {
    use super::super::NginxServer;
    use super::*;
    use crate::balancer::Skipped;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn begin(peers: &mut Peers, key: &[u8]) -> RequestState {
        let mut request = peers.begin(IpAddr::from([192, 0, 2, 1]));
        request.set_key(key);
        request
    }

    fn first_pick(peers: &mut Peers, key: &[u8]) -> (Option<ServerId>, Reason) {
        let mut request = begin(peers, key);
        let server = Hash {}.pick(peers, &mut request);
        if server.is_some() {
            peers.end_try(&mut request, false);
        }
        (server, request.reason())
    }

    /// The chain as nginx writes it: number and key in one buffer.
    fn chain(key: &[u8], total: u32, hashes: u32) -> Vec<u32> {
        let mut hash = 0_u32;
        (0..hashes)
            .map(|k| {
                let mut text = if k == 0 { Vec::new() } else { k.to_string().into_bytes() };
                text.extend_from_slice(key);
                hash = hash.wrapping_add(super::super::crc32::crc32(&text) >> 16 & 0x7fff);
                hash % total
            })
            .collect()
    }

    #[test]
    fn a_recorded_key_goes_where_nginx_sent_it() {
        // First rows of the recording of `hash $cookie_sid` with five equal servers.
        let mut peers = Peers::new(&vec![NginxServer::default(); 5]);
        for (key, server) in [
            ("b8393d5693cd52ce1343e7c59fc70d8c", 0),
            ("73ec1821d425291a7d30a2d50aedae06", 2),
            ("b685e93554ec0ef9f475d4b5ab71467a", 4),
        ] {
            assert_eq!(first_pick(&mut peers, key.as_bytes()), (Some(ServerId(server)), Reason::Hashed));
        }
    }

    #[test]
    fn an_empty_key_goes_round() {
        let mut peers = Peers::new(&vec![NginxServer::default(); 3]);
        let picks: Vec<_> = (0..6).map(|_| first_pick(&mut peers, b"")).collect();
        let reason = Reason::Scheduled { tie: false };
        assert_eq!(picks, [0, 1, 2, 0, 1, 2].map(|server| (Some(ServerId(server)), reason)));
    }

    #[test]
    fn past_twenty_hashes_round_robin_decides() {
        let heavy = NginxServer { weight: 1_000_000, down: true, ..NginxServer::default() };
        let mut peers = Peers::new(&[heavy, NginxServer::default(), NginxServer::default()]);
        let picks: Vec<_> = (0..4).map(|key| first_pick(&mut peers, &[key])).collect();
        let reason = Reason::Rehashed(Skipped::TriesExhausted);
        assert_eq!(picks, [1, 2, 1, 2].map(|server| (Some(ServerId(server)), reason)));
    }

    #[test]
    fn keys_of_one_length_leave_one_of_four_equal_servers_for_one_other() {
        let mut servers = vec![NginxServer::default(); 4];
        servers[2].down = true;
        let mut peers = Peers::new(&servers);
        let picks = (0..200_u32).map(|key| first_pick(&mut peers, &key.to_be_bytes()));
        let mut moved: Vec<_> =
            picks.filter(|(_, reason)| *reason != Reason::Hashed).map(|(server, _)| server).collect();
        assert!(moved.len() > 20);
        moved.dedup();
        assert_eq!(moved.len(), 1, "{moved:?}");
    }

    proptest! {
        #[test]
        fn tries_follow_the_chain_of_hashes(
            key in prop::collection::vec(any::<u8>(), 1..40),
            weights in prop::collection::vec(1u32..5, 2..6),
        ) {
            let server = |&weight| NginxServer { weight, max_fails: 0, ..NginxServer::default() };
            let mut peers = Peers::new(&weights.iter().map(server).collect::<Vec<_>>());
            let owners: Vec<u16> =
                (0..).zip(&weights).flat_map(|(owner, &weight)| (0..weight).map(move |_| owner)).collect();
            let mut request = begin(&mut peers, &key);
            let mut expected = Vec::new();
            let mut misses = 0;
            for share in chain(&key, owners.len() as u32, 21 + weights.len() as u32) {
                let owner = owners[share as usize];
                if expected.contains(&owner) {
                    misses += 1;
                    if misses > MISSES_MAX {
                        break;
                    }
                } else {
                    expected.push(owner);
                }
            }
            for (n, owner) in expected.into_iter().enumerate() {
                prop_assert_eq!(Hash {}.pick(&mut peers, &mut request), Some(ServerId(owner)));
                let reason = if n == 0 { Reason::Hashed } else { Reason::Rehashed(Skipped::Tried) };
                prop_assert_eq!(request.reason(), reason);
                peers.end_try(&mut request, true);
            }
        }
    }
}
