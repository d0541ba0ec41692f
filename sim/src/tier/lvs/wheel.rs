//! The kernel's timer wheel: timers that fire at a tick, late by up to an eighth of their timeout.
//!
//! Source: Linux 6.1, `kernel/time/timer.c` (`calc_wheel_index`, `__mod_timer`, `collect_expired_timers`,
//! `__run_timers`). Nine levels of 64 buckets; a bucket of level `n` is 8^n ticks wide, and a timer goes to the lowest
//! level that reaches far enough, into the bucket *behind* the one that its time falls in. So it fires at the end of a
//! granule, never early. Timers of one bucket run last-armed first; when buckets of several levels are due at one tick,
//! the highest level runs first. A timer that is armed again for the bucket in which it waits keeps its place there.
//!
//! Departure: the kernel measures the distance that chooses the level from its own position, which is one tick ahead
//! while timers run. That makes a difference only for timeouts of exactly 63 times a power of 8 ticks, and no timeout
//! in whole seconds is.

use crate::engine::{SimDuration, SimTime};

use super::KernelClock;
use super::table::{Entry, NONE};

const LEVELS: usize = 9;
const BUCKETS: usize = 64;

/// A timeout at which the wheel ends, in ticks (`WHEEL_TIMEOUT_CUTOFF`): 48 days at 250 Hz. Longer ones are cut.
const TICKS_MAX: u32 = (63 << (3 * (LEVELS as u32 - 1))) - (1 << (3 * (LEVELS as u32 - 1)));

/// The level of an entry whose timer is not armed.
pub(super) const UNARMED: u8 = 0x0F;

impl KernelClock {
    /// The clock with its values cut to what the arithmetic can hold: 1 to 10 000 ticks a second, and 60 bits of
    /// counter, of which the wheel uses 30.
    pub(super) fn bounded(self) -> Self {
        let (hz, jiffies_at_zero) = (self.hz.clamp(1, 10_000), self.jiffies_at_zero % (1 << 60));
        Self { hz, jiffies_at_zero, ..self }
    }

    /// The tick counter at `time`.
    pub(super) fn jiffies(&self, time: SimTime) -> u64 {
        const SECOND: u64 = 1_000_000_000;
        let hz = u64::from(self.hz);
        let passed = match time.0.checked_sub(self.tick_phase.0) {
            // Whole seconds apart, so that no product overflows.
            Some(since) => (since / SECOND) * hz + (since % SECOND) * hz / SECOND + 1,
            None => 0,
        };
        self.jiffies_at_zero + passed
    }

    /// The next time at which the counter changes, after `time`, whose counter is `jiffies`.
    pub(super) fn next_tick(&self, jiffies: u64) -> SimTime {
        const SECOND: u64 = 1_000_000_000;
        let hz = u64::from(self.hz);
        let ticks = jiffies - self.jiffies_at_zero;
        let nanos = (ticks / hz).saturating_mul(SECOND).saturating_add(((ticks % hz) * SECOND).div_ceil(hz));
        SimTime(nanos.saturating_add(self.tick_phase.0))
    }

    /// A timeout in ticks, rounded up, at most what the wheel can hold.
    pub(super) fn ticks(&self, timeout: SimDuration) -> u32 {
        const SECOND: u64 = 1_000_000_000;
        let hz = u64::from(self.hz);
        let whole = (timeout.0 / SECOND).saturating_mul(hz);
        let ticks = whole.saturating_add((timeout.0 % SECOND * hz).div_ceil(SECOND));
        ticks.min(u64::from(TICKS_MAX) - 1) as u32
    }

    /// The length of `ticks`.
    pub(super) fn duration(&self, ticks: u32) -> SimDuration {
        SimDuration(u64::from(ticks) * 1_000_000_000 / u64::from(self.hz))
    }
}

/// The buckets. The lists run through the entries.
#[derive(Debug)]
pub(super) struct TimerWheel {
    first: [u32; LEVELS * BUCKETS],
    /// One bit for each bucket that holds a timer, by level.
    occupied: [u64; LEVELS],
    /// No bucket is due before this jiffy.
    next_due: u64,
    /// The jiffy up to which everything that was due has fired.
    now: u64,
}

/// First entries of the lists that are due at one tick, by level; [`NONE`] where a level has none.
pub(super) type Due = [u32; LEVELS];

