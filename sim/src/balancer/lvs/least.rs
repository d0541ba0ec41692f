//! The schedulers that take the first server in the list with the least of something.
//!
//! The kernel looks at every server for every connection. Here the servers are the leaves of a knockout tree in list
//! order, in which the left one wins a tie: so the winner is the one that the kernel's scan finds, and what changes of a
//! server is played again on the way from its leaf to the root only. Up to [`SCANNED_MAX`] servers there is a scan too.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::{Destination, Destinations, SchedulerRequest};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// Up to how many servers a scan is faster than the tree.
const SCANNED_MAX: usize = 8;

/// What a scheduler takes the least of.
pub trait Rank: Clone + Debug + Default {
    /// The score of a server that may be chosen: one with a weight and no threshold in the way, unless the scheduler
    /// asks for more. `None` for others.
    fn score(record: &Destination) -> Option<Score>;
}

/// A fraction, of which the least is the best.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    /// Less than 2^47, so that products stay in 64 bits.
    pub numerator: u64,
    /// 1 to 65535.
    pub denominator: u32,
}

/// The worst score, worse than every fraction: nobody's.
const WORST: Score = Score { numerator: 1, denominator: 0 };

impl Score {
    /// A whole number.
    pub fn whole(numerator: u64) -> Self {
        Self { numerator, denominator: 1 }
    }

    /// Whether it is less, and whether it is equal: cross-multiplied, as in the kernel, so that there is no division and
    /// no rounding.
    #[inline]
    pub(super) fn is_less_or_equal(self, other: Self) -> (bool, bool) {
        let (own, others) =
            (self.numerator * u64::from(other.denominator), other.numerator * u64::from(self.denominator));
        (own < others, own == others)
    }
}

/// The first of the least by `R`, and whether the order decided among equals.
#[inline]
pub(super) fn first_least<'a, R: Rank>(
    records: impl Iterator<Item = (ServerId, &'a Destination)>,
) -> Option<(ServerId, bool)> {
    let mut candidates = records.filter_map(|(server, record)| Some((server, R::score(record)?)));
    let (mut least, mut least_score) = candidates.next()?;
    let mut tie = false;
    for (server, score) in candidates {
        match score.is_less_or_equal(least_score) {
            (true, _) => (least, least_score, tie) = (server, score, false),
            (false, equal) => tie |= equal,
        }
    }
    Some((least, tie))
}

/// A scheduler that takes the first of the least by `R`.
#[derive(Clone, Debug)]
pub struct Least<R: Rank> {
    tree: Tree,
    rank: PhantomData<R>,
}

impl<R: Rank> Default for Least<R> {
    fn default() -> Self {
        Self { tree: Tree::default(), rank: PhantomData }
    }
}

impl<R: Rank> Balancer for Least<R> {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        let found = if servers.len() <= SCANNED_MAX {
            first_least::<R>(servers.iter())
        } else {
            self.tree.first_least::<R>(servers)
        };
        request.reason = found.map_or(Reason::NoneUsable, |(_, tie)| Reason::Scheduled { tie });
        found.map(|(server, _)| server)
    }

    fn servers_changed(&mut self, _servers: &Destinations) {
        self.tree.stale = true;
    }
}

/// Who won a match of the tree: four to a cache line, and both sides of a match in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Winner {
    /// The score's numerator; [`WORST`]'s where no server of this part of the list may be chosen.
    numerator: u64,
    /// The score's denominator.
    denominator: u32,
    server: ServerId,
    /// Whether another one of this part is its equal.
    tie: bool,
}

const _: () = assert!(size_of::<Winner>() == 16);

const NOBODY: Winner = Winner::new(ServerId(0), WORST);

impl Winner {
    const fn new(server: ServerId, score: Score) -> Self {
        Self { numerator: score.numerator, denominator: score.denominator, server, tie: false }
    }

    #[inline]
    fn of<R: Rank>(server: ServerId, record: &Destination) -> Self {
        Self::new(server, R::score(record).unwrap_or(WORST))
    }

    #[inline]
    fn score(self) -> Score {
        Score { numerator: self.numerator, denominator: self.denominator }
    }

    #[inline]
    fn against(self, right: Self) -> Self {
        let (less, equal) = right.score().is_less_or_equal(self.score());
        let winner = if less { right } else { self };
        Self { tie: winner.tie | equal, ..winner }
    }
}

/// The knockout tree.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// The root at 1, the children of `i` at `2 i` and `2 i + 1`, the leaves in list order in the second half;
    /// length = twice the number of leaves, a power of two.
    winners: Vec<Winner>,
    /// The leaf of each server; 0 for one that is not listed. Length = highest listed server + 1.
    leaves: Vec<u32>,
    /// Whether the list or a weight has changed.
    pub(super) stale: bool,
}

