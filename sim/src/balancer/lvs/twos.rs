//! The power of two choices, as `ip_vs_twos.c` does it (in Linux since 5.12; read at commit 550d14e3942c):
//! described, not transcribed. The kernel of the recordings was built without it.
//!
//! Departure: the kernel's generator is replaced by draws that are named by the service's director and the number of the
//! decision.

use super::{Destinations, SchedulerRequest};
use crate::balancer::{Balancer, Reason};
use crate::engine::Stream;
use crate::ids::{ServerId, StreamId};

/// The scheduler `twos`: of two servers drawn by weight, with replacement, the one with the lesser
/// `(256 active + inactive) / weight`, the first drawn among equals.
///
/// Both ends of the range that the kernel draws from count, so a draw has one value more than the sum of the weights, and
/// that one is the first server's in the list: of servers of weights 1 and 1 it is drawn two times in three.
#[derive(Clone, Debug)]
pub struct LvsTwos {
    draws: Stream,
    /// The director's name among all that share `draws`.
    director: u64,
    /// Decisions so far.
    decisions: u64,
}

impl Default for LvsTwos {
    fn default() -> Self {
        Self { draws: Stream::new(0, 0, StreamId::Balancer), director: 0, decisions: 0 }
    }
}

impl LvsTwos {
    /// Says what it draws from, and the director's name among all that share the stream.
    pub fn set_draws(&mut self, draws: Stream, director: u64) {
        (self.draws, self.director) = (draws, director);
    }
}

/// The usable server that a draw from 0 to the sum of the weights falls to: the first in the list up to whose weight, and
/// those before it, the draw reaches.
#[inline]
fn drawn(servers: &Destinations, draw: u64) -> Option<ServerId> {
    let mut sum = 0;
    let mut usable = servers.iter().filter(|(_, record)| record.usable());
    let found = usable.find(|(_, record)| {
        sum += u64::from(record.weight);
        draw <= sum
    });
    found.map(|(server, _)| server)
}

impl Balancer for LvsTwos {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        request.reason = Reason::NoneUsable;
        let usable = servers.iter().filter(|(_, record)| record.usable());
        let total: u64 = usable.map(|(_, record)| u64::from(record.weight)).sum();
        if total == 0 {
            return None;
        }
        let draw = |which| self.draws.below(total + 1, self.director, self.decisions << 1 | which);
        let (one, other) = (drawn(servers, draw(0))?, drawn(servers, draw(1))?);
        self.decisions += 1;
        let (first, second) = (servers.get(one)?, servers.get(other)?);
        let (first_load, second_load) =
            (first.overhead() * u64::from(second.weight), second.overhead() * u64::from(first.weight));
        request.reason = Reason::Scheduled { tie: one != other && first_load == second_load };
        Some(if second_load < first_load { other } else { one })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{add, list, pick, shares};
    use super::*;

    #[test]
    fn idle_servers_are_drawn_by_weight_with_one_unit_more_for_the_head_of_the_list() {
        // List order is 2, 1, 0, with weights 3, 2, 1; one more for the first: 4, 2, 1 of 7.
        let shares = shares(&mut LvsTwos::default(), &mut list(&[1, 2, 3]), 20_000);
        for (share, expected) in shares.iter().zip([1.0, 2.0, 4.0]) {
            // Standard deviation at most 0.0036.
            assert!((share - expected / 7.0).abs() < 0.015, "{shares:?}");
        }
    }

    #[test]
    fn the_busier_of_two_gets_only_what_both_draws_give_it() {
        let mut servers = list(&[1, 1]);
        servers.bind(ServerId(0), true);
        // Server 0 is last in the list: drawn one time in three, twice in a row one in nine.
        let share = shares(&mut LvsTwos::default(), &mut servers, 20_000)[0];
        assert!((share - 1.0 / 9.0).abs() < 0.01, "{share}");
    }

    #[test]
    fn servers_without_weight_or_over_their_threshold_are_never_drawn() {
        let mut servers = list(&[0, 1]);
        add(&mut servers, 2, 5, 1);
        servers.bind(ServerId(2), true);
        let mut scheduler = LvsTwos::default();
        for _ in 0..50 {
            assert_eq!(pick(&mut scheduler, &mut servers), (Some(1), false));
        }
        assert_eq!(pick(&mut scheduler, &mut list(&[0, 0])), (None, false));
    }
}
