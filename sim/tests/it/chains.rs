//! Proxies in front of other tiers: what each sees of a client, and what its retries, time-outs, checks and cookies do to those
//! behind it.

use evenkeel_sim::metrics::recorder::PhaseCounts;
use evenkeel_sim::metrics::{LossCause, Phase};

use crate::tiers::{STICKY, counts, lost, only_mistake, outcome};

/// All six servers are dead for five minutes.
const ALL_DEAD: &str = "[[fault]]\nat = \"5min\"\ncrash = { servers = \"all\", lasts = \"5min\" }";

fn tiers(list: &[&str]) -> String {
    let mut fronts = 0;
    let tier = |tier: &&str| {
        // Tiers of one program would call their instances alike.
        fronts += 1;
        let named = tier.contains("instances") || fronts == list.len();
        let name = if named { String::new() } else { format!(", instances = [\"front{fronts}\"]") };
        let pair = tier.contains("director");
        format!("{{ {tier}{} }}", if pair { "" } else { &name })
    };
    format!("tiers = [{}]", list.iter().map(tier).collect::<Vec<_>>().join(", "))
}

fn servers_used(counts: &PhaseCounts) -> usize {
    counts.requests.iter().filter(|&&requests| requests > 0).count()
}

#[test]
fn a_proxy_makes_one_client_of_all_unless_it_passes_addresses_on() {
    let used = |address: &str, last: &str| {
        let front = format!("balancer = \"nginx.round_robin\", client_address = \"{address}\"");
        servers_used(&counts(&tiers(&[&front, last]), ""))
    };
    assert_eq!(used("hidden", "balancer = \"nginx.ip_hash\""), 1);
    assert_eq!(used("passed", "balancer = \"nginx.ip_hash\""), 6);
    // A director sees who connects to it, whatever the requests say.
    for address in ["hidden", "passed"] {
        assert_eq!(used(address, "balancer = \"lvs.sh\""), 1, "{address}");
    }
    assert_eq!(used("hidden", "balancer = \"lvs.rr\""), 6, "each try is a connection");
}

#[test]
fn what_a_proxy_passes_on_goes_through_directors_to_the_next_proxy() {
    let site = |address: &str| {
        let front = format!("balancer = \"nginx.round_robin\", client_address = \"{address}\"");
        let director = "balancer = { lvs.wlc = { persistence_timeout = \"20min\" } }";
        counts(&tiers(&[&front, director, "balancer = \"nginx.ip_hash\", instances = 3"]), "")
    };
    let (hidden, passed) = (site("hidden"), site("passed"));
    assert_eq!((servers_used(&hidden), servers_used(&passed)), (1, 6));
    // The director's template is the front's, so one nginx has all the work.
    for counts in [hidden, passed] {
        let instances = &counts.tiers.instances;
        assert_eq!(instances.len(), 5);
        assert_eq!(instances[2..].iter().filter(|&&requests| requests > 0).count(), 1, "{instances:?}");
        assert_eq!(instances[0], instances[1], "each request is a connection of its own");
        assert_eq!(counts.lost, [0; LossCause::ALL.len()]);
    }
}

#[test]
fn a_tier_that_ties_nothing_loses_sessions_and_one_that_does_keeps_them() {
    let site = |front: &str, last: &str| outcome(&tiers(&[front, last]), "").counts.ledger;
    let loose = outcome(
        &tiers(&["balancer = \"haproxy.roundrobin\"", "balancer = \"nginx.round_robin\", instances = 2"]),
        "",
    );
    let losses = loose.counts.ledger.losses;
    assert!(losses > 300 && lost(&loose, LossCause::NoAffinity) == losses, "{:?}", loose.counts.ledger);
    // A table of addresses at the back is of use if each client comes to the same one.
    let passing = "balancer = \"haproxy.source\", client_address = \"passed\"";
    assert_eq!(site(passing, &format!("balancer = {{ {STICKY} }}, instances = 3")).losses, 0);
    let astray = "balancer = \"haproxy.roundrobin\", client_address = \"passed\"";
    let astray = outcome(&tiers(&[astray, &format!("balancer = {{ {STICKY} }}, instances = 3")]), "");
    let losses = astray.counts.ledger.losses;
    assert!(losses > 300 && lost(&astray, LossCause::NoAffinity) == losses, "{:?}", astray.counts.ledger);
}