impl Default for Tree {
    fn default() -> Self {
        Self { winners: Vec::new(), leaves: Vec::new(), stale: true }
    }
}

impl Tree {
    #[inline]
    fn first_least<R: Rank>(&mut self, servers: &mut Destinations) -> Option<(ServerId, bool)> {
        if self.stale {
            self.build::<R>(servers);
        }
        while let Some(server) = servers.pop_changed() {
            self.replay::<R>(servers, server);
        }
        self.first()
    }

    /// The first of the least when the last match was played, and whether the order decided among equals.
    #[inline]
    pub(super) fn first(&self) -> Option<(ServerId, bool)> {
        let Winner { denominator, server, tie, .. } = self.winners[1];
        (denominator != 0).then_some((server, tie))
    }

    /// Seats everyone in the list anew, by the counters of now.
    pub(super) fn build<R: Rank>(&mut self, servers: &Destinations) {
        let half = servers.len().next_power_of_two();
        self.stale = false;
        self.winners.clear();
        self.winners.resize(2 * half, NOBODY);
        self.leaves.clear();
        for (leaf, (server, record)) in (half..).zip(servers.iter()) {
            if self.leaves.len() <= server.index() {
                self.leaves.resize(server.index() + 1, 0);
            }
            self.leaves[server.index()] = leaf as u32;
            self.winners[leaf] = Winner::of::<R>(server, record);
        }
        for node in (1..half).rev() {
            self.winners[node] = self.winners[2 * node].against(self.winners[2 * node + 1]);
        }
    }

    /// Plays the matches of `server` again, up to the first that ends as before.
    #[inline]
    pub(super) fn replay<R: Rank>(&mut self, servers: &Destinations, server: ServerId) {
        let (Some(&leaf), Some(record)) = (self.leaves.get(server.index()), servers.get(server)) else {
            return;
        };
        let mut node = leaf as usize;
        let mut winner = Winner::of::<R>(server, record);
        // Place 0 is that of removed servers, whose connections end too: nobody has a match there.
        while node > 0 && self.winners[node] != winner {
            self.winners[node] = winner;
            node /= 2;
            winner = self.winners[2 * node].against(self.winners[2 * node + 1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{add, list};
    use super::super::{fo, lc, nq, ovf, sed, wlc};
    use super::*;
    use proptest::prelude::*;

    /// Connections come, turn inactive and end, servers change, come and go, as `changes` say; before each, the tree and a
    /// scan of the list must agree.
    fn assert_agreement<R: Rank>(weights: &[u32], changes: &[(u8, u16, u32)]) -> Result<(), TestCaseError> {
        let mut servers = list(weights);
        let mut scheduler = Least::<R>::default();
        scheduler.servers_changed(&servers);
        let mut connections: Vec<(ServerId, bool)> = Vec::new();
        for &(change, number, weight) in changes {
            let expected = first_least::<R>(servers.iter());
            let mut request = SchedulerRequest::new([10, 0, 0, 1].into(), 1);
            prop_assert_eq!(scheduler.pick(&mut servers, &mut request), expected.map(|(server, _)| server));
            let reason = expected.map_or(Reason::NoneUsable, |(_, tie)| Reason::Scheduled { tie });
            prop_assert_eq!(request.reason, reason);
            let server = number % weights.len() as u16;
            let connection = usize::from(number) % connections.len().max(1);
            match change {
                0..10 => {
                    let Some((server, _)) = expected else { continue };
                    servers.bind(server, true);
                    connections.push((server, true));
                    continue;
                }
                10..13 => {
                    if let Some((server, active)) = connections.get_mut(connection).filter(|own| own.1) {
                        servers.shift(*server, false);
                        *active = false;
                    }
                    continue;
                }
                13..17 => {
                    if !connections.is_empty() {
                        let (server, active) = connections.swap_remove(connection);
                        servers.unbind(server, active);
                    }
                    continue;
                }
                17..19 => _ = servers.set_weight(ServerId(server), weight),
                19 => _ = servers.remove(ServerId(server)),
                _ => add(&mut servers, server, weight, weight),
            }
            scheduler.servers_changed(&servers);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_scan_of_the_list_finds(
            weights in prop::collection::vec(0_u32..4, SCANNED_MAX + 1..80),
            changes in prop::collection::vec((0_u8..22, any::<u16>(), 0_u32..4), 1..300),
        ) {
            assert_agreement::<lc::Overhead>(&weights, &changes)?;
            assert_agreement::<wlc::OverheadByWeight>(&weights, &changes)?;
            assert_agreement::<sed::ExpectedDelay>(&weights, &changes)?;
            assert_agreement::<nq::IdleFirst>(&weights, &changes)?;
            assert_agreement::<fo::LargestWeight>(&weights, &changes)?;
            assert_agreement::<ovf::LargestWeightWithRoom>(&weights, &changes)?;
        }
    }
}
