//! A metric over the replications of a strategy: its estimate, and what each replication contributed to it.
//!
//! Ratios and quantiles are taken of what all replications counted together, so that a replication with few counts weighs
//! little. How far a ratio may be off is told by the jackknife (Miller, Biometrika 61 (1974), 1): with one replication
//! left out at a time, n times the whole estimate less n - 1 times the other is a value of that replication, and Student's t
//! applies to these as it does to the values that a mean is made of. Differences between strategies are paired value by value.
//!
//! A quantile is a step function of the counts, for which the jackknife's spread is too small, and the more so the fewer counts lie
//! beyond it. Its interval is Woodruff's (Journal of the American Statistical Association 47 (1952), 635): the share of counts below
//! the quantile is a ratio, whose interval is the jackknife's, and the quantiles at its ends are those of the interval. Far out the
//! upper end lies further away than the lower one. One width is kept for both, the root mean square, so that quantiles are compared
//! as everything else is (Francisco and Fuller, Annals of Statistics 19 (1991), 454, for the value of a replication that follows).
//!
//! A single long run is cut into batches, and each batch is left out in turn; for a mean over time that is the method of batch
//! means (Schmeiser, Operations Research 30 (1982), 556), and it serves ratios, quantiles and load skew alike.

use super::intervals::{CONFIDENCE, Spread, t_within, welch_degrees};
use super::summary::Estimate;
use crate::metrics::histogram::Sparse;
use crate::metrics::measure::{Reading, quantile};
use crate::metrics::{Histogram, Timed};

/// A metric over replications.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    /// The estimate; `None` when the metric is undefined in every replication.
    pub centre: Option<f64>,
    /// The metric's own value in each replication, where it has one.
    pub values: Vec<Option<f64>>,
    /// What each replication (or batch) contributed: values whose spread is that of the estimate. With one replication and no
    /// batches there is one.
    pub parts: Vec<Option<f64>>,
}

impl Column {
    /// The column of readings of replications, none of them a quantile.
    pub fn of(readings: &[Option<Reading>]) -> Self {
        let counts = |reading: &Option<Reading>| match reading {
            Some(Reading::Ratio { part, whole }) => Some((*part as f64, *whole as f64)),
            _ => None,
        };
        let value = |reading: &Option<Reading>| match reading {
            Some(Reading::Value(value)) => Some(*value),
            ratio => counts(ratio).map(|(part, whole)| part / whole),
        };
        let values: Vec<_> = readings.iter().map(value).collect();
        match Ratio::of(readings.iter().map(counts)) {
            Some(ratio) => Self { centre: Some(ratio.centre), parts: ratio.parts, values },
            None => Self::of_values(values),
        }
    }

    /// The column of the quantile `q` of a time, of which each replication has a distribution.
    pub fn of_quantile(of: Timed, q: f64, times: &[&Sparse]) -> Self {
        let mut pooled = Histogram::default();
        times.iter().for_each(|times| pooled.add(times));
        let in_unit = |seconds: f64| seconds * of.per_second();
        let place = pooled.quantile(q);
        let below = |times: &&Sparse| {
            place.filter(|_| times.count() > 0).map(|place| (times.below(place), times.count() as f64))
        };
        let parts = match Ratio::of(times.iter().map(below)).zip(place) {
            None => vec![None; times.len()],
            Some((share, place)) => {
                let spread = Spread::of(share.parts.iter().flatten().copied());
                let width = spread.and_then(|it| Some(t_within(it.n - 1, CONFIDENCE) * it.error?));
                let width = width.filter(|&width| width > 0.0);
                let slope = width.map_or(0.0, |width| {
                    let distance =
                        |share: f64| pooled.quantile(share.clamp(0.0, 1.0)).unwrap_or(place) - place;
                    let (up, down) = (distance(q + width), distance(q - width));
                    libm::sqrt((up * up + down * down) / 2.0) / width
                });
                let middle = spread.map_or(0.0, |it| it.mean);
                share.parts.iter().map(|part| Some(in_unit(place - slope * ((*part)? - middle)))).collect()
            }
        };
        Self {
            centre: place.map(in_unit),
            values: times.iter().map(|times| times.quantile(q).map(in_unit)).collect(),
            parts,
        }
    }

    /// The column of a mean over replications.
    pub fn of_values(values: Vec<Option<f64>>) -> Self {
        let spread = Spread::of(values.iter().flatten().copied());
        Self { centre: spread.map(|spread| spread.mean), parts: values.clone(), values }
    }

    /// The column of a single run: its value, and the value without each of its batches.
    pub fn of_batches(value: Option<f64>, without: &[Option<f64>]) -> Self {
        let parts = match value {
            Some(value) if without.iter().all(Option::is_some) && without.len() > 1 => {
                without.iter().map(|left| left.map(|left| pseudo(value, left, without.len()))).collect()
            }
            _ => vec![value],
        };
        Self { centre: value, values: vec![value], parts }
    }

