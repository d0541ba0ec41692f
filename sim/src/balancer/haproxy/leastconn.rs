//! `leastconn`: the server with the least requests in flight for its weight.
//!
//! HAProxy 2.6, `src/lb_fwlc.c`. Servers are sorted by requests served and queued, one more, over the weight; an idle
//! server comes before all others, whatever its weight. A server goes behind its equals whenever its load changes, so idle
//! servers take turns.

use super::servers::Group;
use super::tree::Tree;
use super::{HaproxyRequest, Servers, WEIGHT_MAX};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// Largest effective weight, the scale of the sorting key.
const SCALE: u32 = 16 * WEIGHT_MAX;

/// Where a server is in its tree.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// The key that it is sorted by.
    key: u32,
    /// Effective weight while usable, else 0.
    weight: u32,
}

/// Least connections.
#[derive(Clone, Debug, Default)]
pub struct LeastConn {
    standings: Vec<Standing>,
    /// Servers that are no backups, then backups.
    trees: Vec<Tree>,
}

fn key(servers: &Servers, server: usize, weight: u32) -> u32 {
    match servers.in_flight(server) {
        0 => 0,
        in_flight => (in_flight + 1).wrapping_mul(SCALE) / weight,
    }
}

/// Whether it has room: unlike other algorithms, this one does not ask who waits first.
fn has_room(servers: &Servers, server: usize) -> bool {
    servers.takes_more(server)
}

impl Balancer for LeastConn {
    type Servers = Servers;
    type Request = HaproxyRequest;

    fn pick(&mut self, servers: &mut Servers, request: &mut HaproxyRequest) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        let tree = match servers.group() {
            Group::Nobody => return None,
            Group::FirstBackup(first) => return Some(ServerId(first)),
            Group::Balanced { backups } => &self.trees[usize::from(backups)],
        };
        let mut avoided = None;
        for server in tree.iter().filter(|&server| has_room(servers, server.into())) {
            if request.avoid != Some(ServerId(server)) {
                return Some(ServerId(server));
            }
            avoided = Some(ServerId(server));
        }
        avoided
    }

    fn load_changed(&mut self, servers: &Servers, server: ServerId) {
        let standing = &mut self.standings[server.index()];
        if standing.weight == 0 {
            return;
        }
        let now = key(servers, server.index(), standing.weight);
        if now != standing.key {
            let tree = &mut self.trees[usize::from(servers.is_backup(server.index()))];
            tree.remove(standing.key, server.0);
            tree.insert(now, server.0);
            standing.key = now;
        }
    }

    fn servers_changed(&mut self, servers: &Servers) {
        if self.trees.is_empty() {
            self.trees = vec![Tree::new(servers.len()), Tree::new(servers.len())];
            self.standings = vec![Standing::default(); servers.len()];
        }
        for (server, standing) in self.standings.iter_mut().enumerate() {
            let weight = servers.standing(server);
            if weight == standing.weight {
                continue;
            }
            let tree = &mut self.trees[usize::from(servers.is_backup(server))];
            if standing.weight > 0 {
                tree.remove(standing.key, server as u16);
            }
            if weight > 0 {
                standing.key = key(servers, server, weight);
                tree.insert(standing.key, server as u16);
            }
            standing.weight = weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::servers::fixture::weighted;
    use super::*;

    fn start(servers: &Servers) -> LeastConn {
        let mut balancer = LeastConn::default();
        balancer.servers_changed(servers);
        balancer
    }

    /// A request that stays.
    fn hold(balancer: &mut LeastConn, servers: &mut Servers) -> u16 {
        let server = balancer.pick(servers, &mut HaproxyRequest::new(0)).expect("a server");
        servers.take(server);
        balancer.load_changed(servers, server);
        server.0
    }

    #[test]
    fn idle_servers_take_turns_whatever_their_weights() {
        let mut servers = Servers::new(&weighted(&[1, 5, 1]), false, false);
        let mut balancer = start(&servers);
        let mut picks = Vec::new();
        for _ in 0..5 {
            let server = hold(&mut balancer, &mut servers);
            picks.push(server);
            servers.give_back(ServerId(server));
            balancer.load_changed(&servers, ServerId(server));
        }
        assert_eq!(picks, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn requests_that_stay_are_held_in_proportion_to_the_weights() {
        let mut servers = Servers::new(&weighted(&[1, 2, 3]), false, false);
        let mut balancer = start(&servers);
        let mut held = [0; 3];
        for _ in 0..60 {
            held[usize::from(hold(&mut balancer, &mut servers))] += 1;
        }
        assert_eq!(held, [10, 20, 30]);
    }

    #[test]
    fn a_full_server_is_skipped_and_nobody_is_picked_when_all_are_full() {
        let mut lines = weighted(&[1, 1]);
        (lines[0].maxconn, lines[1].maxconn) = (1, 2);
        let mut servers = Servers::new(&lines, false, false);
        let mut balancer = start(&servers);
        let picks = [0; 3].map(|_| hold(&mut balancer, &mut servers));
        assert_eq!(picks, [0, 1, 1]);
        assert_eq!(balancer.pick(&mut servers, &mut HaproxyRequest::new(0)), None);
    }
}
