//! What holds for every algorithm of a layer 7 proxy, and what holds for those that claim it.

use super::*;
use crate::balancer::envoy::EnvoyMethod;
use crate::balancer::{Balancer, Reason, Skipped};
use crate::engine::{SimDuration, SimTime, Stream};
use crate::ids::{ServerId, StreamId};
use proptest::prelude::*;

/// A table of servers by address and weight, with a random stream and an ejection after two failures, for 10 s.
pub fn table_of(servers: impl IntoIterator<Item = (String, u32)>) -> ProxyServers {
    let servers: Vec<_> =
        servers.into_iter().map(|(address, weight)| ProxyServer { address, weight }).collect();
    let ejection = Ejection { failures: 2, time: SimDuration::from_secs(10) };
    ProxyServers::new(&servers, ejection, Stream::new(7, 0, StreamId::Balancer), 0)
}

/// A request whose key is `key`.
pub fn request(key: u64) -> ProxyRequest {
    ProxyRequest::new(key, 0, SimTime::ZERO)
}

/// Request number `number`, from a client of its own.
pub fn numbered(number: u64) -> ProxyRequest {
    ProxyRequest::new(hash::mix(number), number, SimTime::ZERO)
}

/// Any algorithm.
#[derive(Clone, Debug)]
enum Any {
    Modern(ModernMethod),
    Envoy(EnvoyMethod),
}

impl Any {
    fn all() -> Vec<Self> {
        let modern = ModernMethod::ENTRIES.iter().filter_map(|entry| ModernMethod::by_name(entry.name));
        let envoy = EnvoyMethod::ENTRIES.iter().filter_map(|entry| EnvoyMethod::by_name(entry.name));
        modern.map(Self::Modern).chain(envoy.map(Self::Envoy)).collect()
    }

    fn named(name: &str) -> Self {
        Self::Modern(ModernMethod::by_name(name).expect("in the catalogue"))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Modern(method) => method.name(),
            Self::Envoy(method) => method.name(),
        }
    }

    fn is_hash(&self) -> bool {
        !["random", "power_of_d", "peak_ewma", "prequal", "least_request"].contains(&self.name())
    }

    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        match self {
            Self::Modern(method) => method.pick(servers, request),
            Self::Envoy(method) => method.pick(servers, request),
        }
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        match self {
            Self::Modern(method) => method.servers_changed(servers),
            Self::Envoy(method) => method.servers_changed(servers),
        }
    }

    fn ended(&mut self, servers: &ProxyServers, request: &ProxyRequest) {
        match self {
            Self::Modern(method) => method.ended(servers, request),
            Self::Envoy(method) => method.ended(servers, request),
        }
    }
}

fn equal(count: usize) -> ProxyServers {
    table_of((0..count).map(|i| (format!("10.0.{}.{}:80", i / 250, i % 250), 1)))
}

/// Where `keys` clients go, each alone.
fn homes(method: &mut Any, servers: &mut ProxyServers, keys: u64) -> Vec<ServerId> {
    (0..keys).map(|key| method.pick(servers, &mut numbered(key)).expect("some are usable")).collect()
}

