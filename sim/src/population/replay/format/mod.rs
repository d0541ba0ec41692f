//! Formats of access logs: which bytes of a line say what.
//!
//! A format is compiled once into a [`LineParser`], which finds in each line the fields that a replay needs and leaves the
//! rest alone. Four families cover what the usual servers write:
//!
//! - [`template`]: text with variables, as nginx's `log_format` and Apache's `LogFormat` spell it; the predefined `combined`,
//!   `common`, `vhost_combined` and `main` are such texts;
//! - [`json`]: one JSON object a line, fields by their keys (Caddy, Traefik, nginx with `escape=json`);
//! - [`haproxy`]: HAProxy's logs;
//! - [`w3c`]: what IIS and CloudFront write, whose files name their fields.
//!
//! Lines may have the head that syslog puts before them.

mod detect;
mod haproxy;
mod head;
mod json;
mod template;
mod w3c;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::parse::{LineError, LineFault, LogLine, interpret};
use super::service::TimeUnit;
use haproxy::Haproxy;
use json::JsonKeys;
use template::Template;

pub(super) use detect::detect;
pub use detect::{Detected, NothingFits};

/// What a line can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Field {
    /// The address that connected, or its host name.
    Address,
    /// The client as proxies in front name it: `X-Forwarded-For`.
    Forwarded,
    /// The authenticated user.
    User,
    /// The cookie that tells users apart, or the whole `Cookie` header that holds it.
    Cookie,
    /// When.
    Time,
    /// Method, target and protocol in one.
    Request,
    /// The method alone.
    Method,
    /// The target alone.
    Path,
    /// The status.
    Status,
    /// The user agent.
    Agent,
    /// How long the request took.
    Took,
}

const FIELDS: usize = Field::Took as usize + 1;

/// Where a field's value is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Whether it is in the parser's scratch buffer, and not in the line.
    scratch: bool,
    start: u32,
    end: u32,
}

/// The fields of one line, as places.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    slots: [Option<Slot>; FIELDS],
    /// The unit of how long the request took.
    pub unit: TimeUnit,
    /// Whether the line ends within its agent.
    pub agent_cut: bool,
}

impl Fields {
    fn set(&mut self, field: Field, start: usize, end: usize) {
        let [start, end] = [start, end].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
        self.slots[field as usize] = Some(Slot { scratch: false, start, end });
    }
}

/// The fields of one line, as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldTexts<'a> {
    line: &'a [u8],
    scratch: &'a [u8],
    fields: &'a Fields,
}

impl<'a> FieldTexts<'a> {
    /// The field's text, if the line has it.
    #[inline]
    pub fn get(&self, field: Field) -> Option<&'a [u8]> {
        let slot = self.fields.slots[field as usize]?;
        let text = if slot.scratch { self.scratch } else { self.line };
        text.get(slot.start as usize..slot.end as usize)
    }

    /// As [`FieldTexts::get`], with `None` for the dash or the nothing by which programs write that there is none.
    #[inline]
    pub fn known(&self, field: Field) -> Option<&'a [u8]> {
        self.get(field).filter(|text| !matches!(*text, b"-" | b""))
    }

    /// The error that `fault` is in `field`.
    pub fn fault(&self, field: Field, fault: LineFault) -> LineError {
        let at = self.fields.slots[field as usize].filter(|slot| !slot.scratch).map_or(0, |slot| slot.start);
        LineError { column: at.saturating_add(1), fault }
    }

    /// The unit of [`Field::Took`].
    pub fn unit(&self) -> TimeUnit {
        self.fields.unit
    }

    pub fn agent_cut(&self) -> bool {
        self.fields.agent_cut
    }
}

/// What tells the users of a log apart, and so whose requests make a visit and carry a session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SessionsBy {
    /// The address with the user agent.
    #[default]
    AddressAgent,
    /// The address alone.
    Address,
    /// The authenticated user; without one, the address with the agent.
    User,
    /// The cookie of this name; without it, the address with the agent.
    Cookie(String),
}

