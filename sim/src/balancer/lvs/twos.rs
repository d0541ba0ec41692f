//! The power of two choices, as `ip_vs_twos.c` does it (in Linux since 5.12; read at commit 550d14e3942c):
//! described, not transcribed. The kernel of the recordings was built without it.
//!
//! Departure: the kernel's generator is replaced by draws that are named by the service's director and the number of the
//! decision.

use super::{Destination, Destinations, SchedulerRequest};
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
    sums: Sums,
}

impl Default for LvsTwos {
    fn default() -> Self {
        Self {
            draws: Stream::new(0, 0, StreamId::Balancer),
            director: 0,
            decisions: 0,
            sums: Sums::default(),
        }
    }
}

impl LvsTwos {
    /// Says what it draws from, and the director's name among all that share the stream.
    pub fn set_draws(&mut self, draws: Stream, director: u64) {
        (self.draws, self.director) = (draws, director);
    }
}

/// Sums of the weights of usable servers. The kernel walks the list; a way down this tree ends at the same server.
#[derive(Clone, Debug, Default)]
struct Sums {
    /// The sum of all at 1, the halves of `i` at `2 i` and `2 i + 1`, single weights in list order in the second half;
    /// length = twice a power of two, or 0 when the list or a weight has changed.
    sums: Vec<u64>,
    /// The servers in list order.
    servers: Vec<ServerId>,
    /// The place of each server in `sums`; 0 for one that is not listed. Length = highest listed server + 1.
    places: Vec<u32>,
}

impl Sums {
    /// Follows thresholds, which take servers out and let them in again.
    #[inline]
    fn follow(&mut self, servers: &mut Destinations) {
        if self.sums.is_empty() {
            self.build(servers);
        }
        while let Some(server) = servers.pop_changed() {
            let place = self.places.get(server.index()).map_or(0, |&place| place as usize);
            let Some(weight) = servers.get(server).map(weight_of).filter(|_| place > 0) else { continue };
            let before = self.sums[place];
            let mut node = if weight == before { 0 } else { place };
            while node > 0 {
                self.sums[node] = self.sums[node] - before + weight;
                node /= 2;
            }
        }
    }

    fn build(&mut self, servers: &Destinations) {
        let half = servers.len().next_power_of_two();
        self.sums.resize(2 * half, 0);
        self.servers.clear();
        self.places.clear();
        for (place, (server, record)) in (half..).zip(servers.iter()) {
            if self.places.len() <= server.index() {
                self.places.resize(server.index() + 1, 0);
            }
            self.places[server.index()] = place as u32;
            self.servers.push(server);
            self.sums[place] = weight_of(record);
        }
        for node in (1..half).rev() {
            self.sums[node] = self.sums[2 * node] + self.sums[2 * node + 1];
        }
    }

    #[inline]
    fn total(&self) -> u64 {
        self.sums[1]
    }

    /// The usable server that a draw from 0 to the sum of the weights falls to: the first in the list up to whose weight,
    /// and those before it, the draw reaches.
    #[inline]
    fn drawn(&self, draw: u64) -> Option<ServerId> {
        // A draw of 0 falls to the first that has a weight, like one of 1.
        let (mut draw, mut node, half) = (draw.max(1), 1, self.sums.len() / 2);
        while node < half {
            node *= 2;
            if draw > self.sums[node] {
                draw -= self.sums[node];
                node += 1;
            }
        }
        self.servers.get(node - half).copied()
    }
}

#[inline]
fn weight_of(record: &Destination) -> u64 {
    if record.usable() { record.weight.into() } else { 0 }
}

impl Balancer for LvsTwos {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        request.reason = Reason::NoneUsable;
        self.sums.follow(servers);
        let total = self.sums.total();
        if total == 0 {
            return None;
        }
        let draw = |which| self.draws.below(total + 1, self.director, self.decisions << 1 | which);
        let (one, other) = (self.sums.drawn(draw(0))?, self.sums.drawn(draw(1))?);
        self.decisions += 1;
        let (first, second) = (servers.get(one)?, servers.get(other)?);
        let (first_load, second_load) =
            (first.overhead() * u64::from(second.weight), second.overhead() * u64::from(first.weight));
        request.reason = Reason::Scheduled { tie: one != other && first_load == second_load };
        Some(if second_load < first_load { other } else { one })
    }

    fn servers_changed(&mut self, _servers: &Destinations) {
        self.sums.sums.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        assert_eq!(pick(&mut LvsTwos::default(), &mut list(&[0, 0])), (None, false));
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_walk_along_the_list_finds(
            weights in prop::collection::vec(0_u32..5, 1..40),
            changes in prop::collection::vec((0_u16..40, any::<bool>()), 0..60),
        ) {
            let mut servers = Destinations::new();
            for (server, &weight) in (0..).zip(&weights) {
                add(&mut servers, server, weight, 2);
            }
            let mut sums = Sums::default();
            sums.follow(&mut servers);
            for (server, comes) in changes {
                let server = ServerId(server % weights.len() as u16);
                match servers.get(server) {
                    Some(record) if !comes && record.active > 0 => servers.unbind(server, true),
                    _ => servers.bind(server, true),
                }
                sums.follow(&mut servers);
                let walked: Vec<ServerId> = servers
                    .iter()
                    .flat_map(|(server, record)| vec![server; weight_of(record) as usize])
                    .collect();
                prop_assert_eq!(sums.total(), walked.len() as u64);
                for (draw, &server) in (1..).zip(&walked) {
                    prop_assert_eq!(sums.drawn(draw), Some(server));
                }
                prop_assert!(walked.is_empty() || sums.drawn(0) == Some(walked[0]));
            }
        }
    }
}
