//! Formats as text with variables: nginx's `log_format` (nginx 1.22.1 `ngx_http_log_module.c`,
//! `ngx_http_log_compile_format`) and Apache's `LogFormat` (httpd 2.4 manual, "mod_log_config").
//!
//! Values are found by the text around them. A value in quotes ends at a quote without a backslash before it: Apache escapes
//! quotes as `\"` (`server/util.c`, `ap_escape_logitem`), nginx as `\x22` or, with `escape=json`, `\"`. Any other value ends
//! where the format's next text begins; nginx's lists (`10.0.0.1:80, 10.0.0.2:80`) go on after a comma.

use memchr::{memchr, memchr2};

use super::super::parse::{LineError, LineFault};
use super::super::service::TimeUnit;
use super::head::syslog_head;
use super::{Field, Fields};

/// A compiled format.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Template {
    pieces: Vec<Piece>,
    /// The text after the last variable.
    end: Vec<u8>,
    /// The piece before which a line may end.
    optional_from: usize,
}

/// A text and the variable after it.
#[derive(Clone, PartialEq, Debug)]
struct Piece {
    text: Vec<u8>,
    variable: Variable,
    /// Which field the value is, as far as it is wanted.
    field: Option<Field>,
    /// Spaces that belong to the value, as in a time of several words.
    spaces: usize,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Variable {
    Field(Field),
    /// How long the request took in the servers behind (`true`), or in all.
    Took(TimeUnit, bool),
    /// A cookie by its name.
    Cookie(String),
    /// The `Cookie` header.
    Cookies,
    /// Of no use here.
    Other,
}

impl Template {
    /// Reads a format in either spelling, or the whole directive with its quotes.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = undress(text)?;
        if text.contains('$') {
            Self::nginx(&text)
        } else if text.contains('%') {
            Self::apache(&text)
        } else {
            Err(format!("`{text}` has no variable"))
        }
    }

    fn nginx(text: &str) -> Result<Self, String> {
        let mut parts = Parts::default();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            parts.text(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            let name = if let Some(braced) = rest.strip_prefix('{') {
                let end = braced.find('}').ok_or("a `${` without its `}`")?;
                rest = &braced[end + 1..];
                &braced[..end]
            } else {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                let name = &rest[..end];
                rest = &rest[end..];
                name
            };
            if name.is_empty() {
                return Err("a `$` without a name".into());
            }
            parts.variable(nginx_variable(name), &format!("${name}"), 0)?;
        }
        parts.text(rest);
        parts.finish()
    }

