//! Scenario files: what is read, what is said about mistakes, and what `explain` prints.

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_sim::balancer;
use evenkeel_sim::engine::{Distribution, SimDuration};
use evenkeel_sim::scenario::{
    Diagnostic, Diagnostics, Loaded, Overrides, PresetKind, Program, Scenario, Traffic, canonical, load,
    parse, presets,
};
use evenkeel_sim::session::SessionPlan;
use proptest::prelude::*;

/// A scenario in which each kind of table occurs, one short key a line; mistakes are put in by replacing a part.
const WHOLE: &str = r#"title = "everything"
duration = "1h"
warmup = "1min"
replications = 3
seed = 9
vary = "behaviour"
window = "5s"
connection = { keepalive_timeout = "5s" }
[[population]]
name = "homes"
clients = 1_000
address = { preset = "home-nat", addresses_per_24 = 2.5 }
visit = { preset = "login-site", think = { erlang = { shape = 2, mean = "5s", max = "1min" } } }
[[population]]
name = "bots"
clients = 10
address = { fixed = ["10.9.8.7", "2001:db8::1"] }
arrivals = { poisson = { rate = 2 } }
connection = { closed_by = "client", keepalive_requests = 1 }
[[population]]
name = "shops"
clients = 20
address = { users_per_address = { lognormal = { median = 3, sigma = 0.5 } }, preset = "office" }
[population.visit]
clicks = { pareto = { min = 1, alpha = 1.3, max = 50 } }
think = { weibull = { scale = "2s", shape = 0.4 } }
away = { uniform = { min = "1min", max = "1h" } }
login = true
on_unknown_id = "adopt_id"
[[log]]
name = "replay"
file = "a.log"
sessions = false
[[scripted_client]]
name = "probe"
address = "192.168.1.100"
connections = [ { at = "0s", hold = "1s" }, { at = "2s", hold = "1s" } ]
strategies = ["lvs"]
[cluster]
capacity = { workers = 8, queue_limit = 100, service = "20ms" }
[[cluster.servers]]
name = "web1"
address = "10.0.0.1:80"
[[cluster.servers]]
name = "web2"
address = "10.0.0.2:80"
weight = 2
capacity = { workers = 4 }
[[cluster.servers]]
name = "web3"
address = "10.0.0.3:80"
capacity = { discipline = "ps", cores = 2 }
[[fault]]
at = "10min"
crash = { server = "web2", lasts = "2m" }
[[strategy]]
name = "nginx"
session = { local = {} }
[strategy.balancer.nginx.round_robin]
max_fails = 3
proxy_next_upstream = "error http_503 non_idempotent"
servers = { web3 = { backup = true, max_fails = 0 }, web2 = { weight = 5 } }
[[strategy]]
name = "lvs"
session = { shared = { latency = { lognormal = { mean = "2ms", cv = 0.5 } } } }
health = { tcp_check = { retry = 1 } }
[strategy.balancer.lvs.wlc]
persistence_timeout = "120s"
persistence_granularity = "255.255.255.0"
timeouts = { tcp_fin = "5s" }
servers = { web1 = { weight = 0, u_threshold = 50, l_threshold = 20 } }
[[expect]]
strategy = "lvs"
metric = "load.requests.jain"
phase = "during"
min = 0.9
"#;

fn read(text: &str) -> Result<Loaded, Diagnostics> {
    parse("x.toml", text, &Overrides::NONE)
}

fn whole() -> Scenario {
    read(WHOLE).unwrap_or_else(|mistakes| panic!("{mistakes}")).scenario
}

/// The scenario in full; lines of expectations are left out, since they belong to a file.
fn shown(scenario: &Scenario) -> String {
    let mut scenario = scenario.clone();
    for expectation in &mut scenario.expectations {
        expectation.line = 0;
    }
    format!("{scenario:#?}")
}

fn scenario_files() -> Vec<PathBuf> {
    fn visit(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios"), &mut files);
    files.sort();
    files
}

/// The mistakes of [`WHOLE`] with `from` replaced by `to`.
fn mistakes(from: &str, to: &str) -> Vec<Diagnostic> {
    assert_eq!(WHOLE.matches(from).count(), 1, "`{from}` must stand once in the scenario");
    match read(&WHOLE.replace(from, to)) {
        Ok(_) => panic!("`{to}` is taken"),
        Err(mistakes) => mistakes.0,
    }
}

/// Checks that the replacement is one mistake, at the first `marked` of what is put in, with the message and a help
/// that contains `help`.
#[track_caller]
fn check(from: &str, to: &str, marked: &str, message: &str, help: &str) {
    let found = mistakes(from, to);
    let text = WHOLE.replace(from, to);
    let start = WHOLE.find(from).unwrap();
    let at = start + to.find(marked).unwrap_or_else(|| panic!("`{marked}` is not in `{to}`"));
    let line = text[..at].matches('\n').count() + 1;
    let column = at - text[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1;
    let all = Diagnostics(found.clone()).to_string();
    assert_eq!(found.len(), 1, "{all}");
    let got = &found[0];
    assert_eq!(got.message, message, "{all}");
    assert_eq!((got.line, got.column), (line, column), "{all}");
    assert!(got.help.as_deref().unwrap_or("").contains(help), "{all}");
}

#[test]
fn every_scenario_of_the_repository_is_read() {
    let files = scenario_files();
    assert!(files.len() >= 6, "{files:?}");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        if let Err(mistakes) = parse(&path.display().to_string(), &text, &Overrides::NONE) {
            panic!("{mistakes}");
        }
    }
}

#[test]
fn what_is_explained_reads_back_as_the_same_scenario() {
    // Explaining the explained text again must change nothing, and equal scenarios have equal canonical texts.
    let mut texts: Vec<String> =
        scenario_files().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    texts.push(WHOLE.into());
    for text in texts {
        let first = read(&text).unwrap();
        let explained = first.resolved.to_string();
        let second = parse("explained.toml", &explained, &Overrides::NONE)
            .unwrap_or_else(|mistakes| panic!("{mistakes}\n{explained}"));
        assert_eq!(shown(&second.scenario), shown(&first.scenario), "{explained}");
        assert_eq!(second.resolved.to_string(), explained);
        let third = read(&canonical(&first.resolved)).unwrap();
        assert_eq!(shown(&third.scenario), shown(&first.scenario));
        assert_eq!(canonical(&third.resolved), canonical(&first.resolved));
        assert!(!canonical(&first.resolved).contains('#'));
    }
}
