//! The schedulers that take the first server in the list with the least of something.
//!
//! The kernel looks at every server for every connection. So does this up to [`SCANNED_MAX`] servers. Above, the
//! servers are the leaves of a knockout tree in list order, in which the left one wins a tie: the winner is the one that
//! the scan would find, and what changes of a server is played again on the way from its leaf to the root only.

use std::cmp::Ordering;
use std::fmt::Debug;
use std::marker::PhantomData;

use super::{Destination, Destinations, SchedulerRequest};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// Up to how many servers a scan is faster than the tree.
const SCANNED_MAX: usize = 24;

/// What a scheduler takes the least of.
pub trait Rank: Clone + Debug + Default {
    /// Whether the server may be chosen at all: a weight other than 0 and no threshold in the way, unless the scheduler
    /// asks for more. Never true without a weight.
    #[inline]
    fn is_candidate(record: &Destination) -> bool {
        record.usable()
    }

    /// Compares two candidates; the lesser is better. A total order but for ties, so that the result of a knockout
    /// does not depend on who meets whom.
    fn compare(left: &Destination, right: &Destination) -> Ordering;
}

/// The first of the least by `R`, and whether the order decided among equals.
#[inline]
pub(super) fn first_least<'a, R: Rank>(
    records: impl Iterator<Item = (ServerId, &'a Destination)>,
) -> Option<(ServerId, bool)> {
    let mut candidates = records.filter(|(_, record)| R::is_candidate(record));
    let (mut least, mut least_record) = candidates.next()?;
    let mut tie = false;
    for (server, record) in candidates {
        match R::compare(record, least_record) {
            Ordering::Less => (least, least_record, tie) = (server, record, false),
            Ordering::Equal => tie = true,
            Ordering::Greater => {}
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

/// Who won a match of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Winner {
    /// `None` where no server of this part of the list may be chosen.
    server: Option<ServerId>,
    /// Whether another one of this part is its equal.
    tie: bool,
}

const NOBODY: Winner = Winner { server: None, tie: false };

/// The knockout tree.
#[derive(Clone, Debug)]
struct Tree {
    /// The root at 1, the children of `i` at `2 i` and `2 i + 1`, the leaves in list order in the second half;
    /// length = twice the number of leaves, a power of two.
    winners: Vec<Winner>,
    /// The leaf of each server; 0 for one that is not listed. Length = highest listed server + 1.
    leaves: Vec<u32>,
    /// Whether the list or a weight has changed.
    stale: bool,
}

impl Default for Tree {
    fn default() -> Self {
        Self { winners: Vec::new(), leaves: Vec::new(), stale: true }
    }
}

impl Tree {
    fn first_least<R: Rank>(&mut self, servers: &mut Destinations) -> Option<(ServerId, bool)> {
        if self.stale {
            self.build::<R>(servers);
        }
        while let Some(server) = servers.pop_changed() {
            self.replay::<R>(servers, server);
        }
        let Winner { server, tie } = self.winners[1];
        server.map(|server| (server, tie))
    }

    fn build<R: Rank>(&mut self, servers: &mut Destinations) {
        while servers.pop_changed().is_some() {}
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
            self.winners[leaf].server = R::is_candidate(record).then_some(server);
        }
        for node in (1..half).rev() {
            self.winners[node] = self.play::<R>(servers, node);
        }
    }

    /// Plays the matches of `server` again, up to one that neither is won by it nor was.
    fn replay<R: Rank>(&mut self, servers: &Destinations, server: ServerId) {
        let Some(&leaf) = self.leaves.get(server.index()).filter(|&&leaf| leaf != 0) else { return };
        let mut node = leaf as usize;
        let candidate = servers.get(server).is_some_and(R::is_candidate);
        self.winners[node].server = candidate.then_some(server);
        while node > 1 {
            node /= 2;
            let winner = self.play::<R>(servers, node);
            let before = std::mem::replace(&mut self.winners[node], winner);
            if before == winner && winner.server != Some(server) {
                break;
            }
        }
    }

    #[inline]
    fn play<R: Rank>(&self, servers: &Destinations, node: usize) -> Winner {
        let (left, right) = (self.winners[2 * node], self.winners[2 * node + 1]);
        let record = |winner: Winner| winner.server.and_then(|server| servers.get(server));
        match (record(left), record(right)) {
            (Some(left_record), Some(right_record)) => match R::compare(left_record, right_record) {
                Ordering::Less => left,
                Ordering::Equal => Winner { tie: true, ..left },
                Ordering::Greater => right,
            },
            (Some(_), None) => left,
            (None, _) => right,
        }
    }
}