    pub fn apache(text: &str) -> Result<Self, String> {
        let mut parts = Parts::default();
        let mut rest = text;
        while let Some(percent) = rest.find('%') {
            parts.text(&rest[..percent]);
            rest = &rest[percent + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                parts.text("%");
                rest = after;
                continue;
            }
            let spelled = rest;
            // Conditions on the status (`%!200,304{…}i`) and on which request (`%>s`) do not change the place.
            rest =
                rest.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '!' | ',' | '<' | '>'));
            let mut argument = None;
            if let Some(braced) = rest.strip_prefix('{') {
                let end = braced.find('}').ok_or("a `%{` without its `}`")?;
                argument = Some(&braced[..end]);
                rest = braced[end + 1..].trim_start_matches(['<', '>']);
            }
            let length = match rest.as_bytes() {
                [] => return Err("a `%` without a letter".into()),
                // `%^FB`, and trailers `%{…}^ti`, have three characters.
                [b'^', ..] => 3,
                _ => rest.chars().next().map_or(1, char::len_utf8),
            };
            let letter = rest.get(..length).ok_or("a `%^` without its two letters")?;
            rest = &rest[length..];
            let spelled = format!("%{}", &spelled[..spelled.len() - rest.len()]);
            match (letter, argument) {
                ("t", None) => {
                    parts.text("[");
                    parts.variable(Variable::Field(Field::Time), &spelled, 0)?;
                    parts.text("]");
                }
                ("t", Some(time)) => {
                    let fraction = time.ends_with("_frac");
                    let variable = if fraction { Variable::Other } else { Variable::Field(Field::Time) };
                    parts.variable(variable, &spelled, time.matches(' ').count())?;
                }
                // Query and its question mark, which may be nothing, stick to the path.
                ("q", None) => {}
                _ => parts.variable(apache_variable(letter, argument), &spelled, 0)?,
            }
        }
        parts.text(rest);
        parts.finish()
    }

    /// Fields parted by one text, each with its name and the spaces that belong to it.
    pub fn of_fields(fields: &[(Variable, &str, usize)], between: &str) -> Result<Self, String> {
        let mut parts = Parts::default();
        for (number, (variable, name, spaces)) in fields.iter().enumerate() {
            parts.text(if number > 0 { between } else { "" });
            parts.variable(variable.clone(), name, *spaces)?;
        }
        parts.finish()
    }

    /// Lets lines end where the shorter format `text` ends.
    pub fn may_end_after(&mut self, text: &str) {
        if let Ok(shorter) = Self::apache(text) {
            self.optional_from = shorter.pieces.len();
        }
    }

    pub fn has(&self, field: Field) -> bool {
        self.pieces.iter().any(|piece| piece.field == Some(field))
    }

    /// Wants the cookie of this name; whether there is one.
    pub fn choose_cookie(&mut self, name: Option<&str>) -> bool {
        let Some(name) = name else { return true };
        let wanted = |piece: &Piece| matches!(&piece.variable, Variable::Cookie(own) if own == name);
        let at = self
            .pieces
            .iter()
            .position(wanted)
            .or_else(|| self.pieces.iter().position(|piece| piece.variable == Variable::Cookies));
        if let Some(at) = at {
            self.pieces[at].field = Some(Field::Cookie);
        }
        at.is_some()
    }

    /// Finds the fields of `line`.
    #[inline]
    pub fn split(&self, line: &[u8], fields: &mut Fields) -> Result<(), LineError> {
        // What syslog puts before a line looks like a host's name to a format that begins with one.
        let mut at = match self.pieces.first() {
            Some(Piece { text, field: Some(Field::Address), .. }) if text.is_empty() => syslog_head(line),
            _ => 0,
        };
        for (number, piece) in self.pieces.iter().enumerate() {
            if !starts_with(line, at, &piece.text) {
                if at == line.len() && number >= self.optional_from {
                    return Ok(());
                }
                return Err(LineFault::Layout.at(at));
            }
            at += piece.text.len();
            let next = self.pieces.get(number + 1).map_or(&self.end, |piece| &piece.text);
            let end = match value_end(line, at, piece, next) {
                Some(end) => end,
                None if piece.field == Some(Field::Agent) && next.first() == Some(&b'"') => {
                    fields.agent_cut = true;
                    line.len()
                }
                None if number + 1 == self.optional_from => line.len(),
                None => return Err(LineFault::Layout.at(at)),
            };
            if let Some(field) = piece.field {
                fields.set(field, at, end);
                if let Variable::Took(unit, _) = piece.variable {
                    fields.unit = unit;
                }
            }
            at = end;
            if fields.agent_cut {
                return Ok(());
            }
        }
        if !starts_with(line, at, &self.end) {
            return Err(LineFault::Layout.at(at));
        }
        at += self.end.len();
        // Many sites append fields of their own to a known format.
        if at < line.len() && line[at] != b' ' {
            return Err(LineFault::Layout.at(at));
        }
        Ok(())
    }
}

#[inline]
fn starts_with(line: &[u8], at: usize, text: &[u8]) -> bool {
    line.get(at..).is_some_and(|rest| rest.starts_with(text))
}

/// Where the value that begins at `start` ends, `next` being the text after it.
#[inline]
fn value_end(line: &[u8], start: usize, piece: &Piece, next: &[u8]) -> Option<usize> {
    match next {
        [] => Some(line.len()),
        [b'"', ..] if piece.text.last() == Some(&b'"') => {
            let mut at = start;
            loop {
                at += memchr2(b'"', b'\\', line.get(at..)?)?;
                if line[at] == b'"' {
                    return Some(at);
                }
                // A backslash takes the meaning from the byte that follows.
                at += 2;
            }
        }
        [b' ' | b'\t', ..] => {
            let mut at = start;
            let mut spaces = piece.spaces;
            loop {
                at = find(line, at, next)?;
                if spaces == 0 && (at == start || line[at - 1] != b',') {
                    return Some(at);
                }
                spaces = spaces.saturating_sub(1);
                at += 1;
            }
        }
        // What stands before a colon is a name or an address.
        b":" => memchr2(b':', b' ', line.get(start..)?)
            .map(|length| start + length)
            .filter(|&end| line[end] == b':'),
        _ => find(line, start, next),
    }
}

/// The first place from `at` on where `line` goes on with `text`, which is short: building a searcher would take longer.
#[inline]
fn find(line: &[u8], mut at: usize, text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    loop {
        at += memchr(first, line.get(at..)?)?;
        if line[at..].starts_with(text) {
            return Some(at);
        }
        at += 1;
    }
}

/// Pieces being collected.
#[derive(Default)]
struct Parts {
    pieces: Vec<Piece>,
    text: String,
}

