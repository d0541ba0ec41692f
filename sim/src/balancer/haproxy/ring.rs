//! The ring of `hash-type consistent` and of `random`: many nodes for each server, scattered over 32 bits.
//!
//! HAProxy 2.6, `src/lb_chash.c` (`chash_queue_dequeue_srv`, `chash_get_server_hash`, `chash_get_next_server`,
//! `chash_server_is_eligible`).

use super::Servers;
use super::functions::avalanche;
use super::servers::Group;
use crate::ids::ServerId;

/// Distance between the numbers of two servers' first nodes.
const NODES_MAX: u32 = 4_096;

/// One node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    key: u32,
    server: u16,
    /// Its number among the server's nodes; a lighter server loses the highest.
    number: u16,
}

/// Active servers and backups have a ring each, and a server has as many nodes as effective weight.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    /// Nodes of the servers that are no backups, and of the backups, by key; equal ones in the order of their insertion.
    nodes: [Vec<Node>; 2],
    /// The node that round robin gave last: the ring, and the place on it. There is one for both rings.
    last: Option<(usize, usize)>,
    /// Nodes of each server.
    seen: Vec<u32>,
    /// Nodes of each server for which there is room: those of its configured weight, or of the greatest that it has had.
    room: Vec<u32>,
}

/// A server found on the ring.
pub(super) struct Found {
    pub(super) server: ServerId,
    /// Whether it is the server next to the hash, none having been passed over.
    pub(super) nearest: bool,
}

impl Ring {
    /// Adds and removes the nodes of servers whose standing changed.
    pub(super) fn update(&mut self, servers: &Servers) {
        self.seen.resize(servers.len(), 0);
        for server in self.room.len()..servers.len() {
            self.room.push(servers.initial_effective_weight(server));
        }
        for server in 0..servers.len() {
            let (mut before, now) = (self.seen[server], servers.standing(server));
            self.seen[server] = now;
            let group = usize::from(servers.is_backup(server));
            if now > self.room[server] {
                // The program makes room by taking all of the server's nodes out and putting them in again.
                self.room[server] = now;
                self.remove(group, server as u16, 0);
                before = 0;
            }
            if now < before {
                self.remove(group, server as u16, now);
            } else if now > before {
                self.insert(group, server as u16, servers.id(server), before..now);
            }
        }
    }

    fn remove(&mut self, group: usize, server: u16, keep: u32) {
        let nodes = &mut self.nodes[group];
        let gone = |node: &Node| node.server == server && u32::from(node.number) >= keep;
        if let Some((of, last)) = self.last
            && of == group
        {
            // If it goes, the next one that stays takes its place as the node given last, and so misses a turn.
            let stays = |&place: &usize| !gone(&nodes[place]);
            let last = (last..nodes.len()).chain(0..last).find(stays);
            let left = |place: usize| nodes[..place].iter().filter(|node| !gone(node)).count();
            self.last = last.map(|place| (group, left(place)));
        }
        nodes.retain(|node| !gone(node));
    }

    fn insert(&mut self, group: usize, server: u16, id: u32, numbers: std::ops::Range<u32>) {
        let nodes = &mut self.nodes[group];
        let last = self.last.filter(|&(of, _)| of == group).map(|(_, place)| nodes[place]);
        nodes.extend(numbers.map(|number| Node {
            key: avalanche(id.wrapping_mul(NODES_MAX).wrapping_add(number)),
            server,
            number: number as u16,
        }));
        // Stable: a new node comes behind an old one with the same key.
        nodes.sort_by_key(|node| node.key);
        if let Some(last) = last {
            self.last = nodes.iter().position(|&node| node == last).map(|place| (group, place));
        }
    }

