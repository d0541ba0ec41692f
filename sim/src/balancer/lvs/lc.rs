//! Least connection, as `ip_vs_lc.c` in Linux 6.1 does it: of the weights, only 0 makes a difference.

use super::{Destination, Least, Rank, Score};

/// The scheduler `lc`: the least `256 active + inactive`, the first in the list among equals.
pub type LvsLc = Least<Overhead>;

/// `256 active + inactive`.
#[derive(Clone, Debug, Default)]
pub struct Overhead {}

impl Rank for Overhead {
    #[inline]
    fn score(record: &Destination) -> Option<Score> {
        record.usable().then(|| Score::whole(record.overhead()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{list, pick};
    use super::*;
    use crate::ids::ServerId;

    #[test]
    fn weights_other_than_zero_make_no_difference() {
        let (mut scheduler, mut servers) = (LvsLc::default(), list(&[1, 9, 0]));
        assert_eq!(pick(&mut scheduler, &mut servers), (Some(1), true));
        servers.bind(ServerId(1), false);
        assert_eq!(pick(&mut scheduler, &mut servers), (Some(0), false));
        servers.bind(ServerId(0), true);
        assert_eq!(pick(&mut scheduler, &mut servers), (Some(1), false), "256 to 1");
    }
}