impl Parts {
    fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn variable(&mut self, variable: Variable, spelled: &str, spaces: usize) -> Result<(), String> {
        if self.text.is_empty() && !self.pieces.is_empty() {
            return Err(format!(
                "nothing stands between `{spelled}` and the variable before it, so neither has an end"
            ));
        }
        let field = match &variable {
            Variable::Field(field) => Some(*field),
            Variable::Took(..) => Some(Field::Took),
            Variable::Cookie(_) | Variable::Cookies | Variable::Other => None,
        };
        if matches!(variable, Variable::Took(_, true)) {
            // The time in the servers behind is nearer to their service than that of the whole request.
            self.pieces
                .iter_mut()
                .filter(|piece| matches!(piece.variable, Variable::Took(_, false)))
                .for_each(|piece| piece.field = None);
        }
        // A field that is there twice is taken where it stands first.
        let field = field.filter(|_| self.pieces.iter().all(|piece| piece.field != field));
        let text = std::mem::take(&mut self.text).into_bytes();
        self.pieces.push(Piece { text, variable, field, spaces });
        Ok(())
    }

    fn finish(self) -> Result<Template, String> {
        let has = |field| self.pieces.iter().any(|piece| piece.field == Some(field));
        if !has(Field::Address) && !has(Field::Forwarded) {
            return Err("it has no client's address: `$remote_addr` in nginx, `%h` or `%a` in Apache".into());
        }
        if !has(Field::Time) {
            return Err(
                "it has no time: `$time_local`, `$time_iso8601` or `$msec` in nginx, `%t` in Apache".into()
            );
        }
        Ok(Template {
            optional_from: self.pieces.len() + 1,
            pieces: self.pieces,
            end: self.text.into_bytes(),
        })
    }
}

fn nginx_variable(name: &str) -> Variable {
    Variable::Field(match name {
        "request_time" => return Variable::Took(TimeUnit::Seconds, false),
        "upstream_response_time" => return Variable::Took(TimeUnit::Seconds, true),
        "remote_addr" | "realip_remote_addr" => Field::Address,
        "http_x_forwarded_for" | "http_x_real_ip" | "http_cf_connecting_ip" | "proxy_add_x_forwarded_for" => {
            Field::Forwarded
        }
        "remote_user" => Field::User,
        "time_local" | "time_iso8601" | "msec" => Field::Time,
        "request" => Field::Request,
        "request_method" => Field::Method,
        "request_uri" | "uri" | "document_uri" => Field::Path,
        "status" => Field::Status,
        "http_user_agent" => Field::Agent,
        "http_cookie" => return Variable::Cookies,
        _ => {
            return match name.strip_prefix("cookie_") {
                Some(cookie) => Variable::Cookie(cookie.to_owned()),
                None => Variable::Other,
            };
        }
    })
}

fn apache_variable(letter: &str, argument: Option<&str>) -> Variable {
    let header = argument.unwrap_or_default().to_ascii_lowercase();
    Variable::Field(match (letter, &*header) {
        ("h" | "a", "" | "c") => Field::Address,
        ("u", "") => Field::User,
        ("r", "") => Field::Request,
        ("m", "") => Field::Method,
        ("U", "") => Field::Path,
        ("s", "") => Field::Status,
        ("i", "x-forwarded-for" | "x-real-ip" | "cf-connecting-ip") => Field::Forwarded,
        ("i", "user-agent") => Field::Agent,
        ("D", "") | ("T", "us") => return Variable::Took(TimeUnit::Micros, false),
        ("T", "" | "s") => return Variable::Took(TimeUnit::Seconds, false),
        ("T", "ms") => return Variable::Took(TimeUnit::Millis, false),
        ("i", "cookie") => return Variable::Cookies,
        ("C", _) => return Variable::Cookie(argument.unwrap_or_default().to_owned()),
        _ => return Variable::Other,
    })
}

/// The format inside a whole directive: `log_format main '…' '…';`, `LogFormat "…" combined`; other text is itself. Both programs
/// write a tab as `\t`.
fn undress(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    if !lower.starts_with("log_format ") && !lower.starts_with("logformat ") {
        return Ok(text.replace("\\t", "\t"));
    }
    let mut inside = String::new();
    let mut quote = None;
    let mut escaped = false;
    for c in text.chars() {
        match quote {
            Some(_) if escaped => {
                if !matches!(c, '"' | '\'' | '\\') {
                    inside.push('\\');
                }
                inside.push(c);
                escaped = false;
            }
            Some(_) if c == '\\' => escaped = true,
            Some(end) if c == end => quote = None,
            Some(_) => inside.push(c),
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => {}
        }
    }
    if inside.is_empty() || quote.is_some() {
        return Err("the directive's format must stand in quotes".into());
    }
    Ok(inside.replace("\\t", "\t"))
}

#[cfg(test)]
mod tests {
    use super::super::{LogFormat, SessionsBy};
    use super::*;
    use crate::population::replay::parse::LogAddress;

