//! Random configurations of nginx, and scripts for them.

use std::net::{IpAddr, SocketAddr};

use super::{HashKey, KeyKind, Method, NEXT_UPSTREAM, READ_TIMEOUT_MS, Server, Setup};
use crate::dice::Dice;
use crate::script::{Ask, Mode, Script, Step};
use crate::stage::Network;
use crate::traffic;

/// What a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    /// One request after the other.
    Plain,
    /// Requests overlap.
    Overlap,
    /// Servers fail.
    Failures,
    /// The configuration is loaded anew.
    Reloads,
}

/// Longest that a case pauses in all, in milliseconds: several windows of `fail_timeout`.
const PAUSES_MS: u64 = 7_000;
/// `proxy_read_timeout` in cases with servers that hang, in milliseconds: a divisor of a second.
const SHORT_READ_TIMEOUT_MS: u32 = 200;

/// A random case.
pub(crate) fn generate(dice: &mut Dice, network: Network) -> Script<Setup> {
    let theme =
        dice.weighted(&[(3, Theme::Plain), (3, Theme::Overlap), (5, Theme::Failures), (2, Theme::Reloads)]);
    let method = method(dice, theme);
    let workers = if dice.percent(15) { dice.within(2, 3) as u16 } else { 1 };
    let zone = dice.percent(if workers > 1 { 50 } else { 20 });
    let hashes = matches!(method, Method::Hash { .. });
    // Workers with a state of their own: the recording must say who served a request, and has no room for a hash key.
    let (workers, zone) = if hashes || theme == Theme::Overlap { (1, zone) } else { (workers, zone) };
    let posts = theme == Theme::Failures && !hashes && workers == 1 && dice.percent(30);
    let key_kind = match method {
        Method::Hash { key: HashKey::Address, .. } => KeyKind::None,
        Method::Hash { .. } => KeyKind::Hash,
        _ if workers > 1 => KeyKind::Pid,
        _ if posts => KeyKind::Method,
        _ => KeyKind::None,
    };
    let servers = servers(dice, network, method, theme);
    let modes = modes(dice);
    let hangs =
        theme == Theme::Failures && modes.iter().any(|mode| matches!(mode, Mode::Hang | Mode::Slow(_)));
    let mut setup = Setup {
        network,
        method,
        servers,
        reloads: Vec::new(),
        workers,
        zone,
        next_upstream: next_upstream(dice, theme),
        next_upstream_tries: if dice.percent(20) { dice.within(1, 3) as u32 } else { 0 },
        read_timeout_ms: if hangs { SHORT_READ_TIMEOUT_MS } else { READ_TIMEOUT_MS },
        key_kind,
    };
    let asks = asks(dice, &setup, theme, posts);
    let steps = match theme {
        Theme::Plain => asks.into_iter().map(Step::Ask).collect(),
        Theme::Overlap => {
            let open_max = dice.within(2, 14) as usize;
            traffic::overlap(dice, asks, 70, open_max, true)
        }
        Theme::Failures => {
            let numbers: Vec<u16> = setup.servers.iter().map(|server| server.number).collect();
            // A server that hangs comes with a short time-out, which would end requests that are held.
            let steps = if !hangs && dice.percent(35) {
                let open_max = dice.within(2, 8) as usize;
                traffic::overlap(dice, asks, 50, open_max, true)
            } else {
                asks.into_iter().map(Step::Ask).collect()
            };
            traffic::fail(dice, steps, &numbers, &modes, PAUSES_MS)
        }
        Theme::Reloads => {
            let mut steps: Vec<Step> = if dice.percent(50) {
                traffic::overlap(dice, asks, 50, 6, false)
            } else {
                asks.into_iter().map(Step::Ask).collect()
            };
            for index in 0..dice.within(1, 2) as usize {
                setup.reloads.push(reloaded(dice, &setup));
                traffic::insert(dice, &mut steps, Step::Reload(index));
            }
            steps
        }
    };
    Script { setup, steps }
}

fn method(dice: &mut Dice, theme: Theme) -> Method {
    let hash = |dice: &mut Dice, consistent| {
        let key = *dice.pick(&[HashKey::Uri, HashKey::Header, HashKey::Address]);
        Method::Hash { key, consistent }
    };
    let random = if theme == Theme::Failures { 0 } else { 1 };
    match dice.weighted(&[
        (4, 0),
        (3, 1),
        (if theme == Theme::Overlap { 8 } else { 3 }, 2),
        (2, 3),
        (3, 4),
        (random, 5),
        (random, 6),
    ]) {
        0 => Method::RoundRobin,
        1 => Method::IpHash,
        2 => Method::LeastConn,
        3 => hash(dice, false),
        4 => hash(dice, true),
        5 => Method::Random,
        _ => Method::RandomTwo,
    }
}

fn servers(dice: &mut Dice, network: Network, method: Method, theme: Theme) -> Vec<Server> {
    let count = dice.weighted(&[(1, 1), (4, 2), (6, 3), (4, 4), (3, 5), (2, 8)]) as u16;
    let weight_max = *dice.pick(&[1, 1, 3, 5, 20]);
    let (downs, backups) = (dice.percent(30), method.takes_backups() && dice.percent(30));
    let bounded = theme == Theme::Overlap && dice.percent(40);
    let (fails, window) = (dice.within(0, 3) as u32, dice.within(1, 3) as u32);
    let uniform = dice.percent(60);
    (1..=count)
        .map(|number| {
            let address =
                SocketAddr::from((network.address(9 + number as u8), dice.within(8_000, 9_999) as u16));
            let failing = theme == Theme::Failures;
            let (max_fails, fail_timeout_s) = match (failing, uniform) {
                (false, _) => (1, 10),
                (true, true) => (fails, window),
                (true, false) => (dice.within(0, 3) as u32, dice.within(1, 3) as u32),
            };
            Server {
                number,
                address,
                weight: dice.within(1, weight_max) as u32,
                max_fails,
                fail_timeout_s,
                max_conns: if bounded && dice.percent(70) { dice.within(1, 4) as u32 } else { 0 },
                down: downs && number > 1 && dice.percent(35),
                backup: backups && number > 1 && dice.percent(35),
            }
        })
        .collect()
}

