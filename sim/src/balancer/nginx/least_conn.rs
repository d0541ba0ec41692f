//! `least_conn`: the server with fewest open attempts for its weight.
//!
//! nginx 1.22.1, `ngx_http_upstream_get_least_conn_peer` in `src/http/modules/ngx_http_upstream_least_conn_module.c`. What
//! counts is the attempts that nginx itself has open, hung ones too; without a `zone` each worker knows only its own. If
//! several servers have least, one round of the smooth weighted round robin among them alone decides.
//!
//! A pick looks at every server, and at the tied ones a second time, as nginx does: the round gives credit to all that are
//! tied, so no index over the loads would save the walk.

use super::round_robin::RoundRobin;
use super::{Peers, RequestState};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;
use std::cmp::Ordering;

/// Fewest open attempts over weight among the usable primaries; when there is none, among the usable backups.
///
/// The reason is [`Reason::Scheduled`], with a tie if round robin decided among equals.
#[derive(Clone, Debug, Default)]
pub struct LeastConn {}

impl Balancer for LeastConn {
    type Servers = Peers;
    type Request = RequestState;

    #[inline]
    fn pick(&mut self, peers: &mut Peers, request: &mut RequestState) -> Option<ServerId> {
        if peers.is_single() {
            return RoundRobin {}.pick(peers, request);
        }
        loop {
            if let Some(server) = peers.take_hinted(request) {
                return Some(server);
            }
            if let Some((peer, tie)) = least_loaded(peers, request) {
                request.reason = Reason::Scheduled { tie };
                return Some(peers.take(peer, request));
            }
            if !peers.fall_back(request) {
                request.reason = Reason::NoneUsable;
                return None;
            }
        }
    }
}

/// The usable peer to take in the group that `request` is in, and whether others have as little.
#[inline]
fn least_loaded(peers: &mut Peers, request: &RequestState) -> Option<(usize, bool)> {
    let group = peers.group(request);
    let mut least: Option<(usize, bool)> = None;
    for peer in group.clone() {
        if peers.passed_over(peer, request).is_some() {
            continue;
        }
        let order = least.map_or(Ordering::Less, |(best, _)| peers.load(peer).compare(peers.load(best)));
        match order {
            Ordering::Less => least = Some((peer, false)),
            Ordering::Equal => least = least.map(|(best, _)| (best, true)),
            Ordering::Greater => {}
        }
    }
    let (best, tie) = least?;
    if !tie {
        return least;
    }
    let load = peers.load(best);
    let peer =
        peers.smooth_among(request, best..group.end, None, |other| other.compare(load) == Ordering::Equal)?;
    Some((peer, true))
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

    fn open(peers: &mut Peers) -> (RequestState, Option<ServerId>) {
        let mut request = peers.begin(IpAddr::from([192, 0, 2, 1]));
        let server = LeastConn {}.pick(peers, &mut request);
        (request, server)
    }

    #[test]
    fn idle_servers_take_turns_as_in_round_robin() {
        let mut peers = Peers::new(&[5, 1, 1].map(weighted));
        let picks: Vec<_> = (0..7)
            .filter_map(|_| {
                let (mut request, server) = open(&mut peers);
                assert_eq!(request.reason(), Reason::Scheduled { tie: true });
                peers.end_try(&mut request, false);
                server
            })
            .map(|server| server.0)
            .collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn without_a_tie_the_credits_of_round_robin_stay() {
        let mut peers = Peers::new(&[1, 1].map(weighted));
        let (mut first, server) = open(&mut peers);
        assert_eq!(server, Some(ServerId(0)));
        let (mut second, server) = open(&mut peers);
        assert_eq!((server, second.reason()), (Some(ServerId(1)), Reason::Scheduled { tie: false }));
        peers.end_try(&mut first, false);
        peers.end_try(&mut second, false);
        // Had the second pick been a round, it would be the first server's turn.
        assert_eq!(open(&mut peers).1, Some(ServerId(1)));
    }

    #[test]
    fn backups_serve_only_while_no_primary_can() {
        let backup = NginxServer { backup: true, ..NginxServer::default() };
        let full = NginxServer { max_conns: 1, ..NginxServer::default() };
        let mut peers = Peers::new(&[backup.clone(), full, backup]);
        let (mut first, server) = open(&mut peers);
        assert_eq!(server, Some(ServerId(1)));
        assert_eq!(open(&mut peers).1, Some(ServerId(0)));
        assert_eq!(open(&mut peers).1, Some(ServerId(2)));
        peers.end_try(&mut first, false);
        assert_eq!(open(&mut peers).1, Some(ServerId(1)));
    }

    proptest! {
        #[test]
        fn no_server_has_more_than_another_by_over_one_unit_of_weight(
            weights in prop::collection::vec(1u32..9, 2..70),
            requests in 1usize..400,
        ) {
            let mut peers = Peers::new(&weights.iter().copied().map(weighted).collect::<Vec<_>>());
            let mut conns = vec![0_u32; weights.len()];
            for _ in 0..requests {
                let (_, server) = open(&mut peers);
                let server = server.expect("all are usable").index();
                // The least before the pick: nobody else had less for his weight.
                for (other, &weight) in weights.iter().enumerate() {
                    prop_assert!(conns[server] * weight <= conns[other] * weights[server]);
                }
                conns[server] += 1;
            }
        }
    }
}
