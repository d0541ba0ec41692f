//! Sessions: where they live, and what happens to them.

pub mod sessions;

use crate::engine::Distribution;

/// Where sessions live.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionPlan {
    /// In the memory of the server that created them.
    Local,
    /// In a store that all servers share.
    Shared {
        /// Time that a server's worker waits for one operation (a read, or a write) \[s\].
        latency: Distribution,
    },
}

/// What the application does with a session id that it does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnUnknownId {
    /// It hands out a new id (Tomcat): the old session is orphaned, even if the user comes back to its server.
    NewId,
    /// It adopts the id (PHP's default): the old session is found again on its server, and two copies may live.
    AdoptId,
}
