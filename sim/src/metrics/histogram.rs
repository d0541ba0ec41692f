//! A histogram of durations with fixed buckets, so that histograms of runs can be added.

use crate::engine::SimDuration;

/// Buckets in an octave. A bucket is at most 1/64 of its value wide.
const PER_OCTAVE: usize = 64;
const OCTAVE_BITS: u32 = PER_OCTAVE.trailing_zeros();
/// Durations from 0 to 2^63 ns.
const BUCKETS: usize = (64 - OCTAVE_BITS as usize) * PER_OCTAVE;

/// Counts of durations in log-linear buckets (after HdrHistogram), with their exact sum and maximum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By bucket; empty before the first duration.
    counts: Vec<u64>,
    total: u64,
    /// Sum of all durations \[ns\].
    sum: u128,
    max: u64,
}

impl Histogram {
    /// Counts a duration.
    #[inline]
    pub fn record(&mut self, value: SimDuration) {
        self.fill();
        self.counts[bucket(value.0)] += 1;
        self.total += 1;
        self.sum += u128::from(value.0);
        self.max = self.max.max(value.0);
    }

    /// Makes room, once. Most runs have some times that never occur.
    #[inline]
    fn fill(&mut self) {
        if self.counts.is_empty() {
            self.counts.resize(BUCKETS, 0);
        }
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Self) {
        if other.total > 0 {
            self.fill();
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// The buckets that hold anything, to be kept when many histograms are.
    pub fn sparse(&self) -> Sparse {
        Sparse {
            buckets: self.filled().map(|(index, count)| (index as u16, count)).collect(),
            total: self.total,
            sum: self.sum,
            max: self.max,
        }
    }

    /// Adds the counts of a histogram that was kept.
    pub fn add(&mut self, other: &Sparse) {
        self.fill();
        for &(index, count) in &other.buckets {
            self.counts[usize::from(index)] += count;
        }
        self.total += other.total;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Sum of all durations \[ns\].
    pub fn sum_ns(&self) -> f64 {
        self.sum as f64
    }

    /// Mean \[s\]; `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        (self.total > 0).then(|| self.sum as f64 / self.total as f64 / 1e9)
    }

    /// Longest duration \[s\]; `None` when empty.
    pub fn max(&self) -> Option<f64> {
        (self.total > 0).then(|| self.max as f64 / 1e9)
    }

    /// The quantile `q` in 0..=1 \[s\], interpolated within its bucket; `None` when empty. It is off by less than 1/64 of its
    /// value.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        quantile(self.filled(), self.total, self.max, q)
    }

    fn filled(&self) -> impl Iterator<Item = (usize, u64)> {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// The distribution function at the upper bounds of the buckets that hold anything: (seconds, share at most that).
    pub fn cdf(&self) -> Vec<(f64, f64)> {
        let mut below = 0;
        self.filled()
            .map(|(index, count)| {
                below += count;
                (bounds(index).1.min(self.max as f64) / 1e9, below as f64 / self.total as f64)
            })
            .collect()
    }
}

/// A histogram without its empty buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sparse {
    /// (bucket, count), in order of buckets.
    buckets: Vec<(u16, u64)>,
    total: u64,
    sum: u128,
    max: u64,
}

impl Sparse {
    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// As [`Histogram::quantile`].
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let filled = self.buckets.iter().map(|&(index, count)| (usize::from(index), count));
        quantile(filled, self.total, self.max, q)
    }

    /// How many durations are below one \[s\], those of its own bucket pro rata.
    pub fn below(&self, seconds: f64) -> f64 {
        let place = seconds * 1e9;
        let share = |(low, high): (f64, f64)| ((place - low) / (high - low)).clamp(0.0, 1.0);
        self.buckets.iter().map(|&(index, count)| share(bounds(index.into())) * count as f64).sum()
    }
}

