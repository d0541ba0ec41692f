//! One JSON object a line. Fields are found by their keys, those of nested objects and arrays joined by dots
//! (`request.headers.User-Agent.0`), in any case. Without a map of one's own these names are looked for, in this order: those
//! of nginx variables, of Caddy's and Traefik's access logs, and common ones.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::parse::{LineError, LineFault};
use super::super::service::TimeUnit;
use super::head::syslog_head;
use super::{Field, Fields, Slot};

/// Keys that are known without being told, in lower case; of several, the first in this list wins.
const USUAL: [(Field, &[&str]); 9] = [
    (
        Field::Address,
        &[
            "remote_addr",
            "request.client_ip",
            "request.remote_ip",
            "remote_ip",
            "client_ip",
            "clientip",
            "clienthost",
            "client_addr",
            "client",
            "ip",
            "remote_host",
            "remote",
            "source.ip",
            "host",
        ],
    ),
    (
        Field::Forwarded,
        &[
            "http_x_forwarded_for",
            "x_forwarded_for",
            "x-forwarded-for",
            "forwarded_for",
            "request.headers.x-forwarded-for.0",
            "request_x-forwarded-for",
            "http_cf_connecting_ip",
        ],
    ),
    (Field::User, &["remote_user", "user_id", "clientusername", "user", "username"]),
    (Field::Cookie, &["http_cookie", "request.headers.cookie.0", "request_cookie", "cookie", "cookies"]),
    (
        Field::Time,
        &[
            "msec",
            "time_iso8601",
            "time_local",
            "ts",
            "@timestamp",
            "timestamp",
            "startutc",
            "time",
            "datetime",
            "date",
        ],
    ),
    (Field::Request, &["request", "request_line", "http_request"]),
    (Field::Method, &["request_method", "request.method", "requestmethod", "method", "verb", "http_method"]),
    (
        Field::Path,
        &["request_uri", "request.uri", "requestpath", "uri", "path", "url", "request_path", "target"],
    ),
    (Field::Status, &["status", "status_code", "downstreamstatus", "response", "code", "response_code"]),
];

const AGENT: &[&str] = &[
    "http_user_agent",
    "request.headers.user-agent.0",
    "request_user-agent",
    "user_agent",
    "useragent",
    "user-agent",
    "agent",
    "http.user_agent",
    "ua",
];

/// How long a request took, with the unit; the first is the time in the servers behind.
const TOOK: [(&str, TimeUnit); 14] = [
    ("upstream_response_time", TimeUnit::Seconds),
    ("originduration", TimeUnit::Nanos),
    ("request_time", TimeUnit::Seconds),
    ("response_time_ms", TimeUnit::Millis),
    ("request_time_ms", TimeUnit::Millis),
    ("duration_ms", TimeUnit::Millis),
    ("latency_ms", TimeUnit::Millis),
    ("elapsed_ms", TimeUnit::Millis),
    ("took_ms", TimeUnit::Millis),
    ("responsetime_ms", TimeUnit::Millis),
    ("duration_us", TimeUnit::Micros),
    ("duration_ns", TimeUnit::Nanos),
    ("duration", TimeUnit::SecondsWithPoint),
    ("latency", TimeUnit::SecondsWithPoint),
];

/// Names of the fields in a map of one's own.
const FIELD_NAMES: [(&str, Field, TimeUnit); 14] = [
    ("address", Field::Address, TimeUnit::Seconds),
    ("forwarded", Field::Forwarded, TimeUnit::Seconds),
    ("user", Field::User, TimeUnit::Seconds),
    ("cookie", Field::Cookie, TimeUnit::Seconds),
    ("time", Field::Time, TimeUnit::Seconds),
    ("request", Field::Request, TimeUnit::Seconds),
    ("method", Field::Method, TimeUnit::Seconds),
    ("path", Field::Path, TimeUnit::Seconds),
    ("status", Field::Status, TimeUnit::Seconds),
    ("agent", Field::Agent, TimeUnit::Seconds),
    ("took_s", Field::Took, TimeUnit::Seconds),
    ("took_ms", Field::Took, TimeUnit::Millis),
    ("took_us", Field::Took, TimeUnit::Micros),
    ("took_ns", Field::Took, TimeUnit::Nanos),
];

/// Objects within objects that are looked into at most.
const DEPTH_MAX: usize = 8;

/// Which key is which field.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct JsonKeys {
    /// Sorted by the path, which is in lower case.
    paths: Vec<Target>,
    /// Every beginning of a path that ends at a dot, so that other objects are skipped whole; sorted.
    branches: Vec<String>,
}

#[derive(Clone, PartialEq, Debug)]
struct Target {
    path: String,
    field: Field,
    /// Of [`Field::Took`].
    unit: TimeUnit,
    /// Of two keys of one field the one with the lower rank wins.
    rank: u8,
}

