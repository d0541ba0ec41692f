//! What is at a tier, counted so that Little's law can be checked.

use crate::engine::SimTime;

/// Connections at a tier in front of another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Station {
    /// Those that came.
    pub arrivals: u64,
    /// Those that went.
    pub departures: u64,
    /// Sum over those that went of the time that they were there \[ns\].
    pub time_ns: u128,
    /// Integral over time of those present \[ns\].
    pub area_ns: u128,
    present: u64,
    since: SimTime,
}

impl Station {
    /// One comes.
    pub fn enters(&mut self, now: SimTime) {
        self.integrate(now);
        self.arrivals += 1;
        self.present += 1;
    }

    /// One that came at `since` goes.
    pub fn leaves(&mut self, now: SimTime, since: SimTime) {
        self.integrate(now);
        self.departures += 1;
        self.present -= 1;
        self.time_ns += u128::from(now.since(since).0);
    }

    /// Brings the integral up to a time.
    pub fn integrate(&mut self, now: SimTime) {
        self.area_ns += u128::from(self.present) * u128::from(now.since(self.since).0);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::super::accounting::check_tier;
    use super::*;
    use crate::engine::SimDuration;

    fn at(s: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(s)
    }

    #[test]
    fn one_that_leaves_twice_or_not_at_all_is_noticed() {
        let mut station = Station::default();
        for begin in [0, 5, 10] {
            station.enters(at(begin));
        }
        station.leaves(at(20), at(5));
        station.integrate(at(30));
        // Those of 0 s and 10 s are there still.
        let open_ns = 50 * 1_000_000_000;
        assert_eq!(check_tier(&station, (2, open_ns)), Ok(()));
        assert!(check_tier(&station, (1, open_ns)).unwrap_err().identity.starts_with("connections"));
        assert!(check_tier(&station, (2, open_ns - 1)).unwrap_err().identity.starts_with("Little"));
    }
}
