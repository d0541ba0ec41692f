//! Who is at which server: a fault touches those who are there, however many are elsewhere.

use crate::ids::ServerId;
use crate::table::Column;

/// Entries of a list before it is tidied for the first time.
const ROOM: usize = 64;

/// What is at the servers, by kind: slots of requests, connections of directors, and exchanges that are held. Kept only in runs
/// with faults.
#[derive(Debug)]
pub(super) struct Rosters {
    /// Requests in servers.
    pub requests: Roster,
    /// Connections that a director sends to them.
    pub connections: Roster,
    /// Tabs with an exchange that stays open.
    pub tabs: Roster,
}

impl Rosters {
    /// Nobody is anywhere.
    pub fn new(servers: usize) -> Self {
        let roster = || Roster { lists: Column::from_vec(vec![List::default(); servers]) };
        Self { requests: roster(), connections: roster(), tabs: roster() }
    }
}

/// Slots by server. Who comes is noted; who has left is found out when a list has doubled, so that leaving costs nothing.
#[derive(Debug)]
pub(super) struct Roster {
    lists: Column<ServerId, List>,
}

#[derive(Clone, Debug, Default)]
struct List {
    slots: Vec<u32>,
    /// Entries after the last time that it was tidied.
    tidied: usize,
}

impl Roster {
    /// A slot comes to a server; `is_here` tells of slots whether they still are.
    #[inline]
    pub fn note(&mut self, server: ServerId, slot: u32, is_here: impl Fn(u32) -> bool) {
        let list = &mut self.lists[server];
        if list.slots.len() >= 2 * list.tidied.max(ROOM) {
            list.tidy(is_here);
        }
        list.slots.push(slot);
    }

    /// Who is at a server now, in the order of slots.
    pub fn present(&mut self, server: ServerId, is_here: impl Fn(u32) -> bool) -> Vec<u32> {
        let list = &mut self.lists[server];
        list.tidy(is_here);
        list.slots.clone()
    }
}

impl List {
    #[cold]
    fn tidy(&mut self, is_here: impl Fn(u32) -> bool) {
        self.slots.retain(|&slot| is_here(slot));
        self.slots.sort_unstable();
        self.slots.dedup();
        self.tidied = self.slots.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_knows_who_is_there_and_forgets_who_left() {
        let mut rosters = Rosters::new(2);
        let mut at = vec![1_u16; 1_000];
        for round in 0..100_u32 {
            for slot in 0..1_000 {
                let server = u16::from((slot + round).is_multiple_of(7));
                at[slot as usize] = server;
                rosters.requests.note(ServerId(server), slot, |slot| at[slot as usize] == server);
            }
        }
        let at_end = |slot: u32| u16::from((slot + 99).is_multiple_of(7));
        for server in [0, 1] {
            let wanted: Vec<u32> = (0..1_000).filter(|&slot| at_end(slot) == server).collect();
            let list = &rosters.requests.lists[ServerId(server)];
            assert!(list.slots.len() <= 2 * wanted.len().max(ROOM) + 1, "{}", list.slots.len());
            assert_eq!(rosters.requests.present(ServerId(server), |slot| at_end(slot) == server), wanted);
        }
    }
}
