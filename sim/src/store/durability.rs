//! What of a node's data survives its death and return: logs and snapshots on its disk.

use super::plan::{AppendFsync, FlushLog};
use crate::engine::{SimDuration, SimTime};

/// How a node keeps its data on disk.
#[derive(Clone, Debug)]
pub enum Durability {
    /// Not at all.
    None,
    /// InnoDB's log.
    Log(FlushLog),
    /// Redis's append-only file. A Redis that only dies loses nothing of it: it writes before it answers.
    Append(AppendFsync),
    /// Redis's snapshots.
    Snapshots(Snapshots),
}

/// The last whole number of `seconds` by `at`: periodic flushes have the phase of simulated time.
fn last_tick(at: SimTime, seconds: u64) -> SimTime {
    let period = SimDuration::from_secs(seconds).0;
    SimTime(at.0 / period * period)
}

impl Durability {
    /// A write at `at`.
    #[inline]
    pub fn written(&mut self, at: SimTime) {
        if let Self::Snapshots(snapshots) = self {
            snapshots.written(at);
        }
    }

    /// The node died at `at`: writes up to the time returned are there when it comes back; `None`: none are.
    pub fn survives_until(&mut self, at: SimTime, power_loss: bool) -> Option<SimTime> {
        match self {
            Self::None => None,
            Self::Log(FlushLog::AtCommit) => Some(at),
            Self::Log(FlushLog::EachSecond) => Some(last_tick(at, 1)),
            Self::Log(FlushLog::WrittenAtCommit) => Some(if power_loss { last_tick(at, 1) } else { at }),
            Self::Append(_) if !power_loss => Some(at),
            Self::Append(AppendFsync::Always) => Some(at),
            Self::Append(AppendFsync::Everysec) => Some(last_tick(at, 1)),
            // `vm.dirty_expire_centisecs` is 3000 by default.
            Self::Append(AppendFsync::No) => Some(last_tick(at, 30)),
            Self::Snapshots(snapshots) => {
                snapshots.settle(at);
                Some(snapshots.saved)
            }
        }
    }
}

/// Redis's `save`: a snapshot when one of the rules' seconds have passed since the last one and as many changes were made
/// (`serverCron` in `server.c`, 7.0). A snapshot takes no time here.
#[derive(Clone, Debug)]
pub struct Snapshots {
    rules: Vec<(SimDuration, u64)>,
    saved: SimTime,
    changes: u64,
}

impl Snapshots {
    /// Rules of (seconds, changes).
    pub fn new(rules: &[(u32, u32)]) -> Self {
        let rule =
            |&(seconds, changes): &(u32, u32)| (SimDuration::from_secs(seconds.into()), changes.into());
        Self { rules: rules.iter().map(rule).collect(), saved: SimTime::ZERO, changes: 0 }
    }

    /// Takes the snapshot that became due by `at`, no write having come since.
    fn settle(&mut self, at: SimTime) {
        let due = self.rules.iter().filter(|(_, changes)| self.changes >= *changes && self.changes > 0);
        if let Some(due) = due.map(|&(seconds, _)| self.saved + seconds).min()
            && due <= at
        {
            (self.saved, self.changes) = (due, 0);
        }
    }

    fn written(&mut self, at: SimTime) {
        self.settle(at);
        self.changes += 1;
        let due =
            |&(seconds, changes): &(SimDuration, u64)| self.changes >= changes && self.saved + seconds <= at;
        if self.rules.iter().any(due) {
            (self.saved, self.changes) = (at, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(s)
    }

    #[test]
    fn a_snapshot_is_taken_when_seconds_and_changes_of_one_rule_have_both_come() {
        let mut snapshots = Snapshots::new(&[(60, 10), (300, 2)]);
        snapshots.written(at(10));
        snapshots.written(at(20));
        snapshots.settle(at(299));
        assert_eq!(snapshots.saved, SimTime::ZERO);
        snapshots.settle(at(310));
        assert_eq!(snapshots.saved, at(300), "two changes, 300 s");
        (0..9).for_each(|i| snapshots.written(at(400 + i)));
        snapshots.settle(at(450));
        assert_eq!(snapshots.saved, at(300));
        snapshots.written(at(451));
        assert_eq!(snapshots.saved, at(451), "the tenth change comes after the 60 s");
    }

    #[test]
    fn an_append_only_file_loses_its_last_second_with_the_machine_only() {
        let death = SimTime::from_millis(7_600);
        let mut file = Durability::Append(AppendFsync::Everysec);
        assert_eq!(file.survives_until(death, false), Some(death));
        assert_eq!(file.survives_until(death, true), Some(at(7)));
        assert_eq!(Durability::Append(AppendFsync::Always).survives_until(death, true), Some(death));
        assert_eq!(Durability::Log(FlushLog::EachSecond).survives_until(death, false), Some(at(7)));
        assert_eq!(Durability::None.survives_until(death, false), None);
    }
}