/// What happens to a table of servers.
#[derive(Clone, Debug)]
enum Step {
    Open { key: u64 },
    End { which: usize, answered: bool },
    Abort { which: usize },
    Weight { server: u16, weight: u32 },
    Removed { server: u16, removed: bool },
    Wait { seconds: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u64>().prop_map(|key| Step::Open { key }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, answered)| Step::End { which, answered }),
        1 => any::<usize>().prop_map(|which| Step::Abort { which }),
        1 => (0_u16..12, 0_u32..5).prop_map(|(server, weight)| Step::Weight { server, weight }),
        1 => (0_u16..12, any::<bool>()).prop_map(|(server, removed)| Step::Removed { server, removed }),
        1 => (0_u64..8).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// Plays `steps`; the servers picked and the reasons.
fn play(mut method: Any, weights: &[u32], steps: &[Step]) -> Vec<(Option<ServerId>, Reason)> {
    let mut servers = table_of(weights.iter().enumerate().map(|(i, &weight)| (format!("s{i}:80"), weight)));
    method.servers_changed(&servers);
    let mut now = SimTime::ZERO;
    let mut open: Vec<ProxyRequest> = Vec::new();
    let mut picks = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        if servers.readmit(now) {
            method.servers_changed(&servers);
        }
        let mut retry = None;
        match *step {
            Step::Open { key } => retry = Some(ProxyRequest::new(key, number as u64, now)),
            Step::End { which, answered } if !open.is_empty() => {
                let mut request = open.swap_remove(which % open.len());
                request.set_clock(now);
                let changed = servers.end_try(&request, answered);
                method.ended(&servers, &request);
                if changed {
                    method.servers_changed(&servers);
                }
                retry = (!answered && request.tries() < TRIES_MAX).then_some(request);
            }
            Step::Abort { which } if !open.is_empty() => {
                servers.abort_try(&open.swap_remove(which % open.len()));
            }
            Step::Weight { server, weight } => {
                servers.set_weight(now, ServerId(server), weight);
                method.servers_changed(&servers);
            }
            Step::Removed { server, removed } => {
                servers.set_removed(now, ServerId(server), removed);
                method.servers_changed(&servers);
            }
            Step::Wait { seconds } => now = now + SimDuration::from_secs(seconds),
            Step::End { .. } | Step::Abort { .. } => {}
        }
        let Some(mut request) = retry else { continue };
        let picked = method.pick(&mut servers, &mut request);
        picks.push((picked, request.reason()));
        match picked {
            Some(server) => {
                assert_eq!(
                    servers.passed_over(server, &request),
                    None,
                    "{} picked {server:?}",
                    method.name()
                );
                servers.begin_try(&mut request, server);
                open.push(request);
            }
            None => assert_eq!(servers.first_usable(&request), None, "{} gave up too early", method.name()),
        }
        let in_flight: u64 =
            (0..servers.len()).map(|s| u64::from(servers.in_flight(ServerId::from_index(s)))).sum();
        assert_eq!((in_flight, open.len() as u64), (servers.in_flight_total(), servers.in_flight_total()));
    }
    picks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Any sequence of inputs, for every algorithm: no panic, a server that is out or was tried is not picked, one is
    /// picked whenever there is one, and equal inputs give equal answers.
    #[test]
    fn whatever_happens_only_usable_servers_are_picked_and_always_one(
        weights in prop::collection::vec(0_u32..5, 1..12),
        steps in prop::collection::vec(any_step(), 1..120),
    ) {
        for method in Any::all() {
            let picks = play(method.clone(), &weights, &steps);
            prop_assert_eq!(picks, play(method, &weights, &steps));
        }
    }
}

#[test]
fn hashes_say_hashed_and_others_scheduled() {
    let mut servers = equal(6);
    for mut method in Any::all() {
        method.servers_changed(&servers);
        let mut first = numbered(1);
        method.pick(&mut servers, &mut first);
        let expected = if method.is_hash() { Reason::Hashed } else { Reason::Scheduled { tie: false } };
        assert_eq!(first.reason(), expected, "{}", method.name());
    }
}

#[test]
fn a_client_stays_where_its_hash_points_while_nothing_changes() {
    let mut servers = equal(9);
    for mut method in Any::all().into_iter().filter(Any::is_hash) {
        method.servers_changed(&servers);
        let again = homes(&mut method, &mut servers, 300);
        assert_eq!(homes(&mut method, &mut servers, 300), again);
    }
}

