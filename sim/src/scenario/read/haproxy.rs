//! HAProxy's options, spelled as in `haproxy.cfg` (spaces as `_`), with the limits and defaults of HAProxy 2.6.

use super::Site;
use super::balancer::per_server;
use super::cluster::ReadServer;
use super::request::sample;
use crate::balancer::haproxy::{HaproxyMethod, HaproxyServer, HashOptions, HashType, WEIGHT_MAX};
use crate::engine::SimDuration;
use crate::health::haproxy::{HaproxyCheck, Observe, OnError};
use crate::scenario::Keys;
use crate::scenario::quantity::parse_duration;
use crate::scenario::section::{Item, Section};
use crate::tier::haproxy::{
    ConditionNotModelled, CookieMode, HaproxyLine, PathCondition, PersistenceRules, RetryOn, StickConfig,
    StickKey, StickRule, StickSource, StickTableConfig, StoreAt, UnknownCondition,
};
use crate::tier::{CookieLife, HaproxyConfig, Key};

/// Longest time that HAProxy takes: its timers have 31 bits of milliseconds.
const TIME_MAX: SimDuration = SimDuration::from_millis(i32::MAX as u64);
/// Retries at most; more would only drown the run in tries.
const RETRIES_MAX: u64 = 1_000;
/// Draws of `random` at most, as in HAProxy.
const DRAWS_MAX: u64 = 1_000;
/// Largest `hash-balance-factor`, as in HAProxy \[percent\].
const BALANCE_FACTOR_MAX: u64 = 65_535;

/// The configuration of the algorithm called `name`.
pub(super) fn haproxy(s: &mut Section<'_>, name: &str, site: &Site<'_>) -> Option<(HaproxyConfig, Keys)> {
    let hashes = HaproxyMethod::by_name(name)?.hashes();
    let random = name == "random";
    let why = |key: &str| format!("`{key}` has no meaning with `haproxy.{name}`");
    if !hashes {
        s.refuse(&["hash-type"], why, "only algorithms that hash a key have it, such as `haproxy.source`");
    }
    if !hashes && !random {
        let help = "it bounds the load on the ring of `haproxy.random` and of the algorithms that hash a key";
        s.refuse(&["hash-balance-factor"], why, help);
    }
    if !random {
        s.refuse(&["draws"], why, "it is the argument of `random`: `haproxy.random = { draws = 2 }`");
    }
    let balance = balance(s, name, site);
    let hash_type = match hashes {
        true => s.optional("hash-type", HashType::default(), |item| hash_type(&item)),
        false => Some(HashType::default()),
    };
    let balance_factor = match hashes || random {
        true => s.optional("hash-balance-factor", 0, |item| balance_factor(&item)),
        false => Some(0),
    };
    let allbackups = s.optional("allbackups", false, |item| item.boolean());
    let retries = s.optional("retries", 3, |item| item.integer(0, RETRIES_MAX).map(|n| n as u32));
    let redispatch = s.optional("redispatch", None, |item| redispatch(&item));
    let connect_timeout = s.optional("timeout_connect", SimDuration::from_secs(5), |item| time(&item));
    let queue_timeout = s.optional("timeout_queue", SimDuration::ZERO, |item| time(&item));
    let slowstart = s.optional("slowstart", SimDuration::ZERO, |item| time(&item));
    let fullconn = s.optional("fullconn", 0, |item| item.u32_at_least(1));
    let limits = limits(s, HaproxyLine::new(1).server);
    let server_timeout = s.optional("timeout_server", SimDuration::ZERO, |item| time(&item));
    let retry_on = s.optional("retry-on", RetryOn::default(), |item| retry_on(&item));
    let cookie = s.optional("cookie", NO_COOKIE, |item| cookie(&item));
    let persist = s.optional("persist", false, |item| item.boolean());
    let persistence = persistence(s, site);
    let stick = stick(s, site);
    let check = s.optional("check", None, |item| check(&item).map(Some));
    let own = per_server(s, site.names)?;
    let (check, cookie, limits) = (check?, cookie?, limits?);
    let (stick, stick_key) = stick?;
    let read = site.servers?.iter().enumerate().map(|(place, server)| {
        let item = own.iter().find(|(at, _)| *at == place).map(|(_, item)| item);
        let mut line = line(s, item, place, server, limits)?;
        line.check = check;
        // What names a server in its cookie makes no difference, as long as no other has the same.
        line.cookie = cookie.mode.map(|_| line.server.id.to_string().into_bytes().into());
        Some(line)
    });
    let read: Vec<_> = read.collect();
    let servers = read.into_iter().collect::<Option<Vec<_>>>()?;
    let options = HashOptions { hash_type: hash_type?, balance_factor: balance_factor? };
    let (balance, hash) = balance?;
    let method = HaproxyMethod::configure(&balance, options, 1).ok()?;
    let config = HaproxyConfig {
        allbackups: allbackups?,
        retries: retries?,
        redispatch: redispatch?,
        connect_timeout: connect_timeout?,
        queue_timeout: queue_timeout?,
        slowstart: slowstart?,
        fullconn: fullconn?,
        server_timeout: server_timeout?,
        retry_on: retry_on?,
        cookie: cookie.mode,
        cookie_life: cookie.life,
        cookie_postonly: cookie.postonly,
        persist: persist?,
        stick,
        ..HaproxyConfig::new(method, servers)
    };
    let grows = |line: &HaproxyLine| line.server.minconn != 0 && line.server.minconn < line.server.maxconn;
    let [cookie, stick] = [config.cookie.is_some(), config.stick.is_some()];
    for (word, condition) in persistence.iter().flat_map(PersistenceRules::named) {
        // Entries of stick tables cannot be ignored.
        if condition.is_some() && !cookie && (!stick || word == PersistenceRules::IGNORED) {
            let help = "add `cookie = \"insert\"`, or leave it out";
            s.report().error_with_help(s.span(), format!("`{word}` has no effect without a cookie"), help);
            return None;
        }
    }
    if config.fullconn == 0 && config.servers.iter().any(grows) {
        let help = "add `fullconn = 1_000`: with so many requests in the backend `maxconn` counts, with fewer a share of it";
        let message = "`minconn` below `maxconn` has no effect without `fullconn`".into();
        s.report().error_with_help(s.span(), message, help);
        return None;
    }
    if let Err(error) = config.check() {
        s.report().error(s.span(), error.to_string());
        return None;
    }
    Some((config, Keys { hash, stick: stick_key, persistence: persistence? }))
}

