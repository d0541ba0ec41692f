//! Advice: racing candidates comes to what trying all of them to the end does.

use std::fs;

use evenkeel_sim::experiment::advise::{Advice, advise, candidates};
use evenkeel_sim::scenario::Overrides;

/// Timeouts and netmasks of LVS, a hash, and a store, after a crash.
const SITE: &str = r#"
title = "which?"
duration = "5min"
warmup = "1min"
replications = 24
seed = 3
[[population]]
name = "homes"
clients = 150
address = { preset = "home-nat" }
visit = { preset = "login-site", away = { exponential = { mean = "2min" } } }
[cluster]
servers = [{ name = "web1", address = "10.0.0.1:80" }, { name = "web2", address = "10.0.0.2:80" }]
capacity = { workers = 16, service = { exponential = { mean = "20ms" } } }
[[fault]]
at = "1min"
crash = { server = "web2", lasts = "1min" }
[[strategy]]
name = "LVS"
balancer = { lvs.wlc = { persistence_timeout = "60s", timeouts = { tcp = "30s", tcp_fin = "5s", udp = "60s" } } }
health = { tcp_check = { delay_loop = "2s", connect_timeout = "1s", retry = 0 } }
session = { local = {} }
[[strategy]]
name = "round robin, local"
balancer = { nginx.round_robin = {} }
session = { local = {} }
[[strategy]]
name = "round robin, shared"
balancer = { nginx.round_robin = {} }
session = { shared = { latency = "2ms" } }
[[strategy]]
name = "round robin, slow store"
balancer = { nginx.round_robin = {} }
session = { shared = { latency = "40ms" } }
[advise]
fields = [{ field = "strategy.LVS.balancer.lvs.wlc.persistence_timeout", values = ["10s", "60s", "120s", "300s"] }]
minimise = ["load.requests.peak_to_nominal", "visits.with_loss", "latency.mean", "store.operations"]
"#;

fn advice(text: &str, exhaustive: bool) -> Advice {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("site.toml");
    fs::write(&file, text).expect("written");
    let (plan, candidates) = candidates(&file, &Overrides::NONE).unwrap_or_else(|error| panic!("{error}"));
    advise(&plan, candidates, &[], exhaustive, &|_| ()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_race_finds_the_front_that_an_exhaustive_sweep_finds_with_fewer_runs() {
    let (raced, all) = (advice(SITE, false), advice(SITE, true));
    let front = |advice: &Advice| {
        let on = advice.standings.iter().filter(|it| it.on_front);
        on.map(|it| (it.name.clone(), it.objectives.clone())).collect::<Vec<_>>()
    };
    assert_eq!(front(&raced), front(&all), "the same candidates, with the same values");
    assert!(front(&all).len() >= 2, "{:?}", front(&all));
    assert_eq!(raced.choice, all.choice);
    assert_eq!((all.runs.0, all.runs.1, raced.runs.1), (168, 168, 168));
    assert!(raced.runs.0 < 168, "nobody dropped out: {:?}", raced.standings);
    // A store that is slow and nothing else is beaten by one that is not.
    let slow = raced.standings.iter().find(|it| it.name == "round robin, slow store").expect("a candidate");
    assert!(!slow.on_front && slow.dropped.is_some() && slow.replications == 8, "{slow:?}");
}

#[test]
fn a_detected_warm_up_is_one_for_all_candidates() {
    let fault = SITE.find("[[fault]]").expect("a fault")..SITE.find("[[strategy]]").expect("a strategy");
    let steady = format!("{}{}", &SITE[..fault.start], &SITE[fault.end..])
        .replace("warmup = \"1min\"", "warmup = \"detect\"\nwindow = \"2s\"")
        .replace("replications = 24", "replications = 8");
    let found = advice(&steady, false);
    // Users who are all away at first come within a few minutes.
    let warmup = found.warmup.expect("it was detected").as_secs_f64();
    assert!((0.0..=150.0).contains(&warmup), "{warmup}");
    assert_eq!(found.runs.0, 7 * 8);
    assert_eq!(advice(SITE, false).warmup, None);
}