impl TimerWheel {
    /// An empty wheel at `jiffies`.
    pub fn new(jiffies: u64) -> Self {
        Self { first: [NONE; LEVELS * BUCKETS], occupied: [0; LEVELS], next_due: u64::MAX, now: jiffies }
    }

    /// The present jiffy.
    #[inline]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Arms the timer of `slot`, or arms it anew, to run out in `ticks`.
    #[inline]
    pub fn arm(&mut self, entries: &mut [Entry], slot: u32, ticks: u32) {
        let expires = self.now + u64::from(ticks);
        let level = level_of(ticks);
        let bucket = bucket_of(expires as u32, level);
        let entry = &mut entries[slot as usize];
        if entry.level() == level && bucket_of(entry.expires, level) == bucket {
            entry.expires = expires as u32;
            return;
        }
        if entry.level() != UNARMED {
            self.disarm(entries, slot);
        }
        let second = std::mem::replace(&mut self.first[bucket], slot);
        self.occupied[usize::from(level)] |= 1 << (bucket % BUCKETS);
        self.next_due = self.next_due.min(granule_end(expires, level));
        let entry = &mut entries[slot as usize];
        entry.expires = expires as u32;
        entry.timer_next = second;
        entry.timer_previous = NONE;
        entry.set_level(level);
        if second != NONE {
            entries[second as usize].timer_previous = slot;
        }
    }

    /// Takes the timer of `slot`, which is armed, out of its bucket.
    #[inline]
    pub fn disarm(&mut self, entries: &mut [Entry], slot: u32) {
        let entry = &mut entries[slot as usize];
        let (next, previous, level) = (entry.timer_next, entry.timer_previous, entry.level());
        let bucket = bucket_of(entry.expires, level);
        entry.set_level(UNARMED);
        if next != NONE {
            entries[next as usize].timer_previous = previous;
        }
        if previous != NONE {
            entries[previous as usize].timer_next = next;
        } else {
            self.first[bucket] = next;
            if next == NONE {
                self.occupied[usize::from(level)] &= !(1 << (bucket % BUCKETS));
            }
        }
    }

    /// Ticks until the timer of `entry` nominally runs out; 0 when that is past and it waits for its bucket.
    pub fn ticks_left(&self, entry: &Entry) -> u32 {
        let left = entry.expires.wrapping_sub(self.now as u32);
        // More than half the range away is the past: no timeout is that long.
        if left > u32::MAX / 2 { 0 } else { left }
    }

    /// Goes on to the next tick, at most `until`, at which something is due, and takes those lists out of the wheel.
    /// `None` when nothing is due up to `until`, where the wheel then stands.
    #[inline]
    pub fn advance(&mut self, until: u64) -> Option<Due> {
        while self.next_due <= until {
            self.now = self.next_due;
            let due = self.collect();
            self.next_due = self.find_next_due();
            if due.iter().any(|&first| first != NONE) {
                return Some(due);
            }
        }
        self.now = self.now.max(until);
        None
    }

    /// Takes the first entry off a list of [`Due`]; its timer is then not armed.
    pub fn pop(&mut self, entries: &mut [Entry], first: &mut u32) -> Option<u32> {
        let slot = *first;
        if slot == NONE {
            return None;
        }
        let entry = &mut entries[slot as usize];
        *first = entry.timer_next;
        entry.set_level(UNARMED);
        if *first != NONE {
            entries[*first as usize].timer_previous = NONE;
        }
        Some(slot)
    }

    /// Drops every timer, whose entries are gone.
    pub fn clear(&mut self) {
        *self = Self::new(self.now);
    }

    /// Takes the lists that are due now.
    fn collect(&mut self) -> Due {
        let mut due = [NONE; LEVELS];
        for (level, list) in due.iter_mut().enumerate() {
            let granules = self.now >> (3 * level);
            let bucket = (granules % BUCKETS as u64) as usize;
            if self.occupied[level] >> bucket & 1 != 0 {
                self.occupied[level] &= !(1 << bucket);
                *list = std::mem::replace(&mut self.first[level * BUCKETS + bucket], NONE);
            }
            // A higher level turns only when this one has completed eight granules.
            if !granules.is_multiple_of(8) {
                break;
            }
        }
        due
    }

