//! `roundrobin`: weighted round robin whose weights may change at any time.
//!
//! HAProxy 2.6, `src/lb_fwrr.c`. Time is counted in picks. Every server has a position at which its next turn is due; a turn
//! moves that on by the sum of all weights over its own, and the remainders add up. Servers whose turn lies in
//! the present round wait in a tree by position, those of the next round in another one by weight, and those that did not
//! have a turn yet in a third.

use super::servers::Group as Chosen;
use super::tree::Tree;
use super::{HaproxyRequest, Servers, WEIGHT_MAX};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// Largest effective weight.
const EFFECTIVE_WEIGHT_MAX: u32 = 16 * WEIGHT_MAX;
/// Effective weight is counted in sixteenths, and so is the part of a sorting key that tells equal positions apart.
const WEIGHT_SCALE: u32 = 16;

/// Where a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not usable, or taken out while one is chosen.
    Out,
    /// In one of the two trees by weight.
    ByWeight(usize),
    /// In the tree by position.
    ByPosition,
}

/// What the algorithm keeps of a server.
#[derive(Clone, Debug)]
struct Turns {
    place: Place,
    /// Under which key it is in its tree.
    key: u32,
    /// Effective weight while usable, else 0.
    weight: u32,
    /// Position of its next turn, in picks; counted from the next round's start while it waits for that.
    next: u32,
    /// Position of its last turn.
    last: u32,
    /// What divisions left over, below its weight.
    rest: u32,
}

/// The servers that are no backups, or the backups.
#[derive(Clone, Debug)]
struct Group {
    /// By weight: those without a turn yet, and those whose turn lies in the next round. Which is which changes when a round
    /// ends.
    by_weight: [Tree; 2],
    /// Which of them holds those without a turn.
    fresh: usize,
    /// Those whose turn lies in the present round.
    by_position: Tree,
    /// Sum of the weights when the round began.
    weight: u32,
    /// Sum of the weights now.
    weight_next: u32,
    /// Picks since the round began, from `weight` on.
    position: u32,
}

/// Weighted round robin with dynamic weights.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    turns: Vec<Turns>,
    /// Servers that are no backups, then backups.
    groups: Vec<Group>,
    /// Scratch: servers passed over in a pick, the last one first.
    passed_over: Vec<u16>,
}

impl Group {
    fn new(servers: usize) -> Self {
        let tree = || Tree::new(servers);
        Self {
            by_weight: [tree(), tree()],
            fresh: 0,
            by_position: tree(),
            weight: 0,
            weight_next: 0,
            position: 0,
        }
    }

    /// Whose turn is next: the first by position if it is due, else a fresh one, else the first by position.
    fn first(&self, turns: &[Turns]) -> Option<u16> {
        let due = self.by_position.first();
        due.filter(|&server| turns[server as usize].next <= self.position)
            .or_else(|| self.by_weight[self.fresh].first())
            .or(due)
    }

    /// A new round begins.
    fn switch(&mut self) {
        self.fresh ^= 1;
        self.weight = self.weight_next;
        self.position = self.weight;
    }

    /// Takes a server out of its tree.
    fn take_out(&mut self, turns: &mut Turns, server: u16) {
        match turns.place {
            Place::Out => {}
            Place::ByWeight(tree) => self.by_weight[tree].remove(turns.key, server),
            Place::ByPosition => self.by_position.remove(turns.key, server),
        }
        turns.place = Place::Out;
    }

    fn queue_by_weight(&mut self, turns: &mut Turns, server: u16, tree: usize) {
        turns.key = EFFECTIVE_WEIGHT_MAX - turns.weight;
        turns.place = Place::ByWeight(tree);
        self.by_weight[tree].insert(turns.key, server);
    }

    /// Puts a server where its next position belongs: in this round, or in the next one.
    fn queue(&mut self, turns: &mut Turns, server: u16) {
        if turns.next >= self.weight.wrapping_mul(2)
            || turns.next >= self.weight.wrapping_add(self.weight_next)
        {
            turns.next -= self.weight;
            self.queue_by_weight(turns, server, self.fresh ^ 1);
        } else {
            turns.key = WEIGHT_MAX
                .wrapping_mul(turns.next)
                .wrapping_add((EFFECTIVE_WEIGHT_MAX + turns.rest - turns.weight) / WEIGHT_SCALE);
            turns.place = Place::ByPosition;
            self.by_position.insert(turns.key, server);
        }
    }

