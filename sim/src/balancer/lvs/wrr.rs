//! Weighted round robin, as `ip_vs_wrr.c` in Linux 6.1 does it.

use super::{Destinations, SchedulerRequest, gcd};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// The scheduler `wrr`: rounds over the list that stop at every server whose weight reaches a threshold. At the end of
/// a round the threshold falls by the greatest common divisor of the weights, and from the lowest value it goes back to
/// the highest.
///
/// Where a service starts depends on the order in which its servers were added, since every addition and change of a
/// weight adjusts the threshold to the weights of that moment: weights 3, 2, 4 begin with a round over all three.
#[derive(Clone, Debug)]
pub struct LvsWrr {
    /// The server chosen last in this round (`cl`); `None` is the list's head.
    last: Option<ServerId>,
    /// The weight that a server must reach in this round (`cw`); 0 without servers.
    threshold: u32,
    /// The threshold of the first round (`mw`); 0 if every weight is 0.
    threshold_max: u32,
    /// By how much it falls (`di`): the greatest common divisor of the weights other than 0, or 1.
    step: u32,
}

impl Default for LvsWrr {
    fn default() -> Self {
        Self { last: None, threshold: 0, threshold_max: 0, step: 1 }
    }
}

impl Balancer for LvsWrr {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        let found = if self.threshold_max == 0 { None } else { self.go_on(servers) };
        request.reason = found.map_or(Reason::NoneUsable, |_| Reason::Scheduled { tie: false });
        found
    }

    /// The round starts anew (`ip_vs_wrr_dest_changed`); the threshold stays where it was, on the new grid.
    fn servers_changed(&mut self, servers: &Destinations) {
        let weights = servers.iter().map(|(_, record)| record.weight).filter(|&weight| weight > 0);
        let (divisor, largest) =
            weights.fold((0, 0), |(divisor, largest), weight| (gcd(divisor, weight), weight.max(largest)));
        self.last = None;
        self.step = divisor.max(1);
        self.threshold_max = (largest + 1).saturating_sub(self.step);
        if self.threshold > self.threshold_max || self.threshold == 0 {
            self.threshold = self.threshold_max;
        } else if self.step > 1 {
            self.threshold = self.threshold / self.step * self.step + 1;
        }
    }
}

impl LvsWrr {
    /// Goes on to the next server that may be chosen; `None` when thresholds (`-x`) keep all of them out. Since
    /// every threshold is one more than a multiple of the step, the lowest is 1, and no usable server is below it.
    #[inline]
    fn go_on(&mut self, servers: &Destinations) -> Option<ServerId> {
        let began_behind = self.last;
        // Set when the lowest threshold has been tried behind `began_behind` only: then that is where the search ends.
        let mut stop = None;
        let (mut is_lowest, mut has_restarted) = (false, false);
        loop {
            for (server, record) in servers.after(self.last) {
                if !record.overloaded && record.weight >= self.threshold {
                    self.last = Some(server);
                    return Some(server);
                }
                if stop == Some(server) {
                    self.last = stop;
                    return None;
                }
            }
            let was_whole_round = self.last.take().is_none();
            if self.threshold > self.step {
                self.threshold -= self.step;
            } else {
                self.threshold = self.threshold_max;
                if is_lowest || began_behind.is_none() {
                    return None;
                }
                has_restarted = true;
            }
            if was_whole_round {
                self.skip_empty_rounds(servers);
            }
            is_lowest = self.threshold <= self.step;
            if is_lowest && has_restarted {
                stop = began_behind;
            }
        }
    }

