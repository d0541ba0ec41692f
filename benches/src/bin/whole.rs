//! Whole runs: clients in a closed loop, nginx ip_hash, 8 first-come-first-served servers. The first candidate is the bare
//! loop: arrays, a sequential generator, one hash, no sessions, no accounts. The others are the product, set up as the same
//! site; the second to last pays for LVS persistence, the last for logins with sessions.
//!
//! Think time 10 s, service 10 ms, both exponential; workers so that utilisation is about 0.7. Nanoseconds a request.

use std::collections::VecDeque;

use evenkeel_benches::bare::BareLadder;
use evenkeel_benches::xoshiro::Xoshiro;
use evenkeel_benches::{Options, Round, compare, timed};
use evenkeel_sim::cluster::{self, RunSetup};
use evenkeel_sim::engine::PendingEvents;
use evenkeel_sim::scenario::{self, Overrides, Scenario};
use rand::RngExt as _;
use rand_distr::Exp1;

const SERVERS: usize = 8;
const THINK_NS: f64 = 10e9;
const SERVICE_NS: f64 = 10e6;
const DEPARTURE: u32 = 1 << 31;

/// Workers of a server, for a utilisation of about 0.7.
fn workers(clients: usize) -> usize {
    ((clients as f64 * SERVICE_NS / THINK_NS / SERVERS as f64 / 0.7).round() as usize).max(1)
}

/// The server of an address: nginx's hash over three octets, modulo eight equal weights.
fn ip_hash(address: u32) -> usize {
    let [a, b, c, _] = address.to_be_bytes();
    let hash = [a, b, c].iter().fold(89, |hash, &octet| (hash * 113 + u32::from(octet)) % 6271);
    (hash % SERVERS as u32) as usize
}

#[derive(Clone, Copy, Default)]
struct InService {
    arrived: u64,
    client: u32,
    server: usize,
}

/// The bare loop.
fn bare(clients: usize, requests: u64) -> Round {
    let mut rng = Xoshiro::new(1);
    let addresses: Vec<u32> = (0..clients).map(|_| rng.bits() as u32).collect();
    let mut delay = move |mean: f64| (rng.sample::<f64, _>(Exp1) * mean) as u64;
    let workers = workers(clients);
    let mut pending = BareLadder::new(clients, THINK_NS / clients as f64 / 2.0, THINK_NS * 24.0);
    pending.prefetch_rows(&addresses);
    for client in 0..clients {
        pending.push(delay(THINK_NS), client as u32);
    }
    let mut slots = vec![InService::default(); SERVERS * workers];
    let mut free: Vec<u32> = (0..slots.len() as u32).collect();
    let mut busy = [0; SERVERS];
    let mut queues: [VecDeque<(u64, u32)>; SERVERS] = Default::default();
    let mut histogram = vec![0_u64; 64 * 32];
    timed(requests, || {
        let mut done = 0;
        while done < requests {
            let Some((now, word)) = pending.pop_before(u64::MAX) else { break };
            if word & DEPARTURE == 0 {
                let server = ip_hash(addresses[word as usize]);
                if busy[server] == workers {
                    queues[server].push_back((now, word));
                } else if let Some(slot) = free.pop() {
                    busy[server] += 1;
                    slots[slot as usize] = InService { arrived: now, client: word, server };
                    pending.push(now + delay(SERVICE_NS), slot | DEPARTURE);
                }
                continue;
            }
            let slot = word & !DEPARTURE;
            let InService { arrived, client, server } = slots[slot as usize];
            let took = (now - arrived) | 32;
            let octave = 63 - took.leading_zeros() as usize;
            histogram[((octave - 5) * 32 + (took >> (octave - 5)) as usize) & 2047] += 1;
            if let Some((arrived, client)) = queues[server].pop_front() {
                slots[slot as usize] = InService { arrived, client, server };
                pending.push(now + delay(SERVICE_NS), slot | DEPARTURE);
            } else {
                busy[server] -= 1;
                free.push(slot);
            }
            pending.push(now + delay(THINK_NS), client);
            done += 1;
        }
        histogram.iter().fold(0, |sum: u64, count| sum.wrapping_mul(31).wrapping_add(*count))
    })
}

/// The site as a scenario; `visit` and `strategy` are parts of its file.
fn site(clients: usize, requests: u64, visit: &str, strategy: &str) -> Result<Scenario, String> {
    let seconds = (requests as f64 * (THINK_NS + SERVICE_NS) / 1e9 / clients as f64).ceil();
    let servers: Vec<String> =
        (0..SERVERS).map(|i| format!("{{ name = \"s{i}\", address = \"10.0.0.{i}:80\" }}")).collect();
    let text = format!(
        "title = \"bench\"\nduration = \"{seconds}s\"\nreplications = 1\n\
         [[population]]\nname = \"all\"\nclients = {clients}\naddress = {{ preset = \"direct\" }}\n\
         visit = {{ {visit}, think = {{ exponential = {{ mean = \"10s\" }} }}, away = {{ exponential = {{ mean = \"10s\" }} }} }}\n\
         connection = {{ keepalive_timeout = \"0s\" }}\n\
         [cluster]\nservers = [{}]\n\
         capacity = {{ workers = {}, service = {{ exponential = {{ mean = \"10ms\" }} }} }}\n\
         [[strategy]]\nname = \"it\"\nsession = {{ local = {{}} }}\nbalancer = {{ {strategy} }}\n",
        servers.join(", "),
        workers(clients)
    );
    let loaded = scenario::parse("bench.toml", &text, &Overrides::NONE);
    loaded.map(|loaded| loaded.scenario).map_err(|mistakes| mistakes.to_string())
}

/// The product.
fn product(scenario: &Scenario) -> Round {
    let setup = RunSetup { scenario, strategy: 0, replication: 0, logs: &[], stories: 0 };
    let mut requests = 0;
    let round = timed(1, || match cluster::run(&setup, &|_| {}) {
        Ok(outcome) => {
            requests = outcome.sizes.requests;
            outcome.counts.ledger.station_area_ns as u64
        }
        Err(_) => 0,
    });
    Round { operations: requests.max(1), ..round }
}

fn main() -> Result<(), String> {
    let options = Options::from_args()?;
    let sizes =
        if options.sizes.is_empty() { vec![10_000, 100_000, 1_000_000] } else { options.sizes.clone() };
    for clients in sizes {
        let requests = (1e7 * options.scale) as u64;
        let browse = "preset = \"browse\", clicks = 60000";
        let login = "preset = \"login-site\"";
        let ip_hash = site(clients, requests, browse, "nginx.ip_hash = {}")?;
        let persistent = site(clients, requests, browse, "lvs.wlc = { persistence_timeout = \"120s\" }")?;
        let sessions = site(clients, requests, login, "nginx.ip_hash = {}")?;
        compare(
            &format!("closed loop, {clients} clients, about {requests} requests"),
            &options,
            &mut [
                ("bare loop", Box::new(|| bare(clients, requests))),
                ("nginx.ip_hash", Box::new(|| product(&ip_hash))),
                ("nginx.ip_hash, logins", Box::new(|| product(&sessions))),
                ("lvs.wlc -p 120", Box::new(|| product(&persistent))),
            ],
        );
    }
    Ok(())
}
