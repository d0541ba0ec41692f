//! What the balancers' health rules noticed, in one phase.

use super::Histogram;
use crate::engine::SimDuration;

/// Counts of faults that a health rule could see, and of servers that were taken out for nothing; each by its beginning.
#[derive(Clone, Debug, Default)]
pub struct HealthCounts {
    /// Faults, each at each part.
    pub faults: u64,
    /// Times to detect those that were detected before they were over.
    pub time_to_detect: Histogram,
    /// Times to recover of those detected whose part was back before the next trouble or the end of the run.
    pub time_to_recover: Histogram,
    /// Times that a part was taken out though nothing ailed it.
    pub false_positives: u64,
    /// Sum of the times that it was then out \[ns\].
    pub false_ns: u64,
}

impl HealthCounts {
    /// A fault was detected, and its part was back, after these times.
    pub fn fault(&mut self, detected: Option<SimDuration>, back: Option<SimDuration>) {
        self.faults += 1;
        detected.into_iter().for_each(|time| self.time_to_detect.record(time));
        back.into_iter().for_each(|time| self.time_to_recover.record(time));
    }

    /// A part was taken out for so long though nothing ailed it.
    pub fn false_alarm(&mut self, time: SimDuration) {
        self.false_positives += 1;
        self.false_ns += time.0;
    }

    /// Adds another phase's counts.
    pub fn merge(&mut self, other: &Self) {
        self.faults += other.faults;
        self.time_to_detect.merge(&other.time_to_detect);
        self.time_to_recover.merge(&other.time_to_recover);
        self.false_positives += other.false_positives;
        self.false_ns += other.false_ns;
    }
}
