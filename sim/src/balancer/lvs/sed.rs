//! Shortest expected delay, as `ip_vs_sed.c` in Linux 6.1 does it.

use super::{Destination, Least, Rank, Score};

/// The scheduler `sed`: the least `(active + 1) / weight`, the first in the list among equals. Inactive connections do
/// not count.
pub type LvsSed = Least<ExpectedDelay>;

/// `(active + 1) / weight`.
#[derive(Clone, Debug, Default)]
pub struct ExpectedDelay {}

impl Rank for ExpectedDelay {
    #[inline]
    fn score(record: &Destination) -> Option<Score> {
        let score = Score { numerator: u64::from(record.active) + 1, denominator: record.weight };
        record.usable().then_some(score)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{list, pick};
    use super::*;
    use crate::ids::ServerId;

    #[test]
    fn the_connection_to_come_counts_so_that_the_largest_weight_comes_first() {
        let (mut scheduler, mut servers) = (LvsSed::default(), list(&[3, 1, 2]));
        for expected in [0, 2, 0, 2, 1, 0] {
            let (server, _) = pick(&mut scheduler, &mut servers);
            assert_eq!(server, Some(expected));
            servers.bind(ServerId(expected), true);
        }
    }

    #[test]
    fn inactive_connections_do_not_count() {
        let (mut scheduler, mut servers) = (LvsSed::default(), list(&[1, 1]));
        for _ in 0..1_000 {
            servers.bind(ServerId(1), false);
        }
        assert_eq!(pick(&mut scheduler, &mut servers), (Some(1), true));
    }
}