/// Shares of 60,000 clients on servers of weights 1, 2, 3 and 4. The tolerances are five standard deviations: of the
/// sampling of clients, and for rings of a share, `sqrt((n - 1) / (n k + 1))` with k points per unit of weight. Prequal does
/// not claim it: three of four servers are probed, whatever their weights.
#[test]
fn shares_follow_the_weights() {
    const CLIENTS: u64 = 60_000;
    for mut method in Any::all().into_iter().filter(|method| method.name() != "prequal") {
        let mut servers = table_of((1..5).map(|weight| (format!("w{weight}.example:80"), weight)));
        method.servers_changed(&servers);
        let mut counts = [0_u64; 4];
        for server in homes(&mut method, &mut servers, CLIENTS) {
            counts[server.index()] += 1;
        }
        let ring = ["ring_hash", "bounded_load"].contains(&method.name());
        for (index, &count) in counts.iter().enumerate() {
            let share = (index + 1) as f64 / 10.0;
            let sampling = (share * (1.0 - share) / CLIENTS as f64).sqrt();
            // About 1,024 points at least, of which the share is Beta distributed.
            let of_ring = if ring { (share * (1.0 - share) / 1_024.0).sqrt() } else { 0.0 };
            let got = count as f64 / CLIENTS as f64;
            let name = method.name();
            assert!((got - share).abs() < 5.0 * (sampling + of_ring), "{name}: server {index} has {got}");
        }
    }
}

/// When one of ten equal servers leaves, its clients move and, of the others, none (rings, rendezvous, jump, anchor) or,
/// with Maglev, about 0.2 % of all clients at this table size (`maglev.csv`: 0.00234); a tenth more is allowed than
/// twice that. When it is back, everyone is home.
#[test]
fn a_server_that_leaves_takes_its_own_clients_along_and_hardly_any_others() {
    const CLIENTS: u64 = 20_000;
    for (name, most) in [
        ("maglev", 0.005),
        ("ring_hash", 0.0),
        ("rendezvous", 0.0),
        ("jump", 0.0),
        ("bounded_load", 0.0),
        ("anchor_hash", 0.0),
    ] {
        let (mut method, mut servers) = (Any::named(name), equal(10));
        method.servers_changed(&servers);
        let before = homes(&mut method, &mut servers, CLIENTS);
        for gone in [ServerId(0), ServerId(4), ServerId(9)] {
            servers.set_removed(SimTime::ZERO, gone, true);
            method.servers_changed(&servers);
            let mut others_moved = 0;
            for (key, &home) in before.iter().enumerate() {
                let mut request = numbered(key as u64);
                let now = method.pick(&mut servers, &mut request).expect("nine are left");
                if home == gone {
                    assert_eq!(request.reason(), Reason::Rehashed(Skipped::OutOfService), "{name}");
                } else if now != home {
                    assert_eq!(request.reason(), Reason::Rehashed(Skipped::TableRebuilt), "{name}");
                    others_moved += 1;
                }
            }
            let share = f64::from(others_moved) / CLIENTS as f64;
            assert!(share <= most, "{name}: {share}");
            servers.set_removed(SimTime::ZERO, gone, false);
            method.servers_changed(&servers);
            assert_eq!(homes(&mut method, &mut servers, CLIENTS), before, "{name}");
        }
    }
}

#[test]
fn failures_in_a_row_eject_for_a_time_and_an_answer_forgives() {
    let mut servers = equal(2);
    let attempt = |servers: &mut ProxyServers, at_s: u64, answered| {
        let mut request = numbered(at_s);
        request.set_clock(SimTime::from_millis(1_000 * at_s));
        servers.begin_try(&mut request, ServerId(1));
        servers.end_try(&request, answered)
    };
    assert!(!attempt(&mut servers, 1, false));
    assert!(!attempt(&mut servers, 2, true));
    assert!(!attempt(&mut servers, 3, false));
    assert!(attempt(&mut servers, 4, false), "two in a row");
    assert_eq!(servers.passed_over(ServerId(1), &numbered(0)), Some(Skipped::Unhealthy));
    assert!(!servers.readmit(SimTime::from_millis(13_999)));
    assert!(servers.readmit(SimTime::from_millis(14_000)));
    assert_eq!(servers.passed_over(ServerId(1), &numbered(0)), None);
    assert!(!attempt(&mut servers, 15, false), "the count begins anew");
}
