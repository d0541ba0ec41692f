//! Random configurations of HAProxy, and scripts for them.

use std::net::IpAddr;

use super::{Server, Setup};
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
    /// Requests overlap, and servers have a `maxconn`.
    Queues,
    /// The backend has a cookie.
    Cookie,
    /// The backend has a stick table.
    Stick,
    /// Servers refuse or answer with errors.
    Failures,
}

/// Longest that a case with failures pauses in all, in milliseconds; without checks, time matters little.
const PAUSES_MS: u64 = 300;
/// `timeout server` in cases with servers that hang, in milliseconds.
const SHORT_SERVER_TIMEOUT_MS: u32 = 200;
/// Conditions of `retry-on`.
const RETRY_ON: [&str; 6] = [
    "none",
    "conn-failure 503",
    "conn-failure empty-response",
    "conn-failure response-timeout",
    "500 502 404",
    "all-retryable-errors",
];
/// Path of requests that do without persistence, or insist on it.
const SPECIAL: &str = "/special";
/// Name of the application's cookie.
const SESSION: &str = "JSESSIONID";

/// A random case.
pub(crate) fn generate(dice: &mut Dice, network: Network) -> Script<Setup> {
    let theme = dice.weighted(&[
        (6, Theme::Plain),
        (4, Theme::Overlap),
        (2, Theme::Queues),
        (3, Theme::Cookie),
        (3, Theme::Stick),
        (4, Theme::Failures),
    ]);
    let balance = balance(dice, theme);
    let algorithm = balance.split([' ', '(']).next().unwrap_or_default().to_owned();
    let mut lines = Vec::new();
    if let Some(hash_type) = hash_type(dice, &algorithm) {
        let consistent = hash_type.contains("consistent");
        lines.push(hash_type);
        if consistent && matches!(theme, Theme::Overlap | Theme::Plain) && dice.percent(40) {
            lines.push(format!("hash-balance-factor {}", dice.within(105, 250)));
        }
    }
    if dice.percent(30) {
        lines.push("option allbackups".into());
    }
    let failing = theme == Theme::Failures;
    let retries = if failing { dice.within(0, 4) as u32 } else { 3 };
    if failing {
        match dice.below(6) {
            0 | 1 => {}
            2..=4 => lines.push("option redispatch".into()),
            // HAProxy 2.6.12 divides by `retries` + 1 - N for -N, and ends by SIGFPE where that is 0.
            _ => lines.push(format!(
                "option redispatch {}",
                dice.pick(if retries < 2 { &[1, 2, 3, -1] } else { &[1, 2, 3, -1, -2][..] })
            )),
        }
        if dice.percent(30) {
            lines.push(format!("retry-on {}", dice.pick(&RETRY_ON)));
        }
    }
    let cookies = theme == Theme::Cookie || (failing && dice.percent(30));
    if cookies {
        lines.extend(cookie_lines(dice));
    }
    let expire_ms = if theme == Theme::Stick { dice.within(300, 900) as u32 } else { 0 };
    let stick =
        if theme == Theme::Stick { stick_lines(dice, expire_ms, &mut lines) } else { StickOn::Nothing };
    let servers = servers(dice, theme, cookies);
    let hangs = failing && dice.percent(15);
    let setup = Setup {
        network,
        tcp: algorithm == "rdp-cookie",
        key_is: key_is(&algorithm, cookies, stick),
        balance,
        lines,
        servers,
        retries,
        connect_timeout_ms: if failing { 20 } else { 5_000 },
        server_timeout_ms: if hangs { SHORT_SERVER_TIMEOUT_MS } else { 0 },
        expire_ms,
    };
    let asks = asks(dice, &setup, theme, cookies, stick);
    let mut steps = match theme {
        Theme::Overlap | Theme::Queues => {
            let open_max = dice.within(2, 14) as usize;
            let percent = if theme == Theme::Queues { 100 } else { 80 };
            traffic::overlap(dice, asks, percent, open_max, false)
        }
        Theme::Failures => {
            let numbers: Vec<u16> = setup.servers.iter().map(|server| server.number).collect();
            let modes = match (hangs, dice.below(3)) {
                (true, _) => vec![Mode::Refuse, Mode::Hang],
                (false, 0) => vec![Mode::Refuse],
                (false, 1) => vec![Mode::Refuse, Mode::Http(503), Mode::Http(500)],
                (false, _) => vec![Mode::Refuse, Mode::Close, Mode::Http(502), Mode::Http(404)],
            };
            // A server that hangs comes with a short time-out, which would end requests that are held.
            let steps = if !hangs && dice.percent(30) {
                let open_max = dice.within(2, 8) as usize;
                traffic::overlap(dice, asks, 60, open_max, false)
            } else {
                asks.into_iter().map(Step::Ask).collect()
            };
            traffic::fail(dice, steps, &numbers, &modes, PAUSES_MS)
        }
        Theme::Stick => asks
            .into_iter()
            .flat_map(|ask| pause(dice, expire_ms).into_iter().chain([Step::Ask(ask)]))
            .collect(),
        Theme::Plain | Theme::Cookie => asks.into_iter().map(Step::Ask).collect(),
    };
    if dice.percent(60) {
        for _ in 0..dice.within(1, 8) {
            let step = admin(dice, &setup);
            traffic::insert(dice, &mut steps, step);
        }
    }
    Script { setup, steps }
}

