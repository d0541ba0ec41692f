//! Several tiers, and pairs of directors: what ties a client to a server when more than one tier decides, and what a fail-over does.

use evenkeel_sim::cluster::{RunOutcome, RunSetup, run};
use evenkeel_sim::engine::{SimDuration, Stream};
use evenkeel_sim::ids::StreamId;
use evenkeel_sim::metrics::recorder::{Failure, PhaseCounts};
use evenkeel_sim::metrics::{LossCause, Phase};
use evenkeel_sim::scenario::{Diagnostic, Overrides, Scenario, TIER_PARTS, parse};

/// Users of 300 homes at six servers for twenty minutes, behind what `strategy` says, with `faults`.
fn text(strategy: &str, faults: &str) -> String {
    let servers: Vec<_> =
        (1..=6).map(|i| format!("  {{ name = \"web{i}\", address = \"10.0.0.{i}:80\" }},\n")).collect();
    format!(
        r#"title = "tiers"
duration = "20min"
warmup = "5min"
replications = 1
[[population]]
name = "homes"
clients = 400
address = {{ preset = "direct" }}
visit = {{ preset = "login-site", away = "2min", form_token = false }}
[cluster]
capacity = {{ workers = 8, service = "20ms" }}
servers = [
{}]
{faults}
[[strategy]]
name = "it"
session = {{ local = {{}} }}
{strategy}
"#,
        servers.concat()
    )
}

pub(crate) fn scenario(strategy: &str, faults: &str) -> Scenario {
    let read = |text: &str| parse("tiers.toml", text, &Overrides::NONE);
    let loaded = read(&text(strategy, faults)).unwrap_or_else(|mistakes| panic!("{strategy}: {mistakes}"));
    let explained = loaded.resolved.to_string();
    let again = read(&explained).unwrap_or_else(|mistakes| panic!("{mistakes}\n{explained}"));
    assert_eq!(again.resolved.to_string(), explained);
    loaded.scenario
}

