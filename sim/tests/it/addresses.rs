//! What changing and shared addresses do to a site: who is logged out, and what is said of it.

use evenkeel_sim::cluster::{self, RunOutcome, RunSetup};
use evenkeel_sim::engine::{SimTime, Stream};
use evenkeel_sim::ids::{ClientId, StreamId};
use evenkeel_sim::metrics::{LossCause, Phase};
use evenkeel_sim::population::clients::Clients;
use evenkeel_sim::population::{AddressPlan, AddressSpace, AddressStreams, CountLaw};
use evenkeel_sim::tier::{Method, Nginx, Open, Outcome, Ties};

use crate::modern::{assert_agrees, traffic};
use crate::support::{Table, interval, read, replications};
use crate::theory::ip_hash;

/// Three servers and users who click for about five minutes, every 20 s, and never leave on a loss; nothing breaks.
fn site(address: &str, connection: &str, strategies: &[&str]) -> String {
    let strategies: Vec<String> = strategies
        .iter()
        .enumerate()
        .map(|(number, balancer)| {
            format!(
                "[[strategy]]\nname = \"s{number}\"\nsession = {{ local = {{}} }}\nbalancer = {balancer}\n"
            )
        })
        .collect();
    format!(
        r#"
title = "addresses"
duration = "1h"
warmup = "10min"
replications = 1
seed = 11
[[population]]
name = "users"
clients = 2000
address = {address}
connection = {{ {connection} }}
[population.visit]
preset = "login-site"
clicks = {{ constant = 15 }}
think = {{ exponential = {{ mean = "20s" }} }}
away = {{ exponential = {{ mean = "5min" }} }}
form_token = false
leave_on_loss = 0.0
logins_again = 255
[cluster]
servers = [
  {{ name = "a", address = "10.0.0.1:80" }},
  {{ name = "b", address = "10.0.0.2:80" }},
  {{ name = "c", address = "10.0.0.3:80" }},
]
capacity = {{ workers = 100, service = "5ms" }}
{}"#,
        strategies.concat()
    )
}

const IP_HASH: &str = r#"{ nginx.ip_hash = {} }"#;
const PERSISTENCE: &str = r#"{ lvs.rr = { persistence_timeout = "300s" } }"#;
const STICK_TABLE: &str =
    r#"{ haproxy.roundrobin = { stick-table = { type = "ip", size = 100000, expire = "30min" } } }"#;
const COOKIE: &str = r#"{ haproxy.roundrobin = { cookie = "insert" } }"#;

/// Every strategy of a scenario, once, with up to three losses told.
fn run_all(text: &str) -> Vec<RunOutcome> {
    let loaded = read(text);
    (0..loaded.scenario.strategies.len())
        .map(|strategy| {
            let setup =
                RunSetup { scenario: &loaded.scenario, strategy, replication: 0, logs: &[], stories: 3 };
            cluster::run(&setup, &|_| ()).unwrap_or_else(|error| panic!("{error}\n{text}"))
        })
        .collect()
}

/// Losses of a run by a cause, and all of them.
fn losses(outcome: &RunOutcome, cause: LossCause) -> (u64, u64) {
    let ledger = &outcome.counts.ledger;
    (ledger.losses_by_cause[cause as usize], ledger.losses)
}

#[test]
fn hand_overs_log_out_users_who_are_tied_by_address_and_nobody_who_has_a_cookie() {
    // Goal: the cause is `address_changed` wherever nothing else happens. Method: one user an address, so no neighbour
    // keeps or moves a template; a hand-over every 5 minutes; addresses in 64 /24s, so nearly all of them hash anew.
    // A hand-over moves to another of three servers twice in three times.
    let address = r#"{ preset = "mobile", users_per_address = 1, addresses_per_24 = { constant = 2 }, pool_addresses = 128, hand_over = "5min" }"#;
    let runs = run_all(&site(address, "", &[IP_HASH, STICK_TABLE, COOKIE]));
    // Between two clicks, an exponential time of 20 s, an address changes with probability 20 / (300 + 20).
    let share = 2.0 / 3.0 * 20.0 / 320.0;
    for outcome in &runs[..2] {
        let (changed, all) = losses(outcome, LossCause::AddressChanged);
        assert_eq!(changed, all, "every loss has this cause");
        let counts = outcome.counts.phase(Phase::All);
        let missed = counts.session_missed as f64 / counts.session_needed as f64;
        // Some 170,000 clicks: five standard errors are 6 %. In pools of 64 /24s, one in 64 moves stays in its own, and the
        // servers' shares of them are a little uneven.
        assert!((missed / share - 1.0).abs() < 0.08, "{missed} of {share}");
        assert!(outcome.stories.iter().all(|story| story.contains("no longer")), "{:?}", outcome.stories);
    }
    assert_eq!(runs[2].counts.ledger.losses, 0, "a cookie knows no addresses");
}

