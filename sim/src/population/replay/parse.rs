//! One line of an access log: what its fields mean, whichever format they were found by. Text is borrowed, escapes included;
//! only values inside JSON strings are unescaped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use thiserror::Error;

use super::format::{Field, FieldTexts, SessionsBy};
use super::service::{LoggedTime, parse_service};
use super::timestamp::parse_time;

/// A line of an access log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogLine<'a> {
    /// Whole seconds since the Unix epoch, in UTC.
    pub time: u32,
    /// What the time has beyond whole seconds, in nanoseconds; `None` if the log writes whole seconds.
    pub nanos: Option<u32>,
    /// Who asked: the address that connected, or the forwarded one if that was wanted and there is one.
    pub address: LogAddress<'a>,
    /// What tells the user from others on the address: the agent, or the name or cookie that was asked for and is there.
    pub user: Option<&'a [u8]>,
    /// The method; `None` if the request is none (`-`, a TLS handshake on a plain port, other noise).
    pub method: Option<&'a [u8]>,
    /// The request's target, query included; `None` if the request is none.
    pub path: Option<&'a [u8]>,
    /// The final status; 0 if there is none.
    pub status: u16,
    /// The user agent; `None` for `-` and in formats without.
    pub agent: Option<&'a [u8]>,
    /// How long the request took, if the line says it.
    pub took: Option<LoggedTime>,
    /// Whether the line ends within its agent.
    pub agent_cut: bool,
}

/// The client of a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LogAddress<'a> {
    /// An IPv4 or IPv6 address; an IPv6 zone (`%eth0`) and a port are dropped.
    Ip(IpAddr),
    /// A host name, which Apache writes under `HostnameLookups On`.
    Name(&'a [u8]),
}

/// What is wrong with a line, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error, Serialize)]
#[error("column {column}: {fault}")]
pub struct LineError {
    /// The byte at which the field that is wrong begins, from 1.
    pub column: u32,
    /// What is wrong with it.
    pub fault: LineFault,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Error, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LineFault {
    /// The client is neither an address nor a host name.
    #[error("not an address or a host name")]
    Address,
    /// The line differs from the format.
    #[error("not what the format has here")]
    Layout,
    /// The line is no JSON object.
    #[error("not a JSON object, of which each line must be one (`jq -c '.[]'` makes such lines of an array)")]
    Json,
    /// The time is in no form that is known.
    #[error("not a time such as `20/Feb/2016:00:00:45 -0500`, `2016-02-20T05:00:45Z` or `1455944445.123`")]
    Time,
    /// The time is before 1970 or after 7 February 2106.
    #[error("time outside 1970 to 2106")]
    TimeRange,
    /// The status is not of three digits.
    #[error("not a status of three digits")]
    Status,
    /// The line is longer than any that servers write.
    #[error("line longer than 131072 bytes")]
    TooLong,
}

impl LineFault {
    /// The error of this fault `at` bytes from the line's start.
    pub(super) fn at(self, at: usize) -> LineError {
        LineError { column: u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1), fault: self }
    }
}

/// What the fields of a line mean.
#[inline]
pub(super) fn interpret<'a>(
    texts: &FieldTexts<'a>,
    by: &SessionsBy,
    forwarded: bool,
) -> Result<LogLine<'a>, LineError> {
    let fault = |field, fault| texts.fault(field, fault);
    let from_proxy = if forwarded { texts.known(Field::Forwarded).and_then(first_forwarded) } else { None };
    let address = from_proxy
        .or_else(|| texts.get(Field::Address).and_then(parse_address))
        .ok_or(fault(Field::Address, LineFault::Address))?;
    let (time, nanos) = texts
        .get(Field::Time)
        .ok_or(LineFault::Time)
        .and_then(parse_time)
        .map_err(|why| fault(Field::Time, why))?;
    let request = texts.get(Field::Request).and_then(split_request);
    let (method, path) = request.map_or((None, None), |(method, path)| (Some(method), Some(path)));
    let status = match texts.get(Field::Status) {
        Some(text) => parse_status(text).ok_or(fault(Field::Status, LineFault::Status))?,
        None => 0,
    };
    let agent = texts.known(Field::Agent);
    let own = match by {
        SessionsBy::AddressAgent | SessionsBy::Address => None,
        SessionsBy::User => texts.known(Field::User),
        SessionsBy::Cookie(name) => {
            texts.known(Field::Cookie).and_then(|cookies| cookie(cookies, name.as_bytes()))
        }
    };
    Ok(LogLine {
        time,
        nanos,
        address,
        user: own,
        method: method.or_else(|| texts.known(Field::Method)),
        path: path.or_else(|| texts.known(Field::Path)),
        status,
        agent,
        took: texts.known(Field::Took).and_then(|text| parse_service(text, texts.unit())),
        agent_cut: texts.agent_cut(),
    })
}