    /// Lowers the threshold to one that a server reaches. The kernel goes through these rounds one by one, 65535 of
    /// them if weights are like that, and finds nothing.
    fn skip_empty_rounds(&mut self, servers: &Destinations) {
        let usable = servers.iter().filter(|(_, record)| !record.overloaded);
        let reached = usable.map(|(_, record)| record.weight).max().unwrap_or(0).max(1);
        if self.threshold > reached {
            self.threshold -= (self.threshold - reached).div_ceil(self.step) * self.step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{list, pick};
    use super::*;
    use proptest::prelude::*;

    /// A scheduler that has seen every server being added.
    fn service(weights: &[u32]) -> (LvsWrr, Destinations) {
        let (mut scheduler, mut servers) = (LvsWrr::default(), Destinations::new());
        for (index, &weight) in weights.iter().enumerate() {
            servers.add(ServerId::from_index(index), weight, 0, 0);
            scheduler.servers_changed(&servers);
        }
        (scheduler, servers)
    }

    fn picks(scheduler: &mut LvsWrr, servers: &mut Destinations, count: usize) -> Vec<Option<u16>> {
        (0..count).map(|_| pick(scheduler, servers).0).collect()
    }

    #[test]
    fn the_order_of_addition_decides_where_a_service_starts() {
        let (mut scheduler, mut servers) = service(&[3, 2, 4]);
        let round = [2, 1, 0, 2, 2, 0, 2, 1, 0].map(Some);
        assert_eq!(picks(&mut scheduler, &mut servers, 9), round);
        let (mut at_once, mut servers) = (LvsWrr::default(), list(&[3, 2, 4]));
        at_once.servers_changed(&servers);
        assert_eq!(picks(&mut at_once, &mut servers, 4), [2, 2, 0, 2].map(Some));
    }

    #[test]
    fn a_common_divisor_makes_no_difference() {
        let (mut scheduler, mut servers) = service(&[2, 1]);
        let (mut multiple, mut multiples) = service(&[200, 100]);
        let shares = picks(&mut scheduler, &mut servers, 9);
        assert_eq!(picks(&mut multiple, &mut multiples, 9), shares);
        assert_eq!(shares.iter().filter(|server| **server == Some(0)).count(), 6);
    }

    #[test]
    fn without_weights_or_with_all_overloaded_clients_are_refused() {
        let (mut scheduler, mut servers) = service(&[0, 0]);
        assert_eq!(picks(&mut scheduler, &mut servers, 2), [None, None]);
        let (mut scheduler, mut servers) = (LvsWrr::default(), Destinations::new());
        for server in 0..2 {
            servers.add(ServerId(server), 3, 1, 0);
            scheduler.servers_changed(&servers);
        }
        for server in [1, 0] {
            assert_eq!(pick(&mut scheduler, &mut servers).0, Some(server));
            servers.bind(ServerId(server), true);
        }
        assert_eq!(picks(&mut scheduler, &mut servers, 3), [None; 3]);
        servers.unbind(ServerId(1), true);
        assert_eq!(picks(&mut scheduler, &mut servers, 2), [Some(1); 2]);
    }

    #[test]
    fn an_overloaded_giant_does_not_stand_in_the_way() {
        let (mut scheduler, mut servers) = (LvsWrr::default(), Destinations::new());
        servers.add(ServerId(0), 1, 0, 0);
        servers.add(ServerId(1), 65_535, 1, 0);
        servers.bind(ServerId(1), true);
        scheduler.servers_changed(&servers);
        assert_eq!(picks(&mut scheduler, &mut servers, 3), [Some(0); 3]);
    }

    proptest! {
        #[test]
        fn each_server_has_its_weight_in_every_full_turn(weights in prop::collection::vec(0_u32..40, 1..12)) {
            let (mut scheduler, mut servers) = service(&weights);
            let divisor = weights.iter().fold(0, |divisor, &weight| gcd(divisor, weight));
            prop_assume!(divisor > 0);
            let turn: u32 = weights.iter().map(|weight| weight / divisor).sum();
            let mut counts = vec![0; weights.len()];
            for _ in 0..3 * turn {
                counts[usize::from(pick(&mut scheduler, &mut servers).0.expect("a server"))] += 1;
            }
            let expected: Vec<u32> = weights.iter().map(|weight| 3 * weight / divisor).collect();
            prop_assert_eq!(counts, expected);
        }
    }
}
