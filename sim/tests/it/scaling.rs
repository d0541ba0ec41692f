//! Servers that come and go as they are busy, and clients and balancers that keep account of their further tries.

use evenkeel_sim::cluster::RunOutcome;
use evenkeel_sim::metrics::recorder::PhaseCounts;
use evenkeel_sim::metrics::{LossCause, Phase};

use crate::support::{read, replications};

/// Users behind `balancer` at up to six servers of two workers, 100 ms a request, while as many come as make four to seven workers
/// busy for half an hour.
fn scaled(balancer: &str, autoscaling: &str) -> RunOutcome {
    let text = format!(
        r#"title = "scaling"
duration = "40min"
warmup = "10min"
replications = 1
seed = 5
[[population]]
name = "homes"
clients = 300
address = {{ preset = "home-nat" }}
visit = {{ preset = "login-site", away = "1min", think = {{ exponential = {{ mean = "7s" }} }} }}
[[population]]
name = "crowd"
clients = 6000
address = {{ preset = "home-nat" }}
arrivals = {{ flash_crowd = {{ rate = 0.1, peak = 40.0, at = "5min", rise = "2min", plateau = "8min", decay = "1min" }} }}
[cluster]
capacity = {{ workers = 2, service = {{ exponential = {{ mean = "100ms" }} }} }}
servers = [
  {{ name = "web1", address = "10.0.0.1:80" }},
  {{ name = "web2", address = "10.0.0.2:80" }},
  {{ name = "web3", address = "10.0.0.3:80" }},
  {{ name = "web4", address = "10.0.0.4:80" }},
  {{ name = "web5", address = "10.0.0.5:80" }},
  {{ name = "web6", address = "10.0.0.6:80" }},
]
[cluster.autoscaling]
min = 3
{autoscaling}
[[strategy]]
name = "s"
balancer = {{ {balancer} }}
session = {{ local = {{}} }}
"#
    );
    replications(&text).pop().expect("one replication")
}

const HALF: &str =
    "target = { utilisation = 0.5 }\nboot = \"1min\"\ndrain = \"30s\"\nscale_in_stabilisation = \"3min\"";

fn all(outcome: &RunOutcome) -> PhaseCounts {
    outcome.counts.phase(Phase::All)
}

/// Servers of the group that ran on average.
fn running(outcome: &RunOutcome) -> f64 {
    all(outcome).running_ns as f64 / 1e9 / 2_400.0
}

#[test]
fn servers_come_with_the_load_and_go_when_it_is_over() {
    let outcome = scaled("lvs.wlc = {}", HALF);
    let counts = all(&outcome);
    assert!(counts.scale_outs >= 2 && counts.scale_outs == counts.scale_ins, "{counts:?}");
    assert!((3.2..5.0).contains(&running(&outcome)), "{}", running(&outcome));
    // From the decision to have a server until it is in service, and from that to let it go until it is out.
    for spell in outcome.spells.iter().filter(|spell| spell.act.is_some()) {
        let took = spell.until.since(spell.from).as_secs_f64();
        let comes = spell.act.is_some_and(|act| act.comes);
        assert_eq!(took, if comes { 60.0 } else { 30.0 });
    }
    // Whoever is out gets nothing: the last server is needed for a part of the time only.
    assert!(counts.requests[5] * 2 < counts.requests[0], "{:?}", counts.requests);
    assert!(counts.requests[3] > 0, "{:?}", counts.requests);
}

#[test]
fn on_target_nobody_comes_or_goes() {
    let outcome = scaled("lvs.wlc = {}", &format!("{HALF}\ntolerance = 10.0"));
    let counts = all(&outcome);
    assert_eq!((counts.scale_outs, counts.scale_ins), (0, 0));
    assert_eq!(running(&outcome), 3.0);
    assert_eq!(counts.requests[3..], [0; 3]);
}

#[test]
fn a_hash_of_addresses_moves_most_users_at_each_act_a_ring_few_and_a_cookie_none_but_the_server_s_own() {
    let outcomes = [
        "nginx.ip_hash = {}",
        "nginx.hash_consistent = { key = \"$remote_addr\" }",
        "haproxy.roundrobin = { cookie = \"insert\" }",
    ]
    .map(|balancer| scaled(balancer, HALF));
    let lost = |outcome: &RunOutcome| all(outcome).losses();
    let [hash, ring, cookie] = outcomes.each_ref().map(lost);
    assert!(hash > 2 * ring && ring > 2 * cookie, "{hash}, {ring}, {cookie}");
    let causes = outcomes[0].counts.ledger.losses_by_cause;
    assert!(causes[LossCause::Remapped as usize] * 2 > hash, "{causes:?}");
    assert_eq!(
        causes[LossCause::NoAffinity as usize] + causes[LossCause::ServerLost as usize],
        0,
        "{causes:?}"
    );
    // All of that is told with the autoscaler's line.
    assert!(outcomes[0].faults[0].users_logged_out * 10 > hash * 9, "{:?} of {hash}", outcomes[0].faults);
}

