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