impl JsonKeys {
    /// The usual keys, with those of `options` instead: `address=client.ip,time=at`.
    pub fn new(options: &str) -> Result<Self, String> {
        let usual = USUAL.iter().chain(std::iter::once(&(Field::Agent, AGENT)));
        let mut paths: Vec<Target> = usual
            .flat_map(|&(field, keys)| {
                let target = move |(rank, key): (u8, &&str)| Target {
                    path: (*key).to_owned(),
                    field,
                    unit: TimeUnit::Seconds,
                    rank,
                };
                (0..).zip(keys).map(target)
            })
            .collect();
        paths.extend((0..).zip(TOOK).map(|(rank, (key, unit))| Target {
            path: key.to_owned(),
            field: Field::Took,
            unit,
            rank,
        }));
        for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            let known = || FIELD_NAMES.map(|(name, ..)| name).join(", ");
            let (name, path) = option
                .split_once('=')
                .ok_or_else(|| format!("`{option}` is not FIELD=KEY; fields are {}", known()))?;
            let (_, field, unit) =
                *FIELD_NAMES.iter().find(|(known, ..)| *known == name.trim()).ok_or_else(|| {
                    format!("unknown field `{}` in `{option}`; fields are {}", name.trim(), known())
                })?;
            let path = path.trim().to_ascii_lowercase();
            paths.retain(|target| target.field != field && target.path != path);
            paths.push(Target { path, field, unit, rank: 0 });
        }
        let mut keys = Self { paths, branches: Vec::new() };
        keys.index();
        Ok(keys)
    }

    /// Wants the cookie of this name: the `Cookie` header that holds it, or a key of its own.
    pub fn choose_cookie(&mut self, name: Option<&str>) {
        match name {
            Some(name) => {
                let path = format!("cookie_{}", name.to_ascii_lowercase());
                self.paths.push(Target { path, field: Field::Cookie, unit: TimeUnit::Seconds, rank: 0 });
            }
            None => self.paths.retain(|target| target.field != Field::Cookie),
        }
        self.index();
    }

    fn index(&mut self) {
        self.paths.sort_by(|a, b| a.path.cmp(&b.path));
        self.branches = self
            .paths
            .iter()
            .flat_map(|target| target.path.match_indices('.').map(|(dot, _)| target.path[..dot].to_owned()))
            .collect();
        self.branches.sort();
        self.branches.dedup();
    }

    fn target(&self, path: &str) -> Option<&Target> {
        self.paths.binary_search_by(|target| target.path.as_str().cmp(path)).ok().map(|at| &self.paths[at])
    }

    fn is_branch(&self, path: &str) -> bool {
        self.branches.binary_search_by(|branch| branch.as_str().cmp(path)).is_ok()
    }

    /// Finds the fields of `line`; values with escapes are put into `scratch`.
    pub fn split(&self, line: &[u8], fields: &mut Fields, scratch: &mut Vec<u8>) -> Result<(), LineError> {
        scratch.clear();
        let mut walk = Walk {
            keys: self,
            line,
            fields,
            scratch,
            ranks: [u8::MAX; super::FIELDS],
            path: String::new(),
            depth: 0,
        };
        let head = syslog_head(line);
        let mut json = serde_json::Deserializer::from_slice(&line[head..]);
        if line.get(head) != Some(&b'{') {
            return Err(LineFault::Json.at(head));
        }
        let walked = Value { walk: &mut walk }.deserialize(&mut json).and_then(|()| json.end());
        walked.map_err(|error| LineFault::Json.at(head + error.column().saturating_sub(1)))
    }
}

/// One line being walked through.
struct Walk<'w, 'de> {
    keys: &'w JsonKeys,
    line: &'de [u8],
    fields: &'w mut Fields,
    scratch: &'w mut Vec<u8>,
    /// By field: the rank of the key that has given it so far.
    ranks: [u8; super::FIELDS],
    /// The keys down to the present value.
    path: String,
    depth: usize,
}

impl Walk<'_, '_> {
    /// The value at the present path is `text`, in the line from `start` on or to be kept apart.
    fn found(&mut self, text: &[u8], start: Option<usize>) {
        let Some(target) = self.keys.target(&self.path) else { return };
        let best = &mut self.ranks[target.field as usize];
        if target.rank >= *best && self.fields.slots[target.field as usize].is_some() {
            return;
        }
        *best = target.rank;
        if target.field == Field::Took {
            self.fields.unit = target.unit;
        }
        let (start, scratch) = start.map_or((self.scratch.len(), true), |start| (start, false));
        if scratch {
            self.scratch.extend_from_slice(text);
        }
        let [start, end] = [start, start + text.len()].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
        self.fields.slots[target.field as usize] = Some(Slot { scratch, start, end });
    }

    fn push(&mut self, key: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.extend(key.chars().map(|c| c.to_ascii_lowercase()));
        length
    }

    /// Whether the value at the present path, be it an object, may hold a field.
    fn is_of_use(&self) -> bool {
        self.depth < DEPTH_MAX && (self.keys.target(&self.path).is_some() || self.keys.is_branch(&self.path))
    }
}

