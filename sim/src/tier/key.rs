//! Keys: what a method that hashes something of a request is given, written as nginx and HAProxy write it.
//!
//! nginx 1.22.1 `hash KEY` (text with variables); HAProxy 2.6 sample fetches (`balance hash`, `stick on`). Only what a
//! simulated request shows ([`Shown`]) has a value.

use std::net::IpAddr;
use std::sync::Arc;

use super::shown::{HOST, RequestFields, Shown, Value};

/// A key, ready to be evaluated for each request.
#[derive(Clone, Debug)]
pub struct Key {
    /// As written.
    text: String,
    parts: Vec<Part>,
    fields: Arc<RequestFields>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts && self.fields == other.fields
    }
}

/// A piece of a key.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// Text between variables.
    Text(Box<[u8]>),
    /// The address, in 4 or 16 bytes.
    BinaryAddress,
    /// The path, with the query if there is one.
    RequestUri,
    /// The query.
    Args,
    /// A parameter of the query.
    Arg(Box<str>),
    /// What a field of this name holds.
    Value(Box<str>, Value),
    /// The client's number, if it sends the site's cookie.
    Cookie,
}

/// Why a key is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A variable or sample that the program does not have, or that no simulated request has a value for.
    #[error("`{name}` is not modelled")]
    Unknown {
        /// As written.
        name: String,
    },
    /// A header that no request has.
    #[error("no request has a header `{name}`")]
    NoHeader {
        /// Its name, as far as that can be told.
        name: String,
    },
    /// A parameter that no request has.
    #[error("no request has a parameter `{name}`")]
    NoParam {
        /// Its name.
        name: String,
    },
    /// Text without a variable: the same for all requests.
    #[error("a key without a variable is the same for every request")]
    Constant,
}

impl Key {
    /// Whether the client's address is part of it.
    pub fn shows_address(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::BinaryAddress | Part::Value(_, Value::Address)))
    }

    /// Whether a log's path or query can be part of it.
    pub fn shows_path(&self) -> bool {
        let fields = &self.fields.params;
        self.parts.iter().any(|part| match part {
            Part::RequestUri | Part::Args | Part::Value(_, Value::Page) => true,
            Part::Arg(name) => fields.iter().all(|(known, value)| **known != **name || *value == Value::Page),
            Part::Text(_) | Part::BinaryAddress | Part::Value(..) | Part::Cookie => false,
        })
    }

    /// nginx's variables that have a value; `arg_`, `cookie_` and `http_` go on with a name.
    pub const NGINX: [&'static str; 13] = [
        "remote_addr",
        "binary_remote_addr",
        "request_uri",
        "uri",
        "document_uri",
        "args",
        "query_string",
        "host",
        "http_user_agent",
        "http_host",
        "arg_NAME",
        "cookie_NAME",
        "http_NAME",
    ];
    /// HAProxy's sample fetches that have a value.
    pub const HAPROXY: [&'static str; 12] = [
        "src",
        "path",
        "pathq",
        "url",
        "query",
        "base",
        "url_param(NAME)",
        "urlp(NAME)",
        "req.hdr(NAME)",
        "hdr(NAME)",
        "req.cook(NAME)",
        "cook(NAME)",
    ];

    /// The argument of nginx's `hash`: text with variables, `$name` or `${name}`. A variable alone may be written without its
    /// `$`.
    ///
    /// # Errors
    /// A variable that has no value, or none at all.
    pub fn nginx(text: &str, fields: &Arc<RequestFields>) -> Result<Self, KeyError> {
        let mut parts = Vec::new();
        let mut rest = text;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let with_dollar;
        if !text.contains('$') {
            with_dollar = format!("${text}");
            rest = &with_dollar;
        }
        let text = rest;
        while !rest.is_empty() {
            let Some(at) = rest.find('$') else {
                parts.push(Part::Text(rest.as_bytes().into()));
                break;
            };
            if at > 0 {
                parts.push(Part::Text(rest.as_bytes()[..at].into()));
            }
            let behind = &rest[at + 1..];
            let (name, after) = match behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some(split) => split,
                None => behind.split_at(behind.find(|c| !is_name(c)).unwrap_or(behind.len())),
            };
            parts.extend(variable(name, fields)?);
            rest = after;
        }
        if parts.iter().all(|part| matches!(part, Part::Text(_))) {
            return Err(KeyError::Constant);
        }
        Ok(Self { text: text.to_owned(), parts, fields: fields.clone() })
    }

    /// A sample fetch of HAProxy, without converters.
    ///
    /// # Errors
    /// A sample that has no value.
    pub fn haproxy(text: &str, fields: &Arc<RequestFields>) -> Result<Self, KeyError> {
        let (fetch, argument) = match text.trim().strip_suffix(')').and_then(|inner| inner.split_once('(')) {
            Some((fetch, argument)) => (fetch, argument.trim()),
            None => (text.trim(), ""),
        };
        let unknown = || KeyError::Unknown { name: text.to_owned() };
        let parts = match (fetch, argument) {
            ("src", "") => vec![Part::BinaryAddress],
            ("path", "") => vec![Part::Value("path".into(), Value::Page)],
            ("pathq" | "url", "") => vec![Part::RequestUri],
            ("query", "") => vec![Part::Args],
            ("base", "") => vec![header("Host", fields)?, Part::Value("path".into(), Value::Page)],
            ("url_param" | "urlp", name) if !name.is_empty() => vec![param(name, fields)?],
            ("req.hdr" | "hdr" | "req.fhdr", name) if !name.is_empty() => vec![header(name, fields)?],
            ("req.cook" | "cook" | "cookie", _) => vec![Part::Cookie],
            _ => return Err(unknown()),
        };
        Ok(Self { text: text.to_owned(), parts, fields: fields.clone() })
    }

    /// The whole URI, for the algorithms that look for their part of it themselves.
    pub fn uri(fields: &Arc<RequestFields>) -> Self {
        Self { text: "url".into(), parts: vec![Part::RequestUri], fields: fields.clone() }
    }

    /// The client's number, whether or not it keeps cookies: the user of a remote desktop.
    pub fn user() -> Self {
        let parts = vec![Part::Value("user".into(), Value::Client)];
        Self { text: "user".into(), parts, fields: Arc::default() }
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Appends what the key is for a request; nothing if what it asks for is missing.
    #[inline]
    pub fn evaluate(&self, shown: &Shown<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::BinaryAddress => match shown.address {
                    IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
                    IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
                },
                Part::RequestUri => self.push_uri(shown, out),
                Part::Args => {
                    self.push_args(shown, b"", out);
                }
                Part::Arg(name) => self.push_arg(name, shown, out),
                Part::Value(name, value) => shown.push_value(name, value, out),
                Part::Cookie if shown.has_cookie => shown.push_client(out),
                Part::Cookie => {}
            }
        }
    }

    fn push_uri(&self, shown: &Shown<'_>, out: &mut Vec<u8>) {
        shown.push_path(out);
        self.push_args(shown, b"?", out);
    }

    /// Appends the query, behind `lead` if there is one: a log's own, or the parameters that every request has.
    fn push_args(&self, shown: &Shown<'_>, lead: &[u8], out: &mut Vec<u8>) {
        if let Some(query) = shown.logged_query() {
            if !query.is_empty() {
                out.extend_from_slice(lead);
                out.extend_from_slice(query);
            }
            return;
        }
        let mut separator = lead;
        for (name, value) in &self.fields.params {
            out.extend_from_slice(separator);
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            shown.push_value(name, value, out);
            separator = b"&";
        }
    }

    fn push_arg(&self, name: &str, shown: &Shown<'_>, out: &mut Vec<u8>) {
        let logged = shown.logged_query().unwrap_or_default().split(|&byte| byte == b'&').find_map(|param| {
            let (of, value) = param.split_at(param.iter().position(|&byte| byte == b'=')?);
            (of == name.as_bytes()).then_some(&value[1..])
        });
        if let Some(value) = logged {
            out.extend_from_slice(value);
        } else if let Some((name, value)) = self.fields.params.iter().find(|(known, _)| known == name) {
            shown.push_value(name, value, out);
        }
    }
}