#[test]
fn arbitrary_pooling_takes_users_away_from_their_template() {
    // Goal: under LVS persistence each connection from another address of the pool meets another template. Method: a
    // connection for each request, 300 s of persistence, which no think time outlasts, and templates that the crowd on each
    // address keeps alive, each with a server of its own.
    let arbitrary = r#"{ preset = "cgnat", users_per_address = 16, addresses_per_24 = { constant = 1 }, pooling = "arbitrary", pool_addresses = 16 }"#;
    let paired = arbitrary.replace("arbitrary", "paired");
    let requests = "keepalive_timeout = \"0s\"";
    let strategies = [IP_HASH, PERSISTENCE, COOKIE];
    let small =
        |address: &str| site(address, requests, &strategies).replace("clients = 2000", "clients = 512");
    let [ip_hash, persistence, cookie] = &run_all(&small(arbitrary))[..] else { panic!("three strategies") };
    for outcome in [ip_hash, persistence] {
        let (changed, all) = losses(outcome, LossCause::AddressChanged);
        // Two of three requests reach another server, so nearly every visit loses its session again and again.
        assert!(changed as f64 > 0.98 * all as f64, "{changed} of {all}");
        let counts = outcome.counts.phase(Phase::All);
        assert!(counts.with_loss as f64 > 0.98 * counts.logged_in as f64);
    }
    assert_eq!(cookie.counts.ledger.losses, 0);
    for outcome in run_all(&small(&paired)) {
        assert_eq!(losses(&outcome, LossCause::AddressChanged).0, 0, "paired users keep their address");
    }
}

