//! What of a node's data survives its death and return: logs and snapshots on its disk.

use super::plan::{AppendFsync, FlushLog};
use crate::engine::{SimDuration, SimTime};

/// How a node keeps its data on disk.
#[derive(Clone, Debug)]
pub enum Durability {
    /// Not at all.
    None,
    /// InnoDB's log and the binary log.
    Log(Log),
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

/// Linux writes what has been dirty for so long (`vm.dirty_expire_centisecs`, 3000 by default).
const KERNEL_FLUSHES_S: u64 = 30;

/// What a MySQL source has on its disk. A commit is kept if both logs have it: what is prepared in InnoDB's and not in the binary log
/// is rolled back when the source starts again (MySQL 8.0 Reference Manual, 7.4.4 and 17.14).
#[derive(Clone, Copy, Debug)]
pub struct Log {
    flush: FlushLog,
    /// `sync_binlog`.
    every: u32,
    /// Commits since the binary log was flushed, and when that was.
    unflushed: u32,
    flushed: SimTime,
}

impl Log {
    /// With `innodb_flush_log_at_trx_commit` and `sync_binlog`.
    pub fn new(flush: FlushLog, sync_binlog: u32) -> Self {
        Self { flush, every: sync_binlog, unflushed: 0, flushed: SimTime::ZERO }
    }

    fn written(&mut self, at: SimTime) {
        self.unflushed += 1;
        if self.unflushed >= self.every {
            (self.unflushed, self.flushed) = (0, at);
        }
    }

    fn survives_until(&self, at: SimTime, power_loss: bool) -> SimTime {
        let redo = match self.flush {
            FlushLog::AtCommit => at,
            FlushLog::WrittenAtCommit if !power_loss => at,
            FlushLog::WrittenAtCommit | FlushLog::EachSecond => last_tick(at, 1),
        };
        let binary = match self.every {
            // A process that dies loses nothing that it has written.
            _ if !power_loss => at,
            0 => last_tick(at, KERNEL_FLUSHES_S),
            _ if self.unflushed == 0 => at,
            _ => self.flushed,
        };
        redo.min(binary)
    }
}

impl Durability {
    /// A write at `at`.
    #[inline]
    pub fn written(&mut self, at: SimTime) {
        match self {
            Self::Snapshots(snapshots) => snapshots.written(at),
            Self::Log(log) => log.written(at),
            Self::None | Self::Append(_) => {}
        }
    }

    /// The node died at `at`: writes up to the time returned are there when it comes back; `None`: none are.
    pub fn survives_until(&mut self, at: SimTime, power_loss: bool) -> Option<SimTime> {
        match self {
            Self::None => None,
            Self::Log(log) => Some(log.survives_until(at, power_loss)),
            Self::Append(_) if !power_loss => Some(at),
            Self::Append(AppendFsync::Always) => Some(at),
            Self::Append(AppendFsync::Everysec) => Some(last_tick(at, 1)),
            Self::Append(AppendFsync::No) => Some(last_tick(at, KERNEL_FLUSHES_S)),
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
    fn a_binary_log_that_is_flushed_now_and_then_loses_its_end_with_the_machine_only() {
        let death = at(65);
        for (sync_binlog, kept) in [(1, death), (2, at(40)), (3, death), (0, at(60)), (100, SimTime::ZERO)] {
            let mut log = Durability::Log(Log::new(FlushLog::AtCommit, sync_binlog));
            for s in [35, 40, 45] {
                log.written(at(s));
            }
            assert_eq!(log.survives_until(death, true), Some(kept), "sync_binlog = {sync_binlog}");
            assert_eq!(log.survives_until(death, false), Some(death));
        }
    }

    #[test]
    fn an_append_only_file_loses_its_last_second_with_the_machine_only() {
        let death = SimTime::from_millis(7_600);
        let mut file = Durability::Append(AppendFsync::Everysec);
        assert_eq!(file.survives_until(death, false), Some(death));
        assert_eq!(file.survives_until(death, true), Some(at(7)));
        assert_eq!(Durability::Append(AppendFsync::Always).survives_until(death, true), Some(death));
        let log = Log::new(FlushLog::EachSecond, 1);
        assert_eq!(Durability::Log(log).survives_until(death, false), Some(at(7)));
        assert_eq!(Durability::None.survives_until(death, false), None);
    }
}
