//! A two-level ladder queue that chooses its own widths.
//!
//! After Tang, Goh & Thng, "Ladder Queue: An O(1) Priority Queue Structure for Large-Scale Discrete Event Simulation"
//! (ACM TOMACS 15(3), 2005), with two fixed levels in place of rungs that spawn: a coarse wheel of append-only chunks,
//! the open coarse bucket spread over fine ones, the open fine bucket sorted into a run. An entry takes 8 bytes: the
//! time since the start of its coarse bucket above the event word, so that one comparison orders both. Events that
//! wait are never part of a chain of dependent cache misses: appends are stores to warm tails, opening a bucket reads
//! memory in order.
//!
//! Two heaps take what does not fit, so that no pattern of times costs more than the logarithm of the events pending:
//! events beyond the wheel, and events that would have to be inserted into a long run. Widths follow the rate at
//! which events are taken; they change the speed and never the order.

use super::wheel::Wheel;
use super::widths::{Distances, FINE_BITS, Widths, fine_shift_for};
use super::{PendingEvents, QuadHeap};

const FINE: usize = 1 << FINE_BITS;
/// Events may be inserted into a run of up to this length; moving half of it costs less than a heap does.
const RUN_INSERT_MAX: usize = 256;
/// A vector above this capacity [entries] is given back once it is empty.
const KEPT_CAPACITY_MAX: usize = 1 << 14;
/// Fine buckets that are announced together when the group before them is begun. The loads of a batch of one bucket
/// leave the processor waiting for the last of them most of the time; those of four overlap.
const GROUP: usize = 4;
/// Most events announced at a time: their rows fit in the first-level cache.
const AHEAD_MAX: usize = 256;
/// Operations between reviews of the widths, at least; also at least half the events pending, which bounds the cost
/// of all reviews and rebuilds by a constant for each operation.
const REVIEW_AFTER_MIN: u64 = 1 << 12;
/// Events taken between two reviews from which their rate is believed.
const RATE_EVENTS_MIN: u64 = 1 << 10;

/// The pending-event set for runs of any size: about as fast at ten million events as at a thousand.
#[derive(Debug)]
pub struct Ladder {
    /// The open fine bucket: entries in descending order, the earliest last.
    run: Vec<u64>,
    /// Start of the open coarse bucket \[ns\]: what the times in `run` and `fine` count from.
    base: u64,
    /// Events before this time \[ns\] go to `run` or `late`, never to a bucket.
    run_end: u64,
    /// Number of the open coarse bucket: its start divided by the width.
    open: u64,
    /// Buckets after the open one that the wheel covers.
    reach: u64,
    widths: Widths,
    /// The open coarse bucket, spread; only the first 2^(coarse_shift - fine_shift) are in use.
    fine: Box<[Vec<u64>; FINE]>,
    /// Next fine bucket to open.
    next_fine: usize,
    /// Events of the group of fine buckets after that of the open one.
    ahead: Vec<u64>,
    /// Whether `ahead` was filled since [`PendingEvents::opened`] last looked.
    freshly_filled: bool,
    /// The group that `ahead` was filled for.
    group: usize,
    wheel: Wheel,
    /// Events beyond the wheel.
    far: QuadHeap,
    /// Events before `run_end` that are not in `run`.
    late: QuadHeap,
    pushed: u64,
    popped: u64,
    /// Sum of `pushed` and `popped` at which the widths are reviewed next.
    review_at: u64,
    /// `popped` at the last review.
    reviewed_popped: u64,
    /// `run_end` at the last review.
    reviewed_time: u64,
}

impl Default for Ladder {
    fn default() -> Self {
        // Until the first review, which the first event taken brings, all events wait in the heap of far ones.
        let fine: Box<[Vec<u64>]> = (0..FINE).map(|_| Vec::new()).collect();
        Self {
            run: Vec::new(),
            base: 0,
            run_end: 0,
            open: 0,
            reach: 0,
            widths: Widths { fine_shift: 0, coarse_shift: 0, buckets: 0 },
            fine: fine.try_into().unwrap_or_else(|_| unreachable!("collected that many")),
            next_fine: FINE,
            ahead: Vec::new(),
            freshly_filled: false,
            group: usize::MAX,
            wheel: Wheel::default(),
            far: QuadHeap::default(),
            late: QuadHeap::default(),
            pushed: 0,
            popped: 0,
            review_at: 0,
            reviewed_popped: 0,
            reviewed_time: 0,
        }
    }
}