    /// A server has its turn: its next one is a whole round's weight over its own later.
    fn turn(&mut self, turns: &mut Turns, server: u16) {
        if matches!(turns.place, Place::ByWeight(_)) {
            (turns.next, turns.rest) = (0, 0);
        }
        if turns.next == 0 {
            turns.next = self.position;
        }
        turns.last = turns.next;
        turns.next = turns.next.wrapping_add(self.weight_next / turns.weight);
        turns.rest += self.weight_next % turns.weight;
        if turns.rest >= turns.weight {
            turns.rest -= turns.weight;
            turns.next = turns.next.wrapping_add(1);
        }
        self.take_out(turns, server);
        self.position = self.position.wrapping_add(1);
    }

    fn up(&mut self, turns: &mut Turns, server: u16, weight: u32) {
        self.weight_next += weight;
        turns.weight = weight;
        let ahead = self.weight_next.wrapping_add(self.weight).wrapping_sub(self.position) / weight;
        turns.next = self.position.wrapping_add(ahead);
        self.queue(turns, server);
    }

    fn down(&mut self, turns: &mut Turns, server: u16) {
        self.weight_next -= turns.weight;
        turns.weight = 0;
        self.take_out(turns, server);
    }

    fn change_weight(&mut self, turns: &mut Turns, server: u16, weight: u32) {
        self.weight_next = self.weight_next - turns.weight + weight;
        if turns.place == Place::ByWeight(self.fresh) {
            self.take_out(turns, server);
            turns.weight = weight;
            return self.queue_by_weight(turns, server, self.fresh);
        }
        if matches!(turns.place, Place::ByWeight(_)) {
            turns.next = turns.next.wrapping_add(self.weight);
        }
        self.take_out(turns, server);
        turns.weight = weight;
        // A heavier server's turn comes sooner; a lighter one keeps the turn that it has.
        let step = self.weight_next / weight;
        turns.next = turns.last.wrapping_add(step).min(turns.next);
        turns.rest = 0;
        if turns.next < self.position.wrapping_add(2) {
            turns.next = self.position.wrapping_add(step);
        }
        self.queue(turns, server);
    }
}

impl Balancer for RoundRobin {
    type Servers = Servers;
    type Request = HaproxyRequest;

    fn pick(&mut self, servers: &mut Servers, request: &mut HaproxyRequest) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        if servers.queued() > 0 {
            return None;
        }
        let group = match servers.group() {
            Chosen::Nobody => return None,
            Chosen::FirstBackup(first) => return Some(ServerId(first)),
            Chosen::Balanced { backups } => &mut self.groups[usize::from(backups)],
        };
        let turns = &mut self.turns;
        self.passed_over.clear();
        let (mut switched, mut avoided) = (false, None);
        if group.weight == 0 {
            group.weight = group.weight_next;
            group.position = group.weight_next;
        }
        let chosen = loop {
            let Some(server) = group.first(turns) else {
                if switched {
                    break avoided;
                }
                switched = true;
                group.switch();
                continue;
            };
            group.turn(&mut turns[server as usize], server);
            if servers.has_room(ServerId(server)) {
                if request.avoid != Some(ServerId(server)) || avoided.is_some() {
                    break Some(server);
                }
                avoided = Some(server);
            }
            self.passed_over.push(server);
        };
        if let Some(server) = chosen {
            group.queue(&mut turns[server as usize], server);
        }
        for &server in self.passed_over.iter().rev().filter(|&&server| Some(server) != chosen) {
            let turns = &mut turns[server as usize];
            if switched {
                // Their places were those of a round that is over: only the weight counts.
                group.queue_by_weight(turns, server, group.fresh);
            } else {
                group.queue(turns, server);
            }
        }
        chosen.map(ServerId)
    }

    fn servers_changed(&mut self, servers: &Servers) {
        if self.turns.is_empty() {
            return self.start(servers);
        }
        for (server, turns) in self.turns.iter_mut().enumerate() {
            let group = &mut self.groups[usize::from(servers.is_backup(server))];
            let weight = servers.standing(server);
            match (turns.weight, weight) {
                (before, now) if before == now => {}
                (0, _) => group.up(turns, server as u16, weight),
                (_, 0) => group.down(turns, server as u16),
                _ => group.change_weight(turns, server as u16, weight),
            }
        }
    }
}

