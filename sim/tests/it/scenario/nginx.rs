//! nginx's methods in a scenario: their options, and a short run of each.

use evenkeel_sim::balancer::nginx::NginxMethod;
use evenkeel_sim::cluster::{RunOutcome, RunSetup, run};
use evenkeel_sim::metrics::LossCause;
use evenkeel_sim::scenario::{Diagnostic, Program, Scenario};

use super::read;

/// 300 users of 100 addresses at three servers, with the balancer that `balancer` says.
fn text(balancer: &str) -> String {
    format!(
        r#"title = "nginx"
duration = "20min"
replications = 1
[[population]]
name = "homes"
clients = 300
address = {{ preset = "home-nat", users_per_address = 3 }}
visit = {{ preset = "login-site", away = "2min" }}
[cluster]
capacity = {{ workers = 8, service = "20ms" }}
servers = [
  {{ name = "web1", address = "10.0.0.1:80" }},
  {{ name = "web2", address = "10.0.0.2:80" }},
  {{ name = "web3", address = "10.0.0.3:80" }},
]
[[strategy]]
name = "nginx"
session = {{ local = {{}} }}
balancer = {balancer}
"#
    )
}

fn scenario(balancer: &str) -> Scenario {
    read(&text(balancer)).unwrap_or_else(|mistakes| panic!("{balancer}: {mistakes}")).scenario
}

fn only_mistake(balancer: &str) -> Diagnostic {
    let mut mistakes = read(&text(balancer)).expect_err(balancer).0;
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    mistakes.remove(0)
}

fn outcome(scenario: &Scenario) -> RunOutcome {
    let setup = RunSetup { scenario, strategy: 0, replication: 0, logs: &[], stories: 0 };
    run(&setup, &|_| {}).unwrap_or_else(|error| panic!("{error}"))
}

fn losses(balancer: &str) -> u64 {
    outcome(&scenario(balancer)).counts.ledger.losses
}

#[test]
fn a_hash_key_is_named_as_in_nginx_and_explained() {
    for (written, shown) in [
        ("{}", "$remote_addr"),
        ("{ key = \"remote_addr\" }", "$remote_addr"),
        ("{ key = \"$binary_remote_addr\" }", "$binary_remote_addr"),
        ("{ key = \"$cookie_sid\" }", "$cookie_sid"),
        ("{ key = \"$host$request_uri\" }", "$host$request_uri"),
    ] {
        for method in ["hash", "hash_consistent"] {
            let loaded = read(&text(&format!("{{ nginx.{method} = {written} }}"))).expect(written);
            let Program::Nginx(config) = &loaded.scenario.strategies[0].tier.program else {
                panic!("an nginx");
            };
            assert_eq!(config.servers[1].address, "10.0.0.2:80");
            let explained = loaded.resolved.to_string();
            assert!(explained.contains(&format!("key = \"{shown}\"\n")), "{explained}");
            assert!(read(&explained).is_ok_and(|again| again.resolved.to_string() == explained));
        }
    }
}

#[test]
fn what_a_hash_cannot_hash_is_said() {
    for (key, message, remedy) in [
        ("$arg_page", "no request has a parameter `page`", "params = { page = "),
        ("$http_x_user", "no request has a header `x_user`", "headers = { x_user = "),
        ("a$", "unknown variable ``", ""),
    ] {
        let mistake = only_mistake(&format!("{{ nginx.hash = {{ key = \"{key}\" }} }}"));
        assert!(mistake.message.ends_with(message), "{}", mistake.message);
        assert!(mistake.help.is_some_and(|help| help.contains(remedy)));
    }
    let mistake = only_mistake("{ nginx.hash = { key = \"$remote_adr\" } }");
    assert_eq!(mistake.message, "unknown variable `remote_adr`");
    assert!(mistake.help.is_some_and(|help| help.contains("`remote_addr`")));
}

#[test]
fn parameters_that_make_another_method_point_to_it() {
    for (balancer, parameter, remedy) in [
        ("nginx.hash = { consistent = true }", "consistent", "`nginx.hash_consistent`"),
        ("nginx.random = { two = true }", "two", "`nginx.random_two`"),
        ("nginx.random_two = { least_conn = true }", "least_conn", "`nginx.least_conn`"),
        ("nginx.ip_hash = { key = \"cookie\" }", "key", "`nginx.hash`"),
    ] {
        let mistake = only_mistake(&format!("{{ {balancer} }}"));
        let name = balancer.split(' ').next().expect("a name");
        assert_eq!(mistake.message, format!("`{parameter}` has no meaning with `{name}`"));
        assert!(mistake.help.is_some_and(|help| help.contains(remedy)), "{balancer}");
    }
}

