//! Reads `events.csv` of a recording of HAProxy.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::directives::Configuration;
use super::manifest::Manifest;
use crate::balancer::haproxy::Admin;
use crate::conformance::{Case, CaseError, check_requests};
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;
use crate::tier::{HaproxyConfig, Outcome, Persistence};

pub(super) const EVENTS: &str = "events.csv";

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
    /// Accepts, and breaks off when it has read the request.
    Close,
    /// Answers with this status.
    Http(u16),
}

impl Mode {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"ok" => Self::Up,
            b"refuse" => Self::Refuse,
            b"hang" => Self::Hang,
            b"blackhole" | b"drop" => Self::Blackhole,
            b"close" | b"reset" | b"empty" => Self::Close,
            other => {
                let status = number(other.strip_prefix(b"http")?)?;
                Some(Self::Http(status)).filter(|_| (100..600).contains(&status))?
            }
        })
    }

    /// How a try at such a server ends, and after how long.
    pub(super) fn outcome(self, config: &HaproxyConfig) -> (Outcome, SimDuration) {
        match self {
            Self::Up => (Outcome::Status(200), SimDuration::ZERO),
            Self::Refuse => (Outcome::ConnectRefused, SimDuration::ZERO),
            Self::Hang => (Outcome::ReadTimeout, config.server_timeout),
            Self::Blackhole => (Outcome::ConnectTimeout, config.connect_timeout),
            Self::Close => (Outcome::Reset, SimDuration::ZERO),
            Self::Http(status) => (Outcome::Status(status), SimDuration::ZERO),
        }
    }

    /// Whether a check of such a server passes; `None` if that shows only after a time-out.
    pub(super) fn passes(self, httpchk: bool) -> Option<bool> {
        match self {
            Self::Up => Some(true),
            Self::Refuse => Some(false),
            Self::Hang => (!httpchk).then_some(true),
            Self::Blackhole => None,
            Self::Close => Some(!httpchk),
            Self::Http(status) => Some(!httpchk || status < 400),
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
    /// A request left its queue.
    Start {
        conn: u64,
        server: ServerId,
    },
    SetAdmin {
        server: ServerId,
        admin: Admin,
    },
    SetWeight {
        server: ServerId,
        weight: Weight,
    },
    /// A server's behaviour changes.
    Behave {
        server: ServerId,
        mode: Mode,
    },
    /// A check of a server begins.
    Check {
        server: ServerId,
    },
    /// HAProxy says that a server is up or down.
    State {
        server: ServerId,
        up: bool,
    },
}

/// What a weight is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Absolute(u32),
    /// Of the configured weight.
    Percent(u32),
}

/// A recorded request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) conn: u64,
    pub(super) client: IpAddr,
    /// What the algorithm hashes.
    pub(super) key: Vec<u8>,
    /// The server that its cookie names.
    pub(super) cookie: Option<ServerId>,
    pub(super) persistence: Persistence,
    /// What stick rules look at.
    pub(super) sample: Vec<u8>,
    /// What the answer shows to stick rules.
    pub(super) answer_sample: Vec<u8>,
    /// Who finally answered; `None` if HAProxy itself did.
    pub(super) server: Option<ServerId>,
    /// All that were tried, where that was recorded.
    pub(super) tried: Option<Vec<ServerId>>,
    /// Retries, and whether one went to another server, where that was recorded.
    pub(super) retries: Option<(u32, bool)>,
    pub(super) status: u16,
    /// Whether a `close` row says when it ended; otherwise it did before the next row, unless requests overlap.
    pub(super) closes: bool,
}

/// Why the events cannot be replayed.
pub(super) enum Refusal {
    NotModelled(String),
    Wrong(CaseError),
}

impl From<CaseError> for Refusal {
    fn from(error: CaseError) -> Self {
        Self::Wrong(error)
    }
}

