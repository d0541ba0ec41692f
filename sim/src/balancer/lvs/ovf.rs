//! Overflow, as `ip_vs_ovf.c` in Linux 6.1 does it.

use super::fo::LargestWeight;
use super::{Destination, Least, Rank, Score};

/// The scheduler `ovf`: the largest weight among the servers with at most as many active connections as their weight,
/// the first in the list among equals. So a server gets one connection more than its weight, and when all are full,
/// clients are refused.
pub type LvsOvf = Least<LargestWeightWithRoom>;

/// The weight, larger ones first, of servers that are not over it.
#[derive(Clone, Debug, Default)]
pub struct LargestWeightWithRoom {}

impl Rank for LargestWeightWithRoom {
    #[inline]
    fn score(record: &Destination) -> Option<Score> {
        if record.active <= record.weight { LargestWeight::score(record) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{list, pick};
    use super::*;
    use crate::ids::ServerId;

    #[test]
    fn each_server_gets_one_more_than_its_weight_and_then_clients_are_refused() {
        let (mut scheduler, mut servers) = (LvsOvf::default(), list(&[1, 2, 0]));
        for expected in [1, 1, 1, 0, 0] {
            let (server, _) = pick(&mut scheduler, &mut servers);
            assert_eq!(server, Some(expected));
            servers.bind(ServerId(expected), true);
        }
        assert_eq!(pick(&mut scheduler, &mut servers), (None, false));
        servers.shift(ServerId(0), false);
        assert_eq!(pick(&mut scheduler, &mut servers), (Some(0), false));
    }
}
