//! Links that are cut, and packets that are sent again until somebody answers.

use evenkeel_sim::cluster::RunOutcome;
use evenkeel_sim::metrics::Phase;
use evenkeel_sim::metrics::recorder::{Failure, PhaseCounts};

use crate::support::{failed, single};

const SINGLE_REQUESTS: &str = "arrivals = { poisson = { rate = 20.0 } }";
const VISITS: &str = "visit = { preset = \"login-site\", away = \"1min\" }";

/// A site of three servers whose service takes 20 ms, with something that happens after ten minutes.
fn outcome(strategy: &str, traffic: &str, fault: &str) -> RunOutcome {
    single(&format!(
        r#"title = "links"
duration = "20min"
warmup = "1min"
replications = 1
seed = 5
[[population]]
name = "p"
clients = 500
address = {{ preset = "direct" }}
{traffic}
[cluster]
capacity = {{ workers = 64, service = "20ms" }}
servers = [
  {{ name = "a", address = "10.0.0.1:80", zone = "east" }},
  {{ name = "b", address = "10.0.0.2:80", zone = "east" }},
  {{ name = "c", address = "10.0.0.3:80", zone = "west" }},
]
[[fault]]
at = "10min"
{fault}
[[strategy]]
name = "s"
{strategy}
"#
    ))
}

const LOCAL: &str = "session = { local = {} }";

fn all(run: &RunOutcome) -> PhaseCounts {
    run.counts.phase(Phase::All)
}

/// What all requests of a run waited beyond their service \[s\].
fn waited(counts: &PhaseCounts) -> f64 {
    (counts.latency.mean().expect("answers") - 0.020) * counts.served as f64
}

#[test]
fn a_connection_into_silence_is_answered_when_its_syn_is_sent_again() {
    // Goal: whoever calls x before the silence ends waits for the first of 1, 3, 7, 15, 31 s that is not less than x. Method: 20 calls a
    // second, so that the sum over a silence of 10 s is 20 (1 + 2 * 3 + 4 * 7 + 3 * 15) = 1600 s, and over one of 30 s 20 (1 + 6 + 28 +
    // 8 * 15 + 15 * 31) = 12,400 s. Its variance is that of a compound Poisson sum; four deviations.
    let director = format!("balancer = {{ lvs.rr = {{}} }}\ninstances = [\"lb\"]\n{LOCAL}");
    let nginx = format!("balancer = {{ nginx.round_robin = {{}} }}\n{LOCAL}");
    for (strategy, fault, wanted, deviation, longest) in [
        (&director, "crash = { instance = \"lb\", lasts = \"10s\" }", 1_600.0, 133.0, 15.03),
        (&nginx, "partition = { link = \"clients\", lasts = \"30s\" }", 12_400.0, 573.0, 31.03),
        (&director, "partition = { link = \"clients\", lasts = \"30s\" }", 12_400.0, 573.0, 31.03),
        (&director, "partition = { servers = \"all\", lasts = \"30s\" }", 12_400.0, 573.0, 31.03),
    ] {
        let run = outcome(strategy, SINGLE_REQUESTS, fault);
        let counts = all(&run);
        assert_eq!(counts.failures(), 0, "{fault}");
        assert!((waited(&counts) - wanted).abs() < 4.0 * deviation, "{fault}: {}", waited(&counts));
        let max = counts.latency.quantile(1.0).expect("answers");
        assert!(max < longest * 1.02 && max > longest / 1.02, "{fault}: {max}");
    }
}

#[test]
fn a_silence_of_more_than_two_minutes_is_given_up() {
    let strategy = format!("balancer = {{ lvs.rr = {{}} }}\ninstances = [\"lb\"]\n{LOCAL}");
    let run = outcome(&strategy, SINGLE_REQUESTS, "crash = { instance = \"lb\", lasts = \"5min\" }");
    // Who calls more than 63 s before the end sends the last SYN before it.
    let lost = failed(&all(&run), Failure::NoDirector) as f64;
    let wanted = 20.0 * (300.0 - 63.0);
    assert!((lost - wanted).abs() < 4.0 * wanted.sqrt(), "{lost} of {wanted}");
}

