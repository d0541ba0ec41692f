//! Properties of every method of the catalogue.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

fn methods() -> impl Iterator<Item = NginxMethod> {
    NginxMethod::ENTRIES.iter().map(|entry| NginxMethod::by_name(entry.name).expect("in the catalogue"))
}

fn addressed(mut servers: Vec<NginxServer>) -> Vec<NginxServer> {
    for (i, server) in servers.iter_mut().enumerate() {
        server.address = format!("10.0.{}.{}:80", i / 256, i % 256);
    }
    servers
}

fn any_servers() -> impl Strategy<Value = Vec<NginxServer>> {
    let server = (1u32..9, 0u32..3, 0u64..4, 0u32..3, any::<bool>(), any::<bool>());
    let server = server.prop_map(|(weight, max_fails, fail_timeout_s, max_conns, down, backup)| {
        NginxServer { weight, max_fails, fail_timeout_s, max_conns, down, backup, ..NginxServer::default() }
    });
    prop::collection::vec(server, 1..80).prop_map(|servers| {
        let mut servers = addressed(servers);
        servers[0].backup = false;
        servers
    })
}

/// A method, its peers, and what an outsider keeps count of.
struct Upstream {
    method: NginxMethod,
    peers: Peers,
    conns: Vec<u32>,
    requests: u64,
}

impl Upstream {
    fn new(method: &NginxMethod, servers: &[NginxServer]) -> Self {
        let peers = Peers::new(servers);
        let mut method = method.clone();
        method.servers_changed(&peers);
        Self { method, peers, conns: vec![0; servers.len()], requests: 0 }
    }

    /// A request of a client and key that `number` stands for.
    fn begin(&mut self, number: u32, now_s: u64) -> RequestState {
        let mut request = self.peers.begin(IpAddr::from(number.to_be_bytes()));
        request.set_key(&number.to_be_bytes());
        request.set_number(self.requests);
        request.set_clock(now_s);
        self.requests += 1;
        request
    }

    fn pick(&mut self, request: &mut RequestState) -> Option<ServerId> {
        let server = self.method.pick(&mut self.peers, request)?;
        self.conns[server.index()] += 1;
        Some(server)
    }

    fn end(&mut self, request: &mut RequestState, server: ServerId, failed: bool) {
        self.peers.end_try(request, failed);
        self.method.ended(&self.peers, request);
        self.conns[server.index()] -= 1;
    }
}

proptest! {
    #[test]
    fn no_sequence_makes_a_method_pick_a_server_that_is_down_full_or_tried(
        servers in any_servers(),
        inputs in prop::collection::vec((any::<u8>(), any::<u32>(), 0u64..3), 1..120),
    ) {
        for method in methods() {
            let mut servers = servers.clone();
            if !method.takes_backup() {
                servers.iter_mut().for_each(|server| server.backup = false);
            }
            if !method.takes_max_conns() {
                servers.iter_mut().for_each(|server| server.max_conns = 0);
            }
            let mut upstream = Upstream::new(&method, &servers);
            let mut open: Vec<(RequestState, Vec<ServerId>)> = Vec::new();
            let mut now_s = 1_000;
            for &(input, number, seconds) in &inputs {
                now_s += seconds;
                let (mut request, mut tried) = if input % 2 == 0 || open.is_empty() {
                    (upstream.begin(number, now_s), Vec::new())
                } else {
                    let (mut request, tried) = open.swap_remove(number as usize % open.len());
                    request.set_clock(now_s);
                    upstream.end(&mut request, tried[tried.len() - 1], input % 4 == 1);
                    if request.tries() == 0 || input % 4 == 3 {
                        upstream.peers.finish(&request);
                        continue;
                    }
                    (request, tried)
                };
                let Some(server) = upstream.pick(&mut request) else {
                    // Nobody is passed over who could have served: with neither failures nor limits all would be usable.
                    let usable = |(id, server): (usize, &NginxServer)| {
                        !server.down
                            && server.max_conns == 0
                            && server.max_fails == 0
                            && !tried.contains(&ServerId::from_index(id))
                    };
                    prop_assert!(!servers.iter().enumerate().any(usable), "{}", method.name());
                    upstream.peers.finish(&request);
                    continue;
                };
                let line = &servers[server.index()];
                let takes_its_only_one = servers.len() == 1 && matches!(method, NginxMethod::Fair(_));
                prop_assert!(!line.down || takes_its_only_one, "{}", method.name());
                prop_assert!(!tried.contains(&server), "{}", method.name());
                let conns = upstream.conns[server.index()];
                prop_assert!(line.max_conns == 0 || conns <= line.max_conns, "{}", method.name());
                prop_assert_ne!(request.reason(), Reason::NoneUsable);
                tried.push(server);
                open.push((request, tried));
            }
        }
    }

    #[test]
    fn equal_inputs_give_equal_answers(servers in any_servers(), numbers: [u32; 30]) {
        for method in methods() {
            let run = || {
                let mut upstream = Upstream::new(&method, &servers);
                numbers.map(|number| {
                    let mut request = upstream.begin(number, 1);
                    (upstream.pick(&mut request), request.reason())
                })
            };
            prop_assert_eq!(run(), run(), "{}", method.name());
        }
    }

    #[test]
    fn marking_one_server_down_leaves_the_hashed_keys_of_the_others(down in 0usize..6, number: u32) {
        for name in ["ip_hash", "hash", "hash_consistent"] {
            let method = NginxMethod::by_name(name).expect("in the catalogue");
            let up = addressed(vec![NginxServer::default(); 6]);
            let mut marked = up.clone();
            marked[down].down = true;
            let home = |servers: &[NginxServer]| {
                let mut upstream = Upstream::new(&method, servers);
                let mut request = upstream.begin(number, 1);
                upstream.pick(&mut request)
            };
            let (before, after) = (home(&up), home(&marked));
            if before == Some(ServerId::from_index(down)) {
                prop_assert_ne!(before, after);
            } else {
                prop_assert_eq!(before, after);
            }
        }
    }
}

/// Idle servers of weights 1, 2 and 3, over 30,000 requests of as many clients and keys. The tolerance covers the luck of the
/// ring, on which the lightest share has a standard deviation of about 1 / sqrt(160) of itself, 8 %.
#[test]
fn shares_approach_the_weights_or_what_the_method_makes_of_them() {
    let servers = [1, 2, 3].map(|weight| NginxServer { weight, ..NginxServer::default() });
    let servers = addressed(servers.to_vec());
    for method in methods() {
        let expected = match method {
            // Of the second draw: sum over the first one's chance times that of the second among the others.
            NginxMethod::RandomTwo(_) => [0.25, 0.4, 0.35],
            // Weights matter among busy servers only.
            NginxMethod::Fair(_) => [1.0 / 3.0; 3],
            _ => [1.0, 2.0, 3.0].map(|weight| weight / 6.0),
        };
        let mut upstream = Upstream::new(&method, &servers);
        let mut counts = [0_u32; 3];
        for number in 0..30_000_u32 {
            // Consecutive numbers would be consecutive networks, which ip_hash spreads too evenly to test anything.
            let mut request = upstream.begin(number.wrapping_mul(0x9e37_79b1), 1);
            let server = upstream.pick(&mut request).expect("all are usable");
            counts[server.index()] += 1;
            upstream.end(&mut request, server, false);
        }
        for (count, share) in counts.iter().zip(expected) {
            let got = f64::from(*count) / 30_000.0;
            assert!((got - share).abs() < 0.15 * share, "{}: {counts:?}", method.name());
        }
    }
}
