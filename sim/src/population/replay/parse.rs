//! One line of an access log in the `combined` or `common` format, borrowed: nothing is copied or unescaped.
//!
//! ```text
//! address ident user [day/Mon/year:hour:minute:second offset] "request" status bytes "referer" "agent"
//! ```
//!
//! The format is Apache's `"%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-agent}i\""` (httpd 2.4 manual, "Log
//! Files") and nginx's predefined `combined` (nginx 1.22.1 `ngx_http_log_module.c`, `ngx_http_combined_fmt`);
//! `common` ends after the bytes. Apache escapes a quote inside a field as `\"` (`server/util.c`,
//! `ap_escape_logitem`), nginx as `\x22` (`ngx_http_log_escape`): in both a backslash never stands before the quote
//! that ends the field. Fields after the agent are ignored, since the configuration file that comes with nginx
//! appends `"$http_x_forwarded_for"`. A line that ends within its agent is valid: senders with a limit on the length
//! (syslog) cut there, and the request took place; the agent is what is left of it. A line of `vhost_combined` is
//! refused: it begins with a name and a port, which must not pass for an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use thiserror::Error;

use super::timestamp::{TIME_BYTES, parse_time};

/// A line of an access log; text fields are the bytes between the separators, escapes included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogLine<'a> {
    /// Whole seconds since the Unix epoch, in UTC.
    pub time: u32,
    /// Who asked.
    pub address: LogAddress<'a>,
    /// The authenticated user; `None` for `-`. Apache does not escape its spaces.
    pub user: Option<&'a [u8]>,
    /// The method; `None` if the request is none (`-`, a TLS handshake on a plain port, other noise).
    pub method: Option<&'a [u8]>,
    /// The request's target, query included; `None` if the request is none.
    pub path: Option<&'a [u8]>,
    /// The protocol, such as `HTTP/1.1`; `None` for HTTP/0.9 or if the request is none.
    pub protocol: Option<&'a [u8]>,
    /// The final status; 0 for `-`.
    pub status: u16,
    /// Bytes of the answer's body; `None` for `-`, by which Apache says 0.
    pub bytes: Option<u64>,
    /// The referring page; `None` for `-` and in the `common` format.
    pub referer: Option<&'a [u8]>,
    /// The user agent; `None` for `-` and in the `common` format.
    pub agent: Option<&'a [u8]>,
    /// Whether the line ends within its agent.
    pub agent_cut: bool,
}

/// The first field of a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LogAddress<'a> {
    /// An IPv4 or IPv6 address; an IPv6 zone (`%eth0`) is dropped.
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LineFault {
    /// The first field is neither an address nor a host name.
    #[error("not an address or a host name")]
    Address,
    /// The second and third fields, or the bracket after them, are missing.
    #[error("expected ident, user and `[`")]
    User,
    /// The time is not in the form `20/Feb/2016:00:00:45 -0500]`.
    #[error("not a time such as `20/Feb/2016:00:00:45 -0500`")]
    Time,
    /// The time is before 1970 or after 7 February 2106.
    #[error("time outside 1970 to 2106")]
    TimeRange,
    /// The request is not between quotes.
    #[error("request without its quotes")]
    Request,
    /// The status is not of three digits.
    #[error("not a status of three digits")]
    Status,
    /// The bytes are neither a number below 2^64 nor `-`.
    #[error("not a number of bytes")]
    Bytes,
    /// The referer is not between quotes.
    #[error("referer without its quotes")]
    Referer,
    /// The agent is not between quotes, or something sticks to them.
    #[error("user agent without its quotes")]
    Agent,
    /// The line is longer than any that nginx or Apache write.
    #[error("line longer than 131072 bytes")]
    TooLong,
}

impl<'a> LogLine<'a> {
    /// Reads `line`, whose end-of-line characters may still be there.
    ///
    /// # Errors
    /// The first field that is wrong. A request that is no request is fine: real logs have them, with status 400.
    pub fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let mut rest = Rest { line: line.trim_ascii_end(), at: 0 };

        let address = parse_address(rest.until_space()).ok_or(rest.fault_at(0, LineFault::Address))?;
        let after_address = rest.at;
        let user = rest.user().ok_or(rest.fault_at(after_address, LineFault::User))?;

        let at = rest.at;
        let time = rest
            .time()
            .ok_or(LineFault::Time)
            .and_then(parse_time)
            .map_err(|fault| rest.fault_at(at, fault))?;