impl Ladder {
    /// The entry of an event of a bucket that starts at or before `time` and is no wider than 2^32 ns.
    #[inline(always)]
    fn entry(&self, time: u64, word: u32) -> u64 {
        let in_bucket = time & ((1 << self.widths.coarse_shift) - 1);
        (in_bucket << 32) | u64::from(word)
    }

    /// Puts an event that is due after the run into its bucket or heap.
    #[inline(always)]
    fn place(&mut self, time: u64, word: u32) {
        let bucket = time >> self.widths.coarse_shift;
        let entry = self.entry(time, word);
        let ahead = bucket.wrapping_sub(self.open);
        if ahead.wrapping_sub(1) < self.reach {
            self.wheel.append(bucket, entry);
        } else if ahead == 0 && time >= self.run_end {
            self.fine[(entry >> (32 + self.widths.fine_shift)) as usize % FINE].push(entry);
        } else {
            self.place_outside(time, word, entry, ahead);
        }
    }

    /// Puts an event that belongs into no bucket: into the run, or into one of the heaps.
    #[inline(never)]
    fn place_outside(&mut self, time: u64, word: u32, entry: u64, ahead: u64) {
        if time >= self.run_end {
            self.far.push(time, word);
            // Without widths yet, the heap only collects; a sample is enough to choose them by.
            if self.reach == 0 && self.far.len() == 1 << 16 {
                self.review();
            }
        } else if ahead == 0 && self.run.len() <= RUN_INSERT_MAX {
            let at = self.run.partition_point(|&other| other > entry);
            self.run.insert(at, entry);
        } else {
            self.late.push(time, word);
        }
    }

    /// Takes the earliest event when it is not simply the last of the run.
    #[inline(never)]
    fn pop_before_slowly(&mut self, horizon: u64) -> Option<(u64, u32)> {
        if self.pushed + self.popped >= self.review_at {
            self.review();
        }
        loop {
            let in_run = self.run.last().map(|&entry| (self.base + (entry >> 32), entry as u32));
            let first = match (in_run, self.late.first()) {
                (None, None) => {
                    if !self.open_next(horizon) {
                        return None;
                    }
                    continue;
                }
                (Some(in_run), Some(late)) => in_run.min(late),
                (Some(first), None) | (None, Some(first)) => first,
            };
            if first.0 >= horizon {
                return None;
            }
            if in_run == Some(first) {
                self.run.pop();
            } else {
                self.late.pop_before(horizon);
            }
            self.popped += 1;
            return Some(first);
        }
    }

    /// Opens the next fine bucket that holds anything, in the next coarse one if need be. The run is empty before and
    /// not after. `false` if no bucket that starts before `horizon` holds anything.
    fn open_next(&mut self, horizon: u64) -> bool {
        let fine_shift = self.widths.fine_shift;
        let in_use = 1usize << (self.widths.coarse_shift - fine_shift);
        loop {
            while self.next_fine < in_use {
                let at = self.next_fine;
                self.next_fine += 1;
                let bucket = &mut self.fine[at % FINE];
                if bucket.is_empty() {
                    continue;
                }
                if self.run.capacity() > KEPT_CAPACITY_MAX {
                    self.run = Vec::new();
                }
                std::mem::swap(&mut self.run, bucket);
                sort_descending(&mut self.run);
                self.run_end = self.base.saturating_add((at as u64 + 1) << fine_shift);
                if at / GROUP != self.group {
                    self.group = at / GROUP;
                    self.look_ahead();
                }
                return true;
            }
            // All fine buckets are closed now: what is still scheduled before the next coarse one goes to the run.
            self.run_end = self.base.saturating_add(1 << self.widths.coarse_shift);
            if !self.open_coarse(horizon) {
                return false;
            }
        }
    }