    /// The server nearest to `hash`, or the next one on the ring that is not to be avoided and, with a balance factor
    /// other than 0, is below its bound.
    #[inline]
    pub(super) fn lookup(
        &self,
        servers: &Servers,
        hash: u32,
        avoid: Option<ServerId>,
        balance_factor: u32,
    ) -> Option<Found> {
        let group = match servers.group() {
            Group::Nobody => return None,
            Group::FirstBackup(first) => return Some(Found { server: ServerId(first), nearest: true }),
            Group::Balanced { backups } => usize::from(backups),
        };
        let nodes = &self.nodes[group];
        let after = nodes.partition_point(|node| node.key < hash);
        let after = if after == nodes.len() { 0 } else { after };
        let before = after.checked_sub(1).unwrap_or(nodes.len() - 1);
        let nearer_before = hash.wrapping_sub(nodes[before].key) <= nodes[after].key.wrapping_sub(hash);
        let nearest = if nearer_before { before } else { after };
        let mut place = nearest;
        let mut wrapped = false;
        loop {
            let server = ServerId(nodes[place].server);
            let refused = Some(server) == avoid
                || balance_factor != 0 && !below_bound(servers, server.index(), balance_factor);
            if !refused {
                return Some(Found { server, nearest: place == nearest });
            }
            place += 1;
            if place == nodes.len() {
                place = 0;
                if wrapped {
                    // Everybody was asked: the last one has to do.
                    return Some(Found { server, nearest: false });
                }
                wrapped = true;
            }
        }
    }

    /// The server of the node behind the one given last that has room; `avoid` only if no other has.
    ///
    /// If that node is a backup's and other servers have come back, the backups behind it are given first: the program
    /// goes on behind the node without asking on which ring it is. It would search for ever if nobody had room then; here
    /// the search ends when everybody was asked.
    pub(super) fn next(&mut self, servers: &Servers, avoid: Option<ServerId>) -> Option<ServerId> {
        let group = match servers.group() {
            Group::Nobody => return None,
            Group::FirstBackup(first) => return Some(ServerId(first)),
            Group::Balanced { backups } => usize::from(backups),
        };
        let mut stop = self.last.filter(|&(of, _)| of == group);
        let mut avoided = None;
        loop {
            let node = match self.last {
                Some((of, last)) if last + 1 < self.nodes[of].len() => (of, last + 1),
                _ => (group, 0),
            };
            self.last = Some(node);
            let server = ServerId(self.nodes[node.0][node.1].server);
            if servers.has_room(server) {
                if Some(server) != avoid {
                    return Some(server);
                }
                avoided = Some((server, node));
            }
            if node.0 == group && *stop.get_or_insert(node) == node {
                self.last = avoided.map(|(_, node)| node);
                return avoided.map(|(server, _)| server);
            }
        }
    }
}

/// Whether a server may take another request under `hash-balance-factor`: the places for all requests, this one
/// included, times the factor are dealt out by weight.
fn below_bound(servers: &Servers, server: usize, balance_factor: u32) -> bool {
    let places = (servers.served_all() + 1).wrapping_mul(balance_factor).wrapping_add(99) / 100;
    let total = servers.total_weight();
    let (each, rest) = (places / total, places % total);
    let (weight, before) = (servers.standing(server), servers.weight_before(server));
    let upto = |weight: u32| weight.wrapping_mul(rest) / total;
    let share = weight.wrapping_mul(each).wrapping_add(upto(before + weight)).wrapping_sub(upto(before));
    servers.served(server) < share.max(1)
}

#[cfg(test)]
mod tests {
    use super::super::servers::fixture::weighted;
    use super::*;
    use proptest::prelude::*;

    fn ring(servers: &Servers) -> Ring {
        let mut ring = Ring::default();
        ring.update(servers);
        ring
    }

    fn home(ring: &Ring, servers: &Servers, hash: u32) -> ServerId {
        ring.lookup(servers, hash, None, 0).expect("a server").server
    }

