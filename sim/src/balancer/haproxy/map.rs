//! The table of `hash-type map-based` and static-rr: every server as often as its weight says, spread evenly.
//!
//! HAProxy 2.6, `src/lb_map.c` (`recalc_server_map`, `map_get_server_rr`, `map_get_server_hash`).

use super::Servers;
use crate::ids::ServerId;

/// A table of servers, built anew at every change of the servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    /// One server for each unit of weight.
    table: Vec<u16>,
    /// Where round robin goes on; kept when the table is built anew.
    next: usize,
    /// Scratch: what each server has gathered.
    scores: Vec<i64>,
}

impl Map {
    /// Fills each place with the server that has gathered the largest share of its weight, the first of equals, and takes a
    /// full table's worth from it.
    pub(super) fn rebuild(&mut self, servers: &Servers) {
        let total = i64::from(servers.total_weight());
        self.table.clear();
        self.scores.clear();
        self.scores.resize(servers.len(), 0);
        for _ in 0..total {
            let mut best: Option<(usize, i64)> = None;
            for server in (0..servers.len()).filter(|&server| servers.in_group(server)) {
                self.scores[server] += i64::from(servers.standing(server));
                let share = (self.scores[server] + total) / total;
                if best.is_none_or(|(_, most)| share > most) {
                    best = Some((server, share));
                }
            }
            let Some((server, _)) = best else { return };
            self.scores[server] -= total;
            self.table.push(server as u16);
        }
    }

    /// The server that `hash` falls to.
    #[inline]
    pub(super) fn lookup(&self, hash: u32) -> Option<ServerId> {
        if self.table.is_empty() {
            return None;
        }
        Some(ServerId(self.table[hash as usize % self.table.len()]))
    }

    /// The next server in turn that has room; `avoid` only if no other has.
    #[inline]
    pub(super) fn next(&mut self, servers: &Servers, avoid: Option<ServerId>) -> Option<ServerId> {
        // A place behind the end stays there until it is needed: a table that grows meanwhile goes on at it.
        let start = if self.next < self.table.len() { self.next } else { 0 };
        let places = (start..self.table.len()).chain(0..start);
        let mut avoided = None;
        for place in places {
            let server = ServerId(self.table[place]);
            if servers.has_room(server) {
                if Some(server) != avoid {
                    self.next = place + 1;
                    return Some(server);
                }
                avoided = Some((server, place));
            }
        }
        let (server, place) = avoided?;
        self.next = place + 1;
        Some(server)
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &[u16] {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::super::servers::fixture::weighted;
    use super::*;
    use proptest::prelude::*;

    fn table(weights: &[u32]) -> Vec<u16> {
        let mut map = Map::default();
        map.rebuild(&Servers::new(&weighted(weights), true, false));
        map.table().to_vec()
    }

    #[test]
    fn equal_weights_take_turns_in_the_order_of_the_file() {
        assert_eq!(table(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(table(&[100, 100]), [0, 1]);
    }

    proptest! {
        #[test]
        fn every_server_has_as_many_places_as_weight(weights in prop::collection::vec(1u32..40, 1..20)) {
            let servers = Servers::new(&weighted(&weights), true, false);
            let table = table(&weights);
            prop_assert_eq!(table.len(), servers.total_weight() as usize);
            prop_assert_eq!(table[0], 0, "the first place is the first server's");
            for server in 0..weights.len() {
                let places = table.iter().filter(|&&owner| usize::from(owner) == server).count();
                prop_assert_eq!(places, servers.standing(server) as usize);
            }
        }
    }

    #[test]
    fn round_robin_avoids_a_server_only_while_another_has_room() {
        let mut lines = weighted(&[1, 1]);
        lines[1].maxconn = 1;
        let mut servers = Servers::new(&lines, true, false);
        let mut map = Map::default();
        map.rebuild(&servers);
        assert_eq!(map.next(&servers, Some(ServerId(0))), Some(ServerId(1)));
        servers.take(ServerId(1));
        assert_eq!(map.next(&servers, Some(ServerId(0))), Some(ServerId(0)));
    }
}
