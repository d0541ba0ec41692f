//! `hdr(name)`: one value of a request header, one server.
//!
//! HAProxy 2.6, `get_server_hh` in `src/backend.c`.

use super::HashOptions;
use super::keyed::{Key, Keyed};

/// A hash of the first value of a header; round robin for requests without it.
pub type Hdr = Keyed<Header>;

/// The first value of a header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// `use_domain_only`: of a host name, only the label before the last dot counts; without a dot, nothing does.
    use_domain_only: bool,
}

impl Key for Header {}

impl Hdr {
    /// The algorithm with the backend's `hash-type` and `hash-balance-factor`.
    pub fn new(options: HashOptions, use_domain_only: bool) -> Self {
        Self::with_key(options, Header { use_domain_only })
    }

    /// `use_domain_only`.
    pub fn uses_domain_only(&self) -> bool {
        self.key.use_domain_only
    }

    /// The hash of a header, given by the text of its first line; `None` without one.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Option<u32> {
        let mut value = key.split(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
        if value.is_empty() {
            return None;
        }
        if self.key.use_domain_only {
            let mut labels = value.rsplit(|&byte| byte == b'.').skip(1);
            value = labels.next().unwrap_or_default();
        }
        Some(self.hash_of(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_value_counts() {
        let hdr = Hdr::default();
        assert_eq!(hdr.hash(b"a, b"), hdr.hash(b"a"));
        assert_eq!(hdr.hash(b""), None);
    }

    #[test]
    fn use_domain_only_keeps_the_label_before_the_last_dot() {
        let options = HashOptions::default();
        let (hdr, whole) = (Hdr::new(options, true), Hdr::new(options, false));
        assert_eq!(hdr.hash(b"www.site7.example"), whole.hash(b"site7"));
        assert_eq!(hdr.hash(b"site7.example"), whole.hash(b"site7"));
        assert_eq!(hdr.hash(b"localhost"), Some(options.hash_type.hash(b"")), "nothing is left to hash");
    }
}