/// What a variable of nginx's stands for.
fn variable(name: &str, fields: &Arc<RequestFields>) -> Result<Vec<Part>, KeyError> {
    let value = |value| Part::Value(name.into(), value);
    let part = match name {
        "remote_addr" => value(Value::Address),
        "binary_remote_addr" => Part::BinaryAddress,
        "request_uri" => Part::RequestUri,
        "uri" | "document_uri" => value(Value::Page),
        "args" | "query_string" => Part::Args,
        "host" => header("Host", fields)?,
        "cookie" => Part::Cookie,
        _ => match name.split_once('_') {
            Some(("cookie", _)) => Part::Cookie,
            Some(("arg", name)) => param(name, fields)?,
            Some(("http", name)) => header(name, fields)?,
            _ => return Err(KeyError::Unknown { name: name.to_owned() }),
        },
    };
    Ok(vec![part])
}

/// What the header called `name` holds; cases and, as in nginx's variables, `-` and `_` make no difference.
fn header(name: &str, fields: &RequestFields) -> Result<Part, KeyError> {
    let plain = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    let wanted = plain(name);
    if let Some((name, value)) = fields.headers.iter().find(|(known, _)| plain(known) == wanted) {
        return Ok(Part::Value(name.as_str().into(), value.clone()));
    }
    match wanted.as_str() {
        "host" => Ok(Part::Value("Host".into(), Value::Text(HOST.into()))),
        "user-agent" => Ok(Part::Value("User-Agent".into(), Value::Agent)),
        _ => Err(KeyError::NoHeader { name: name.to_owned() }),
    }
}

