//! The gate: mistakes that somebody makes in a configuration are caught, and changes without effect raise no more alarms than
//! is said.

use std::path::Path;

use evenkeel_sim::experiment::Experiment;
use evenkeel_sim::experiment::baseline::{BaselineScenario, BaselineValue};
use evenkeel_sim::experiment::gate::{FALSE_ALARMS, Gate, GateError, GateResult};
use evenkeel_sim::experiment::summary::Verdict;
use rayon::prelude::*;

use crate::support::read;

/// A site with a crash, behind nginx (four workers, with or without what they share) and behind LVS.
fn site(weight: u32, zone: bool, persistence_timeout: &str) -> String {
    format!(
        r#"
title = "a small site"
duration = "6min"
warmup = "1min"
replications = 10
seed = 1
[[population]]
name = "homes"
clients = 200
address = {{ preset = "home-nat" }}
visit = {{ preset = "login-site", away = {{ exponential = {{ mean = "2min" }} }} }}
[cluster]
servers = [
  {{ name = "web1", address = "10.0.0.1:80" }},
  {{ name = "web2", address = "10.0.0.2:80", weight = {weight} }},
]
capacity = {{ workers = 16, service = {{ exponential = {{ mean = "20ms" }} }} }}
[[fault]]
at = "1min"
crash = {{ server = "web2", lasts = "1min" }}
[[strategy]]
name = "nginx"
balancer = {{ nginx.round_robin = {{ worker_processes = 4, zone = {zone} }} }}
session = {{ shared = {{ latency = "1ms" }} }}
[[strategy]]
name = "LVS"
balancer = {{ lvs.wlc = {{ persistence_timeout = "{persistence_timeout}", timeouts = {{ tcp = "30s", tcp_fin = "5s", udp = "60s" }} }} }}
health = {{ tcp_check = {{ delay_loop = "2s", connect_timeout = "1s", retry = 0 }} }}
session = {{ local = {{}} }}
[[expect]]
metric = "requests.retried"
max = 0.01
[[expect]]
strategy = "LVS"
metric = "load.requests.peak_to_mean"
relative_to = "nginx"
max = 1.2
"#
    )
}

/// A site without anything but chance, small enough for thousands of runs.
fn tiny(seed: usize) -> String {
    format!(
        r#"
title = "chance"
duration = "40s"
replications = 10
seed = {seed}
[[population]]
name = "all"
clients = 40
address = {{ preset = "direct" }}
arrivals = {{ poisson = {{ rate = 5 }} }}
[cluster]
servers = [{{ name = "a", address = "10.0.0.1:80" }}, {{ name = "b", address = "10.0.0.2:80" }}]
capacity = {{ workers = 1, service = {{ exponential = {{ mean = "100ms" }} }} }}
[[strategy]]
name = "ip_hash"
balancer = {{ nginx.ip_hash = {{}} }}
session = {{ local = {{}} }}
"#
    )
}

fn baseline(text: &str, tolerance: Option<f64>) -> BaselineScenario {
    let loaded = read(text);
    let mut experiment = Experiment::new(&loaded, &[], 0).expect("nothing to detect");
    experiment.run_to_precision(&|_| ()).expect("it runs");
    experiment.baseline(Path::new("site.toml"), &[], tolerance)
}

fn check(text: &str, baseline: &BaselineScenario) -> Result<GateResult, GateError> {
    let loaded = read(text);
    let mut experiment = Experiment::new(&loaded, &[], 0).expect("nothing to detect");
    Gate { baseline: Some(baseline), replications_most: Some(10) }.check(&mut experiment, &|_| ())
}

fn worse(result: &GateResult) -> Vec<(String, String)> {
    let bad = result.summary.expectations.iter().filter(|it| it.verdict == Verdict::Worse);
    bad.map(|it| (it.strategy.clone(), it.metric.clone())).collect()
}

#[test]
fn what_has_not_changed_passes_and_is_the_same_to_the_digit() {
    let text = site(1, true, "60s");
    let result = check(&text, &baseline(&text, None)).expect("it fits");
    let verdicts: Vec<Verdict> = result.summary.expectations.iter().map(|it| it.verdict).collect();
    assert_eq!(verdicts, vec![Verdict::Pass; verdicts.len()]);
    assert_eq!(result.looks, [10]);
    let compared = result.summary.expectations.iter().filter(|it| it.baseline.is_some());
    assert!(
        compared.clone().count() > 8
            && compared.clone().all(|it| it.value.is_some_and(|value| value.mean == 0.0))
    );
}

#[test]
fn mistakes_in_a_configuration_are_caught() {
    let before = baseline(&site(1, true, "60s"), None);
    let caught = |text: &str| worse(&check(text, &before).expect("it fits"));
    let has = |found: &[(String, String)], strategy: &str, metric: &str| {
        assert!(found.contains(&(strategy.to_owned(), metric.to_owned())), "{strategy} {metric}: {found:?}");
    };
    // A weight that the machine does not have.
    has(&caught(&site(3, true, "60s")), "nginx", "load.requests.peak_to_mean");
    // Without a zone each worker finds out for itself that a server is down.
    has(&caught(&site(1, false, "60s")), "nginx", "requests.retried");
    // Users stay with the survivor for twice as long after the other is back.
    has(&caught(&site(1, true, "120s")), "LVS", "load.requests.peak_to_mean");
}

#[test]
fn harmless_changes_raise_no_more_alarms_than_is_said() {
    // Goal: of 200 checks of what did not change, each against a baseline of other clients, at most 5 % call something worse.
    // Method: no tolerance at all, so that every value lies on its limit, which is as bad as harmless gets. Of 200 checks at 5 %
    // more than 17 raise an alarm with a probability below 1 %.
    let alarms = (0..200_usize)
        .into_par_iter()
        .filter(|rerun| {
            let before = baseline(&tiny(2 * rerun), Some(0.0));
            let loaded = read(&tiny(2 * rerun + 1));
            let mut experiment = Experiment::new(&loaded, &[], 0).expect("nothing to detect");
            let gate = Gate { baseline: Some(&before), replications_most: Some(20) };
            let result = gate.check(&mut experiment, &|_| ()).expect("it fits");
            assert!(result.summary.expectations.iter().all(|it| it.baseline.is_some_and(|it| !it.paired)));
            !worse(&result).is_empty()
        })
        .count();
    assert!(alarms as f64 <= 200.0 * FALSE_ALARMS + 7.0, "{alarms} of 200");
}

#[test]
fn a_baseline_of_something_else_is_an_error_and_no_pass() {
    let text = site(1, true, "60s");
    let mut before = baseline(&tiny(1), None);
    let misfit = check(&text, &before).expect_err("it has another strategy").to_string();
    assert!(misfit.contains("the scenario has no strategy `ip_hash`"), "{misfit}");
    before.values.iter_mut().for_each(|value| value.strategy = "nginx".into());
    let misfit = check(&text, &before).expect_err("it lacks a strategy").to_string();
    assert!(misfit.contains("the baseline has nothing of strategy `LVS`"), "{misfit}");
    let twice = before.values.iter().map(|value| BaselineValue { strategy: "LVS".into(), ..value.clone() });
    before.values.extend(twice.collect::<Vec<_>>());
    before.values[0].metric = "load.requests.sleek".into();
    let misfit = check(&text, &before).expect_err("it has another metric").to_string();
    assert!(misfit.contains("there is no metric `load.requests.sleek`"), "{misfit}");
}
