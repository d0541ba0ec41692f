//! The rules of one HAProxy, each by the inputs that show it.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::balancer::haproxy::{Admin, HashOptions, HashType};
use crate::health::HaproxyCheck;
use crate::health::haproxy::{Observe, OnError};
use crate::tier::{Method, Ties};

const GET: Open<'static> = Open {
    address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    port: 40_000,
    key: &[],
    method: Method::Get,
    worker: 0,
    service: 0,
    ties: Ties::NONE,
};
const OK: Outcome = Outcome::Status(200);

fn config(balance: &str, hash_type: &str, servers: u32) -> HaproxyConfig {
    let hash_type = HashType::parse(hash_type).expect("valid");
    let options = HashOptions { hash_type, balance_factor: 0 };
    let method = HaproxyMethod::configure(balance, options, 1).expect("valid");
    let line =
        |id: u32| HaproxyLine { cookie: Some(id.to_string().as_bytes().into()), ..HaproxyLine::new(id) };
    HaproxyConfig {
        redispatch: Some(-1),
        connect_timeout: SimDuration::from_secs(5),
        ..HaproxyConfig::new(method, (1..=servers).map(line).collect())
    }
}

fn with_cookies(config: HaproxyConfig) -> HaproxyConfig {
    HaproxyConfig { cookie: Some(CookieMode::Insert { preserve: false }), ..config }
}

fn at(millis: u64) -> SimTime {
    SimTime::from_millis(millis)
}

fn tied(server: u16) -> Open<'static> {
    Open { ties: Ties { cookie: Some(ServerId(server)), ..Ties::NONE }, ..GET }
}

/// Runs one request through; `outcome` says how a try at each server ends. Gives the servers tried with the seconds at which
/// the tries began, and the status.
fn run(haproxy: &mut Haproxy, open: &Open<'_>, outcome: impl Fn(u16) -> Outcome) -> (Vec<(u16, u64)>, u16) {
    let mut now = at(0);
    let opened = haproxy.open(now, open);
    let Some(server) = opened.decision.server else { return (vec![], SERVICE_UNAVAILABLE) };
    let mut tried = vec![(server.0, 0)];
    let mut then = haproxy.attempt_ended(now, opened.flow, outcome(server.0));
    loop {
        then = match then {
            Then::Done { status } => return (tried, status),
            Then::Wait(delay) => {
                now = now + delay;
                haproxy.resume(now, opened.flow)
            }
            Then::Retry(decision) => {
                let server = decision.server.expect("nothing is queued").0;
                tried.push((server, now.0 / 1_000_000_000));
                assert_eq!(usize::from(decision.attempt), tried.len());
                haproxy.attempt_ended(now, opened.flow, outcome(server))
            }
        };
    }
}

fn refused_by(bad: u16) -> impl Fn(u16) -> Outcome {
    move |server| if server == bad { Outcome::ConnectRefused } else { OK }
}

fn first(haproxy: &mut Haproxy, open: &Open<'_>) -> Option<u16> {
    run(haproxy, open, |_| OK).0.first().map(|&(server, _)| server)
}

#[test]
fn what_nothing_ties_moves_on_at_once() {
    let mut haproxy = Haproxy::new(config("roundrobin", "", 3));
    assert_eq!(run(&mut haproxy, &GET, refused_by(0)), (vec![(0, 0), (1, 0)], 200));
}

#[test]
fn a_hash_stays_for_three_tries_and_its_last_goes_elsewhere_on_the_ring_only() {
    for (hash_type, moves) in [("map-based", false), ("consistent", true)] {
        let mut haproxy = Haproxy::new(config("source", hash_type, 3));
        let home = first(&mut haproxy, &GET).expect("a server");
        let (tried, status) = run(&mut haproxy, &GET, refused_by(home));
        assert_eq!(tried[..3], [(home, 0), (home, 1), (home, 2)]);
        assert_eq!((tried[3].0 != home, tried[3].1), (moves, 2), "{hash_type}");
        assert_eq!(status, if moves { 200 } else { 503 });
    }
}

#[test]
fn without_redispatch_every_try_waits_for_the_same_server() {
    let mut haproxy = Haproxy::new(HaproxyConfig { redispatch: None, ..config("roundrobin", "", 2) });
    let (tried, status) = run(&mut haproxy, &GET, refused_by(0));
    assert_eq!((tried, status), (vec![(0, 0), (0, 1), (0, 2), (0, 3)], 503));
}