fn param(name: &str, fields: &RequestFields) -> Result<Part, KeyError> {
    if fields.of_logs || fields.params.iter().any(|(known, _)| known == name) {
        return Ok(Part::Arg(name.into()));
    }
    Err(KeyError::NoParam { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::shown::Page;
    use super::super::shown::fixture::shown;
    use super::*;

    fn fields() -> Arc<RequestFields> {
        let headers = vec![("X-User".into(), Value::Client), ("X-Forwarded-For".into(), Value::Address)];
        let params = vec![("user".into(), Value::Client), ("shop".into(), Value::Text("7".into()))];
        Arc::new(RequestFields { headers, params, of_logs: false })
    }

    fn text(key: Result<Key, KeyError>, shown: &Shown<'_>) -> String {
        let mut out = Vec::new();
        key.expect("a key").evaluate(shown, &mut out);
        String::from_utf8(out).expect("text")
    }

    const CLIENT: &str = "000000000000beef";

    #[test]
    fn nginx_keys_are_text_with_variables() {
        let shown = shown("192.0.2.1", Page::Ranked(17));
        for (key, value) in [
            ("remote_addr", "192.0.2.1".to_owned()),
            ("$remote_addr$uri", "192.0.2.1/page17".into()),
            ("${host}-$arg_shop-x", "www.example.com-7-x".into()),
            ("$request_uri", format!("/page17?user={CLIENT}&shop=7")),
            ("$args", format!("user={CLIENT}&shop=7")),
            ("$cookie_sid", CLIENT.into()),
            ("$http_x_user", CLIENT.into()),
            ("$http_x_forwarded_for", "192.0.2.1".into()),
        ] {
            assert_eq!(text(Key::nginx(key, &fields()), &shown), value, "{key}");
        }
        let binary = text(
            Key::nginx("$binary_remote_addr", &fields()),
            &Shown { address: [65, 66, 67, 68].into(), ..shown },
        );
        assert_eq!(binary, "ABCD");
    }

    #[test]
    fn haproxy_samples_are_named_as_it_names_them() {
        let request = shown("65.66.67.68", Page::Ranked(3));
        for (sample, value) in [
            ("src", "ABCD".to_owned()),
            ("path", "/page3".into()),
            ("url", format!("/page3?user={CLIENT}&shop=7")),
            ("url_param(shop)", "7".into()),
            ("urlp(user)", CLIENT.into()),
            ("req.hdr(x-user)", CLIENT.into()),
            ("base", "www.example.com/page3".into()),
        ] {
            assert_eq!(text(Key::haproxy(sample, &fields()), &request), value, "{sample}");
        }
    }

    #[test]
    fn a_log_s_request_shows_its_own_target_and_agent() {
        let fields = Arc::new(RequestFields { of_logs: true, ..(*fields()).clone() });
        let logged = Shown {
            agent: Some(b"Mozilla/5.0"),
            ..shown("192.0.2.1", Page::Logged(b"/a/b.css?id=7&shop=9&id=8"))
        };
        for (key, value) in [
            ("$uri", "/a/b.css"),
            ("$request_uri", "/a/b.css?id=7&shop=9&id=8"),
            ("$args", "id=7&shop=9&id=8"),
            ("$arg_id-$arg_nothing", "7-"),
            ("$arg_shop", "9"),
            ("$arg_user", CLIENT),
            ("$http_user_agent", "Mozilla/5.0"),
        ] {
            assert_eq!(text(Key::nginx(key, &fields), &logged), value, "{key}");
        }
        let bare = Shown { page: Page::Logged(b"/a"), ..logged };
        assert_eq!(text(Key::haproxy("url", &fields), &bare), "/a");
        let beyond = Shown { page: Page::Hashed(0xbeef), ..logged };
        assert_eq!(text(Key::nginx("$request_uri$arg_id", &fields), &beyond), "/0000beef");
        for (key, shows) in
            [("$uri", true), ("$arg_id", true), ("$arg_user", false), ("$http_user_agent", false)]
        {
            assert_eq!(Key::nginx(key, &fields).expect("a key").shows_path(), shows, "{key}");
        }
    }

    #[test]
    fn a_client_without_a_cookie_has_an_empty_key() {
        let first = Shown { has_cookie: false, ..shown("192.0.2.1", Page::Home) };
        assert_eq!(text(Key::nginx("$cookie_sid", &fields()), &first), "");
        assert_eq!(text(Key::haproxy("req.cook(sid)", &fields()), &first), "");
    }

    #[test]
    fn what_no_request_has_is_refused() {
        let nginx = |key| Key::nginx(key, &fields()).expect_err(key);
        assert_eq!(nginx("$http_x_tenant"), KeyError::NoHeader { name: "x_tenant".into() });
        assert_eq!(nginx("$arg_id"), KeyError::NoParam { name: "id".into() });
        assert_eq!(nginx("$request_time"), KeyError::Unknown { name: "request_time".into() });
        assert_eq!(nginx("a${b"), KeyError::Unknown { name: String::new() });
        let haproxy = |key| Key::haproxy(key, &fields()).expect_err(key);
        assert_eq!(haproxy("path,lower"), KeyError::Unknown { name: "path,lower".into() });
        assert_eq!(haproxy("hdr(X)"), KeyError::NoHeader { name: "X".into() });
    }
}
