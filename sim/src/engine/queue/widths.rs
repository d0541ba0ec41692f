//! How wide the ladder's buckets are.

/// log2 of the fine buckets that a coarse one is spread over.
pub(super) const FINE_BITS: u32 = 11;
/// Events that a fine bucket should hold: enough to pay for opening it, few enough to sort in registers and L1.
const DENSITY: u64 = 16;
/// A fine bucket is at most 67 ms wide, so that at least 64 of them fit in the 32 bits of time that an entry has.
const FINE_SHIFT_MAX: u32 = 26;
/// Fewest coarse buckets.
const BUCKETS_MIN: u64 = 64;
/// Most coarse buckets: beyond this, the tails leave the second-level cache.
const BUCKETS_MAX: u64 = 1 << 15;
/// One event in so many may lie beyond the wheel and wait in a heap.
const FAR_SHARE: u64 = 256;

/// The widths of a ladder. They decide its speed and nothing else: the order of events does not depend on them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Widths {
    /// log2 of a fine bucket's width \[ns\].
    pub(super) fine_shift: u32,
    /// log2 of a coarse bucket's width \[ns\], at most 32.
    pub(super) coarse_shift: u32,
    /// Coarse buckets, a power of two.
    pub(super) buckets: usize,
}

/// log2 of the fine width that holds [`DENSITY`] events when `events` happened in `elapsed` ns.
pub(super) fn fine_shift_for(events: u64, elapsed: u64) -> u32 {
    // The factor 181 / 128 is the square root of 2, which rounds the logarithm instead of cutting it.
    let width = u128::from(elapsed) * u128::from(DENSITY) * 181 / (u128::from(events.max(1)) * 128);
    width.max(1).ilog2().min(FINE_SHIFT_MAX)
}

/// How far ahead events lie: counts by the number of bits of their distance \[ns\] from the earliest one.
#[derive(Clone, Debug)]
pub(super) struct Distances([u64; 65]);

impl Default for Distances {
    fn default() -> Self {
        Self([0; 65])
    }
}

impl Distances {
    /// Counts an event at `distance` from the earliest one.
    #[inline(always)]
    pub(super) fn add(&mut self, distance: u64) {
        self.0[(u64::BITS - distance.leading_zeros()) as usize] += 1;
    }

    /// The fewest bits in which the distances of at least `wanted` events fit, and how many events these are.
    fn bits_covering(&self, wanted: u64) -> (u32, u64) {
        let mut covered = 0;
        for (bits, count) in (0..).zip(self.0) {
            covered += count;
            if covered >= wanted {
                return (bits, covered);
            }
        }
        (u64::BITS, covered)
    }

    /// The widths that suit these events. `fine_shift` comes from the rate at which events were taken, if that is
    /// known; otherwise from the density of the earliest quarter.
    pub(super) fn widths(&self, fine_shift: Option<u32>) -> Widths {
        let total: u64 = self.0.iter().sum();
        let fine_shift = fine_shift.unwrap_or_else(|| {
            let (bits, covered) = self.bits_covering((total / 4).max(1));
            fine_shift_for(covered, 1u64.checked_shl(bits).unwrap_or(u64::MAX))
        });
        let coarse_shift = (fine_shift + FINE_BITS).min(u32::BITS);
        // Twice what the pending events need, since the next ones are scheduled as far ahead again.
        let (horizon_bits, _) = self.bits_covering(total - total / FAR_SHARE);
        let buckets = 1u64
            .checked_shl((horizon_bits + 1).saturating_sub(coarse_shift))
            .unwrap_or(BUCKETS_MAX)
            .clamp(BUCKETS_MIN, BUCKETS_MAX);
        Widths { fine_shift, coarse_shift, buckets: buckets as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fine_bucket_holds_sixteen_events_at_the_rate_it_was_chosen_for() {
        // One event a microsecond: sixteen of them take 16 us, which is nearest to 2^14 ns.
        assert_eq!(fine_shift_for(1_000_000, 1_000_000_000), 14);
        assert_eq!(fine_shift_for(1, u64::MAX), FINE_SHIFT_MAX);
        assert_eq!(fine_shift_for(u64::MAX, 1), 0);
        assert_eq!(fine_shift_for(0, 0), 0);
    }

    #[test]
    fn the_wheel_reaches_as_far_as_nearly_all_events() {
        let mut distances = Distances::default();
        for at in 0..100_000u64 {
            distances.add(at * 100_000);
        }
        distances.add(u64::MAX);
        let widths = distances.widths(None);
        assert!((widths.buckets as u64) << widths.coarse_shift >= 10_000_000_000, "{widths:?}");
        assert!(widths.buckets <= 256, "{widths:?}");
    }

    #[test]
    fn any_set_of_events_gives_usable_widths() {
        for distance in [0, 1, u64::MAX] {
            let mut distances = Distances::default();
            distances.add(distance);
            for fine_shift in [None, Some(0), Some(FINE_SHIFT_MAX)] {
                let widths = distances.widths(fine_shift);
                assert!(widths.coarse_shift <= 32 && widths.fine_shift <= widths.coarse_shift);
                assert!(widths.buckets.is_power_of_two() && widths.buckets >= 64);
            }
        }
    }
}
