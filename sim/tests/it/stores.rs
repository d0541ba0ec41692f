//! Stores within runs: what each kind of death takes, what it is called, and that the books balance whatever happens.

use evenkeel_sim::cluster::{self, RunOutcome, RunSetup};
use evenkeel_sim::metrics::recorder::PhaseCounts;
use evenkeel_sim::metrics::{LossCause, Phase};

use crate::support::read;

/// A busy little site with one crash of a server and one of the first node of the store.
fn site(balancer: &str, session: &str, more: &str) -> String {
    format!(
        r#"
title = "stores"
duration = "20min"
warmup = "2min"
seed = 3
replications = 1
{more}
[[population]]
name = "users"
clients = 150
address = {{ preset = "home-nat" }}
visit = {{ preset = "login-site", session_idle_timeout = "5min", away = {{ exponential = {{ mean = "1min" }} }}, think = {{ exponential = {{ mean = "6s" }} }} }}
[cluster]
servers = [
  {{ name = "a", address = "10.0.0.1:80" }},
  {{ name = "b", address = "10.0.0.2:80" }},
  {{ name = "c", address = "10.0.0.3:80" }},
]
capacity = {{ workers = 8, service = {{ exponential = {{ mean = "20ms" }} }} }}
[[fault]]
at = "5min"
crash = {{ server = "b", lasts = "1min" }}
[[fault]]
at = "12min"
store_crash = {{ node = 0, lasts = "1min" }}
# So that every file has a store with a node to crash.
[[strategy]]
name = "it"
balancer = {{ {balancer} = {{}} }}
session = {session}
[[strategy]]
name = "other"
balancer = {{ nginx.round_robin = {{}} }}
session = {{ redis = {{}} }}
"#
    )
}

