//! Why sessions are lost: the closed list.

use serde::Serialize;

/// Why a session was lost. Each loss has exactly one cause: at the miss, looking back to the last hit, if the state was
/// destroyed before routing first left home, what destroyed it; otherwise the reason recorded for that first departure.
/// Ties follow the order of the list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum LossCause {
    /// The server crashed or restarted unplanned, and its memory went with it.
    ServerLost,
    /// An operator took the server out or restarted it.
    Drained,
    /// The store's node died.
    StoreLost,
    /// The entry was evicted (from local memory too).
    StoreEvicted,
    /// A replica lagged.
    StoreStale,
    /// The strategy switched stores.
    StoreSwitched,
    /// Fail-over to a director that did not know the client.
    DirectorLost,
    /// The template or entry ran out.
    AffinityExpired,
    /// The table was wiped by a reload, or was full.
    AffinityLost,
    /// The client kept no cookie.
    AffinityRefused,
    /// The client came from another address.
    AddressChanged,
    /// Membership or weights changed and the key now maps elsewhere, the old server being healthy.
    Remapped,
    /// The balancer left home on purpose: bound, maxconn, 20 tries, redispatch, a health flap.
    Spilled,
    /// Two workers or two active directors disagreed.
    InstanceSplit,
    /// Nothing ties client to server.
    NoAffinity,
}

impl LossCause {
    /// All causes, in the order that decides ties.
    pub const ALL: [Self; 15] = [
        Self::ServerLost,
        Self::Drained,
        Self::StoreLost,
        Self::StoreEvicted,
        Self::StoreStale,
        Self::StoreSwitched,
        Self::DirectorLost,
        Self::AffinityExpired,
        Self::AffinityLost,
        Self::AffinityRefused,
        Self::AddressChanged,
        Self::Remapped,
        Self::Spilled,
        Self::InstanceSplit,
        Self::NoAffinity,
    ];

    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServerLost => "server_lost",
            Self::Drained => "drained",
            Self::StoreLost => "store_lost",
            Self::StoreEvicted => "store_evicted",
            Self::StoreStale => "store_stale",
            Self::StoreSwitched => "store_switched",
            Self::DirectorLost => "director_lost",
            Self::AffinityExpired => "affinity_expired",
            Self::AffinityLost => "affinity_lost",
            Self::AffinityRefused => "affinity_refused",
            Self::AddressChanged => "address_changed",
            Self::Remapped => "remapped",
            Self::Spilled => "spilled",
            Self::InstanceSplit => "instance_split",
            Self::NoAffinity => "no_affinity",
        }
    }
}
