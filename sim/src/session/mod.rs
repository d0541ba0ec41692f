//! Sessions: where they live, and what happens to them.

pub mod sessions;

use crate::engine::Distribution;
use crate::store::plan::{HybridRule, StorePlan};

/// Where sessions live.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a scenario has few")]
pub enum SessionPlan {
    /// In the memory of the server that created them.
    Local,
    /// In a store that all servers share.
    Shared {
        /// Time that a server's worker waits for one operation (a read, or a write) \[s\].
        latency: Distribution,
    },
    /// In a store with a behaviour of its own.
    Store(StoreSession),
}

impl SessionPlan {
    /// Nodes of its store that can fail.
    pub fn store_nodes(&self) -> usize {
        match self {
            Self::Local | Self::Shared { .. } => 0,
            Self::Store(session) => session.store.nodes(),
        }
    }

    /// Workers of each of its store's stations.
    pub fn store_workers(&self, servers: usize) -> Vec<u32> {
        match self {
            Self::Local | Self::Shared { .. } => Vec::new(),
            Self::Store(session) => session.store.workers(servers),
        }
    }

    /// Its name in results.
    pub fn name(&self) -> String {
        match self {
            Self::Local => "local".to_owned(),
            Self::Shared { .. } => "shared".to_owned(),
            Self::Store(StoreSession { store, rule: None, .. }) => store.name().to_owned(),
            Self::Store(StoreSession { store, rule: Some(_), .. }) => format!("hybrid with {}", store.name()),
        }
    }
}

/// Sessions in a store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreSession {
    /// The store.
    pub store: StorePlan,
    /// When sessions are kept in it, if not always.
    pub rule: Option<HybridRule>,
    /// What the application does when it cannot ask the store.
    pub on_store_error: OnStoreError,
}

/// What the application does when it cannot ask its session store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnStoreError {
    /// The request fails with an error.
    Fail,
    /// It acts as if there were no session: the user sees the login page.
    Login,
}

/// What the application does with a session id that it does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnUnknownId {
    /// It hands out a new id (Tomcat): the old session is orphaned, even if the user comes back to its server.
    NewId,
    /// It adopts the id (PHP's default): the old session is found again on its server, and two copies may live.
    AdoptId,
}
