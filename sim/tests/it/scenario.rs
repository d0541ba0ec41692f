//! Scenario files: what is read, what is said about mistakes, and what `explain` prints.

mod addresses;
mod haproxy;
mod instances;
mod keys;
mod lvs;
mod mistakes;
mod mutants;
mod nginx;
mod stores;
mod traffic;

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_sim::balancer;
use evenkeel_sim::engine::{Distribution, SimDuration};
use evenkeel_sim::population::{CountLaw, Pooling};
use evenkeel_sim::scenario::{
    Diagnostics, Loaded, Overrides, PresetKind, Program, Scenario, Traffic, canonical, parse, presets,
};
use evenkeel_sim::session::SessionPlan;

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
        let mut first = read(&text).unwrap();
        let explained = first.resolved.to_string();
        let second = parse("explained.toml", &explained, &Overrides::NONE)
            .unwrap_or_else(|mistakes| panic!("{mistakes}\n{explained}"));
        assert_eq!(shown(&second.scenario), shown(&first.scenario), "{explained}");
        assert_eq!(second.resolved.to_string(), explained);
        // What is tried around a scenario is no part of what runs.
        (first.scenario.sweep, first.scenario.advise) = (None, None);
        let third = read(&canonical(&first.resolved)).unwrap();
        // What is tried beside the scenario does not make it another one.
        let alone = Scenario { sweep: None, advise: None, ..first.scenario.clone() };
        assert_eq!(shown(&third.scenario), shown(&alone));
        assert_eq!(canonical(&third.resolved), canonical(&first.resolved));
        assert!(!canonical(&first.resolved).contains('#'));
    }
}

#[test]
fn balancers_are_written_in_three_ways_that_mean_the_same() {
    for entry in balancer::entries() {
        let (program, name) = (entry.program, entry.name);
        if program == "haproxy" && ["url_param", "hdr", "hash"].contains(&name) {
            // They need to be told what to hash.
            continue;
        }
        let canonical_of = |balancer: String| {
            let text = format!(
                "title = \"t\"\nduration = \"1s\"\n[[scripted_client]]\nname = \"c\"\naddress = \"1.2.3.4\"\n\
                 connections = [{{ at = \"0s\", hold = \"0s\" }}]\n[cluster]\n\
                 servers = [{{ name = \"a\", address = \"10.0.0.1:80\" }}]\ncapacity = {{ workers = 1, service = \"1s\" }}\n\
                 [[strategy]]\nname = \"s\"\nsession = {{ local = {{}} }}\nbalancer = {balancer}\n"
            );
            canonical(&read(&text).unwrap_or_else(|mistakes| panic!("{mistakes}")).resolved)
        };
        let table = canonical_of(format!("{{ {program}.{name} = {{}} }}"));
        assert_eq!(canonical_of(format!("\"{program}.{name}\"")), table);
        assert_eq!(canonical_of(format!("{{ \"{program}.{name}\" = {{}} }}")), table);
        assert!(table.contains(&format!("[strategy.balancer.{program}.{name}]")));
    }
}

#[test]
fn what_is_written_is_what_is_resolved() {
    let scenario = whole();
    assert_eq!(scenario.duration, Some(SimDuration::from_secs(3_600)));
    let Traffic::ClosedLoop(visit) = &scenario.populations[0].traffic else { panic!("homes make visits") };
    let five_seconds = Box::new(Distribution::Erlang { shape: 2, mean: 5.0 });
    assert_eq!(visit.think, Distribution::Truncated { law: five_seconds, max: 60.0 });
    assert_eq!(scenario.populations[0].connection.keepalive_timeout, SimDuration::from_secs(5));
    assert_eq!(scenario.populations[1].connection.keepalive_requests, 1);
    assert_eq!(scenario.populations[1].address.fixed.len(), 2);
    assert_eq!(scenario.scripted_clients[0].strategies, Some(vec![1]));
    let Program::Nginx(nginx) = &scenario.strategies[0].tier.program else { panic!("nginx comes first") };
    let limits: Vec<_> = nginx.servers.iter().map(|s| (s.weight, s.max_fails, s.backup)).collect();
    assert_eq!(limits, [(1, 3, false), (5, 3, false), (1, 0, true)]);
    assert!(nginx.next_upstream.error && nginx.next_upstream.non_idempotent && !nginx.next_upstream.timeout);
    assert_eq!(nginx.next_upstream.statuses, [false, false, true, false, false, false, false]);
    let Program::Lvs(lvs) = &scenario.strategies[1].tier.program else { panic!("LVS comes second") };
    let service = &lvs.services[0];
    assert_eq!(service.persistence_timeout, Some(SimDuration::from_secs(120)));
    assert_eq!((service.persistence_prefix_v4, service.persistence_prefix_v6), (24, 128));
    assert_eq!(lvs.timeouts.tcp_fin, SimDuration::from_secs(5));
    assert_eq!(lvs.timeouts.tcp, SimDuration::from_secs(900));
    let weights: Vec<_> = service.servers.iter().map(|server| server.weight).collect();
    assert_eq!(weights, [0, 2, 1]);
    assert!(matches!(scenario.strategies[1].session, SessionPlan::Shared { .. }));
    assert_eq!(scenario.strategies[1].tier.tcp_check.unwrap().retry, 1);
    assert_eq!(scenario.expectations[0].line, 72);
}