impl fmt::Display for SessionsBy {
    /// As scenarios write it: `address_agent`, `address`, `user`, `cookie:NAME`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressAgent => f.write_str("address_agent"),
            Self::Address => f.write_str("address"),
            Self::User => f.write_str("user"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl FromStr for SessionsBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "address_agent" => Self::AddressAgent,
            "address" => Self::Address,
            "user" => Self::User,
            _ => match text.strip_prefix("cookie:") {
                Some(name) if !name.is_empty() => Self::Cookie(name.to_owned()),
                _ => {
                    return Err(format!(
                        "users are told apart by `address_agent`, `address`, `user` or `cookie:NAME`, got `{text}`"
                    ));
                }
            },
        })
    }
}

/// A format of log lines.
#[derive(Clone, PartialEq, Debug)]
pub struct LogFormat {
    name: String,
    kind: Kind,
}

#[derive(Clone, PartialEq, Debug)]
enum Kind {
    Template(Template),
    Json(JsonKeys),
    Haproxy(Haproxy),
}

/// Why a text is no log format.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "not a log format: {why}\n  a format is one of {}, or nginx's or Apache's own spelling: `$remote_addr … [$time_local] …`, \
     `%h %l %u %t …`",
    NAMES.join(", ")
)]
pub struct FormatError {
    why: String,
}

/// Names of formats; `json` and `haproxy` may be followed by a colon and options.
const NAMES: [&str; 6] = ["combined", "common", "vhost_combined", "main", "json", "haproxy"];

/// The predefined texts, in Apache's spelling (httpd 2.4, "mod_log_config", examples) since its identd field takes nginx's
/// dash; `main` is that of the configuration that comes with nginx.
const COMMON: &str = "%h %l %u %t \"%r\" %>s %b";
const COMBINED_TAIL: &str = " \"%{Referer}i\" \"%{User-Agent}i\"";

impl LogFormat {
    /// The `combined` format. A line may end after the bytes, as in the `common` format, and may go on after the agent.
    pub fn combined() -> Self {
        let mut template = built_in(&format!("{COMMON}{COMBINED_TAIL}"));
        template.may_end_after(COMMON);
        Self { name: "combined".into(), kind: Kind::Template(template) }
    }

    /// Its name, or its text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A parser of its lines that tells users apart by `by`.
    ///
    /// # Errors
    /// If lines of this format cannot tell users apart that way, or `forwarded` addresses are wanted and it has none.
    pub fn parser(&self, by: &SessionsBy, forwarded: bool) -> Result<LineParser, FormatError> {
        let lacks = |what: &str| FormatError { why: format!("`{}` has no {what}", self.name) };
        let mut kind = self.kind.clone();
        let has = |field| match &kind {
            Kind::Template(template) => template.has(field),
            Kind::Json(_) => true,
            Kind::Haproxy(haproxy) => haproxy.has(field),
        };
        if matches!(by, SessionsBy::User) && !has(Field::User) {
            return Err(lacks("field for the user (`$remote_user`, `%u`)"));
        }
        if forwarded && !has(Field::Forwarded) {
            return Err(lacks("forwarded address (`$http_x_forwarded_for`, `%{X-Forwarded-For}i`)"));
        }
        let cookie = if let SessionsBy::Cookie(name) = by { Some(name.as_str()) } else { None };
        let found = match &mut kind {
            Kind::Template(template) => template.choose_cookie(cookie),
            Kind::Json(keys) => {
                keys.choose_cookie(cookie);
                true
            }
            Kind::Haproxy(haproxy) => haproxy.choose_cookie(cookie),
        };
        if let (false, Some(name)) = (found, cookie) {
            return Err(lacks(&format!("cookie `{name}` (`$cookie_{name}`, `%{{{name}}}C`)")));
        }
        Ok(LineParser { kind, by: by.clone(), forwarded, fields: Fields::default(), scratch: Vec::new() })
    }
}

/// A template of this program's own.
fn built_in(text: &str) -> Template {
    Template::apache(text).unwrap_or_else(|why| unreachable!("the built-in format `{text}`: {why}"))
}

impl FromStr for LogFormat {
    type Err = FormatError;

