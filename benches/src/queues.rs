//! Queues that were measured and not taken: the standard heap, and a hierarchical wheel without widths.

use evenkeel_sim::engine::PendingEvents;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The standard library's binary heap.
#[derive(Debug, Default)]
pub struct StdHeap(BinaryHeap<Reverse<(u64, u32)>>);

impl PendingEvents for StdHeap {
    #[inline(always)]
    fn push(&mut self, time: u64, word: u32) {
        self.0.push(Reverse((time, word)));
    }

    #[inline(always)]
    fn pop_before(&mut self, horizon: u64) -> Option<(u64, u32)> {
        if self.0.peek()?.0.0 >= horizon {
            return None;
        }
        self.0.pop().map(|Reverse(event)| event)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * 16
    }
}

/// Levels of 64 slots, enough for 64 bits of time.
const LEVELS: usize = 11;
/// A slot with at most so many events is sorted instead of being spread over the level below.
const RUN_MAX: usize = 24;

/// A monotone hierarchical wheel: an event waits at the level of the highest 6-bit digit in which its time differs
/// from the present. It needs no widths and moves an event several times.
#[derive(Debug)]
pub struct Wheel64 {
    slots: Vec<Vec<(u64, u32)>>,
    occupied: [u64; LEVELS],
    present: u64,
    run_end: u64,
    /// Descending.
    run: Vec<(u64, u32)>,
    spread: Vec<(u64, u32)>,
    len: usize,
}

impl Default for Wheel64 {
    fn default() -> Self {
        Self {
            slots: vec![Vec::new(); LEVELS * 64],
            occupied: [0; LEVELS],
            present: 0,
            run_end: 0,
            run: Vec::new(),
            spread: Vec::new(),
            len: 0,
        }
    }
}

impl Wheel64 {
    #[inline(always)]
    fn put(&mut self, time: u64, word: u32) {
        let level = ((63 - ((time ^ self.present) | 1).leading_zeros()) / 6) as usize;
        let slot = ((time >> (6 * level)) & 63) as usize;
        self.occupied[level] |= 1 << slot;
        self.slots[level * 64 + slot].push((time, word));
    }

    #[inline(never)]
    fn refill(&mut self) -> bool {
        loop {
            let Some(level) = self.occupied.iter().position(|&slots| slots != 0) else { return false };
            let slot = u64::from(self.occupied[level].trailing_zeros());
            self.occupied[level] &= !(1 << slot);
            let shift = 6 * level as u32;
            let above = self.present.checked_shr(shift + 6).unwrap_or(0).checked_shl(shift + 6).unwrap_or(0);
            self.present = above | (slot << shift);
            let events = &mut self.slots[level * 64 + slot as usize];
            if events.len() <= RUN_MAX || level == 0 {
                events.sort_unstable_by(|a, b| b.cmp(a));
                std::mem::swap(&mut self.run, events);
                self.run_end = self.present.saturating_add(1 << shift);
                return true;
            }
            let mut events = std::mem::replace(events, std::mem::take(&mut self.spread));
            for (time, word) in events.drain(..) {
                self.put(time, word);
            }
            self.spread = events;
        }
    }
}

impl PendingEvents for Wheel64 {
    #[inline(always)]
    fn push(&mut self, time: u64, word: u32) {
        self.len += 1;
        if time < self.run_end {
            let at = self.run.partition_point(|&event| event > (time, word));
            self.run.insert(at, (time, word));
        } else {
            self.put(time, word);
        }
    }

    #[inline(always)]
    fn pop_before(&mut self, horizon: u64) -> Option<(u64, u32)> {
        loop {
            if let Some(&event) = self.run.last() {
                if event.0 >= horizon {
                    return None;
                }
                self.len -= 1;
                return self.run.pop();
            }
            if !self.refill() {
                return None;
            }
        }
    }

    fn len(&self) -> usize {
        self.len
    }

    fn bytes(&self) -> usize {
        self.slots.iter().map(|slot| 16 * slot.capacity()).sum()
    }
}