    proptest! {
        #[test]
        fn losing_a_server_moves_only_its_own_keys_and_they_come_back(
            weights in prop::collection::vec(1u32..10, 2..8),
            lost in any::<prop::sample::Index>(),
            hashes in prop::collection::vec(any::<u32>(), 50),
        ) {
            let lost = ServerId::from_index(lost.index(weights.len()));
            let mut servers = Servers::new(&weighted(&weights), false, false);
            let mut ring = ring(&servers);
            let before: Vec<_> = hashes.iter().map(|&hash| home(&ring, &servers, hash)).collect();
            servers.set_up(lost, false);
            ring.update(&servers);
            for (&hash, &before) in hashes.iter().zip(&before) {
                let now = home(&ring, &servers, hash);
                prop_assert_ne!(now, lost);
                // The closer of two neighbours is taken, so a key may also move to a node that has become its neighbour; not
                // if its own node was the closer one and is still there.
                prop_assert!(now == before || before == lost);
            }
            servers.set_up(lost, true);
            ring.update(&servers);
            let after: Vec<_> = hashes.iter().map(|&hash| home(&ring, &servers, hash)).collect();
            prop_assert_eq!(after, before);
        }

        #[test]
        fn the_bound_holds_for_every_server(
            weights in prop::collection::vec(1u32..5, 2..6),
            hashes in prop::collection::vec(any::<u32>(), 1..100),
            balance_factor in 110u32..300,
        ) {
            let mut servers = Servers::new(&weighted(&weights), false, false);
            let ring = ring(&servers);
            for hash in hashes {
                let server = ring.lookup(&servers, hash, None, balance_factor).expect("a server").server;
                servers.take(server);
                let share = f64::from(servers.standing(server.index())) / f64::from(servers.total_weight());
                let bound = f64::from(servers.served_all() * balance_factor) / 100.0 * share;
                // Places are whole: rounding up all of them and the parts may each add one.
                prop_assert!(f64::from(servers.served(server.index())) <= bound + 2.0);
            }
        }
    }

    #[test]
    fn a_server_to_avoid_is_given_when_it_is_the_only_one() {
        let servers = Servers::new(&weighted(&[1]), false, false);
        let found = ring(&servers).lookup(&servers, 7, Some(ServerId(0)), 0).expect("a server");
        assert_eq!(found.server, ServerId(0));
    }

    #[test]
    fn a_node_that_is_gone_costs_the_next_one_its_turn() {
        let mut servers = Servers::new(&weighted(&[1, 1, 1]), false, false);
        let mut ring = ring(&servers);
        let order: Vec<_> = ring.nodes[0].iter().map(|node| node.server).collect();
        let gone = ServerId(order[0]);
        assert_eq!(ring.next(&servers, None), Some(gone));
        servers.set_admin(gone, super::super::Admin::Maint);
        ring.update(&servers);
        let mut left = order.iter().filter(|&&server| server != gone.0);
        left.next();
        assert_eq!(ring.next(&servers, None), left.next().map(|&server| ServerId(server)));
    }

    #[test]
    fn more_weight_than_ever_takes_a_servers_nodes_out_for_a_moment() {
        let mut servers = Servers::new(&weighted(&[1, 1]), false, false);
        let mut ring = ring(&servers);
        let heavy = ring.next(&servers, None).expect("a server");
        let last =
            |ring: &Ring| ring.last.map(|(group, place)| ring.nodes[group][place]).expect("one was given");
        servers.set_weight(heavy, 3);
        ring.update(&servers);
        assert_ne!(last(&ring).server, heavy.0, "the node given last was taken out");
        // From now on there is room, and a node that stays is not moved.
        while last(&ring).server != heavy.0 || u32::from(last(&ring).number) >= 16 {
            ring.next(&servers, None);
        }
        let node = last(&ring);
        for weight in [2, 3] {
            servers.set_weight(heavy, weight);
            ring.update(&servers);
            assert_eq!(last(&ring), node, "weight {weight}");
        }
    }

    #[test]
    fn backups_finish_their_ring_when_the_others_come_back() {
        use super::super::Admin::{Maint, Ready};
        let mut list = weighted(&[1, 1, 1]);
        (list[1].backup, list[2].backup) = (true, true);
        let mut servers = Servers::new(&list, false, true);
        let mut ring = ring(&servers);
        servers.set_admin(ServerId(0), Maint);
        ring.update(&servers);
        let backups: Vec<_> = ring.nodes[1].iter().map(|node| ServerId(node.server)).collect();
        assert_eq!(ring.next(&servers, None), Some(backups[0]));
        servers.set_admin(ServerId(0), Ready);
        ring.update(&servers);
        for &backup in &backups[1..] {
            assert_eq!(ring.next(&servers, None), Some(backup));
        }
        assert_eq!(ring.next(&servers, None), Some(ServerId(0)));
    }
}
