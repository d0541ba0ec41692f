//! Reads one recording of nginx: `case.json`, `events.csv` and, where there is one, `attempts.csv`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use serde::{Deserialize, Deserializer, de};

use crate::balancer::nginx::{NginxMethod, NginxServer};
use crate::conformance::{Case, CaseError, check_requests};
use crate::engine::{SimDuration, SimTime, Stream};
use crate::ids::StreamId;
use crate::tier::Outcome;
use crate::tier::nginx::{NextUpstream, NginxConfig, NginxVersion};

const EVENTS: &str = "events.csv";
const ATTEMPTS: &str = "attempts.csv";

/// `case.json`. What a case does not say is as in an nginx without the directive.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    method: String,
    #[serde(default)]
    options: Options,
    #[serde(default = "one")]
    pub(super) workers: u16,
    #[serde(default)]
    pub(super) zone: bool,
    servers: Vec<Server>,
    #[serde(default, deserialize_with = "conditions")]
    next_upstream: NextUpstream,
    #[serde(default)]
    next_upstream_tries: u32,
    #[serde(default, rename = "next_upstream_timeout_ms", deserialize_with = "millis")]
    next_upstream_timeout: SimDuration,
    #[serde(default = "minute", rename = "connect_timeout_ms", deserialize_with = "millis")]
    connect_timeout: SimDuration,
    #[serde(default = "minute", rename = "read_timeout_ms", deserialize_with = "millis")]
    read_timeout: SimDuration,
    #[serde(default)]
    pub(super) key_kind: KeyKind,
    #[serde(default)]
    reloads: Vec<Reload>,
    /// Rows `open` of a whole recording.
    requests: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct Options {
    /// The hash key, as configured.
    key: Option<String>,
    #[serde(default)]
    consistent: bool,
    #[serde(default)]
    two: bool,
}

impl Manifest {
    /// The method's name in the catalogue.
    pub(super) fn method_name(&self) -> &str {
        match (self.method.as_str(), &self.options) {
            ("hash", Options { consistent: true, .. }) => "hash_consistent",
            ("random", Options { two: true, .. }) => "random_two",
            (method, _) => method,
        }
    }
}

/// What the key column of `open` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyKind {
    /// Nothing.
    #[default]
    None,
    /// The evaluated hash key.
    Hash,
    /// The request's method.
    Method,
    /// The worker that served it.
    Pid,
}

#[derive(Debug, Deserialize)]
struct Server {
    name: String,
    #[serde(default)]
    addr: String,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default = "one")]
    max_fails: u32,
    #[serde(default = "ten")]
    fail_timeout_s: u64,
    #[serde(default)]
    max_conns: u32,
    #[serde(default)]
    down: bool,
    #[serde(default)]
    backup: bool,
}

#[derive(Debug, Deserialize)]
struct Reload {
    conf: String,
    servers: Vec<Server>,
}

fn one<T: From<u8>>() -> T {
    T::from(1)
}

fn ten() -> u64 {
    10
}

fn minute() -> SimDuration {
    SimDuration::from_secs(60)
}

fn conditions<'de, D: Deserializer<'de>>(from: D) -> Result<NextUpstream, D::Error> {
    String::deserialize(from)?.parse().map_err(de::Error::custom)
}

fn millis<'de, D: Deserializer<'de>>(from: D) -> Result<SimDuration, D::Error> {
    let millis = u64::deserialize(from)?;
    let nanos = millis.checked_mul(1_000_000);
    nanos.map(SimDuration).ok_or_else(|| de::Error::custom(format!("{millis} ms are longer than any run")))
}