/// The first address of an `X-Forwarded-For` header: the client, as the outermost proxy saw it.
fn first_forwarded(header: &[u8]) -> Option<LogAddress<'_>> {
    let first = header.split(|&byte| byte == b',').next()?.trim_ascii();
    parse_address(first).filter(|address| matches!(address, LogAddress::Ip(_)))
}

/// The value of the cookie `name` in a `Cookie` header; a text without `name=` anywhere is the value itself.
fn cookie<'a>(cookies: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut several = false;
    for pair in cookies.split(|&byte| byte == b';').map(<[u8]>::trim_ascii) {
        if let Some(equals) = pair.iter().position(|&byte| byte == b'=') {
            several = true;
            if &pair[..equals] == name {
                return Some(&pair[equals + 1..]).filter(|value| !value.is_empty());
            }
        }
    }
    (!several).then_some(cookies)
}

/// The address that `text` is, perhaps with a port or a zone.
pub(super) fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    match parse_address(text)? {
        LogAddress::Ip(address) => Some(address),
        LogAddress::Name(_) => None,
    }
}

#[inline]
fn parse_address(field: &[u8]) -> Option<LogAddress<'_>> {
    if let Some(address) = parse_ipv4(field) {
        return Some(LogAddress::Ip(address.into()));
    }
    let text = std::str::from_utf8(field).ok()?;
    let ip = |text: &str| text.parse::<Ipv6Addr>().ok().map(|address| LogAddress::Ip(address.into()));
    if let Some(bracketed) = text.strip_prefix('[') {
        return ip(bracketed.split_once(']')?.0);
    }
    match text.split_once(':') {
        // An IPv4 address with a port.
        Some((before, port)) if before.contains('.') && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            before.parse::<Ipv4Addr>().ok().map(|address| LogAddress::Ip(address.into()))
        }
        Some(_) => ip(text.split_once('%').map_or(text, |(address, _zone)| address)),
        // Underscores are no part of host names, but resolvers return them.
        None => field
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
            .then_some(LogAddress::Name(field))
            .filter(|_| field.iter().any(u8::is_ascii_alphabetic)),
    }
}

