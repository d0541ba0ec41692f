//! Tracked scripts (`vrrp_script`, `track_script`): what lowers a director's priority, or takes it out, although its
//! keepalived is well.
//!
//! Source: keepalived 2.2.7, `vrrp_scheduler.c` (`vrrp_script_thread`, `vrrp_script_child_thread`) and `vrrp_track.c`.
//! Departures: a script that ends by itself takes no time; while a run hangs no other is started (keepalived logs that it
//! skips one, and starts it nevertheless).

use crate::engine::{SimDuration, SimTime};

/// A script and what its result changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VrrpScript {
    /// `interval`: time between runs; zero counts as one second, the default.
    pub interval: SimDuration,
    /// `timeout`: when a run that hangs is ended, and has failed; `None` for the interval.
    pub timeout: Option<SimDuration>,
    /// `rise`: successes in a row that make it good.
    pub rise: u32,
    /// `fall`: failures in a row that make it bad.
    pub fall: u32,
    /// `weight`, -253 to 253. 0: a bad script takes the director out. Above: added to the priority while it is good.
    /// Below: while it is bad.
    pub weight: i16,
}

impl Default for VrrpScript {
    /// keepalived's defaults.
    fn default() -> Self {
        Self { interval: SimDuration::from_secs(1), timeout: None, rise: 1, fall: 1, weight: 0 }
    }
}

/// What a script finds when it is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sight {
    /// It exits with status 0.
    #[default]
    Success,
    /// It exits with another status.
    Failure,
    /// It does not end by itself.
    Hang,
}

/// A script at work.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    script: VrrpScript,
    pub sight: Sight,
    /// Good from `rise` on; runs from 0 to `rise + fall - 1`.
    result: u32,
    /// Whether no run has ended yet.
    first: bool,
    runs_at: SimTime,
    /// When the run under way is ended.
    ends_at: SimTime,
}

impl Tracked {
    pub fn new(script: VrrpScript) -> Self {
        let interval = if script.interval.is_zero() { SimDuration::from_secs(1) } else { script.interval };
        let script = VrrpScript { interval, rise: script.rise.max(1), fall: script.fall.max(1), ..script };
        Self {
            script,
            sight: Sight::Success,
            // One success is enough at the start.
            result: script.rise - 1,
            first: true,
            runs_at: SimTime::NEVER,
            ends_at: SimTime::NEVER,
        }
    }

    /// keepalived starts, and runs every script at once.
    pub fn start(&mut self, now: SimTime) {
        *self = Self { sight: self.sight, runs_at: now, ..Self::new(self.script) };
    }

    /// It has been good for long, and is run anew.
    pub fn settle(&mut self, now: SimTime) {
        self.start(now);
        self.ended(true);
    }

    pub fn stop(&mut self) {
        self.runs_at = SimTime::NEVER;
        self.ends_at = SimTime::NEVER;
    }

    pub fn due(&self) -> SimTime {
        self.runs_at.min(self.ends_at)
    }

    /// Starts a run or ends one, whichever is due at `now`.
    pub fn tick(&mut self, now: SimTime) {
        if self.ends_at <= now {
            self.ends_at = SimTime::NEVER;
            self.ended(false);
            return;
        }
        self.runs_at = now + self.script.interval;
        match self.sight {
            Sight::Success => self.ended(true),
            Sight::Failure => self.ended(false),
            Sight::Hang => {
                self.ends_at = now + self.script.timeout.unwrap_or(self.script.interval);
                while self.runs_at < self.ends_at {
                    self.runs_at = self.runs_at + self.script.interval;
                }
            }
        }
    }

    /// A run has ended.
    fn ended(&mut self, success: bool) {
        let VrrpScript { rise, fall, .. } = self.script;
        self.result = match success {
            true if self.result + 1 < rise => self.result + 1,
            true => rise + fall - 1,
            false if self.result > rise => self.result - 1,
            false => 0,
        };
        self.first = false;
    }

    /// Whether it keeps the director from taking part: a script without a weight that is bad, or has not ended yet.
    pub fn prevents(&self) -> bool {
        self.script.weight == 0 && (self.first || self.result < self.script.rise)
    }

    /// What it adds to the priority.
    pub fn adds(&self) -> i32 {
        let good = self.result >= self.script.rise;
        let counts = !self.first && good == (self.script.weight > 0);
        if counts { i32::from(self.script.weight) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(tracked: &mut Tracked, sight: Sight, times: u32) -> bool {
        tracked.sight = sight;
        for _ in 0..times {
            let due = tracked.due();
            tracked.tick(due);
        }
        tracked.prevents()
    }

    #[test]
    fn a_script_turns_bad_after_fall_failures_and_good_after_rise_successes() {
        let mut tracked = Tracked::new(VrrpScript { rise: 2, fall: 3, ..VrrpScript::default() });
        tracked.start(SimTime::ZERO);
        assert!(tracked.prevents(), "no run has ended");
        assert!(!run(&mut tracked, Sight::Success, 1), "one success is enough at the start");
        assert!(!run(&mut tracked, Sight::Failure, 2));
        assert!(!run(&mut tracked, Sight::Success, 1), "a success between starts the count anew");
        assert!(!run(&mut tracked, Sight::Failure, 2));
        assert!(run(&mut tracked, Sight::Failure, 1));
        assert!(run(&mut tracked, Sight::Success, 1));
        assert!(!run(&mut tracked, Sight::Success, 1));
    }

    #[test]
    fn a_hanging_script_fails_at_its_time_out_and_not_before() {
        let script = VrrpScript { timeout: Some(SimDuration::from_millis(2_500)), ..VrrpScript::default() };
        let mut tracked = Tracked::new(script);
        tracked.start(SimTime::ZERO);
        run(&mut tracked, Sight::Success, 1);
        assert!(!run(&mut tracked, Sight::Hang, 1));
        assert_eq!(tracked.due(), SimTime::from_millis(3_500));
        assert!(run(&mut tracked, Sight::Hang, 1));
        assert_eq!(tracked.due(), SimTime::from_millis(4_000), "the runs keep their beat");
    }
}