#[test]
fn redispatch_comes_at_the_interval_that_its_number_says() {
    for (interval, moved_at) in [(1, 1), (2, 2), (-1, 4), (-2, 3), (0, 5)] {
        let config =
            HaproxyConfig { redispatch: Some(interval), retries: 4, ..config("source", "consistent", 3) };
        let mut haproxy = Haproxy::new(config);
        let home = first(&mut haproxy, &GET).expect("a server");
        let (tried, _) = run(&mut haproxy, &GET, refused_by(home));
        let stayed = tried.iter().take_while(|&&(server, _)| server == home).count();
        assert_eq!(stayed, moved_at, "interval {interval}");
    }
}

#[test]
fn answers_are_passed_on_unless_retry_on_lists_them() {
    let unavailable = |_| Outcome::Status(503);
    let mut haproxy = Haproxy::new(config("roundrobin", "", 3));
    assert_eq!(run(&mut haproxy, &GET, unavailable), (vec![(0, 0)], 503));
    assert_eq!(run(&mut haproxy, &GET, |_| Outcome::ReadTimeout), (vec![(1, 0)], 504));
    assert_eq!(run(&mut haproxy, &GET, |_| Outcome::Reset), (vec![(2, 0)], 502));
    let retry_on = "503 empty-response".parse().expect("valid");
    let mut haproxy = Haproxy::new(HaproxyConfig { retry_on, ..config("roundrobin", "", 3) });
    assert_eq!(run(&mut haproxy, &GET, unavailable).0.len(), 4);
    assert_eq!(run(&mut haproxy, &GET, |_| Outcome::ConnectRefused).0.len(), 1, "it is not listed any more");
}

#[test]
fn a_cookie_is_followed_without_a_turn_of_the_algorithm_and_set_when_it_was_not() {
    let mut haproxy = Haproxy::new(with_cookies(config("roundrobin", "", 3)));
    for _ in 0..2 {
        let opened = haproxy.open(at(0), &tied(2));
        assert_eq!((opened.decision.server, opened.decision.reason), (Some(ServerId(2)), Reason::Affinity));
        assert_eq!(haproxy.cookie_to_set(opened.flow), None);
        haproxy.attempt_ended(at(0), opened.flow, OK);
    }
    let opened = haproxy.open(at(0), &GET);
    assert_eq!(opened.decision.server, Some(ServerId(0)));
    assert_eq!(haproxy.cookie_to_set(opened.flow), Some(ServerId(0)));
}

#[test]
fn a_cookie_counts_while_its_server_drains_but_not_in_maintenance() {
    let mut haproxy = Haproxy::new(with_cookies(config("roundrobin", "", 3)));
    haproxy.set_admin(at(0), ServerId(2), Admin::Drain);
    assert_eq!(first(&mut haproxy, &tied(2)), Some(2));
    haproxy.set_admin(at(0), ServerId(2), Admin::Maint);
    let opened = haproxy.open(at(0), &tied(2));
    assert_eq!(opened.decision.reason, Reason::AffinityUnusable(Skipped::OutOfService));
    assert_eq!(haproxy.cookie_to_set(opened.flow), opened.decision.server);
    let ignored = Ties { persistence: Persistence::Ignored, ..tied(1).ties };
    let opened = haproxy.open(at(0), &Open { ties: ignored, ..GET });
    assert_eq!(opened.decision.reason, Reason::Scheduled { tie: false });
    assert_eq!(haproxy.cookie_to_set(opened.flow), None);
    let forced = Ties { persistence: Persistence::Forced, ..tied(2).ties };
    assert_eq!(first(&mut haproxy, &Open { ties: forced, ..GET }), Some(2));
}

#[test]
fn a_request_that_left_its_cookies_server_gets_a_new_cookie() {
    let mut haproxy = Haproxy::new(with_cookies(config("roundrobin", "", 2)));
    let opened = haproxy.open(at(0), &tied(1));
    for _ in 0..2 {
        let then = haproxy.attempt_ended(at(0), opened.flow, Outcome::ConnectRefused);
        assert_eq!(then, Then::Wait(SimDuration::from_secs(1)));
        haproxy.resume(at(0), opened.flow);
    }
    let Then::Retry(last) = haproxy.attempt_ended(at(0), opened.flow, Outcome::ConnectRefused) else {
        panic!("the last retry is balanced anew, at once");
    };
    assert_eq!((last.server, last.reason), (Some(ServerId(0)), Reason::AffinityUnusable(Skipped::Tried)));
    assert_eq!(haproxy.cookie_to_set(opened.flow), Some(ServerId(0)));
}

