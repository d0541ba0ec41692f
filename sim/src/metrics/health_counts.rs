//! What the balancers' health rules noticed, in one phase.

use crate::engine::SimDuration;

/// Counts of faults that a health rule could see, and of servers that were taken out for nothing; each by its beginning.
#[derive(Clone, Debug, Default)]
pub struct HealthCounts {
    /// Faults, each at each part.
    pub faults: u64,
    /// Of these, those that were detected before they were over.
    pub detected: u64,
    /// Sum of the times to detect \[ns\].
    pub detect_ns: u64,
    /// The longest of them \[ns\].
    pub detect_ns_max: u64,
    /// Of those detected, those whose part was back before the next trouble or the end of the run.
    pub recovered: u64,
    /// Sum of the times to recover \[ns\].
    pub recover_ns: u64,
    /// The longest of them \[ns\].
    pub recover_ns_max: u64,
    /// Times that a part was taken out though nothing ailed it.
    pub false_positives: u64,
    /// Sum of the times that it was then out \[ns\].
    pub false_ns: u64,
}

impl HealthCounts {
    /// A fault was detected, and its part was back, after these times.
    pub fn fault(&mut self, detected: Option<SimDuration>, back: Option<SimDuration>) {
        self.faults += 1;
        if let Some(time) = detected {
            self.detected += 1;
            self.detect_ns += time.0;
            self.detect_ns_max = self.detect_ns_max.max(time.0);
        }
        if let Some(time) = back {
            self.recovered += 1;
            self.recover_ns += time.0;
            self.recover_ns_max = self.recover_ns_max.max(time.0);
        }
    }

    /// A part was taken out for so long though nothing ailed it.
    pub fn false_alarm(&mut self, time: SimDuration) {
        self.false_positives += 1;
        self.false_ns += time.0;
    }

    /// Adds another phase's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.faults, other.faults),
            (&mut self.detected, other.detected),
            (&mut self.detect_ns, other.detect_ns),
            (&mut self.recovered, other.recovered),
            (&mut self.recover_ns, other.recover_ns),
            (&mut self.false_positives, other.false_positives),
            (&mut self.false_ns, other.false_ns),
        ] {
            *mine += theirs;
        }
        self.detect_ns_max = self.detect_ns_max.max(other.detect_ns_max);
        self.recover_ns_max = self.recover_ns_max.max(other.recover_ns_max);
    }
}