#[test]
fn a_balancer_reaches_a_server_that_answers_within_its_connect_time_out() {
    let strategy = |timeout: &str| {
        format!(
            "balancer = {{ nginx.round_robin = {{ max_fails = 0, proxy_next_upstream = \"off\", proxy_connect_timeout = \"{timeout}\" }} }}\n{LOCAL}"
        )
    };
    let fault = "partition = { server = \"a\", lasts = \"2500ms\" }";
    let patient = all(&outcome(&strategy("4s"), SINGLE_REQUESTS, fault));
    assert_eq!(patient.failures(), 0);
    assert!((1.0..3.1).contains(&patient.latency.quantile(1.0).expect("answers")));
    // SYNs of the last second come through after 1 s, the next after 3 s is too late.
    let hasty = all(&outcome(&strategy("2s"), SINGLE_REQUESTS, fault));
    let lost = failed(&hasty, Failure::ProxyTimeout);
    assert!((1..=22).contains(&lost) && lost == hasty.failures(), "{lost} of 10");
}

#[test]
fn servers_that_do_not_reach_their_store_wait_for_its_client_s_time_out() {
    let session = |options: &str| {
        format!(
            "balancer = {{ nginx.round_robin = {{ proxy_read_timeout = \"2min\" }} }}\nsession = {{ redis = {{ {options} }} }}"
        )
    };
    let fault = "partition = { link = \"store\", zone = \"east\", lasts = \"40s\" }";
    let hasty = outcome(&session("timeout = \"100ms\", read_timeout = \"100ms\""), VISITS, fault);
    let lost = failed(&all(&hasty), Failure::Store);
    assert!(lost > 50 && lost == all(&hasty).failures(), "{lost}");
    assert_eq!(failed(&hasty.counts.phase(Phase::Before), Failure::Store), 0);
    // 2 of 3 servers: of all requests of the fault, those without a session aside.
    let during = hasty.counts.phase(Phase::During);
    let share = failed(&during, Failure::Store) as f64 / (during.served + during.failures()) as f64;
    assert!((0.3..0.67).contains(&share), "{share}");
    let patient = all(&outcome(&session(""), VISITS, fault));
    assert_eq!(patient.failures(), 0, "phpredis waits for 127 s");
    assert!(patient.latency.quantile(1.0).expect("answers") > 30.0);
}

#[test]
fn a_delay_is_paid_twice_for_a_connection_and_twice_for_each_operation() {
    // A click connects, reads, and writes on the same connection: six ways of 10 ms.
    let strategy = "balancer = { nginx.round_robin = {} }\nsession = { redis = {} }";
    let run =
        outcome(strategy, VISITS, "delay = { link = \"store\", each_way = \"10ms\", lasts = \"5min\" }");
    let median = |phase| run.counts.phase(phase).latency.quantile(0.5).expect("answers");
    let more = median(Phase::During) - median(Phase::Before);
    assert!((more - 0.060).abs() < 0.003, "{more}");
}

#[test]
fn what_befalls_a_shared_disk_befalls_all_on_it() {
    let strategy = "balancer = { nginx.round_robin = {} }\nsession = { redis = {} }";
    let requests = |fault: &str| {
        let counts = all(&outcome(strategy, VISITS, fault));
        (counts.requests.clone(), counts.served, counts.latency.mean())
    };
    let zone = requests("slow = { zone = \"east\", factor = 9, lasts = \"2min\" }");
    assert_eq!(requests("slow = { disk = { zone = \"east\" }, factor = 9, lasts = \"2min\" }"), zone);
    let store =
        requests("slow = { disk = { zone = \"east\", nodes = [0] }, factor = 900, lasts = \"2min\" }");
    assert!(store.2 > zone.2);
}