#[test]
fn the_stick_table_remembers_who_answered_and_a_cookie_goes_before_it() {
    let table =
        StickTableConfig { key: StickKey::Ip, size: 10, expire: SimDuration::from_secs(5), nopurge: false };
    let rule = StickRule { matches: true, stores: Some(StoreAt::Request), key: StickSource::Address };
    let stick = Some(StickConfig { table, rules: vec![rule] });
    let mut haproxy = Haproxy::new(HaproxyConfig { stick, ..with_cookies(config("roundrobin", "", 3)) });
    assert_eq!(first(&mut haproxy, &GET), Some(0));
    assert_eq!(first(&mut haproxy, &GET), Some(0));
    assert_eq!(first(&mut haproxy, &tied(2)), Some(2));
    assert_eq!(first(&mut haproxy, &GET), Some(2), "the answer changed the entry");
    // Nobody answered, so nothing is stored and nothing is left behind.
    let other = Open { address: [192, 0, 2, 2].into(), ..GET };
    run(&mut haproxy, &other, |_| Outcome::ConnectRefused);
    assert_eq!(haproxy.table_sizes().affinity_entries, 1);
}

#[test]
fn a_free_place_goes_to_whoever_has_waited_longest() {
    let mut config = with_cookies(config("leastconn", "", 2));
    for line in &mut config.servers {
        line.server.maxconn = 1;
    }
    let mut haproxy = Haproxy::new(config);
    let held = [0, 1].map(|_| haproxy.open(at(0), &GET));
    let waiting = [GET, tied(0), GET].map(|open| haproxy.open(at(0), &open));
    for opened in &waiting {
        assert_eq!((opened.decision.server, opened.decision.reason), (None, Reason::Queued));
    }
    haproxy.attempt_ended(at(1), held[1].flow, OK);
    let started = haproxy.next_started().expect("the first one");
    assert_eq!((started.0, started.1.server), (waiting[0].flow, Some(ServerId(1))));
    assert_eq!(haproxy.next_started(), None);
    haproxy.attempt_ended(at(2), held[0].flow, OK);
    let (flow, decision) = haproxy.next_started().expect("the one of the server's own queue");
    assert_eq!((flow, decision.reason), (waiting[1].flow, Reason::Affinity));
    haproxy.abort(at(3), waiting[2].flow);
    haproxy.attempt_ended(at(3), flow, OK);
    assert_eq!(haproxy.next_started(), None, "the third one went away");
}

#[test]
fn those_who_wait_for_a_server_that_goes_are_balanced_anew() {
    let mut config = with_cookies(config("leastconn", "", 2));
    config.servers[0].server.maxconn = 1;
    let mut haproxy = Haproxy::new(config);
    haproxy.open(at(0), &tied(0));
    let waiting = haproxy.open(at(0), &tied(0));
    assert_eq!(waiting.decision.reason, Reason::Queued);
    haproxy.set_admin(at(1), ServerId(0), Admin::Maint);
    let (flow, decision) = haproxy.next_started().expect("moved");
    assert_eq!((flow, decision.server), (waiting.flow, Some(ServerId(1))));
}

#[test]
fn checks_and_refused_requests_take_a_server_out_and_maintenance_brings_it_back() {
    let check = HaproxyCheck {
        observe: Observe::Layer4,
        error_limit: 2,
        on_error: OnError::MarkDown,
        ..HaproxyCheck::default()
    };
    let mut config = config("roundrobin", "", 2);
    config.servers.iter_mut().for_each(|line| line.check = Some(check));
    let mut haproxy = Haproxy::new(config);
    haproxy.check_ended(at(0), ServerId(0), false);
    assert!(!haproxy.is_up(ServerId(0)), "one failure from down since the start");
    haproxy.set_admin(at(0), ServerId(0), Admin::Maint);
    haproxy.set_admin(at(0), ServerId(0), Admin::Ready);
    assert!(haproxy.is_up(ServerId(0)));
    while haproxy.is_up(ServerId(1)) {
        run(&mut haproxy, &GET, refused_by(1));
    }
    assert_eq!(run(&mut haproxy, &GET, refused_by(1)), (vec![(0, 0)], 200));
    assert_eq!(haproxy.check_ended(at(0), ServerId(1), true), Some(SimDuration::from_secs(2)));
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        3 => Just(OK),
        1 => Just(Outcome::Status(503)),
        2 => Just(Outcome::ConnectRefused),
        1 => Just(Outcome::ConnectTimeout),
        1 => Just(Outcome::Reset),
        1 => Just(Outcome::ReadTimeout),
    ]
}