fn balance(dice: &mut Dice, theme: Theme) -> String {
    let hashes = [
        (4, "source"),
        (3, "uri"),
        (2, "url_param uid"),
        (2, "hdr(X-User)"),
        (1, "hdr(X-Site) use_domain_only"),
        (1, "hash req.hdr(X-User)"),
    ];
    let turns = [(4, "roundrobin"), (3, "static-rr"), (4, "leastconn"), (1, "first"), (2, "random")];
    let choices = match theme {
        Theme::Plain => [&turns[..], &hashes, &[(2, "rdp-cookie(mstshash)")]].concat(),
        // The key column of these recordings has no room for what is hashed.
        Theme::Cookie | Theme::Stick => [&turns[..], &hashes[..1]].concat(),
        Theme::Failures => [&turns[..], &hashes[..1], &hashes[..1]].concat(),
        Theme::Overlap => [&turns[..], &hashes].concat(),
        Theme::Queues => turns.to_vec(),
    };
    match dice.weighted(&choices) {
        "uri" => {
            let mut balance = String::from("uri");
            for (percent, option) in [(30, "len 12"), (30, "depth 2"), (30, "whole"), (15, "path-only")] {
                if dice.percent(percent) {
                    balance += &format!(" {option}");
                }
            }
            balance
        }
        "random" => (*dice.pick(&["random", "random(1)", "random(2)", "random(3)"])).into(),
        other => other.into(),
    }
}

fn hash_type(dice: &mut Dice, algorithm: &str) -> Option<String> {
    let hashes = ["source", "uri", "url_param", "hdr", "hash", "rdp-cookie"].contains(&algorithm);
    // `random` uses the ring of consistent hashing, and its bound.
    if !hashes || dice.percent(15) {
        return None;
    }
    let kind = *dice.pick(&["map-based", "consistent", "consistent"]);
    let function = *dice.pick(&["", " sdbm", " djb2", " wt6", " crc32"]);
    let avalanche = if !function.is_empty() && dice.percent(40) { " avalanche" } else { "" };
    Some(format!("hash-type {kind}{function}{avalanche}"))
}

fn cookie_lines(dice: &mut Dice) -> Vec<String> {
    let mut lines = vec![match dice.below(10) {
        0..5 => "cookie SRV insert indirect nocache".into(),
        5..8 => format!("cookie {SESSION} prefix"),
        _ => "cookie SRV rewrite".into(),
    }];
    match dice.below(6) {
        0 => lines.push("option persist".into()),
        1 => lines.push(format!("ignore-persist if {{ path_beg {SPECIAL} }}")),
        2 => lines.push(format!("force-persist if {{ path_beg {SPECIAL} }}")),
        _ => {}
    }
    lines
}

/// What stick rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StickOn {
    Nothing,
    Address,
    /// The application's cookie in the request.
    Cookie,
    /// The application's cookie, learnt from answers.
    Answers,
}

fn stick_lines(dice: &mut Dice, expire_ms: u32, lines: &mut Vec<String>) -> StickOn {
    let table = |kind: &str| format!("stick-table type {kind} size 100k expire {expire_ms}ms");
    match dice.below(4) {
        0 | 1 => {
            lines.extend([table("ip"), "stick on src".into()]);
            StickOn::Address
        }
        2 => {
            lines.extend([table("string len 32"), format!("stick on req.cook({SESSION})")]);
            StickOn::Cookie
        }
        _ => {
            lines.extend([
                table("string len 32"),
                format!("stick store-response res.cook({SESSION})"),
                format!("stick match req.cook({SESSION})"),
            ]);
            StickOn::Answers
        }
    }
}