/// The arguments of `balance`, and what of a request it hashes beside the address.
fn balance(s: &mut Section<'_>, name: &str, site: &Site<'_>) -> Option<(String, Option<Key>)> {
    match name {
        "random" => {
            let draws = s.optional("draws", 2, |item| item.integer(1, DRAWS_MAX))?;
            Some((format!("random({draws})"), None))
        }
        "uri" => {
            let [whole, path_only] =
                ["whole", "path-only"].map(|key| s.optional(key, false, |item| item.boolean()));
            let [len, depth] =
                ["len", "depth"].map(|key| s.optional(key, None, |item| item.u32_at_least(0).map(Some)));
            let mut words = "uri".to_owned();
            for (word, set) in [(" whole", whole?), (" path-only", path_only?)] {
                words += if set { word } else { "" };
            }
            for (word, number) in [("len", len?), ("depth", depth?)] {
                words += &number.map_or_else(String::new, |number| format!(" {word} {number}"));
            }
            Some((words, Some(Key::uri(site.request))))
        }
        "url_param" => {
            let name = s.required("name", |item| {
                let name = item.name()?;
                sample(&item, &format!("url_param({name})"), site).map(|_| name)
            })?;
            Some((format!("url_param {name}"), Some(Key::uri(site.request))))
        }
        "hdr" => {
            let key = s.required("name", |item| sample(&item, &format!("req.hdr({})", item.name()?), site));
            let domain = s.optional("use_domain_only", false, |item| item.boolean())?;
            Some((format!("hdr(){}", if domain { " use_domain_only" } else { "" }), Some(key?)))
        }
        "rdp-cookie" => Some((name.to_owned(), Some(Key::user()))),
        "hash" => {
            let key = s.required("sample", |item| sample(&item, item.string()?, site))?;
            Some((name.to_owned(), Some(key)))
        }
        _ => Some((name.to_owned(), None)),
    }
}

fn hash_type(item: &Item<'_>) -> Option<HashType> {
    match HashType::parse(item.string()?) {
        Ok(hash_type) => Some(hash_type),
        Err(error) => {
            let help = "write `map-based` or `consistent`, then perhaps `sdbm`, `djb2`, `wt6` or `crc32`, then perhaps \
                        `avalanche`";
            item.error_with_help(error.to_string(), help);
            None
        }
    }
}