pub(crate) fn outcome_of(scenario: &Scenario, replication: u32) -> RunOutcome {
    let setup = RunSetup { scenario, strategy: 0, replication, logs: &[], stories: 0 };
    run(&setup, &|_| {}).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn outcome(strategy: &str, faults: &str) -> RunOutcome {
    outcome_of(&scenario(strategy, faults), 0)
}

pub(crate) fn counts(strategy: &str, faults: &str) -> PhaseCounts {
    outcome(strategy, faults).counts.phase(Phase::All)
}

pub(crate) fn lost(outcome: &RunOutcome, cause: LossCause) -> u64 {
    outcome.counts.ledger.losses_by_cause[cause as usize]
}

pub(crate) fn only_mistake(strategy: &str, faults: &str) -> Diagnostic {
    let mut mistakes = parse("tiers.toml", &text(strategy, faults), &Overrides::NONE).expect_err(strategy).0;
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    mistakes.remove(0)
}

pub(crate) const STICKY: &str = "haproxy.roundrobin = { stick-table = { type = \"ip\", size = 100_000, expire = \"30m\" }, \
                      stick = [\"on src\"] }";

#[test]
fn one_tier_is_the_same_written_as_a_balancer_and_as_a_list_of_one() {
    for tier in
        ["balancer = { nginx.ip_hash = {} }", "balancer = { lvs.wlc = { persistence_timeout = \"60s\" } }"]
    {
        let (alone, listed) = (tier.to_owned(), format!("tiers = [{{ {tier} }}]"));
        let explained = |strategy: &str| {
            parse("tiers.toml", &text(strategy, ""), &Overrides::NONE).unwrap().resolved.to_string()
        };
        assert_eq!(explained(&alone), explained(&listed));
        assert_eq!(format!("{:?}", outcome(&alone, "").counts), format!("{:?}", outcome(&listed, "").counts));
    }
}

#[test]
fn a_tier_in_front_with_one_instance_behind_it_changes_nothing() {
    // Goal: what every server gets, and every loss, is as without the tier. How long connections are open differs: nobody
    // looks at those of a lone nginx.
    for balancer in ["nginx.ip_hash = {}", "nginx.least_conn = {}", STICKY] {
        let alone = counts(&format!("balancer = {{ {balancer} }}"), "");
        let passing =
            "{ balancer = \"nginx.round_robin\", instances = [\"edge\"], client_address = \"passed\" }";
        for front in ["{ balancer = \"lvs.rr\" }", "{ dns = {} }", "{ ecmp = {} }", passing] {
            let behind = counts(&format!("tiers = [{front}, {{ balancer = {{ {balancer} }} }}]"), "");
            let of = |counts: &PhaseCounts| {
                (counts.requests.clone(), counts.busy_ns.clone(), counts.lost, counts.served)
            };
            assert_eq!(of(&alone), of(&behind), "{front} {balancer}");
        }
    }
}

#[test]
fn a_session_is_kept_if_every_tier_keeps_its_client_and_lost_if_one_does_not() {
    let tiers = |front: &str, last: &str| {
        format!("tiers = [{{ balancer = {{ {front} }} }}, {{ balancer = {{ {last} }}, instances = 3 }}]")
    };
    let persistent = "lvs.wlc = { persistence_timeout = \"20min\" }";
    for front in ["lvs.sh = {}", persistent] {
        assert_eq!(outcome(&tiers(front, STICKY), "").counts.ledger.losses, 0, "{front}");
    }
    let loose = outcome(&tiers("lvs.rr = {}", STICKY), "");
    let all = loose.counts.ledger.losses;
    assert!(all > 300 && lost(&loose, LossCause::NoAffinity) == all, "{:?}", loose.counts.ledger);
    let short = outcome(
        &tiers(
            "lvs.wlc = { persistence_timeout = \"5s\", timeouts = { tcp = \"2s\", tcp_fin = \"1s\" } }",
            STICKY,
        ),
        "",
    );
    let all = short.counts.ledger.losses;
    assert!(all > 50 && lost(&short, LossCause::AffinityExpired) == all, "{:?}", short.counts.ledger);
    // A hash of the address leads home from any instance.
    assert_eq!(outcome(&tiers("lvs.rr = {}", "nginx.ip_hash = {}"), "").counts.ledger.losses, 0);
    let untied = outcome(&tiers(persistent, "nginx.round_robin = {}"), "");
    assert_eq!(lost(&untied, LossCause::NoAffinity), untied.counts.ledger.losses);
}

#[test]
fn a_director_that_hides_its_clients_makes_one_of_them() {
    let tiers = |address: &str| {
        format!(
            "tiers = [{{ balancer = {{ lvs.rr = {{ forwarding = \"nat\" }} }}, client_address = \"{address}\" }}, \
             {{ balancer = {{ nginx.ip_hash = {{}} }} }}]"
        )
    };
    let used =
        |address: &str| counts(&tiers(address), "").requests.iter().filter(|&&requests| requests > 0).count();
    assert_eq!((used("passed"), used("hidden")), (6, 1));
}

#[test]
fn resolvers_hold_many_users_to_one_answer_and_routers_spread_them() {
    let peak = |front: &str| {
        let strategy =
            format!("tiers = [{{ {front} }}, {{ balancer = \"nginx.round_robin\", instances = 4 }}]");
        let counts = counts(&strategy, "");
        let sum: u64 = counts.tiers.instances.iter().sum();
        *counts.tiers.instances.iter().max().unwrap() as f64 * 4.0 / sum as f64
    };
    let (held, spread) = (peak("dns = { resolvers = 3, ttl = \"1d\" }"), peak("ecmp = {}"));
    assert!(held > 1.3 && spread < 1.1, "{held} {spread}");
}

const CRASH: &str = "[[fault]]\nat = \"5min\"\ncrash = { instance = \"lvs1\", lasts = \"5min\" }\n";

#[test]
fn a_backup_takes_over_within_the_time_that_vrrp_allows() {
    // RFC 3768, 6.1: the backup waits three intervals and its skew, (256 - 100) / 256 s, after the last advert that it heard, which
    // came up to an interval before the crash. With preemption the master is back without a gap.
    let pair = scenario("director = { vrrp = {} }\nbalancer = { lvs.wlc = {} }", CRASH);
    let skew = 156.0 / 256.0;
    let silences: Vec<f64> = (0..8)
        .map(|replication| {
            let counts = outcome_of(&pair, replication).counts.phase(Phase::All);
            assert_eq!((counts.tiers.silent.count(), counts.tiers.takeovers), (1, 2));
            counts.tiers.silent.sum_ns() / 1e9
        })
        .collect();
    let within = |silence: &f64| (2.0 + skew - 1e-6..=3.0 + skew + 1e-6).contains(silence);
    assert!(silences.iter().all(within), "{silences:?}");
    assert!(
        silences.iter().any(|silence| (silence - silences[0]).abs() > 0.05),
        "the phase is drawn: {silences:?}"
    );
}

#[test]
fn who_takes_over_knows_nothing_or_a_hash_or_what_was_synced() {
    let crash = CRASH.replace("lvs1", "one");
    let lost_by_fail_over = |balancer: &str, director: &str| {
        let strategy = format!(
            "instances = [\"one\", \"two\"]\ndirector = {{ vrrp = {{ {director} }} }}\nbalancer = {{ {balancer} }}"
        );
        let outcome = outcome(&strategy, &crash);
        let director_lost = lost(&outcome, LossCause::DirectorLost);
        assert!(outcome.faults[0].users_logged_out <= director_lost);
        let counts = outcome.counts.phase(Phase::All);
        (director_lost, counts.tiers.connections_reset, counts.tiers.sync_messages > 0)
    };
    let persistent = "lvs.wlc = { persistence_timeout = \"20min\" }";
    let (lost, reset, synced) = lost_by_fail_over(persistent, "");
    assert!(lost > 20 && reset > 10 && !synced, "{lost} {reset}");
    // One that comes back is empty, and preempts before it has heard of many.
    let (lost_twice, ..) = lost_by_fail_over(persistent, "sync = true");
    let (lost_in_sync, reset_in_sync, synced) =
        lost_by_fail_over(persistent, "sync = true, nopreempt = true");
    assert!(lost_in_sync * 10 < lost && reset_in_sync < reset && synced, "{lost_in_sync} {reset_in_sync}");
    assert!(lost_in_sync < lost_twice && lost_twice < lost, "{lost_in_sync} {lost_twice} {lost}");
    assert_eq!(lost_by_fail_over("lvs.sh = {}", "").0, 0, "every director hashes alike");
    assert_eq!(lost_by_fail_over("nginx.ip_hash = {}", "").0, 0);
    assert!(lost_by_fail_over(STICKY, "").0 > 20, "stick tables without peers");
}

#[test]
fn peers_tell_each_other_whom_they_sent_where() {
    // Goal: connections come to any of three HAProxys, and a stick table is enough if its entries are pushed. Method: with and
    // without, and with one of them dead for a while, which is taught by another when it is back.
    let tiers = |peers: bool| {
        format!(
            "tiers = [{{ balancer = \"lvs.rr\", health = {{ tcp_check = {{ delay_loop = \"2s\" }} }} }}, \
             {{ balancer = {{ {STICKY} }}, instances = 3, peers = {peers} }}]"
        )
    };
    assert!(outcome(&tiers(false), "").counts.ledger.losses > 300);
    assert_eq!(outcome(&tiers(true), "").counts.ledger.losses, 0);
    let crash = CRASH.replace("lvs1", "haproxy2");
    assert_eq!(outcome(&tiers(true), &crash).counts.ledger.losses, 0);
}

#[test]
fn without_preemption_the_address_stays_where_it_is() {
    let counts = counts("director = { vrrp = { nopreempt = true } }\nbalancer = { lvs.wlc = {} }", CRASH);
    assert_eq!(counts.tiers.takeovers, 1);
}

#[test]
fn directors_that_do_not_hear_each_other_both_hold_the_address_and_disagree() {
    let partition = "[[fault]]\nat = \"5min\"\npartition = { instance = \"lvs2\", lasts = \"3min\" }\n";
    let balancer = "balancer = { lvs.wlc = { persistence_timeout = \"20min\" } }";
    let split = outcome(&format!("director = {{ vrrp = {{}} }}\n{balancer}"), partition);
    assert!(lost(&split, LossCause::InstanceSplit) > 10, "{:?}", split.counts.ledger);
}

#[test]
fn the_front_takes_a_dead_instance_out_and_only_its_clients_notice() {
    let crash = "[[fault]]\nat = \"5min\"\ncrash = { instance = \"nginx2\", lasts = \"5min\" }\n";
    let tiers =
        |front: &str| format!("tiers = [{{ {front} }}, {{ balancer = \"nginx.ip_hash\", instances = 4 }}]");
    let check = "health = { tcp_check = { delay_loop = \"2s\", retry = 0 } }";
    let failed = |front: &str| {
        let counts = counts(&tiers(front), crash);
        assert_eq!(counts.lost.iter().sum::<u64>(), 0, "a hash leads home from any instance");
        counts.failed[Failure::NoDirector as usize]
    };
    let unchecked = failed("balancer = \"lvs.rr\"");
    let checked = failed(&format!("balancer = \"lvs.rr\", {check}"));
    // A client is lost for two minutes with each connection.
    assert!(unchecked > 20 && checked * 10 < unchecked, "{unchecked} {checked}");
    // A browser goes on to the next address of an answer.
    let (once, next) = (failed("dns = { tries = 1 }"), failed("dns = { tries = 2 }"));
    assert!(once > 20 && next < 20, "only requests that were under way: {once} {next}");
    assert!(failed(&format!("ecmp = {{}}, {check}")) * 10 < unchecked);
}

#[test]
fn modulo_hashing_resets_connections_of_others_and_resilient_hashing_does_not() {
    let crash = "[[fault]]\nat = \"5min\"\ncrash = { instance = \"nginx2\", lasts = \"5min\" }\n";
    let reset = |resilient: bool| {
        let check = "health = { tcp_check = { delay_loop = \"2s\", retry = 0 } }";
        let front = format!("{{ ecmp = {{ resilient = {resilient} }}, {check} }}");
        let strategy = format!("tiers = [{front}, {{ balancer = \"nginx.ip_hash\", instances = 4 }}]");
        counts(&strategy, crash).tiers.connections_reset
    };
    let (modulo, resilient) = (reset(false), reset(true));
    assert!(modulo > 2 * resilient && modulo > 50, "{modulo} {resilient}");
}

#[test]
fn entries_that_a_director_forgets_reset_connections_and_browsers_ask_again() {
    let balancer = |tcp: &str| {
        format!(
            "balancer = {{ lvs.wlc = {{ persistence_timeout = \"20min\", timeouts = {{ tcp = \"{tcp}\" }} }} }}"
        )
    };
    let idle = "director = { vrrp = {} }\n";
    let (short, long) = (
        counts(&format!("{idle}{}", balancer("10s")), ""),
        counts(&format!("{idle}{}", balancer("15min")), ""),
    );
    assert!(
        short.tiers.connections_reset > 500 && long.tiers.connections_reset == 0,
        "{} {}",
        short.tiers.connections_reset,
        long.tiers.connections_reset
    );
    let failed = short.failed[Failure::Reset as usize];
    assert!(
        0 < failed && failed * 2 < short.tiers.connections_reset,
        "a GET is sent again, a POST is not: {failed}"
    );
}

/// A strategy of several tiers, and the names of its instances.
const SHAPES: [(&str, &[&str]); 6] = [
    (
        "director = { vrrp = { sync = true } }\nbalancer = { lvs.wlc = { persistence_timeout = \"60s\" } }",
        &["lvs1", "lvs2"],
    ),
    (
        "tiers = [{ balancer = { lvs.wlc = { forwarding = \"nat\" } }, director = { vrrp = {} }, health = { tcp_check = {} } }, \
         { balancer = \"nginx.least_conn\", instances = 3 }]",
        &["lvs1", "lvs2", "nginx1", "nginx3"],
    ),
    (
        "tiers = [{ dns = { ttl = \"20s\", tries = 1 }, health = { tcp_check = { delay_loop = \"3s\" } } }, \
         { balancer = \"lvs.sh\", instances = 2, client_address = \"hidden\" }, \
         { balancer = { haproxy.leastconn = { maxconn = 1, check = { inter = \"1s\" } } }, instances = 2 }]",
        &["lvs1", "lvs2", "haproxy1", "haproxy2"],
    ),
    (
        "tiers = [{ ecmp = { hash = \"address\" }, health = { tcp_check = { delay_loop = \"1s\" } } }, \
         { balancer = { lvs.mh = { sloppy_tcp = true } }, instances = 3 }]",
        &["lvs1", "lvs2", "lvs3"],
    ),
    ("director = { vrrp = { nopreempt = true } }\nbalancer = \"nginx.ip_hash\"", &["nginx1", "nginx2"]),
    ("instances = 3\nbalancer = \"envoy.least_request\"", &["envoy1", "envoy3"]),
];

#[test]
fn accounts_balance_at_every_tier_whatever_dies_and_comes_back() {
    // Goal: no identity breaks and nothing panics. Method: random crashes and partitions of instances and servers, overlapping as they
    // like, on strategies of every shape; a run checks its own accounts, those of the tiers in front among them.
    let dice = Stream::new(20_261_123, 0, StreamId::Balancer);
    for case in 0..36_u64 {
        let (strategy, instances) = SHAPES[case as usize % SHAPES.len()];
        let mut faults = String::new();
        for number in 0..dice.below(6, case, 0) {
            let draw = |below, what| dice.below(below, case, 1 + 8 * number + what);
            let (at, lasts) = (20 + draw(1_000, 0), 1 + draw(200, 1));
            let instance = instances[draw(instances.len() as u64, 2) as usize];
            let (may_part, pair) = (strategy.contains("director"), &instances[..2]);
            let what = match draw(4, 3) {
                0 if may_part && pair.contains(&instance) => {
                    format!("partition = {{ instance = \"{instance}\", lasts = \"{lasts}s\" }}")
                }
                _ => format!("crash = {{ instance = \"{instance}\", lasts = \"{lasts}s\" }}"),
            };
            faults += &format!("[[fault]]\nat = \"{at}s\"\n{what}\n");
        }
        let server = 1 + dice.below(6, case, 1_000);
        faults +=
            &format!("[[fault]]\nat = \"400s\"\ncrash = {{ server = \"web{server}\", lasts = \"90s\" }}\n");
        let mut scenario = scenario(strategy, &faults);
        scenario.duration = Some(SimDuration::from_secs(700));
        let counts = outcome_of(&scenario, 0).counts.phase(Phase::All);
        assert!(counts.served > 500, "case {case}: {faults}");
    }
}

#[test]
fn the_options_that_are_listed_are_the_defaults_that_are_explained() {
    let explained: Vec<String> = [
        "tiers = [{ dns = {} }, { balancer = \"nginx.ip_hash\" }]",
        "tiers = [{ ecmp = {} }, { balancer = \"nginx.ip_hash\" }]",
        "director = { vrrp = {} }\nbalancer = \"nginx.ip_hash\"",
    ]
    .map(|strategy| parse("tiers.toml", &text(strategy, ""), &Overrides::NONE).unwrap().resolved.to_string())
    .into();
    for (name, explained) in ["dns", "ecmp", "director"].into_iter().zip(explained) {
        let part = TIER_PARTS.iter().find(|part| part.name == name).expect("it is listed");
        let line = format!("{name} = {{ {} }}", part.options);
        assert!(explained.contains(&line), "{line} is not in\n{explained}");
    }
}

#[test]
fn tiers_that_cannot_stand_so_are_mistakes_with_a_remedy() {
    let nginx = "{ balancer = \"nginx.ip_hash\" }";
    for (strategy, faults, message, help) in [
        ("tiers = []", "", "a strategy has 1 to 4 tiers, got 0", ""),
        (
            &format!("tiers = [{nginx}, {{ dns = {{}} }}]"),
            "",
            "`dns` stands in front of balancers",
            "after it",
        ),
        (
            &format!("tiers = [{nginx}, {{ ecmp = {{}} }}, {nginx}]"),
            "",
            "only the first tier can be `ecmp`",
            "front",
        ),
        ("instances = 2\nbalancer = \"lvs.rr\"", "", "nothing says which of the directors", "vrrp"),
        (
            "instances = 3\ndirector = { vrrp = {} }\nbalancer = \"lvs.rr\"",
            "",
            "`director` makes a pair",
            "two names",
        ),
        (
            "instances = 2\npeers = true\nbalancer = \"haproxy.source\"",
            "",
            "`peers` is of several",
            "stick-table",
        ),
        (
            "director = { vrrp = { sync = true } }\nbalancer = \"nginx.ip_hash\"",
            "",
            "`sync` is of LVS",
            "leave it out",
        ),
        (
            "director = { vrrp = { advert_int = \"100ms\" } }\nbalancer = \"lvs.rr\"",
            "",
            "`advert_int` must be at least 1s",
            "version = 3",
        ),
        (
            "balancer = \"lvs.rr\"",
            "[[fault]]\nat = \"5min\"\npartition = { instance = \"lvs1\", lasts = \"1min\" }",
            "`lvs1` is not of a pair",
            "director",
        ),
        (
            "balancer = \"lvs.rr\"",
            CRASH.replace("lvs1", "lvs9").as_str(),
            "unknown instance of a tier `lvs9`",
            "lvs1",
        ),
    ] {
        let mistake = only_mistake(strategy, faults);
        assert!(mistake.message.starts_with(message), "{strategy}: {mistake}");
        assert!(mistake.help.as_deref().unwrap_or_default().contains(help), "{strategy}: {mistake}");
    }
}
