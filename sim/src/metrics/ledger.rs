//! What the accounting identities are about: counts from time zero, of no phase.

use super::LossCause;

/// The ledger from time zero, warm-up included: what the accounting identities are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Visits begun.
    pub visits_begun: u64,
    /// Visits that ran to their end.
    pub visits_finished: u64,
    /// Visits that the user gave up.
    pub visits_abandoned: u64,
    /// Requests issued.
    pub requests_issued: u64,
    /// Requests answered.
    pub requests_served: u64,
    /// Requests that failed.
    pub requests_failed: u64,
    /// Sessions lost, each counted when it is noticed.
    pub losses: u64,
    /// Sessions lost, by [`LossCause`].
    pub losses_by_cause: [u64; LossCause::ALL.len()],
    /// Requests that missed their session.
    pub session_misses: u64,
    /// Those of sessions that had been missed before and not been found since.
    pub misses_again: u64,
    /// Requests that entered a server.
    pub station_arrivals: u64,
    /// Requests that left a server, served or cut off.
    pub station_departures: u64,
    /// Sum over requests that left a server of the time that they spent there \[ns\].
    pub station_time_ns: u128,
    /// Sum over servers of the integral over time of the requests present \[ns\].
    pub station_area_ns: u128,
}