fn balance_factor(item: &Item<'_>) -> Option<u32> {
    let factor = item.integer(0, BALANCE_FACTOR_MAX)?;
    if (1..=100).contains(&factor) {
        let help = "in percent of the mean: 125 lets a server have a quarter more than its share";
        item.error_with_help(format!("`{}` must be 0 or above 100, got {factor}", item.key), help);
        return None;
    }
    Some(factor as u32)
}

/// `true` is `option redispatch` without a number.
fn redispatch(item: &Item<'_>) -> Option<Option<i32>> {
    if item.is_integer() {
        return item.integer(1, RETRIES_MAX).map(|interval| Some(interval as i32));
    }
    item.boolean().map(|set| set.then_some(-1))
}

fn time(item: &Item<'_>) -> Option<SimDuration> {
    let time = item.duration_above_zero()?;
    if time < SimDuration::from_millis(1) || time > TIME_MAX {
        item.error(format!("`{}` must be 1ms to {TIME_MAX} in HAProxy, got {}", item.key, item.got()));
        return None;
    }
    Some(time)
}

/// `force-persist` and `ignore-persist`.
fn persistence(s: &mut Section<'_>, site: &Site<'_>) -> Option<PersistenceRules> {
    let mut read = |word| s.optional(word, None, |item| condition(&item, site).map(Some));
    let (forced, ignored) = (read(PersistenceRules::FORCED), read(PersistenceRules::IGNORED));
    Some(PersistenceRules { forced: forced?, ignored: ignored? })
}

fn condition(item: &Item<'_>, site: &Site<'_>) -> Option<PathCondition> {
    sample(item, "path", site)?;
    item.string()?
        .parse()
        .map_err(|error: ConditionNotModelled| {
            let help = "conditions look at the path, with `path`, `path_beg`, `path_end` or `path_sub`: \"if { path_beg /static }\"";
            item.error_with_help(error.to_string(), help);
        })
        .ok()
}

/// `cookie` and its options.
struct Cookie {
    mode: Option<CookieMode>,
    life: CookieLife,
    postonly: bool,
}

const NO_COOKIE: Cookie = Cookie { mode: None, life: CookieLife::UNLIMITED, postonly: false };

/// The words behind the name of `cookie`: `insert postonly maxidle 30m`. Words that change nothing of where requests go (`indirect`,
/// `nocache`, `httponly`, `secure`, `preserve`) are taken and left at that.
fn cookie(item: &Item<'_>) -> Option<Cookie> {
    const WORDS: [&str; 10] = [
        "none", "insert", "prefix", "rewrite", "indirect", "nocache", "httponly", "secure", "preserve",
        "postonly",
    ];
    let mut words = item.string()?.split_whitespace();
    let mut cookie = NO_COOKIE;
    while let Some(word) = words.next() {
        match word {
            "none" => cookie.mode = None,
            "insert" => cookie.mode = Some(CookieMode::Insert { preserve: false }),
            "prefix" => cookie.mode = Some(CookieMode::Prefix),
            "rewrite" => cookie.mode = Some(CookieMode::Rewrite),
            "postonly" => cookie.postonly = true,
            "indirect" | "nocache" | "httponly" | "secure" | "preserve" => {}
            "maxidle" | "maxlife" => {
                let Some(time) = words.next().and_then(|time| parse_duration(time).ok()) else {
                    let help = format!("write a time behind it, such as `{word} 30min`");
                    item.error_with_help(format!("`{word}` needs a time, got {}", item.got()), help);
                    return None;
                };
                let of = if word == "maxidle" { &mut cookie.life.idle } else { &mut cookie.life.total };
                *of = Some(time);
            }
            _ => {
                item.unknown("word", word, WORDS.iter().chain(&["maxidle", "maxlife"]));
                return None;
            }
        }
    }
    let inserts = matches!(cookie.mode, Some(CookieMode::Insert { .. }));
    if !inserts && (cookie.postonly || cookie.life != CookieLife::UNLIMITED) {
        let help = "write `insert` before them";
        item.error_with_help("`postonly`, `maxidle` and `maxlife` belong to an inserted cookie".into(), help);
        return None;
    }
    Some(cookie)
}

fn retry_on(item: &Item<'_>) -> Option<RetryOn> {
    match item.string()?.parse() {
        Ok(retry_on) => Some(retry_on),
        Err(error) => {
            let error: UnknownCondition = error;
            let help = "known are none, conn-failure, empty-response, response-timeout, all-retryable-errors and statuses such \
                        as 503";
            item.error_with_help(error.to_string(), help);
            None
        }
    }
}