/// One server of a recording, as an index into [`Recording::names`]. A name means the same server in every
/// configuration of the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) u16);

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Answers with 200 at once.
    Up,
    /// Nobody listens.
    Refuse,
    /// Accepts, never answers.
    Hang,
    /// SYNs are dropped.
    Blackhole,
    /// Answers with this status.
    Http(u16),
    /// Answers with 200 after this time.
    Slow(SimDuration),
}

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "refuse" => Self::Refuse,
            "hang" => Self::Hang,
            "blackhole" => Self::Blackhole,
            other => match other.strip_prefix("slow:") {
                Some(millis) => Self::Slow(SimDuration(millis.parse::<u64>().ok()?.checked_mul(1_000_000)?)),
                None => {
                    Self::Http(other.strip_prefix("http")?.parse().ok().filter(|s| (100..600).contains(s))?)
                }
            },
        })
    }

    /// How a try at such a server ends, and after how long.
    pub(super) fn outcome(self, config: &NginxConfig) -> (Outcome, SimDuration) {
        match self {
            Self::Up => (Outcome::Status(200), SimDuration::ZERO),
            Self::Refuse => (Outcome::ConnectRefused, SimDuration::ZERO),
            Self::Blackhole => (Outcome::ConnectTimeout, config.connect_timeout),
            Self::Http(status) => (Outcome::Status(status), SimDuration::ZERO),
            Self::Slow(delay) if delay < config.read_timeout => (Outcome::Status(200), delay),
            Self::Slow(_) | Self::Hang => (Outcome::ReadTimeout, config.read_timeout),
        }
    }
}

/// One row of `events.csv`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) time: SimTime,
    pub(super) event: Event,
}

#[derive(Debug)]
pub(super) enum Event {
    Open(Request),
    Close {
        conn: u64,
    },
    /// A server's behaviour changes.
    Behave {
        server: Name,
        mode: Mode,
    },
    /// A place in [`Recording::configs`].
    Reload {
        config: usize,
    },
}

/// A recorded request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) conn: u64,
    pub(super) client: IpAddr,
    /// The key column, in [`Recording::keys`].
    pub(super) key: Range<usize>,
    /// Who finally answered; `None` if nginx itself did.
    pub(super) server: Option<Name>,
    /// All that were tried, in [`Recording::tried`].
    pub(super) tried: Range<usize>,
    pub(super) status: u16,
    /// Whether a `close` row says when it ended; otherwise it did before the next row.
    pub(super) closes: bool,
}

/// When a recorded try ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) server: Name,
    pub(super) ended: SimTime,
}

/// A configuration of nginx and the names of its servers, in their order.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) nginx: NginxConfig,
    pub(super) names: Vec<Name>,
}

/// One recording.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) names: Vec<String>,
    /// The configuration at the start, then those of the reloads, in the order of the manifest.
    pub(super) configs: Vec<Config>,
    pub(super) key_kind: KeyKind,
    /// Whether the key is `$binary_remote_addr`.
    pub(super) hashes_binary_address: bool,
    pub(super) rows: Vec<Row>,
    pub(super) keys: Vec<u8>,
    pub(super) tried: Vec<Name>,
    /// By connection and number of the try, from 1.
    pub(super) attempts: BTreeMap<(u64, u32), Attempt>,
}

