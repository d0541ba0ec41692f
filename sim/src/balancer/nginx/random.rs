//! `random`: a server drawn by weight.
//!
//! nginx 1.22.1, `ngx_http_upstream_get_random_peer` in `src/http/modules/ngx_http_upstream_random_module.c`. A draw falls
//! on every primary, `down` ones too, in proportion to its weight. If that may not be used, another is drawn; more than 20
//! such draws in the life of a request, and this and all later tries of it are round robin's.
//!
//! Departure: nginx draws from a generator that it seeds with its process id and the time; here the draws are named
//! ([`Peers::set_draws`]), so a run repeats itself. The remainder of a 31-bit number that nginx takes favours some servers by
//! less than total weight / 2^31, which is left out.

use super::round_robin::{MISSES_MAX, RoundRobin};
use super::{Peers, RequestState};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// A weighted draw among the usable primaries.
///
/// The reason is [`Reason::Scheduled`] without a tie.
#[derive(Clone, Debug, Default)]
pub struct Random {}

impl Balancer for Random {
    type Servers = Peers;
    type Request = RequestState;

    #[inline]
    fn pick(&mut self, peers: &mut Peers, request: &mut RequestState) -> Option<ServerId> {
        if peers.is_single() {
            return RoundRobin {}.pick(peers, request);
        }
        if request.misses <= MISSES_MAX
            && let Some(server) = peers.take_hinted(request)
        {
            return Some(server);
        }
        while request.misses <= MISSES_MAX {
            let peer = peers.draw_primary(request);
            if peers.passed_over(peer, request).is_none() {
                request.reason = Reason::Scheduled { tie: false };
                return Some(peers.take(peer, request));
            }
            request.misses += 1;
        }
        RoundRobin {}.pick(peers, request)
    }
}

#[cfg(test)]
mod tests {
    use super::super::NginxServer;
    use super::super::fixture::{chi_square, counts};
    use super::*;
    use crate::engine::Stream;
    use crate::ids::StreamId;
    use std::net::IpAddr;

    #[test]
    fn shares_follow_the_weights() {
        // Pearson's chi-square of 20,000 draws; 13.82 is its 99.9 % point with two degrees of freedom.
        let weights = [3, 1, 2];
        let servers = weights.map(|weight| NginxServer { weight, ..NginxServer::default() });
        let counts = counts(&mut Random {}, &mut Peers::new(&servers), 20_000);
        let statistic = chi_square(&counts, &weights.map(|weight| f64::from(weight) / 6.0));
        assert!(statistic < 13.82, "{counts:?}: {statistic}");
    }

    #[test]
    fn draws_are_named_by_instance_and_request() {
        let mut peers = Peers::new(&vec![NginxServer::default(); 16]);
        let mut picks = |instance, first: u64| {
            peers.set_draws(Stream::new(7, 0, StreamId::Balancer), instance);
            let pick = |number| {
                let mut request = peers.begin(IpAddr::from([192, 0, 2, 1]));
                request.set_number(number);
                let server = Random {}.pick(&mut peers, &mut request);
                peers.end_try(&mut request, false);
                server
            };
            (first..first + 20).map(pick).collect::<Vec<_>>()
        };
        assert_eq!(picks(0, 5), picks(0, 5), "a name means one draw");
        assert_ne!(picks(0, 5), picks(1, 5));
        assert_eq!(picks(0, 5)[1..], picks(0, 6)[..19], "whatever was drawn before");
    }

    #[test]
    fn past_twenty_draws_round_robin_decides() {
        let heavy = NginxServer { weight: 1_000_000, down: true, ..NginxServer::default() };
        let servers = [heavy, NginxServer::default(), NginxServer::default()];
        assert_eq!(counts(&mut Random {}, &mut Peers::new(&servers), 100), [0, 50, 50]);
    }
}