/// `stick-table` and the `stick` rules on it, `on src` unless others are written.
fn stick(s: &mut Section<'_>, site: &Site<'_>) -> Option<(Option<StickConfig>, Option<Key>)> {
    let table = s.optional("stick-table", None, |item| stick_table(&item).map(Some));
    let rules = s.take("stick");
    let Some(table) = table? else {
        if let Some(rules) = rules {
            let help = "add `stick-table = { size = 100_000, expire = \"30min\" }`";
            rules.report().error_with_help(rules.key_span, "`stick` needs a table".into(), help);
            return None;
        }
        return Some((None, None));
    };
    let Some(rules) = rules else {
        if matches!(table.key, StickKey::Bytes { .. }) {
            let help = "add `stick = [\"on req.cook(sid)\"]`, or another sample of the request";
            s.report().error_with_help(s.span(), "a table of type `string` needs `stick`".into(), help);
            return None;
        }
        let rule = StickRule { matches: true, stores: Some(StoreAt::Request), key: StickSource::Address };
        return Some((Some(StickConfig { table, rules: vec![rule] }), None));
    };
    let mut key: Option<Key> = None;
    let read =
        rules.elements("an array such as [\"match req.cook(sid)\", \"store-response res.cook(sid)\"]")?;
    let read = read.iter().map(|item| stick_rule(item, site, &mut key));
    let read: Vec<_> = read.collect();
    Some((Some(StickConfig { table, rules: read.into_iter().collect::<Option<Vec<_>>>()? }), key))
}

fn stick_rule(item: &Item<'_>, site: &Site<'_>, key: &mut Option<Key>) -> Option<StickRule> {
    let text = item.string()?;
    let (word, of) = text.split_once(' ').unwrap_or((text, ""));
    let (matches, stores) = match word {
        "on" => (true, Some(StoreAt::Request)),
        "match" => (true, None),
        "store-request" => (false, Some(StoreAt::Request)),
        "store-response" => (false, Some(StoreAt::Response)),
        _ => {
            item.unknown("rule", word, ["on", "match", "store-request", "store-response"]);
            return None;
        }
    };
    if stores == Some(StoreAt::Response) {
        if !of.trim().starts_with("res.cook(") {
            let help = "answers show the site's cookie: `store-response res.cook(sid)`";
            item.error_with_help(format!("`{word}` does not know {}", item.got()), help);
            return None;
        }
        // Answers hold what requests do later.
        let cookie = sample(item, "req.cook(sid)", site)?;
        key.get_or_insert(cookie);
        return Some(StickRule { matches, stores, key: StickSource::Sample });
    }
    if of.trim() == "src" {
        return Some(StickRule { matches, stores, key: StickSource::Address });
    }
    let found = sample(item, of, site)?;
    if key.get_or_insert_with(|| found.clone()) != &found {
        let help = "all `stick` rules of a backend look at one sample here";
        item.error_with_help(format!("a second sample, {}", item.got()), help);
        return None;
    }
    Some(StickRule { matches, stores, key: StickSource::Sample })
}

/// `stick-table`.
fn stick_table(item: &Item<'_>) -> Option<StickTableConfig> {
    let mut section = item.section("a table such as { size = 100_000, expire = \"30min\" }")?;
    let len = section.optional("len", 32, |item| item.integer(1, 1_024).map(|len| len as u16));
    let bytes = StickKey::Bytes { len: len.unwrap_or(32) };
    let key = section.optional("type", StickKey::Ip, |item| {
        item.one_of(&[("ip", StickKey::Ip), ("ipv6", StickKey::Ipv6), ("string", bytes), ("binary", bytes)])
    });
    let size = section.required("size", |item| item.u32_at_least(1));
    let expire = section.required("expire", |item| time(&item));
    let nopurge = section.optional("nopurge", false, |item| item.boolean());
    section.finish();
    len?;
    Some(StickTableConfig { key: key?, size: size?, expire: expire?, nopurge: nopurge? })
}

