//! How long health rules take to notice a fault and its end, against closed forms; what nobody notices; who is taken out for nothing.
//!
//! Each closed form takes the moment of the fault as uniform against the phase of the checks, or arrivals as Poisson: faults come at
//! random times, hundreds to a run. Intervals are at a familywise 99.9 % over the comparisons of this file, and the widest that
//! counts as an answer stands in each test.

use evenkeel_sim::cluster::{RunOutcome, Sighting};
use evenkeel_sim::metrics::Phase;
use evenkeel_sim::metrics::recorder::PhaseCounts;

use crate::support::{compare, single};

/// Error probability of each interval.
const ALPHA: f64 = 0.001 / 26.0;

/// A site of `servers` servers that get `rate` requests a second for `hours`, behind `strategy`; the first has what `fault` says.
struct Site<'a> {
    servers: u32,
    rate: f64,
    hours: u32,
    capacity: &'a str,
    fault: &'a str,
    strategy: &'a str,
}

/// Crashes at random times, far enough apart for everything to settle between them; how long they last varies by whole rounds of
/// the checks below.
const CRASHES: &str = "mtbf = { uniform = { min = \"90s\", max = \"120s\" } }\nmttr = { uniform = { min = \"60s\", max = \"186s\" } }\ncrash = { server = \"a0\" }";

impl Default for Site<'_> {
    fn default() -> Self {
        Self {
            servers: 2,
            rate: 0.1,
            hours: 48,
            capacity: "{ workers = 64, service = \"1ms\" }",
            fault: CRASHES,
            strategy: "",
        }
    }
}

impl Site<'_> {
    fn run(&self) -> RunOutcome {
        let servers: Vec<_> = (0..self.servers)
            .map(|server| format!("{{ name = \"a{server}\", address = \"10.0.0.{}:80\" }}", server + 1))
            .collect();
        let fault = match self.fault {
            "" => String::new(),
            fault => format!("[[fault]]\nat = \"1min\"\n{fault}"),
        };
        single(&format!(
            r#"title = "detection"
duration = "{}h"
warmup = "1min"
replications = 1
seed = 11
[[population]]
name = "p"
clients = 1000
address = {{ preset = "direct" }}
arrivals = {{ poisson = {{ rate = {} }} }}
[cluster]
capacity = {}
servers = [{}]
{fault}
[[strategy]]
name = "s"
session = {{ shared = {{ latency = "0s" }} }}
{}
"#,
            self.hours,
            self.rate,
            self.capacity,
            servers.join(", "),
            self.strategy
        ))
    }
}

fn counts(run: &RunOutcome) -> PhaseCounts {
    run.counts.phase(Phase::All)
}

/// Times to detect \[s\], of all faults but the last, which the end of the run may have cut short.
fn detected(run: &RunOutcome) -> Vec<f64> {
    let whole = &run.sightings[..run.sightings.len() - 1];
    let time = |it: &Sighting| it.detected.expect("detected").since(it.from).as_secs_f64();
    whole.iter().map(time).collect()
}

/// Times to recover \[s\], of all but the last.
fn recovered(run: &RunOutcome) -> Vec<f64> {
    let whole = &run.sightings[..run.sightings.len() - 1];
    whole.iter().map(|it| it.back.expect("back").since(it.until).as_secs_f64()).collect()
}

/// The mean is `exact`, known to `width` of it, and no value lies outside the bounds.
fn holds(what: &str, values: &[f64], exact: f64, [least, most]: [f64; 2], width: f64) -> Vec<String> {
    let (low, high) = values.iter().fold((f64::MAX, 0.0_f64), |(a, b), &it| (a.min(it), b.max(it)));
    // Times are whole nanoseconds, and answers take a millisecond.
    let outside = low < least - 0.002 || high > most + 0.002;
    let bounds = outside.then(|| format!("{what}: {low} to {high} instead of {least} to {most}"));
    compare(ALPHA, what, values, exact, width).into_iter().chain(bounds).collect()
}