#[test]
fn a_server_overrides_the_capacity_of_the_cluster_field_by_field() {
    let explained = read(WHOLE).unwrap().resolved.to_string();
    for capacity in [
        "discipline = \"fcfs\", workers = 8, queue_limit = 100, service = \"20ms\"",
        "discipline = \"fcfs\", workers = 4, queue_limit = 100, service = \"20ms\"",
        "discipline = \"ps\", cores = 2, limit = \"none\", service = \"20ms\"",
    ] {
        assert_eq!(explained.matches(capacity).count(), 1, "{capacity}\n{explained}");
    }
}

#[test]
fn logs_alone_vary_in_nothing_and_run_once() {
    let text = "title = \"t\"\n[[log]]\nname = \"l\"\nfiles = [\"a\", \"/b\"]\n[cluster]\n\
                servers = [{ name = \"a\", address = \"10.0.0.1:80\" }]\ncapacity = { workers = 1, service = \"1s\" }\n\
                [[strategy]]\nname = \"s\"\nsession = { local = {} }\nbalancer = \"nginx.ip_hash\"\n";
    let scenario = read(text).unwrap().scenario;
    assert_eq!((scenario.replications, scenario.duration), (1, None));
    assert_eq!(read(&format!("vary = \"hash\"\n{text}")).unwrap().scenario.replications, 10, "networks vary");
}

#[test]
fn options_of_a_log_are_read_and_explained() {
    let with = |options: &str| WHOLE.replace("file = \"a.log\"", &format!("file = \"a.log\"\n{options}"));
    let options = "format = \"$remote_addr [$time_local] $cookie_sid\"\nsessions_by = \"cookie:sid\"\nspeed = 2.5\n\
                   from = \"2016-02-20T05:00:45Z\"\nuntil = \"20/Feb/2016:06:00:00 +0000\"\nclient_address = \"forwarded\"";
    let loaded = read(&with(options)).unwrap();
    let log = &loaded.scenario.logs[0];
    assert_eq!((log.from, log.until, log.speed), (Some(1_455_944_445), Some(1_455_948_000), 2.5));
    let explained = loaded.resolved.to_string();
    assert_eq!(read(&explained).unwrap().resolved.to_string(), explained);
    for (wrong, message) in [
        ("format = \"combinde\"", "`format` is not a log format: `combinde` has no variable"),
        ("sessions_by = \"agent\"", "got `agent`"),
        ("speed = 0", "`speed` must be above 0"),
        ("from = \"yesterday\"", "`from` must be a time from 1970 to 2106"),
        ("client_address = \"header\"", "unknown `client_address` `header`"),
    ] {
        let mistakes = read(&with(wrong)).unwrap_err().to_string();
        assert!(mistakes.contains(message), "{mistakes}");
    }
}

#[test]
fn presets_are_named_in_the_explained_text_with_their_source() {
    let explained = read(WHOLE).unwrap().resolved.to_string();
    for preset in presets().filter(|preset| preset.name == "home-nat" || preset.name == "login-site") {
        assert!(explained.contains(&format!("# source: {}", preset.source)), "{explained}");
        assert!(explained.contains(&format!("preset = \"{}\"", preset.name)), "{explained}");
    }
    for preset in presets() {
        let text = match preset.kind {
            PresetKind::Address => WHOLE.replace("\"home-nat\"", &format!("\"{}\"", preset.name)),
            PresetKind::Visit => WHOLE.replace("\"login-site\"", &format!("\"{}\"", preset.name)),
            PresetKind::Population => WHOLE.replace(
                "address = { preset = \"home-nat\", addresses_per_24 = 2.5 }",
                &format!("preset = \"{}\"", preset.name),
            ),
        };
        assert!(read(&text).is_ok(), "{}", preset.name);
    }
}

fn overridden(assignment: &str) -> Result<Loaded, Diagnostics> {
    parse("x.toml", WHOLE, &Overrides::new([assignment]))
}

