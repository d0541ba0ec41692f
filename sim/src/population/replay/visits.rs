//! Visits, inferred: a log does not say where one ends.
//!
//! A visit is a run of requests of one user in which no gap is longer than `gap` seconds; 30 minutes is the
//! customary cut (Catledge and Pitkow 1995 proposed 25.5 minutes; log analysers round it up). A gap of exactly
//! `gap` does not end a visit, as a session that is idle for exactly its timeout is not yet expired.

use std::sync::Arc;

use super::clients::ClientTables;
use super::error::LogError;
use super::record::LogRecord;
use super::spool::{RecordReader, Spool};
use super::statistics::Counts;

/// Counts the clicks of visits while records go by in time order. 8 bytes a user.
#[derive(Clone, Debug)]
pub struct VisitTracker {
    gap_seconds: u32,
    /// By user.
    states: Vec<VisitState>,
}

/// Where a user is in its visits.
#[derive(Clone, Copy, Debug, Default)]
pub struct VisitState {
    /// Second of the latest request.
    latest: u32,
    /// Requests of the current visit so far; 0 before the first.
    clicks: u32,
}
const _: () = assert!(size_of::<VisitState>() == 8);

impl VisitState {
    /// Before the first visit.
    pub const NEW: Self = Self { latest: 0, clicks: 0 };

    /// Counts a request at `second`, which is not before that of the last one; a longer gap than `gap_seconds` begins a
    /// visit. Returns the request's number within its visit, from 0; it saturates.
    #[inline]
    pub fn observe(&mut self, second: u32, gap_seconds: u32) -> u32 {
        if self.clicks > 0 && second.saturating_sub(self.latest) > gap_seconds {
            self.clicks = 0;
        }
        let click = self.clicks;
        self.latest = second;
        self.clicks = self.clicks.saturating_add(1);
        click
    }
}

impl VisitTracker {
    /// A tracker of `users` users, none of whom was seen yet.
    pub fn new(users: usize, gap_seconds: u32) -> Self {
        Self { gap_seconds, states: vec![VisitState::default(); users] }
    }

    /// Counts a request of `user` at `second`, which is not before that of its last request. Returns the request's number
    /// within its visit, from 0; it saturates.
    ///
    /// # Panics
    /// Panics if there is no such user.
    #[inline]
    pub fn observe(&mut self, user: u32, second: u32) -> u32 {
        self.states[user as usize].observe(second, self.gap_seconds)
    }

    /// Requests so far of the current visit of `user`; 0 if there was none yet.
    ///
    /// # Panics
    /// Panics if there is no such user.
    #[inline]
    pub fn clicks(&self, user: u32) -> u32 {
        self.states[user as usize].clicks
    }

    /// Requests so far of every user's current visit, in their order; 0 for users not seen yet.
    pub fn open_visits(&self) -> impl Iterator<Item = u32> + '_ {
        self.states.iter().map(|state| state.clicks)
    }
}

/// What one pass over all records finds.
pub(super) struct Passed {
    /// Requests per visit, by user.
    pub visits: Counts,
    /// Requests per visit, all users of an address being one.
    pub visits_by_address: Counts,
    /// The longest time without a request: its first second and the next request's.
    pub gap: (u32, u32),
}

/// Records whose tables are read together, so that they wait for memory together.
const BATCH: usize = 64;

/// Goes through all records in their order.
pub(super) fn pass(
    tables: &ClientTables,
    spool: &Arc<Spool>,
    start: u32,
    gap_seconds: u32,
) -> Result<Passed, LogError> {
    let mut by_user = VisitLengths::new(tables.users, gap_seconds);
    let mut by_address = VisitLengths::new(tables.addresses.len(), gap_seconds);
    let mut gap = (start, start);
    let mut previous = start;
    let mut reader = RecordReader::new(Arc::clone(spool), start);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        for request in reader.by_ref().take(BATCH) {
            let LogRecord { second, client, .. } = request?.record;
            batch.push((second, client, client));
        }
        if batch.is_empty() {
            break;
        }
        for (_, client, address) in &mut batch {
            *address = tables.address_numbers[*client as usize];
            *client = tables.clients[*client as usize].user;
        }
        for &(second, user, address) in &batch {
            by_user.observe(user, second);
            by_address.observe(address, second);
            if second - previous > gap.1 - gap.0 {
                gap = (previous, second);
            }
            previous = second;
        }
    }
    Ok(Passed { visits: by_user.finish(), visits_by_address: by_address.finish(), gap })
}

/// Collects the lengths of visits when they end.
struct VisitLengths {
    tracker: VisitTracker,
    lengths: Counts,
}

impl VisitLengths {
    fn new(users: usize, gap_seconds: u32) -> Self {
        Self { tracker: VisitTracker::new(users, gap_seconds), lengths: Counts::default() }
    }

    fn observe(&mut self, user: u32, second: u32) {
        let before = self.tracker.clicks(user);
        if self.tracker.observe(user, second) == 0 && before > 0 {
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
            .collect();
        assert_eq!(clicks, [0, 0, 1, 2, 0, 0, 1]);
        assert_eq!(tracker.open_visits().collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn without_a_gap_every_second_is_a_visit() {
        let mut tracker = VisitTracker::new(1, 0);
        assert_eq!([0, 0, 1, 1, 2].map(|second| tracker.observe(0, second)), [0, 1, 0, 1, 0]);
    }
}