#[test]
fn what_nginx_or_the_ring_cannot_take_is_a_mistake() {
    for method in NginxMethod::ENTRIES {
        let with_backup =
            format!("{{ {} = {{ servers = {{ web3 = {{ backup = true }} }} }} }}", method.scenario_name);
        let takes = NginxMethod::by_name(method.name).expect("in the catalogue").takes_backup();
        assert_eq!(read(&text(&with_backup)).is_ok(), takes, "{}", method.name);
    }
    let mistake = only_mistake("{ nginx.hash_consistent = { servers = { web1 = { weight = 65_535 } } } }");
    assert!(mistake.message.contains("10485920, of at most 10485760"), "{}", mistake.message);
}

#[test]
fn every_method_runs_and_repeats_itself() {
    for method in NginxMethod::ENTRIES {
        let scenario = scenario(&format!("\"{}\"", method.scenario_name));
        let (once, again) = (outcome(&scenario), outcome(&scenario));
        assert!(once.counts.ledger.requests_served > 1_000, "{}", method.name);
        assert_eq!(
            format!("{:?}", once.counts.ledger),
            format!("{:?}", again.counts.ledger),
            "{}",
            method.name
        );
    }
}

#[test]
fn a_hash_of_what_stays_keeps_sessions_and_chance_does_not() {
    for balancer in [
        "{ nginx.hash = { key = \"remote_addr\" } }",
        "{ nginx.hash = { key = \"binary_remote_addr\" } }",
        "{ nginx.hash_consistent = { key = \"remote_addr\" } }",
    ] {
        assert_eq!(losses(balancer), 0, "{balancer}");
    }
    // A client's first request has no cookie and goes round, so its form may be another server's; sessions come later.
    assert_eq!(losses("{ nginx.hash_consistent = { key = \"cookie\" } }"), 0);
    for balancer in ["\"nginx.random\"", "\"nginx.random_two\"", "\"nginx.least_conn\""] {
        assert!(losses(balancer) > 100, "{balancer}");
    }
}

#[test]
fn cookies_keep_sessions_with_every_method_and_are_explained() {
    for method in NginxMethod::ENTRIES.iter().filter(|method| method.name != "fair") {
        let options = match method.name {
            "session_sticky" => "{}",
            _ => "{ version = \"1.30.2\", sticky = { cookie = \"srv_id\", expires = \"1h\" } }",
        };
        let balancer = format!("{{ nginx.{} = {options} }}", method.name);
        assert_eq!(losses(&balancer), 0, "{balancer}");
        let explained = read(&text(&balancer)).expect("no mistakes").resolved.to_string();
        assert!(read(&explained).is_ok_and(|again| again.resolved.to_string() == explained), "{explained}");
    }
    let short = "{ nginx.random = { version = \"1.30\", sticky = { cookie = \"s\", expires = \"1s\" } } }";
    let causes = outcome(&scenario(short)).counts.ledger.losses_by_cause;
    assert!(causes[LossCause::AffinityExpired as usize] > 100, "{causes:?}");
    assert_eq!(causes.iter().sum::<u64>(), causes[LossCause::AffinityExpired as usize]);
}

#[test]
fn what_came_with_a_later_version_says_so_and_an_unknown_version_lists_those_that_are_known() {
    let mistake = only_mistake("{ nginx.ip_hash = { sticky = { cookie = \"s\" } } }");
    assert!(
        mistake.message.contains("`sticky` came with nginx 1.29.6, and this is 1.22"),
        "{}",
        mistake.message
    );
    assert!(mistake.message.contains("set `version = \"1.30\"`"), "{}", mistake.message);
    let mistake = only_mistake("{ nginx.ip_hash = { version = \"1.19.3\" } }");
    assert_eq!(mistake.message, "nginx 1.19.3 is not known to this simulator");
    assert!(mistake.help.is_some_and(|help| help.ends_with("`1.22`, `1.24`, `1.26`, `1.28`, `1.30`")));
    let learn = "{ nginx.round_robin = { version = \"1.30\", sticky = { learn = \"x\", cookie = \"s\" } } }";
    assert_eq!(only_mistake(learn).message, "`sticky learn` is not modelled");
    let mistake = only_mistake("{ nginx.fair = { weight_mode = \"peek\" } }");
    assert!(mistake.help.is_some_and(|help| help.contains("`peak`")), "{}", mistake.message);
}
