//! Weighted fail-over, as `ip_vs_fo.c` in Linux 6.1 does it.

use super::destinations::WEIGHT_MAX;
use super::{Destination, Least, Rank, Score};

/// The scheduler `fo`: the largest weight, the first in the list among equals.
pub type LvsFo = Least<LargestWeight>;

/// The weight, larger ones first.
#[derive(Clone, Debug, Default)]
pub struct LargestWeight {}

impl Rank for LargestWeight {
    #[inline]
    fn score(record: &Destination) -> Option<Score> {
        record.usable().then(|| Score::whole(u64::from(WEIGHT_MAX - record.weight)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{list, pick};
    use super::*;
    use crate::balancer::Balancer;
    use crate::ids::ServerId;

    #[test]
    fn one_server_takes_everything_until_its_weight_falls() {
        let (mut scheduler, mut servers) = (LvsFo::default(), list(&[3, 2, 3]));
        for _ in 0..100 {
            assert_eq!(pick(&mut scheduler, &mut servers), (Some(2), true));
            servers.bind(ServerId(2), true);
        }
        servers.set_weight(ServerId(2), 0);
        scheduler.servers_changed(&servers);
        assert_eq!(pick(&mut scheduler, &mut servers), (Some(0), false));
    }
}