fn run(text: &str) -> RunOutcome {
    let loaded = read(text);
    let setup = RunSetup { scenario: &loaded.scenario, strategy: 0, replication: 0, logs: &[], stories: 3 };
    cluster::run(&setup, &|_| ()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn counts(balancer: &str, session: &str) -> PhaseCounts {
    run(&site(balancer, session, "")).counts.phase(Phase::All)
}

fn lost(counts: &PhaseCounts, cause: LossCause) -> u64 {
    counts.lost[cause as usize]
}

const ANY: &str = "nginx.round_robin";
const STICKY: &str = "nginx.ip_hash";

#[test]
fn every_store_balances_its_books_through_both_crashes_and_logs_users_in() {
    // The run checks its ledger itself; here all stores run, under round robin, in which requests wander.
    for session in [
        "{ local = { max_sessions = 5 } }",
        "{ local = { on_disk = true } }",
        "{ mysql = {} }",
        "{ mysql = { replicas = 0, on_store_error = \"login\" } }",
        "{ mysql = { read_from = \"source\", rpl_semi_sync_source_enabled = true, max_connections = 3 } }",
        "{ redis = { read_from = \"replicas\", replica_lag = { exponential = { mean = \"1s\" } } } }",
        "{ redis = { failover = \"cluster\", cluster-node-timeout = \"5s\" } }",
        "{ redis = { maxmemory = \"200KB\", maxmemory-policy = \"volatile-ttl\" } }",
        "{ redis = { maxmemory = \"100KB\" } }",
        "{ memcached = { remove_failed_servers = true } }",
        "{ memcached = {} }",
        "{ tomcat_delta = {} }",
        "{ tomcat_backup = { channelSendOptions = 6 } }",
        "{ cookie = {} }",
        "{ write_behind = {} }",
        "{ hybrid = { threshold = 30, resume = 20, store = { mysql = {} } } }",
        "{ hybrid = { threshold = 30, resume = 20, at_switch = \"stay\", store = { redis = {} } } }",
    ] {
        for on_unknown_id in ["new_id", "adopt_id"] {
            let text = site(ANY, session, "");
            let text = text.replace("think =", &format!("on_unknown_id = \"{on_unknown_id}\", think ="));
            let outcome = run(&text);
            let all = outcome.counts.phase(Phase::All);
            // One that refuses when it is full has as many sessions as have room until they expire.
            let few = session.contains("100KB");
            assert!(all.created > if few { 20 } else { 300 }, "{session}: {} sessions", all.created);
            assert!(all.session_missed <= all.session_needed, "{session}");
        }
    }
}

#[test]
fn a_shared_store_loses_nothing_with_a_server_and_little_by_promotion() {
    for session in ["{ mysql = { read_from = \"source\" } }", "{ redis = {} }", "{ cookie = {} }"] {
        let all = counts(ANY, session);
        assert_eq!(all.losses(), 0, "{session}: {:?}", all.lost);
        assert!(all.store_operations > 2_000 || session.contains("cookie"), "{session}");
    }
}

#[test]
fn what_the_death_of_a_node_takes_is_called_store_lost() {
    // A lone Redis without persistence forgets everybody; those notice it whose visits last longer than it is away.
    let all = counts(ANY, "{ redis = { failover = \"none\", replicas = 0, save = \"\" } }");
    assert!(lost(&all, LossCause::StoreLost) > 10, "{:?}", all.lost);
    assert_eq!(lost(&all, LossCause::StoreLost), all.losses());
    assert!(all.store_failed > 50, "nobody is served from memory while it is away");
    // One that logs its writes forgets nobody.
    let all = counts(ANY, "{ redis = { failover = \"none\", replicas = 0, appendonly = \"yes\" } }");
    assert_eq!(all.losses(), 0);
}

#[test]
fn an_error_of_the_store_is_a_login_page_if_the_application_says_so() {
    let all = counts(
        ANY,
        "{ mysql = { promotion = \"none\", read_from = \"source\", on_store_error = \"login\" } }",
    );
    assert_eq!(lost(&all, LossCause::StoreLost), all.losses());
    assert!(all.losses() > 20 && all.store_failed > 0, "clicks are logged out, logins fail");
    let fails = counts(ANY, "{ mysql = { promotion = \"none\", read_from = \"source\" } }");
    assert_eq!(fails.losses(), 0, "the source comes back with all that it had committed");
    assert!(fails.store_failed > all.store_failed);
}

#[test]
fn a_full_memory_evicts_and_the_loss_is_called_so() {
    let all = counts(STICKY, "{ local = { max_sessions = 12 } }");
    assert!(lost(&all, LossCause::StoreEvicted) > 20, "{:?}", all.lost);
    assert!(lost(&all, LossCause::ServerLost) > 0, "{:?}", all.lost);
    let all = counts(ANY, "{ redis = { maxmemory = \"100KB\", maxmemory-policy = \"allkeys-lru\" } }");
    assert!(lost(&all, LossCause::StoreEvicted) > 20, "{:?}", all.lost);
}

#[test]
fn memory_without_a_limit_or_disk_gives_the_same_losses_as_plain_local_memory() {
    let plain = counts(STICKY, "{ local = {} }");
    let bounded = counts(STICKY, "{ local = { max_sessions = 1000000 } }");
    assert_eq!(plain.lost, bounded.lost, "two ways to the same model");
    assert_eq!((plain.served, plain.created), (bounded.served, bounded.created));
    let disk = counts(STICKY, "{ local = { on_disk = true } }");
    assert_eq!(lost(&disk, LossCause::ServerLost), 0);
    assert!(disk.losses() <= plain.losses() && disk.losses() > 0, "the detour still loses them");
}

#[test]
fn copies_between_servers_save_nearly_all_sessions_of_a_dead_one() {
    let local = counts(STICKY, "{ local = {} }");
    for session in ["{ tomcat_delta = {} }", "{ tomcat_backup = {} }"] {
        let copied = counts(STICKY, session);
        assert!(copied.losses() * 10 <= local.losses(), "{session}: {:?}", copied.lost);
        assert!(copied.store_messages > 0 && copied.store_bytes > copied.store_messages, "{session}");
    }
}

#[test]
fn a_lagging_replica_makes_losses_that_are_called_stale() {
    let lag = "{ mysql = { replica_lag = { exponential = { mean = \"4s\" } } } }";
    let all = counts(ANY, lag);
    assert!(lost(&all, LossCause::StoreStale) > 20 && all.stale > 20, "{:?}, {}", all.lost, all.stale);
    assert!(all.lost_writes >= all.stale, "every click writes what it read");
}

#[test]
fn a_switch_of_stores_loses_the_sessions_of_the_other_place_unless_they_stay() {
    let rule = |at_switch: &str| {
        format!(
            "{{ hybrid = {{ threshold = 60, resume = 55, at_switch = \"{at_switch}\", store = {{ mysql = {{}} }} }} }}"
        )
    };
    let forgets = counts(STICKY, &rule("forget"));
    assert!(lost(&forgets, LossCause::StoreSwitched) > 20, "{:?}", forgets.lost);
    let stays = counts(STICKY, &rule("stay"));
    assert_eq!(lost(&stays, LossCause::StoreSwitched), 0);
    assert!(stays.store_operations > 0);
}

#[test]
fn the_story_of_a_loss_names_what_became_of_the_session() {
    let text = site(ANY, "{ redis = { failover = \"none\", replicas = 0, save = \"\" } }", "");
    let stories = run(&text).stories;
    assert!(stories[0].contains("at 720.000 s node 0 of the session store died"), "{stories:?}");
    assert!(stories[0].ends_with("store_lost"), "{stories:?}");
}

#[test]
fn the_time_that_a_worker_waits_is_that_of_its_operations() {
    // Two operations a click of 1 ms and 2 ms, each with 250 us of network both ways, one of 2.5 ms a login.
    let session = "{ redis = { read = \"1ms\", write = \"2ms\", replicas = 0, failover = \"none\" } }";
    let text = site(ANY, session, "[session]\nwrites = 0.5\n").replace("workers = 8", "workers = 64");
    let outcome = run(&text);
    let all = outcome.counts.phase(Phase::Before);
    let clicks = all.session_needed as f64;
    let least = clicks * (1.5 + 0.5 * 2.5) + all.created as f64 * 2.5;
    let waited = all.store_wait.sum_ns() / 1e6;
    // One thread, used to a few per cent: queueing adds as much. Half of the clicks write, give or take their chance.
    assert!((least * 0.98..least * 1.10).contains(&waited), "{waited} ms, at least {least} ms");
}

#[test]
fn who_tries_again_may_find_what_the_last_server_still_has_and_loses_nothing_twice() {
    // Goal: a retry after a loss. Method: round robin over three servers with local memory, so nearly every click is lost; nobody
    // leaves. Under adopted ids the session is still at home, where one retry in three arrives; under new ids nobody
    // finds anything again.
    let site = |on_unknown_id: &str, retry: f64| {
        let text = site(ANY, "{ local = {} }", "");
        let visit = format!(
            "on_unknown_id = \"{on_unknown_id}\", leave_on_loss = 0.0, retry_on_loss = {retry:?}, think ="
        );
        run(&text.replace("think =", &visit)).counts.phase(Phase::Before)
    };
    let never = site("adopt_id", 0.0);
    assert_eq!(never.session_missed, never.losses());
    let always = site("adopt_id", 1.0);
    let missed_again = always.session_missed - always.losses();
    let share = missed_again as f64 / always.losses() as f64;
    assert!((0.4..0.9).contains(&share), "retries that miss again: {share}");
    assert!(always.resumed > never.resumed, "{} and {}", always.resumed, never.resumed);
    let forgets = site("new_id", 1.0);
    assert_eq!((forgets.resumed, forgets.session_missed), (0, forgets.losses()));
}

#[test]
fn a_fork_that_is_left_for_the_older_copy_loses_what_was_written_since() {
    let text = site(ANY, "{ local = {} }", "").replace("think =", "on_unknown_id = \"adopt_id\", think =");
    let plain = run(&text).counts.phase(Phase::Before);
    assert!(plain.forked > 50 && plain.resumed > 50, "{} {}", plain.forked, plain.resumed);
    assert_eq!(plain.lost_writes, plain.resumed, "each older copy lacks something");
    let bounded = run(&text.replace("local = {}", "local = { max_sessions = 100000 }"));
    let bounded = bounded.counts.phase(Phase::Before);
    assert_eq!(
        (plain.forked, plain.resumed),
        (bounded.forked, bounded.resumed),
        "two ways to the same model"
    );
    // A store that all servers reach has one copy, so logging in again under the same id is no fork.
    let store = "redis = { on_store_error = \"login\" }";
    let shared = run(&text.replace("local = {}", store)).counts.phase(Phase::All);
    assert!(shared.losses() > 0);
    assert_eq!(shared.forked, 0);
}

#[test]
fn a_crash_logs_out_whoever_is_between_login_and_last_click() {
    // Goal: P(a user loses the session) at a crash that comes at any time = mean time from the login to the last click over the mean
    // time from visit to visit. Method: visits of 5 clicks with exponential pauses (10 s), 60 s away on average; the form's pause
    // is not at risk: 5 * 10 / (60 + 10 + 5 * 10) = 0.4167. 5000 independent users: four deviations are 0.028.
    let text = r#"
title = "one crash"
duration = "3min"
warmup = "10min"
seed = 4
replications = 1
[[population]]
name = "users"
clients = 5000
address = { preset = "direct" }
[population.visit]
login = true
form_token = false
clicks = 5
think = { exponential = { mean = "10s" } }
away = { exponential = { mean = "1min" } }
leave_on_loss = 0.0
session_idle_timeout = "1h"
[cluster]
servers = [{ name = "a", address = "10.0.0.1:80" }]
capacity = { workers = 1000, service = "1us" }
[[fault]]
at = "1s"
crash = { server = "a", lasts = "1ms" }
[[strategy]]
name = "it"
balancer = { nginx.round_robin = { servers = { a = { max_fails = 0 } } } }
session = { local = {} }
"#;
    let all = run(text).counts.phase(Phase::All);
    assert_eq!(all.losses(), lost(&all, LossCause::ServerLost));
    let share = all.losses() as f64 / 5_000.0;
    assert!((share - 50.0 / 120.0).abs() < 0.028, "{share}");
}
