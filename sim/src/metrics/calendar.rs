//! When a run is measured, and the parts of that time.

use super::Phase;
use crate::engine::{SimDuration, SimTime};

/// The measured phases of a run and its windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    /// End of the warm-up, when measurement begins.
    pub measured_from: SimTime,
    /// Start of the first fault; the end of the run when there is none.
    pub faults_from: SimTime,
    /// End of the last fault; the end of the run when there is none.
    pub faults_until: SimTime,
    /// End of the run.
    pub end: SimTime,
    /// Length of a window.
    pub window: SimDuration,
    /// Windows after which counting starts anew, when a run without faults is to be judged by its parts; 0 when it is not.
    pub batch_windows: u32,
}

impl Calendar {
    /// Number of windows in the measured part; the last may be cut short.
    pub fn windows(&self) -> usize {
        self.end.since(self.measured_from).0.div_ceil(self.window.0).max(1) as usize
    }

    /// Whether a fault divides the run.
    pub fn has_faults(&self) -> bool {
        self.faults_from < self.end
    }

    /// Start and end of a phase.
    pub fn bounds(&self, phase: Phase) -> (SimTime, SimTime) {
        match phase {
            Phase::All => (self.measured_from, self.end),
            Phase::Before => (self.measured_from, self.faults_from),
            Phase::During => (self.faults_from, self.faults_until.min(self.end)),
            Phase::After => (self.faults_until.min(self.end), self.end),
        }
    }

    /// Parts of the measured time that are counted apart: batches, or the phases before, during and after the faults.
    pub fn parts(&self) -> usize {
        match self.batch_windows {
            0 => 3,
            each => self.windows().div_ceil(each as usize),
        }
    }

    /// Start and end of a part.
    pub fn part_bounds(&self, part: usize) -> (SimTime, SimTime) {
        match self.batch_windows {
            0 => self.bounds([Phase::Before, Phase::During, Phase::After][part]),
            each => {
                let length = self.window * u64::from(each);
                let from = self.measured_from + length * part as u64;
                (from, (from + length).min(self.end))
            }
        }
    }

    /// The part at a time; `None` during the warm-up and after the end.
    #[inline(always)]
    pub(super) fn part_at(&self, now: SimTime) -> Option<usize> {
        if now < self.measured_from || now >= self.end {
            None
        } else if self.batch_windows > 0 {
            let window = now.since(self.measured_from).0 / self.window.0;
            Some((window / u64::from(self.batch_windows)) as usize)
        } else if now < self.faults_from {
            Some(0)
        } else {
            Some(1 + usize::from(now >= self.faults_until))
        }
    }
}