/// A dotted quad without leading zeros, as the standard library reads it; most lines begin with one.
#[inline]
fn parse_ipv4(field: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut parts = field.split(|&byte| byte == b'.');
    for octet in &mut octets {
        let digits = parts.next()?;
        if digits.is_empty() || digits.len() > 3 || (digits[0] == b'0' && digits.len() > 1) {
            return None;
        }
        let value = parse_number(digits)?;
        *octet = u8::try_from(value).ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

/// Method and target of a request line (RFC 9112, section 3), or `None` if it is none. The target may hold
/// spaces, which clients ought to encode and do not: it ends before the last word if that is a protocol.
fn split_request(request: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = request.iter().position(|&byte| byte == b' ')?;
    let (method, target) = (&request[..space], &request[space + 1..]);
    if method.is_empty() || target.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
        return None;
    }
    match target.iter().rposition(|&byte| byte == b' ') {
        Some(last) if target[last + 1..].starts_with(b"HTTP/") => Some((method, &target[..last])),
        _ => Some((method, target)),
    }
}

/// Whether `byte` may stand in a method (RFC 9110, section 5.6.2, "tchar").
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn parse_status(field: &[u8]) -> Option<u16> {
    match field {
        // HAProxy writes -1 where it gave no answer.
        b"-" | b"" | b"-1" => Some(0),
        [_, _, _] => parse_number(field).and_then(|status| u16::try_from(status).ok()),
        _ => None,
    }
}

/// The number below 2^64 that all-digit `field` spells.
fn parse_number(field: &[u8]) -> Option<u64> {
    if field.is_empty() {
        return None;
    }
    field.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::format::LogFormat;
    use super::*;

    const COMBINED: &[u8] = br#"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] "GET /a?b=c HTTP/1.1" 200 187 "http://r.example/" "Mozilla/5.0 (X11)""#;

    /// Reads a line of the `combined` format and hands it to `check`.
    pub(in super::super) fn combined<T>(
        line: &[u8],
        check: impl FnOnce(Result<LogLine<'_>, LineError>) -> T,
    ) -> T {
        let mut parser = LogFormat::combined().parser(&SessionsBy::AddressAgent, false).expect("fields");
        check(parser.parse(line))
    }

    fn parse(line: &[u8], check: impl FnOnce(LogLine<'_>)) {
        combined(line, |read| {
            check(read.unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(line))))
        });
    }

    fn with_request(request: &[u8]) -> Vec<u8> {
        [b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"", request, b"\" 400 0 \"-\" \"-\""].concat()
    }

    #[test]
    fn a_combined_line_gives_all_its_fields() {
        parse(COMBINED, |line| {
            assert_eq!(
                line,
                LogLine {
                    time: 1_455_944_445,
                    nanos: None,
                    address: LogAddress::Ip(Ipv4Addr::new(192, 0, 2, 7).into()),
                    user: None,
                    method: Some(b"GET"),
                    path: Some(b"/a?b=c"),
                    status: 200,
                    agent: Some(b"Mozilla/5.0 (X11)"),
                    took: None,
                    agent_cut: false,
                }
            );
        });
    }

    #[test]
    fn a_common_line_has_no_agent() {
        parse(b"192.0.2.7 - John Doe [20/Feb/2016:00:00:45 -0500] \"POST /in HTTP/1.0\" 302 -\r\n", |line| {
            assert_eq!((line.method, line.status, line.agent), (Some(&b"POST"[..]), 302, None));
        });
    }

    #[test]
    fn escaped_quotes_do_not_end_a_field() {
        // Apache's spelling, nginx's, and a backslash that is itself escaped before the closing quote.
        let apache =
            br#"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] "GET /\"x\" HTTP/1.1" 200 1 "-" "say \"hi\" \\""#;
        parse(apache, |line| {
            assert_eq!((line.path, line.agent), (Some(&br#"/\"x\""#[..]), Some(&br#"say \"hi\" \\"#[..])));
        });
        let nginx =
            br#"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] "GET /\x22 HTTP/1.1" 200 1 "-" "a\x22b\x5C""#;
        parse(nginx, |line| {
            assert_eq!((line.path, line.agent), (Some(&br"/\x22"[..]), Some(&br"a\x22b\x5C"[..])));
        });
    }

    #[test]
    fn addresses_may_be_of_either_family_or_names_and_may_have_ports() {
        for (field, address) in [
            ("2001:db8::1", LogAddress::Ip("2001:db8::1".parse().expect("an address"))),
            ("::ffff:192.0.2.1", LogAddress::Ip("::ffff:192.0.2.1".parse().expect("an address"))),
            ("fe80::1%eth0", LogAddress::Ip("fe80::1".parse().expect("an address"))),
            ("192.0.2.1:8080", LogAddress::Ip("192.0.2.1".parse().expect("an address"))),
            ("[2001:db8::1]:443", LogAddress::Ip("2001:db8::1".parse().expect("an address"))),
            ("Host-7.example.net", LogAddress::Name(b"Host-7.example.net")),
        ] {
            let line = format!("{field} - - [20/Feb/2016:00:00:45 -0500] \"GET / HTTP/1.1\" 200 1");
            parse(line.as_bytes(), |line| assert_eq!(line.address, address, "{field}"));
        }
    }

    #[test]
    fn a_request_that_is_none_leaves_a_valid_line() {
        for request in
            [&b"-"[..], b"", b"\x16\x03\x01\x02", b"\\x16\\x03\\x01 \\x05", b"quit", b" / HTTP/1.1", b"GET "]
        {
            parse(&with_request(request), |line| {
                assert_eq!((line.method, line.path, line.status), (None, None, 400), "{request:?}");
            });
        }
    }

    #[test]
    fn odd_requests_are_split_where_they_can_be() {
        for (request, method, path) in [
            (&b"GET /"[..], &b"GET"[..], &b"/"[..]),
            (b"GET /a b HTTP/1.1", b"GET", b"/a b"),
            (b"PROPFIND /\xff\xfe HTTP/1.1", b"PROPFIND", b"/\xff\xfe"),
            (b"OPTIONS * HTTP/1.0", b"OPTIONS", b"*"),
        ] {
            parse(&with_request(request), |line| {
                assert_eq!((line.method, line.path), (Some(method), Some(path)))
            });
        }
    }

    #[test]
    fn fields_after_the_agent_are_ignored() {
        let line = [COMBINED, b" \"10.0.0.1\" 0.003"].concat();
        parse(&line, |line| assert_eq!(line.agent, Some(&b"Mozilla/5.0 (X11)"[..])));
    }

    #[test]
    fn each_fault_is_reported_at_the_column_of_its_field() {
        for (line, column, fault) in [
            (&b""[..], 1, LineFault::Layout),
            (b"example.com:x 192.0.2.7 - [20/Feb/2016:00:00:45 -0500] \"-\" 400 0", 1, LineFault::Address),
            (b"192.0.2.256 - - [20/Feb/2016:00:00:45 -0500] \"-\" 400 0", 1, LineFault::Address),
            (b"192.0.2.7", 1, LineFault::Layout),
            (b"192.0.2.7 - - 20/Feb/2016:00:00:45", 13, LineFault::Layout),
            (b"192.0.2.7 - - [20/Foo/2016:00:00:45 -0500] \"-\" 400 0", 16, LineFault::Time),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500", 16, LineFault::Layout),
            (b"192.0.2.7 - - [20/Feb/1950:00:00:45 -0500] \"-\" 400 0", 16, LineFault::TimeRange),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"GET / HTTP", 45, LineFault::Layout),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\" 4000 0", 48, LineFault::Status),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\"", 46, LineFault::Layout),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\" 400 0 \"-\"", 56, LineFault::Layout),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\" 400 0 \"-\" \"M\"x", 61, LineFault::Layout),
        ] {
            let text = String::from_utf8_lossy(line);
            combined(line, |read| assert_eq!(read, Err(LineError { column, fault }), "{text}"));
        }
    }

    #[test]
    fn a_line_cut_within_its_agent_is_valid_and_one_cut_before_is_not() {
        let agent = COMBINED.len() - b"Mozilla/5.0 (X11)\"".len();
        for length in 0..COMBINED.len() {
            let cut = &COMBINED[..length];
            // A cut within or right after the bytes leaves a line of the `common` format.
            let common = [" 1", " 18", " 187", " 187 "].iter().any(|end| cut.ends_with(end.as_bytes()));
            combined(cut, |read| {
                assert_eq!(read.is_ok(), common || length >= agent, "{}", String::from_utf8_lossy(cut));
                if let (Ok(line), true) = (read, length >= agent) {
                    assert_eq!(
                        (line.agent.unwrap_or_default(), line.agent_cut),
                        (cut[agent..].trim_ascii_end(), true)
                    );
                }
            });
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_or_is_the_whole_value() {
        assert_eq!(cookie(b"a=1; sid=f00;b=2", b"sid"), Some(&b"f00"[..]));
        assert_eq!(cookie(b"f00", b"sid"), Some(&b"f00"[..]));
        assert_eq!(cookie(b"a=1; xsid=2", b"sid"), None);
        assert_eq!(cookie(b"sid=; a=1", b"sid"), None);
    }
}
