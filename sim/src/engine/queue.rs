//! The pending-event set.

/// A set of pending events, taken in the order of (time, word).
pub trait PendingEvents {
    /// Adds the event `word` at `time` [ns]. `time` is never before the last event taken.
    fn push(&mut self, time: u64, word: u32);
    /// Takes the earliest event if its time is before `horizon` [ns].
    fn pop_before(&mut self, horizon: u64) -> Option<(u64, u32)>;
    /// Events pending.
    fn len(&self) -> usize;
    /// Whether nothing is pending.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Once after each bucket that was opened: the events that will be due next after those in the current run, the
    /// word in the low 32 bits of each, so that a model can touch the rows they will need. `None` in between, and
    /// always for queues that cannot tell.
    fn opened(&mut self) -> Option<&[u64]> {
        None
    }
    /// Bytes that the set occupies.
    fn bytes(&self) -> usize;
}

/// A heap.
#[derive(Debug, Default)]
pub struct QuadHeap(std::collections::BinaryHeap<std::cmp::Reverse<(u64, u32)>>);

impl PendingEvents for QuadHeap {
    fn push(&mut self, time: u64, word: u32) {
        self.0.push(std::cmp::Reverse((time, word)));
    }
    fn pop_before(&mut self, horizon: u64) -> Option<(u64, u32)> {
        if self.0.peek()?.0.0 >= horizon {
            return None;
        }
        self.0.pop().map(|e| e.0)
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn bytes(&self) -> usize {
        self.0.capacity() * 16
    }
}

/// Placeholder.
pub type Ladder = QuadHeap;
