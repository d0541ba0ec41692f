//! `hash KEY consistent`: a ring on which each server has 160 points per unit of weight (ketama).
//!
//! nginx 1.22.1, `ngx_http_upstream_init_chash` and `ngx_http_upstream_get_chash_peer` in
//! `src/http/modules/ngx_http_upstream_hash_module.c`, compatible with Cache::Memcached::Fast. A server's points come from
//! its text in the configuration, host and port, not from the address that it resolves to, and `down` servers have theirs.
//! A request begins at the first point that is not below the CRC-32 of its key. If the point's owner may not be used, the
//! next *point* is looked at, which may be the same server's again; more than 20 such steps in the life of a request, and
//! this and all later tries of it are round robin's. So with heavy servers down, a part of their keys does not go to
//! their neighbours on the ring but round. An empty key leaves the request to round robin.
//!
//! Servers with one and the same text share their points and take turns on them.
//!
//! Points of different servers that fall together are kept once, for the server first in the configuration: nginx leaves
//! that to the C library's `qsort`, which is a stable merge sort in Debian 12's.

use std::sync::Arc;

use super::crc32::Crc32;
use super::round_robin::{MISSES_MAX, RoundRobin, round_robin_instead};
use super::{Peers, RequestState};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// Points of a server for each unit of its weight.
pub(crate) const POINTS_PER_WEIGHT: u64 = 160;

/// The ring of the configured key, [`RequestState::set_key`].
///
/// Reasons: as of [`super::ip_hash::IpHash`]; with an empty key round robin's.
#[derive(Clone, Debug, Default)]
pub struct HashConsistent {
    /// Shared by the tables of all workers, which have the same servers.
    ring: Arc<Ring>,
}

impl Balancer for HashConsistent {
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
        if self.ring.points.is_empty() {
            self.servers_changed(peers);
        }
        let ring = &*self.ring;
        let mut at = request.hash.unwrap_or_else(|| ring.find(request.key.crc));
        loop {
            let owner = ring.owner(at);
            // Of one server this is no choice, but it gives back effective weight that failures took.
            if let Some(peer) = peers.smooth_among(request, ring.namesakes(owner), None, |_| true) {
                request.hash = Some(at);
                request.reason = request.first_skip.map_or(Reason::Hashed, Reason::Rehashed);
                return Some(peers.take(peer, request));
            }
            request.first_skip = request.first_skip.or_else(|| peers.passed_over(owner.into(), request));
            at += 1;
            request.misses += 1;
            if request.misses > MISSES_MAX {
                return round_robin_instead(peers, request);
            }
        }
    }

    fn servers_changed(&mut self, peers: &Peers) {
        self.ring = Arc::new(Ring::new(peers));
    }
}

/// The points of all servers.
#[derive(Clone, Debug, Default)]
struct Ring {
    /// Where the points are, ascending, without equals.
    points: Box<[u32]>,
    /// For each point its owner, a primary: of several with one text the first.
    owners: Box<[u16]>,
    /// For each primary the next one with the same text; itself if there is none.
    next_namesake: Box<[u16]>,
}

impl Ring {
    fn new(peers: &Peers) -> Self {
        let texts = peers.texts();
        let mut points = Vec::new();
        let mut next_namesake: Vec<u16> = (0..texts.len() as u16).collect();
        for (index, (text, weight)) in texts.iter().zip(peers.weights()).enumerate() {
            if let Some(before) = texts[..index].iter().rposition(|other| other == text) {
                next_namesake[before] = index as u16;
            }
            let first = texts.iter().position(|other| other == text).unwrap_or(index) as u16;
            let (host, port) = host_and_port(text);
            let base = Crc32::EMPTY.with(host).with(b"\0").with(port);
            let mut point = 0_u32;
            for _ in 0..u64::from(weight) * POINTS_PER_WEIGHT {
                point = base.with(&point.to_le_bytes()).value();
                points.push((point, first));
            }
        }
        // Equal points keep the order of the servers, so the first in the configuration stays.
        points.sort_by_key(|&(point, _)| point);
        points.dedup_by_key(|&mut (point, _)| point);
        let (points, owners): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        Self { points: points.into(), owners: owners.into(), next_namesake: next_namesake.into() }
    }