/// The quantile `q` \[s\] of `total` durations, of which the longest is `max` \[ns\], from the buckets that hold anything.
fn quantile(filled: impl Iterator<Item = (usize, u64)>, total: u64, max: u64, q: f64) -> Option<f64> {
    if total == 0 {
        return None;
    }
    let wanted = (q * total as f64).clamp(0.0, total as f64);
    let mut below = 0.0;
    for (index, count) in filled {
        let count = count as f64;
        if below + count >= wanted {
            let (low, high) = bounds(index);
            let within = low + (high - low) * ((wanted - below) / count);
            return Some(within.min(max as f64) / 1e9);
        }
        below += count;
    }
    Some(max as f64 / 1e9)
}

#[inline]
fn bucket(value: u64) -> usize {
    let octave = (64 - (value | (PER_OCTAVE as u64 - 1)).leading_zeros()) - OCTAVE_BITS;
    // In octave 0 values are their own bucket; in octave k the top 7 bits, the first of them set, tell the bucket.
    let within = (value >> octave.saturating_sub(1)) as usize;
    let index = if octave == 0 { within } else { (octave as usize - 1) * PER_OCTAVE + within };
    index.min(BUCKETS - 1)
}

/// Lower and upper bound of a bucket \[ns\].
fn bounds(index: usize) -> (f64, f64) {
    if index < 2 * PER_OCTAVE {
        return (index as f64, index as f64 + 1.0);
    }
    let shift = index / PER_OCTAVE - 1;
    let within = (index % PER_OCTAVE + PER_OCTAVE) as u128;
    ((within << shift) as f64, ((within + 1) << shift) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for shift in 0..62 {
            for offset in [0_u64, 1, 3, 17] {
                let value = (1_u64 << shift) + offset * ((1 << shift) / 20).max(1);
                let (low, high) = bounds(bucket(value));
                let v = value as f64;
                assert!(low <= v && v < high && high - low <= (v / 64.0).max(1.0), "{value}: {low}..{high}");
            }
        }
    }

    #[test]
    fn quantiles_of_a_uniform_ramp_are_where_they_should_be() {
        let mut histogram = Histogram::default();
        for millis in 1..=1000 {
            histogram.record(SimDuration::from_millis(millis));
        }
        for q in [0.1, 0.5, 0.9, 0.99] {
            let found = histogram.quantile(q).unwrap();
            assert!((found / q - 1.0).abs() < 1.0 / 64.0, "{q}: {found}");
        }
        assert_eq!(histogram.quantile(1.0), Some(1.0));
        assert_eq!(histogram.mean(), Some(0.5005));
    }

    #[test]
    fn merging_is_counting_together() {
        let (mut a, mut b, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for (i, millis) in [5, 80, 1200, 3, 3, 90_000].into_iter().enumerate() {
            let value = SimDuration::from_millis(millis);
            if i % 2 == 0 {
                a.record(value)
            } else {
                b.record(value)
            }
            both.record(value);
        }
        a.merge(&b);
        assert_eq!(a, both);
        assert_eq!(a.cdf().last().unwrap().1, 1.0);
    }

    #[test]
    fn what_is_kept_sparsely_says_the_same() {
        let mut first = Histogram::default();
        (1..50).for_each(|millis| first.record(SimDuration::from_millis(millis * millis)));
        let sparse = first.sparse();
        let mut pooled = Histogram::default();
        pooled.add(&sparse);
        assert_eq!(pooled, first);
        assert_eq!((sparse.count(), sparse.below(10.0)), (49, 49.0));
        for q in [0.0, 0.3, 0.5, 0.99] {
            let place = sparse.quantile(q).unwrap();
            assert_eq!(Some(place), first.quantile(q));
            assert!((sparse.below(place) - q * 49.0).abs() < 1e-6, "{q}");
        }
        assert_eq!((Sparse::default().below(1.0), Sparse::default().quantile(0.5)), (0.0, None));
    }

    #[test]
    fn an_empty_histogram_has_no_values() {
        let histogram = Histogram::default();
        assert_eq!((histogram.mean(), histogram.max(), histogram.quantile(0.5)), (None, None, None));
    }
}