/// Reads the rows of a case.
pub(super) fn read(
    case: &Case,
    manifest: &Manifest,
    configuration: &Configuration,
) -> Result<Vec<Row>, Refusal> {
    let bytes = case.files.require(EVENTS)?;
    let keys = Keys { manifest, configuration };
    let mut rows: Vec<Row> = Vec::new();
    // Requests that may still get a `close` row, as places in `rows`.
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    let mut not_modelled = None;
    for_each_row(&bytes, |line, row| {
        let at = |column: &str, got: &[u8]| CaseError::at(EVENTS, line, not(column, got));
        let time = milliseconds(row.t_ms).map(SimTime).ok_or_else(|| at("t_ms", row.t_ms))?;
        if rows.last().is_some_and(|last| time < last.time) {
            return Err(CaseError::at(EVENTS, line, format!("time goes back to {}", quote(row.t_ms))));
        }
        let conn = || number(row.conn).ok_or_else(|| at("conn", row.conn));
        let named = |name: &[u8]| {
            let place = configuration.names.iter().position(|known| known.as_bytes() == name);
            place.map(ServerId::from_index).ok_or_else(|| at("server", name))
        };
        let event = match row.event {
            b"open" => {
                let conn = conn()?;
                if open.insert(conn, rows.len()).is_some() {
                    let message = format!("request {conn} is opened twice");
                    return Err(CaseError::at(EVENTS, line, message));
                }
                let parts = keys.parts(row.key);
                let tries = row.tried.split(|&b| b == b' ' || b == b'|').filter(|one| !one.is_empty());
                let tried: Vec<_> = tries
                    .map(|one| named(one.split(|&b| b == b'@').next().unwrap_or_default()))
                    .collect::<Result<_, _>>()?;
                Event::Open(Request {
                    conn,
                    client: parse(row.client).ok_or_else(|| at("client", row.client))?,
                    server: if row.server.is_empty() { None } else { Some(named(row.server)?) },
                    tried: (!tried.is_empty()).then_some(tried),
                    status: number(row.status).ok_or_else(|| at("status", row.status))?,
                    closes: false,
                    ..parts
                })
            }
            b"close" => {
                let conn = conn()?;
                let opened = open.get(&conn).and_then(|&row| rows.get_mut(row));
                match opened.map(|row| &mut row.event) {
                    Some(Event::Open(request)) if !request.closes => request.closes = true,
                    _ => {
                        let message = format!("request {conn} is closed and was not open");
                        return Err(CaseError::at(EVENTS, line, message));
                    }
                }
                Event::Close { conn }
            }
            b"start" => Event::Start { conn: conn()?, server: named(row.server)? },
            b"admin" => match command(row.key, named)? {
                Some(event) => event,
                None => {
                    let what = format!("the command {} is not modelled", quote(row.key));
                    not_modelled.get_or_insert(what);
                    return Ok(());
                }
            },
            b"server_down" | b"server_up" => {
                let mode = if row.event == b"server_up" { Some(Mode::Up) } else { Mode::parse(row.key) };
                Event::Behave { server: named(row.server)?, mode: mode.ok_or_else(|| at("key", row.key))? }
            }
            b"check" => Event::Check { server: named(row.server)? },
            b"lb_state" => {
                let up = match row.key {
                    b"UP" => true,
                    b"DOWN" => false,
                    _ => return Err(at("key", row.key)),
                };
                Event::State { server: named(row.server)?, up }
            }
            _ => return Err(at("event", row.event)),
        };
        rows.push(Row { line, time, event });
        Ok(())
    })?;
    check_requests(EVENTS, manifest.requests, open.len() as u64)?;
    match not_modelled {
        Some(what) => Err(Refusal::NotModelled(what)),
        None => Ok(rows),
    }
}

/// A command of the runtime API; `None` if it is not modelled.
fn command(
    text: &[u8],
    named: impl Fn(&[u8]) -> Result<ServerId, CaseError>,
) -> Result<Option<Event>, CaseError> {
    let words: Vec<_> = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    let server = |name: &[u8]| named(name.rsplit(|&b| b == b'/').next().unwrap_or_default());
    let weight = |text: &[u8]| match text.strip_suffix(b"%") {
        Some(percent) => number(percent).map(Weight::Percent),
        None => number(text).map(Weight::Absolute),
    };
    let (name, admin) = match words[..] {
        [b"set", b"server", name, b"weight", value] | [b"set", b"weight", name, value] => {
            let server = server(name)?;
            return Ok(weight(value).map(|weight| Event::SetWeight { server, weight }));
        }
        [b"set", b"server", name, b"state", b"ready"] | [b"enable", b"server", name] => (name, Admin::Ready),
        [b"set", b"server", name, b"state", b"drain"] => (name, Admin::Drain),
        [b"set", b"server", name, b"state", b"maint"] | [b"disable", b"server", name] => (name, Admin::Maint),
        _ => return Ok(None),
    };
    Ok(Some(Event::SetAdmin { server: server(name)?, admin }))
}

/// What the key column holds depends on the case.
struct Keys<'a> {
    manifest: &'a Manifest,
    configuration: &'a Configuration,
}

