//! The simulator set up as queues whose answers are known in closed form.
//!
//! Every comparison is of a mean over independent replications with an exact value: the value must lie within the mean's
//! t-interval, at a level at which all comparisons of this file together fail by chance less than once in a thousand times
//! (Bonferroni), and the interval must be no wider than stated, so that passing means something. Seeds are fixed.

use std::net::{IpAddr, Ipv4Addr};

use evenkeel_sim::cluster::RunOutcome;
use evenkeel_sim::engine::{SimTime, Stream};
use evenkeel_sim::ids::StreamId;
use evenkeel_sim::metrics::measure::{NoiseCounts, noise_floor};
use evenkeel_sim::metrics::{MetricId, Phase};
use evenkeel_sim::scenario::Program;
use evenkeel_sim::tier::nginx::NginxConfig;
use evenkeel_sim::tier::{Method, Nginx, Open, Outcome, Ties};
use rayon::prelude::*;

use crate::support::{Table, interval, read, replications};

/// At least as many comparisons as this file makes.
const COMPARISONS: f64 = 200.0;
/// Error probability of one comparison: 0.1 % for the whole family.
const ALPHA: f64 = 0.001 / COMPARISONS;
/// Replications of each queue.
const REPLICATIONS: usize = 40;

/// A queue, in units of the mean service time of one second.
struct Queue {
    seed: u64,
    /// Servers, and workers of each.
    servers: usize,
    discipline: &'static str,
    service: &'static str,
    balancer: &'static str,
    clients: u32,
    /// Arrivals a second at all servers, over what all workers can serve.
    rho: f64,
    /// Workers in all.
    workers: usize,
    /// Requests that are measured in all replications together.
    requests: f64,
}

impl Queue {
    /// A single server of `workers` first-come-first-served workers with exponential service.
    fn mmc(workers: usize, rho: f64) -> Self {
        Self {
            seed: 1,
            servers: 1,
            discipline: "fcfs",
            service: r#"{ exponential = { mean = "1s" } }"#,
            balancer: "nginx.round_robin",
            clients: 1,
            rho,
            workers,
            requests: (requests(rho) / (workers as f64).sqrt()).max(300_000.0),
        }
    }

