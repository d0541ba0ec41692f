//! Never queue, as `ip_vs_nq.c` in Linux 6.1 does it.

use super::sed::ExpectedDelay;
use super::{Destination, Least, Rank, Score};

/// The scheduler `nq`: the first server in the list without an active connection, whatever its weight, else as `sed`.
pub type LvsNq = Least<IdleFirst>;

/// Servers without an active connection, all alike; then by the expected delay.
#[derive(Clone, Debug, Default)]
pub struct IdleFirst {}

impl Rank for IdleFirst {
    #[inline]
    fn score(record: &Destination) -> Option<Score> {
        let by_delay = ExpectedDelay::score(record)?;
        // Less than any delay.
        Some(if record.active == 0 { Score::whole(0) } else { by_delay })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{list, pick};
    use super::*;
    use crate::ids::ServerId;

    #[test]
    fn a_slow_idle_server_comes_before_a_fast_busy_one() {
        let (mut scheduler, mut servers) = (LvsNq::default(), list(&[1, 100, 0]));
        for expected in [1, 0, 1, 1] {
            let (server, _) = pick(&mut scheduler, &mut servers);
            assert_eq!(server, Some(expected));
            servers.bind(ServerId(expected), true);
        }
    }

    #[test]
    fn among_idle_servers_the_first_in_the_list_wins() {
        assert_eq!(pick(&mut LvsNq::default(), &mut list(&[5, 1])), (Some(1), true));
    }
}
