//! The releases of nginx that decide differently.
//!
//! Read in the sources of release-1.22.1 to 1.31.4 (`src/http/ngx_http_upstream_round_robin.c`,
//! `src/http/modules/ngx_http_upstream_*_module.c`) and in CHANGES: the methods themselves have not changed. What has:
//! - 1.29.6: `sticky` and `drain`;
//! - 1.29.7: connections to servers are kept by default, which is not modelled: `load.connections` counts one for each try,
//!   and a try that breaks on a kept connection uses up a try (`u->peer.cached` in `ngx_http_upstream_next`).
//!
//! 1.27.3 brought servers that are resolved again while nginx runs; with a fixed list, as here, nothing follows from it.

/// A stable branch of nginx, and the one under development.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum NginxVersion {
    /// Of the recordings (1.22.1).
    #[default]
    V1_22,
    /// Decides as 1.22.
    V1_24,
    /// Decides as 1.22.
    V1_26,
    /// Decides as 1.22.
    V1_28,
    /// Has `sticky` and `drain`.
    V1_30,
}

impl NginxVersion {
    /// The first with `sticky` and `drain`.
    pub const STICKY: Self = Self::V1_30;

    /// Every version, as scenarios spell it.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("1.22", Self::V1_22),
        ("1.24", Self::V1_24),
        ("1.26", Self::V1_26),
        ("1.28", Self::V1_28),
        ("1.30", Self::V1_30),
    ];

    /// As scenarios spell it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_listed_under_its_own_name_in_order() {
        assert!(NginxVersion::NAMES.is_sorted_by_key(|(_, version)| *version));
        assert!(NginxVersion::NAMES.iter().all(|(name, version)| version.name() == *name));
    }
}
