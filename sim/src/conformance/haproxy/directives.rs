//! What was configured: the `backend` of `haproxy.cfg`.

use std::collections::BTreeMap;

use super::manifest::Manifest;
use crate::balancer::haproxy::{HaproxyMethod, HashOptions, HashType};
use crate::conformance::{Case, CaseError};
use crate::engine::SimDuration;
use crate::health::HaproxyCheck;
use crate::health::haproxy::{Observe, OnError};
use crate::tier::HaproxyConfig;
use crate::tier::haproxy::{
    ConditionNotModelled, CookieMode, HaproxyLine, PathCondition, PersistenceRules, StickConfig, StickKey,
    StickRule, StickSource, StickTableConfig, StoreAt,
};

const CONFIGURATION: &str = "haproxy.cfg";

/// What a case configures, and what only its replay needs to know.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) haproxy: HaproxyConfig,
    pub(super) names: Vec<String>,
    /// Name of the cookie.
    pub(super) cookie_name: String,
    /// Name of the parameter that `url_param` looks for.
    pub(super) param: Option<String>,
    /// Name of the request's cookie that stick rules look at, if they look at one.
    pub(super) sample_cookie: Option<String>,
    /// Whether the algorithm hashes the URI.
    pub(super) hashes_uri: bool,
    pub(super) persistence: PersistenceRules,
    /// Whether checks ask for an answer (`option httpchk`) rather than a connection.
    pub(super) httpchk: bool,
    /// Whether several threads serve requests, and the algorithm keeps a state for each.
    pub(super) threads: u16,
}

/// Why a configuration cannot be replayed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It needs something that is not modelled.
    NotModelled(String),
    /// It makes no sense.
    Wrong(CaseError),
}

impl From<CaseError> for Refusal {
    fn from(error: CaseError) -> Self {
        Self::Wrong(error)
    }
}

fn not_modelled<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::NotModelled(what.into()))
}

impl Configuration {
    /// Reads what `manifest` and the case's `haproxy.cfg` say.
    pub(super) fn read(case: &Case, manifest: &Manifest) -> Result<Self, Refusal> {
        match case.files.read(CONFIGURATION)? {
            Some(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let lines = text.lines().enumerate().map(|(index, line)| (index as u64 + 1, line));
                Self::from_lines(CONFIGURATION, lines)
            }
            None => {
                let lines = manifest.as_directives();
                Self::from_lines("case.json", lines.iter().map(|line| (1, &**line)))
            }
        }
    }

    fn from_lines<'a>(file: &str, lines: impl Iterator<Item = (u64, &'a str)>) -> Result<Self, Refusal> {
        let mut draft = Draft::default();
        let mut frontend = false;
        for (number, line) in lines {
            let line = line.split(" #").next().unwrap_or_default().trim();
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            match word {
                "global" | "defaults" | "backend" | "listen" => frontend = false,
                "frontend" => frontend = true,
                _ if frontend => {}
                _ => draft.directive(word, rest.trim()).map_err(|refusal| match refusal {
                    Mistake::NotModelled(what) => Refusal::NotModelled(what),
                    Mistake::Wrong(what) => CaseError::at(file, number, what).into(),
                })?,
            }
        }
        draft.finish(file)
    }
}

/// What is wrong with a directive.
enum Mistake {
    NotModelled(String),
    Wrong(String),
}

impl From<String> for Mistake {
    fn from(what: String) -> Self {
        Self::Wrong(what)
    }
}

/// A configuration while it is read.
#[derive(Default)]
struct Draft {
    balance: String,
    hash_type: String,
    hash_balance_factor: u32,
    threads: u16,
    servers: Vec<HaproxyLine>,
    names: Vec<String>,
    allbackups: bool,
    retries: Option<u32>,
    redispatch: Option<i32>,
    retry_on: String,
    timeouts: BTreeMap<String, SimDuration>,
    cookie: Option<(String, CookieMode)>,
    persist: bool,
    ignore_persist: Option<String>,
    force_persist: Option<String>,
    table: Option<StickTableConfig>,
    rules: Vec<StickRule>,
    sample_cookie: Option<String>,
    httpchk: bool,
}