    /// The estimate with its 95 % interval; `None` when it is undefined.
    pub fn estimate(&self) -> Option<Estimate> {
        let spread = Spread::of(self.parts.iter().flatten().copied())?;
        Some(spread.estimate(self.centre?))
    }

    /// The quantile `q` of the values over replications; `None` without any.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        quantile(&self.values.iter().flatten().copied().collect::<Vec<_>>(), q)
    }

    /// The estimate of this column less `factor` times another, replication by replication; pairs without both are left out.
    pub fn less(&self, factor: f64, other: &Self) -> Option<Estimate> {
        let pairs = self.parts.iter().zip(&other.parts);
        let spread = Spread::of(pairs.filter_map(|(a, b)| Some((*a)? - factor * (*b)?)))?;
        Some(spread.estimate(self.centre? - factor * other.centre?))
    }

    /// The estimate of this column less `factor` times another that met other clients, after Welch (Biometrika 34 (1947), 28).
    pub fn less_unpaired(&self, factor: f64, other: &Self) -> Option<Estimate> {
        let own = Spread::of(self.parts.iter().flatten().copied())?;
        let theirs = Spread::of(other.parts.iter().flatten().map(|part| factor * part))?;
        let error = own.error.zip(theirs.error).map(|(a, b)| libm::sqrt(a * a + b * b));
        let degrees = welch_degrees(&own, &theirs);
        Some(Spread { mean: 0.0, error, n: degrees + 1 }.estimate(self.centre? - factor * other.centre?))
    }

    /// The ratio of this column's estimate to another's, paired, its interval by linearisation; `None` when the other is zero.
    pub fn ratio_to(&self, other: &Self) -> Option<Estimate> {
        let of = other.centre.filter(|&of| of != 0.0)?;
        let ratio = self.centre? / of;
        let rest = self.less(ratio, other)?;
        Some(Estimate { mean: ratio, half_width: rest.half_width.map(|half| half / of.abs()), n: rest.n })
    }

    /// The quantile `q` over replications with bounds that hold it with the given confidence, whatever the distribution: order
    /// statistics (David and Nagaraja, Order Statistics, 2003, 7.1). A bound for which there are too few replications is infinite.
    pub fn quantile_within(&self, q: f64, confidence: f64) -> Option<(f64, f64, f64)> {
        let mut sorted: Vec<f64> = self.values.iter().flatten().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let centre = self.quantile(q)?;
        let tail = (1.0 - confidence) / 2.0;
        // The number of values below the quantile is binomial. Its distribution function, built up term by term.
        let n = sorted.len();
        let (mut term, mut sum) = (libm::pow(1.0 - q, n as f64), 0.0);
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        for (below, &value) in sorted.iter().enumerate() {
            sum += term;
            if sum <= tail {
                low = value;
            }
            if sum >= 1.0 - tail {
                high = high.min(value);
            }
            term *= (n - below) as f64 / (below + 1) as f64 * q / (1.0 - q);
        }
        Some((centre, low, high))
    }

    /// The first `n` replications of a column of means; of other columns the first `n` contributions and their mean, which is
    /// the estimate but for the jackknife's correction.
    pub fn first(&self, n: usize) -> Self {
        if n >= self.parts.len() {
            return self.clone();
        }
        Self {
            values: self.values.iter().take(n).copied().collect(),
            ..Self::of_values(self.parts[..n].to_vec())
        }
    }
}

/// A ratio of counts that replications have in common.
struct Ratio {
    centre: f64,
    /// What each replication contributed.
    parts: Vec<Option<f64>>,
}

impl Ratio {
    /// Of (part, whole) of each replication; `None` without any.
    fn of(counts: impl Iterator<Item = Option<(f64, f64)>> + Clone) -> Option<Self> {
        let (part, whole) = counts.clone().flatten().fold((0.0, 0.0), |(a, b), (p, w)| (a + p, b + w));
        let defined = counts.clone().flatten().count();
        let centre = part / whole;
        let contributed = |(p, w): (f64, f64)| {
            pseudo(centre, if whole > w { (part - p) / (whole - w) } else { centre }, defined)
        };
        (defined > 0).then(|| Self { centre, parts: counts.map(|counts| counts.map(contributed)).collect() })
    }
}

