//! When servers were out of service.

use crate::engine::{SimDuration, SimTime};

/// The times that each server was out of service. Looking at a stretch of time costs the number of servers and the outages in it, not all
/// that there were.
#[derive(Clone, Debug)]
pub struct Outages {
    /// From when to when, by server, then in order. Those of a server do not overlap.
    spans: Vec<(SimTime, SimTime)>,
    /// Where the spans of a server end.
    ends: Vec<usize>,
}

impl Outages {
    /// Sorts `(server, from, until)` of `servers` servers. Those of a server must not overlap.
    pub fn new(servers: usize, mut outages: Vec<(usize, SimTime, SimTime)>) -> Self {
        outages.sort_unstable();
        Self {
            ends: (0..servers).map(|server| outages.partition_point(|outage| outage.0 <= server)).collect(),
            spans: outages.into_iter().map(|(_, from, until)| (from, until)).collect(),
        }
    }

    /// When a server was out within `from..until`: the spans that overlap it, not cut at its ends.
    ///
    /// # Panics
    /// Panics if there is no such server.
    pub fn of(&self, server: usize, from: SimTime, until: SimTime) -> &[(SimTime, SimTime)] {
        let first = server.checked_sub(1).map_or(0, |before| self.ends[before]);
        let spans = &self.spans[first..self.ends[server]];
        let begin = spans.partition_point(|span| span.1 <= from);
        let end = spans.partition_point(|span| span.0 < until);
        &spans[begin.min(end)..end]
    }

    /// How long a server was out within `from..until`.
    ///
    /// # Panics
    /// Panics if there is no such server.
    pub fn total(&self, server: usize, from: SimTime, until: SimTime) -> SimDuration {
        let spans = self.of(server, from, until).iter();
        spans
            .map(|span| span.1.min(until).since(span.0.max(from)))
            .fold(SimDuration::ZERO, |sum, one| sum + one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_sees_only_what_overlaps_it() {
        let at = SimTime::from_millis;
        let outages =
            Outages::new(3, vec![(2, at(50), SimTime::NEVER), (0, at(30), at(40)), (0, at(10), at(20))]);
        assert_eq!(outages.of(0, at(20), at(30)), []);
        assert_eq!(outages.of(0, at(15), at(35)), [(at(10), at(20)), (at(30), at(40))]);
        assert_eq!(outages.total(0, at(15), at(35)), SimDuration::from_millis(10));
        assert_eq!(outages.of(1, at(0), at(100)), []);
        assert_eq!(outages.total(2, at(0), at(60)), SimDuration::from_millis(10));
    }
}
