//! HAProxy's HTTP log (`option httplog`; HAProxy 2.6 configuration manual, section 8.2.3), with or without the head of a
//! syslog line before it:
//!
//! ```text
//! client:port [date] frontend backend/server timers status bytes cookie cookie state conns queues {headers} "request"
//! ```
//!
//! The date is that of the connection's acceptance (or the request's), in the machine's local time without an offset: it is
//! read as UTC. Captured request headers have no names in the log; the option `headers=` gives them, in the order of the
//! configuration's `capture` lines. What follows the request (`option httpslog`) is left alone. A line of `option tcplog`, with three
//! timers, is a request without path, method or status.

use memchr::memmem;

use super::super::parse::{LineError, LineFault};
use super::super::service::TimeUnit;
use super::{Field, Fields};

/// The format with what it was told.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Haproxy {
    /// By place among the captured request headers: what it is.
    headers: Vec<Option<Field>>,
    /// Whether the captured cookie tells users apart.
    cookie: bool,
}

impl Haproxy {
    /// `options`: nothing, or `headers=user-agent|x-forwarded-for`.
    pub fn new(options: &str) -> Result<Self, String> {
        let headers = match options.trim() {
            "" => "",
            options => options
                .strip_prefix("headers=")
                .ok_or_else(|| format!("HAProxy's option is `headers=NAME|NAME`, got `{options}`"))?,
        };
        let headers = headers
            .split('|')
            .map(|name| match &*name.trim().to_ascii_lowercase() {
                "user-agent" => Some(Field::Agent),
                "x-forwarded-for" => Some(Field::Forwarded),
                _ => None,
            })
            .collect();
        Ok(Self { headers, cookie: false })
    }

    pub fn has(&self, field: Field) -> bool {
        self.headers.contains(&Some(field))
    }

    /// Wants the captured cookie, whichever it is.
    pub fn choose_cookie(&mut self, name: Option<&str>) -> bool {
        self.cookie = name.is_some();
        true
    }

    /// Finds the fields of `line`.
    pub fn split(&self, line: &[u8], fields: &mut Fields) -> Result<(), LineError> {
        let (address, date, mut at) = head(line).ok_or(LineFault::Layout.at(0))?;
        fields.set(Field::Address, address.0, address.1);
        fields.set(Field::Time, date.0, date.1);
        // frontend, backend/server, timers, status, bytes, two captured cookies, state, connections, queues.
        const WORDS: usize = 10;
        for word in 0..WORDS {
            let start = at;
            let length =
                line[start..].iter().position(|&byte| byte == b' ').ok_or(LineFault::Layout.at(start))?;
            if word == 2 && line[start..start + length].iter().filter(|&&byte| byte == b'/').count() == 2 {
                // Tw/Tc/Tt: a line of `option tcplog`, which has no request.
                return Ok(());
            }
            match word {
                2 => set_took(line, start, start + length, fields),
                3 => fields.set(Field::Status, start, start + length),
                5 if self.cookie => fields.set(Field::Cookie, start, start + length),
                _ => {}
            }
            at = start + length + 1;
        }
        // One group in braces is of the request if headers are captured there; a second one is of the answer.
        let mut group = 0;
        while line.get(at) == Some(&b'{') {
            let start = at + 1;
            let end = start + memmem::find(&line[start..], b"} ").ok_or(LineFault::Layout.at(at))?;
            if group == 0 {
                let mut from = start;
                for (text, field) in line[start..end].split(|&byte| byte == b'|').zip(&self.headers) {
                    if let Some(field) = *field {
                        fields.set(field, from, from + text.len());
                    }
                    from += text.len() + 1;
                }
            }
            group += 1;
            at = end + 2;
        }
        if line.get(at) != Some(&b'"') {
            return Err(LineFault::Layout.at(at));
        }
        // The request's quotes are not escaped, and nothing in quotes follows it.
        let end = line.iter().rposition(|&byte| byte == b'"').filter(|&end| end > at);
        // A line that was cut has no closing quote.
        fields.set(Field::Request, at + 1, end.unwrap_or(line.len()));
        Ok(())
    }
}