    /// The place of the first point that is not below `hash`; one past the last if there is none.
    #[inline]
    fn find(&self, hash: u32) -> u32 {
        self.points.partition_point(|&point| point < hash) as u32
    }

    /// The owner of the point at a place, counted on round the ring.
    #[inline]
    fn owner(&self, at: u32) -> u16 {
        let at = at as usize;
        self.owners[if at < self.owners.len() { at } else { at % self.owners.len() }]
    }

    /// The primaries with the text of `owner`, which is the first of them.
    #[inline]
    fn namesakes(&self, owner: u16) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(owner), |&peer| {
            let next = self.next_namesake[usize::from(peer)];
            (next != peer).then_some(next)
        })
        .map(usize::from)
    }
}

/// Host and port as written in the configuration: a port is a colon and what digits follow it to the end, and what is not
/// written is empty. Of `unix:` sockets the path is the host.
fn host_and_port(text: &str) -> (&[u8], &[u8]) {
    let bytes = text.as_bytes();
    if let Some((scheme, path)) = bytes.split_at_checked(5)
        && scheme.eq_ignore_ascii_case(b"unix:")
    {
        return (path, b"");
    }
    let digits = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let before = bytes.len() - digits;
    match bytes[..before].split_last() {
        Some((b':', host)) => (host, &bytes[before..]),
        _ => (bytes, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::NginxServer;
    use super::*;
    use crate::balancer::Skipped;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn server(address: &str) -> NginxServer {
        NginxServer { address: address.into(), ..NginxServer::default() }
    }

    fn servers(n: usize) -> Vec<NginxServer> {
        (0..n).map(|i| server(&format!("10.0.0.{i}:80"))).collect()
    }

    struct Upstream {
        peers: Peers,
        method: HashConsistent,
    }

    impl Upstream {
        fn new(servers: &[NginxServer]) -> Self {
            let peers = Peers::new(servers);
            let mut method = HashConsistent::default();
            method.servers_changed(&peers);
            Self { peers, method }
        }

        fn begin(&mut self, key: &[u8]) -> RequestState {
            let mut request = self.peers.begin(IpAddr::from([192, 0, 2, 1]));
            request.set_key(key);
            request
        }

        fn first_pick(&mut self, key: &[u8]) -> (Option<ServerId>, Reason) {
            let mut request = self.begin(key);
            let server = self.method.pick(&mut self.peers, &mut request);
            if server.is_some() {
                self.peers.end_try(&mut request, false);
            }
            (server, request.reason())
        }
    }

    #[test]
    fn a_recorded_key_goes_where_nginx_sent_it() {
        // First rows of the recording of `hash $request_uri consistent` with weights 3, 1, 2.
        let mut recorded = ["127.27.30.30:9100", "127.27.72.6:80", "127.27.42.29:8000"].map(server);
        recorded[0].weight = 3;
        recorded[2].weight = 2;
        let mut upstream = Upstream::new(&recorded);
        for (key, server) in [("/blog/api/blog/73459.png", 0), ("/v1/docs/help/39372/?q=2476e1&p=9", 1)] {
            assert_eq!(upstream.first_pick(key.as_bytes()), (Some(ServerId(server)), Reason::Hashed));
        }
    }

    #[test]
    fn host_and_port_are_what_is_written() {
        for (text, host, port) in [
            ("10.0.0.1:80", "10.0.0.1", "80"),
            ("10.0.0.1", "10.0.0.1", ""),
            ("backend", "backend", ""),
            ("backend7", "backend7", ""),
            ("[2001:db8::7]:8080", "[2001:db8::7]", "8080"),
            ("[2001:db8::7]", "[2001:db8::7]", ""),
            ("unix:/run/app:1", "/run/app:1", ""),
            ("host:", "host", ""),
            ("8080", "8080", ""),
            ("", "", ""),
        ] {
            assert_eq!(host_and_port(text), (host.as_bytes(), port.as_bytes()), "{text}");
        }
    }

    #[test]
    fn keys_beyond_the_last_point_begin_at_the_first() {
        let upstream = Upstream::new(&servers(3));
        let ring = &upstream.method.ring;
        let last = ring.points[ring.points.len() - 1];
        assert!(last < u32::MAX);
        assert_eq!(ring.find(last) as usize, ring.points.len() - 1);
        assert_eq!(ring.owner(ring.find(u32::MAX)), ring.owners[0]);
    }

    #[test]
    fn servers_with_one_text_take_turns_on_their_points() {
        let mut upstream = Upstream::new(&["a:80", "b:80", "a:80"].map(server));
        let key =
            (0_u8..).find(|&key| upstream.first_pick(&[key]).0 == Some(ServerId(0))).expect("a has points");
        let picks: Vec<_> = (0..4).map(|_| upstream.first_pick(&[key]).0.map(|server| server.0)).collect();
        assert_eq!(picks, [Some(2), Some(0), Some(2), Some(0)]);
    }

    #[test]
    fn past_twenty_points_round_robin_decides() {
        let mut unbalanced = servers(3);
        (unbalanced[0].weight, unbalanced[0].down) = (100, true);
        let mut upstream = Upstream::new(&unbalanced);
        let reasons: Vec<_> = (0..100).map(|key| upstream.first_pick(&[key]).1).collect();
        let exhausted = Reason::Rehashed(Skipped::TriesExhausted);
        let beside = Reason::Rehashed(Skipped::OutOfService);
        // A point in 51 is usable, so (50/51)^21, two thirds, of the keys find none in 21 points.
        let count = |reason| reasons.iter().filter(|&&other| other == reason).count();
        assert!(count(exhausted) > 40 && count(beside) > 10, "{reasons:?}");
    }

    #[test]
    fn equal_picks_of_a_server_give_its_effective_weight_back() {
        let mut heavy = servers(2);
        (heavy[0].weight, heavy[0].max_fails) = (4, 2);
        let mut upstream = Upstream::new(&heavy);
        let key =
            (0_u8..).find(|&key| upstream.first_pick(&[key]).0 == Some(ServerId(0))).expect("it has points");
        let mut failing = upstream.begin(&[key]);
        upstream.method.pick(&mut upstream.peers, &mut failing);
        upstream.peers.end_try(&mut failing, true);
        assert_eq!(upstream.peers.effective_weight(0), 2);
        upstream.first_pick(&[key]);
        upstream.first_pick(&[key]);
        assert_eq!(upstream.peers.effective_weight(0), 4);
    }

    proptest! {
        #[test]
        fn a_key_goes_to_the_owner_of_the_next_point(
            weights in prop::collection::vec(1u32..4, 2..8),
            key in prop::collection::vec(any::<u8>(), 1..30),
        ) {
            let mut weighted = servers(weights.len());
            weighted.iter_mut().zip(&weights).for_each(|(server, &weight)| server.weight = weight);
            // As nginx computes the points, in a list without order.
            let mut nearest: Option<(u32, usize)> = None;
            let hash = super::super::crc32::crc32(&key);
            for (index, server) in weighted.iter().enumerate() {
                let mut point = 0_u32;
                for _ in 0..160 * server.weight {
                    let mut text = server.address.replace(':', "\0").into_bytes();
                    text.extend(point.to_le_bytes());
                    point = super::super::crc32::crc32(&text);
                    let distance = point.wrapping_sub(hash);
                    if nearest.is_none_or(|(least, _)| distance < least) {
                        nearest = Some((distance, index));
                    }
                }
            }
            let expected = nearest.map(|(_, index)| ServerId::from_index(index));
            prop_assert_eq!(Upstream::new(&weighted).first_pick(&key).0, expected);
        }

        #[test]
        fn removing_a_server_moves_its_keys_alone(n in 3usize..20, removed: prop::sample::Index, seed: u32) {
            let all = servers(n);
            let removed = removed.index(n);
            let mut fewer = all.clone();
            fewer.remove(removed);
            let (mut before, mut after) = (Upstream::new(&all), Upstream::new(&fewer));
            for i in 0..100_u32 {
                let key = seed.wrapping_add(i).to_be_bytes();
                let (home, _) = before.first_pick(&key);
                let (now, _) = after.first_pick(&key);
                let text = |list: &[NginxServer], id: Option<ServerId>| id.map(|id| list[id.index()].address.clone());
                if home != Some(ServerId::from_index(removed)) {
                    prop_assert_eq!(text(&all, home), text(&fewer, now));
                }
            }
        }
    }
}
