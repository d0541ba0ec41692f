//! Balancers of layer 7 proxies: ns a pick, for each algorithm of the catalogue's `modern` and `envoy`.
//!
//! Every pick is of another client's request, a microsecond after the last. Each server holds a few requests, which a pick does
//! not change, so only the choice is timed: the hash of the client's address, the algorithm, the reason.

use std::net::IpAddr;

use evenkeel_benches::{Candidate, Options, compare, timed};
use evenkeel_sim::balancer::modern::hash::{client_key, mix};
use evenkeel_sim::balancer::modern::{Ejection, ProxyRequest, ProxyServer, ProxyServers};
use evenkeel_sim::balancer::{Balancer, entries};
use evenkeel_sim::engine::{SimDuration, SimTime, Stream};
use evenkeel_sim::ids::{ServerId, StreamId};
use evenkeel_sim::tier::proxy::ProxyMethod;

/// Servers with 0 to 7 requests in flight.
fn servers(count: usize, weight: impl Fn(usize) -> u32) -> ProxyServers {
    let server =
        |i: usize| ProxyServer { address: format!("10.0.{}.{}:80", i / 250, i % 250), weight: weight(i) };
    let all: Vec<_> = (0..count).map(server).collect();
    let ejection = Ejection { failures: 5, time: SimDuration::from_secs(30) };
    let mut servers = ProxyServers::new(&all, ejection, Stream::new(1, 0, StreamId::Balancer), 0);
    for index in 0..count {
        for _ in 0..mix(index as u64) % 8 {
            servers.begin_try(&mut ProxyRequest::new(0, 0, SimTime::ZERO), ServerId::from_index(index));
        }
    }
    servers
}

fn main() -> Result<(), String> {
    let options = Options::from_args()?;
    let picks = (2e6 * options.scale) as u64;
    let sizes = if options.sizes.is_empty() { vec![16, 1_000] } else { options.sizes.clone() };
    for size in sizes {
        for (what, weight) in [("equal weights", 1), ("weights 1 to 4", 4)] {
            let mut candidates: Vec<Candidate<'_>> = Vec::new();
            for entry in entries() {
                let Some(mut method) = ProxyMethod::by_name(entry.program, entry.name) else { continue };
                let mut servers = servers(size, |i| 1 + i as u32 % weight);
                method.servers_changed(&servers);
                let run = move || {
                    timed(picks, || {
                        (0..picks).fold(0, |sum: u64, number| {
                            let address = IpAddr::from((mix(number) as u32).to_be_bytes());
                            let now = SimTime(1_000 * number);
                            let mut request = ProxyRequest::new(client_key(address, &[]), number, now);
                            let server = method.pick(&mut servers, &mut request);
                            sum.wrapping_mul(31).wrapping_add(server.map_or(0, |server| server.0.into()))
                        })
                    })
                };
                candidates.push((entry.scenario_name, Box::new(run)));
            }
            compare(&format!("{size} servers, {what}"), &options, &mut candidates);
        }
    }
    Ok(())
}
