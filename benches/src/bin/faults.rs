//! What faults cost a run: a thousand servers, to each of which something happens about every minute, ten thousand times in all, beside
//! the same site where nothing does. Nanoseconds an event, without the summing up afterwards. A server that is a little slower for two
//! seconds changes nothing for anybody else, so that line is what the faults themselves cost; a crash also makes work that is no event of its own: connections are
//! ended and opened anew, requests tried elsewhere. `SIZE` is the number of clients.

use evenkeel_benches::{Options, Round, compare, timed};
use evenkeel_sim::cluster::{self, RunSetup};
use evenkeel_sim::scenario::{self, Overrides, Scenario};

const SERVERS: usize = 1_000;

/// Ten thousand faults of a kind, over all servers; `more` is the rest of its table.
fn faults(kind: &str, more: &str) -> String {
    let names: Vec<String> = (0..SERVERS).map(|i| format!("\"s{i}\"")).collect();
    format!(
        "[[fault]]\nat = \"1s\"\n{kind} = {{ servers = [{}]{more} }}\n\
         mtbf = {{ exponential = {{ mean = \"58s\" }} }}\nmttr = {{ exponential = {{ mean = \"2s\" }} }}\n",
        names.join(", ")
    )
}

fn site(clients: usize, balancer: &str, faults: &str) -> Result<Scenario, String> {
    let server =
        |i: usize| format!("{{ name = \"s{i}\", address = \"10.0.{}.{}:80\" }}", i / 250, i % 250 + 1);
    let servers: Vec<String> = (0..SERVERS).map(server).collect();
    let text = format!(
        "title = \"bench\"\nduration = \"10min\"\nwarmup = \"10s\"\nreplications = 1\n\
         [[population]]\nname = \"all\"\nclients = {clients}\naddress = {{ preset = \"home-nat\" }}\n\
         visit = {{ preset = \"browse\", clicks = 60000, away = \"1s\", think = {{ exponential = {{ mean = \"10s\" }} }} }}\n\
         [cluster]\nservers = [{}]\n\
         capacity = {{ workers = {}, service = {{ exponential = {{ mean = \"100ms\" }} }} }}\n{faults}\
         [[strategy]]\nname = \"it\"\nsession = {{ local = {{}} }}\nbalancer = {{ {balancer} }}\n",
        servers.join(", "),
        clients.div_ceil(5_000).max(4),
    );
    let loaded = scenario::parse("bench.toml", &text, &Overrides::NONE);
    loaded.map(|loaded| loaded.scenario).map_err(|mistakes| mistakes.to_string())
}

fn events(scenario: &Scenario) -> Round {
    let setup = RunSetup { scenario, strategy: 0, replication: 0, logs: &[], stories: 0 };
    let mut events = 0;
    let round = timed(1, || match cluster::run(&setup, &|_| {}) {
        Ok(outcome) => {
            events = outcome.sizes.events;
            outcome.sizes.requests
        }
        Err(_) => 0,
    });
    Round { operations: events.max(1), ..round }
}

fn main() -> Result<(), String> {
    let options = Options::from_args()?;
    let sizes = if options.sizes.is_empty() { vec![20_000, 200_000] } else { options.sizes.clone() };
    for clients in sizes {
        for (name, balancer) in [
            ("nginx ip_hash", "nginx.ip_hash = {}"),
            ("HAProxy leastconn", "haproxy.leastconn = { cookie = \"insert\" }"),
            ("LVS wlc -p 120", "lvs.wlc = { persistence_timeout = \"120s\" }"),
        ] {
            let calm = site(clients, balancer, "")?;
            let slowed = site(clients, balancer, &faults("slow", ", factor = 1.01"))?;
            let stormy = site(clients, balancer, &faults("crash", ""))?;
            compare(
                &format!("{name}, {clients} clients, {SERVERS} servers"),
                &options,
                &mut [
                    ("without faults", Box::new(|| events(&calm))),
                    ("10,000 times a little slower", Box::new(|| events(&slowed))),
                    ("10,000 crashes", Box::new(|| events(&stormy))),
                ],
            );
        }
    }
    Ok(())
}
