//! Users of a population who are each like one of a log ([`UserTable`]): their own visits, pace and absences in place of the
//! population's laws.

use std::sync::Arc;

use crate::engine::{SimDuration, Stream};
use crate::ids::ClientId;
use crate::population::UserTable;

/// Who of a table each client of a population is.
#[derive(Clone, Debug)]
pub(super) struct DealtUsers {
    table: Arc<UserTable>,
    first: ClientId,
    /// By client of the population: its user in the table.
    users: Vec<u32>,
    /// Mean of the population's law of think times \[s\].
    think_mean: f64,
}

impl DealtUsers {
    pub(super) fn new(table: &Arc<UserTable>, first: ClientId, users: Vec<u32>, think_mean: f64) -> Self {
        Self { table: Arc::clone(table), first, users, think_mean }
    }

    #[inline]
    fn user(&self, id: ClientId) -> u32 {
        self.users[(id.0 - self.first.0) as usize]
    }

    /// Clicks of visit `visit`: those of one of the user's visits.
    pub(super) fn clicks(&self, id: ClientId, visit: u32, clicks: &Stream) -> u16 {
        let lengths = self.table.lengths_of(self.user(id));
        lengths[clicks.below(lengths.len() as u64, u64::from(id.0), u64::from(visit)) as usize]
    }

    /// A think time of the population's law, at the user's pace.
    #[inline]
    pub(super) fn think(&self, id: ClientId, drawn: SimDuration) -> SimDuration {
        if self.think_mean <= 0.0 {
            return drawn;
        }
        SimDuration::from_secs_f64(drawn.as_secs_f64() * self.table.think_s(self.user(id)) / self.think_mean)
    }

    /// Time from the end of a visit to the start of the next, at mean activity \[s\].
    pub(super) fn away_s(&self, id: ClientId) -> f64 {
        self.table.away_s(self.user(id))
    }

    /// When the user first comes: anywhere in its period \[s\].
    pub(super) fn begins_s(&self, id: ClientId, initial: &Stream) -> f64 {
        self.away_s(id) * initial.uniform(u64::from(id.0), 0)
    }
}
