//! What the causes of session loss mean, in words for those who did not read the documentation.

use evenkeel_sim::metrics::LossCause;

/// What happened, in a sentence without its full stop.
pub fn meaning(cause: LossCause) -> &'static str {
    match cause {
        LossCause::ServerLost => "the server crashed or restarted, and its memory went with it",
        LossCause::Drained => "an operator took the server out or restarted it",
        LossCause::StoreLost => "a node of the session store died",
        LossCause::StoreEvicted => "the store evicted the session to make room",
        LossCause::StoreStale => "a replica of the store lagged behind",
        LossCause::StoreSwitched => "the strategy switched to another store",
        LossCause::DirectorLost => "a director took over that did not know the client",
        LossCause::AffinityExpired => "the balancer's memory of the client ran out",
        LossCause::AffinityLost => "the balancer's table was wiped by a reload, or was full",
        LossCause::AffinityRefused => "the client kept no cookie",
        LossCause::AddressChanged => "the client came from another address",
        LossCause::Remapped => "servers or weights changed, and the client now maps to another server",
        LossCause::Spilled => "the balancer left a full or failing server on purpose",
        LossCause::InstanceSplit => "two workers or directors without shared state disagreed",
        LossCause::NoAffinity => "nothing ties a client to a server",
    }
}