impl RoundRobin {
    /// All servers are fresh when the process starts.
    fn start(&mut self, servers: &Servers) {
        let turns = Turns { place: Place::Out, key: 0, weight: 0, next: 0, last: 0, rest: 0 };
        self.turns = vec![turns; servers.len()];
        self.groups = vec![Group::new(servers.len()); 2];
        self.passed_over = Vec::with_capacity(servers.len());
        for (server, turns) in self.turns.iter_mut().enumerate() {
            let group = &mut self.groups[usize::from(servers.is_backup(server))];
            turns.weight = servers.standing(server);
            group.weight_next += turns.weight;
            if turns.weight > 0 {
                group.queue_by_weight(turns, server as u16, group.fresh);
            }
        }
        for group in &mut self.groups {
            group.weight = group.weight_next;
            group.position = group.weight_next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Admin;
    use super::super::servers::fixture::weighted;
    use super::*;
    use proptest::prelude::*;

    fn start(servers: &Servers) -> RoundRobin {
        let mut balancer = RoundRobin::default();
        balancer.servers_changed(servers);
        balancer
    }

    fn picks(balancer: &mut RoundRobin, servers: &mut Servers, count: usize) -> Vec<u16> {
        let mut request = HaproxyRequest::new(0);
        (0..count).map(|_| balancer.pick(servers, &mut request).expect("a server").0).collect()
    }

    #[test]
    fn weights_five_one_one_are_not_spread_as_smoothly_as_nginx_spreads_them() {
        let mut servers = Servers::new(&weighted(&[5, 1, 1]), false, false);
        let mut balancer = start(&servers);
        assert_eq!(picks(&mut balancer, &mut servers, 7), [0, 0, 0, 1, 0, 0, 2]);
    }

    #[test]
    fn a_full_server_is_passed_over_and_an_avoided_one_taken_if_alone() {
        let mut lines = weighted(&[1, 1]);
        lines[0].maxconn = 1;
        let mut servers = Servers::new(&lines, false, false);
        let mut balancer = start(&servers);
        servers.take(ServerId(0));
        assert_eq!(picks(&mut balancer, &mut servers, 3), [1, 1, 1]);
        let mut request = HaproxyRequest { avoid: Some(ServerId(1)), ..HaproxyRequest::new(0) };
        assert_eq!(balancer.pick(&mut servers, &mut request), Some(ServerId(1)));
    }

    proptest! {
        #[test]
        fn every_cycle_gives_each_server_its_weight(weights in prop::collection::vec(1u32..20, 1..30)) {
            let mut servers = Servers::new(&weighted(&weights), false, false);
            let mut balancer = start(&servers);
            let cycle = weights.iter().sum::<u32>() as usize;
            let mut counts = vec![0; weights.len()];
            for _ in 0..50 {
                for pick in picks(&mut balancer, &mut servers, cycle) {
                    counts[usize::from(pick)] += 1;
                }
            }
            for (count, weight) in counts.iter().zip(&weights) {
                // Turns that fall on the seam of two rounds may be counted in either.
                prop_assert!(u32::abs_diff(*count, 50 * weight) <= weights.len() as u32, "{counts:?}");
            }
        }

        #[test]
        fn no_change_of_weights_or_states_loses_a_server_or_gives_one_that_is_out(
            weights in prop::collection::vec(0u32..=256, 1..8),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0u32..=256, 0u8..4, 0usize..40), 1..60),
        ) {
            let mut servers = Servers::new(&weighted(&weights), false, false);
            let mut balancer = start(&servers);
            for (server, weight, change, count) in changes {
                let server = ServerId::from_index(server.index(weights.len()));
                match change {
                    0 => drop(servers.set_weight(server, weight)),
                    1 => servers.set_admin(server, Admin::Drain),
                    2 => servers.set_admin(server, Admin::Ready),
                    _ => servers.set_up(server, weight % 2 == 0),
                }
                balancer.servers_changed(&servers);
                for _ in 0..count {
                    match balancer.pick(&mut servers, &mut HaproxyRequest::new(0)) {
                        Some(server) => prop_assert!(servers.in_group(server.index())),
                        None => prop_assert!(!servers.any_usable()),
                    }
                }
            }
        }
    }
}
