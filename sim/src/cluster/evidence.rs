//! From a balancer's reason to the cause of a loss.

use crate::metrics::LossCause;
use crate::tier::{Reason, Skipped};

/// What it makes the cause if a session is lost because a request left home for `reason`. `remembers` says whether the
/// balancer ties clients to servers (LVS persistence, cookies, stick tables), `split` that another instance of the tier had chosen
/// home and this one would not, for the servers or failures that it knows.
///
/// - A choice that ties nothing to the client: the table's entry ran out, if there is a table, else there is no affinity.
/// - A remembered client who is sent elsewhere than home: another user of the same address was scheduled anew after the
///   entry had run out.
/// - A hash that points elsewhere than home, membership being the same: home had been a detour around a server that was
///   taken for dead, and the hash has gone back; a health flap.
/// - The same with several instances that know different servers or failures: they disagree.
pub fn departure_cause(reason: Reason, remembers: bool, split: bool) -> LossCause {
    match reason {
        Reason::Hashed | Reason::Rehashed(_) | Reason::Affinity | Reason::AffinityUnusable(_) if split => {
            LossCause::InstanceSplit
        }
        Reason::Scheduled { .. } if remembers => LossCause::AffinityExpired,
        Reason::Scheduled { .. } | Reason::NoneUsable | Reason::Queued => LossCause::NoAffinity,
        Reason::Affinity | Reason::LiveEntry => LossCause::AffinityExpired,
        Reason::Hashed => LossCause::Spilled,
        Reason::Rehashed(skipped) | Reason::AffinityUnusable(skipped) => match skipped {
            Skipped::OutOfService | Skipped::TableRebuilt => LossCause::Remapped,
            Skipped::Tried | Skipped::Unhealthy | Skipped::Full | Skipped::TriesExhausted => {
                LossCause::Spilled
            }
        },
    }
}

/// A balancer's reason, in words.
pub fn in_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Scheduled { tie: false } => "chosen by the scheduler",
        Reason::Scheduled { tie: true } => {
            "tie-break: others are equally loaded, the order of the list decides"
        }
        Reason::Hashed => "the address or key hashes there",
        Reason::Rehashed(skipped) | Reason::AffinityUnusable(skipped) => match skipped {
            Skipped::Tried => "the first choice had just failed",
            Skipped::Unhealthy => "the first choice counts as failed",
            Skipped::Full => "the first choice is full",
            Skipped::OutOfService => "the first choice is out of service",
            Skipped::TriesExhausted => "too many tries at the hash: round robin",
            Skipped::TableRebuilt => "the table was built anew, and the address is now another's",
        },
        Reason::Affinity => "template: the client is remembered",
        Reason::LiveEntry => "live entry: the connection is known",
        Reason::NoneUsable => "no server may be used",
        Reason::Queued => "all servers are full: the request waits",
    }
}