fn key_is(algorithm: &str, cookies: bool, stick: StickOn) -> &'static str {
    match (algorithm, stick) {
        _ if cookies => "path, then the Cookie header sent (if any), separated by a space",
        (_, StickOn::Cookie) => "JSESSIONID cookie sent (empty: none)",
        (_, StickOn::Answers) => "sent:<JSESSIONID sent> set:<JSESSIONID set by the server>",
        ("uri", _) => "request URI",
        ("url_param", _) => "value of the URL parameter (empty: absent, so round robin)",
        ("hdr" | "hash", _) => "header value (empty: absent, so round robin)",
        ("rdp-cookie", _) => "mstshash cookie (empty: absent, so round robin)",
        _ => "unused",
    }
}

fn servers(dice: &mut Dice, theme: Theme, cookies: bool) -> Vec<Server> {
    let count = dice.weighted(&[(1, 1), (4, 2), (6, 3), (4, 4), (3, 5), (2, 8)]) as u16;
    let weight_max = *dice.pick(&[1, 1, 3, 10, 100]);
    let (ids, backups, disabled) = (dice.percent(15), dice.percent(20), dice.percent(15));
    let port = dice.within(9_000, 9_900) as u16;
    let first_id = dice.within(1, 3_000) as u32;
    (1..=count)
        .map(|number| Server {
            number,
            port: port + number,
            weight: if weight_max > 3 && number > 1 && dice.percent(5) {
                0
            } else {
                dice.within(1, weight_max) as u32
            },
            maxconn: if theme == Theme::Queues { dice.within(1, 3) as u32 } else { 0 },
            id: ids.then(|| first_id + 17 * u32::from(number)),
            cookie: cookies,
            backup: backups && number > 1 && dice.percent(40),
            disabled: disabled && dice.percent(30),
        })
        .collect()
}

/// A command of the runtime API.
fn admin(dice: &mut Dice, setup: &Setup) -> Step {
    let number = dice.pick(&setup.servers).number;
    let words = match dice.below(10) {
        0 | 1 => "state maint".into(),
        2 => "state drain".into(),
        3..6 => "state ready".into(),
        6 | 7 => format!("weight {}%", dice.pick(&[0, 25, 50, 100, 100, 150])),
        _ => format!("weight {}", dice.within(0, 120)),
    };
    Step::Admin(number, words)
}

/// A pause that is short or long beside the life of an entry.
fn pause(dice: &mut Dice, expire_ms: u32) -> Option<Step> {
    match dice.below(100) {
        0..20 => Some(Step::Wait(dice.within(1, u64::from(expire_ms) / 8) as u32)),
        20 => Some(Step::Wait(expire_ms + 100)),
        _ => None,
    }
}

fn asks(dice: &mut Dice, setup: &Setup, theme: Theme, cookies: bool, stick: StickOn) -> Vec<Ask> {
    let count = match theme {
        Theme::Plain | Theme::Cookie if setup.tcp => 60,
        Theme::Plain | Theme::Cookie | Theme::Overlap => 250,
        Theme::Failures if setup.server_timeout_ms > 0 => 40,
        Theme::Stick | Theme::Failures => 120,
        Theme::Queues => 100,
    };
    let clients = traffic::clients(dice);
    let keys = *dice.pick(&[3, 30, 1_000]);
    (1..=count)
        .map(|id| {
            let mut client: IpAddr = *dice.pick(&clients);
            if stick == StickOn::Address && client.is_ipv6() {
                // A table of IPv4 addresses has no place for it.
                client = IpAddr::from([10, 0, 0, dice.below(250) as u8]);
            }
            let mut ask = traffic::ask(id, client);
            if cookies {
                cookie(dice, setup, &mut ask);
            } else if matches!(stick, StickOn::Cookie | StickOn::Answers) {
                sample(dice, stick, keys.min(30), &mut ask);
            } else {
                key(dice, setup, keys, &mut ask);
            }
            ask
        })
        .collect()
}

