//! The gate that continuous integration runs: it passes as things are, and fails when something real gets worse.

use crate::support::{Place, repository};

#[test]
fn the_gate_passes() {
    let checked = Place::new().run(&["check", &repository("scenarios/gate"), "--json"]).ends_with(0).json();
    let scenarios = checked["scenarios"].as_array().expect("a list");
    assert!(scenarios.len() >= 2);
    for scenario in scenarios {
        let expectations = scenario["expectations"].as_array().expect("a list");
        assert!(expectations.len() >= 5, "{}", scenario["scenario"]);
        for expectation in expectations {
            assert_eq!(expectation["verdict"], "pass", "{expectation}");
        }
    }
}

#[test]
fn the_gate_fails_for_whatever_a_user_would_notice() {
    // Goal: the limits are tight enough to be worth having. Method: break one thing at a time, and look for the metric that
    // must notice it.
    for (change, file, noticed_by) in [
        (
            "strategy.0.balancer.nginx.round_robin.servers.web1.weight=2",
            "two-servers",
            "load.requests.peak_to_mean",
        ),
        ("strategy.0.session={ local = {} }", "two-servers", "visits.with_loss"),
        ("strategy.0.session={ local = {} }", "crash", "visits.with_loss"),
        ("strategy.0.session={ shared = { latency = \"4ms\" } }", "two-servers", "latency.mean"),
        ("strategy.1.balancer={ nginx.round_robin = {} }", "two-servers", "visits.finished"),
        ("cluster.capacity.workers=1", "two-servers", "latency.p99"),
        ("cluster.capacity.service=\"30ms\"", "two-servers", "latency.mean"),
        ("strategy.0.balancer.nginx.round_robin.max_fails=0", "crash", "requests.retried"),
        ("strategy.1.balancer.nginx.ip_hash.proxy_next_upstream=\"off\"", "crash", "requests.failed"),
        ("strategy.2.health.tcp_check.delay_loop=\"60s\"", "crash", "requests.failed"),
        ("strategy.2.balancer={ lvs.wlc = {} }", "crash", "visits.with_loss"),
    ] {
        let path = repository(&format!("scenarios/gate/{file}.toml"));
        let ran = Place::new().run(&["check", &path, "--json", "-q", "--set", change]).ends_with(3);
        let checked = ran.json();
        let worse: Vec<&str> = checked["scenarios"][0]["expectations"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|expectation| expectation["verdict"] == "worse")
            .filter_map(|expectation| expectation["metric"].as_str())
            .collect();
        assert!(worse.contains(&noticed_by), "{change} in {file}: worse are {worse:?}");
    }
}

#[test]
fn one_replication_of_something_drawn_decides_nothing() {
    // With a fault the run's parts are not alike, so that batches of it are no replications.
    let path = repository("scenarios/gate/crash.toml");
    let once = ["--set", "replications=1", "--max-replications", "1"];
    let ran = Place::new().run(&[&["check", &path, "--json", "-q"], &once[..]].concat()).ends_with(3);
    let checked = ran.json();
    let expectations = checked["scenarios"][0]["expectations"].as_array().expect("a list");
    assert!(!expectations.is_empty());
    assert!(expectations.iter().all(|expectation| expectation["verdict"] == "inconclusive"));
}