#[test]
fn overrides_change_what_is_read_by_index_and_by_name() {
    let scenario = |assignment| overridden(assignment).unwrap_or_else(|m| panic!("{m}")).scenario;
    assert_eq!(scenario("seed=18446744073709551615").seed, u64::MAX);
    assert_eq!(scenario("population.bots.clients = 500").populations[1].clients, 500);
    assert_eq!(scenario("population.0.clients=1_500").populations[0].clients, 1_500);
    assert_eq!(scenario("duration=2h").duration, Some(SimDuration::from_secs(7_200)));
    assert_eq!(scenario("cluster.servers.web1.weight=3").servers[0].weight, 3);
    let changed = scenario("strategy.nginx.balancer.nginx.round_robin.max_fails=0");
    let Program::Nginx(nginx) = &changed.strategies[0].tier.program else { panic!("nginx comes first") };
    assert_eq!(nginx.servers[0].max_fails, 0);
    let changed = scenario("strategy.lvs.balancer.lvs.wlc={}");
    let Program::Lvs(lvs) = &changed.strategies[1].tier.program else { panic!("LVS comes second") };
    assert_eq!(lvs.services[0].persistence_timeout, None);
    let last_wins = parse("x.toml", WHOLE, &Overrides::new(["seed=1", "seed=2"])).unwrap();
    assert_eq!(last_wins.scenario.seed, 2);
}

#[test]
fn overrides_that_name_nothing_are_mistakes_of_the_command_line() {
    for (assignment, message, help) in [
        ("sed=1", "--set:1:1: unknown path `sed`", "similar paths: `seed`"),
        (
            "population.bots.cleints=1",
            "--set:1:17: unknown path `population.1.cleints`",
            "similar paths: `population.1.clients`",
        ),
        (
            "strategy.0.balancer.nginx.round_robin.max_fail=0",
            "--set:1:39: unknown path `strategy.0.balancer.nginx.round_robin.max_fail`",
            "similar paths: `strategy.0.balancer.nginx.round_robin.max_fails`",
        ),
        (
            "population.bot.clients=1",
            "--set:1:12: `population` has no element `bot`",
            "similar elements: `bots`",
        ),
        ("strategy.0.x=1", "--set:1:12: unknown path `strategy.0.x`", "known keys: `name`, `tiers`"),
        ("seed=-1", "--set:1:6: `seed` must be at least 0, got -1", ""),
        ("title.x=1", "--set:1:7: `title` is \"everything\", so it has no `x`", "set the whole of `title`"),
    ] {
        let shown = overridden(assignment).unwrap_err().to_string();
        assert!(shown.starts_with(message), "{shown}");
        assert!(shown.contains(help), "{shown}");
    }
}

#[test]
fn cgnat_pools_addresses_in_pairs_and_sizes_may_be_written_with_underscores() {
    let text = WHOLE.replace(
        "{ preset = \"home-nat\", addresses_per_24 = 2.5 }",
        "{ preset = \"cgnat\", users_per_address = 1_024, pooling = \"paired\" }",
    );
    let address = &read(&text).unwrap().scenario.populations[0].address;
    assert_eq!(address.users_per_address, CountLaw::Constant(1_024));
    assert_eq!(address.preset, "cgnat");
    assert!(matches!(address.pool.unwrap().pooling, Pooling::Paired { mapping_timeout: Some(_) }));
}

#[test]
fn the_example_of_the_design_is_read_but_for_what_is_not_modelled_yet() {
    let example = r#"
title        = "Three web servers, two ways to keep a session, one crash"
duration     = "2h"          # after the warm-up; `at` counts from its end too
warmup       = "10m"
replications = 20
seed         = 7

[[population]]
name    = "homes"
clients = 12_000
address = { preset = "home-nat" }
visit   = { preset = "login-site" }

[[population]]
name    = "mobile"
clients = 8_000
address = { preset = "cgnat", users_per_address = 256, pooling = "paired" }
visit   = { preset = "login-site" }

[cluster]
servers = [                  # in configuration order, which some programs read backwards
  { name = "web1", address = "172.16.94.216:9000" },
  { name = "web2", address = "172.16.94.217:9000" },
  { name = "web3", address = "172.16.94.218:9000" },
]
capacity = { workers = 64, service = { lognormal = { mean = "20ms", cv = 1.0 } } }   # a server may override it

[[fault]]
at = "1h"
crash = { server = "web2", lasts = "10m" }

[[strategy]]
name     = "nginx ip_hash"
balancer = { nginx.ip_hash = {} }
session  = { local = {} }

[[strategy]]
name     = "LVS -p 120"
balancer = { lvs.wlc = { persistence_timeout = "120s", timeouts = { tcp = "30s", tcp_fin = "5s", udp = "60s" } } }
director = { vrrp = { advert_int = "1s", sync = false } }
session  = { local = {} }

[[strategy]]
name     = "round robin, sessions in MySQL"
balancer = { nginx.round_robin = {} }
session  = { mysql = { replicas = 1, replica_lag = "200ms" } }

[[expect]]
strategy = "LVS -p 120"
metric   = "load.requests.peak_to_mean"
max      = 1.35
"#;
    assert_eq!(read(example).unwrap().scenario.strategies.len(), 3);
}