impl Draft {
    fn directive(&mut self, word: &str, rest: &str) -> Result<(), Mistake> {
        match word {
            "balance" => self.balance = rest.to_owned(),
            "hash-type" => self.hash_type = rest.to_owned(),
            "hash-balance-factor" => self.hash_balance_factor = number(word, rest)?,
            "nbthread" => self.threads = number(word, rest)?,
            "retries" => self.retries = Some(number(word, rest)?),
            "retry-on" => self.retry_on = rest.to_owned(),
            "option" | "no" => self.option(word, rest)?,
            "timeout" => {
                let (what, time) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                let time = duration(time.trim()).ok_or_else(|| not("timeout", time))?;
                self.timeouts.insert(what.to_owned(), time);
            }
            "cookie" => self.cookie = Some(cookie(rest)?),
            "ignore-persist" => self.ignore_persist = Some(rest.to_owned()),
            "force-persist" => self.force_persist = Some(rest.to_owned()),
            "stick-table" => self.table = Some(stick_table(rest)?),
            "stick" => {
                self.rules.push(stick_rule(rest)?);
                let name = rest.split_once("req.cook(").and_then(|(_, rest)| rest.split_once(')'));
                self.sample_cookie = self.sample_cookie.take().or(name.map(|(name, _)| name.to_owned()));
            }
            "server" => self.server(rest)?,
            "dynamic-cookie-key"
            | "fullconn"
            | "default-server"
            | "use-server"
            | "load-server-state-from-file" => {
                return Err(Mistake::NotModelled(format!("`{word}` is not modelled")));
            }
            // Sockets, logs and headers do not bear on decisions.
            _ => {}
        }
        Ok(())
    }

    fn option(&mut self, word: &str, rest: &str) -> Result<(), Mistake> {
        let set = word == "option";
        let rest = if set { rest } else { rest.trim_start_matches("option").trim() };
        let mut words = rest.split_whitespace();
        match words.next() {
            Some("redispatch") => {
                let interval = words.next().map_or(Ok(-1), |interval| number("redispatch", interval))?;
                self.redispatch = set.then_some(interval);
            }
            Some("allbackups") => self.allbackups = set,
            Some("persist") => self.persist = set,
            Some("httpchk") => self.httpchk = set,
            Some("prefer-last-server") if set => {
                return Err(Mistake::NotModelled("`option prefer-last-server` is not modelled".into()));
            }
            _ => {}
        }
        Ok(())
    }

    fn server(&mut self, rest: &str) -> Result<(), Mistake> {
        let mut words = rest.split_whitespace();
        let name = words.next().unwrap_or_default();
        let mut line = HaproxyLine::new(self.servers.len() as u32 + 1);
        // The address.
        words.next();
        let (mut checked, mut check) = (false, HaproxyCheck::default());
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| Mistake::Wrong(format!("`{word}` has no value")));
            let time = |text: &str| duration(text).ok_or_else(|| Mistake::from(not(word, text)));
            match word {
                "id" => line.server.id = number(word, value()?)?,
                "weight" => line.server.weight = number(word, value()?)?,
                "maxconn" => line.server.maxconn = number(word, value()?)?,
                "cookie" => line.cookie = Some(value()?.as_bytes().into()),
                "backup" => line.server.backup = true,
                "disabled" => line.server.disabled = true,
                "non-stick" => line.non_stick = true,
                "check" => checked = true,
                "inter" => check.inter = time(value()?)?,
                "fastinter" => check.fastinter = Some(time(value()?)?),
                "downinter" => check.downinter = Some(time(value()?)?),
                "rise" => check.rise = number(word, value()?)?,
                "fall" => check.fall = number(word, value()?)?,
                "error-limit" => check.error_limit = number(word, value()?)?,
                "observe" => check.observe = one_of(word, value()?, &Observe::WORDS[1..])?,
                "on-error" => check.on_error = one_of(word, value()?, &OnError::WORDS)?,
                "addr" | "port" | "check-send-proxy" | "source" => drop(value()?),
                other => {
                    return Err(Mistake::NotModelled(format!("the server option `{other}` is not modelled")));
                }
            }
        }
        line.check = checked.then_some(check);
        if self.names.iter().any(|known| known == name) {
            return Err(format!("two servers are called `{name}`").into());
        }
        self.names.push(name.to_owned());
        self.servers.push(line);
        Ok(())
    }

    fn finish(self, file: &str) -> Result<Configuration, Refusal> {
        let wrong = |message: String| CaseError::File { file: file.to_owned(), message };
        let hash_type = HashType::parse(&self.hash_type).map_err(|error| wrong(error.to_string()))?;
        let options = HashOptions { hash_type, balance_factor: self.hash_balance_factor };
        let threads = self.threads.max(1);
        let balance = if self.balance.is_empty() { "roundrobin" } else { &self.balance };
        let method = match HaproxyMethod::configure(balance, options, threads) {
            Ok(method) => method,
            Err(error) => return Err(wrong(error.to_string()).into()),
        };
        let mut words = balance.split_whitespace();
        let algorithm = words.next().unwrap_or_default();
        let mut haproxy = HaproxyConfig::new(method, self.servers);
        haproxy.allbackups = self.allbackups;
        haproxy.retries = self.retries.unwrap_or(haproxy.retries);
        haproxy.redispatch = self.redispatch;
        if !self.retry_on.is_empty() {
            haproxy.retry_on = match self.retry_on.parse() {
                Ok(retry_on) => retry_on,
                Err(error) => return Err(wrong(format!("{error}")).into()),
            };
        }
        let timeout = |name: &str| self.timeouts.get(name).copied().unwrap_or_default();
        haproxy.connect_timeout = timeout("connect");
        haproxy.server_timeout = timeout("server");
        haproxy.cookie = self.cookie.as_ref().map(|(_, mode)| *mode);
        haproxy.persist = self.persist;
        haproxy.stick = match self.table {
            Some(table) => Some(StickConfig { table, rules: self.rules }),
            None if self.rules.is_empty() => None,
            None => return not_modelled("stick rules on another backend's table are not modelled"),
        };
        haproxy.check().map_err(|error| wrong(error.to_string()))?;
        Ok(Configuration {
            haproxy,
            names: self.names,
            cookie_name: self.cookie.map_or_else(String::new, |(name, _)| name),
            param: words.next().filter(|_| algorithm == "url_param").map(str::to_owned),
            sample_cookie: self.sample_cookie,
            hashes_uri: algorithm == "uri",
            persistence: PersistenceRules {
                forced: condition(self.force_persist)?,
                ignored: condition(self.ignore_persist)?,
            },
            httpchk: self.httpchk,
            threads,
        })
    }
}

