//! A server's level, integrated as it changes.

use crate::engine::SimTime;

/// What has been counted of a server from time zero; both wrap around after centuries of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Busy time of its workers \[ns\].
    pub busy_ns: u64,
    /// Time that requests were there \[ns\].
    pub present_ns: u64,
}

/// A server's level, since when it has been so, and what came before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Station {
    pub since: SimTime,
    pub present: u32,
    pub busy: u32,
    /// Up to `since`.
    pub totals: Totals,
}

impl Station {
    /// What has been counted up to `now`.
    #[inline(always)]
    pub fn totals_at(&self, now: SimTime) -> Totals {
        let elapsed = now.since(self.since).0;
        Totals {
            busy_ns: self.totals.busy_ns.wrapping_add(elapsed.wrapping_mul(self.busy.into())),
            present_ns: self.totals.present_ns.wrapping_add(elapsed.wrapping_mul(self.present.into())),
        }
    }
}