impl Keys<'_> {
    /// The parts of a request that stand in its key column.
    fn parts(&self, column: &[u8]) -> Request {
        let Configuration { haproxy, cookie_name, param, hashes_uri, sample_cookie, .. } = self.configuration;
        let (text, retries) = split_log(column);
        let mut request = Request {
            conn: 0,
            client: IpAddr::from([0; 4]),
            key: Vec::new(),
            cookie: None,
            persistence: Persistence::Normal,
            sample: Vec::new(),
            answer_sample: Vec::new(),
            server: None,
            tried: None,
            retries,
            status: 0,
            closes: false,
        };
        if let Some(both) = text.strip_prefix(b"sent:") {
            let (sent, set) = split_once(both, b" set:");
            request.sample = sent.to_vec();
            request.answer_sample = set.to_vec();
            return request;
        }
        let (path, header) = match haproxy.cookie {
            Some(_) if text.starts_with(b"/") => split_once(text, b" "),
            Some(_) => (&b""[..], text),
            None => (text, &b""[..]),
        };
        request.cookie = cookie(header, cookie_name).and_then(|value| haproxy.server_of_cookie(value));
        request.persistence = self.configuration.persistence.of(path);
        request.sample = match (haproxy.cookie, sample_cookie) {
            (Some(_), Some(name)) => cookie(header, name).unwrap_or_default().to_vec(),
            _ => path.to_vec(),
        };
        request.key = match param {
            Some(name) if self.manifest.key_is.contains("value") => {
                let uri = [b"/?", name.as_bytes(), b"=", path].concat();
                if path.is_empty() { Vec::new() } else { uri }
            }
            _ if *hashes_uri || haproxy.cookie.is_none() => path.to_vec(),
            _ => Vec::new(),
        };
        request
    }
}

/// Splits what HAProxy logged from the rest of a key: `rc=<retries, + if redispatched> tsc=<flags>`.
fn split_log(column: &[u8]) -> (&[u8], Option<(u32, bool)>) {
    let start = if column.starts_with(b"rc=") {
        Some(0)
    } else {
        column.windows(4).position(|window| window == b" rc=").map(|place| place + 1)
    };
    let Some(start) = start else { return (column, None) };
    let (count, _) = split_once(&column[start + 3..], b" ");
    let (count, moved) = count.strip_prefix(b"+").map_or((count, false), |count| (count, true));
    match number(count) {
        Some(count) => (column[..start].trim_ascii_end(), Some((count, moved))),
        None => (column, None),
    }
}

fn split_once<'a>(text: &'a [u8], by: &[u8]) -> (&'a [u8], &'a [u8]) {
    match text.windows(by.len()).position(|window| window == by) {
        Some(place) => (&text[..place], &text[place + by.len()..]),
        None => (text, b""),
    }
}

/// The value of a cookie in a header `Cookie`.
fn cookie<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let pairs = header.split(|&b| b == b';').map(<[u8]>::trim_ascii);
    pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).next()
}

/// The columns of one row.
struct Columns<'a> {
    t_ms: &'a [u8],
    event: &'a [u8],
    conn: &'a [u8],
    client: &'a [u8],
    key: &'a [u8],
    server: &'a [u8],
    tried: &'a [u8],
    status: &'a [u8],
}

fn for_each_row(
    bytes: &[u8],
    mut each: impl FnMut(u64, Columns<'_>) -> Result<(), CaseError>,
) -> Result<(), CaseError> {
    const NAMES: [&str; 8] = ["t_ms", "event", "conn", "client", "key", "server", "tried", "status"];
    let malformed = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        CaseError::at(EVENTS, line, error.to_string())
    };
    let mut reader = csv::ReaderBuilder::new().from_reader(bytes);
    let header = reader.byte_headers().map_err(malformed)?.clone();
    let mut places = [0; NAMES.len()];
    for (place, column) in places.iter_mut().zip(NAMES) {
        *place = header
            .iter()
            .position(|name| name == column.as_bytes())
            .ok_or_else(|| CaseError::at(EVENTS, 1, format!("no column `{column}`")))?;
    }
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(malformed)? {
        let line = record.position().map_or(1, csv::Position::line);
        let [t_ms, event, conn, client, key, server, tried, status] =
            places.map(|place| record.get(place).unwrap_or_default());
        each(line, Columns { t_ms, event, conn, client, key, server, tried, status })?;
    }
    Ok(())
}

fn parse<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_haproxy_logged_is_split_from_the_key() {
        assert_eq!(split_log(b"SRV=c3 rc=+3 tsc=--DI"), (&b"SRV=c3"[..], Some((3, true))));
        assert_eq!(split_log(b"rc=0 tsc=----"), (&b""[..], Some((0, false))));
        assert_eq!(split_log(b"/a?rc=1"), (&b"/a?rc=1"[..], None));
    }

    #[test]
    fn a_cookie_is_found_by_its_exact_name() {
        assert_eq!(cookie(b"XSRV=a; SRV=b", "SRV"), Some(&b"b"[..]));
        assert_eq!(cookie(b"other=1", "SRV"), None);
    }
}