fn check(item: &Item<'_>) -> Option<HaproxyCheck> {
    let mut section = item.section("a table such as { inter = \"2s\", fall = 3, rise = 2 }")?;
    let s = &mut section;
    let defaults = HaproxyCheck::default();
    let inter = s.optional("inter", defaults.inter, |item| time(&item));
    let [fastinter, downinter] =
        ["fastinter", "downinter"].map(|key| s.optional(key, None, |item| time(&item).map(Some)));
    let httpchk = s.optional("httpchk", defaults.httpchk, |item| item.boolean());
    let timeout_check = s.optional("timeout_check", None, |item| time(&item).map(Some));
    let [rise, fall] = [("rise", defaults.rise), ("fall", defaults.fall)]
        .map(|(key, default)| s.optional(key, default, |item| item.integer(1, 1_000).map(|n| n as u32)));
    let observe = s.optional("observe", defaults.observe, |item| item.one_of(&Observe::WORDS));
    if observe.is_none_or(|observe| observe == Observe::Nothing) {
        let help = "add `observe = \"layer7\"`";
        s.refuse(&["on-error", "error-limit"], |key| format!("`{key}` belongs to `observe`"), help);
    }
    let on_error = s.optional("on-error", defaults.on_error, |item| item.one_of(&OnError::WORDS));
    let error_limit = s.optional("error-limit", defaults.error_limit, |item| item.u32_at_least(1));
    section.finish();
    Some(HaproxyCheck {
        inter: inter?,
        fastinter: fastinter?,
        downinter: downinter?,
        httpchk: httpchk?,
        timeout_check: timeout_check?,
        rise: rise?,
        fall: fall?,
        observe: observe?,
        on_error: on_error?,
        error_limit: error_limit?,
    })
}

/// `maxconn`, `minconn` and `maxqueue`, for all servers or for one.
fn limits(s: &mut Section<'_>, defaults: HaproxyServer) -> Option<HaproxyServer> {
    let [maxconn, minconn, maxqueue] =
        [("maxconn", defaults.maxconn), ("minconn", defaults.minconn), ("maxqueue", defaults.maxqueue)]
            .map(|(key, default)| s.optional(key, default, |item| item.u32_at_least(0)));
    Some(HaproxyServer { maxconn: maxconn?, minconn: minconn?, maxqueue: maxqueue?, ..defaults })
}