    /// Collects the events of the next group of fine buckets.
    fn look_ahead(&mut self) {
        self.ahead.clear();
        let from = (self.group + 1) * GROUP;
        for bucket in self.fine.get(from..from + GROUP).unwrap_or_default() {
            let room = AHEAD_MAX - self.ahead.len();
            self.ahead.extend_from_slice(&bucket[..bucket.len().min(room)]);
        }
        self.freshly_filled = true;
    }

    /// Opens the next coarse bucket that holds anything and spreads it over the fine ones, which are all empty.
    fn open_coarse(&mut self, horizon: u64) -> bool {
        let shift = self.widths.coarse_shift;
        let in_wheel = self.wheel.distance_to_occupied(self.open + 1).map(|ahead| self.open + 1 + ahead);
        let in_heap = self.far.first().filter(|&(time, _)| time < horizon).map(|(time, _)| time >> shift);
        let Some(next) = [in_wheel, in_heap].into_iter().flatten().min() else { return false };
        let start = next << shift;
        if start >= horizon {
            return false;
        }
        self.open = next;
        self.base = start;
        self.run_end = start;
        self.next_fine = 0;
        self.group = usize::MAX;
        let covered_end = next.saturating_add(self.reach + 1).saturating_mul(1 << shift);
        while let Some((time, word)) = self.far.pop_before(covered_end) {
            self.place(time, word);
        }
        let (fine, fine_shift) = (&mut self.fine, self.widths.fine_shift);
        self.wheel.drain(next, |entries| {
            for &entry in entries {
                fine[(entry >> (32 + fine_shift)) as usize % FINE].push(entry);
            }
        });
        true
    }

    /// Looks whether the widths still suit the rate at which events are taken, and rebuilds the buckets if not.
    #[inline(never)]
    fn review(&mut self) {
        let pending = self.len();
        if pending == 0 {
            return;
        }
        let taken = self.popped - self.reviewed_popped;
        let elapsed = self.run_end.saturating_sub(self.reviewed_time);
        let fine_shift = (taken >= RATE_EVENTS_MIN && elapsed > 0).then(|| fine_shift_for(taken, elapsed));
        self.reviewed_popped = self.popped;
        self.reviewed_time = self.run_end;

        let off_rate = fine_shift.is_some_and(|wanted| wanted.abs_diff(self.widths.fine_shift) > 1);
        let crowded_heaps = 8 * self.late.len().max(self.far.len()) > pending + 64;
        let slack = self.wheel.spare() > 2 * pending + 64 * self.wheel.buckets();
        if self.reach == 0 || off_rate || crowded_heaps || slack {
            self.rebuild(fine_shift);
        }
        self.review_at = self.pushed + self.popped + REVIEW_AFTER_MIN.max(pending as u64 / 2);
    }

    /// Chooses widths anew and moves every event to its new place.
    fn rebuild(&mut self, fine_shift: Option<u32>) {
        let (mut earliest, mut distances) = (u64::MAX, Distances::default());
        self.for_each(|time, _| earliest = earliest.min(time));
        self.for_each(|time, _| distances.add(time - earliest));
        let widths = distances.widths(fine_shift);
        let old = std::mem::take(self);
        self.widths = widths;
        self.open = earliest >> widths.coarse_shift;
        self.base = self.open << widths.coarse_shift;
        self.run_end = self.base;
        self.next_fine = 0;
        self.reach = widths.buckets as u64 - 1;
        self.wheel = Wheel::new(widths.buckets, old.len());
        old.for_each(|time, word| self.place(time, word));
        (self.pushed, self.popped) = (old.pushed, old.popped);
        (self.reviewed_popped, self.reviewed_time) = (old.reviewed_popped, old.reviewed_time);
    }