proptest! {
    /// Any sequence of inputs: no panic, no full server beyond its limit, and books that balance.
    #[test]
    fn every_request_ends_and_gives_its_place_back(
        balance in prop::sample::select(vec![
            "roundrobin", "static-rr", "leastconn", "first", "source", "random(2)", "hash x",
        ]),
        consistent in any::<bool>(),
        maxconn in prop::collection::vec(0u32..3, 1..6),
        inputs in prop::collection::vec((0u8..12, any::<u32>(), any_outcome()), 1..150),
    ) {
        let mut config =
            with_cookies(config(balance, if consistent { "consistent" } else { "" }, maxconn.len() as u32));
        for (line, &maxconn) in config.servers.iter_mut().zip(&maxconn) {
            line.server.maxconn = maxconn;
            line.check = Some(HaproxyCheck { observe: Observe::Layer4, ..HaproxyCheck::default() });
        }
        config.retry_on = "all-retryable-errors".parse().expect("valid");
        let mut haproxy = Haproxy::new(config);
        // Requests in flight, and the server of each while it is at one.
        let mut in_flight: Vec<(FlowId, Option<ServerId>)> = Vec::new();
        let mut started = Vec::new();
        for (input, number, outcome) in inputs {
            let place = number as usize % in_flight.len().max(1);
            let server = ServerId::from_index(number as usize % maxconn.len());
            match input {
                0..5 => {
                    let ties = Ties { cookie: (number % 3 == 0).then_some(server), ..Ties::NONE };
                    let key = number.to_be_bytes();
                    let opened = haproxy.open(at(0), &Open { ties, key: &key, ..GET });
                    if opened.decision.reason != Reason::NoneUsable {
                        in_flight.push((opened.flow, opened.decision.server));
                    }
                }
                5..9 if !in_flight.is_empty() => {
                    let (flow, at_server) = in_flight[place];
                    let then = match at_server {
                        Some(_) => haproxy.attempt_ended(at(0), flow, outcome),
                        None => haproxy.resume(at(0), flow),
                    };
                    match then {
                        Then::Retry(decision) => in_flight[place].1 = decision.server,
                        Then::Wait(_) => in_flight[place].1 = None,
                        // A request in a queue is not resumed.
                        Then::Done { .. } if haproxy.flows.get(flow).is_some() => {}
                        Then::Done { .. } => drop(in_flight.swap_remove(place)),
                    }
                }
                9 if !in_flight.is_empty() => haproxy.abort(at(0), in_flight.swap_remove(place).0),
                10 => {
                    let admin = [Admin::Ready, Admin::Drain, Admin::Maint][number as usize / 64 % 3];
                    haproxy.set_admin(at(0), server, admin);
                }
                _ => {
                    haproxy.check_ended(at(0), server, number % 2 == 0);
                }
            }
            while let Some((flow, decision)) = haproxy.next_started() {
                started.push((flow, decision.server));
            }
            for (flow, server) in started.drain(..) {
                let Some(known) = in_flight.iter().position(|&(other, _)| other == flow) else { continue };
                match server {
                    Some(_) => in_flight[known].1 = server,
                    None => drop(in_flight.swap_remove(known)),
                }
            }
            prop_assert_eq!(haproxy.table_sizes().flows, in_flight.len() as u64);
            for (server, &maxconn) in maxconn.iter().enumerate() {
                // Those that a server takes when it can be used again hold no place.
                let place = |flow: FlowId| haproxy.flows.get(flow).and_then(|flow| flow.place);
                let held = in_flight.iter().filter(|&&(flow, _)| place(flow) == Some(ServerId::from_index(server)));
                let held = held.count();
                prop_assert!(maxconn == 0 || held <= maxconn as usize);
            }
        }
        while let Some((flow, _)) = in_flight.pop() {
            haproxy.abort(at(0), flow);
            while haproxy.next_started().is_some() {}
        }
        prop_assert!(!haproxy.servers.any_in_flight());
    }
}