/// The servers after a reload: some are gone, some are back, some have other weights.
fn reloaded(dice: &mut Dice, setup: &Setup) -> Vec<Server> {
    let mut servers: Vec<Server> = setup.servers.clone();
    for server in &mut servers {
        if dice.percent(30) {
            server.weight = dice.within(1, 6) as u32;
        }
        if dice.percent(15) && server.number > 1 {
            server.down = !server.down;
        }
    }
    servers.retain(|server| server.number == 1 || dice.percent(80));
    servers
}

fn next_upstream(dice: &mut Dice, theme: Theme) -> String {
    if theme != Theme::Failures || dice.percent(40) {
        return NEXT_UPSTREAM.into();
    }
    if dice.percent(8) {
        return "off".into();
    }
    let mut words = Vec::new();
    for (percent, word) in [
        (85, "error"),
        (70, "timeout"),
        (40, "http_500"),
        (40, "http_502"),
        (50, "http_503"),
        (30, "http_504"),
        (30, "http_404"),
        (20, "http_429"),
        (20, "non_idempotent"),
    ] {
        if dice.percent(percent) {
            words.push(word);
        }
    }
    if words.is_empty() { NEXT_UPSTREAM.into() } else { words.join(" ") }
}

/// How servers fail in a case.
fn modes(dice: &mut Dice) -> Vec<Mode> {
    let statuses = [500, 502, 503, 504, 404, 403, 429].map(Mode::Http);
    match dice.below(10) {
        0..4 => vec![Mode::Refuse],
        4..7 => vec![Mode::Refuse, *dice.pick(&statuses)],
        7..9 => vec![*dice.pick(&statuses), *dice.pick(&statuses)],
        _ => vec![Mode::Hang, Mode::Refuse, Mode::Slow(80)],
    }
}

fn asks(dice: &mut Dice, setup: &Setup, theme: Theme, posts: bool) -> Vec<Ask> {
    let count = match theme {
        _ if matches!(setup.method, Method::Random | Method::RandomTwo) => 500,
        Theme::Failures if setup.read_timeout_ms != READ_TIMEOUT_MS => 60,
        Theme::Failures => 160,
        Theme::Plain | Theme::Overlap | Theme::Reloads => 250,
    };
    let clients = traffic::clients(dice);
    let keys = *dice.pick(&[3, 30, 1_000]);
    (1..=count)
        .map(|id| {
            let client: IpAddr = *dice.pick(&clients);
            let mut ask = traffic::ask(id, client);
            ask.post = posts && dice.percent(40);
            if setup.key_kind == KeyKind::Method {
                ask.key = if ask.post { "POST" } else { "GET" }.into();
            }
            match setup.method {
                Method::Hash { key: HashKey::Uri, .. } => {
                    ask.path = format!("/item/{}?q={}", dice.below(keys), dice.below(2));
                    ask.key = ask.path.clone();
                }
                // Now and then no key at all: nginx then takes turns.
                Method::Hash { key: HashKey::Header, .. } if dice.percent(90) => {
                    ask.key = format!("user-{}", dice.below(keys));
                    ask.headers.push(format!("X-Key: {}", ask.key));
                }
                _ => {}
            }
            ask
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Network = Network { second: 9, third: 0 };

    fn script(number: u64) -> Script<Setup> {
        generate(&mut Dice::new(1, 0, number), NETWORK)
    }

    #[test]
    fn the_same_number_makes_the_same_case() {
        let (one, other) = (script(5), script(5));
        assert_eq!(one.steps, other.steps);
        assert_eq!(
            one.setup.configuration(&one.setup.servers),
            other.setup.configuration(&other.setup.servers)
        );
        assert_ne!(one.steps, script(6).steps);
    }

    #[test]
    fn every_method_and_every_kind_of_step_comes_up() {
        let scripts: Vec<_> = (0..300).map(script).collect();
        for name in ["round_robin", "ip_hash", "hash", "least_conn", "random"] {
            let count = scripts.iter().filter(|script| script.setup.method.name() == name).count();
            assert!(count > 10, "{name}: {count}");
        }
        let has = |kind: fn(&Step) -> bool| scripts.iter().any(|script| script.steps.iter().any(kind));
        assert!(has(|step| matches!(step, Step::Reload(_))) && has(|step| matches!(step, Step::Abort(_))));
        assert!(has(|step| matches!(step, Step::Release(_))) && has(|step| matches!(step, Step::Behave(..))));
        assert!(scripts.iter().any(|script| script.setup.workers > 1 && !script.setup.zone));
    }

    #[test]
    fn every_configuration_has_a_primary_server_and_a_simpler_one_until_it_is_bare() {
        for number in 0..100 {
            let mut setup = script(number).setup;
            for _ in 0..100 {
                let sets = std::iter::once(&setup.servers).chain(&setup.reloads);
                assert!(
                    sets.into_iter().all(|servers| servers.iter().any(|server| !server.backup)),
                    "{setup:?}"
                );
                let Some(simpler) = setup.simpler().into_iter().next() else { break };
                setup = simpler;
            }
            assert!(setup.simpler().is_empty(), "{setup:?}");
        }
    }
}