        let at = rest.at;
        let request = rest.quoted().ok_or(rest.fault_at(at, LineFault::Request))?;
        let (method, path, protocol) = match split_request(request) {
            Some((method, path, protocol)) => (Some(method), Some(path), protocol),
            None => (None, None, None),
        };

        let at = rest.at + 1;
        let status = rest.field().and_then(parse_status).ok_or(rest.fault_at(at, LineFault::Status))?;
        let at = rest.at + 1;
        let bytes = rest.field().and_then(parse_bytes).ok_or(rest.fault_at(at, LineFault::Bytes))?;

        let (mut referer, mut agent, mut agent_cut) = (None, None, false);
        if rest.at < rest.line.len() {
            let at = rest.at;
            referer = known(rest.quoted().ok_or(rest.fault_at(at, LineFault::Referer))?);
            let at = rest.at;
            if !rest.remaining().starts_with(b" \"") {
                return Err(rest.fault_at(at, LineFault::Agent));
            }
            match rest.quoted() {
                Some(whole) => agent = known(whole),
                None => (agent, agent_cut) = (Some(&rest.line[at + 2..]), true),
            }
            if !agent_cut && !matches!(rest.line.get(rest.at), None | Some(b' ')) {
                return Err(rest.fault_at(at, LineFault::Agent));
            }
        }
        Ok(Self { time, address, user, method, path, protocol, status, bytes, referer, agent, agent_cut })
    }
}

/// The part of a line that is still to be read.
struct Rest<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn fault_at(&self, at: usize, fault: LineFault) -> LineError {
        LineError { column: u32::try_from(at.min(self.line.len()) + 1).unwrap_or(u32::MAX), fault }
    }

    fn remaining(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// The bytes up to the next space or the end; the space stays.
    fn until_space(&mut self) -> &'a [u8] {
        let remaining = self.remaining();
        let length = remaining.iter().position(|&byte| byte == b' ').unwrap_or(remaining.len());
        self.at += length;
        &remaining[..length]
    }

    /// A space and a field without spaces.
    fn field(&mut self) -> Option<&'a [u8]> {
        self.skip(b' ')?;
        Some(self.until_space())
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        (self.line.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    /// ` ident user [`; the user runs to the bracket, since it may hold spaces.
    fn user(&mut self) -> Option<Option<&'a [u8]>> {
        self.field()?;
        self.skip(b' ')?;
        let remaining = self.remaining();
        let end = remaining.windows(2).position(|pair| pair == b" [")?;
        self.at += end + 2;
        Some(known(&remaining[..end]))
    }

    /// A time and its closing bracket.
    fn time(&mut self) -> Option<&'a [u8; TIME_BYTES]> {
        let (time, after) = self.remaining().split_first_chunk()?;
        (after.first() == Some(&b']')).then(|| self.at += TIME_BYTES + 1)?;
        Some(time)
    }

    /// A space and a field in quotes, without them. A backslash takes the meaning from the byte that follows.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        self.skip(b' ')?;
        self.skip(b'"')?;
        let start = self.at;
        loop {
            let remaining = self.remaining();
            self.at += remaining.iter().position(|&byte| byte == b'"' || byte == b'\\')?;
            if self.line[self.at] == b'"' {
                self.at += 1;
                return Some(&self.line[start..self.at - 1]);
            }
            self.at += 2;
        }
    }
}

/// `None` for the dash by which both programs write that there is nothing.
fn known(field: &[u8]) -> Option<&[u8]> {
    (field != b"-").then_some(field)
}

fn parse_address(field: &[u8]) -> Option<LogAddress<'_>> {
    let text = std::str::from_utf8(field).ok()?;
    if field.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return text.parse::<Ipv4Addr>().ok().map(|address| LogAddress::Ip(address.into()));
    }
    if field.contains(&b':') {
        let address = text.split_once('%').map_or(text, |(address, _zone)| address);
        return address.parse::<Ipv6Addr>().ok().map(|address| LogAddress::Ip(address.into()));
    }
    // Underscores are no part of host names, but resolvers return them.
    field
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        .then_some(LogAddress::Name(field))
        .filter(|_| field.iter().any(u8::is_ascii_alphanumeric))
}

/// Method, target and protocol.
type RequestLine<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

