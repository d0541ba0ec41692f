//! `round_robin`: smooth weighted round robin, the method of an upstream without a directive.
//!
//! nginx 1.22.1, `ngx_http_upstream_get_round_robin_peer` in `src/http/ngx_http_upstream_round_robin.c`.

use super::{Peers, RequestState};
use crate::balancer::{Balancer, Reason, Skipped};
use crate::ids::ServerId;

/// How often, over all tries of a request, a method may point at a server that cannot be used. Past it the request is round
/// robin's. In nginx it is the 20 of `hp->tries > 20`, `rp->tries > 20` and `iphp->tries > 20`.
pub(super) const MISSES_MAX: u32 = 20;

/// Round robin for a request whose hash has missed too often.
#[cold]
pub(super) fn round_robin_instead(peers: &mut Peers, request: &mut RequestState) -> Option<ServerId> {
    let server = RoundRobin {}.pick(peers, request);
    if request.reason != Reason::Affinity {
        request.reason = Reason::Rehashed(Skipped::TriesExhausted);
    }
    server
}

/// Smooth weighted round robin among the usable primaries; when there is none, among the usable backups.
///
/// The reason is always [`Reason::Scheduled`] without a tie: that the first of equals is taken is how the method goes
/// round.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {}

impl Balancer for RoundRobin {
    type Servers = Peers;
    type Request = RequestState;

    #[inline]
    fn pick(&mut self, peers: &mut Peers, request: &mut RequestState) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        if peers.is_single() {
            return peers.take_hinted(request).or_else(|| peers.take_single(request));
        }
        loop {
            if let Some(hinted) = peers.hinted(request) {
                let peer = peers.smooth_round_for(request, hinted)?;
                request.reason = Reason::Affinity;
                return Some(peers.take(peer, request));
            }
            if let Some(peer) = peers.smooth_round(request) {
                return Some(peers.take(peer, request));
            }
            if !peers.fall_back(request) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::NginxServer;
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn weighted(weight: u32) -> NginxServer {
        NginxServer { weight, ..NginxServer::default() }
    }

    /// One request that is answered at once.
    fn serve(peers: &mut Peers) -> Option<ServerId> {
        let mut request = peers.begin(IpAddr::from([192, 0, 2, 1]));
        let server = RoundRobin {}.pick(peers, &mut request);
        if server.is_some() {
            peers.end_try(&mut request, false);
        }
        peers.finish(&request);
        server
    }

    #[test]
    fn weights_five_one_one_spread_the_light_servers_over_the_cycle() {
        // The example of nginx's commit 52327e0627f4, which introduced the method.
        let mut peers = Peers::new(&[5, 1, 1].map(weighted));
        let picks: Vec<_> = (0..7).filter_map(|_| serve(&mut peers)).map(|server| server.0).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn backups_serve_only_while_no_primary_can() {
        let backup = NginxServer { backup: true, ..NginxServer::default() };
        let full = NginxServer { max_conns: 1, ..NginxServer::default() };
        let mut peers = Peers::new(&[backup, full]);
        let mut first = peers.begin(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(RoundRobin {}.pick(&mut peers, &mut first), Some(ServerId(1)));
        assert_eq!(serve(&mut peers), Some(ServerId(0)));
        peers.end_try(&mut first, false);
        assert_eq!(serve(&mut peers), Some(ServerId(1)));
    }

    #[test]
    fn a_request_never_tries_a_server_twice_even_among_more_than_64() {
        for servers in [3, 64, 65, 200] {
            let mut peers = Peers::new(&vec![weighted(1); servers]);
            let mut request = peers.begin(IpAddr::from([192, 0, 2, 1]));
            let mut seen = vec![false; servers];
            while let Some(server) = RoundRobin::default().pick(&mut peers, &mut request) {
                assert!(!std::mem::replace(&mut seen[server.index()], true), "{server:?} twice");
                peers.end_try(&mut request, false);
            }
            assert!(seen.iter().all(|&seen| seen));
        }
    }

    proptest! {
        #[test]
        fn every_cycle_gives_each_server_exactly_its_weight(weights in prop::collection::vec(1u32..20, 2..70)) {
            let mut peers = Peers::new(&weights.iter().copied().map(weighted).collect::<Vec<_>>());
            for _ in 0..2 {
                let mut picks = vec![0; weights.len()];
                for _ in 0..weights.iter().sum() {
                    picks[serve(&mut peers).expect("all are usable").index()] += 1;
                }
                prop_assert_eq!(&picks, &weights);
            }
        }

        #[test]
        fn a_server_that_is_down_is_never_picked(down in prop::collection::vec(any::<bool>(), 1..70)) {
            let server = |&down| NginxServer { down, ..NginxServer::default() };
            let mut peers = Peers::new(&down.iter().map(server).collect::<Vec<_>>());
            for _ in 0..2 * down.len() {
                match serve(&mut peers) {
                    Some(server) => prop_assert!(!down[server.index()]),
                    None => prop_assert!(down.iter().all(|&down| down)),
                }
            }
        }
    }
}
