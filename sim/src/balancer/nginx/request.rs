//! What nginx knows of one request while it looks for a server.

use std::net::IpAddr;

use super::crc32::Suffix;
use crate::balancer::{Reason, Skipped};
use crate::ids::ServerId;

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
    /// Number of the request among all of its instance, which names its random draws.
    pub(super) number: u64,
    /// Random draws so far.
    pub(super) draws: u32,
    /// The hash key, as far as a hash needs it; the empty string without one.
    pub(super) key: Suffix,
    /// Where the chain of hashes, or the place on the ring, stands; `None` before its first step.
    pub(super) hash: Option<u32>,
    /// How often the key was hashed so far.
    pub(super) hashes: u32,
    /// How often the method pointed at a peer that could not be used, over all tries.
    pub(super) misses: u32,
    /// Tries left, the one under way included (`ngx_peer_connection_t.tries`).
    pub(super) tries: u32,
    /// The peer of the try under way.
    pub(super) current: u16,
    /// Whether this request has turned to the backup servers.
    pub(super) on_backups: bool,
    /// Why the first peer that the hash pointed at was passed over.
    pub(super) first_skip: Option<Skipped>,
    /// Why the last pick fell as it did, as far as the method knows.
    pub(super) reason: Reason,
    /// The server that the request's cookie names.
    pub(super) hint: Option<ServerId>,
    /// Why the last pick did not follow the cookie.
    pub(super) unfollowed: Option<Skipped>,
    /// Whether the last try that ended counts as a failure of its server.
    pub(super) failed: bool,
}

impl RequestState {
    /// Bits of a draw's name that count the draws of one request: more than a request can make, which is one for each of at
    /// most 65,535 tries and 21 in vain.
    pub(super) const DRAW_BITS: u32 = 20;

    /// Says what the configured hash key evaluates to. The key itself is not kept.
    #[inline]
    pub fn set_key(&mut self, key: &[u8]) {
        self.key = Suffix::of(key);
    }

    /// Says which server the request's cookie names, to be followed if that may be used (`sticky cookie`).
    #[inline]
    pub fn set_hint(&mut self, server: Option<ServerId>) {
        self.hint = server;
    }

    /// Numbers the request among all of its instance. Requests of one number draw alike, so each needs its own if the
    /// method is a random one; at most 2^44.
    #[inline]
    pub fn set_number(&mut self, number: u64) {
        self.number = number;
    }

    /// Where the chain of hashes stands, or `start` before its first step. Another try is not the first choice, even if the
    /// chain does not come by the server that was tried before.
    #[inline]
    pub(super) fn go_on_from(&mut self, start: u32) -> u32 {
        let Some(hash) = self.hash else { return start };
        self.first_skip.get_or_insert(Skipped::Tried);
        hash
    }

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
        match (self.reason, self.unfollowed) {
            (Reason::NoneUsable, _) | (_, None) => self.reason,
            (_, Some(skipped)) => Reason::AffinityUnusable(skipped),
        }
    }
}
