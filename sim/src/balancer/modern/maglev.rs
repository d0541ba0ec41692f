//! Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4).
//!
//! The table is filled as pseudocode 1 does. What the paper leaves open is done as Envoy does it
//! (`source/extensions/load_balancing_policies/maglev/maglev_lb.cc`, commit a6b64f4, `constructMaglevTableInternal`): servers
//! take turns in the order of their addresses; offset and skip are XXH64 of the address with seeds 0 and 1; a server of
//! lower weight takes part in proportionally fewer rounds; a retry looks up another hash. So for the same addresses the
//! table is Envoy's, and there is no separate `envoy.maglev`.
//!
//! Departures: the client's key is [`super::hash::client_key`]; when twenty retried hashes hit servers already tried in the
//! request, the first usable server in order of configuration is taken.

use super::hash::xxh64;
use super::slots::Member;
use super::twofold::Twofold;
use super::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, OptionVisitor, Reason};
use crate::ids::ServerId;

/// Largest table that Envoy allows (`table_size` in `maglev.proto`).
const TABLE_SIZE_MAX: u32 = 5_000_011;
/// Other hashes that a retry tries.
const REHASHES_MAX: u64 = 20;

/// The Maglev table.
///
/// Entries of any two servers of equal weight differ by at most one. When a server leaves, the others' entries move a
/// little too: about 0.2 to 2.5 % of the table at the sizes of the paper (`maglev.csv` among the tests).
#[derive(Clone, Debug)]
pub struct Maglev {
    /// Entries of the table; prime.
    table_size: u32,
    tables: Twofold<Box<[ServerId]>>,
}

impl Default for Maglev {
    fn default() -> Self {
        Self { table_size: 65_537, tables: Twofold::default() }
    }
}

impl Maglev {
    /// The owners of the table's entries with the servers that may be used now; empty if there are none.
    pub fn table(&self) -> &[ServerId] {
        self.tables.present().map_or(&[], |table| table)
    }
}

/// How a server goes through the table, and how often.
#[derive(Clone, Copy, Debug)]
struct Claimant {
    server: ServerId,
    /// Its next preference: `offset`, then `skip` further each time.
    next: u64,
    skip: u64,
    weight: u64,
    /// Weight to have gathered before the next turn, in units of the largest weight.
    target: u64,
}

/// Pseudocode 1, with turns by weight.
fn populate(mut claimants: Vec<Claimant>, size: u32) -> Box<[ServerId]> {
    if claimants.is_empty() {
        return Box::default();
    }
    let (size, largest) = (u64::from(size), claimants.iter().map(|c| c.weight).max().unwrap_or(1));
    let mut table: Vec<Option<ServerId>> = vec![None; size as usize];
    let mut free = size;
    for round in 1.. {
        for claimant in &mut claimants {
            if round * claimant.weight < claimant.target {
                continue;
            }
            claimant.target += largest;
            // Since the size is prime, a server's preferences go through the whole table.
            while table[claimant.next as usize].is_some() {
                claimant.next = (claimant.next + claimant.skip) % size;
            }
            table[claimant.next as usize] = Some(claimant.server);
            free -= 1;
            if free == 0 {
                return table.into_iter().flatten().collect();
            }
        }
    }
    unreachable!("the heaviest server fills the table in the end")
}

