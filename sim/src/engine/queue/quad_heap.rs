//! A 4-ary heap: the queue that is easy to see to be right.

use super::PendingEvents;

/// Children of a node. Four 16-byte keys fill one cache line, which halves the misses of a binary heap's sift.
const ARITY: usize = 4;

/// An implicit 4-ary heap of 16-byte keys (time above word), after LaMarca & Ladner, "The Influence of Caches on the
/// Performance of Heaps" (ACM JEA 1, 1996). Holds no buckets and no widths; its cost grows with the logarithm of the
/// events pending and, from about 1e5, with the misses of its last levels.
#[derive(Clone, Debug, Default)]
pub struct QuadHeap {
    /// Node i has the children 4 i + 1 to 4 i + 4, none of them smaller than itself.
    keys: Vec<u128>,
}

/// (time, word) as one integer of the same order.
#[inline(always)]
fn key(time: u64, word: u32) -> u128 {
    (u128::from(time) << 32) | u128::from(word)
}

/// The time and word of a key.
#[inline(always)]
fn unkey(key: u128) -> (u64, u32) {
    ((key >> 32) as u64, key as u32)
}

impl QuadHeap {
    /// The earliest event, left in its place.
    #[inline(always)]
    pub fn first(&self) -> Option<(u64, u32)> {
        self.keys.first().map(|&key| unkey(key))
    }

    /// All events, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.keys.iter().map(|&key| unkey(key))
    }

    /// Puts `key` in place of the root and restores the order below it.
    #[inline]
    fn sift_down(&mut self, key: u128) {
        let keys = self.keys.as_mut_slice();
        let mut hole = 0;
        loop {
            let first = ARITY * hole + 1;
            let (child, least) = if let Some(&[a, b, c, d]) = keys.get(first..first + ARITY) {
                // Two rounds of a tournament: the comparisons of a round do not wait for each other.
                let left = if b < a { (first + 1, b) } else { (first, a) };
                let right = if d < c { (first + 3, d) } else { (first + 2, c) };
                if right.1 < left.1 { right } else { left }
            } else {
                let rest = keys.get(first..).unwrap_or_default();
                match rest.iter().enumerate().min_by_key(|&(_, key)| *key) {
                    Some((at, &least)) => (first + at, least),
                    None => break,
                }
            };
            if key <= least {
                break;
            }
            keys[hole] = least;
            hole = child;
        }
        keys[hole] = key;
    }
}

impl PendingEvents for QuadHeap {
    #[inline]
    fn push(&mut self, time: u64, word: u32) {
        let key = key(time, word);
        let mut hole = self.keys.len();
        self.keys.push(key);
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            if self.keys[parent] <= key {
                break;
            }
            self.keys[hole] = self.keys[parent];
            hole = parent;
        }
        self.keys[hole] = key;
    }

    #[inline]
    fn pop_before(&mut self, horizon: u64) -> Option<(u64, u32)> {
        let first = self.first()?;
        if first.0 >= horizon {
            return None;
        }
        let last = self.keys.pop()?;
        if !self.keys.is_empty() {
            self.sift_down(last);
        }
        Some(first)
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn bytes(&self) -> usize {
        self.keys.capacity() * size_of::<u128>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_and_then_word() {
        let mut heap = QuadHeap::default();
        let events = [(5, 1), (3, 9), (5, 0), (u64::MAX - 1, 7), (0, u32::MAX), (3, 2)];
        for (time, word) in events {
            heap.push(time, word);
        }
        let mut sorted = events;
        sorted.sort_unstable();
        let taken: Vec<_> = std::iter::from_fn(|| heap.pop_before(u64::MAX)).collect();
        assert_eq!(taken, sorted);
    }

    #[test]
    fn an_event_at_the_horizon_stays() {
        let mut heap = QuadHeap::default();
        heap.push(10, 1);
        assert_eq!(heap.pop_before(10), None);
        assert_eq!(heap.len(), 1);
        assert_eq!(heap.pop_before(11), Some((10, 1)));
    }
}
