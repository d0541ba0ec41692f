//! Cookies that tie browsers to servers: nginx's own `sticky` and Tengine's `session_sticky`.

use super::tests::{GET, OK, config};
use super::*;
use crate::balancer::OptionVisitor;
use crate::engine::SimDuration;
use crate::tier::{CookieLife, Skipped, Ties};

fn sticky(method: &str, servers: Vec<NginxServer>) -> NginxConfig {
    let cookie = StickyCookie { name: "srv_id".into(), expires: None };
    NginxConfig { version: NginxVersion::STICKY, sticky: Some(cookie), ..config(method, servers) }
}

fn equal(servers: usize) -> Vec<NginxServer> {
    vec![NginxServer::default(); servers]
}

fn naming(server: u16) -> Open<'static> {
    Open { ties: Ties { cookie: Some(ServerId(server)), ..Ties::NONE }, ..GET }
}

fn at(seconds: u64) -> SimTime {
    SimTime::from_millis(seconds * 1_000)
}

/// One request that is answered at once: its server, why, and the cookie that comes with the answer.
fn serve(nginx: &mut Nginx, open: &Open<'_>) -> (Option<u16>, Reason, Option<u16>) {
    let opened = nginx.open(at(1), open);
    let cookie = nginx.cookie_to_set(opened.flow);
    if opened.decision.server.is_some() {
        nginx.attempt_ended(at(1), opened.flow, OK);
    }
    (opened.decision.server.map(|it| it.0), opened.decision.reason, cookie.map(|it| it.0))
}

#[test]
fn every_method_of_nginx_follows_the_cookie_and_sets_it_with_each_answer() {
    for method in ["round_robin", "ip_hash", "hash", "hash_consistent", "least_conn", "random", "random_two"]
    {
        let servers = (0..4)
            .map(|i| NginxServer { address: format!("10.0.0.{i}:80"), ..NginxServer::default() })
            .collect();
        let mut nginx = Nginx::new(sticky(method, servers));
        for server in [2, 2, 0, 3, 2] {
            let open = Open { key: b"k", ..naming(server) };
            assert_eq!(serve(&mut nginx, &open), (Some(server), Reason::Affinity, Some(server)), "{method}");
        }
        let (server, reason, cookie) = serve(&mut nginx, &Open { key: b"k", ..GET });
        assert_eq!(server, cookie, "{method}");
        assert_ne!(reason, Reason::Affinity, "{method}");
    }
}

#[test]
fn a_draining_server_gets_only_those_whose_cookie_names_it_and_one_that_is_down_nobody() {
    let mut servers = equal(3);
    (servers[0].drain, servers[1].down) = (true, true);
    let mut nginx = Nginx::new(sticky("round_robin", servers));
    assert_eq!(serve(&mut nginx, &naming(0)), (Some(0), Reason::Affinity, Some(0)));
    let down = Reason::AffinityUnusable(Skipped::OutOfService);
    assert_eq!(serve(&mut nginx, &naming(1)), (Some(2), down, Some(2)));
    for _ in 0..4 {
        assert_eq!(serve(&mut nginx, &GET).0, Some(2));
    }
}

#[test]
fn a_server_that_failed_is_left_by_those_whose_cookie_names_it_for_its_fail_timeout() {
    let mut nginx = Nginx::new(sticky("least_conn", equal(2)));
    let opened = nginx.open(at(1), &naming(1));
    let Then::Retry(decision) = nginx.attempt_ended(at(1), opened.flow, Outcome::ConnectRefused) else {
        panic!("it is tried again")
    };
    assert_eq!(decision.reason, Reason::AffinityUnusable(Skipped::Tried));
    assert_eq!(nginx.cookie_to_set(opened.flow), Some(ServerId(0)), "the cookie names who answers");
    nginx.attempt_ended(at(1), opened.flow, OK);
    let unhealthy = Reason::AffinityUnusable(Skipped::Unhealthy);
    assert_eq!(serve(&mut nginx, &naming(1)), (Some(0), unhealthy, Some(0)));
    let back = nginx.open(at(12), &naming(1)).decision;
    assert_eq!((back.server, back.reason), (Some(ServerId(1)), Reason::Affinity));
}

#[test]
fn round_robin_gives_others_less_of_a_server_that_cookies_name() {
    // The server that the cookie names pays for the round, so the others come first in what follows; once it has paid
    // for a whole round, further cookies cost it nothing.
    let mut nginx = Nginx::new(sticky("round_robin", equal(3)));
    for _ in 0..50 {
        serve(&mut nginx, &naming(0));
    }
    let others: Vec<_> = (0..6).filter_map(|_| serve(&mut nginx, &GET).0).collect();
    assert_eq!(others, [1, 2, 0, 1, 2, 0]);
}

#[test]
fn expires_counts_from_the_last_answer() {
    let hour = Some(SimDuration::from_secs(3_600));
    let mut config = sticky("round_robin", equal(2));
    config.sticky = Some(StickyCookie { name: "s".into(), expires: hour });
    assert_eq!(config.cookies(), Some(CookieLife { idle: hour, total: None }));
}