/// Two servers with one place each, of which the first is taken and has one waiting who is tied to it.
fn crowded(change: impl FnOnce(&mut HaproxyConfig)) -> (Haproxy, FlowId, Opened) {
    let mut config = with_cookies(config("roundrobin", "", 2));
    for line in &mut config.servers {
        (line.server.maxconn, line.server.maxqueue) = (1, 1);
    }
    change(&mut config);
    let mut haproxy = Haproxy::new(config);
    let first = haproxy.open(at(0), &tied(0)).flow;
    let waiting = haproxy.open(at(0), &tied(0));
    assert_eq!((waiting.decision.server, waiting.decision.reason), (None, Reason::Queued));
    (haproxy, first, waiting)
}

#[test]
fn who_finds_the_queue_of_its_server_full_goes_elsewhere_if_redispatch_allows() {
    let (mut haproxy, ..) = crowded(|_| ());
    let moved = haproxy.open(at(1), &tied(0)).decision;
    assert_eq!((moved.server, moved.reason), (Some(ServerId(1)), Reason::AffinityUnusable(Skipped::Full)));
    let (mut haproxy, ..) = crowded(|config| config.redispatch = None);
    let refused = haproxy.open(at(1), &tied(0)).decision;
    assert_eq!((refused.server, refused.reason), (None, Reason::NoneUsable));
    assert_eq!(haproxy.table_sizes().flows, 2, "it is gone");
}

#[test]
fn who_has_waited_too_long_leaves_the_queue_to_the_next() {
    let (mut haproxy, first, waiting) = crowded(|config| config.queue_timeout = SimDuration::from_secs(2));
    assert_eq!(haproxy.queue_timeout(), Some(SimDuration::from_secs(2)));
    assert_eq!(haproxy.resume(at(2_000), waiting.flow), Then::Done { status: SERVICE_UNAVAILABLE });
    let next = haproxy.open(at(2_001), &tied(0));
    assert_eq!(next.decision.reason, Reason::Queued, "there is room in the queue again");
    haproxy.attempt_ended(at(2_002), first, OK);
    let (started, decision) = haproxy.next_started().expect("a place is free");
    assert_eq!((started, decision.server), (next.flow, Some(ServerId(0))));
}

#[test]
fn places_grow_from_minconn_to_maxconn_with_the_requests_in_the_backend() {
    let mut config = config("roundrobin", "", 1);
    config.fullconn = 10;
    (config.servers[0].server.minconn, config.servers[0].server.maxconn) = (1, 5);
    let mut haproxy = Haproxy::new(config);
    // Of 1, 2, … requests in the backend, half of them but at least one may be at the server.
    let starts = |haproxy: &mut Haproxy| haproxy.open(at(0), &GET).decision.server.is_some();
    let started: Vec<bool> = (0..6).map(|_| starts(&mut haproxy)).collect();
    // Once somebody waits, nobody passes by.
    assert_eq!(started, [true, false, false, false, false, false]);
}

#[test]
fn cookies_are_set_as_their_mode_and_options_say() {
    let post = |open: Open<'static>| Open { method: Method::Post, ..open };
    let sets = |change: fn(&mut HaproxyConfig), open: Open<'static>| {
        let mut config = with_cookies(config("roundrobin", "", 2));
        change(&mut config);
        let mut haproxy = Haproxy::new(config);
        let flow = haproxy.open(at(0), &open).flow;
        haproxy.cookie_to_set(flow).is_some()
    };
    assert!(sets(|_| (), GET) && !sets(|_| (), tied(1)));
    let postonly: fn(&mut HaproxyConfig) = |config| config.cookie_postonly = true;
    assert!(!sets(postonly, GET) && sets(postonly, post(GET)));
    // `maxidle` counts from the last answer.
    let maxidle: fn(&mut HaproxyConfig) = |config| config.cookie_life.idle = Some(SimDuration::from_secs(60));
    assert!(sets(maxidle, tied(1)));
    // The application sets its cookie for newcomers and at a login.
    let prefix: fn(&mut HaproxyConfig) = |config| config.cookie = Some(CookieMode::Prefix);
    assert!(sets(prefix, GET) && !sets(prefix, tied(1)) && sets(prefix, post(tied(1))));
}