/// One `server` line.
fn line(
    options: &Section<'_>,
    own: Option<&Item<'_>>,
    place: usize,
    server: &ReadServer,
    limits: HaproxyServer,
) -> Option<HaproxyLine> {
    let mut line = HaproxyLine::new(place as u32 + 1);
    line.server = HaproxyServer { id: line.server.id, ..limits };
    let cluster_weight = || {
        let weight = server.weight?;
        if weight > WEIGHT_MAX {
            let message = format!("`weight` must be at most {WEIGHT_MAX} in HAProxy, got {weight}");
            options.report().error(server.weight_span, message);
            return None;
        }
        Some(weight)
    };
    let Some(item) = own else {
        line.server.weight = cluster_weight()?;
        return Some(line);
    };
    let mut section = item.section("a table of the server's options")?;
    let s = &mut section;
    let weight = match s.take("weight") {
        Some(item) => item.integer(0, WEIGHT_MAX.into()).map(|weight| weight as u32),
        None => cluster_weight(),
    };
    let own_limits = self::limits(s, line.server);
    let id = s.optional("id", line.server.id, |item| item.integer(1, i32::MAX as u64).map(|id| id as u32));
    let backup = s.optional("backup", false, |item| item.boolean());
    let disabled = s.optional("disabled", false, |item| item.boolean());
    section.finish();
    line.server = own_limits?;
    line.server.weight = weight?;
    line.server.id = id?;
    line.server.backup = backup?;
    line.server.disabled = disabled?;
    Some(line)
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Overrides, Program, parse};
    use crate::tier::HaproxyConfig;

    fn text(balancer: &str) -> String {
        format!(
            "title = \"t\"\nduration = \"1s\"\n[[scripted_client]]\nname = \"c\"\naddress = \"1.2.3.4\"\n\
             connections = [{{ at = \"0s\", hold = \"0s\" }}]\n[cluster]\n\
             servers = [{{ name = \"a\", address = \"b:1\" }}, {{ name = \"c\", address = \"d:1\" }}]\n\
             capacity = {{ workers = 1, service = \"1s\" }}\n\
             [[strategy]]\nname = \"s\"\nsession = {{ local = {{}} }}\nbalancer = {balancer}\n"
        )
    }

    fn read(text: &str) -> Result<(HaproxyConfig, String), String> {
        let loaded = parse("x.toml", text, &Overrides::NONE).map_err(|mistakes| mistakes.to_string())?;
        let resolved = loaded.resolved.to_string();
        match &loaded.scenario.strategies[0].tier.program {
            Program::HaProxy(config) => Ok((config.clone(), resolved)),
            Program::Nginx(_) | Program::Lvs(_) | Program::Proxy(_) => panic!("HAProxy was asked for"),
        }
    }

    #[test]
    fn every_option_survives_being_explained() {
        for balancer in [
            "{ haproxy.source = { hash-type = \"consistent wt6 avalanche\", hash-balance-factor = 125 } }",
            "{ haproxy.random = { draws = 3, retries = 5, redispatch = 2, persist = true } }",
            "{ haproxy.static-rr = { cookie = \"insert\", redispatch = true, timeout_connect = \"200ms\" } }",
            "{ haproxy.first = { allbackups = true, servers = { c = { backup = true, weight = 7, id = 9 } } } }",
            "{ haproxy.static-rr = { cookie = \"insert postonly maxidle 30s maxlife 1h\", retry-on = \"conn-failure 503\" } }",
            "{ haproxy.first = { cookie = \"prefix\", timeout_server = \"3s\" } }",
            "{ haproxy.first = { stick-table = { type = \"string\", len = 9, size = 9, expire = \"5s\" }, stick = [\"match req.cook(sid)\", \"store-response res.cook(sid)\"] } }",
            "{ haproxy.leastconn = { stick-table = { size = 9, expire = \"5s\", type = \"ipv6\", nopurge = true } } }",
            "{ haproxy.leastconn = { maxconn = 9, maxqueue = 4, timeout_queue = \"2s\", servers = { c = { maxconn = 3 } } } }",
            "{ haproxy.first = { maxconn = 9, minconn = 2, fullconn = 50, slowstart = \"30s\" } }",
            "{ haproxy.roundrobin = { check = { inter = \"1s\", fastinter = \"200ms\", rise = 3, fall = 4 } } }",
            "{ haproxy.roundrobin = { check = { httpchk = true, timeout_check = \"500ms\" } } }",
            "{ haproxy.roundrobin = { check = { observe = \"layer7\", on-error = \"mark-down\", error-limit = 3 } } }",
        ] {
            let (config, explained) = read(&text(balancer)).unwrap_or_else(|error| panic!("{error}"));
            let (again, same) = read(&explained).unwrap_or_else(|error| panic!("{error}\n{explained}"));
            assert_eq!(format!("{again:?}"), format!("{config:?}"), "{explained}");
            assert_eq!(same, explained);
        }
    }

    #[test]
    fn mistakes_name_the_limit_or_the_place_where_an_option_belongs() {
        for (options, message) in [
            (
                "roundrobin = { hash-type = \"consistent\" }",
                "`hash-type` has no meaning with `haproxy.roundrobin`",
            ),
            ("source = { hash-type = \"consistent md5\" }", "`hash-type` does not know `md5`"),
            ("source = { hash-balance-factor = 90 }", "`hash-balance-factor` must be 0 or above 100, got 90"),
            ("leastconn = { draws = 2 }", "`draws` has no meaning with `haproxy.leastconn`"),
            (
                "leastconn = { maxconn = 2, minconn = 1 }",
                "`minconn` below `maxconn` has no effect without `fullconn`",
            ),
            ("first = { servers = { a = { weight = 257 } } }", "`weight` must be at most 256, got 257"),
            ("first = { servers = { c = { id = 1 } } }", "server 2: `id` 1 is taken by a server before it"),
            ("first = { check = { rise = 0 } }", "`rise` must be at least 1, got 0"),
            ("first = { stick-table = { size = 0, expire = \"1s\" } }", "`size` must be at least 1, got 0"),
            ("first = { stick-table = { size = 1, expire = \"1s\", type = \"string\" } }", "needs `stick`"),
            ("first = { cookie = \"insert maxidle\" }", "`maxidle` needs a time"),
            ("first = { cookie = \"prefix postonly\" }", "belong to an inserted cookie"),
            ("first = { retry-on = \"418\" }", "`retry-on` has no condition `418`"),
            ("first = { max_fails = 1 }", "unknown key `max_fails`"),
            ("url_param = {}", "missing key `name`"),
            ("url_param = { name = \"id\" }", "no request has a parameter `id`"),
            ("hash = { sample = \"path,lower\" }", "unknown variable `path,lower`"),
        ] {
            let error = read(&text(&format!("{{ haproxy.{options} }}"))).expect_err(options);
            assert!(error.contains(message), "{options}: {error}");
        }
    }
}
