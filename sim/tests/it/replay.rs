//! A real access log, replayed in full: every line is accounted for, and nginx's `ip_hash` sends it where nginx would.

use std::sync::LazyLock;

use evenkeel_sim::cluster::{self, RunOutcome, RunSetup};
use evenkeel_sim::experiment::{carry_out, prepare_logs};
use evenkeel_sim::metrics::Phase;
use evenkeel_sim::metrics::recorder::PhaseCounts;
use evenkeel_sim::population::replay::{PreparedLog, VisitTracker};
use evenkeel_sim::scenario::{Loaded, Overrides, Scenario, Vary, load};
use evenkeel_sim::session::SessionPlan;

use crate::support::{read, repository};

/// Lines of the log, none of which is malformed.
const LINES: u64 = 206_860;

/// The scenario as it is in the repository, and its log, prepared once.
static BLOG: LazyLock<(Loaded, Vec<PreparedLog>)> = LazyLock::new(|| {
    let loaded = load(repository("scenarios/logs/blog2016.toml"), &Overrides::NONE)
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let logs =
        prepare_logs(&loaded.scenario, &loaded.folder, &|_| ()).unwrap_or_else(|error| panic!("{error}"));
    (loaded, logs)
});

fn strategy_called(loaded: &Loaded, name: &str) -> usize {
    loaded.scenario.strategies.iter().position(|strategy| strategy.name == name).expect("a strategy")
}

fn run(loaded: &Loaded, strategy: usize) -> RunOutcome {
    let setup = RunSetup { scenario: &loaded.scenario, strategy, replication: 0, logs: &BLOG.1, stories: 0 };
    cluster::run(&setup, &|_| ()).unwrap_or_else(|error| panic!("{error}"))
}

fn shares(counts: &PhaseCounts) -> Vec<f64> {
    let total: u64 = counts.requests.iter().sum();
    counts.requests.iter().map(|&requests| requests as f64 / total as f64).collect()
}

#[test]
fn nginx_ip_hash_splits_the_blog_s_requests_as_its_formula_says() {
    // Goal: the whole way of a replayed line (parser, population, tier, server, recorder) loses and misroutes nothing.
    // Method: a full run with three equal servers; the shares were computed apart from the simulator, with the formula of
    // ngx_http_upstream_ip_hash_module.c over the log's addresses.
    let (loaded, _) = &*BLOG;
    let outcome = run(loaded, strategy_called(loaded, "nginx ip_hash"));
    let found = shares(&outcome.counts.phase(Phase::All));
    for (found, expected) in found.iter().zip([0.2918, 0.4661, 0.2421]) {
        assert!((found - expected).abs() < 0.000_05, "{found:.6} instead of {expected}");
    }
}

#[test]
fn every_line_of_the_log_is_a_request_that_is_served_under_every_strategy() {
    let (loaded, logs) = &*BLOG;
    assert_eq!(logs[0].requests(), LINES);
    for (strategy, plan) in loaded.scenario.strategies.iter().enumerate() {
        let outcome = run(loaded, strategy);
        let ledger = outcome.counts.ledger;
        assert_eq!(ledger.requests_issued, LINES, "{}", plan.name);
        assert_eq!(ledger.requests_served, LINES, "{}: the servers are never full", plan.name);
        assert_eq!(outcome.counts.phase(Phase::All).requests.iter().sum::<u64>(), LINES, "{}", plan.name);
        assert_eq!(ledger.visits_begun, visits(&logs[0], |_| true), "{}", plan.name);
    }
}

/// Visits of the log, counted apart from the simulator, in which some request satisfies `counts` (its place among the
/// records).
fn visits(log: &PreparedLog, counts: impl Fn(usize) -> bool) -> u64 {
    let mut tracker = VisitTracker::new(log.clients().len(), 30 * 60);
    let mut counted = vec![false; log.clients().len()];
    let mut visits = 0;
    for (place, request) in log.records().enumerate() {
        let record = request.expect("a record").record;
        let counted = &mut counted[record.client as usize];
        *counted &= tracker.observe(record.client, record.second) > 0;
        if !*counted && counts(place) {
            *counted = true;
            visits += 1;
        }
    }
    visits
}

#[test]
fn bots_and_static_objects_carry_no_session() {
    // Goal: crawlers are nobody's users. Method: with a store that loses nothing, each visit of a person that asks for a
    // page creates one session; count those visits in the log itself. Bots' visits, were they counted, would be more.
    let (loaded, logs) = &*BLOG;
    let log = &logs[0];
    let records: Vec<_> = log.records().map(|request| request.expect("a record").record).collect();
    let page = |place: usize| !records[place].flags.static_object() && !records[place].flags.bot_path();
    let person = |place: usize| !log.clients()[records[place].client as usize].is_bot();
    let of_people = visits(log, |place| page(place) && person(place));
    let of_all = visits(log, page);
    assert!(of_all > of_people + 1_000, "bots are many in this log: {of_all} {of_people}");

    let mut loaded = loaded.clone();
    let law = loaded.scenario.servers[0].capacity.service.clone();
    for strategy in &mut loaded.scenario.strategies {
        strategy.session = SessionPlan::Shared { latency: law.clone() };
    }
    let outcome = run(&loaded, strategy_called(&loaded, "nginx round robin"));
    let counts = outcome.counts.phase(Phase::All);
    assert_eq!(counts.losses(), 0);
    assert_eq!(counts.created - counts.expired, of_people);
    let with_session = (0..records.len()).filter(|&place| page(place) && person(place)).count() as u64;
    assert!(counts.session_needed <= with_session - of_people, "{} of {with_session}", counts.session_needed);
    assert!(counts.session_needed > (with_session - of_people) / 2, "{}", counts.session_needed);
}

