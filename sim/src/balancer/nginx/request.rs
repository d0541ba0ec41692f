//! What nginx knows of one request while it looks for a server.

use std::net::IpAddr;

use crate::balancer::{Reason, Skipped};

/// What a method knows of one request, from its first try to its last. It belongs to the [`super::Peers`] that began
/// it and means nothing to another.
#[derive(Clone, Debug)]
pub struct RequestState {
    /// The client's address.
    pub(super) address: IpAddr,
    /// Second of nginx's clock at this pick or end of an attempt, in whole seconds.
    pub(super) now_s: u64,
    /// Peers that this request has tried: one bit each, or a handle of [`super::wide::WideSets`].
    pub(super) tried: u64,
    /// Where the chain of hashes stands; `None` before its first step.
    pub(super) hash: Option<u32>,
    /// How often the hash pointed at a peer that could not be used, over all tries.
    pub(super) rehashes: u32,
    /// Tries left, the one under way included (`ngx_peer_connection_t.tries`).
    pub(super) tries: u32,
    /// The peer of the try under way.
    pub(super) current: u16,
    /// Whether this request has turned to the backup servers.
    pub(super) on_backups: bool,
    /// Why the first peer that the hash pointed at was passed over.
    pub(super) first_skip: Option<Skipped>,
    /// Why the last pick fell as it did.
    pub(super) reason: Reason,
}

impl RequestState {
    /// Says what nginx's clock shows, in whole seconds; to be called before each pick and each end of an attempt.
    #[inline]
    pub fn set_clock(&mut self, now_s: u64) {
        self.now_s = now_s;
    }

    /// Tries left: while one is under way it is among them.
    #[inline]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Caps the tries, as `proxy_next_upstream_tries` does.
    #[inline]
    pub fn limit_tries(&mut self, limit: u32) {
        self.tries = self.tries.min(limit);
    }

    /// Why the last pick fell as it did; [`Reason::NoneUsable`] if it found no server.
    #[inline]
    pub fn reason(&self) -> Reason {
        self.reason
    }
}