/// Gives a request what the algorithm hashes.
fn key(dice: &mut Dice, setup: &Setup, keys: u64, ask: &mut Ask) {
    // Now and then there is nothing to hash.
    let absent = dice.percent(8);
    let number = dice.below(keys);
    match setup.balance.split([' ', '(']).next().unwrap_or_default() {
        "uri" => {
            let depth = dice.below(4);
            let path: String = (0..depth).map(|level| format!("/d{}", (number >> level) % 7)).collect();
            let query = if dice.percent(40) { format!("?q={}", dice.below(3)) } else { String::new() };
            ask.path = format!("{path}/i{number}{query}");
            ask.key = ask.path.clone();
        }
        "url_param" => {
            let other = if dice.percent(30) { "a=1&xuid=no&" } else { "" };
            if absent {
                ask.path = format!("/p?{other}b=2");
            } else {
                ask.key = format!("user{number}");
                ask.path = format!("/p?{other}uid={}&b=2", ask.key);
            }
        }
        "hdr" if setup.balance.contains("X-Site") => {
            ask.key = format!("www.site{number}.example");
            ask.headers.push(format!("X-Site: {}", ask.key));
        }
        "hdr" | "hash" if !absent => {
            ask.key = format!("user-{number}");
            ask.headers.push(format!("X-User: {}", ask.key));
        }
        "rdp-cookie" if !absent => ask.key = format!("user{number}"),
        _ => {}
    }
}

/// Gives a request a cookie of the balancer's: mostly one that names a server.
fn cookie(dice: &mut Dice, setup: &Setup, ask: &mut Ask) {
    let number = dice.pick(&setup.servers).number;
    let prefix = setup.lines.iter().any(|line| line.ends_with(" prefix"));
    let cookie = match (dice.below(10), prefix) {
        (0..2, _) => String::new(),
        (2, _) => "other=1".into(),
        (3, false) => "SRV=gone".into(),
        (3, true) => format!("{SESSION}=gone~abc"),
        (4, false) => format!("other=1; SRV=c{number}"),
        (_, false) => format!("SRV=c{number}"),
        (_, true) => format!("{SESSION}=c{number}~s{}", dice.below(9)),
    };
    ask.path = if dice.percent(20) { format!("{SPECIAL}/x") } else { "/p".into() };
    ask.key = ask.path.clone();
    if !cookie.is_empty() {
        ask.key += &format!(" {cookie}");
        ask.headers.push(format!("Cookie: {cookie}"));
    }
}

/// Gives a request, and its answer, what stick rules look at.
fn sample(dice: &mut Dice, stick: StickOn, keys: u64, ask: &mut Ask) {
    let sent = if dice.percent(20) { String::new() } else { format!("sess{}", dice.below(keys)) };
    if !sent.is_empty() {
        ask.headers.push(format!("Cookie: {SESSION}={sent}"));
    }
    if stick == StickOn::Cookie {
        ask.key = sent.clone();
        ask.samples = [sent, String::new()];
        return;
    }
    let set = if dice.percent(40) { format!("sess{}", dice.below(keys)) } else { String::new() };
    if !set.is_empty() {
        ask.headers.push(format!("X-Set-Cookie: {SESSION}={set}"));
    }
    ask.key = format!("sent:{sent} set:{set}");
    ask.samples = [sent, set];
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Network = Network { second: 9, third: 0 };

    fn script(number: u64) -> Script<Setup> {
        generate(&mut Dice::new(1, 1, number), NETWORK)
    }

    #[test]
    fn the_same_number_makes_the_same_case() {
        let (one, other) = (script(5), script(5));
        assert_eq!((&one.steps, one.setup.configuration()), (&other.steps, other.setup.configuration()));
        assert_ne!(one.steps, script(6).steps);
    }

    #[test]
    fn every_algorithm_and_every_kind_of_line_comes_up() {
        let scripts: Vec<_> = (0..600).map(script).collect();
        for line in [
            "balance roundrobin",
            "balance static-rr",
            "balance leastconn",
            "balance first",
            "balance source",
            "balance uri",
            "balance url_param",
            "balance hdr(",
            "balance hash",
            "balance random",
            "balance rdp-cookie",
            "hash-type map-based",
            "hash-type consistent",
            "avalanche",
            "hash-balance-factor",
            "option allbackups",
            "option redispatch",
            "retry-on",
            "cookie SRV insert",
            "cookie JSESSIONID prefix",
            "cookie SRV rewrite",
            "stick on src",
            "stick match",
            "maxconn 2",
            "backup",
            "disabled",
        ] {
            let count = scripts.iter().filter(|script| script.setup.configuration().contains(line)).count();
            assert!(count >= 3, "{line}: {count} of 600 cases");
        }
    }

    #[test]
    fn what_is_made_up_fits_into_a_row_and_names_each_request_by_a_port() {
        for number in 0..200 {
            for step in script(number).steps {
                let Step::Ask(ask) = step else { continue };
                assert!(!ask.key.contains([',', '"', '\n']), "{}", ask.key);
                assert!((1..=65_535).contains(&ask.id));
            }
        }
    }
}
