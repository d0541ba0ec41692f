//! HAProxy's conditions on ties, in a scenario.

use evenkeel_sim::cluster::{RunOutcome, RunSetup, run};
use evenkeel_sim::metrics::Phase;
use evenkeel_sim::metrics::recorder::Failure;

use super::read;

/// 300 users at three servers behind cookies with more of `options`; web2 is down for good from the tenth minute.
fn text(options: &str) -> String {
    format!(
        r#"title = "haproxy"
duration = "20min"
replications = 1
[[population]]
name = "homes"
clients = 300
address = {{ preset = "direct" }}
visit = {{ preset = "login-site", away = "2min" }}
pages = {{ count = 9 }}
[cluster]
capacity = {{ workers = 8, service = "20ms" }}
servers = [
  {{ name = "web1", address = "10.0.0.1:80" }},
  {{ name = "web2", address = "10.0.0.2:80" }},
  {{ name = "web3", address = "10.0.0.3:80" }},
]
[[fault]]
at = "10min"
crash = {{ server = "web2", lasts = "10min" }}
[[strategy]]
name = "haproxy"
session = {{ local = {{}} }}
balancer = {{ haproxy.roundrobin = {{ check = {{}}, {options} }} }}
"#
    )
}

fn outcome(options: &str) -> RunOutcome {
    let loaded = read(&text(options)).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let again = read(&loaded.resolved.to_string()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(again.resolved.to_string(), loaded.resolved.to_string());
    let setup = RunSetup { scenario: &loaded.scenario, strategy: 0, replication: 0, logs: &[], stories: 0 };
    run(&setup, &|_| {}).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn requests_whose_cookie_is_ignored_lose_their_sessions_and_the_others_keep_them() {
    let losses = |options| {
        let counts = outcome(options).counts;
        let before = counts.phase(Phase::Before);
        (before.lost.iter().sum::<u64>(), before.requests.iter().sum::<u64>())
    };
    let (none, requests) = losses("cookie = \"insert\"");
    assert!(none == 0 && requests > 1_000, "{none} of {requests}");
    let (elsewhere, _) = losses("cookie = \"insert\", ignore-persist = \"if { path_beg /static }\"");
    assert_eq!(elsewhere, 0, "no page is below /static");
    let (some, _) = losses("cookie = \"insert\", ignore-persist = \"if { path_end e1 e2 e3 }\"");
    let (all, _) = losses("cookie = \"insert\", ignore-persist = \"if { path_beg /page }\"");
    assert!(0 < some && some < all, "{some} and {all}");
}

#[test]
fn who_is_forced_to_stay_fails_at_a_server_that_is_down() {
    let refused = |options| {
        let counts = outcome(options).counts;
        counts.phase(Phase::During).failed[Failure::Refused as usize]
    };
    let free = refused("cookie = \"insert\"");
    let forced = refused("cookie = \"insert\", force-persist = \"if { path_beg / }\"");
    assert!(forced > 10 * free.max(1), "{forced} beside {free}");
}

#[test]
fn conditions_without_an_effect_or_a_meaning_are_mistakes() {
    for (options, message) in [
        ("ignore-persist = \"if { path / }\"", "`ignore-persist` has no effect without a cookie"),
        (
            "stick-table = { type = \"ip\", size = 1000, expire = \"1h\" }, ignore-persist = \"if { path / }\"",
            "`ignore-persist` has no effect",
        ),
        ("cookie = \"insert\", force-persist = \"if { src 10.0.0.0/8 }\"", "is not modelled"),
    ] {
        let mistakes = read(&text(options)).expect_err(options).0;
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].message.contains(message), "{}", mistakes[0].message);
    }
    assert!(
        read(&text(
            "stick-table = { type = \"ip\", size = 1000, expire = \"1h\" }, force-persist = \"if { path / }\""
        ))
        .is_ok()
    );
}
