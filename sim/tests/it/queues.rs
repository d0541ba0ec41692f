//! Requests that wait in HAProxy's queues instead of the servers'.

use crate::support::replications;
use evenkeel_sim::cluster::RunOutcome;
use evenkeel_sim::metrics::Phase;
use evenkeel_sim::metrics::recorder::PhaseCounts;

/// `servers` servers of `workers` workers at 10 ms a request, `rate` requests a second, behind `balancer`.
fn outcome(servers: usize, workers: u32, rate: u32, balancer: &str) -> RunOutcome {
    let names: Vec<String> =
        (0..servers).map(|i| format!("{{ name = \"web{i}\", address = \"10.0.0.{}:80\" }}", i + 1)).collect();
    let text = format!(
        r#"title = "queues"
duration = "2min"
warmup = "10s"
replications = 1
seed = 3
[[population]]
name = "p"
clients = 1000
address = {{ preset = "direct" }}
arrivals = {{ poisson = {{ rate = {rate} }} }}
[cluster]
capacity = {{ workers = {workers}, service = {{ exponential = {{ mean = "10ms" }} }} }}
servers = [{}]
[[strategy]]
name = "s"
session = {{ local = {{}} }}
balancer = {{ {balancer} }}
"#,
        names.join(", ")
    );
    replications(&text).pop().expect("one replication")
}

fn counts(outcome: &RunOutcome) -> PhaseCounts {
    outcome.counts.phase(Phase::All)
}

#[test]
fn waiting_at_the_balancer_for_the_only_server_is_as_good_as_waiting_at_the_server() {
    // Both are first come, first served, so every response time is the same to the nanosecond.
    let there = outcome(1, 4, 360, "haproxy.roundrobin = {}");
    let here = outcome(1, 4, 360, "haproxy.roundrobin = { maxconn = 4, timeout_queue = \"10min\" }");
    let (there, here) = (counts(&there), counts(&here));
    assert_eq!(here.latency.mean(), there.latency.mean());
    assert_eq!(here.latency.max(), there.latency.max());
    assert!(here.queued > here.served / 3 && there.queued == 0, "{} of {}", here.queued, here.served);
    assert!(here.queue_wait.count() > 0);
}

#[test]
fn one_queue_at_the_balancer_makes_one_station_of_several_servers() {
    // M/M/4 at 0.8: Erlang's formula gives a mean wait of 0.5964 / (4 * 100 - 320) s, and 38,400 requests the mean to some
    // 5 %. Four queues of one worker each would make it 40 ms.
    let one_queue = "haproxy.roundrobin = { maxconn = 1, timeout_queue = \"10min\" }";
    let found = counts(&outcome(4, 1, 320, one_queue));
    let mean = found.latency.mean().expect("answers");
    let expected = 0.010 + 0.5964 / 80.0;
    assert!((mean / expected - 1.0).abs() < 0.15, "{mean} s instead of {expected} s");
    assert_eq!(found.failures(), 0);
}

#[test]
fn who_waits_too_long_gets_a_503_and_the_accounts_balance() {
    let found = counts(&outcome(2, 1, 220, "haproxy.leastconn = { maxconn = 1, timeout_queue = \"50ms\" }"));
    assert!(found.failures() > 0 && found.failures() < found.served, "{}", found.failures());
    // Nobody waits longer than that, and service takes its time on top.
    assert!(found.queue_wait.sum_ns() / (found.queued as f64) < 50e6);
}