#[test]
fn cookies_of_two_tiers_keep_what_either_alone_does_not() {
    let inner = "balancer = { nginx.round_robin = { version = \"1.30\", sticky = { cookie = \"inner\" } } }, instances = 3";
    let with = |outer: &str, inner: &str| outcome(&tiers(&[outer, inner]), "").counts.ledger.losses;
    let outer = "balancer = { haproxy.roundrobin = { cookie = \"insert\" } }";
    assert_eq!(with(outer, inner), 0);
    assert_eq!(with("balancer = \"haproxy.roundrobin\"", inner), 0, "every nginx reads the same cookie");
    assert!(with(outer, "balancer = \"nginx.round_robin\", instances = 3") > 300);
}

#[test]
fn retries_at_two_levels_multiply() {
    // Goal: while nobody listens, each GET is tried on so many servers by each of so many inner proxies.
    let outer = |next: &str| {
        format!(
            "balancer = {{ nginx.round_robin = {{ max_fails = 0, proxy_next_upstream = \"{next}\", proxy_next_upstream_tries = 2 }} }}"
        )
    };
    let inner =
        "balancer = { nginx.round_robin = { max_fails = 0, proxy_next_upstream_tries = 3 } }, instances = 4";
    let tries = |next: &str| {
        let counts = counts(&tiers(&[&outer(next), inner]), ALL_DEAD);
        let refused: u64 = counts.failed.iter().sum();
        assert!(refused > 300);
        let answered: u64 = counts.requests.iter().sum();
        (counts.connections.iter().sum::<u64>() - answered) as f64 / refused as f64
    };
    // The crash itself cuts off a request or two, which are tried fewer times.
    let near = |tries: f64, expected: f64| (tries - expected).abs() < 0.01;
    assert!(near(tries("error timeout"), 3.0), "an answer of 502 is none of its errors");
    assert!(near(tries("error timeout http_502 non_idempotent"), 6.0));
}

#[test]
fn a_proxy_that_dies_is_tried_elsewhere_and_its_clients_hardly_notice() {
    let fault = |process: &str| format!("[[fault]]\nat = \"5min\"\n{process}");
    let killed = fault("kill = { instance = \"nginx2\", process = \"balancer\", lasts = \"5min\" }");
    let failed = |front: &str, faults: &str| {
        let counts = counts(&tiers(&[front, "balancer = \"nginx.ip_hash\", instances = 3"]), faults);
        (counts.failed.iter().sum::<u64>(), counts.retried, counts.latency.max().unwrap_or_default())
    };
    let redispatching =
        "balancer = { haproxy.roundrobin = { redispatch = true } }, client_address = \"passed\"";
    let (lost, ..) = failed(redispatching, &killed);
    // Without retries (`retries = 0`) a third of the requests of five minutes fails, until a check finds out.
    let (without, ..) = failed("balancer = { haproxy.roundrobin = { retries = 0 } }", &killed);
    let (checked, ..) =
        failed("balancer = { haproxy.roundrobin = { retries = 0, check = { inter = \"2s\" } } }", &killed);
    assert!(lost < 5 && without > 500 && checked < without / 10, "{lost} {without} {checked}");
    // A machine that is gone does not refuse: each try at it takes the time to connect.
    let crashed = fault("crash = { instance = \"nginx2\", lasts = \"5min\" }");
    let slow =
        "balancer = { nginx.round_robin = { proxy_connect_timeout = \"2s\" } }, client_address = \"passed\"";
    let (lost, _, longest) = failed(slow, &crashed);
    assert!(lost < 20 && longest > 2.0, "{lost} {longest}");
}

