//! `random two least_conn`: the less loaded of two servers drawn by weight.
//!
//! nginx 1.22.1, `ngx_http_upstream_get_random2_peer` in `src/http/modules/ngx_http_upstream_random_module.c`. Servers are
//! drawn until two different ones may be used; the second is taken unless the first has strictly fewer open attempts for
//! its weight. So among idle servers the *second* wins, which evens the shares out: idle servers of weights 4, 1 and 2 get
//! 33, 25 and 43 % instead of 57, 14 and 29. Every draw that does not settle it counts, the first usable one too; more than
//! 20 in the life of a request, and this and all later tries of it are round robin's, as whenever only one server is usable.
//!
//! Departure: as of [`super::random`].

use std::cmp::Ordering;

use super::round_robin::{MISSES_MAX, RoundRobin};
use super::{Peers, RequestState};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// The less loaded of two usable primaries drawn by weight.
///
/// The reason is [`Reason::Scheduled`], with a tie if both had the same load.
#[derive(Clone, Debug, Default)]
pub struct RandomTwo {}

impl Balancer for RandomTwo {
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
        let mut first: Option<usize> = None;
        while request.misses <= MISSES_MAX {
            let peer = peers.draw_primary(request);
            if first != Some(peer) && peers.passed_over(peer, request).is_none() {
                if let Some(first) = first {
                    let order = peers.load(peer).compare(peers.load(first));
                    request.reason = Reason::Scheduled { tie: order == Ordering::Equal };
                    return Some(peers.take(if order == Ordering::Greater { first } else { peer }, request));
                }
                first = Some(peer);
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
    use std::net::IpAddr;

    #[test]
    fn among_idle_servers_the_second_draw_wins() {
        // The second draw is server j with probability sum over i != j of w_i/W * w_j/(W - w_i). Pearson's chi-square of
        // 20,000 draws; 13.82 is its 99.9 % point with two degrees of freedom.
        let weights = [4.0, 1.0, 2.0];
        let total: f64 = weights.iter().sum();
        let second = |j: usize| -> f64 {
            let others = (0..3).filter(|&i| i != j).map(|i| weights[i]);
            others.map(|first| first / total * weights[j] / (total - first)).sum()
        };
        let servers = weights.map(|weight| NginxServer { weight: weight as u32, ..NginxServer::default() });
        let counts = counts(&mut RandomTwo {}, &mut Peers::new(&servers), 20_000);
        let statistic = chi_square(&counts, &[second(0), second(1), second(2)]);
        assert!(statistic < 13.82, "{counts:?}: {statistic}");
    }

    #[test]
    fn the_most_loaded_server_is_never_taken() {
        let mut peers = Peers::new(&vec![NginxServer::default(); 5]);
        let mut holding = peers.begin(IpAddr::from([192, 0, 2, 1]));
        let busy = RandomTwo {}.pick(&mut peers, &mut holding).expect("all are usable").index();
        let counts = counts(&mut RandomTwo {}, &mut peers, 1_000);
        assert_eq!(counts[busy], 0);
        assert!(
            counts.iter().enumerate().all(|(server, &count)| server == busy || count > 150),
            "{counts:?}"
        );
    }

    #[test]
    fn a_server_alone_is_found_by_round_robin() {
        let down = NginxServer { down: true, ..NginxServer::default() };
        let mut peers = Peers::new(&[down, NginxServer::default()]);
        let mut request = peers.begin(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(RandomTwo {}.pick(&mut peers, &mut request), Some(ServerId(1)));
        assert_eq!(request.misses, MISSES_MAX + 1);
    }
}
