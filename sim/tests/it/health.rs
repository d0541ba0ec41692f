//! keepalived around a site: its pool, its start, its tracked scripts, and what it is to lose a process rather than a machine.

use evenkeel_sim::cluster::RunOutcome;
use evenkeel_sim::metrics::Phase;
use evenkeel_sim::metrics::recorder::{Failure, PhaseCounts};
use evenkeel_sim::scenario::{Overrides, parse};

use crate::support::{failed, single};

/// Clients that send 20 requests a second to four servers behind `strategy`, with faults.
fn site(strategy: &str, faults: &str) -> String {
    format!(
        r#"title = "health"
duration = "30min"
warmup = "1min"
replications = 1
seed = 5
[[population]]
name = "p"
clients = 2000
address = {{ preset = "direct" }}
arrivals = {{ poisson = {{ rate = 20.0 }} }}
[cluster]
capacity = {{ workers = 64, service = "5ms" }}
servers = [
  {{ name = "a", address = "10.0.0.1:80" }},
  {{ name = "b", address = "10.0.0.2:80" }},
  {{ name = "c", address = "10.0.0.3:80" }},
  {{ name = "spare", address = "10.0.0.4:80" }},
]
{faults}
[[strategy]]
name = "s"
session = {{ shared = {{ latency = "0s" }} }}
{strategy}
"#
    )
}

fn outcome(strategy: &str, faults: &str) -> RunOutcome {
    single(&site(strategy, faults))
}

fn during(outcome: &RunOutcome) -> PhaseCounts {
    outcome.counts.phase(Phase::During)
}

/// Three servers die for ten minutes; the fourth lives.
const ALL_DIE: &str =
    "[[fault]]\nat = \"10min\"\ncrash = { servers = [\"a\", \"b\", \"c\"], lasts = \"10min\" }";

fn keepalived(options: &str) -> String {
    format!("balancer = {{ lvs.rr = {{}} }}\nhealth = {{ tcp_check = {{}}, {options} }}")
}

#[test]
fn a_sorry_server_shows_its_page_from_the_removal_of_the_last_server_to_the_first_return() {
    let run = outcome(&keepalived("sorry_server = \"spare\""), ALL_DIE);
    let before = run.counts.phase(Phase::Before);
    assert_eq!(before.requests[3], 0, "nobody is sent to it while there is a quorum");
    let counts = during(&run);
    // Out after 3 to 9 s each: the last of three at 7.5 s in the mean. Of 12000 requests in 600 s, about 11850 see the page.
    let pages = failed(&counts, Failure::Error);
    assert!((11_400..=12_300).contains(&pages), "{pages} pages");
    assert!(failed(&counts, Failure::Refused) <= 9 * 25, "until the checks have noticed");
    assert_eq!(failed(&counts, Failure::NoServer), 0);
    let after = failed(&run.counts.phase(Phase::After), Failure::Error);
    assert!(
        after <= 7 * 25,
        "{after} pages after the servers are back: a check comes within 6 s and a retry of each"
    );
}

#[test]
fn a_sorry_server_without_a_status_serves_the_site_like_any_other() {
    let spare = outcome(&keepalived("sorry_server = \"spare\", sorry_status = \"none\""), ALL_DIE);
    let counts = during(&spare);
    assert_eq!(failed(&counts, Failure::Error), 0);
    assert!(counts.requests[3] > 11_000, "{}", counts.requests[3]);
}

#[test]
fn below_the_quorum_the_living_are_out_as_well() {
    // Two of three die. A quorum of 2 is lost, and the third gets nobody; with hysteresis 1 it goes on.
    let two = ALL_DIE.replace(", \"c\"]", "]");
    let share = |options: &str| {
        let counts = during(&outcome(&keepalived(options), &two));
        counts.requests[2] as f64 / 12_000.0
    };
    assert!(share("sorry_server = \"spare\", quorum = 2") < 0.03);
    assert!(share("sorry_server = \"spare\", quorum = 2, hysteresis = 1") > 0.95);
    assert!(share("sorry_server = \"spare\"") > 0.95);
}

#[test]
fn inhibit_on_failure_keeps_connections_that_a_removal_would_drop() {
    // Persistent clients of a server of weight 0 stay with it, unless `expire_quiescent_template`.
    let run = |options: &str| {
        let balancer = "balancer = { lvs.rr = { persistence_timeout = \"30min\" } }\n";
        let fault = "[[fault]]\nat = \"10min\"\ncrash = { server = \"a\", lasts = \"10min\" }";
        during(&outcome(&format!("{balancer}health = {{ tcp_check = {{}}{options} }}"), fault))
    };
    let removed = failed(&run(""), Failure::Refused);
    let inhibited = failed(&run(", inhibit_on_failure = true"), Failure::Refused);
    assert!(removed < 9 * 20, "{removed}: until the checks have noticed");
    assert!(
        inhibited > 5 * removed.max(20),
        "{inhibited} against {removed}: templates lead to it for the whole time"
    );
}

