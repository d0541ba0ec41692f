//! Several instances side by side: who uses which servers, what they disagree about, and cookies between them.

use evenkeel_sim::cluster::{RunOutcome, RunSetup, run};
use evenkeel_sim::metrics::LossCause;
use evenkeel_sim::scenario::Diagnostic;

use super::read;

/// 300 users at twelve servers, behind what `strategy` says.
fn text(strategy: &str) -> String {
    let servers: Vec<_> =
        (1..=12).map(|i| format!("  {{ name = \"web{i}\", address = \"10.0.0.{i}:80\" }},\n")).collect();
    format!(
        r#"title = "instances"
duration = "20min"
replications = 1
[[population]]
name = "homes"
clients = 300
address = {{ preset = "home-nat" }}
visit = {{ preset = "login-site", away = "2min", form_token = false }}
[cluster]
capacity = {{ workers = 8, service = "20ms" }}
servers = [
{}]
[[strategy]]
name = "proxies"
session = {{ local = {{}} }}
{strategy}
"#,
        servers.concat()
    )
}

fn outcome(strategy: &str) -> RunOutcome {
    let loaded = read(&text(strategy)).unwrap_or_else(|mistakes| panic!("{strategy}: {mistakes}"));
    let explained = loaded.resolved.to_string();
    assert!(read(&explained).is_ok_and(|again| again.resolved.to_string() == explained), "{explained}");
    let setup = RunSetup { scenario: &loaded.scenario, strategy: 0, replication: 0, logs: &[], stories: 0 };
    run(&setup, &|_| {}).unwrap_or_else(|error| panic!("{error}"))
}

fn losses(strategy: &str, cause: LossCause) -> (u64, u64) {
    let ledger = outcome(strategy).counts.ledger;
    (ledger.losses, ledger.losses_by_cause[cause as usize])
}

fn only_mistake(strategy: &str) -> Diagnostic {
    let mut mistakes = read(&text(strategy)).expect_err(strategy).0;
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    mistakes.remove(0)
}

#[test]
fn instances_that_know_the_same_servers_hash_alike() {
    for balancer in ["modern.maglev = {}", "envoy.ring_hash = {}", "nginx.ip_hash = {}"] {
        let strategy = format!("instances = 4\nbalancer = {{ {balancer} }}");
        assert_eq!(losses(&strategy, LossCause::InstanceSplit).0, 0, "{balancer}");
    }
}

#[test]
fn hashes_over_different_subsets_disagree() {
    for subset in ["deterministic", "random"] {
        let balancer = format!("{{ modern.rendezvous = {{ subset = {{ {subset} = {{ size = 4 }} }} }} }}");
        // A connection is kept for a while, so not every click meets another instance.
        let (all, split) = losses(&format!("instances = 6\nbalancer = {balancer}"), LossCause::InstanceSplit);
        assert!(split > 100, "{subset}: {split}");
        assert_eq!(all, split, "{subset}");
        assert_eq!(losses(&format!("balancer = {balancer}"), LossCause::InstanceSplit).0, 0);
    }
}

#[test]
fn a_cookie_is_worth_nothing_to_an_instance_that_does_not_use_its_server() {
    let with = |subset: &str| {
        format!("instances = 6\nbalancer = {{ modern.random = {{ cookie = {{}}, subset = {subset} }} }}")
    };
    assert_eq!(losses(&with("\"all\""), LossCause::InstanceSplit).0, 0);
    let (all, split) = losses(&with("{ deterministic = { size = 4 } }"), LossCause::InstanceSplit);
    assert!(all > 100 && all == split, "{split} of {all}");
}

#[test]
fn deterministic_subsets_spread_requests_and_one_alone_uses_its_servers_only() {
    let subset = "balancer = { modern.random = { subset = { deterministic = { size = 3 } } } }";
    let used = |strategy: &str| {
        let counts = outcome(strategy).counts;
        let servers = (0..counts.servers)
            .filter(|at| counts.window_requests.iter().skip(*at).step_by(counts.servers).any(|&n| n > 0));
        servers.count()
    };
    assert_eq!(used(subset), 3);
    assert_eq!(used(&format!("instances = 4\n{subset}")), 12);
}

#[test]
fn what_cannot_stand_side_by_side_or_be_so_large_is_a_mistake() {
    let mistake = only_mistake("instances = 2\nbalancer = { lvs.wlc = {} }");
    assert_eq!(mistake.message, "nothing says which of the directors a connection reaches");
    let mistake = only_mistake("balancer = { modern.random = { subset = { random = { size = 13 } } } }");
    assert!(mistake.message.contains("12"), "{}", mistake.message);
}

#[test]
fn a_cookie_that_grows_old_is_told_from_one_that_was_never_given() {
    let strategy = "balancer = { envoy.least_request = { cookie = { ttl = \"30s\" } } }";
    let (all, expired) = losses(strategy, LossCause::AffinityExpired);
    assert!(expired > 100 && all == expired, "{expired} of {all}");
    assert_eq!(losses("balancer = { envoy.least_request = { cookie = {} } }", LossCause::NoAffinity).0, 0);
}
