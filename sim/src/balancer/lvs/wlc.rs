//! Weighted least connection, as `ip_vs_wlc.c` in Linux 6.1 does it.

use super::{Destinations, SchedulerRequest};
use crate::balancer::Balancer;
use crate::ids::ServerId;

/// The scheduler `wlc`: the least `(256 active + inactive) / weight`, the first in the list among equals.
#[derive(Clone, Debug, Default)]
pub struct LvsWlc {}

impl Balancer for LvsWlc {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        request.tie = false;
        let mut usable = servers.iter().filter(|(_, record)| record.usable());
        let (mut least, record) = usable.next()?;
        let (mut least_overhead, mut least_weight) = (record.overhead(), u64::from(record.weight));
        for (server, record) in usable {
            let (overhead, weight) = (record.overhead(), u64::from(record.weight));
            // Cross-multiplied, as there, so that there is no division and no rounding.
            let (ours, theirs) = (least_overhead * weight, overhead * least_weight);
            if ours > theirs {
                (least, least_overhead, least_weight) = (server, overhead, weight);
                request.tie = false;
            } else if ours == theirs {
                request.tie = true;
            }
        }
        Some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(weights: &[u32]) -> Destinations {
        let mut list = Destinations::new();
        for (index, &weight) in weights.iter().enumerate() {
            list.add(ServerId::from_index(index), weight, 0, 0);
        }
        list
    }

    fn pick(list: &mut Destinations) -> (Option<u16>, bool) {
        let mut request = SchedulerRequest::new([10, 0, 0, 1].into(), 1024);
        let server = LvsWlc::default().pick(list, &mut request).map(|server| server.0);
        (server, request.tie)
    }

    #[test]
    fn equals_go_to_the_first_in_the_list_and_are_a_tie() {
        assert_eq!(pick(&mut list(&[1, 2, 3])), (Some(2), true));
        assert_eq!(pick(&mut list(&[1, 2, 0])), (Some(1), true));
        assert_eq!(pick(&mut list(&[0, 2, 0])), (Some(1), false));
        assert_eq!(pick(&mut list(&[0, 0])), (None, false));
    }

    #[test]
    fn an_active_connection_weighs_as_much_as_256_inactive_ones() {
        let mut servers = list(&[1, 1]);
        servers.bind(ServerId(0), true);
        for _ in 0..255 {
            servers.bind(ServerId(1), false);
        }
        assert_eq!(pick(&mut servers), (Some(1), false));
        servers.bind(ServerId(1), false);
        assert_eq!(pick(&mut servers), (Some(1), true));
        servers.bind(ServerId(1), false);
        assert_eq!(pick(&mut servers), (Some(0), false));
    }

    #[test]
    fn twice_the_weight_holds_twice_the_connections() {
        let mut servers = list(&[1, 2]);
        for expected in [1, 0, 1, 1, 0, 1] {
            let (server, _) = pick(&mut servers);
            assert_eq!(server, Some(expected));
            servers.bind(ServerId(expected), true);
        }
    }
}
