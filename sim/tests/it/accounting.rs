//! Nothing is lost or counted twice, whatever the scenario: random small sites, with their books checked from outside.

use std::fmt::Write as _;
use std::fs;

use evenkeel_sim::balancer;
use evenkeel_sim::cluster::{self, RunOutcome, RunSetup};
use evenkeel_sim::engine::{SimDuration, Stream};
use evenkeel_sim::experiment::prepare_logs;
use evenkeel_sim::ids::{ServerId, StreamId};
use evenkeel_sim::metrics::Phase;
use evenkeel_sim::metrics::recorder::Failure;
use evenkeel_sim::scenario::{Fault, FaultKind, Overrides, Part, Recurs, Scenario, parse};
use evenkeel_sim::session::SessionPlan;
use rayon::prelude::*;

/// Random scenarios that are run, each with two strategies.
const CASES: u32 = 300;
/// What they are drawn from; a failing case prints its number and its text.
const SEED: u64 = 20_261_122;

/// Draws that are named by their place in the case.
struct Dice {
    stream: Stream,
    case: u64,
    drawn: u64,
}

impl Dice {
    fn new(case: u32) -> Self {
        Self { stream: Stream::new(SEED, 0, StreamId::Balancer), case: u64::from(case), drawn: 0 }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.drawn += 1;
        self.stream.below(n, self.case, self.drawn)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    fn often(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T: ?Sized>(&mut self, among: &[&'a T]) -> &'a T {
        among[self.below(among.len() as u64) as usize]
    }
}

/// Length of the measured part of every case \[s\].
const DURATION: u64 = 300;

/// The balancers that need no options, which all but those that hash a configured key do.
fn balancers() -> Vec<(&'static str, &'static str)> {
    let readable = |balancer: &str| {
        let text = format!(
            "title = \"t\"\nduration = \"1s\"\n[[scripted_client]]\nname = \"c\"\naddress = \"1.2.3.4\"\n\
             connections = [{{ at = \"0s\", hold = \"0s\" }}]\n[cluster]\n\
             servers = [{{ name = \"a\", address = \"10.0.0.1:80\" }}]\ncapacity = {{ workers = 1, service = \"1s\" }}\n\
             [[strategy]]\nname = \"s\"\nsession = {{ local = {{}} }}\nbalancer = {{ {balancer} = {{}} }}\n"
        );
        parse("x.toml", &text, &Overrides::NONE).is_ok()
    };
    let found: Vec<_> = balancer::entries()
        .filter(|entry| readable(entry.scenario_name))
        .map(|entry| (entry.program, entry.scenario_name))
        .collect();
    for expected in ["nginx.round_robin", "nginx.ip_hash", "lvs.rr", "lvs.wlc"] {
        assert!(found.iter().any(|(_, name)| *name == expected), "{expected} is not tested");
    }
    found
}

fn population(dice: &mut Dice, number: usize) -> String {
    let mut text = format!("[[population]]\nname = \"p{number}\"\nclients = {}\n", dice.between(1, 120));
    let address = dice.pick(&[
        r#"{ preset = "direct" }"#,
        r#"{ preset = "home-nat" }"#,
        r#"{ preset = "office" }"#,
        r#"{ preset = "cgnat" }"#,
        r#"{ preset = "cgnat", users_per_address = 16 }"#,
        r#"{ preset = "cgnat", users_per_address = 2, pool_addresses = 8, pooling = "arbitrary" }"#,
        r#"{ preset = "cgnat", users_per_address = 2, pool_addresses = 8, mapping_timeout = "3s" }"#,
        r#"{ preset = "mobile", users_per_address = 4, hand_over = "20s" }"#,
        r#"{ preset = "mega-proxy" }"#,
        r#"{ preset = "direct", leases = { exponential = { share = 0.5, mean = "1min" }, periodic = { share = 0.5, period = "90s" } } }"#,
        r#"{ preset = "ipv6-home", ipv6 = { homes = 0.7, connections = 0.8, temporary = "30s" }, leases = { periodic = { share = 1.0, period = "1min" } } }"#,
        r#"{ preset = "behind-cdn" }"#,
        r#"{ preset = "mobile", hand_over = "20s", front = { addresses = 2, trusted = true } }"#,
        r#"{ fixed = ["10.9.8.7", "2001:db8::1", "10.9.9.1"] }"#,
    ]);
    let connection = connection(dice);
    // Where each request has an address of its own, it has a connection of its own, and the scenario cannot say otherwise.
    let connection = if address.contains("mega-proxy") { "" } else { &connection };
    let _ = writeln!(text, "address = {address}\n{connection}");
    if dice.often(30) {
        let _ = writeln!(text, "activity = {{ pareto = {{ min = 1, alpha = 1.3, max = 100 }} }}");
    }
    let rate = dice.between(1, 30);
    let arrivals = match dice.below(6) {
        0 => format!("poisson = {{ rate = {rate} }}"),
        1 => format!(
            "bursts = {{ rate = {rate}, lasts = {{ exponential = {{ mean = \"10s\" }} }}, gap = \"20s\" }}"
        ),
        2 => format!("diurnal = {{ rate = {rate}, peak_to_trough = 3, peak_at = \"1min\" }}"),
        3 => format!("ramp = {{ from = 0, to = {rate}, over = \"3min\" }}"),
        _ => format!(
            "flash_crowd = {{ rate = 1, peak = {}, at = \"1min\", rise = \"10s\", decay = \"30s\" }}",
            3 * rate
        ),
    };
    let open = dice.below(100);
    if open < 40 {
        let _ = writeln!(text, "arrivals = {{ {arrivals} }}");
    }
    if open < 20 {
        return text;
    }
    let think = dice.pick(&[
        r#"{ exponential = { mean = "3s" } }"#,
        r#"{ exponential = { mean = "20s" } }"#,
        r#"{ uniform = { min = "0s", max = "2s" } }"#,
        r#"{ constant = "5s" }"#,
    ]);
    let _ = writeln!(
        text,
        "[population.visit]\npreset = \"{}\"\nthink = {think}\naway = {{ exponential = {{ mean = \"{}s\" }} }}",
        dice.pick(&[
            "login-site",
            "login-site",
            "browse",
            "shop",
            "flash-crowd",
            "api",
            "websocket",
            "long-poll"
        ]),
        dice.between(1, 60),
    );
    browser(dice, &mut text);
    if text.contains("login-site") || text.contains("shop") {
        let _ = writeln!(
            text,
            "logout = {}\nreturns = {}\nform_token = {}\nlogins_again = {}\nleave_on_loss = {}\non_unknown_id = \"{}\"\n\
             session_idle_timeout = \"{}s\"",
            dice.pick(&["0.0", "0.3", "1.0"]),
            dice.pick(&["0.0", "0.5", "1.0"]),
            dice.often(50),
            dice.below(5),
            dice.pick(&["0.0", "0.3", "1.0"]),
            dice.pick(&["new_id", "adopt_id"]),
            dice.pick(&["6", "30", "1800"]),
        );
    }
    text
}

/// What a browser does, beside what its preset says.
fn browser(dice: &mut Dice, text: &mut String) {
    let holds = text.contains("websocket") || text.contains("long-poll");
    if holds {
        let _ = writeln!(
            text,
            "hold = {{ time = \"{}s\", message_cost = {}, reconnect = {{ first = {} }} }}",
            dice.pick(&["0", "5", "40", "1000"]),
            dice.pick(&["0.0", "0.2", "1.0"]),
            dice.pick(&["\"0s\"", "\"3s\"", "{ uniform = { min = \"0s\", max = \"4s\" } }"]),
        );
    } else if dice.often(40) {
        let _ = writeln!(
            text,
            "page = {{ objects = {}, static_share = {}, connections = {}, streams = {} }}",
            dice.pick(&["0", "5", "{ exponential = { mean = 8 } }"]),
            dice.pick(&["0.0", "0.5", "1.0"]),
            dice.pick(&["1", "2", "6"]),
            dice.pick(&["1", "1", "3", "100"]),
        );
    }
    if dice.often(50) {
        let _ = writeln!(
            text,
            "patience = {{ timeout = {}, reloads = {}, backoff = {{ first = {}, factor = {} }}, on_error = {}, leaves = {} }}",
            dice.pick(&["\"none\"", "\"300ms\"", "\"2s\"", "{ exponential = { mean = \"1s\" } }"]),
            dice.below(4),
            dice.pick(&["\"0s\"", "\"1s\"", "{ exponential = { mean = \"2s\" } }"]),
            dice.pick(&["1", "2"]),
            dice.often(70),
            dice.often(50),
        );
    }
    if dice.often(20) {
        let _ = writeln!(text, "diurnal = {{ peak_to_trough = 5, peak_at = \"0s\" }}");
    }
    let _ = writeln!(text, "cookies = {}", dice.often(80));
}

fn connection(dice: &mut Dice) -> String {
    format!(
        "connection = {{ keepalive_timeout = \"{}s\", keepalive_requests = {}, closed_by = \"{}\" }}",
        dice.pick(&["0", "1", "5", "15", "60"]),
        dice.pick(&["1", "3", "100"]),
        dice.pick(&["client", "server"]),
    )
}

/// A log whose clients make many requests at a time, for five minutes.
fn log_lines(dice: &mut Dice) -> String {
    let mut text = String::new();
    let mut second = 0;
    while second < DURATION {
        for _ in 0..dice.below(12) {
            let _ = writeln!(
                text,
                "10.{}.{}.{} - - [01/Jan/2026:00:{:02}:{:02} +0000] \"{} /{} HTTP/1.1\" 200 512 \"-\" \"{}\"",
                dice.below(3),
                dice.below(3),
                dice.between(1, 3),
                second / 60,
                second % 60,
                dice.pick(&["GET", "GET", "POST"]),
                dice.pick(&["", "a.html", "b", "c.css", "robots.txt"]),
                dice.pick(&["Mozilla/5.0 (X11; Linux x86_64)", "Opera/9.80", "Googlebot/2.1"]),
            );
        }
        second += dice.between(0, 2) * dice.between(1, 12);
    }
    if text.is_empty() {
        text.push_str(
            "10.0.0.1 - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"Opera/9.80\"\n",
        );
    }
    text
}

fn cluster(dice: &mut Dice, servers: u64) -> String {
    let list: Vec<String> = (0..servers)
        .map(|n| {
            let weight = dice.between(1, 3);
            format!(r#"{{ name = "s{n}", address = "10.0.0.{}:80", weight = {weight} }}"#, n + 1)
        })
        .collect();
    let limit = dice.pick(&[r#""none""#, "0", "1", "10"]);
    let width = dice.between(1, 6);
    let discipline = if dice.often(60) {
        format!("workers = {width}, queue_limit = {limit}")
    } else {
        let limit = if limit == "0" { "1" } else { limit };
        format!(r#"discipline = "ps", cores = {width}, limit = {limit}"#)
    };
    let service = dice.pick(&[
        r#""20ms""#,
        r#"{ exponential = { mean = "100ms" } }"#,
        r#"{ lognormal = { mean = "300ms", cv = 2.0 } }"#,
        r#"{ exponential = { mean = "2s" } }"#,
    ]);
    format!(
        "[cluster]\nservers = [{}]\ncapacity = {{ {discipline}, service = {service} }}\n",
        list.join(", ")
    )
}

fn strategy(dice: &mut Dice, number: usize, balancers: &[(&'static str, &'static str)]) -> String {
    let (program, name) = balancers[dice.below(balancers.len() as u64) as usize];
    let session = dice.pick(&[
        "{ local = {} }",
        "{ local = {} }",
        r#"{ shared = { latency = { exponential = { mean = "2ms" } } } }"#,
    ]);
    let mut text = format!("[[strategy]]\nname = \"s{number}\"\nsession = {session}\n");
    let checked = program == "lvs" && dice.often(50);
    if checked {
        let _ = writeln!(
            text,
            "health = {{ tcp_check = {{ delay_loop = \"{}s\", retry = {} }} }}",
            dice.between(1, 10),
            dice.below(4)
        );
    }
    let _ = writeln!(text, "[strategy.balancer.{name}]");
    match program {
        "nginx" => {
            let _ = writeln!(
                text,
                "max_fails = {}\nfail_timeout = \"{}s\"\nworker_processes = {}\nzone = {}\n\
                 proxy_next_upstream = \"{}\"\nproxy_next_upstream_tries = {}",
                dice.below(4),
                dice.between(1, 20),
                dice.between(1, 4),
                dice.often(50),
                dice.pick(&[
                    "error timeout",
                    "off",
                    "error timeout http_503 non_idempotent",
                    "error http_503"
                ]),
                dice.below(4),
            );
        }
        "lvs" => {
            if dice.often(70) {
                let _ =
                    writeln!(text, "persistence_timeout = \"{}s\"", dice.pick(&["5", "60", "120", "300"]));
            }
            let _ = writeln!(
                text,
                "forwarding = \"{}\"\ntimeouts = {{ tcp = \"{}s\", tcp_fin = \"{}s\" }}",
                dice.pick(&["nat", "dr", "tun"]),
                dice.pick(&["3", "30", "900"]),
                dice.pick(&["5", "120"]),
            );
        }
        _ => {}
    }
    text
}

/// The text of a scenario; with a log if `log` names its file.
fn scenario(dice: &mut Dice, log: Option<&str>, balancers: &[(&'static str, &'static str)]) -> String {
    let warmup = if dice.often(50) { 0 } else { dice.between(1, 120) };
    let mut text = format!(
        "title = \"random\"\nduration = \"{DURATION}s\"\nwarmup = \"{warmup}s\"\nreplications = 1\nseed = {}\n\
         window = \"{}s\"\n",
        dice.below(1 << 20),
        dice.between(1, 40)
    );
    for number in 0..dice.between(1, 3) as usize {
        text.push_str(&population(dice, number));
    }
    if let Some(file) = log {
        let _ = writeln!(
            text,
            "[[log]]\nname = \"log\"\nfile = '{file}'\nvisit_gap = \"{}s\"\non_unknown_id = \"{}\"\n{}",
            dice.pick(&["20", "1800"]),
            dice.pick(&["new_id", "adopt_id"]),
            connection(dice),
        );
    }
    if dice.often(30) {
        let opens: Vec<String> = (0..dice.between(1, 20))
            .map(|n| {
                format!(
                    r#"{{ at = "{}s", hold = "{}s" }}"#,
                    n * 14 + dice.below(10),
                    dice.below(4) * dice.below(30)
                )
            })
            .collect();
        let _ = writeln!(
            text,
            "[[scripted_client]]\nname = \"probe\"\naddress = \"192.168.1.100\"\nconnections = [{}]",
            opens.join(", ")
        );
    }
    let servers = dice.between(1, 4);
    text.push_str(&cluster(dice, servers));
    // The requests of a log show no page.
    let balancers: Vec<_> =
        balancers.iter().copied().filter(|(_, name)| log.is_none() || *name != "haproxy.uri").collect();
    for number in 0..2 {
        text.push_str(&strategy(dice, number, &balancers));
    }
    text
}

/// Crashes at random times of any server. They may overlap.
fn faults(dice: &mut Dice, servers: usize) -> Vec<Fault> {
    let mut faults: Vec<Fault> = (0..dice.below(5))
        .map(|_| {
            let server = ServerId::from_index(dice.below(servers as u64) as usize);
            Fault {
                at: SimDuration::from_millis(dice.below(1_000 * DURATION)),
                recurs: Recurs::Never,
                lasts: SimDuration::from_secs([1, 10, 60, 400][dice.below(4) as usize]),
                part: Part::Servers { servers: vec![server], zone: None },
                kind: FaultKind::Crash,
            }
        })
        .collect();
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// Checks the books of a run against each other, from outside; the run has checked its ledger itself.
fn audit(scenario: &Scenario, strategy: usize, outcome: &RunOutcome) {
    let counts = &outcome.counts;
    let ledger = counts.ledger;
    let all = counts.phase(Phase::All);
    let accepted: u64 = all.requests.iter().sum();
    let in_windows: u64 = counts.window_requests.iter().map(|&requests| u64::from(requests)).sum();
    assert_eq!(in_windows, accepted, "requests by window and by server");
    assert_eq!(counts.window_busy_ns.iter().sum::<u64>(), all.busy_ns.iter().sum::<u64>(), "busy time");
    assert_eq!(all.latency.count(), all.served, "response times and answers");
    assert_eq!(all.session_missed, all.losses(), "misses and losses");
    let open = ledger.visits_begun - ledger.visits_finished - ledger.visits_abandoned;
    assert!(counts.visits_open <= open, "open visits");
    assert!(!scenario.warmup.is_zero() || counts.visits_open == open, "open visits, without a warm-up");
    for (part, whole, what) in [
        (all.served, ledger.requests_served, "answers measured and in all"),
        (all.failures(), ledger.requests_failed, "failures measured and in all"),
        (all.losses(), ledger.losses, "losses measured and in all"),
        (accepted, ledger.station_arrivals, "accepted tries, measured and in all"),
        (
            ledger.station_arrivals,
            ledger.requests_issued + all.retried + cut_short(scenario, ledger.requests_issued),
            "tries",
        ),
    ] {
        assert!(part <= whole, "{what}: {part} {whole}");
        let begins_at_zero = scenario.warmup.is_zero() && what.ends_with("in all");
        assert!(!begins_at_zero || part == whole, "{what}, without a warm-up: {part} {whole}");
    }
    for (part, whole, what) in [
        (all.with_loss, all.logged_in, "visits with a loss"),
        (all.logged_in, all.finished + all.abandoned, "visits logged in"),
        (all.logins_failed, all.logins, "failed logins"),
        (all.session_missed + all.expired, all.session_needed, "sessions not found"),
        (all.forked, all.created, "forks"),
    ] {
        assert!(part <= whole, "{what}: {part} of {whole}");
    }
    let length = counts.calendar.end.since(counts.calendar.measured_from).0;
    for (server, &busy) in all.busy_ns.iter().enumerate() {
        let workers = match scenario.servers[server].capacity.discipline {
            evenkeel_sim::backend::Discipline::Fcfs { workers, .. } => workers,
            evenkeel_sim::backend::Discipline::ProcessorSharing { cores, .. } => cores,
        };
        assert!(busy <= length * u64::from(workers), "server {server} worked more than it could");
    }
    if matches!(scenario.strategies[strategy].session, SessionPlan::Shared { .. }) {
        assert_eq!((ledger.losses, all.forked), (0, 0), "a shared store loses nothing");
    }
    for outage in &outcome.outages {
        assert!(outage.from < outage.until);
    }
}

/// Retries in the warm-up are in no counter; without one, none are missing.
fn cut_short(scenario: &Scenario, issued: u64) -> u64 {
    if scenario.warmup.is_zero() { 0 } else { issued * scenario.servers.len() as u64 }
}

#[test]
fn the_books_of_every_random_site_balance() {
    // Goal: no combination of clients, balancer, session store, queue and faults makes the simulator panic, lose a request
    // or count one twice. Method: run random scenarios; `run` itself refuses unbalanced ledgers, and what it returns is
    // checked once more from outside.
    let balancers = balancers();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let seen: Vec<[u64; 9]> = (0..CASES)
        .into_par_iter()
        .map(|case| {
            let mut dice = Dice::new(case);
            let log = dice.often(40).then(|| {
                let file = folder.path().join(format!("{case}.log"));
                fs::write(&file, log_lines(&mut dice)).expect("a log");
                file.to_string_lossy().into_owned()
            });
            let text = scenario(&mut dice, log.as_deref(), &balancers);
            let mut loaded = parse("random.toml", &text, &Overrides::NONE)
                .unwrap_or_else(|mistakes| panic!("case {case}: {mistakes}\n{text}"));
            loaded.scenario.faults = faults(&mut dice, loaded.scenario.servers.len());
            let logs = prepare_logs(&loaded.scenario, &loaded.folder, &|_| ())
                .unwrap_or_else(|error| panic!("{error}"));
            let mut seen = [0; 9];
            for strategy in 0..2 {
                let setup = RunSetup {
                    scenario: &loaded.scenario,
                    strategy,
                    replication: 0,
                    logs: &logs,
                    stories: usize::from(case % 2 == 0) * 5,
                };
                let checked = std::panic::catch_unwind(|| {
                    let outcome = cluster::run(&setup, &|_| ()).unwrap_or_else(|error| panic!("{error}"));
                    audit(&loaded.scenario, strategy, &outcome);
                    outcome
                });
                let outcome = checked.unwrap_or_else(|_| {
                    panic!("case {case}, strategy {strategy}:\n{text}\n{:?}", loaded.scenario.faults)
                });
                let all = outcome.counts.phase(Phase::All);
                let here = [
                    outcome.counts.ledger.losses,
                    all.failures(),
                    all.retried,
                    all.forked,
                    all.failed[Failure::TimedOut as usize],
                    all.wasted,
                    all.reloads,
                    all.reconnects,
                    all.static_objects,
                ];
                seen.iter_mut().zip(here).for_each(|(sum, here)| *sum += here);
            }
            seen
        })
        .collect();
    // The cases would prove little if little went wrong in them.
    let sums: Vec<u64> = (0..9).map(|what| seen.iter().map(|seen| seen[what]).sum()).collect();
    let least = [10_000, 10_000, 10_000, 100, 1_000, 1_000, 1_000, 1_000, 1_000];
    assert!(sums.iter().zip(least).all(|(sum, least)| *sum > least), "{sums:?}");
}

#[test]
fn a_scripted_client_closes_no_sooner_than_its_answer_has_come() {
    // Goal: no connection is given to another client while a request is under way on it. Method: a client who would close
    // after a second, at a server that takes five.
    let text = r#"
title = "slow"
duration = "1min"
[[scripted_client]]
name = "probe"
address = "192.168.1.100"
connections = [{ at = "1s", hold = "1s" }, { at = "20s", hold = "9s" }]
[cluster]
servers = [{ name = "a", address = "10.0.0.1:80" }]
capacity = { workers = 1, service = "5s" }
[[strategy]]
name = "only"
balancer = { lvs.wlc = {} }
session = { local = {} }
"#;
    let loaded = parse("slow.toml", text, &Overrides::NONE).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let setup = RunSetup { scenario: &loaded.scenario, strategy: 0, replication: 0, logs: &[], stories: 0 };
    let outcome = cluster::run(&setup, &|_| ()).unwrap_or_else(|error| panic!("{error}"));
    let trace: Vec<_> = outcome.trace.iter().map(|line| (line.at_s, line.event.as_str())).collect();
    assert_eq!(trace, [(1.0, "open"), (6.0, "close"), (20.0, "open"), (29.0, "close")]);
}