impl Recording {
    /// Reads what `manifest` describes.
    pub(super) fn read(case: &Case, manifest: Manifest, method: &NginxMethod) -> Result<Self, CaseError> {
        let invalid = |message: String| CaseError::File { file: "case.json".into(), message };
        let mut names: Vec<String> = Vec::new();
        let mut confs = Vec::new();
        let mut configs = Vec::new();
        let reloads = manifest.reloads.into_iter().map(|reload| (reload.conf, reload.servers));
        for (conf, servers) in std::iter::once((String::new(), manifest.servers)).chain(reloads) {
            let mut config = Config {
                names: Vec::with_capacity(servers.len()),
                nginx: NginxConfig {
                    version: NginxVersion::default(),
                    sticky: None,
                    method: method.clone(),
                    servers: Vec::with_capacity(servers.len()),
                    workers: manifest.workers,
                    zone: manifest.zone,
                    next_upstream: manifest.next_upstream,
                    next_upstream_tries: manifest.next_upstream_tries,
                    next_upstream_timeout: manifest.next_upstream_timeout,
                    connect_timeout: manifest.connect_timeout,
                    read_timeout: manifest.read_timeout,
                    // Recordings begin at a whole second.
                    clock_phase: SimDuration::ZERO,
                    draws: Stream::new(0, 0, StreamId::Balancer),
                    instance: 0,
                },
            };
            for server in servers {
                let name = names.iter().position(|name| *name == server.name).unwrap_or_else(|| {
                    names.push(server.name);
                    names.len() - 1
                });
                let name = Name(u16::try_from(name).map_err(|_| invalid("too many servers".into()))?);
                if config.names.contains(&name) {
                    return Err(invalid(format!("two servers are called `{}`", names[name.0 as usize])));
                }
                config.names.push(name);
                config.nginx.servers.push(NginxServer {
                    drain: false,
                    weight: server.weight,
                    max_fails: server.max_fails,
                    fail_timeout_s: server.fail_timeout_s,
                    max_conns: server.max_conns,
                    down: server.down,
                    backup: server.backup,
                    absent: false,
                    address: server.addr,
                });
            }
            config.nginx.check().map_err(|error| invalid(error.to_string()))?;
            confs.push(conf);
            configs.push(config);
        }
        let mut recording = Self {
            names,
            configs,
            key_kind: manifest.key_kind,
            hashes_binary_address: manifest.options.key.as_deref() == Some("$binary_remote_addr"),
            rows: Vec::new(),
            keys: Vec::new(),
            tried: Vec::new(),
            attempts: BTreeMap::new(),
        };
        recording.read_events(&case.files.require(EVENTS)?, &confs)?;
        let opened = recording.rows.iter().filter(|row| matches!(row.event, Event::Open(_)));
        check_requests(EVENTS, manifest.requests, opened.count() as u64)?;
        if let Some(bytes) = case.files.read(ATTEMPTS)? {
            recording.read_attempts(&bytes)?;
        }
        Ok(recording)
    }

    fn read_events(&mut self, bytes: &[u8], confs: &[String]) -> Result<(), CaseError> {
        let columns = ["t_ms", "event", "conn", "client", "key", "server", "tried", "status"];
        // Requests that may still get a `close` row, as places in `rows`.
        let mut open: BTreeMap<u64, usize> = BTreeMap::new();
        let mut latest = SimTime::ZERO;
        for_each_row(
            EVENTS,
            bytes,
            columns,
            |line, [t_ms, event, conn, client, key, server, tried, status]| {
                let at = |message| CaseError::at(EVENTS, line, message);
                let time = milliseconds(t_ms).map(SimTime).ok_or_else(|| at(not("t_ms", t_ms)))?;
                if time < latest {
                    return Err(at(format!("time goes back to {}", quote(t_ms))));
                }
                latest = time;
                let conn = || number(conn).ok_or_else(|| at(not("conn", conn)));
                let name = |server| self.name(server).ok_or_else(|| at(not("server", server)));
                let event = match event {
                    b"open" => {
                        let server = if server.is_empty() { None } else { Some(name(server)?) };
                        let names = tried.split(|&b| b == b'|').filter(|_| !tried.is_empty());
                        let names = names.map(name).collect::<Result<Vec<_>, _>>()?;
                        let conn = conn()?;
                        if open.insert(conn, self.rows.len()).is_some() {
                            return Err(at(format!("request {conn} is opened twice")));
                        }
                        Event::Open(Request {
                            conn,
                            client: address(client).ok_or_else(|| at(not("client", client)))?,
                            key: extend(&mut self.keys, key),
                            server,
                            tried: extend(&mut self.tried, &names),
                            status: number(status).ok_or_else(|| at(not("status", status)))?,
                            closes: false,
                        })
                    }
                    b"close" => {
                        let conn = conn()?;
                        let row = open.get(&conn).and_then(|&row| self.rows.get_mut(row));
                        match row.map(|row| &mut row.event) {
                            Some(Event::Open(request)) if !request.closes => request.closes = true,
                            _ => return Err(at(format!("request {conn} is closed and was not open"))),
                        }
                        Event::Close { conn }
                    }
                    b"server_down" => {
                        let mode = std::str::from_utf8(key).ok().and_then(Mode::parse);
                        Event::Behave {
                            server: name(server)?,
                            mode: mode.ok_or_else(|| at(not("key", key)))?,
                        }
                    }
                    b"server_up" => Event::Behave { server: name(server)?, mode: Mode::Up },
                    b"reload" => {
                        let config = confs.iter().skip(1).position(|conf| conf.as_bytes() == key);
                        let config =
                            config.ok_or_else(|| at(format!("no reload in case.json has {}", quote(key))))?;
                        Event::Reload { config: config + 1 }
                    }
                    _ => return Err(at(not("event", event))),
                };
                self.rows.push(Row { line, time, event });
                Ok(())
            },
        )
    }