    /// The jiffy after `now` at which the next bucket is due.
    fn find_next_due(&self) -> u64 {
        let mut next = u64::MAX;
        for (level, &occupied) in self.occupied.iter().enumerate() {
            if occupied != 0 {
                let granule = (self.now >> (3 * level)) + 1;
                let ahead = occupied.rotate_right((granule % BUCKETS as u64) as u32).trailing_zeros();
                next = next.min((granule + u64::from(ahead)) << (3 * level));
            }
        }
        next
    }
}

/// The lowest level that reaches `ticks` ahead (`calc_wheel_index`).
#[inline]
fn level_of(ticks: u32) -> u8 {
    if ticks < 63 {
        return 0;
    }
    // 63 * 8^(n-1) <= ticks < 63 * 8^n is level n.
    let level = (ticks / 63).ilog2() / 3 + 1;
    level.min(LEVELS as u32 - 1) as u8
}

/// The jiffy at which a timer fires that is armed at `now` to run out in `ticks`.
pub(super) fn fires_at(now: u64, ticks: u32) -> u64 {
    granule_end(now + u64::from(ticks), level_of(ticks))
}

/// The end of the granule around `now` in which a timer of `ticks` may fire.
pub(super) fn next_granule(now: u64, ticks: u32) -> u64 {
    granule_end(now, level_of(ticks))
}

/// The end of the granule of a level in which `expires` falls.
#[inline]
fn granule_end(expires: u64, level: u8) -> u64 {
    let shift = 3 * u32::from(level);
    ((expires >> shift) + 1) << shift
}