#[test]
fn one_thread_and_two_find_the_same() {
    let (loaded, logs) = &*BLOG;
    let summary = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let found =
            pool.install(|| carry_out(loaded, logs, 3, &|_| ())).unwrap_or_else(|error| panic!("{error}"));
        serde_json::to_string(&found.summary).expect("JSON")
    };
    assert!(summary(1) == summary(2), "the summary depends on the number of threads");
}

/// CRC-32 of IEEE 802.3, bit by bit.
fn crc32(text: &[u8]) -> u32 {
    !text.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 })
    })
}

#[test]
fn keys_of_path_query_and_agent_are_those_of_the_logs_own_requests() {
    // Goal: a page key sends each replayed line where nginx would. Method: the shares of three servers against those of
    // ngx_http_upstream_hash_module.c over texts of the log, (crc >> 16 & 0x7fff) mod 3, computed apart from the simulator.
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let line = |n: u32| {
        format!(
            "192.0.2.1 - - [20/Feb/2016:00:{:02}:{:02} +0000] \"GET /item/{}?id={}&x=1 HTTP/1.1\" 200 1 \"-\" \"A/{}\"\n",
            n / 60,
            n % 60,
            n * n % 17,
            n % 23,
            n % 7
        )
    };
    let lines = 600;
    std::fs::write(file.path(), (0..lines).map(line).collect::<String>()).expect("room for the log");
    let shares_of = |balancer: &str| {
        let text = format!(
            r#"
title = "keys of a log"
[[log]]
name = "log"
file = "{}"
[cluster]
capacity = {{ workers = 8, service = "20ms" }}
servers = [
  {{ name = "web1", address = "10.0.0.1:80" }},
  {{ name = "web2", address = "10.0.0.2:80" }},
  {{ name = "web3", address = "10.0.0.3:80" }},
]
[[strategy]]
name = "s"
session = {{ local = {{}} }}
balancer = {{ {balancer} }}
"#,
            file.path().display()
        );
        let loaded = read(&text);
        let logs = prepare_logs(&loaded.scenario, &loaded.folder, &|_| ()).expect("a log");
        let setup =
            RunSetup { scenario: &loaded.scenario, strategy: 0, replication: 0, logs: &logs, stories: 0 };
        let outcome = cluster::run(&setup, &|_| ()).unwrap_or_else(|error| panic!("{error}"));
        outcome.counts.phase(Phase::All).requests.clone()
    };
    let expected = |text: &dyn Fn(u32) -> String| {
        let mut requests = vec![0; 3];
        for n in 0..lines {
            requests[((crc32(text(n).as_bytes()) >> 16 & 0x7fff) % 3) as usize] += 1;
        }
        requests
    };
    let target = |n: u32| format!("/item/{}?id={}&x=1", n * n % 17, n % 23);
    for (key, text) in [
        ("$uri", &(|n| target(n).split_once('?').expect("a query").0.to_owned()) as &dyn Fn(u32) -> String),
        ("$request_uri", &target),
        ("$arg_id", &|n| (n % 23).to_string()),
        ("$http_user_agent", &|n| format!("A/{}", n % 7)),
    ] {
        assert_eq!(shares_of(&format!("nginx.hash = {{ key = \"{key}\" }}")), expected(text), "{key}");
    }
    for balancer in
        ["haproxy.uri = {}", "haproxy.hash = { sample = \"path\" }", "haproxy.url_param = { name = \"id\" }"]
    {
        let found = shares_of(balancer);
        assert!(found.iter().all(|&requests| requests > 60), "{balancer} spreads 17 pages: {found:?}");
    }
    assert_eq!(shares_of("haproxy.uri = { depth = 1 }").iter().filter(|&&requests| requests > 0).count(), 1);
}

#[test]
fn luck_with_the_hash_moves_the_networks_of_a_log_and_nothing_else() {
    // Goal: of a log whose networks vary the first replication is the log as it is, and the others differ from it in where the hash
    // puts clients, not in what they do.
    let set = ["vary=\"hash\"", "duration=\"48h\""].map(str::to_owned);
    let hash = load(repository("scenarios/logs/blog2016.toml"), &Overrides::new(set)).expect("a scenario");
    let strategy = strategy_called(&hash, "nginx ip_hash");
    let requests = |scenario: &Scenario, replication| {
        let setup = RunSetup { scenario, strategy, replication, logs: &BLOG.1, stories: 0 };
        let outcome = cluster::run(&setup, &|_| ()).unwrap_or_else(|error| panic!("{error}"));
        outcome.counts.phase(Phase::All).requests
    };
    let found: Vec<Vec<u64>> = (0..3).map(|replication| requests(&hash.scenario, replication)).collect();
    assert_eq!(found[0], requests(&Scenario { vary: Vary::Population, ..hash.scenario.clone() }, 0));
    assert!(found[1] != found[0] && found[2] != found[1], "{found:?}");
    assert!(found.iter().all(|each| each.iter().sum::<u64>() == found[0].iter().sum::<u64>()), "{found:?}");
}