#[test]
fn of_equal_time_outs_the_outer_one_ends_first_and_the_inner_proxy_learns_nothing() {
    // Goal: two of six servers hang. An inner proxy that gives up first takes them out; one whose client leaves first does not.
    let hang = "[[fault]]\nat = \"5min\"\nhang = { servers = [\"web1\", \"web2\"], lasts = \"10min\" }";
    let wasted = |outer: &str, inner: &str| {
        let front = format!("balancer = {{ nginx.round_robin = {{ proxy_read_timeout = \"{outer}\" }} }}");
        let last = format!(
            "balancer = {{ nginx.round_robin = {{ proxy_read_timeout = \"{inner}\" }} }}, instances = 2"
        );
        let counts = counts(&tiers(&[&front, &last]), hang);
        (counts.wasted, counts.tiers.instances[1] + counts.tiers.instances[2] - counts.tiers.instances[0])
    };
    let (equal, again) = wasted("3s", "3s");
    let (shorter, never) = wasted("10s", "3s");
    assert!(equal > 2 * shorter && again > 50 && never == 0, "{equal} {shorter} {again} {never}");
}

#[test]
fn an_outer_queue_holds_requests_for_inner_proxies() {
    let front = "balancer = { haproxy.leastconn = { maxconn = 2, timeout_queue = \"1min\" } }, client_address = \"passed\"";
    let last = "balancer = \"nginx.ip_hash\", instances = 2";
    let busy = "[[fault]]\nat = \"5min\"\nslow = { servers = \"all\", factor = 10.0, lasts = \"5min\" }";
    let counts = counts(&tiers(&[front, last]), busy);
    assert!(counts.queued > 100 && counts.queue_wait.count() > 100, "{}", counts.queued);
    assert_eq!(counts.failed.iter().sum::<u64>(), 0);
}

#[test]
fn a_pair_of_directors_between_proxies_may_change_while_an_answer_is_on_its_way() {
    let list = [
        "balancer = \"haproxy.roundrobin\", client_address = \"passed\", instances = [\"waf1\"]",
        "balancer = { lvs.rr = { forwarding = \"nat\" } }, director = { vrrp = {} }",
        "balancer = \"nginx.ip_hash\", instances = 2",
    ];
    let crash = "[[fault]]\nat = \"5min\"\nevery = \"1min\"\ntimes = 10\ncrash = { instance = \"lvs1\", lasts = \"30s\" }";
    let counts = counts(&tiers(&list), crash);
    assert!(counts.tiers.takeovers >= 10);
    assert_eq!(counts.lost, [0; LossCause::ALL.len()], "the last tier computes the same server");
}

#[test]
fn a_firewall_in_proxy_mode_is_one_client_or_a_few() {
    // Goal: a table of addresses sees a firewall's, which take turns, so users leave home when theirs is another; `ip_hash` sees
    // the network that they lie in.
    let site = |waf: &str, last: &str| outcome(&tiers(&[&format!("waf = {{}}, {waf}"), last]), "");
    let sticky = format!("balancer = {{ {STICKY} }}");
    assert_eq!(site("addresses = 1", &sticky).counts.ledger.losses, 0);
    let turns = site("addresses = 6", &sticky);
    let losses = turns.counts.ledger.losses;
    assert!(
        losses > 300 && lost(&turns, LossCause::AddressChanged) * 10 > losses * 9,
        "{:?}",
        turns.counts.ledger
    );
    assert_eq!(site("addresses = 6, client_address = \"passed\"", &sticky).counts.ledger.losses, 0);
    let hashed = site("addresses = 6", "balancer = \"nginx.ip_hash\"").counts;
    assert_eq!((servers_used(&hashed.phase(Phase::All)), hashed.ledger.losses), (1, 0));
}

#[test]
fn chains_that_cannot_be_are_mistakes_with_a_remedy() {
    let sticky = "balancer = { nginx.round_robin = { version = \"1.30\", sticky = { cookie = \"a\" } } }";
    for (list, message) in [
        (
            vec!["balancer = \"nginx.ip_hash\"", "waf = {}, instances = [\"waf\"]"],
            "`waf` stands in front of balancers",
        ),
        (
            vec!["balancer = \"lvs.rr\", addresses = 2", "balancer = \"nginx.ip_hash\""],
            "a director that passes",
        ),
        (vec![sticky, sticky], "two tiers set a cookie called `a`"),
    ] {
        let mistake = only_mistake(&tiers(&list), "");
        assert!(mistake.message.starts_with(message), "{mistake}");
        assert!(mistake.help.is_some(), "{mistake}");
    }
}