    fn run(&self) -> Vec<RunOutcome> {
        let rate = self.rho * self.workers as f64;
        let duration = self.requests / REPLICATIONS as f64 / rate;
        // Ten times the time in which an M/M/1 queue forgets its start, 1 / (1 - sqrt(rho))^2.
        let warmup = 10.0 / (1.0 - self.rho.sqrt()).powi(2);
        let each = self.workers / self.servers;
        let capacity = match self.discipline {
            "ps" => format!(r#"discipline = "ps", cores = {each}"#),
            "loss" => format!("workers = {each}, queue_limit = 0"),
            _ => format!("workers = {each}"),
        };
        let servers: Vec<String> = (0..self.servers)
            .map(|n| format!(r#"{{ name = "s{n}", address = "10.0.0.{}:80" }}"#, n + 1))
            .collect();
        replications(&format!(
            r#"
title = "a queue"
duration = "{duration:.3}s"
warmup = "{warmup:.3}s"
replications = {REPLICATIONS}
seed = {}
window = "{duration:.3}s"
[[population]]
name = "all"
clients = {}
address = {{ preset = "direct", addresses_per_24 = 1.0 }}
arrivals = {{ poisson = {{ rate = {rate:.6} }} }}
[cluster]
servers = [{}]
capacity = {{ {capacity}, service = {} }}
[[strategy]]
name = "only"
# The formulas' customers wait for however long it takes.
balancer = {{ {} = {{ proxy_read_timeout = "1000h" }} }}
session = {{ local = {{}} }}
"#,
            self.seed,
            self.clients,
            servers.join(", "),
            self.service,
            self.balancer,
        ))
    }
}

/// Requests that give the mean response time of M/M/1 at `rho` to within [`width`], after the asymptotic variance of the
/// sample mean, rho (2 + 5 rho - 4 rho^2 + rho^3) / (1 - rho)^4 (Whitt, Management Science 35 (1989), 1341).
fn requests(rho: f64) -> f64 {
    let variance = rho * (2.0 + 5.0 * rho - 4.0 * rho * rho + rho.powi(3)) / (1.0 - rho).powi(4) + 1.0;
    let mean = 1.0 / (1.0 - rho);
    // The t quantile at ALPHA with 39 degrees of freedom is 5.2; the rest is room for the spread of the estimate.
    variance * (7.0 / (width(rho) * mean)).powi(2)
}

/// Half the largest width of an interval that counts as an answer, relative to the value.
fn width(rho: f64) -> f64 {
    match rho {
        rho if rho < 0.6 => 0.02,
        rho if rho < 0.75 => 0.03,
        rho if rho < 0.85 => 0.05,
        rho if rho < 0.92 => 0.08,
        _ => 0.15,
    }
}

fn compare(what: &str, values: &[f64], exact: f64, width: f64) -> Option<String> {
    crate::support::compare(ALPHA, what, values, exact, width)
}

fn means(outcomes: &[RunOutcome]) -> Vec<f64> {
    each(outcomes, |outcome| outcome.counts.phase(Phase::All).latency.mean().expect("answers"))
}

fn each(outcomes: &[RunOutcome], value: impl Fn(&RunOutcome) -> f64) -> Vec<f64> {
    outcomes.iter().map(value).collect()
}

fn seconds(outcome: &RunOutcome) -> f64 {
    let calendar = &outcome.counts.calendar;
    calendar.end.since(calendar.measured_from).as_secs_f64()
}

fn all_hold(found: Vec<Option<String>>) {
    let wrong: Vec<String> = found.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn mmc_queues_have_the_response_times_utilisation_and_number_inside_of_the_closed_forms() {
    // Goal: arrivals, queue and workers make the M/M/c queue. Method: one server with c workers, Poisson arrivals of one
    // client, against Erlang's formulas; for one worker the 95th percentile, too.
    let table = Table::read("mmc_and_split_policies");
    let mut found = Vec::new();
    for (c, rhos) in [
        (1, &["0.3", "0.5", "0.7", "0.8", "0.9", "0.95"][..]),
        (2, &["0.3", "0.5", "0.7", "0.8", "0.9"]),
        (4, &["0.3", "0.5", "0.7", "0.8", "0.9", "0.95"]),
        (8, &["0.3", "0.5", "0.7", "0.8", "0.9"]),
        (16, &["0.3", "0.5", "0.7", "0.8", "0.9"]),
    ] {
        for &rho_text in rhos {
            let rho: f64 = rho_text.parse().expect("a number");
            let c_text = c.to_string();
            let exact = |column| table.value(&[("c", &c_text), ("rho", rho_text)], column);
            let outcomes = Queue::mmc(c, rho).run();
            let name = |what: &str| format!("M/M/{c} at {rho}: {what}");
            found.push(compare(&name("mean response"), &means(&outcomes), exact("W_mmc"), width(rho)));
            let utilisation =
                |o: &RunOutcome| o.counts.phase(Phase::All).busy_ns[0] as f64 / 1e9 / c as f64 / seconds(o);
            found.push(compare(&name("utilisation"), &each(&outcomes, utilisation), rho, 0.03));
            if c == 1 && rho < 0.92 {
                let p95 =
                    |o: &RunOutcome| o.counts.phase(Phase::All).latency.quantile(0.95).expect("answers");
                found.push(compare(&name("p95"), &each(&outcomes, p95), exact("p95_mm1"), 1.5 * width(rho)));
            }
        }
    }
    all_hold(found);
}

#[test]
fn a_server_without_a_queue_refuses_what_erlang_s_loss_formula_says() {
    // Goal: the queue limit, and the count of failures. Method: `queue_limit = 0` makes M/G/c/c, in which the share of
    // requests that find all workers busy depends on no more than the mean of the service law.
    let table = Table::read("mmc_and_split_policies");
    let mut found = Vec::new();
    for (c, rho) in [(1, "0.5"), (2, "0.8"), (4, "0.7"), (8, "0.9"), (16, "0.95")] {
        for service in [
            r#"{ exponential = { mean = "1s" } }"#,
            r#""1s""#,
            r#"{ lognormal = { mean = "1s", cv = 2.0 } }"#,
        ] {
            let queue = Queue {
                discipline: "loss",
                service,
                requests: 1_000_000.0,
                ..Queue::mmc(c, rho.parse().expect("a number"))
            };
            let refused = |o: &RunOutcome| {
                let counts = o.counts.phase(Phase::All);
                counts.failures() as f64 / (counts.served + counts.failures()) as f64
            };
            let exact = table.value(&[("c", &c.to_string()), ("rho", rho)], "erlang_b");
            found.push(compare(&format!("M/G/{c}/{c} at {rho}"), &each(&queue.run(), refused), exact, 0.04));
        }
    }
    all_hold(found);
}

#[test]
fn round_robin_over_servers_with_one_worker_makes_each_an_erlang_queue() {
    // Goal: nginx's round robin between equal servers deals strictly in turn. Method: each of c servers then sees arrivals
    // c exponential gaps apart (E_c/M/1), whose mean response lies well below that of a random split.
    let table = Table::read("mmc_and_split_policies");
    let mut found = Vec::new();
    for (c, rho) in
        [(2, "0.5"), (2, "0.7"), (2, "0.9"), (4, "0.5"), (4, "0.7"), (4, "0.8"), (8, "0.7"), (8, "0.9")]
    {
        let load: f64 = rho.parse().expect("a number");
        let mut queue = Queue { seed: 2, servers: c, ..Queue::mmc(c, load) };
        queue.requests *= 2.0;
        let exact = table.value(&[("c", &c.to_string()), ("rho", rho)], "W_round_robin_split");
        found.push(compare(&format!("E_{c}/M/1 at {rho}"), &means(&queue.run()), exact, width(load)));
    }
    all_hold(found);
}

#[test]
fn hashing_very_many_addresses_is_a_random_split() {
    // Goal: ip_hash over a large population is as good as a random choice, and no better. Method: 20,000 clients, each on a
    // /24 of its own, to c servers: c independent M/M/1 queues. Their shares differ by sqrt((c - 1) / 20,000), which moves
    // the mean response by less than (rho / (1 - rho))^2 times its square, below 0.3 %: far within the interval.
    let table = Table::read("mmc_and_split_policies");
    let mut found = Vec::new();
    for (c, rho) in [(2, "0.5"), (2, "0.7"), (4, "0.5"), (4, "0.8")] {
        let load: f64 = rho.parse().expect("a number");
        let mut queue =
            Queue { seed: 3, servers: c, balancer: "nginx.ip_hash", clients: 20_000, ..Queue::mmc(c, load) };
        queue.requests *= 3.0;
        let exact = table.value(&[("c", &c.to_string()), ("rho", rho)], "W_random_split");
        found.push(compare(&format!("{c} M/M/1 at {rho}"), &means(&queue.run()), exact, width(load)));
    }
    all_hold(found);
}

/// The service laws of the table that scenarios can write, and their names in it.
const LAWS: [(&str, &str); 4] = [
    ("deterministic", r#""1s""#),
    ("erlang2", r#"{ erlang = { shape = 2, mean = "1s" } }"#),
    ("exponential", r#"{ exponential = { mean = "1s" } }"#),
    // The coefficient of variation of a lognormal law with sigma 1 is sqrt(e - 1).
    ("lognormal_sigma1", r#"{ lognormal = { mean = "1s", cv = 1.310832 } }"#),
];

#[test]
fn processor_sharing_cares_for_nothing_but_the_mean_of_the_service_law() {
    // Goal: the processor-sharing server. Method: M/G/1-PS has mean response 1 / (1 - rho) whatever the law.
    let table = Table::read("mg1_ps_vs_fcfs");
    let mut found = Vec::new();
    for (law, service) in LAWS {
        for rho in ["0.5", "0.8"] {
            let load: f64 = rho.parse().expect("a number");
            let queue = Queue { seed: 4, discipline: "ps", service, ..Queue::mmc(1, load) };
            let exact = table.value(&[("service", law), ("rho", rho)], "ET_ps");
            found.push(compare(
                &format!("M/G/1-PS, {law}, at {rho}"),
                &means(&queue.run()),
                exact,
                width(load),
            ));
        }
    }
    all_hold(found);
}

#[test]
fn first_come_first_served_waits_longer_the_more_service_times_vary() {
    // Goal: the waiting line, with service laws other than the exponential. Method: the Pollaczek-Khinchine formula.
    let table = Table::read("mg1_ps_vs_fcfs");
    let mut found = Vec::new();
    for (law, service) in LAWS {
        for rho in ["0.5", "0.8"] {
            let load: f64 = rho.parse().expect("a number");
            let queue = Queue { seed: 5, service, ..Queue::mmc(1, load) };
            let exact = table.value(&[("service", law), ("rho", rho)], "ET_fcfs");
            // The fourth moment of the lognormal law makes its mean the least certain.
            let wide = if law == "lognormal_sigma1" { 2.0 } else { 1.0 };
            let what = format!("M/G/1, {law}, at {rho}");
            found.push(compare(&what, &means(&queue.run()), exact, wide * width(load)));
        }
    }
    all_hold(found);
}

#[test]
fn the_noise_floor_is_the_expected_maximum_of_balls_in_bins() {
    // Goal: what stands beside a skew as "chance alone" is chance alone. Method: the exact expectation of the fullest bin;
    // the floor is a mean over 1,000 samples, whose standard deviation follows from the 95 % quantile (a maximum's upper
    // tail is the wider one, so this is rather too much), and its normal approximation is good to 1 %.
    let table = Table::read("balls_in_bins_max_load");
    let metric = MetricId::by_name("load.requests.peak_to_mean").expect("in the catalogue");
    for (balls, bins) in [
        ("20", "2"),
        ("50", "5"),
        ("200", "3"),
        ("1000", "10"),
        ("2000", "20"),
        ("5000", "3"),
        ("5000", "10"),
    ] {
        let keys = [("balls", balls), ("bins", bins)];
        let exact = table.value(&keys, "E_max_over_mean");
        let q95 = table.value(&keys, "max_q95_over_mean");
        let n: usize = bins.parse().expect("a number");
        let count: f64 = balls.parse().expect("a number");
        let noise =
            NoiseCounts { requests: count, connections: count, window_requests: count, demand_cv2: 0.0 };
        let equal = vec![1.0; n];
        let stream = Stream::new(7, 0, StreamId::NoiseFloor);
        let floors = noise_floor(&noise, &equal, &equal, &stream);
        let floor = floors.iter().find(|(id, _)| *id == metric).expect("a floor").1;
        let tolerance = 4.5 * (q95 - exact) / 1.645 / 1_000_f64.sqrt() + 0.01 * (exact - 1.0);
        assert!((floor - exact).abs() < tolerance, "{balls} in {bins}: {floor} instead of {exact}");
    }
}

/// The nginx of a scenario with `servers` equal servers, the first of them marked `down` if so wanted.
pub fn ip_hash(servers: usize, first_down: bool) -> NginxConfig {
    let lines: Vec<String> =
        (0..servers).map(|n| format!(r#"{{ name = "s{n}", address = "10.0.0.{}:80" }}"#, n + 1)).collect();
    let options = if first_down { "servers = { s0 = { down = true } }" } else { "" };
    let loaded = read(&format!(
        r#"
title = "hash"
duration = "1s"
[[scripted_client]]
name = "c"
address = "1.2.3.4"
connections = [{{ at = "0s", hold = "0s" }}]
[cluster]
servers = [{}]
capacity = {{ workers = 1, service = "1ms" }}
[[strategy]]
name = "only"
balancer = {{ nginx.ip_hash = {{ {options} }} }}
session = {{ local = {{}} }}
"#,
        lines.join(", ")
    ));
    match &loaded.scenario.strategies[0].tier.program {
        Program::Nginx(config) => config.clone(),
        Program::Lvs(_) | Program::HaProxy(_) | Program::Proxy(_) => panic!("nginx was asked for"),
    }
}

#[test]
fn nginx_ip_hash_shares_all_networks_as_the_exact_enumeration_does() {
    // Goal: the tier instance hashes every /24 as nginx does, a server marked `down` among them. Method: open a request from
    // each of the 2^24 networks at three instances, and count shares and moves.
    let table = Table::read("nginx_ip_hash_exact");
    let configs = [ip_hash(3, false), ip_hash(3, true), ip_hash(4, false)];
    let (counts, moved) = (0..=255_u8)
        .into_par_iter()
        .map(|first| {
            let mut instances = configs.clone().map(Nginx::new);
            let mut counts = [[0_u64; 4]; 3];
            let mut moved = [0_u64; 3];
            for rest in 0..=0xFFFF_u32 {
                let address = IpAddr::V4(Ipv4Addr::from(u32::from(first) << 24 | rest << 8 | 1));
                let open = Open {
                    address,
                    port: 1_024,
                    key: &[],
                    method: Method::Get,
                    worker: 0,
                    service: 0,
                    ties: Ties::NONE,
                };
                let chosen = [0, 1, 2].map(|which| {
                    let opened = instances[which].open(SimTime::ZERO, &open);
                    instances[which].attempt_ended(SimTime::ZERO, opened.flow, Outcome::Status(200));
                    opened.decision.server.expect("a server")
                });
                for which in 0..3 {
                    counts[which][chosen[which].index()] += 1;
                    moved[which] += u64::from(chosen[which] != chosen[0]);
                }
            }
            (counts, moved)
        })
        .reduce(
            || ([[0; 4]; 3], [0; 3]),
            |(mut counts, mut moved), (more, more_moved)| {
                for which in 0..3 {
                    (0..4).for_each(|server| counts[which][server] += more[which][server]);
                    moved[which] += more_moved[which];
                }
                (counts, moved)
            },
        );
    let networks = f64::from(1 << 24);
    let relative = |which: usize, servers: std::ops::Range<usize>| {
        let fair = networks / servers.len() as f64;
        let shares = servers.map(|server| counts[which][server] as f64 / fair);
        shares.fold((f64::INFINITY, 0.0_f64), |(min, max), share| (min.min(share), max.max(share)))
    };
    // The table has ten digits.
    let same = |found: f64, keys: &[(&str, &str)], column: &str| {
        let exact = table.value(keys, column);
        assert!((found - exact).abs() < 1e-9, "{keys:?} {column}: {found} instead of {exact}");
    };
    for (which, servers, keys) in [
        (0, 0..3, [("quantity", "share_equal_weights"), ("servers_before", "3")]),
        (1, 1..3, [("quantity", "moved_when_first_marked_down"), ("servers_before", "3")]),
        (2, 0..4, [("quantity", "share_equal_weights"), ("servers_before", "4")]),
    ] {
        let (min, max) = relative(which, servers);
        same(min, &keys, "min_rel_share");
        same(max, &keys, "max_rel_share");
    }
    let marked_down = [("quantity", "moved_when_first_marked_down"), ("servers_before", "3")];
    same(moved[1] as f64 / networks, &marked_down, "moved_fraction");
    let appended = [("quantity", "moved_when_one_appended"), ("servers_before", "3")];
    same(moved[2] as f64 / networks, &appended, "moved_fraction");
}

/// The share of sessions of `requests` requests that lose their server, and the interval's half width: one user an address,
/// exponential think times of mean `think` seconds, `rr` over three servers with a persistence of `timeout` seconds.
fn broken_sessions(timeout: u32, think: u32, requests: u32, keepalive: &str, tcp: &str) -> (f64, f64) {
    let outcomes = replications(&format!(
        r#"
title = "persistence"
duration = "8h"
warmup = "1h"
replications = 20
seed = 6
[[population]]
name = "users"
clients = 600
address = {{ preset = "direct", addresses_per_24 = 1.0 }}
connection = {{ keepalive_timeout = "{keepalive}" }}
[population.visit]
clicks = {{ constant = {clicks} }}
think = {{ exponential = {{ mean = "{think}s" }} }}
away = {{ exponential = {{ mean = "5min" }} }}
login = true
form_token = false
leave_on_loss = 0.0
logins_again = 255
session_idle_timeout = "24h"
[cluster]
servers = [
  {{ name = "a", address = "10.0.0.1:80" }},
  {{ name = "b", address = "10.0.0.2:80" }},
  {{ name = "c", address = "10.0.0.3:80" }},
]
capacity = {{ workers = 100, service = "1ms" }}
[[strategy]]
name = "only"
session = {{ local = {{}} }}
[strategy.balancer.lvs.rr]
persistence_timeout = "{timeout}s"
forwarding = "dr"
timeouts = {{ tcp = "{tcp}", tcp_fin = "5s", udp = "60s" }}
"#,
        clicks = requests - 1,
    ));
    let broken = |o: &RunOutcome| {
        let counts = o.counts.phase(Phase::All);
        counts.with_loss as f64 / counts.logged_in as f64
    };
    interval(&each(&outcomes, broken), ALPHA)
}

/// The probability that a session of `requests` requests is broken if users who think for longer than `alive` seconds are
/// scheduled anew, and `think` is the mean.
fn broken_by(alive: f64, think: u32, requests: u32) -> f64 {
    let moved = (-alive / f64::from(think)).exp() * (2.0 / 3.0);
    1.0 - (1.0 - moved).powi(requests as i32 - 1)
}

fn tabled_break(timeout: u32, think: u32, requests: u32) -> f64 {
    let [timeout, think, requests] = [timeout, think, requests].map(|number| number.to_string());
    let keys =
        [("timeout_s", &*timeout), ("think_mean_s", &think), ("backends", "3"), ("requests", &requests)];
    Table::read("affinity_timeout_break").value(&keys, "p_session_broken")
}

#[test]
fn lvs_persistence_breaks_sessions_as_a_template_timer_that_is_never_early() {
    // Goal: templates, their timeouts and the losses that follow from their expiry. Method: one connection a request. A
    // session breaks with the probability of a pure timer at most (the table), and, since the kernel's timers are late by
    // 2.05 s at 17 to 129 s and by 16.4 s beyond, with that of a timer so much longer at least. Connections linger 5 s, less
    // than any timeout, so nothing else keeps a template alive.
    for (timeout, think, requests) in [(60, 30, 5), (60, 30, 10), (60, 60, 5), (120, 60, 10), (300, 120, 10)]
    {
        let (mean, half) = broken_sessions(timeout, think, requests, "0s", "30s");
        let at_most = tabled_break(timeout, think, requests);
        assert!(
            (broken_by(timeout.into(), think, requests) / at_most - 1.0).abs() < 1e-9,
            "the table's formula"
        );
        let late = if timeout < 129 { 2.06 } else { 16.4 };
        let at_least = broken_by(f64::from(timeout) + late, think, requests);
        let what = format!("-p {timeout}, think {think} s, {requests} requests: {mean} ± {half}");
        assert!(half < 0.03 * at_most, "{what} says too little");
        assert!(
            mean - half <= at_most && mean + half >= at_least,
            "{what} is not in {at_least} to {at_most}"
        );
    }
}

#[test]
fn keep_alive_breaks_more_sessions_than_a_template_timer_that_each_request_refreshes() {
    // Goal: a template that its connection outlives is armed for 60 s, again and again, and no longer for its own period.
    // Method: -p 300, users who think for 120 s, connections that idle for up to 200 s, so that a gap of less changes nothing.
    // After a longer one the entry is gone 205 s after the last request, and the template, which requests on an open
    // connection do not arm, at most 60 s later (16.4 s with the kernel's rounding of the timers), or at its own 300 s. So
    // more sessions break than the table has for 300 s, and fewer than if templates went with their connections.
    let (timeout, think, requests) = (300, 120, 10);
    let (mean, half) = broken_sessions(timeout, think, requests, "200s", "900s");
    let tabled = tabled_break(timeout, think, requests);
    let what = format!("{mean} ± {half}");
    assert!(half < 0.03 * tabled, "{what} says too little");
    assert!(mean - half > 1.15 * tabled, "{what}: no more than {tabled} of the table");
    let at_most = broken_by(205.0, think, requests);
    assert!(
        mean + half < at_most,
        "{what}: more than {at_most}, as if templates went with their connections"
    );
}