#[test]
fn a_keepalived_that_starts_trusts_everybody_unless_it_is_alpha() {
    // Server a is dead when the director comes back. All four are in the table until their first check, 1 s to 61 s later.
    let faults = "[[fault]]\nat = \"5min\"\ncrash = { server = \"a\", lasts = \"20min\" }\n\
                  [[fault]]\nat = \"10min\"\ncrash = { instance = \"lb\", lasts = \"10s\" }";
    let refused = |options: &str| {
        let strategy = format!(
            "balancer = {{ lvs.rr = {{}} }}\ninstances = [\"lb\"]\nhealth = {{ tcp_check = {{ {options} }} }}"
        );
        failed(&during(&outcome(&strategy, faults)), Failure::Refused)
    };
    // Found out at its death in 3 to 9 s: 5 a second.
    let once = 3 * 4..=9 * 6;
    let alpha = refused("alpha = true");
    assert!(once.contains(&alpha), "{alpha}");
    let trusting = refused("warmup = \"10min\"");
    assert!(trusting > 2 * alpha, "{trusting} against {alpha}");
    // One failure is enough for a first verdict, and the first check comes after a second: a quarter of 20 requests, and of as many
    // that began 1, 3 and 7 s before and whose SYNs are sent again then.
    let soon = refused("warmup = \"0s\"");
    assert!((alpha + 1..alpha + 35).contains(&soon), "{soon} against {alpha}");
}

/// A pair of nginx.
fn pair(scripts: &str) -> String {
    format!(
        "balancer = {{ nginx.round_robin = {{}} }}\ninstances = [\"one\", \"two\"]\n\
         director = {{ vrrp = {{ track_script = [{scripts}] }} }}"
    )
}

const NGINX_DIES: &str =
    "[[fault]]\nat = \"10min\"\nkill = { instance = \"one\", process = \"balancer\", lasts = \"10min\" }";

#[test]
fn an_nginx_that_dies_alone_is_missed_for_as_long_as_no_script_looks() {
    let counts = during(&outcome(&pair(""), NGINX_DIES));
    assert_eq!(counts.tiers.takeovers, 0);
    let lost = failed(&counts, Failure::NoDirector);
    assert!((11_400..=12_600).contains(&lost), "{lost} of 12000: the address stays where nobody answers");
}

#[test]
fn a_script_moves_the_address_within_its_runs_and_the_timer_of_the_backup() {
    // The n-th failure comes within n intervals. Without a weight keepalived bids farewell, and the backup waits its skew of
    // (256 - 100) / 256 s; with one it waits from the last advert that counted: below 3 s and the skew after it.
    for (script, longest) in [
        ("{ interval = \"2s\" }", 2.0_f64 + 0.61),
        ("{ interval = \"2s\", fall = 3 }", 6.0 + 0.61),
        ("{ weight = -60 }", 1.0 + 3.61),
    ] {
        let run = outcome(&pair(script), NGINX_DIES);
        let lost = failed(&during(&run), Failure::NoDirector) as f64;
        // 20 requests a second, with room for four standard deviations.
        assert!(lost > 0.0 && lost < 20.0 * longest + 4.0 * (20.0 * longest).sqrt(), "{script}: {lost}");
        let takeovers = run.counts.phase(Phase::All).tiers.takeovers;
        assert_eq!(takeovers, 2, "{script}: there and back again");
    }
}

#[test]
fn a_weight_too_small_to_change_the_order_moves_nothing() {
    let counts = during(&outcome(&pair("{ weight = -40 }"), NGINX_DIES));
    assert_eq!(counts.tiers.takeovers, 0, "110 is still more than 100");
    assert!(failed(&counts, Failure::NoDirector) > 11_000);
}

#[test]
fn a_killed_keepalived_leaves_the_address_until_the_other_takes_it_without_a_gap() {
    let killed = NGINX_DIES.replace("balancer", "keepalived");
    let counts = during(&outcome(&pair(""), &killed));
    assert_eq!((counts.tiers.takeovers, counts.tiers.silent.count()), (1, 0));
    assert_eq!(failed(&counts, Failure::NoDirector), 0);
    let dead = killed.replace("kill", "crash").replace("process = \"keepalived\", ", "");
    let counts = during(&outcome(&pair(""), &dead));
    assert_eq!(
        (counts.tiers.takeovers, counts.tiers.silent.count()),
        (1, 1),
        "a machine takes its address along"
    );
}

