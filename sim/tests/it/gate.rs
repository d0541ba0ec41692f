//! The gate: mistakes that somebody makes in a configuration are caught, and changes without effect raise no more alarms than
//! is said.

use evenkeel_sim::experiment::Experiment;
use evenkeel_sim::experiment::baseline::BaselineScenario;
use evenkeel_sim::experiment::gate::{FALSE_ALARMS, Gate, GateError, GateResult};
use evenkeel_sim::experiment::summary::Verdict;
use std::path::Path;

use crate::support::read;

/// A site behind nginx (two workers that share what they know) and behind LVS, small enough for many runs.
fn site(seed: u32, weight: u32, zone: &str, persistence_timeout: &str) -> String {
    format!(
        r#"
title = "a small site"
duration = "4min"
warmup = "1min"
replications = 10
seed = {seed}
[[population]]
name = "homes"
clients = 200
address = {{ preset = "home-nat" }}
visit = {{ preset = "login-site", away = {{ exponential = {{ mean = "1min" }} }} }}
[cluster]
servers = [
  {{ name = "web1", address = "10.0.0.1:80" }},
  {{ name = "web2", address = "10.0.0.2:80", weight = {weight} }},
]
capacity = {{ workers = 16, service = {{ exponential = {{ mean = "20ms" }} }} }}
[[strategy]]
name = "nginx"
balancer = {{ nginx.least_conn = {{ worker_processes = 4{zone} }} }}
session = {{ shared = {{ latency = "1ms" }} }}
[[strategy]]
name = "LVS"
balancer = {{ lvs.wlc = {{ persistence_timeout = "{persistence_timeout}" }} }}
session = {{ local = {{}} }}
"#
    )
}

fn baseline(text: &str) -> BaselineScenario {
    let loaded = read(text);
    let mut experiment = Experiment::new(&loaded, &[], 0).expect("nothing to detect");
    experiment.run_to_precision(&|_| ()).expect("it runs");
    experiment.baseline(Path::new("site.toml"), &[], None)
}

fn check(text: &str, baseline: &BaselineScenario) -> Result<GateResult, GateError> {
    let loaded = read(text);
    let mut experiment = Experiment::new(&loaded, &[], 0).expect("nothing to detect");
    Gate { baseline: Some(baseline), replications_most: None }.check(&mut experiment, &|_| ())
}

fn worse(result: &GateResult) -> Vec<(String, &'static str)> {
    let bad = result.summary.expectations.iter().filter(|it| it.verdict == Verdict::Worse);
    bad.map(|it| (it.strategy.clone(), it.metric)).collect()
}
