//! Weighted least connection, as `ip_vs_wlc.c` in Linux 6.1 does it.

use super::{Destination, Least, Rank, Score};

/// The scheduler `wlc`: the least `(256 active + inactive) / weight`, the first in the list among equals.
pub type LvsWlc = Least<OverheadByWeight>;

/// `(256 active + inactive) / weight`.
#[derive(Clone, Debug, Default)]
pub struct OverheadByWeight {}

impl Rank for OverheadByWeight {
    #[inline]
    fn score(record: &Destination) -> Option<Score> {
        let score = Score { numerator: record.overhead(), denominator: record.weight };
        record.usable().then_some(score)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Destinations;
    use super::super::fixture::{self, list};
    use super::*;
    use crate::ids::ServerId;

    fn pick(list: &mut Destinations) -> (Option<u16>, bool) {
        fixture::pick(&mut LvsWlc::default(), list)
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