impl Balancer for Maglev {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        let table = self.tables.present().filter(|table| !table.is_empty())?;
        let entry = |key: u64| (key % table.len() as u64) as usize;
        let mut server = table[entry(request.key)];
        if request.tries() > 0 {
            // Envoy's `chooseHost` with an attempt number.
            let other = |attempt: u64| table[entry(request.key ^ attempt.wrapping_neg())];
            server = (0..=REHASHES_MAX)
                .map(other)
                .find(|&server| servers.passed_over(server, request).is_none())
                .or_else(|| servers.first_usable(request))?;
        } else if servers.is_as_configured() {
            request.reason = Reason::Hashed;
            return Some(server);
        }
        let home = self.tables.configured()?.get(entry(request.key)).copied();
        request.reason = servers.reason_of_hash(home, server, request);
        Some(server)
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        let size = self.table_size;
        self.tables.rebuild(servers, |members| {
            let mut members = members.to_vec();
            members.sort_by_key(|member| servers.address(member.server));
            let claimant = |member: &Member| {
                let address = servers.address(member.server).as_bytes();
                Claimant {
                    server: member.server,
                    next: xxh64(address, 0) % u64::from(size),
                    skip: xxh64(address, 1) % u64::from((size - 1).max(1)) + 1,
                    weight: member.weight.into(),
                    target: 0,
                }
            };
            populate(members.iter().map(claimant).collect(), size)
        });
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        visitor.prime("table_size", &mut self.table_size, TABLE_SIZE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{request, table_of};
    use super::*;
    use crate::balancer::Skipped;
    use crate::engine::SimTime;

    fn claimant(server: u16, offset: u64, skip: u64) -> Claimant {
        Claimant { server: ServerId(server), next: offset, skip, weight: 1, target: 0 }
    }

    fn owners(table: &[ServerId]) -> Vec<u16> {
        table.iter().map(|server| server.0).collect()
    }

    #[test]
    fn the_table_of_the_paper_comes_out() {
        // Table 1 of the paper: permutations 3 0 4 1 5 2 6, 0 2 4 6 1 3 5 and 3 4 5 6 0 1 2; then without B1.
        let [b0, b1, b2] = [claimant(0, 3, 4), claimant(1, 0, 2), claimant(2, 3, 1)];
        assert_eq!(owners(&populate(vec![b0, b1, b2], 7)), [1, 0, 1, 0, 2, 2, 0]);
        assert_eq!(owners(&populate(vec![b0, b2], 7)), [0, 0, 0, 0, 2, 2, 2]);
    }

    #[test]
    fn the_table_of_envoy_comes_out() {
        // `maglev_lb_test.cc`, test `Basic`: six hosts, table size 7.
        let servers = table_of((90..96).map(|port| (format!("127.0.0.1:{port}"), 1)));
        let mut maglev = Maglev { table_size: 7, ..Maglev::default() };
        maglev.servers_changed(&servers);
        assert_eq!(owners(maglev.table()), [2, 4, 0, 1, 5, 0, 3]);
    }

    #[test]
    fn a_server_of_twice_the_weight_owns_twice_the_entries() {
        let servers = table_of([("a:1".into(), 2), ("b:1".into(), 4), ("c:1".into(), 2)]);
        let mut maglev = Maglev { table_size: 1_009, ..Maglev::default() };
        maglev.servers_changed(&servers);
        let owned = |server| maglev.table().iter().filter(|&&owner| owner == ServerId(server)).count();
        assert!(owned(0).abs_diff(252) <= 1 && owned(1).abs_diff(504) <= 1 && owned(2).abs_diff(252) <= 1);
    }

    #[test]
    fn clients_whom_the_new_table_moves_know_why() {
        let mut servers = table_of((0..5).map(|i| (format!("10.0.0.{i}:80"), 1)));
        let mut maglev = Maglev { table_size: 251, ..Maglev::default() };
        maglev.servers_changed(&servers);
        let before = owners(maglev.table());
        servers.set_weight(SimTime::ZERO, ServerId(2), 0);
        maglev.servers_changed(&servers);
        let mut moved = 0;
        for key in 0..251 {
            let mut request = request(key);
            let server = maglev.pick(&mut servers, &mut request).expect("four are left").0;
            let expected = match before[key as usize] {
                2 => Reason::Rehashed(Skipped::OutOfService),
                home if home == server => Reason::Hashed,
                _ => {
                    moved += 1;
                    Reason::Rehashed(Skipped::TableRebuilt)
                }
            };
            assert_eq!(request.reason, expected);
        }
        assert!(moved > 0, "Maglev disturbs a few of the others");
    }
}
