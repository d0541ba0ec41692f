//! nginx's methods: ns per request that is begun, has its key hashed, is sent to a server and answered at once.
//!
//! `idle` requests come one after the other; of `busy` ones, as many are open all the time as there are servers, which is
//! what least_conn and random_two look at. Keys and clients are 15 bytes and four, drawn before the clock starts.

use std::net::IpAddr;

use evenkeel_benches::{Candidate, Options, Round, compare, timed};
use evenkeel_sim::balancer::Balancer;
use evenkeel_sim::balancer::nginx::{NginxMethod, NginxServer, Peers, RequestState};
use evenkeel_sim::engine::Stream;
use evenkeel_sim::ids::StreamId;

const CLIENTS: usize = 1 << 12;

/// A client's address, and as text of fixed length.
type Client = (IpAddr, [u8; 15]);

fn clients() -> Vec<Client> {
    let stream = Stream::new(1, 0, StreamId::Addresses);
    let client = |n| {
        let octets = (stream.bits(n, 0) as u32).to_be_bytes();
        let text = octets.map(|octet| format!("{octet:03}")).join(".");
        (IpAddr::from(octets), text.as_bytes().try_into().expect("15 characters"))
    };
    (0..CLIENTS as u64).map(client).collect()
}

fn run(name: &str, servers: usize, open: usize, requests: u64, clients: &[Client]) -> Round {
    let server =
        |i| NginxServer { address: format!("10.0.{}.{}:80", i / 256, i % 256), ..NginxServer::default() };
    let mut peers = Peers::new(&(0..servers).map(server).collect::<Vec<_>>());
    let mut method = NginxMethod::by_name(name).expect("in the catalogue");
    method.servers_changed(&peers);
    let mut in_flight: Vec<Option<RequestState>> = vec![None; open.max(1)];
    let slots = in_flight.len();
    timed(requests, || {
        let mut sum = 0;
        let mut slot = 0;
        for number in 0..requests {
            let (address, key) = &clients[number as usize % CLIENTS];
            let mut request = peers.begin(*address);
            request.set_key(key);
            request.set_number(number);
            if let Some(server) = method.pick(&mut peers, &mut request) {
                sum += u64::from(server.0);
            }
            if let Some(mut ended) = in_flight[slot].replace(request) {
                peers.end_try(&mut ended, false);
                peers.finish(&ended);
            }
            slot = if slot + 1 == slots { 0 } else { slot + 1 };
        }
        sum
    })
}

fn main() -> Result<(), String> {
    let mut options = Options::from_args()?;
    if options.sizes.is_empty() {
        options.sizes = vec![3, 16, 1_000];
    }
    let clients = clients();
    for &servers in &options.sizes {
        for (load, open) in [("idle", 1), ("busy", servers)] {
            let requests = (4e7 * options.scale / (20 + servers) as f64) as u64;
            let candidate = |name: &'static str| -> Candidate<'_> {
                let clients = &clients;
                (name, Box::new(move || run(name, servers, open, requests, clients)))
            };
            let mut candidates: Vec<_> =
                NginxMethod::ENTRIES.iter().map(|entry| candidate(entry.name)).collect();
            compare(&format!("{servers} servers, {load}"), &options, &mut candidates);
        }
    }
    Ok(())
}