#[test]
fn sticky_and_drain_need_a_version_that_has_them_and_a_method_that_looks_at_them() {
    let old = NginxConfig { version: NginxVersion::V1_28, ..sticky("round_robin", equal(2)) };
    assert!(matches!(old.check(), Err(NginxConfigError::TooOld { what: "sticky", .. })));
    let drained = vec![NginxServer { drain: true, ..NginxServer::default() }; 2];
    assert!(matches!(
        config("round_robin", drained).check(),
        Err(NginxConfigError::TooOld { what: "drain", .. })
    ));
    for method in ["fair", "session_sticky"] {
        let refused = sticky(method, equal(2)).check();
        assert!(matches!(refused, Err(NginxConfigError::StickyRefused { .. })), "{method}");
    }
}

#[test]
fn tengine_goes_where_the_cookie_says_even_if_the_server_is_down_and_then_round_robin_goes_on() {
    let mut servers = equal(3);
    servers[1].down = true;
    let mut nginx = Nginx::new(config("session_sticky", servers));
    let opened = nginx.open(at(1), &naming(1));
    assert_eq!((opened.decision.server, opened.decision.reason), (Some(ServerId(1)), Reason::Affinity));
    assert_eq!(nginx.cookie_to_set(opened.flow), None, "the browser has it");
    let Then::Retry(decision) = nginx.attempt_ended(at(1), opened.flow, Outcome::ConnectRefused) else {
        panic!("it falls back")
    };
    assert_eq!(decision.server, Some(ServerId(0)));
    assert_eq!(nginx.cookie_to_set(opened.flow), Some(ServerId(0)));
}

/// A `session_sticky` with one option set.
fn with_option(servers: usize, name: &'static str, value: &'static str) -> NginxConfig {
    struct Set(&'static str, &'static str);
    impl OptionVisitor for Set {
        fn whole(&mut self, _: &'static str, _: &mut u32, _: u32, _: u32) {}
        fn prime(&mut self, _: &'static str, _: &mut u32, _: u32) {}
        fn number(&mut self, _: &'static str, _: &mut f64, _: f64, _: f64) {}
        fn duration(&mut self, _: &'static str, _: &mut SimDuration, _: SimDuration) {}
        fn limit(&mut self, name: &'static str, value: &mut Option<SimDuration>, _: SimDuration) {
            if name == self.0 {
                *value = self.1.parse().ok().map(SimDuration::from_secs);
            }
        }
        fn word(&mut self, name: &'static str, value: &mut usize, words: &'static [&'static str]) {
            if name == self.0 {
                *value = words.iter().position(|word| *word == self.1).expect("a word");
            }
        }
        fn flag(&mut self, name: &'static str, value: &mut bool) {
            if name == self.0 {
                *value = self.1 == "on";
            }
        }
    }
    let mut config = config("session_sticky", equal(servers));
    config.method.options(&mut Set(name, value));
    config
}

#[test]
fn tengine_without_fallback_tries_the_same_server_until_no_try_is_left() {
    let mut nginx = Nginx::new(with_option(3, "fallback", "off"));
    let opened = nginx.open(at(1), &naming(2));
    let mut tried = vec![opened.decision.server];
    while let Then::Retry(decision) = nginx.attempt_ended(at(1), opened.flow, Outcome::ConnectRefused) {
        tried.push(decision.server);
    }
    assert_eq!(tried, [Some(ServerId(2)); 3]);
}

#[test]
fn tengine_holds_the_times_in_its_own_cookie_only_and_sets_it_anew_with_each_answer() {
    let seconds = |n| Some(SimDuration::from_secs(n));
    let mut nginx = Nginx::new(with_option(2, "maxidle", "60"));
    assert_eq!(serve(&mut nginx, &naming(1)), (Some(1), Reason::Affinity, Some(1)));
    let idle = with_option(2, "maxidle", "60").cookies();
    assert_eq!(idle, Some(CookieLife { idle: seconds(60), total: None }));
    let life = with_option(2, "maxlife", "90").cookies();
    assert_eq!(life, Some(CookieLife { idle: None, total: seconds(90) }));
    let age = with_option(2, "maxage", "30").cookies();
    assert_eq!(age, Some(CookieLife { idle: seconds(30), total: None }));
}

#[test]
fn in_tengines_other_modes_the_applications_cookie_keeps_its_first_server() {
    for mode in ["prefix", "rewrite"] {
        let mut nginx = Nginx::new(with_option(2, "mode", mode));
        assert_eq!(serve(&mut nginx, &GET).2, Some(0), "{mode}");
        let opened = nginx.open(at(1), &naming(0));
        nginx.attempt_ended(at(1), opened.flow, Outcome::ConnectRefused);
        assert_eq!(nginx.cookie_to_set(opened.flow), None, "{mode}");
    }
}

#[test]
fn tengine_sets_a_cookie_once_for_those_who_have_none() {
    let mut nginx = Nginx::new(config("session_sticky", equal(2)));
    assert_eq!(serve(&mut nginx, &GET), (Some(0), Reason::Scheduled { tie: false }, Some(0)));
    assert_eq!(serve(&mut nginx, &naming(0)), (Some(0), Reason::Affinity, None));
}