fn condition(text: Option<String>) -> Result<Option<PathCondition>, Refusal> {
    let read = text.map(|text| text.parse()).transpose();
    read.map_err(|error: ConditionNotModelled| Refusal::NotModelled(error.to_string()))
}

/// `cookie NAME insert|prefix|rewrite …`.
fn cookie(rest: &str) -> Result<(String, CookieMode), Mistake> {
    let mut words = rest.split_whitespace();
    let name = words.next().ok_or_else(|| not("cookie", ""))?;
    let (mut mode, mut preserve) = (CookieMode::Rewrite, false);
    while let Some(word) = words.next() {
        match word {
            "insert" => mode = CookieMode::Insert { preserve: false },
            "prefix" => mode = CookieMode::Prefix,
            "rewrite" => mode = CookieMode::Rewrite,
            "preserve" => preserve = true,
            "indirect" | "nocache" | "postonly" | "httponly" | "secure" => {}
            "domain" | "attr" => drop(words.next()),
            other => return Err(Mistake::NotModelled(format!("`cookie … {other}` is not modelled"))),
        }
    }
    if let CookieMode::Insert { preserve: preserves } = &mut mode {
        *preserves = preserve;
    }
    Ok((name.to_owned(), mode))
}

fn stick_table(rest: &str) -> Result<StickTableConfig, Mistake> {
    /// HAProxy's default length of a string key.
    const LEN: u16 = 32;
    let mut table =
        StickTableConfig { key: StickKey::Ip, size: 0, expire: SimDuration::ZERO, nopurge: false };
    let mut words = rest.split_whitespace();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| Mistake::Wrong(format!("`{word}` has no value")));
        match word {
            "type" => {
                table.key = match value()? {
                    "ip" => StickKey::Ip,
                    "ipv6" => StickKey::Ipv6,
                    "string" | "binary" => StickKey::Bytes { len: LEN },
                    other => {
                        return Err(Mistake::NotModelled(format!(
                            "stick tables of {other} are not modelled"
                        )));
                    }
                }
            }
            "len" | "length" => table.key = StickKey::Bytes { len: number(word, value()?)? },
            "size" => {
                let text = value()?;
                table.size = size(text).ok_or_else(|| not(word, text))?;
            }
            "expire" => {
                let text = value()?;
                table.expire = duration(text).ok_or_else(|| not(word, text))?;
            }
            "nopurge" => table.nopurge = true,
            "peers" | "store" => drop(value()?),
            other => return Err(Mistake::NotModelled(format!("`stick-table … {other}` is not modelled"))),
        }
    }
    Ok(table)
}