#[test]
fn a_proxy_farm_rotates_within_connections_too() {
    // Requests of one user come from four addresses in one /24: ip_hash sees one network and loses nobody, a stick table sees
    // four addresses and loses nearly everybody.
    let runs = run_all(&site(r#"{ preset = "mega-proxy" }"#, "", &[IP_HASH, STICK_TABLE, COOKIE]));
    assert_eq!(runs[0].counts.ledger.losses, 0);
    let (changed, all) = losses(&runs[1], LossCause::AddressChanged);
    assert!(changed == all && all > 0, "{changed} of {all}");
    assert_eq!(runs[2].counts.ledger.losses, 0);
}

#[test]
fn what_expired_anyway_is_not_blamed_on_the_address() {
    // Goal: ties follow the table of causes: where the old address's entry has run out as well, the user would have been
    // lost without a change. Method: a stick table that forgets after 1 s, between clicks 20 s apart.
    let short = STICK_TABLE.replace("30min", "1s");
    let address = r#"{ preset = "mobile", users_per_address = 1, hand_over = "5min" }"#;
    let outcome = &run_all(&site(address, "", &[&short]))[0];
    let (expired, all) = losses(outcome, LossCause::AffinityExpired);
    assert!(expired as f64 > 0.97 * all as f64 && all > 1_000, "{expired} of {all}");
}

#[test]
fn a_front_hides_the_users_from_ip_hash_unless_it_is_believed() {
    let share = |front: &str| {
        let address = format!(r#"{{ preset = "behind-cdn", front = {{ addresses = 1, {front} }} }}"#);
        let outcome = &run_all(&site(&address, "", &[IP_HASH]))[0];
        let counts = &outcome.counts.phase(Phase::All).connections;
        *counts.iter().max().expect("servers") as f64 / counts.iter().sum::<u64>() as f64
    };
    assert_eq!(share("passes_address = false"), 1.0, "everything lands on one server");
    assert_eq!(share("passes_address = true, trusted = false"), 1.0);
    assert!(share("passes_address = true, trusted = true") < 0.45);
}

#[test]
fn the_strategies_of_a_scenario_meet_users_at_the_same_addresses() {
    // Goal: common random numbers hold for addresses: a strategy's run is the same whichever others stand beside it.
    let address = r#"{ preset = "mobile", users_per_address = 4, hand_over = "10min" }"#;
    let kept = run_all(&site(address, "", &[IP_HASH]));
    let again = run_all(&site(address, "", &[COOKIE, IP_HASH]));
    assert_eq!(kept[0].counts.ledger, again[1].counts.ledger);
}

#[test]
fn a_template_that_outlives_its_period_is_armed_for_a_minute_only_and_breaks_sooner() {
    // Goal: with keep-alive, persistence breaks sessions that a pure timer of the same length would keep. Theory (bound):
    // a timer that every request restarts breaks a gap with probability exp(-T/Z) (n - 1)/n. Method: T = 300 s, think time
    // Z = 60 s, sessions of 10 requests; connections idle up to 120 s, so many outlive T, and their template, armed for 60 s
    // at a time since, dies within about 60 s of the connection's end (`tcp_fin` is 5 s, in direct routing). With a connection
    // for each request the template is armed anew by each, and the bound holds.
    let text = |keepalive: u32| {
        format!(
            r#"
title = "persistence"
duration = "2h"
warmup = "30min"
replications = 8
seed = 6
[[population]]
name = "users"
clients = 600
address = {{ preset = "direct", addresses_per_24 = 1.0 }}
connection = {{ keepalive_timeout = "{keepalive}s", keepalive_requests = 1000 }}
[population.visit]
clicks = {{ constant = 9 }}
think = {{ exponential = {{ mean = "60s" }} }}
away = {{ exponential = {{ mean = "5min" }} }}
login = true
form_token = false
leave_on_loss = 0.0
logins_again = 255
session_idle_timeout = "24h"
[cluster]
servers = [
  {{ name = "a", address = "10.0.0.1:80" }},
  {{ name = "b", address = "10.0.0.2:80" }},
  {{ name = "c", address = "10.0.0.3:80" }},
]
capacity = {{ workers = 100, service = "1ms" }}
[[strategy]]
name = "only"
session = {{ local = {{}} }}
[strategy.balancer.lvs.rr]
persistence_timeout = "300s"
forwarding = "dr"
timeouts = {{ tcp = "900s", tcp_fin = "5s", udp = "60s" }}
"#
        )
    };
    let broken = |keepalive: u32| {
        let shares: Vec<f64> = replications(&text(keepalive))
            .iter()
            .map(|outcome| {
                let counts = outcome.counts.phase(Phase::All);
                counts.with_loss as f64 / counts.logged_in as f64
            })
            .collect();
        interval(&shares, 0.001)
    };
    let bound = 1.0 - (1.0 - (-300.0_f64 / 60.0).exp() * 2.0 / 3.0).powi(9);
    let (single, half) = broken(0);
    assert!(single - half <= bound && half < 0.01, "{single} ± {half} against {bound}");
    let (kept, half) = broken(120);
    assert!(kept - half > 1.2 * bound, "{kept} ± {half} against {bound}");
    println!("broken: {single} with a connection each, {kept} with keep-alive, {bound} by a pure timer");
}

/// Users of a replication, each on the only address of a /24, in prefixes of a few /24s.
fn users(replication: u64, count: u32) -> Clients {
    let stream = |id| Stream::new(20_261, replication, id);
    let streams = AddressStreams {
        users: stream(StreamId::UsersPerAddress),
        addresses: stream(StreamId::Addresses),
        leases: stream(StreamId::Leases),
        hand_overs: stream(StreamId::HandOvers),
        connections: stream(StreamId::ConnectionAddress),
        measured_from: SimTime::ZERO,
    };
    let plan = AddressPlan::of_homes("one each", CountLaw::Constant(1), CountLaw::Constant(1));
    let mut clients = Clients::new();
    clients
        .add_population(&plan, count, &streams, &mut AddressSpace::new(streams.addresses))
        .expect("the public space has more networks");
    clients
}

/// Theory: sources with given shares of the traffic, hashed uniformly, load one of n servers with standard deviation
/// `sqrt((n - 1) sum p^2)` of the mean; the mean of the largest load is tabled from a simulation. nginx's ip_hash over the
/// addresses that populations get comes as near, although /24s of one prefix are neighbours.
#[test]
fn ip_hash_over_drawn_addresses_is_as_uneven_as_ideal_hashing() {
    let table = Table::read("hash_skew");
    for (population, sources, n, draws) in [
        ("equal", 100, 2, 400),
        ("equal", 1_000, 3, 200),
        ("zipf_0.8", 100, 5, 400),
        ("zipf_1.0", 1_000, 3, 200),
        ("zipf_1.0", 1_000, 10, 200),
    ] {
        let traffic = traffic(population, sources);
        let (sources_text, backends) = (sources.to_string(), n.to_string());
        let keys = [("population", population), ("sources", &sources_text), ("backends", &backends)];
        let mut nginx = Nginx::new(ip_hash(n, false));
        let (mut largest, mut squares) = (Vec::new(), Vec::new());
        for draw in 0..draws {
            let mut clients = users(draw, sources);
            let mut load = vec![0.0; n];
            for (source, share) in traffic.iter().enumerate() {
                let from = clients.source(ClientId(source as u32), SimTime::ZERO, 1);
                let open = Open {
                    address: from.user,
                    port: from.port,
                    key: &[],
                    method: Method::Get,
                    worker: 0,
                    service: 0,
                    ties: Ties::NONE,
                };
                let opened = nginx.open(SimTime::ZERO, &open);
                nginx.attempt_ended(SimTime::ZERO, opened.flow, Outcome::Status(200));
                load[opened.decision.server.expect("all are usable").index()] += share * n as f64;
            }
            largest.push(load.iter().copied().fold(0.0, f64::max));
            squares.push(load.iter().map(|load| (load - 1.0).powi(2)).sum::<f64>() / n as f64);
        }
        let what = format!("{population}, {sources} sources, {n} servers");
        let mean = table.value(&keys, "max_over_mean_mean");
        assert_agrees(&what, &largest, mean, table.value(&keys, "max_over_mean_se"), 0.15 * mean);
        let variance = table.value(&keys, "rel_sd_share").powi(2);
        assert_agrees(&what, &squares, variance, 0.0, 1.1 * variance);
    }
}
