//! Requests in flight.

use crate::balancer::Skipped;
use crate::balancer::haproxy::HaproxyRequest;
use crate::ids::ServerId;

use super::stick::Pending;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// At its server.
    Trying,
    /// In the queue of its server, or the backend's; with its number in the order of all that ever queued.
    Queued { server: Option<ServerId>, ticket: u64 },
    /// Before a retry.
    Waiting,
}

/// One request in flight.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) stage: Stage,
    pub(super) request: HaproxyRequest,
    /// The server that it goes to, or went to last.
    pub(super) target: Option<ServerId>,
    /// Whether `target` is settled, so that nothing is to be balanced.
    pub(super) assigned: bool,
    /// Whether a cookie or an entry of the stick table chose `target`.
    pub(super) direct: bool,
    /// Whether it was the cookie, and is so still.
    pub(super) by_cookie: bool,
    /// The server on which it holds a place.
    pub(super) place: Option<ServerId>,
    /// The server that took it from a queue when it could be used again; there it holds no place.
    pub(super) welcomed: Option<ServerId>,
    /// Why the server that it was tied to was passed over.
    pub(super) tie_skipped: Option<Skipped>,
    /// `force-persist` holds.
    pub(super) forced: bool,
    /// Whether its answer may set a cookie.
    pub(super) cookies: bool,
    /// Whether the method and what the browser has allow that.
    pub(super) sets_cookie: bool,
    /// Retries so far.
    pub(super) retries: u32,
    /// Number of the try under way, from 1; stops at 255.
    pub(super) attempt: u8,
    /// What it will store when it is answered.
    pub(super) stores: Option<Pending>,
}