    /// Every event, in no particular order.
    fn for_each(&self, mut visit: impl FnMut(u64, u32)) {
        for &entry in self.run.iter().chain(self.fine.iter().flatten()) {
            visit(self.base + (entry >> 32), entry as u32);
        }
        for (time, word) in self.far.iter().chain(self.late.iter()) {
            visit(time, word);
        }
        let (base, shift) = (self.base, self.widths.coarse_shift);
        self.wheel
            .for_each(self.open, |ahead, entry| visit(base + (ahead << shift) + (entry >> 32), entry as u32));
    }
}

impl PendingEvents for Ladder {
    #[inline(always)]
    fn push(&mut self, time: u64, word: u32) {
        self.pushed += 1;
        self.place(time, word);
    }

    #[inline(always)]
    fn pop_before(&mut self, horizon: u64) -> Option<(u64, u32)> {
        if let Some(&entry) = self.run.last()
            && self.late.is_empty()
        {
            let time = self.base + (entry >> 32);
            if time >= horizon {
                return None;
            }
            self.run.pop();
            self.popped += 1;
            return Some((time, entry as u32));
        }
        self.pop_before_slowly(horizon)
    }

    #[inline(always)]
    fn len(&self) -> usize {
        (self.pushed - self.popped) as usize
    }

    #[inline(always)]
    fn opened(&mut self) -> Option<&[u64]> {
        if !self.freshly_filled {
            return None;
        }
        self.freshly_filled = false;
        Some(&self.ahead)
    }

    fn bytes(&self) -> usize {
        let fine: usize = self.fine.iter().map(Vec::capacity).sum();
        (self.run.capacity() + fine + self.ahead.capacity()) * size_of::<u64>()
            + FINE * size_of::<Vec<u64>>()
            + self.wheel.bytes()
            + self.far.bytes()
            + self.late.bytes()
    }
}

/// Sorts an opened bucket, the earliest event last.
#[inline(always)]
fn sort_descending(run: &mut [u64]) {
    run.sort_unstable_by(|a, b| b.cmp(a));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: events that all share one instant, with more scheduled at it meanwhile, do not cost quadratic time.
    /// Method: entries that were moved within the run are bounded by the limit for insertion.
    #[test]
    fn a_long_run_takes_no_insertions() {
        let mut ladder = Ladder::default();
        for word in 0..10_000 {
            ladder.push(5, 2 * word);
        }
        assert_eq!(ladder.pop_before(u64::MAX), Some((5, 0)));
        let before = ladder.run.len();
        for word in 0..100 {
            ladder.push(5, 2 * word + 1);
        }
        assert_eq!((ladder.run.len(), ladder.late.len()), (before, 100));
        assert_eq!(ladder.pop_before(u64::MAX), Some((5, 1)));
    }

    /// Goal: a horizon that falls into a gap does not carry the ladder past events that are scheduled later, as
    /// faults are between two stretches of a run.
    #[test]
    fn an_event_may_be_added_before_the_bucket_that_a_horizon_stopped_at() {
        let mut ladder = Ladder::default();
        ladder.push(1_000_000_000_000, 1);
        assert_eq!(ladder.pop_before(999_999_999_999), None);
        ladder.push(7, 2);
        assert_eq!(ladder.pop_before(u64::MAX), Some((7, 2)));
        assert_eq!(ladder.pop_before(u64::MAX), Some((1_000_000_000_000, 1)));
        assert_eq!(ladder.pop_before(u64::MAX), None);
    }

    /// Goal: the fine width settles at 8 to 32 events a bucket whatever the rate was before.
    #[test]
    fn widths_follow_the_rate() {
        let mut ladder = Ladder::default();
        let mut now = 0;
        for word in 0..1_000 {
            ladder.push(u64::from(word), word);
        }
        for gap in [1_000u64, 1, 50_000, 30] {
            for _ in 0..40_000 {
                let (time, word) = ladder.pop_before(u64::MAX).expect("the hold model keeps its events");
                now = time;
                ladder.push(now + 1_000 * gap, word);
            }
            let events = (1u64 << ladder.widths.fine_shift) / gap;
            assert!(
                (8..=32).contains(&events),
                "{events} events in a bucket at one every {gap} ns, at {now}"
            );
        }
    }
}