fn stick_rule(rest: &str) -> Result<StickRule, Mistake> {
    let mut words = rest.split_whitespace();
    let (matches, stores) = match words.next().unwrap_or_default() {
        "on" => (true, Some(StoreAt::Request)),
        "match" => (true, None),
        "store-request" => (false, Some(StoreAt::Request)),
        "store-response" => (false, Some(StoreAt::Response)),
        other => return Err(not("stick", other).into()),
    };
    let key = match words.next() {
        Some("src") => StickSource::Address,
        _ => StickSource::Sample,
    };
    match words.next() {
        None => Ok(StickRule { matches, stores, key }),
        Some(word) => Err(Mistake::NotModelled(format!("`stick … {word}` is not modelled"))),
    }
}

fn not(what: &str, got: &str) -> String {
    format!("`{got}` is no `{what}`")
}

fn one_of<T: Copy>(what: &str, got: &str, words: &[(&str, T)]) -> Result<T, Mistake> {
    words.iter().find(|(word, _)| *word == got).map(|&(_, one)| one).ok_or_else(|| not(what, got).into())
}

fn number<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Mistake> {
    text.parse().map_err(|_| not(what, text).into())
}

/// `100k`.
fn size(text: &str) -> Option<u32> {
    let (digits, factor) = match text.chars().last()? {
        'k' | 'K' => (&text[..text.len() - 1], 1 << 10),
        'm' | 'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits.parse::<u32>().ok()?.checked_mul(factor)
}

/// `300ms`, `5s`; milliseconds without a unit.
fn duration(text: &str) -> Option<SimDuration> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let nanos: u64 = match &text[digits.len()..] {
        "us" => 1_000,
        "" | "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(nanos).map(SimDuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<Configuration, Refusal> {
        Configuration::from_lines("haproxy.cfg", lines.lines().zip(1..).map(|(line, number)| (number, line)))
    }

    #[test]
    fn a_backend_is_read_as_haproxy_reads_it() {
        let configuration = read(
            "defaults\n retries 2\n option redispatch\n timeout connect 5s\nfrontend f\n balance junk\nbackend b\n \
             balance url_param uid # a comment\n hash-type consistent\n cookie SRV insert indirect\n stick-table type string len 9 size 2k expire 5m\n \
             stick on req.cook(A)\n server a 10.0.0.1:80 weight 7 cookie ca maxconn 3\n \
             server b 10.0.0.2:80 id 9 backup check inter 500 fall 4 fastinter 1s observe layer4",
        )
        .expect("readable");
        let haproxy = &configuration.haproxy;
        assert_eq!((haproxy.retries, haproxy.redispatch), (2, Some(-1)));
        assert_eq!(haproxy.connect_timeout, SimDuration::from_secs(5));
        assert_eq!(haproxy.method.name(), "url_param");
        assert_eq!(configuration.param.as_deref(), Some("uid"));
        assert_eq!(configuration.cookie_name, "SRV");
        let table = haproxy.stick.as_ref().expect("a table").table;
        assert_eq!((table.key, table.size), (StickKey::Bytes { len: 9 }, 2_048));
        let [a, b] = &haproxy.servers[..] else { panic!("two servers") };
        assert_eq!((a.server.weight, a.server.maxconn, a.server.id), (7, 3, 1));
        assert_eq!((b.server.id, b.server.backup), (9, true));
        let check = b.check.expect("checked");
        assert_eq!((check.fall, check.rise, check.observe), (4, 2, Observe::Layer4));
        assert_eq!(check.fastinter, Some(SimDuration::from_secs(1)));
    }

    #[test]
    fn what_is_not_modelled_and_what_is_wrong_are_told_apart() {
        for lines in ["server a - slowstart 3s", "stick on src table t", "stick on src"] {
            assert!(matches!(read(lines), Err(Refusal::NotModelled(_))), "{lines}");
        }
        for (lines, error) in [
            ("balance fastest", "haproxy.cfg: no balancer for `fastest`"),
            ("\nserver a - weight x", "haproxy.cfg:2: `x` is no `weight`"),
            ("server a -\nserver a -", "haproxy.cfg:2: two servers are called `a`"),
            ("hash-type consistent md5", "haproxy.cfg: `hash-type` does not know `md5`"),
            (
                "server a - weight 999",
                "haproxy.cfg: server 1: `weight` must be at most 256 in HAProxy, got 999",
            ),
        ] {
            let Err(Refusal::Wrong(got)) = read(lines) else { panic!("{lines}") };
            assert_eq!(got.to_string(), error);
        }
    }
}
