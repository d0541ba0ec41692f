//! `uri`: one URI, one server; for caches.
//!
//! HAProxy 2.6, `get_server_uh` in `src/backend.c`.

use super::HashOptions;
use super::keyed::{Key, Keyed};

/// Which part of the URI is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UriPart {
    /// `whole`: with the query.
    pub whole: bool,
    /// `len`: at most so many bytes.
    pub len: Option<u32>,
    /// `depth`: at most so many parts between slashes.
    pub depth: Option<u32>,
    /// `path-only`: without scheme and authority.
    pub path_only: bool,
}

impl UriPart {
    /// That part of `uri`.
    pub fn of(self, uri: &[u8]) -> &[u8] {
        let mut uri = uri;
        if self.path_only
            && let Some(authority) = uri.windows(3).position(|window| window == b"://")
        {
            let rest = &uri[authority + 3..];
            uri = &rest[rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len())..];
        }
        if let Some(len) = self.len {
            uri = &uri[..uri.len().min(len as usize)];
        }
        let mut slashes_left = self.depth;
        let end = uri.iter().position(|&byte| match (byte, &mut slashes_left) {
            (b'/', Some(0)) => true,
            (b'/', Some(left)) => {
                *left -= 1;
                false
            }
            (b'?', _) => !self.whole,
            _ => false,
        });
        &uri[..end.unwrap_or(uri.len())]
    }
}

/// A hash of the request's URI.
pub type Uri = Keyed<UriPart>;

impl Key for UriPart {}

impl Uri {
    /// The algorithm with the backend's `hash-type` and `hash-balance-factor`.
    pub fn new(options: HashOptions, part: UriPart) -> Self {
        Self::with_key(options, part)
    }

    /// Which part is hashed.
    pub fn part(&self) -> UriPart {
        self.key
    }

    /// The hash of a URI as in the request line; `None` if it is empty.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Option<u32> {
        if key.is_empty() {
            return None;
        }
        Some(self.hash_of(self.key.of(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_counts_only_as_part_of_the_whole() {
        let whole = UriPart { whole: true, ..UriPart::default() };
        assert_eq!(UriPart::default().of(b"/a/b?c=/d"), b"/a/b");
        assert_eq!(whole.of(b"/a/b?c=/d"), b"/a/b?c=/d");
    }

    #[test]
    fn len_cuts_before_depth_counts_slashes() {
        let part = UriPart { len: Some(8), depth: Some(2), ..UriPart::default() };
        assert_eq!(part.of(b"/a/b/c"), b"/a/b");
        assert_eq!(part.of(b"/abcdefghij/b"), b"/abcdefg");
        let shallow = UriPart { depth: Some(0), ..UriPart::default() };
        assert_eq!(shallow.of(b"/a"), b"");
    }

    #[test]
    fn path_only_drops_scheme_and_authority() {
        let part = UriPart { path_only: true, ..UriPart::default() };
        assert_eq!(part.of(b"http://a.example/b?c"), b"/b");
        assert_eq!(part.of(b"/b"), b"/b");
        assert_eq!(part.of(b"*"), b"*");
    }
}