    /// A name, or a text in nginx's or Apache's spelling, which may be the whole directive as it stands in the
    /// configuration.
    fn from_str(text: &str) -> Result<Self, FormatError> {
        let text = text.trim();
        let error = |why: String| FormatError { why };
        let (word, options) = text.split_once(':').unwrap_or((text, ""));
        let kind = match word {
            "combined" => return Ok(Self::combined()),
            "common" => Kind::Template(built_in(COMMON)),
            "vhost_combined" => {
                Kind::Template(built_in(&format!("%v:%p {}{COMBINED_TAIL}", COMMON.replace("%b", "%O"))))
            }
            "main" => Kind::Template(built_in(&format!("{COMMON}{COMBINED_TAIL} \"%{{X-Forwarded-For}}i\""))),
            "json" => Kind::Json(JsonKeys::new(options).map_err(error)?),
            "haproxy" => Kind::Haproxy(Haproxy::new(options).map_err(error)?),
            _ if text.starts_with(w3c::FIELDS) => {
                Kind::Template(w3c::template(text, text.contains('\t')).map_err(error)?)
            }
            _ => Kind::Template(Template::new(text).map_err(error)?),
        };
        Ok(Self { name: text.to_owned(), kind })
    }
}

/// Reads the lines of one format. Values that had to be unescaped live in it until the next line.
#[derive(Clone, Debug)]
pub struct LineParser {
    kind: Kind,
    by: SessionsBy,
    forwarded: bool,
    fields: Fields,
    scratch: Vec<u8>,
}

impl LineParser {
    /// Reads `line`, whose end-of-line characters may still be there.
    ///
    /// # Errors
    /// The first field that is wrong. A request that is no request is fine: real logs have them, with status 400.
    #[inline]
    pub fn parse<'a>(&'a mut self, line: &'a [u8]) -> Result<LogLine<'a>, LineError> {
        let line = line.trim_ascii_end();
        self.fields = Fields::default();
        match &self.kind {
            Kind::Template(template) => template.split(line, &mut self.fields)?,
            Kind::Json(keys) => keys.split(line, &mut self.fields, &mut self.scratch)?,
            Kind::Haproxy(haproxy) => haproxy.split(line, &mut self.fields)?,
        }
        let texts = FieldTexts { line, scratch: &self.scratch, fields: &self.fields };
        interpret(&texts, &self.by, self.forwarded)
    }
}

impl LineParser {
    /// Where the line that was read last has values that name its client: address and forwarded addresses, in its order.
    pub(super) fn names(&self) -> Vec<std::ops::Range<usize>> {
        let slots = [Field::Address, Field::Forwarded]
            .into_iter()
            .filter_map(|field| self.fields.slots[field as usize]);
        let mut ranges: Vec<_> =
            slots.filter(|slot| !slot.scratch).map(|slot| slot.start as usize..slot.end as usize).collect();
        ranges.sort_by_key(|range| range.start);
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<LogFormat>().expect_err("no format").to_string()
    }

    #[test]
    fn every_name_is_a_format_and_a_wrong_word_names_them_all() {
        for name in NAMES {
            assert_eq!(name.parse::<LogFormat>().expect("a format").name(), name);
        }
        let message = refusal("combinde");
        assert!(
            message.contains("`combinde` has no variable") && message.contains("vhost_combined"),
            "{message}"
        );
    }

    #[test]
    fn a_format_that_cannot_tell_users_apart_as_asked_is_refused() {
        let refused = |format: &str, by: SessionsBy, forwarded| {
            let format: LogFormat = format.parse().expect("a format");
            format.parser(&by, forwarded).expect_err("refused").to_string()
        };
        assert!(refused("combined", SessionsBy::AddressAgent, true).contains("no forwarded address"));
        assert!(refused("combined", SessionsBy::Cookie("sid".into()), false).contains("`$cookie_sid`"));
        assert!(refused("$remote_addr [$time_local]", SessionsBy::User, false).contains("`$remote_user`"));
    }

    #[test]
    fn ways_to_tell_users_apart_are_read_as_they_print() {
        for by in ["address_agent", "address", "user", "cookie:PHPSESSID"] {
            assert_eq!(by.parse::<SessionsBy>().expect("a way").to_string(), by);
        }
        assert!("cookie:".parse::<SessionsBy>().is_err() && "agent".parse::<SessionsBy>().is_err());
    }
}
