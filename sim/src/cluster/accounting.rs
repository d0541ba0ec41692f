//! The identities that hold at the end of every run, in release builds too.

use thiserror::Error;

use super::station::Station;
use crate::metrics::recorder::Ledger;

/// An identity that did not hold: a fault in the simulator.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "the accounts do not balance: {identity}: {left} is not {right}; this is a fault in Evenkeel, please report it with the scenario and `--seed`"
)]
pub struct AccountingError {
    /// What should have been equal.
    pub identity: &'static str,
    /// The left side.
    pub left: u128,
    /// The right side.
    pub right: u128,
}

/// What is still under way when a run ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnderWay {
    /// Visits that go on.
    pub visits: u64,
    /// Requests in flight.
    pub requests: u64,
    /// Requests in servers.
    pub in_servers: u64,
    /// Time that these have spent there so far \[ns\].
    pub in_servers_time_ns: u128,
}

/// Checks that connections at a tier in front balance, and Little's law there. `open` are those that are open at the end, with the
/// time that they have been so \[ns\].
///
/// # Errors
/// The first identity that does not hold.
pub(super) fn check_tier(station: &Station, open: (u64, u128)) -> Result<(), AccountingError> {
    let identities = [
        (
            "connections that entered a tier in front = those that left + those open",
            u128::from(station.arrivals),
            u128::from(station.departures + open.0),
        ),
        (
            "Little's law: the integral of connections at a tier in front = the time they spent there",
            station.area_ns,
            station.time_ns + open.1,
        ),
    ];
    hold(&identities)
}

fn hold(identities: &[(&'static str, u128, u128)]) -> Result<(), AccountingError> {
    match identities.iter().find(|(_, left, right)| left != right) {
        Some(&(identity, left, right)) => Err(AccountingError { identity, left, right }),
        None => Ok(()),
    }
}

/// Checks that losses by cause sum to losses, visits and requests balance, and Little's law holds at the servers, all from
/// time zero.
///
/// # Errors
/// The first identity that does not hold.
pub fn check(ledger: &Ledger, under_way: &UnderWay) -> Result<(), AccountingError> {
    let sum: u64 = ledger.losses_by_cause.iter().sum();
    let identities = [
        ("losses by cause sum to losses", u128::from(sum), u128::from(ledger.losses)),
        (
            "every miss is a loss, unless the session was lost before and not found since",
            u128::from(ledger.session_misses),
            u128::from(ledger.losses + ledger.misses_again),
        ),
        (
            "visits = finished + abandoned + open",
            u128::from(ledger.visits_begun),
            u128::from(ledger.visits_finished + ledger.visits_abandoned + under_way.visits),
        ),
        (
            "requests = served + failed + in flight",
            u128::from(ledger.requests_issued),
            u128::from(ledger.requests_served + ledger.requests_failed + under_way.requests),
        ),
        (
            "requests that entered servers = those that left + those inside",
            u128::from(ledger.station_arrivals),
            u128::from(ledger.station_departures + under_way.in_servers),
        ),
        (
            "Little's law: the integral of requests inside = the time they spent there",
            ledger.station_area_ns,
            ledger.station_time_ns + under_way.in_servers_time_ns,
        ),
    ];
    hold(&identities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_visit_is_noticed() {
        let mut ledger =
            Ledger { visits_begun: 5, visits_finished: 3, visits_abandoned: 1, ..Ledger::default() };
        let under_way = UnderWay { visits: 1, ..UnderWay::default() };
        assert_eq!(check(&ledger, &under_way), Ok(()));
        ledger.visits_begun = 6;
        let error = check(&ledger, &under_way).unwrap_err();
        assert_eq!((error.left, error.right), (6, 5));
    }

    #[test]
    fn losses_without_a_cause_are_noticed() {
        let mut ledger = Ledger { losses: 2, session_misses: 2, ..Ledger::default() };
        ledger.losses_by_cause[3] = 1;
        assert_eq!(
            check(&ledger, &UnderWay::default()).unwrap_err().identity,
            "losses by cause sum to losses"
        );
    }
}