    fn read(format: &str, by: &str, line: &str, check: impl FnOnce(crate::population::replay::LogLine<'_>)) {
        let format: LogFormat = format.parse().unwrap_or_else(|error| panic!("{error}"));
        let by: SessionsBy = by.parse().expect("a way");
        let mut parser = format.parser(&by, format.name().contains("orward")).expect("fields");
        check(parser.parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}")));
    }

    #[test]
    fn an_nginx_format_of_ones_own_is_read() {
        let format = "log_format timed '$remote_addr - ${remote_user} [$time_iso8601] $host \"$request_method $request_uri\" '\n  \
                      '$status rt=$request_time ua=\"$http_user_agent\" us=\"$upstream_addr\" sid=$cookie_sid $upstream_response_time';";
        let line = "198.51.100.7 - - [2016-02-20T00:00:45-05:00] a.example \"GET /x?y=1\" 200 rt=0.003 \
                    ua=\"say \\x22hi\\x22\" us=\"10.0.0.1:80, 10.0.0.2:80\" sid=f00 0.001, 0.002";
        read(format, "cookie:sid", line, |line| {
            assert_eq!(line.time, 1_455_944_445);
            assert_eq!((line.method, line.path), (Some(&b"GET"[..]), Some(&b"/x?y=1"[..])));
            assert_eq!((line.status, line.agent), (200, Some(&br"say \x22hi\x22"[..])));
            assert_eq!(line.user, Some(&b"f00"[..]));
            assert_eq!(line.took.map(|took| took.micros), Some(2_000), "of the last server that was tried");
        });
    }

    #[test]
    fn an_apache_format_of_ones_own_is_read() {
        let format = r#"LogFormat "%{%Y-%m-%d %H:%M:%S}t.%{msec_frac}t %a %>s \"%r\" \"%{User-Agent}i\" \"%{X-Forwarded-For}i\" %D" timed"#;
        let line = r#"2016-02-20 05:00:45.123 10.0.0.9 404 "GET /a HTTP/1.1" "Mozilla \"x\"" "203.0.113.5, 10.0.0.1" 1532"#;
        read(format, "address_agent", line, |line| {
            assert_eq!((line.time, line.status), (1_455_944_445, 404));
            assert_eq!(line.address, LogAddress::Ip("203.0.113.5".parse().expect("an address")));
            assert_eq!(line.agent, Some(&br#"Mozilla \"x\""#[..]));
            assert_eq!(line.took.map(|took| took.micros), Some(1_532));
        });
    }

    #[test]
    fn nginx_json_templates_and_lists_without_quotes_are_read() {
        let format =
            r#"{"at":$msec,"ip":"$remote_addr","up":"$upstream_addr","ua":"$http_user_agent","s":$status}"#;
        let line = r#"{"at":1455944445.250,"ip":"2001:db8::1","up":"-","ua":"a \"b\"","s":204}"#;
        read(format, "address", line, |line| {
            assert_eq!((line.time, line.nanos, line.status), (1_455_944_445, Some(250_000_000), 204));
        });
        read(
            "$remote_addr $upstream_addr $msec",
            "address",
            "192.0.2.1 10.0.0.1:80, 10.0.0.2:80 1455944445",
            |line| {
                assert_eq!((line.time, line.nanos), (1_455_944_445, None));
            },
        );
    }

    #[test]
    fn formats_that_cannot_be_read_say_why() {
        for (format, why) in [
            ("no variables", "has no variable"),
            ("$remote_addr$msec", "nothing stands between `$msec` and the variable before"),
            ("$request $msec", "no client's address"),
            ("%h %r", "no time"),
            ("%h %{User-Agent", "a `%{` without its `}`"),
            ("$remote_addr ${msec", "a `${` without its `}`"),
            ("$remote_addr $", "a `$` without a name"),
            ("%h %t %", "a `%` without a letter"),
            ("%h %t %^", "a `%^` without its two letters"),
            ("log_format main $remote_addr;", "must stand in quotes"),
        ] {
            assert!(Template::new(format).expect_err("no format").contains(why), "{format}");
        }
    }

    #[test]
    fn a_line_of_another_format_is_refused_where_it_differs() {
        let format: LogFormat = "vhost_combined".parse().expect("a format");
        let mut parser = format.parser(&SessionsBy::AddressAgent, false).expect("fields");
        let line =
            br#"a.example:80 192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] "GET / HTTP/1.1" 200 1 "-" "A""#;
        assert!(parser.parse(line).is_ok());
        let error = parser.parse(&line[13..]).expect_err("no name and port");
        assert_eq!((error.column, error.fault), (1, LineFault::Layout));
    }
}