/// What a replication contributed, of `n`, when the estimate without it is `left`.
fn pseudo(centre: f64, left: f64, n: usize) -> f64 {
    centre + (n as f64 - 1.0) * (centre - left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SimDuration;

    fn ratio(part: u64, whole: u64) -> Option<Reading> {
        Some(Reading::Ratio { part, whole })
    }

    #[test]
    fn ratios_are_of_all_counts_together() {
        let column = Column::of(&[ratio(1, 2), ratio(0, 98), None]);
        assert_eq!(column.centre, Some(0.01));
        assert_eq!(column.values, [Some(0.5), Some(0.0), None]);
        assert_eq!(column.estimate().map(|estimate| estimate.n), Some(2));
    }

    #[test]
    fn with_equal_wholes_the_jackknife_is_the_textbook_interval() {
        let column = Column::of(&[1, 2, 3, 4, 5].map(|part| ratio(part, 10)));
        let means = Column::of_values([0.1, 0.2, 0.3, 0.4, 0.5].map(Some).to_vec());
        let (found, expected) = (column.estimate().unwrap(), means.estimate().unwrap());
        assert!((found.mean - expected.mean).abs() < 1e-12);
        assert!((found.half_width.unwrap() - expected.half_width.unwrap()).abs() < 1e-12);
    }

    #[test]
    fn quantiles_are_of_the_pooled_distribution() {
        let latencies: Vec<Sparse> = [10, 1_000]
            .map(|count| {
                let mut histogram = Histogram::default();
                (1..=count).for_each(|i| histogram.record(SimDuration::from_millis(i * 1_000 / count)));
                histogram.sparse()
            })
            .to_vec();
        let column = Column::of_quantile(Timed::Latency, 0.9, &latencies.iter().collect::<Vec<_>>());
        assert!((column.centre.unwrap() / 900.0 - 1.0).abs() < 0.02, "{column:?}");
    }

    #[test]
    fn an_interval_of_a_quantile_is_that_of_the_share_below_it() {
        // Ten replications of 100 times each, spread evenly over a second and shifted by up to 90 ms. Of each 45 to 55 % or so lie
        // below the median of all, and near it the quantile rises by 10 ms for each per cent.
        let times: Vec<Sparse> = (0..10)
            .map(|shift| {
                let mut histogram = Histogram::default();
                (1..=100)
                    .for_each(|i| histogram.record(SimDuration::from_millis(1_000 + i * 10 + shift * 10)));
                histogram.sparse()
            })
            .collect();
        let column = Column::of_quantile(Timed::Latency, 0.5, &times.iter().collect::<Vec<_>>());
        let shifts = Column::of_values((0..10).map(|shift| Some(f64::from(shift) * 10.0)).collect());
        let (found, expected) = (column.estimate().unwrap(), shifts.estimate().unwrap());
        let ratio = found.half_width.unwrap() / expected.half_width.unwrap();
        assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
        assert!((found.mean - 1_550.0).abs() < 10.0, "{found:?}");
        // What is the same everywhere has no spread, and what has no counts takes no part.
        let (same, none) = (&times[0], Sparse::default());
        let column = Column::of_quantile(Timed::Latency, 0.5, &[same, same, &none]);
        let estimate = column.estimate().unwrap();
        assert_eq!((estimate.half_width, estimate.n, column.values[2]), (Some(0.0), 2, None));
    }

    #[test]
    fn differences_are_paired() {
        let a = Column::of_values(vec![Some(3.0), None, Some(5.0)]);
        let b = Column::of_values(vec![Some(1.0), Some(9.0), Some(3.0)]);
        let difference = a.less(1.0, &b).unwrap();
        assert_eq!((difference.half_width, difference.n), (Some(0.0), 2));
    }

    #[test]
    fn bounds_of_a_quantile_are_order_statistics() {
        let column = |n: u32| Column::of_values((1..=n).map(|value| Some(f64::from(value))).collect());
        // For n = 10 the 95 % bounds of the median are the 2nd and the 9th value (97.9 %).
        let (centre, low, high) = column(10).quantile_within(0.5, 0.95).unwrap();
        assert_eq!((centre, low, high), (5.5, 2.0, 9.0));
        // 0.95^n is above 2.5 % up to n = 71, so that fewer replications bound the 95th percentile from below only.
        assert_eq!(column(71).quantile_within(0.95, 0.95).unwrap().2, f64::INFINITY);
        assert_eq!(column(72).quantile_within(0.95, 0.95).unwrap().2, 72.0);
    }

    #[test]
    fn ratios_of_columns_are_paired() {
        let double =
            |column: &Column| Column::of_values(column.values.iter().map(|v| v.map(|v| 2.0 * v)).collect());
        let column = Column::of_values([1.0, 5.0, 3.0].map(Some).to_vec());
        let ratio = double(&column).ratio_to(&column).unwrap();
        assert_eq!((ratio.mean, ratio.half_width), (2.0, Some(0.0)));
        assert_eq!(column.ratio_to(&Column::of_values(vec![Some(0.0); 3])), None);
    }

    #[test]
    fn batches_of_a_mean_are_batch_means() {
        let batches = [1.0, 2.0, 3.0, 6.0];
        let without = batches.map(|batch| Some((12.0 - batch) / 3.0));
        let column = Column::of_batches(Some(3.0), &without);
        let parts: Vec<f64> = column.parts.iter().map(|part| part.unwrap()).collect();
        assert!(parts.iter().zip(batches).all(|(part, batch)| (part - batch).abs() < 1e-12), "{parts:?}");
    }
}