/// Tr among the timers TR/Tw/Tc/Tr/Ta: the time until the server began to answer, -1 if it did not.
fn set_took(line: &[u8], start: usize, end: usize, fields: &mut Fields) {
    const TR: usize = 3;
    let slashes =
        || line[start..end].iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| start + at);
    if let (Some(before), Some(after)) = (slashes().nth(TR - 1), slashes().nth(TR)) {
        fields.set(Field::Took, before + 1, after);
        fields.unit = TimeUnit::Millis;
    }
}

/// A range of bytes.
type Range = (usize, usize);

/// Where address and date are, and where the frontend begins: at the first `address:port [day/Mon/...] ` of the line.
fn head(line: &[u8]) -> Option<(Range, Range, usize)> {
    let bracket = memmem::find_iter(line, b" [").find(|&at| {
        let date = &line[at + 2..];
        date.len() > 20 && date[2] == b'/' && date[6] == b'/' && date[11] == b':'
    })?;
    let start = line[..bracket].iter().rposition(|&byte| byte == b' ').map_or(0, |space| space + 1);
    let colon = start + line[start..bracket].iter().rposition(|&byte| byte == b':')?;
    let date = bracket + 2;
    let end = date + memmem::find(&line[date..], b"] ")?;
    Some(((start, colon), (date, end), end + 2))
}

#[cfg(test)]
mod tests {
    use super::super::{LogFormat, SessionsBy};
    use super::*;
    use crate::population::replay::parse::LogAddress;

    /// The line of the manual's section 8.2.3, with a cookie.
    const LINE: &str = r#"Feb  6 12:14:14 localhost haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 sid=f00 - ---- 1/1/1/1/0 0/0 {Mozilla/5.0 (X11)|1wt.eu} {} "GET /index.html HTTP/1.1""#;

    #[test]
    fn a_line_of_the_manual_is_read_with_and_without_its_syslog_head() {
        let bare = &LINE[LINE.find("10.0.1.2").expect("an address")..];
        for line in [LINE, bare] {
            let format: LogFormat = "haproxy:headers=user-agent|host".parse().expect("a format");
            let mut parser = format.parser(&SessionsBy::Cookie("sid".into()), false).expect("fields");
            let line = parser.parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(line.address, LogAddress::Ip("10.0.1.2".parse().expect("an address")));
            // `date -u -d '2009-02-06 12:14:14' +%s`
            assert_eq!((line.time, line.nanos), (1_233_922_454, Some(655_000_000)));
            assert_eq!((line.path, line.status), (Some(&b"/index.html"[..]), 200));
            assert_eq!(line.took.map(|took| took.micros), Some(69_000));
            assert_eq!((line.agent, line.user), (Some(&b"Mozilla/5.0 (X11)"[..]), Some(&b"f00"[..])));
        }
    }

    #[test]
    fn ipv6_clients_bad_requests_and_cut_lines_are_read() {
        let mut parser = "haproxy"
            .parse::<LogFormat>()
            .expect("a format")
            .parser(&SessionsBy::Address, false)
            .expect("fields");
        let line = br#"2001:db8::7:40000 [06/Feb/2009:12:14:14.655] in in/<NOSRV> -1/-1/-1/-1/1 400 187 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>""#;
        let read = parser.parse(line).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.address, LogAddress::Ip("2001:db8::7".parse().expect("an address")));
        assert_eq!((read.method, read.status), (None, 400));
        let cut = &line[..line.len() - 3];
        assert!(parser.parse(cut).is_ok());
        let error = parser.parse(&line[..60]).expect_err("too short");
        assert_eq!(error.fault, LineFault::Layout);
    }

    #[test]
    fn a_connection_of_a_tcp_log_is_a_request_of_which_nothing_else_is_known() {
        let mut parser = "haproxy"
            .parse::<LogFormat>()
            .expect("a format")
            .parser(&SessionsBy::Address, false)
            .expect("fields");
        let line = "Feb  6 12:12:56 localhost haproxy[14387]: 10.0.1.2:33313 [06/Feb/2009:12:12:51.443] fnt bck/srv1 0/0/5007 212 -- 0/0/0/0/3 0/0";
        let read = parser.parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.address, LogAddress::Ip("10.0.1.2".parse().expect("an address")));
        assert_eq!((read.path, read.method, read.status), (None, None, 0));
    }

    #[test]
    fn only_headers_can_be_told() {
        assert!(Haproxy::new("ua").expect_err("no option").contains("headers=NAME"));
    }
}