#[test]
fn a_plan_without_room_or_with_a_target_that_is_none_is_refused() {
    for (plan, message) in [
        ("max = 2", "`max` must be at least `min`, which is 3, got 2"),
        ("initial = 2", "`initial` must be 3 to 6"),
        ("max = 7", "`max`"),
        ("period = \"1ms\"", "`period` must be at least"),
        ("servers = [\"web9\"]", "unknown server `web9`"),
    ] {
        let refused = std::panic::catch_unwind(|| scaled("lvs.wlc = {}", &format!("{HALF}\n{plan}")));
        let error = refused.err().and_then(|error| error.downcast::<String>().ok()).unwrap_or_default();
        assert!(error.contains(message), "{plan}: {error}");
    }
}

/// 80 requests a second for ten minutes at two servers that can serve 100, one of which dies for a minute.
fn stormy(patience: &str, balancer: &str) -> PhaseCounts {
    let text = format!(
        r#"title = "storm"
duration = "10min"
warmup = "1min"
replications = 1
seed = 5
[[population]]
name = "app"
clients = 5000
address = {{ preset = "direct" }}
arrivals = {{ poisson = {{ rate = 10.0 }} }}
visit = {{ login = false, clicks = 8, think = {{ exponential = {{ mean = "2s" }} }}, session_idle_timeout = "1h", away = "1s", patience = {{ timeout = "2s", reloads = 4, backoff = {{ first = "500ms", factor = 1.0 }}, leaves = false{patience} }} }}
[cluster]
capacity = {{ workers = 5, queue_limit = 250, service = {{ exponential = {{ mean = "100ms" }} }} }}
servers = [{{ name = "a", address = "10.0.0.1:80" }}, {{ name = "b", address = "10.0.0.2:80" }}]
[[fault]]
at = "2min"
crash = {{ server = "b", lasts = "1min" }}
[[strategy]]
name = "s"
balancer = {{ {balancer} }}
session = {{ shared = {{ latency = "0s" }} }}
"#
    );
    let loaded = read(&text);
    assert_eq!(read(&loaded.resolved.to_string()).resolved.to_string(), loaded.resolved.to_string());
    replications(&text).pop().expect("one replication").counts.phase(Phase::All)
}

/// Tries for each thing that was asked for.
fn amplification(counts: &PhaseCounts) -> f64 {
    let requests = counts.served + counts.failures();
    (requests + counts.retried) as f64 / (requests - counts.reloads) as f64
}

#[test]
fn clients_with_a_budget_do_not_keep_a_storm_up() {
    let balancer = "envoy.least_request = { max_tries = 1 }";
    let naive = stormy("", balancer);
    let share = stormy(", budget = { share = 0.1 }", balancer);
    let tokens = stormy(", budget = { retry_throttling = { max_tokens = 4, token_ratio = 0.1 } }", balancer);
    assert_eq!(naive.reloads_refused, 0);
    assert!(amplification(&naive) > 1.5, "{}", amplification(&naive));
    for with_budget in [share, tokens] {
        assert!(with_budget.reloads_refused > 0);
        assert!(amplification(&with_budget) < amplification(&naive) * 0.7, "{}", amplification(&with_budget));
        assert!(with_budget.failures() * 2 < naive.failures());
    }
}

#[test]
fn a_balancer_with_a_budget_tries_less_often_again() {
    let tries = "max_tries = 3, per_try_timeout = \"500ms\", ejection_failures = 1000";
    let [naive, share, linkerd, few] = [
        "max_retries = \"none\"",
        "retry_budget = { budget_percent = 10, min_retry_concurrency = 1 }",
        "retry_budget = { retry_ratio = 0.1, min_retries_per_second = 0, ttl = \"10s\" }",
        "max_retries = 1",
    ]
    .map(|budget| {
        stormy(", budget = { share = 0.0 }", &format!("envoy.least_request = {{ {tries}, {budget} }}"))
    });
    assert_eq!(naive.retries_refused, 0);
    for with_budget in [share, linkerd, few] {
        assert!(with_budget.retries_refused > 0);
        assert!(with_budget.retried * 2 < naive.retried, "{} of {}", with_budget.retried, naive.retried);
    }
}
