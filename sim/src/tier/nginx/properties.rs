//! Properties of an nginx under any sequence of inputs, with every method.

use std::net::IpAddr;

use proptest::prelude::*;

use super::tests::{GET, OK, config};
use super::*;
use crate::balancer::nginx::NginxMethod;
use crate::engine::SimDuration;
use crate::ids::ServerId;

fn any_server() -> impl Strategy<Value = NginxServer> {
    (1u32..9, 0u32..3, 0u64..4, 0u32..3, any::<bool>()).prop_map(
        |(weight, max_fails, fail_timeout_s, max_conns, down)| NginxServer {
            weight,
            max_fails,
            fail_timeout_s,
            max_conns,
            down,
            ..NginxServer::default()
        },
    )
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(OK),
        Just(Outcome::Status(503)),
        Just(Outcome::Status(404)),
        Just(Outcome::ConnectRefused),
        Just(Outcome::ConnectTimeout),
        Just(Outcome::Reset),
        Just(Outcome::ReadTimeout),
    ]
}

proptest! {
    /// Any sequence of inputs: no panic, no server that is down or tried already, and books that balance.
    #[test]
    fn every_request_ends_and_is_given_back(
        method in prop::sample::select(NginxMethod::ENTRIES),
        servers in prop::collection::vec(any_server(), 1..80),
        inputs in prop::collection::vec((0u8..8, any::<u32>(), 0u64..2_000, any_outcome()), 1..200),
        workers in 1u16..4,
    ) {
        let next_upstream = "error timeout http_503 http_404".parse().expect("valid");
        let mut config = NginxConfig { next_upstream, workers, ..config(method.name, servers.clone()) };
        if !config.method.takes_max_conns() {
            config.servers.iter_mut().for_each(|server| server.max_conns = 0);
        }
        let mut nginx = Nginx::new(config.clone());
        let mut now = SimTime::ZERO;
        let mut in_flight: Vec<(FlowId, Vec<ServerId>)> = Vec::new();
        let mut last_flow = None;
        for (input, number, millis, outcome) in inputs {
            now = now + SimDuration::from_millis(millis);
            let at = number as usize % in_flight.len().max(1);
            match input {
                0..3 => {
                    let address = IpAddr::from(number.to_be_bytes());
                    let key = number.to_be_bytes();
                    let open = Open { address, key: &key, worker: number as u16, ..GET };
                    let opened = nginx.open(now, &open);
                    if let Some(server) = opened.decision.server {
                        prop_assert!(!servers[server.index()].down);
                        prop_assert_ne!(last_flow, Some(opened.flow));
                        last_flow = Some(opened.flow);
                        in_flight.push((opened.flow, vec![server]));
                    } else {
                        prop_assert_eq!(opened.decision.reason, Reason::NoneUsable);
                    }
                }
                3..7 if !in_flight.is_empty() => {
                    let (flow, tried) = &mut in_flight[at];
                    match nginx.attempt_ended(now, *flow, outcome) {
                        Then::Retry(decision) => {
                            let server = decision.server.expect("a retry names a server");
                            prop_assert!(!servers[server.index()].down && !tried.contains(&server));
                            tried.push(server);
                        }
                        Then::Done { .. } => drop(in_flight.swap_remove(at)),
                        Then::Wait(_) => unreachable!("nginx tries again at once"),
                    }
                }
                _ if number % 4 == 0 => nginx.reload(now, config.clone()),
                _ if !in_flight.is_empty() => nginx.abort(now, in_flight.swap_remove(at).0),
                _ => {}
            }
            prop_assert_eq!(nginx.table_sizes().flows, in_flight.len() as u64);
        }
        for (flow, _) in in_flight {
            nginx.abort(now, flow);
        }
        prop_assert!(nginx.epochs.iter().all(|epoch| epoch.in_flight == 0));
    }
}
