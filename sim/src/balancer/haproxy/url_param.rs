//! `url_param <name>`: one value of a query parameter, one server.
//!
//! HAProxy 2.6, `get_server_ph` in `src/backend.c`. `check_post` looks into the body of a POST when the URI has no such
//! parameter; whoever drives the tier then gives that body as a query.

use super::HashOptions;
use super::keyed::{Key, Keyed};

/// A hash of a parameter's value; round robin for requests without the parameter.
pub type UrlParam = Keyed<Parameter>;

/// The value of the parameter of this name.
#[derive(Clone, Debug, Default)]
pub struct Parameter(Box<str>);

impl Key for Parameter {
    const SINGLE_TAKES_ALL: bool = false;
}

impl UrlParam {
    /// The algorithm with the backend's `hash-type` and `hash-balance-factor`, for the parameter called `name`.
    pub fn new(options: HashOptions, name: &str) -> Self {
        Self::with_key(options, Parameter(name.into()))
    }

    /// The parameter's name.
    pub fn name(&self) -> &str {
        &self.key.0
    }

    /// The hash of the parameter's value in a URI, which may be empty; `None` without the parameter.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Option<u32> {
        let query = key.splitn(2, |&byte| byte == b'?').nth(1)?;
        let value = query
            .split(|&byte| byte == b'&')
            .find_map(|parameter| parameter.strip_prefix(self.key.0.as_bytes())?.strip_prefix(b"="));
        value.map(|value| self.hash_of(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_must_be_exact_and_an_empty_value_is_a_value() {
        let param = UrlParam::new(HashOptions::default(), "uid");
        let of = |value: &[u8]| Some(HashOptions::default().hash_type.hash(value));
        assert_eq!(param.hash(b"/a?xuid=1&uid=2&uid=3"), of(b"2"));
        assert_eq!(param.hash(b"/a?uid="), of(b""));
        for without in [&b"/a?uid"[..], b"/uid=1", b"/a?uid2=1", b""] {
            assert_eq!(param.hash(without), None);
        }
    }
}