/// The parts of a request line (RFC 9112, section 3), or `None` if it is none. The target may hold
/// spaces, which clients ought to encode and do not: it ends before the last word if that is a protocol.
fn split_request(request: &[u8]) -> Option<RequestLine<'_>> {
    let space = request.iter().position(|&byte| byte == b' ')?;
    let (method, target) = (&request[..space], &request[space + 1..]);
    if method.is_empty() || target.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
        return None;
    }
    match target.iter().rposition(|&byte| byte == b' ') {
        Some(last) if target[last + 1..].starts_with(b"HTTP/") => {
            Some((method, &target[..last], Some(&target[last + 1..])))
        }
        _ => Some((method, target, None)),
    }
}

/// Whether `byte` may stand in a method (RFC 9110, section 5.6.2, "tchar").
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn parse_status(field: &[u8]) -> Option<u16> {
    match field {
        b"-" => Some(0),
        [_, _, _] => parse_number(field).and_then(|status| u16::try_from(status).ok()),
        _ => None,
    }
}

fn parse_bytes(field: &[u8]) -> Option<Option<u64>> {
    if field == b"-" { Some(None) } else { parse_number(field).map(Some) }
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
mod tests {
    use super::*;

    const COMBINED: &[u8] = br#"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] "GET /a?b=c HTTP/1.1" 200 187 "http://r.example/" "Mozilla/5.0 (X11)""#;

    fn parse(line: &[u8]) -> LogLine<'_> {
        LogLine::parse(line).unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(line)))
    }

    fn with_request(request: &[u8]) -> Vec<u8> {
        [b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"", request, b"\" 400 0 \"-\" \"-\""].concat()
    }

    #[test]
    fn a_combined_line_gives_all_its_fields() {
        assert_eq!(
            parse(COMBINED),
            LogLine {
                time: 1_455_944_445,
                address: LogAddress::Ip(Ipv4Addr::new(192, 0, 2, 7).into()),
                user: None,
                method: Some(b"GET"),
                path: Some(b"/a?b=c"),
                protocol: Some(b"HTTP/1.1"),
                status: 200,
                bytes: Some(187),
                referer: Some(b"http://r.example/"),
                agent: Some(b"Mozilla/5.0 (X11)"),
                agent_cut: false,
            }
        );
    }

    #[test]
    fn a_common_line_has_neither_referer_nor_agent() {
        let line = parse(b"192.0.2.7 - frank [20/Feb/2016:00:00:45 -0500] \"POST /in HTTP/1.0\" 302 -\r\n");
        assert_eq!(line.user, Some(&b"frank"[..]));
        assert_eq!(line.method, Some(&b"POST"[..]));
        assert_eq!((line.status, line.bytes, line.referer, line.agent), (302, None, None, None));
    }

    #[test]
    fn escaped_quotes_do_not_end_a_field() {
        // Apache's spelling, nginx's, and a backslash that is itself escaped before the closing quote.
        let apache =
            br#"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] "GET /\"x\" HTTP/1.1" 200 1 "-" "say \"hi\" \\""#;
        let line = parse(apache);
        assert_eq!(line.path, Some(&br#"/\"x\""#[..]));
        assert_eq!(line.agent, Some(&br#"say \"hi\" \\"#[..]));
        let nginx =
            br#"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] "GET /\x22 HTTP/1.1" 200 1 "-" "a\x22b\x5C""#;
        let line = parse(nginx);
        assert_eq!(line.path, Some(&br"/\x22"[..]));
        assert_eq!(line.agent, Some(&br"a\x22b\x5C"[..]));
    }

    #[test]
    fn addresses_may_be_of_either_family_or_names() {
        for (field, address) in [
            ("2001:db8::1", LogAddress::Ip("2001:db8::1".parse().expect("an address"))),
            ("::ffff:192.0.2.1", LogAddress::Ip("::ffff:192.0.2.1".parse().expect("an address"))),
            ("fe80::1%eth0", LogAddress::Ip("fe80::1".parse().expect("an address"))),
            ("Host-7.example.net", LogAddress::Name(b"Host-7.example.net")),
        ] {
            let line = format!("{field} - - [20/Feb/2016:00:00:45 -0500] \"GET / HTTP/1.1\" 200 1");
            assert_eq!(parse(line.as_bytes()).address, address, "{field}");
        }
    }

    #[test]
    fn a_request_that_is_none_leaves_a_valid_line() {
        for request in
            [&b"-"[..], b"", b"\x16\x03\x01\x02", b"\\x16\\x03\\x01 \\x05", b"quit", b" / HTTP/1.1", b"GET "]
        {
            let line = with_request(request);
            let line = parse(&line);
            assert_eq!((line.method, line.path, line.protocol), (None, None, None), "{request:?}");
            assert_eq!(line.status, 400);
        }
    }

    #[test]
    fn odd_requests_are_split_where_they_can_be() {
        for (request, method, path, protocol) in [
            (&b"GET /"[..], &b"GET"[..], &b"/"[..], None),
            (b"GET /a b HTTP/1.1", b"GET", b"/a b", Some(&b"HTTP/1.1"[..])),
            (b"PROPFIND /\xff\xfe HTTP/1.1", b"PROPFIND", b"/\xff\xfe", Some(b"HTTP/1.1")),
            (b"OPTIONS * HTTP/1.0", b"OPTIONS", b"*", Some(b"HTTP/1.0")),
        ] {
            let line = with_request(request);
            let line = parse(&line);
            assert_eq!((line.method, line.path, line.protocol), (Some(method), Some(path), protocol));
        }
    }

    #[test]
    fn fields_after_the_agent_are_ignored() {
        let line = [COMBINED, b" \"10.0.0.1\" 0.003"].concat();
        assert_eq!(parse(&line), parse(COMBINED));
    }

    #[test]
    fn a_user_may_hold_spaces_and_a_status_may_be_missing() {
        let line = parse(b"192.0.2.7 - John Doe [20/Feb/2016:00:00:45 -0500] \"-\" - -");
        assert_eq!((line.user, line.status), (Some(&b"John Doe"[..]), 0));
    }

    #[test]
    fn each_fault_is_reported_at_the_column_of_its_field() {
        for (line, column, fault) in [
            (&b""[..], 1, LineFault::Address),
            (b"example.com:80 192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\" 400 0", 1, LineFault::Address),
            (b"192.0.2.256 - - [20/Feb/2016:00:00:45 -0500] \"-\" 400 0", 1, LineFault::Address),
            (b"192.0.2.7", 10, LineFault::User),
            (b"192.0.2.7 - - 20/Feb/2016:00:00:45", 10, LineFault::User),
            (b"192.0.2.7 - - [20/Foo/2016:00:00:45 -0500] \"-\" 400 0", 16, LineFault::Time),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500", 16, LineFault::Time),
            (b"192.0.2.7 - - [20/Feb/1950:00:00:45 -0500] \"-\" 400 0", 16, LineFault::TimeRange),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"GET / HTTP", 43, LineFault::Request),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"GET /\\", 43, LineFault::Request),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\" 4000 0", 48, LineFault::Status),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\"", 47, LineFault::Status),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\" 400", 51, LineFault::Bytes),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\" 400 -1", 52, LineFault::Bytes),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\" 400 0 17", 53, LineFault::Referer),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\" 400 0 \"-\"", 57, LineFault::Agent),
            (b"192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\" 400 0 \"-\" \"M\"x", 57, LineFault::Agent),
        ] {
            let text = String::from_utf8_lossy(line);
            assert_eq!(LogLine::parse(line), Err(LineError { column, fault }), "{text}");
        }
    }

    #[test]
    fn bytes_beyond_64_bits_are_refused() {
        let line = |bytes: &str| format!("192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"-\" 400 {bytes}");
        assert_eq!(parse(line("18446744073709551615").as_bytes()).bytes, Some(u64::MAX));
        let over = line("18446744073709551616");
        assert_eq!(LogLine::parse(over.as_bytes()).map_err(|error| error.fault), Err(LineFault::Bytes));
    }

    #[test]
    fn a_line_cut_within_its_agent_is_valid_and_one_cut_before_is_not() {
        let agent = COMBINED.len() - b"Mozilla/5.0 (X11)\"".len();
        for length in 0..COMBINED.len() {
            let cut = &COMBINED[..length];
            // A cut within or right after the bytes leaves a line of the `common` format.
            let common = [" 1", " 18", " 187", " 187 "].iter().any(|end| cut.ends_with(end.as_bytes()));
            assert_eq!(LogLine::parse(cut).is_ok(), common || length >= agent, "{length}");
            if length >= agent {
                assert_eq!(
                    (parse(cut).agent, parse(cut).agent_cut),
                    (Some(cut[agent..].trim_ascii_end()), true)
                );
            }
        }
    }
}