#[test]
fn a_keepalived_that_is_killed_no_longer_watches_its_servers() {
    let director = "instances = [\"lb\"]\nbalancer = { lvs.rr = {} }\nhealth = { tcp_check = {} }";
    let faults = "[[fault]]\nat = \"5min\"\nkill = { instance = \"lb\", process = \"keepalived\", lasts = \"20min\" }\n\
                  [[fault]]\nat = \"10min\"\ncrash = { server = \"a\", lasts = \"10min\" }";
    let refused = failed(&during(&outcome(director, faults)), Failure::Refused);
    assert!((2_700..=3_300).contains(&refused), "{refused}: a quarter of 12000");
}

#[test]
fn what_is_explained_means_the_same() {
    let whole = [
        keepalived(
            "quorum = 2, hysteresis = 1, sorry_server = \"spare\", sorry_status = 502, inhibit_on_failure = true",
        ),
        keepalived("sorry_server = \"a\", sorry_status = \"none\"")
            .replace("tcp_check = {}", "http_get = { alpha = true, warmup = \"3s\" }"),
    ];
    let scripts = pair("{ interval = \"2s\", timeout = \"5s\", rise = 2, fall = 3, weight = -60 }, {}");
    for (strategy, faults) in [(&whole[0], ""), (&whole[1], ""), (&scripts, NGINX_DIES)] {
        let loaded = parse("t.toml", &site(strategy, faults), &Overrides::NONE).expect("a scenario");
        let text = loaded.resolved.to_string();
        let again = parse("t.toml", &text, &Overrides::NONE).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(again.resolved.to_string(), text);
        let [one, other] = [&loaded, &again].map(|loaded| &loaded.scenario.strategies[0].tier);
        assert_eq!((one.pool, &one.instances), (other.pool, &other.instances));
        let scripts = |tier: &evenkeel_sim::scenario::TierPlan| {
            tier.director.as_ref().map_or(0, |director| director.track_script.len())
        };
        assert_eq!(scripts(one), scripts(other));
    }
}

#[test]
fn mistakes_name_the_cause_and_the_remedy() {
    let nginx = pair("");
    for (strategy, faults, message) in [
        (keepalived("sorry_server = \"sparr\""), "", "unknown server `sparr`"),
        (keepalived("sorry_status = 503"), "", "`sorry_status` has no meaning without `sorry_server`"),
        (keepalived("sorry_server = \"spare\", sorry_status = 200"), "", "`sorry_status`"),
        (keepalived("quorum = 5"), "", "`quorum` must be at most the weight of all servers (4), got 5"),
        (keepalived("quorum = 2, hysteresis = 2"), "", "`hysteresis` must be less than `quorum`"),
        (keepalived("http_get = {}"), "", "takes one check"),
        (keepalived("qorum = 2"), "", "`quorum`"),
        (
            "balancer = { modern.maglev = {} }\nhealth = { tcp_check = {}, quorum = 2 }".into(),
            "",
            "`quorum` is of keepalived on an LVS director",
        ),
        (
            "balancer = { modern.maglev = {} }\nhealth = { tcp_check = { alpha = true } }".into(),
            "",
            "`alpha` is of the start of a keepalived",
        ),
        (pair("{ weight = -300 }"), "", "whole number from -253 to 253"),
        (pair("{ interval = \"500ms\" }"), "", "`interval`"),
        (
            "balancer = { lvs.rr = {} }\ndirector = { vrrp = { track_script = [{}] } }".into(),
            "",
            "LVS is part of the kernel",
        ),
        (nginx.clone(), &NGINX_DIES.replace("process = \"balancer\", ", ""), "missing key `process`"),
        (
            nginx.clone(),
            &NGINX_DIES.replace("instance = \"one\"", "server = \"a\""),
            "`kill` names an `instance`",
        ),
        (
            "instances = [\"one\"]\nbalancer = { lvs.rr = {} }".into(),
            NGINX_DIES,
            "`one` has no process to kill",
        ),
        (
            "instances = [\"one\"]\nbalancer = { nginx.round_robin = {} }".into(),
            &NGINX_DIES.replace("balancer", "keepalived"),
            "no keepalived runs on `one`",
        ),
    ] {
        let Err(mistakes) = parse("t.toml", &site(&strategy, faults), &Overrides::NONE) else {
            panic!("taken: {strategy}\n{faults}")
        };
        assert!(mistakes.to_string().contains(message), "{message}:\n{mistakes}");
    }
}
