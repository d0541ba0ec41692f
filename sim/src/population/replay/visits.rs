//! Visits, inferred: a log does not say where one ends.
//!
//! A visit is a run of requests of one client in which no gap is longer than `gap` seconds; 30 minutes is the
//! customary cut (Catledge and Pitkow 1995 proposed 25.5 minutes; log analysers round it up). A gap of exactly
//! `gap` does not end a visit, as a session that is idle for exactly its timeout is not yet expired.

use std::sync::Arc;

use super::clients::ClientTables;
use super::error::LogError;
use super::record::LogRecord;
use super::spool::{RecordReader, Spool};
use super::statistics::Counts;

/// Numbers visits and clicks while records go by in time order. 12 bytes a client.
#[derive(Clone, Debug)]
pub struct VisitTracker {
    gap_seconds: u32,
    /// By client.
    states: Vec<VisitState>,
}

#[derive(Clone, Copy, Debug, Default)]
struct VisitState {
    /// Second of the latest request.
    latest: u32,
    /// Number of the current visit, from 0.
    visit: u32,
    /// Requests of the current visit so far; 0 before the first.
    clicks: u32,
}
const _: () = assert!(size_of::<VisitState>() <= 16);

/// Where a request stands among its client's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Click {
    /// Number of the visit among the client's visits, from 0.
    pub visit: u32,
    /// Number of the request within the visit, from 0; saturates.
    pub click: u32,
}

impl VisitTracker {
    /// A tracker of `clients` clients, none of which was seen yet.
    pub fn new(clients: usize, gap_seconds: u32) -> Self {
        Self { gap_seconds, states: vec![VisitState::default(); clients] }
    }

    /// Counts a request of `client` at `second`, which is not before that of its last request.
    ///
    /// # Panics
    /// Panics if there is no such client.
    #[inline]
    pub fn observe(&mut self, client: u32, second: u32) -> Click {
        let state = &mut self.states[client as usize];
        if state.clicks > 0 && second.saturating_sub(state.latest) > self.gap_seconds {
            state.visit += 1;
            state.clicks = 0;
        }
        let click = Click { visit: state.visit, click: state.clicks };
        state.latest = second;
        state.clicks = state.clicks.saturating_add(1);
        click
    }

    /// Requests so far of the current visit of `client`; 0 if it was not seen yet.
    ///
    /// # Panics
    /// Panics if there is no such client.
    #[inline]
    pub fn clicks(&self, client: u32) -> u32 {
        self.states[client as usize].clicks
    }

    /// Requests so far of every client's current visit, in client order; 0 for clients not seen yet.
    pub fn open_visits(&self) -> impl Iterator<Item = u32> + '_ {
        self.states.iter().map(|state| state.clicks)
    }
}

/// Requests per visit of all records, by client and by address.
pub(super) fn count_visits(
    tables: &ClientTables,
    spool: &Arc<Spool>,
    start: u32,
    gap_seconds: u32,
) -> Result<(Counts, Counts), LogError> {
    let mut by_client = VisitLengths::new(tables.clients.len(), gap_seconds);
    let mut by_address = VisitLengths::new(tables.addresses.len(), gap_seconds);
    for request in RecordReader::new(Arc::clone(spool), start) {
        let LogRecord { second, client, .. } = request?.record;
        by_client.observe(client, second);
        by_address.observe(tables.address_numbers[client as usize], second);
    }
    Ok((by_client.finish(), by_address.finish()))
}

/// Collects the lengths of visits when they end.
struct VisitLengths {
    tracker: VisitTracker,
    lengths: Counts,
}

impl VisitLengths {
    fn new(clients: usize, gap_seconds: u32) -> Self {
        Self { tracker: VisitTracker::new(clients, gap_seconds), lengths: Counts::default() }
    }

    fn observe(&mut self, client: u32, second: u32) {
        let before = self.tracker.clicks(client);
        if self.tracker.observe(client, second).click == 0 && before > 0 {
            self.lengths.add(before.into());
        }
    }

    fn finish(mut self) -> Counts {
        self.tracker
            .open_visits()
            .filter(|&clicks| clicks > 0)
            .for_each(|clicks| self.lengths.add(clicks.into()));
        self.lengths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_longer_than_the_cut_begins_a_visit() {
        let mut tracker = VisitTracker::new(2, 1_800);
        let clicks: Vec<_> = [(0, 10), (1, 10), (0, 10), (0, 1_810), (0, 3_611), (1, 1_811), (0, 3_611)]
            .into_iter()
            .map(|(client, second)| tracker.observe(client, second))
            .map(|click| (click.visit, click.click))
            .collect();
        assert_eq!(clicks, [(0, 0), (0, 0), (0, 1), (0, 2), (1, 0), (1, 0), (1, 1)]);
        assert_eq!(tracker.open_visits().collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn without_a_gap_every_second_is_a_visit() {
        let mut tracker = VisitTracker::new(1, 0);
        let visits: Vec<_> = [0, 0, 1, 1, 2].map(|second| tracker.observe(0, second).visit).into();
        assert_eq!(visits, [0, 0, 1, 1, 2]);
    }
}