/// The value at the present path.
struct Value<'v, 'w, 'de> {
    walk: &'v mut Walk<'w, 'de>,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        let start = (text.as_ptr() as usize).checked_sub(self.walk.line.as_ptr() as usize);
        self.walk.found(text.as_bytes(), start);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.walk.found(text.as_bytes(), None);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.walk.found(number.to_string().as_bytes(), None);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.walk.found(number.to_string().as_bytes(), None);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        // Nine digits hold a time to the nanosecond as far as a float does.
        self.walk.found(format!("{number:.9}").as_bytes(), None);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let walk = self.walk;
        walk.depth += 1;
        while let Some(length) = map.next_key_seed(Key { walk })? {
            if walk.is_of_use() {
                map.next_value_seed(Value { walk })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            walk.path.truncate(length);
        }
        walk.depth -= 1;
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let walk = self.walk;
        walk.depth += 1;
        let length = walk.push("0");
        let first = elements.next_element_seed(Value { walk })?;
        walk.path.truncate(length);
        walk.depth -= 1;
        if first.is_some() {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(())
    }
}

/// A key, which is put at the end of the present path; gives the path's length before.
struct Key<'v, 'w, 'de> {
    walk: &'v mut Walk<'w, 'de>,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_, 'de> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_, '_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<usize, E> {
        Ok(self.walk.push(key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LogFormat, SessionsBy};
    use super::*;
    use crate::population::replay::parse::{LogAddress, LogLine};

    fn read(format: &str, by: &str, forwarded: bool, line: &str, check: impl FnOnce(LogLine<'_>)) {
        let format: LogFormat = format.parse().unwrap_or_else(|error| panic!("{error}"));
        let by: SessionsBy = by.parse().expect("a way");
        let mut parser = format.parser(&by, forwarded).expect("fields");
        check(parser.parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}")));
    }

    #[test]
    fn a_caddy_line_is_read_without_a_map() {
        let line = r#"{"level":"info","ts":1455944445.1234567,"logger":"http.log.access","request":{"remote_ip":"10.0.0.1","client_ip":"198.51.100.7","proto":"HTTP/2.0","method":"GET","host":"a.example","uri":"/a\/b.css?x","headers":{"User-Agent":["Mozilla \"é\""],"X-Forwarded-For":["203.0.113.4, 10.1.1.1"],"Cookie":["a=1; sid=f00; b=2"]}},"status":304,"duration":0.001}"#;
        read("json", "cookie:sid", false, line, |line| {
            assert_eq!((line.time, line.status), (1_455_944_445, 304));
            assert!((123_456_000..123_457_000).contains(&line.nanos.expect("a fraction")));
            assert_eq!(line.address, LogAddress::Ip("198.51.100.7".parse().expect("an address")));
            assert_eq!((line.method, line.path), (Some(&b"GET"[..]), Some(&b"/a/b.css?x"[..])));
            assert_eq!(line.agent, Some("Mozilla \"é\"".as_bytes()));
            assert_eq!(line.user, Some(&b"f00"[..]));
            assert_eq!(line.took.map(|took| (took.micros, took.step)), Some((1_000, 1)));
        });
        read("json", "address", true, line, |line| {
            assert_eq!(line.address, LogAddress::Ip("203.0.113.4".parse().expect("an address")));
        });
    }

    #[test]
    fn keys_of_ones_own_come_before_the_usual_ones() {
        let line = r#"{"host":"a.example","who":{"ip":"192.0.2.9"},"at":"20/Feb/2016:00:00:45 -0500","request":"GET / HTTP/1.1","remote_addr":"192.0.2.1","status":"200"}"#;
        read("json:address=who.IP, time=at", "address", false, line, |line| {
            assert_eq!(line.address, LogAddress::Ip("192.0.2.9".parse().expect("an address")));
            assert_eq!((line.time, line.path, line.status), (1_455_944_445, Some(&b"/"[..]), 200));
        });
        read("json:time=at", "address", false, line, |line| {
            assert_eq!(
                line.address,
                LogAddress::Ip("192.0.2.1".parse().expect("an address")),
                "before `host`"
            );
        });
    }

    #[test]
    fn what_is_no_object_is_refused_where_it_breaks() {
        let mut parser = "json"
            .parse::<LogFormat>()
            .expect("a format")
            .parser(&SessionsBy::Address, false)
            .expect("fields");
        for (line, column) in
            [("[1]", 1), ("{\"a\":1", 6), ("{} x", 4), ("", 1), ("{\"ip\":\"192.0.2.1\",}", 19)]
        {
            let error = parser.parse(line.as_bytes()).expect_err("no object");
            assert_eq!((error.column, error.fault), (column, LineFault::Json), "{line}");
        }
        assert_eq!(parser.parse(b"{}").expect_err("nothing in it").fault, LineFault::Address);
        let deep = format!("{}1{}", "{\"request\":".repeat(60), "}".repeat(60));
        assert_eq!(parser.parse(deep.as_bytes()).expect_err("no address").fault, LineFault::Address);
    }

    #[test]
    fn a_wrong_map_names_the_fields() {
        for (options, why) in [("ip", "is not FIELD=KEY"), ("ip=x", "unknown field `ip`")] {
            let error = JsonKeys::new(options).expect_err("no map");
            assert!(error.contains(why) && error.contains("address"), "{error}");
        }
    }
}