/// The bucket of a timer: the one behind the granule that its time falls in (`calc_index`).
#[inline]
fn bucket_of(expires: u32, level: u8) -> usize {
    let granule = (expires >> (3 * u32::from(level))).wrapping_add(1);
    usize::from(level) * BUCKETS + granule as usize % BUCKETS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tier::lvs::state::TcpState;
    use crate::tier::lvs::table::{Key, Kind, Table};

    /// A wheel at `jiffies`, and a table of `count` entries without timers.
    fn wheel(jiffies: u64, count: u32) -> (TimerWheel, Table) {
        let mut table = Table::new();
        for client in 0..count {
            let key = Key { client, ipv6: false, port: 0, endpoint: 0, template: false };
            table.insert(key, Kind::Connection(TcpState::SynRecv), 0, NONE);
        }
        (TimerWheel::new(jiffies), table)
    }

    /// What fires up to `until`, in order, with its jiffy.
    fn fire(wheel: &mut TimerWheel, table: &mut Table, until: u64) -> Vec<(u64, u32)> {
        let mut fired = Vec::new();
        while let Some(mut due) = wheel.advance(until) {
            for list in due.iter_mut().rev() {
                while let Some(slot) = wheel.pop(table.entries_mut(), list) {
                    fired.push((wheel.now(), slot));
                }
            }
        }
        fired
    }

    #[test]
    fn timeouts_are_rounded_up_to_granules_of_their_level() {
        for (ticks, fires) in
            [(0, 1), (1, 2), (62, 63), (63, 64), (1_250, 1_280), (15_000, 15_360), (225_000, 225_280)]
        {
            let (mut wheel, mut table) = wheel(1 << 33, 1);
            wheel.arm(table.entries_mut(), 0, ticks);
            assert_eq!(fire(&mut wheel, &mut table, 1 << 34), [((1 << 33) + fires, 0)], "{ticks} ticks");
        }
    }

    #[test]
    fn timers_of_one_bucket_run_last_armed_first() {
        let (mut wheel, mut table) = wheel(0, 3);
        for (slot, ticks) in [(0, 1_000), (1, 1_001), (2, 1_002)] {
            wheel.arm(table.entries_mut(), slot, ticks);
        }
        // The same bucket again: its place stays.
        wheel.arm(table.entries_mut(), 0, 1_005);
        assert_eq!(fire(&mut wheel, &mut table, 5_000), [(1_024, 2), (1_024, 1), (1_024, 0)]);
    }

    #[test]
    fn of_several_levels_due_at_one_tick_the_highest_runs_first() {
        let (mut wheel, mut table) = wheel(0, 2);
        wheel.arm(table.entries_mut(), 0, 15_000);
        fire(&mut wheel, &mut table, 15_350);
        wheel.arm(table.entries_mut(), 1, 9);
        assert_eq!(fire(&mut wheel, &mut table, 20_000), [(15_360, 0), (15_360, 1)]);
    }

    #[test]
    fn the_clock_ticks_at_its_phase() {
        let clock = KernelClock { hz: 250, jiffies_at_zero: 100, tick_phase: SimDuration::from_millis(3) };
        for (ms, jiffies) in [(0, 100), (2, 100), (3, 101), (6, 101), (7, 102), (1_003, 351)] {
            assert_eq!(clock.jiffies(SimTime::from_millis(ms)), jiffies, "at {ms} ms");
        }
        assert_eq!(clock.next_tick(101), SimTime::from_millis(7));
    }

    #[test]
    fn extreme_clocks_overflow_nothing() {
        for (hz, jiffies_at_zero) in [(0, 0), (u32::MAX, u64::MAX), (1_000, u64::MAX)] {
            for tick_phase in [SimDuration::ZERO, SimDuration::MAX] {
                let clock = KernelClock { hz, jiffies_at_zero, tick_phase }.bounded();
                let last = clock.jiffies(SimTime::NEVER);
                assert!(
                    last >= clock.jiffies_at_zero
                        && clock.next_tick(last) >= clock.next_tick(clock.jiffies_at_zero)
                );
                assert!(clock.ticks(SimDuration::MAX) < TICKS_MAX);
            }
        }
    }

    proptest! {
        #[test]
        fn the_next_tick_is_the_first_moment_of_its_jiffy(
            hz in 1_u32..2_000,
            phase in 0_u64..1_000_000,
            time in 0_u64..10_000_000_000_000,
        ) {
            let clock = KernelClock { hz, jiffies_at_zero: 7, tick_phase: SimDuration(phase) };
            let jiffies = clock.jiffies(SimTime(time));
            let next = clock.next_tick(jiffies);
            prop_assert!(next > SimTime(time));
            prop_assert_eq!(clock.jiffies(next), jiffies + 1);
            prop_assert_eq!(clock.jiffies(SimTime(next.0 - 1)), jiffies);
        }

        #[test]
        fn a_timer_fires_neither_early_nor_later_than_a_granule(start in 0_u64..1 << 40, ticks in 0..TICKS_MAX) {
            let (mut wheel, mut table) = wheel(start, 1);
            wheel.arm(table.entries_mut(), 0, ticks);
            let fired = fire(&mut wheel, &mut table, start + (1 << 31));
            prop_assert_eq!(fired.len(), 1);
            let late = fired[0].0 - (start + u64::from(ticks));
            // A granule is at most 8/63 of the timeout.
            prop_assert!(late >= 1 && late <= (u64::from(ticks) * 8 / 63).max(1), "{} late", late);
        }

        /// Against a plain list: each armed timer with the tick it is due at, its level and when it was put there.
        #[test]
        fn any_sequence_fires_as_a_sorted_list_would(
            start in 0_u64..1 << 34,
            steps in prop::collection::vec((0_u32..16, 0_u32..40_000, 0_u64..20_000, any::<bool>()), 1..200),
        ) {
            let (mut wheel, mut table) = wheel(start, 16);
            let mut armed: Vec<(u64, std::cmp::Reverse<u8>, std::cmp::Reverse<usize>, u32)> = Vec::new();
            for (sequence, (slot, ticks, pause, cancel)) in steps.into_iter().enumerate() {
                let until = wheel.now() + pause;
                armed.sort_unstable();
                let due = armed.partition_point(|timer| timer.0 <= until);
                let expected: Vec<_> = armed.drain(..due).map(|timer| (timer.0, timer.3)).collect();
                prop_assert_eq!(fire(&mut wheel, &mut table, until), expected);

                let before = armed.iter().position(|timer| timer.3 == slot).map(|place| armed.swap_remove(place));
                if cancel {
                    if before.is_some() {
                        wheel.disarm(table.entries_mut(), slot);
                    }
                    continue;
                }
                wheel.arm(table.entries_mut(), slot, ticks);
                let level = level_of(ticks);
                let shift = 3 * u32::from(level);
                let at = (((wheel.now() + u64::from(ticks)) >> shift) + 1) << shift;
                let kept = before.filter(|timer| timer.0 == at && timer.1.0 == level);
                armed.push(kept.unwrap_or((at, std::cmp::Reverse(level), std::cmp::Reverse(sequence), slot)));
            }
        }
    }
}