fn all_hold(wrong: Vec<Vec<String>>) {
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn haproxy_takes_what_is_left_of_inter_and_fall_less_one_fastinters_and_comes_back_alike() {
    // Goal: `inter`, `fastinter`, `downinter`, `rise` and `fall` of a server that refuses. Method: the next check comes after
    // uniform time, and each of the others at once after its interval: 750 crashes.
    let mut wrong = Vec::new();
    for (options, [inter, fast, down], [fall, rise]) in [
        ("", [2.0, 2.0, 2.0], [3.0, 2.0]),
        (
            "inter = \"5s\", fastinter = \"1s\", downinter = \"8s\", fall = 4, rise = 3",
            [5.0, 1.0, 8.0],
            [4.0, 3.0],
        ),
        ("inter = \"3s\", fall = 1, rise = 1", [3.0, 3.0, 3.0], [1.0, 1.0]),
    ] {
        let strategy = format!("balancer = {{ haproxy.roundrobin = {{ check = {{ {options} }} }} }}");
        let run = Site { strategy: &strategy, ..Site::default() }.run();
        let (least, most) = ((fall - 1.0) * fast, (fall - 1.0) * fast + inter);
        let what = |side: &str| format!("HAProxy {{ {options} }}, {side}");
        wrong.push(holds(&what("down"), &detected(&run), (least + most) / 2.0, [least, most], 0.12));
        let (least, most) = ((rise - 1.0) * fast, (rise - 1.0) * fast + down);
        wrong.push(holds(&what("up"), &recovered(&run), (least + most) / 2.0, [least, most], 0.12));
    }
    all_hold(wrong);
}

#[test]
fn haproxy_waits_for_a_silent_server_at_each_of_its_checks() {
    // Goal: the time-outs of checks. Method: as above, each of `fall` tries lasting `inter`, or with `timeout check` the
    // shorter of `inter` and `timeout connect`.
    let partitions = CRASHES.replace("crash", "partition");
    let mut wrong = Vec::new();
    for (options, lasts) in [("", 2.0), ("timeout_check = \"1s\"", 0.5)] {
        let strategy = format!(
            "balancer = {{ haproxy.roundrobin = {{ timeout_connect = \"500ms\", check = {{ {options} }} }} }}"
        );
        let run = Site { strategy: &strategy, fault: &partitions, ..Site::default() }.run();
        let least = 3.0 * lasts + 2.0 * 2.0;
        let what = format!("HAProxy {{ {options} }} and silence");
        wrong.push(holds(&what, &detected(&run), least + 1.0, [least, least + 2.0], 0.03));
    }
    all_hold(wrong);
}

#[test]
fn keepalived_takes_its_retries_and_what_is_left_of_the_loop() {
    // Goal: TCP_CHECK. Method: the next check comes after uniform time; then `retry` pauses, and for a silent server as many
    // time-outs and one. While the server is out, tries come in rounds, `retry` pauses of `delay_before_retry` and one of
    // `delay_loop`; a server that is back at a uniform moment of a round waits for the rest of one of them.
    let mut wrong = Vec::new();
    for (options, [delay_loop, retry, pause, timeout]) in [
        ("", [6.0, 3.0, 1.0, 3.0]),
        (
            "delay_loop = \"10s\", retry = 1, delay_before_retry = \"4s\", connect_timeout = \"2s\"",
            [10.0, 1.0, 4.0, 2.0],
        ),
    ] {
        let strategy = format!("balancer = {{ lvs.rr = {{}} }}\nhealth = {{ tcp_check = {{ {options} }} }}");
        let refused = Site { strategy: &strategy, ..Site::default() }.run();
        let what = |side: &str| format!("keepalived {{ {options} }}, {side}");
        let least = retry * pause;
        let exact = least + delay_loop / 2.0;
        wrong.push(holds(&what("refused"), &detected(&refused), exact, [least, least + delay_loop], 0.06));
        let back = (retry * pause * pause + delay_loop * delay_loop) / (2.0 * (retry * pause + delay_loop));
        wrong.push(holds(&what("back"), &recovered(&refused), back, [0.0, delay_loop], 0.2));
        let partitions = CRASHES.replace("crash", "partition");
        let silent = Site { strategy: &strategy, fault: &partitions, ..Site::default() }.run();
        let (least, exact) = (least + (retry + 1.0) * timeout, exact + (retry + 1.0) * timeout);
        wrong.push(holds(&what("silent"), &detected(&silent), exact, [least, least + delay_loop], 0.05));
    }
    all_hold(wrong);
}

/// Mean of the whole seconds and moments of the fraction of an exponential time of this rate: E(x), Var(x).
fn fraction(rate: f64) -> (f64, f64) {
    let q = (-rate).exp();
    let mean = 1.0 / rate - q / (1.0 - q);
    let square = (2.0 / (rate * rate) - q * (1.0 + 2.0 / rate + 2.0 / (rate * rate))) / (1.0 - q);
    (mean, square - mean * mean)
}

#[test]
fn nginx_waits_for_as_many_requests_as_it_takes_and_then_for_a_probe() {
    // Goal: `max_fails` and `fail_timeout`. Method: `random` over four servers thins a Poisson stream to one of a quarter of its
    // rate at each. A dead server has no successes, so the failures of any length of time add up, `fail_timeout` or not: the
    // time to the k-th of them is Erlang's. A probe that fails keeps it out for the rest of its second and `fail_timeout` more;
    // the next comes with the first request after that. The server is back at a uniform moment between two probes.
    let rate = 0.5;
    let mut wrong = Vec::new();
    for (max_fails, fail_timeout) in [(1, 10), (3, 2)] {
        let strategy = format!(
            "balancer = {{ nginx.random = {{ max_fails = {max_fails}, fail_timeout = \"{fail_timeout}s\" }} }}"
        );
        let site = Site {
            servers: 4,
            rate: 4.0 * rate,
            hours: 36,
            fault: "mtbf = { uniform = { min = \"90s\", max = \"120s\" } }\nmttr = \"90s\"\ncrash = { server = \"a0\" }",
            strategy: &strategy,
            ..Site::default()
        };
        let run = site.run();
        let what = |side: &str| format!("nginx max_fails {max_fails}, {side}");
        let k = f64::from(max_fails);
        wrong.push(holds(&what("out"), &detected(&run), k / rate, [0.0, 60.0], 0.18));
        let (mean, variance) = fraction(rate);
        let cycle = f64::from(fail_timeout) + 1.0 - mean + 1.0 / rate;
        let square = variance + 1.0 / (rate * rate) + cycle * cycle;
        wrong.push(holds(&what("back"), &recovered(&run), square / (2.0 * cycle), [0.0, 60.0], 0.18));
    }
    all_hold(wrong);
}

#[test]
fn envoy_ejects_at_the_fifth_error_and_looks_every_interval_who_may_come_back() {
    // Goal: `consecutive_5xx`, `base_ejection_time`, `interval`. Method: at a server that gets r requests a second the fifth failure
    // comes after 5 / r in the mean. The host is back at the first look when 30 s are over, a uniform part of 10 s later.
    let rate = 1.0;
    let run = Site {
        servers: 4,
        rate: 4.0 * rate,
        hours: 30,
        fault: "mtbf = { uniform = { min = \"150s\", max = \"180s\" } }\nmttr = \"25s\"\ncrash = { server = \"a0\" }",
        strategy: "balancer = { modern.random = { outlier_detection = { max_ejection_percent = 50 } } }",
        ..Site::default()
    }
    .run();
    let seen: Vec<_> = run.sightings.iter().filter(|it| it.detected.is_some() && it.back.is_some()).collect();
    assert!(
        seen.len() * 1_000 > run.sightings.len() * 995,
        "a fifth error after 25 s is a chance of 5 in a million"
    );
    let out: Vec<_> =
        seen.iter().map(|it| it.detected.expect("it is").since(it.from).as_secs_f64()).collect();
    let ejected: Vec<_> = seen
        .iter()
        .map(|it| it.back.expect("it is").since(it.detected.expect("it is")).as_secs_f64())
        .collect();
    all_hold(vec![
        holds("Envoy, out", &out, 5.0 / rate, [0.0, 25.0], 0.1),
        holds("Envoy, ejected", &ejected, 35.0, [30.0, 40.0], 0.03),
    ]);
}

#[test]
fn the_share_of_failed_requests_is_that_of_the_time_until_somebody_notices() {
    // Goal: availability. Method: a server of two is up for `mtbf` and down for `mttr`, both exponential: an alternating renewal
    // process. Without checks half of all requests fail for as long as it is down; with a TCP check that takes a uniform time D of
    // 3 to 9 s, until the earlier of D and the repair, and the check misses a repair that comes before: with R of mean m,
    // P(R < D) = 1 - E exp(-D / m), and E min(D, R) = m P(R < D).
    let (mtbf, m): (f64, f64) = (120.0, 20.0);
    let fault = "mtbf = { exponential = { mean = \"120s\" } }\nmttr = { exponential = { mean = \"20s\" } }\ncrash = { server = \"a0\" }";
    let site = |health: &str, hours| {
        let strategy = format!("balancer = {{ lvs.rr = {{}} }}\n{health}");
        Site { rate: 10.0, hours, fault, strategy: &strategy, ..Site::default() }.run()
    };
    let share = |run: &RunOutcome| {
        let counts = counts(run);
        counts.failures() as f64 / (counts.served + counts.failures()) as f64
    };
    // 1029 repairs in 40 h: their mean is known to 3 %, and three times that is allowed.
    let blind = site("", 40);
    let exact = 0.5 * m / (mtbf + m);
    assert!((share(&blind) / exact - 1.0).abs() < 0.1, "{} instead of {exact}", share(&blind));
    assert_eq!(counts(&blind).health.time_to_detect.count(), 0, "nobody looks");

    let watched = site("health = { tcp_check = {} }", 40);
    let (least, length) = (3.0, 6.0);
    let late = 1.0 - (-least / m).exp() * (1.0 - (-length / m).exp()) * m / length;
    let exact = 0.5 * m * late / (mtbf + m);
    assert!((share(&watched) / exact - 1.0).abs() < 0.1, "{} instead of {exact}", share(&watched));
    let health = counts(&watched).health;
    let missed = 1.0 - health.time_to_detect.count() as f64 / health.faults as f64;
    let error = 4.5 * (late * (1.0 - late) / health.faults as f64).sqrt();
    assert!((missed - late).abs() < error && error < 0.07, "{missed} instead of {late}");
}

#[test]
fn a_fault_is_detected_when_the_last_of_those_who_judge_by_themselves_has_noticed() {
    // Goal: four workers without a `zone`, or four instances. Method: each gets a quarter of the server's requests, and the largest
    // of four exponential times of mean 4 / r has the mean 4 / r (1 + 1/2 + 1/3 + 1/4).
    let rate = 0.5;
    let fault = "mtbf = { uniform = { min = \"90s\", max = \"120s\" } }\nmttr = \"180s\"\ncrash = { server = \"a0\" }";
    let mut wrong = Vec::new();
    for strategy in [
        "balancer = { nginx.random = { worker_processes = 4 } }",
        "balancer = { nginx.random = {} }\ninstances = 4",
    ] {
        let site = Site { servers: 4, rate: 4.0 * rate, hours: 60, fault, strategy, ..Site::default() };
        let exact = 4.0 / rate * (1.0 + 1.0 / 2.0 + 1.0 / 3.0 + 1.0 / 4.0);
        wrong.push(holds(strategy, &detected(&site.run()), exact, [0.0, 180.0], 0.15));
    }
    all_hold(wrong);
}

#[test]
fn what_is_over_before_anybody_looks_or_what_no_check_sees_is_undetected() {
    for (fault, check, noticed) in [
        ("lasts = \"100ms\"", "inter = \"2s\"", false),
        ("lasts = \"1min\"", "inter = \"2s\"", true),
        ("hang", "inter = \"2s\"", false),
        ("hang", "inter = \"2s\", httpchk = true", true),
    ] {
        let (kind, lasts) = if fault == "hang" { ("hang", "lasts = \"1min\"") } else { ("crash", fault) };
        let strategy = format!("balancer = {{ haproxy.roundrobin = {{ check = {{ {check} }} }} }}");
        let fault = format!("{kind} = {{ server = \"a0\", {lasts} }}");
        let site = Site { hours: 1, rate: 1.0, fault: &fault, strategy: &strategy, ..Site::default() };
        let health = counts(&site.run()).health;
        assert_eq!(
            (health.faults, health.time_to_detect.count()),
            (1, u64::from(noticed)),
            "{fault} {check}"
        );
        assert_eq!(health.time_to_recover.count(), u64::from(noticed), "{fault} {check}");
        assert_eq!(health.false_positives, 0, "{fault} {check}");
    }
}

#[test]
fn a_busy_server_fails_checks_that_ask_for_a_page_and_none_that_only_connect() {
    // Two servers with one worker each get half as much again as they can do: a page takes a second, and soon waits for minutes.
    let busy = |strategy: &str| {
        let capacity = "{ workers = 1, service = \"1s\" }";
        let run = Site { hours: 1, rate: 3.0, capacity, fault: "", strategy, ..Site::default() }.run();
        let health = counts(&run).health;
        assert_eq!(health.faults, 0);
        assert_eq!(run.removals.iter().filter(|it| it.is_false).count(), run.removals.len());
        health
    };
    let haproxy = |check: &str| format!("balancer = {{ haproxy.leastconn = {{ check = {{ {check} }} }} }}");
    let keepalived = |check: &str| format!("balancer = {{ lvs.lc = {{}} }}\nhealth = {{ {check} }}");
    for (page, connection) in [
        (haproxy("httpchk = true, timeout_check = \"3s\""), haproxy("")),
        (keepalived("http_get = {}"), keepalived("tcp_check = {}")),
        (
            "balancer = { modern.power_of_d = {} }\nhealth = { http_get = {} }".into(),
            "balancer = { modern.power_of_d = {} }\nhealth = { tcp_check = {} }".into(),
        ),
    ] {
        let (health, none) = (busy(&page), busy(&connection));
        assert!(health.false_positives >= 2 && health.false_ns > 600_000_000_000, "{page}: {health:?}");
        assert_eq!(none.false_positives, 0, "{connection}");
    }
}

#[test]
fn what_an_operator_does_is_neither_a_fault_nor_a_false_positive() {
    for strategy in [
        "balancer = { modern.random = {} }\nhealth = { tcp_check = {} }",
        "balancer = { lvs.rr = {} }\nhealth = { tcp_check = {} }",
        "balancer = { haproxy.roundrobin = { check = {} } }",
        "balancer = { nginx.round_robin = {} }",
    ] {
        for fault in [
            "down = { server = \"a0\", lasts = \"10min\" }",
            "deploy = { servers = \"all\", drain = \"30s\", lasts = \"1s\" }",
        ] {
            let run = Site { hours: 1, rate: 1.0, fault, strategy, ..Site::default() }.run();
            let health = counts(&run).health;
            assert_eq!((health.faults, health.false_positives), (0, 0), "{strategy} {fault}");
        }
    }
}

#[test]
fn a_name_that_is_watched_notices_that_an_instance_died_and_one_that_is_not_does_not() {
    let detected = |health: &str| {
        let strategy = format!(
            "tiers = [{{ dns = {{ ttl = \"10s\" }}{health} }}, {{ balancer = {{ nginx.round_robin = {{}} }}, instances = [\"one\", \"two\"] }}]"
        );
        let fault = "crash = { instance = \"one\", lasts = \"10min\" }";
        let run = Site { hours: 1, rate: 1.0, fault, strategy: &strategy, ..Site::default() }.run();
        let [sighting] = run.sightings[..] else { panic!("{:?}", run.sightings) };
        sighting.detected.map(|at| at.since(sighting.from).as_secs_f64())
    };
    // A dead machine is silent: four tries of 3 s with three pauses of a second, after up to 6 s.
    let after = detected(", health = { tcp_check = {} }").expect("detected");
    assert!((15.0..=21.0).contains(&after), "{after}");
    assert_eq!(detected(""), None);
}
