//! The fault language: each kind does what it says, kinds and times combine, and no script of faults breaks a run.

use evenkeel_sim::cluster::{self, RunOutcome, RunSetup};
use evenkeel_sim::engine::SimTime;
use evenkeel_sim::metrics::recorder::{Failure, PhaseCounts};
use evenkeel_sim::metrics::{LossCause, Phase};

use evenkeel_sim::engine::Stream;
use evenkeel_sim::ids::StreamId;
use rayon::prelude::*;

use crate::disasters::{sites, survive};
use crate::support::{failed, read, single};

/// A site of three servers behind `strategy`, whose clients send 20 requests a second, with faults.
fn site(strategy: &str, faults: &str) -> String {
    format!(
        r#"title = "faults"
duration = "30min"
warmup = "1min"
replications = 1
seed = 11
[[population]]
name = "p"
clients = 2000
address = {{ preset = "direct" }}
arrivals = {{ poisson = {{ rate = 20.0 }} }}
[cluster]
capacity = {{ workers = 16, service = "20ms" }}
servers = [
  {{ name = "a", address = "10.0.0.1:80", zone = "east" }},
  {{ name = "b", address = "10.0.0.2:80", zone = "east" }},
  {{ name = "c", address = "10.0.0.3:80", zone = "west" }},
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

const ROUND: &str = "balancer = { nginx.round_robin = { max_fails = 0 } }";
/// No request is tried again.
const ONCE: &str = "balancer = { nginx.round_robin = { max_fails = 0, proxy_next_upstream = \"off\" } }";

#[test]
fn a_slow_server_takes_so_many_times_as_long_and_what_it_has_begun_as_well() {
    let slow = "[[fault]]\nat = \"10min\"\nslow = { servers = \"all\", factor = 3, lasts = \"10min\" }";
    for discipline in ["", "discipline = \"ps\", cores = 16, "] {
        let text = site(ROUND, slow)
            .replace("workers = 16, ", if discipline.is_empty() { "workers = 16, " } else { discipline });
        let run = single(&text);
        let p50 = |phase| run.counts.phase(phase).latency.quantile(0.5).expect("answers");
        let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.05;
        assert!(near(p50(Phase::Before), 0.020), "{}", p50(Phase::Before));
        assert!(near(p50(Phase::During), 0.060), "{}", p50(Phase::During));
        assert!(near(p50(Phase::After), 0.020), "{}", p50(Phase::After));
    }
    // Of a request of 10 minutes, the four minutes of the fault do the work of two.
    let long = site(
        "balancer = { lvs.rr = {} }",
        "[[fault]]\nat = \"2min\"\nslow = { servers = \"all\", factor = 2, lasts = \"4min\" }",
    )
    .replace("service = \"20ms\"", "service = \"10min\"")
    .replace("arrivals = { poisson = { rate = 20.0 } }", "arrivals = { poisson = { rate = 0.01 } }")
    .replace("warmup = \"1min\"", "warmup = \"0s\"");
    let run = single(&long);
    let latency = run.counts.phase(Phase::All).latency.max().expect("answers");
    assert!((600.0..=725.0).contains(&latency), "{latency}: 10 minutes and at most 2 more");
}

#[test]
fn factors_multiply_and_each_end_takes_its_own_away() {
    let slow = |at: &str, lasts: &str| {
        format!("[[fault]]\nat = \"{at}\"\nslow = {{ zone = \"east\", factor = 2, lasts = \"{lasts}\" }}\n")
    };
    let faults = format!("{}{}", slow("5min", "20min"), slow("10min", "5min"));
    let run = outcome(ROUND, &faults);
    // 20 ms, for two of three servers 40 ms for 15 minutes and 80 ms for 5.
    let busy = during(&run).busy_ns;
    let ratio = busy[0] as f64 / busy[2] as f64;
    assert!((ratio - (15.0 * 2.0 + 5.0 * 4.0) / 20.0).abs() < 0.15, "{ratio}");
}

#[test]
fn a_zone_fails_together_and_overlapping_crashes_end_with_the_last() {
    let faults = "[[fault]]\nat = \"10min\"\ncrash = { zone = \"east\", lasts = \"5min\" }\n\
                  [[fault]]\nat = \"12min\"\ncrash = { server = \"a\", lasts = \"6min\" }\n\
                  [[fault]]\nat = \"13min\"\nhang = { server = \"a\", lasts = \"7min\" }";
    let run = outcome(ROUND, faults);
    let minute = |at: SimTime| at.since(run.counts.calendar.measured_from).as_secs_f64() / 60.0;
    let outages: Vec<_> = run
        .outages
        .iter()
        .map(|outage| (outage.server.0, minute(outage.from), minute(outage.until)))
        .collect();
    assert_eq!(outages, [(0, 10.0, 20.0), (1, 10.0, 15.0)]);
    assert_eq!(run.faults[0].users_logged_out, 0, "sessions are shared");
}

#[test]
fn an_error_in_a_millisecond_is_a_success_to_nginx_and_attracts_least_conn() {
    // Goal: 500 is not in `proxy_next_upstream`, so nginx counts it as a success, and a server that fails at once has the fewest
    // connections: it gets far more than its third. Method: demand high enough that least_conn sees connections.
    let faults = "[[fault]]\nat = \"10min\"\nerrors = { server = \"a\", status = 500, lasts = \"10min\" }";
    let busy = |strategy: &str| {
        let text = site(strategy, faults).replace("service = \"20ms\"", "service = \"500ms\"");
        single(&text)
    };
    let share = |run: &RunOutcome| {
        let requests = during(run).requests;
        requests[0] as f64 / requests.iter().sum::<u64>() as f64
    };
    let round = busy("balancer = { nginx.round_robin = {} }");
    let least = busy("balancer = { nginx.least_conn = {} }");
    assert!((share(&round) - 1.0 / 3.0).abs() < 0.02, "{}", share(&round));
    assert!(share(&least) > 0.6, "{}", share(&least));
    let counts = during(&least);
    assert_eq!(failed(&counts, Failure::Error), counts.failures());
    assert!(
        failed(&counts, Failure::Error) as f64 > 0.9 * counts.requests[0] as f64,
        "users see all of them"
    );
    // With the status listed, nginx tries another server, and takes the faulty one out.
    let listed =
        busy("balancer = { nginx.least_conn = { proxy_next_upstream = \"error timeout http_500\" } }");
    assert!(during(&listed).failures() == 0 && share(&listed) < 0.1, "{}", share(&listed));
}

#[test]
fn half_the_errors_are_half_the_answers_and_the_rest_take_their_time() {
    let faults = "[[fault]]\nat = \"10min\"\nerrors = { servers = \"all\", share = 0.5, status = 503, latency = \"1ms\", lasts = \"10min\" }";
    for strategy in [ONCE, "balancer = { lvs.rr = {} }", "balancer = { haproxy.roundrobin = {} }"] {
        let counts = during(&outcome(strategy, faults));
        let share = failed(&counts, Failure::Error) as f64 / (counts.served + counts.failures()) as f64;
        // 12,000 draws: four standard deviations are 1.8 points.
        assert!((share - 0.5).abs() < 0.018, "{strategy}: {share}");
    }
}

#[test]
fn nothing_gets_through_a_partition_and_what_was_under_way_comes_after_it() {
    let faults = "[[fault]]\nat = \"10min\"\npartition = { server = \"a\", lasts = \"5min\" }";
    // nginx waits for the connection as long as it may, and asks another server.
    let nginx = outcome("balancer = { nginx.round_robin = { proxy_connect_timeout = \"1s\" } }", faults);
    let counts = during(&nginx);
    assert!(counts.retried > 10 && counts.failures() == 0, "{}", counts.failures());
    // keepalived's check notices what it does not of a hang.
    let check = "balancer = { lvs.rr = {} }\nhealth = { tcp_check = { delay_loop = \"2s\", connect_timeout = \"1s\", retry = 1, delay_before_retry = \"1s\" } }";
    let requests = during(&outcome(check, faults)).requests;
    assert!(requests[0] * 20 < requests[1], "{requests:?}");
    let hang = faults.replace("partition", "hang");
    let requests = during(&outcome(check, &hang)).requests;
    assert!(requests[0] * 20 > requests[1], "{requests:?}");
}

#[test]
fn lost_packets_cost_the_time_after_which_they_are_sent_again() {
    // Goal: the mean delay of one way there and back, each packet lost with probability p, equals the sum over all numbers of
    // repetitions k of P(k) (2^k - 1) times the first wait: 1 s for the connection, 0.2 s for the request.
    let p = 0.05;
    let faults =
        format!("[[fault]]\nat = \"1min\"\nloss = {{ servers = \"all\", share = {p}, lasts = \"28min\" }}");
    let patient = "balancer = { nginx.round_robin = { max_fails = 0, proxy_connect_timeout = \"75s\" } }";
    let counts = during(&outcome(patient, &faults));
    let arrives = (1.0 - p) * (1.0 - p);
    let lost: f64 = 1.0 - arrives;
    let doubled: f64 = (0..16).map(|k| lost.powi(k) * arrives * (2_f64.powi(k) - 1.0)).sum();
    let wanted = 0.020 + doubled * (1.0 + 0.2);
    let mean = counts.latency.mean().expect("answers");
    // 33,000 answers with a standard deviation near 0.6 s: four standard errors are 13 ms.
    assert!((mean - wanted).abs() < 0.02, "{mean} {wanted}");
}

#[test]
fn a_server_that_slows_down_as_it_gets_busy_stays_busy() {
    // Goal: a brown-out turns a burst into a lasting overload (a metastable failure) at arrivals that take a third of the workers.
    // Method: a minute in which all servers hang fills them above the threshold; a site without brown-out works it off.
    let brown_out = "[[fault]]\nat = \"1min\"\nbrown_out = { servers = \"all\", above = 0.8, factor = 4, lasts = \"29min\" }\n";
    let hang = "[[fault]]\nat = \"10min\"\nhang = { servers = \"all\", lasts = \"1min\" }";
    let p75 = |faults: &str| {
        let text = site("balancer = { lvs.rr = {} }", faults)
            .replace("workers = 16, service = \"20ms\"", "workers = 4, service = \"200ms\"");
        let run = single(&text);
        run.counts.phase(Phase::All).latency.quantile(0.75).expect("answers")
    };
    assert!(p75(brown_out) < 1.0, "{}", p75(brown_out));
    assert!(p75(hang) < 1.0, "{}", p75(hang));
    let both = p75(&format!("{brown_out}{hang}"));
    assert!(both > 60.0, "{both}");
}

#[test]
fn a_rolling_deployment_restarts_batch_by_batch_and_logs_users_out_by_plan() {
    let faults = "[[fault]]\nat = \"10min\"\ndeploy = { servers = \"all\", batch = 2, drain = \"1min\", pause = \"30s\", lasts = \"20s\" }";
    let text = site("balancer = { haproxy.roundrobin = { cookie = \"insert\" } }", faults)
        .replace(
            "arrivals = { poisson = { rate = 20.0 } }\n",
            "visit = { preset = \"login-site\", away = \"3min\" }\n",
        )
        .replace("clients = 2000", "clients = 300")
        .replace("session = { shared = { latency = \"0s\" } }", "session = { local = {} }");
    let run = single(&text);
    let second = |at: SimTime| at.since(run.counts.calendar.measured_from).as_secs_f64();
    let outages: Vec<_> = run.outages.iter().map(|o| (o.server.0, second(o.from), second(o.until))).collect();
    assert_eq!(outages, [(0, 600.0, 680.0), (1, 600.0, 680.0), (2, 710.0, 790.0)]);
    let lost = run.counts.ledger.losses_by_cause;
    assert!(lost[LossCause::Drained as usize] > 20, "{lost:?}");
    assert_eq!(lost[LossCause::ServerLost as usize], 0, "nothing was unplanned");
    assert_eq!(run.faults[0].users_logged_out, run.counts.ledger.losses);
}

#[test]
fn servers_come_and_go_by_scaling_and_a_drain_has_its_deadline() {
    let requests =
        |faults: &str, phase| outcome("balancer = { lvs.rr = {} }", faults).counts.phase(phase).requests;
    let out = "[[fault]]\nat = \"10min\"\nscale_out = { server = \"c\" }";
    let before = requests(out, Phase::Before);
    let after = requests(out, Phase::After);
    assert!(before[2] == 0 && after[2].abs_diff(after[0]) < 100, "{before:?} {after:?}");
    let inwards = "[[fault]]\nat = \"10min\"\nscale_in = { server = \"c\", drain = \"1min\" }";
    let after = requests(inwards, Phase::After);
    assert!(after[2] == 0 && after[0] > 1_000, "{after:?}");
    let outages = |deadline: &str| {
        let fault =
            format!("[[fault]]\nat = \"10min\"\ndrain = {{ server = \"c\", {deadline}lasts = \"5min\" }}");
        // Clients that a cookie ties come back to a drained server, but not to one that is out.
        let text = site("balancer = { haproxy.roundrobin = { cookie = \"insert\" } }", &fault)
            .replace(
                "arrivals = { poisson = { rate = 20.0 } }\n",
                "visit = { preset = \"login-site\", away = \"1min\" }\n",
            )
            .replace("clients = 2000", "clients = 300");
        during(&single(&text)).requests[2]
    };
    assert!(outages("deadline = \"1min\", ") < outages("") / 2);
}

#[test]
fn availability_is_mtbf_over_mtbf_and_mttr() {
    // Goal: the share of time that a server is up equals its closed form, for exponential and for other laws (renewal reward).
    // Method: 200 servers, each failing by itself for 500 cycles; four standard errors of the mean of the ratios.
    for (mtbf, mttr) in [
        ("{ exponential = { mean = \"50s\" } }", "{ exponential = { mean = \"10s\" } }"),
        ("{ lognormal = { mean = \"50s\", cv = 2.0 } }", "{ lognormal = { mean = \"10s\", cv = 1.0 } }"),
    ] {
        let servers: Vec<_> =
            (1..=200).map(|n| format!("{{ name = \"s{n}\", address = \"10.0.0.{n}:80\" }}")).collect();
        let text = format!(
            r#"title = "availability"
duration = "30000s"
warmup = "1s"
replications = 1
window = "1h"
[[population]]
name = "p"
clients = 1
address = {{ preset = "direct" }}
arrivals = {{ poisson = {{ rate = 0.01 }} }}
[cluster]
capacity = {{ workers = 1, service = "1ms" }}
servers = [{}]
[[fault]]
at = "1s"
mtbf = {mtbf}
mttr = {mttr}
partition = {{ servers = "all" }}
[[strategy]]
name = "s"
balancer = {{ nginx.round_robin = {{}} }}
session = {{ local = {{}} }}
"#,
            servers.join(", ")
        );
        let run = single(&text);
        let mut down = vec![0.0; 200];
        for outage in &run.outages {
            let until = outage.until.min(run.counts.calendar.end);
            down[outage.server.index()] += until.since(outage.from).as_secs_f64() / 29_999.0;
        }
        let mean = down.iter().sum::<f64>() / 200.0;
        let variance = down.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 199.0;
        let error = (variance / 200.0).sqrt();
        assert!(error < 0.001, "{error}");
        assert!((1.0 - mean - 50.0 / 60.0).abs() < 4.0 * error, "{} of {}", 1.0 - mean, 50.0 / 60.0);
    }
}

#[test]
fn random_faults_are_the_same_under_every_strategy_and_new_in_every_replication() {
    let faults = "[[fault]]\nat = \"1min\"\nmtbf = \"5min\"\nmttr = { exponential = { mean = \"30s\" } }\ncrash = { servers = \"all\" }";
    let text = site(ROUND, faults)
        + "[[strategy]]\nname = \"t\"\nbalancer = { lvs.rr = {} }\nsession = { local = {} }\n";
    let loaded = read(&text);
    let run = |strategy, replication| {
        let setup = RunSetup { scenario: &loaded.scenario, strategy, replication, logs: &[], stories: 0 };
        cluster::run(&setup, &|_| ()).expect("a run").spells
    };
    assert!(run(0, 0).len() > 10);
    assert_eq!(run(0, 0), run(1, 0));
    assert_ne!(run(0, 0), run(0, 1));
}

#[test]
fn no_script_of_faults_breaks_the_accounts_of_any_strategy() {
    // Goal: any faults, overlapping in any way, on any strategy: no panic, and all identities hold at the end, which `run` checks.
    // Method: ten thousand scripts from a fixed seed; the fuzz target `disasters` goes on from there.
    const SCRIPTS: u64 = 10_000;
    assert!(sites().len() > 50, "{} sites", sites().len());
    let stream = Stream::new(SCRIPTS, 0, StreamId::FaultTimes);
    (0..SCRIPTS).into_par_iter().for_each(|script| {
        let mut draws = stream.draws(script, 0);
        let bytes: Vec<u8> = (0..40).flat_map(|_| draws.bits().to_le_bytes()).collect();
        let survived = std::panic::catch_unwind(|| survive(&bytes));
        assert!(survived.is_ok(), "script {script}");
    });
}