    fn read_attempts(&mut self, bytes: &[u8]) -> Result<(), CaseError> {
        let columns = ["conn", "n", "server", "t_ms", "dur_ms"];
        for_each_row(ATTEMPTS, bytes, columns, |line, [conn, n, server, t_ms, dur_ms]| {
            if server == b"(no live)" {
                return Ok(());
            }
            let at = |what, got| CaseError::at(ATTEMPTS, line, not(what, got));
            let key = (number(conn).ok_or_else(|| at("conn", conn))?, number(n).ok_or_else(|| at("n", n))?);
            let began = milliseconds(t_ms).ok_or_else(|| at("t_ms", t_ms))?;
            let lasted = milliseconds(dur_ms).ok_or_else(|| at("dur_ms", dur_ms))?;
            let server = self.name(server).ok_or_else(|| at("server", server))?;
            self.attempts.insert(key, Attempt { server, ended: SimTime(began) + SimDuration(lasted) });
            Ok(())
        })
    }

    fn name(&self, name: &[u8]) -> Option<Name> {
        self.names.iter().position(|known| known.as_bytes() == name).map(|index| Name(index as u16))
    }
}

/// Calls `each` with the line and the named columns of every row of a table with a header.
fn for_each_row<const N: usize>(
    file: &str,
    bytes: &[u8],
    columns: [&str; N],
    mut each: impl FnMut(u64, [&[u8]; N]) -> Result<(), CaseError>,
) -> Result<(), CaseError> {
    let malformed = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        CaseError::at(file, line, error.to_string())
    };
    let mut reader = csv::ReaderBuilder::new().from_reader(bytes);
    let header = reader.byte_headers().map_err(malformed)?.clone();
    let mut places = [0; N];
    for (place, column) in places.iter_mut().zip(columns) {
        *place = header
            .iter()
            .position(|name| name == column.as_bytes())
            .ok_or_else(|| CaseError::at(file, 1, format!("no column `{column}`")))?;
    }
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(malformed)? {
        let line = record.position().map_or(1, csv::Position::line);
        each(line, places.map(|place| record.get(place).unwrap_or_default()))?;
    }
    Ok(())
}

fn extend<T: Clone>(arena: &mut Vec<T>, items: &[T]) -> Range<usize> {
    let start = arena.len();
    arena.extend_from_slice(items);
    start..arena.len()
}

fn parse<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// `$remote_addr`. A client of a Unix socket (`unix:`) is hashed as three zero bytes, and so is this address.
fn address(field: &[u8]) -> Option<IpAddr> {
    if field == b"unix:" { Some(IpAddr::from([0; 4])) } else { parse(field) }
}

/// A number of decimal digits alone, which `parse` would not insist on.
fn number<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    if field.iter().all(u8::is_ascii_digit) { parse(field) } else { None }
}

/// Milliseconds with up to six decimals, in nanoseconds.
fn milliseconds(field: &[u8]) -> Option<u64> {
    let mut parts = field.splitn(2, |&b| b == b'.');
    let whole: u64 = number(parts.next()?)?;
    let fraction = parts.next().map_or(Some(0), |digits| {
        let scale = 6u32.checked_sub(digits.len() as u32)?;
        Some(number::<u64>(digits)? * 10u64.pow(scale))
    })?;
    whole.checked_mul(1_000_000)?.checked_add(fraction)
}

fn quote(field: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(field))
}

fn not(column: &str, got: &[u8]) -> String {
    format!("{} is no `{column}`", quote(got))
}
