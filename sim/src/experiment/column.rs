//! A metric over the replications of a strategy: its estimate, and what each replication contributed to it.
//!
//! Ratios and quantiles are taken of what all replications counted together, so that a replication with few counts weighs
//! little. How far such an estimate may be off is told by the jackknife (Miller, Biometrika 61 (1974), 1): with one replication
//! left out at a time, n times the whole estimate less n - 1 times the other is a value of that replication, and Student's t
//! applies to these as it does to the values that a mean is made of. Differences between strategies are paired value by value.
//!
//! A single long run is cut into batches, and each batch is left out in turn; for a mean over time that is the method of batch
//! means (Schmeiser, Operations Research 30 (1982), 556), and it serves ratios, quantiles and load skew alike.

use super::intervals::{Spread, welch_degrees};
use super::summary::Estimate;
use crate::metrics::Histogram;
use crate::metrics::histogram::Sparse;
use crate::metrics::measure::{Reading, quantile};

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
    /// The column of readings of replications, with the response times of each.
    pub fn of(readings: &[Option<Reading>], latencies: &[&Sparse]) -> Self {
        let defined = readings.iter().flatten().count();
        let values = || {
            let alone = |(reading, latency): (&Option<Reading>, &&Sparse)| {
                let mut histogram = Histogram::new();
                if matches!(reading, Some(Reading::LatencyQuantile(_))) {
                    histogram.add(latency);
                }
                reading.and_then(|reading| reading.value(&histogram))
            };
            readings.iter().zip(latencies).map(alone).collect::<Vec<_>>()
        };
        match readings.iter().flatten().next() {
            None => {
                Self { centre: None, values: vec![None; readings.len()], parts: vec![None; readings.len()] }
            }
            Some(Reading::Value(_)) => Self::of_values(values()),
            Some(Reading::Ratio { .. }) => {
                let counts = |reading: &Option<Reading>| match reading {
                    Some(Reading::Ratio { part, whole }) => Some((*part, *whole)),
                    _ => None,
                };
                let (all, of) =
                    readings.iter().filter_map(counts).fold((0, 0), |(a, b), (p, w)| (a + p, b + w));
                let centre = all as f64 / of as f64;
                let left = |reading| {
                    let (part, whole): (u64, u64) = counts(reading)?;
                    Some(if of > whole { (all - part) as f64 / (of - whole) as f64 } else { centre })
                };
                let parts = readings.iter().map(|reading| Some(pseudo(centre, left(reading)?, defined)));
                Self { centre: Some(centre), parts: parts.collect(), values: values() }
            }
            Some(&Reading::LatencyQuantile(q)) => {
                let mut pooled = Histogram::new();
                latencies.iter().for_each(|latency| pooled.add(latency));
                let millis = |pooled: &Histogram| Reading::LatencyQuantile(q).value(pooled);
                let centre = millis(&pooled);
                let parts = readings.iter().zip(latencies).map(|(reading, latency)| {
                    reading.as_ref()?;
                    pooled.take_back(latency);
                    let left = millis(&pooled);
                    pooled.add(latency);
                    Some(pseudo(centre?, left.or(centre)?, defined))
                });
                Self { parts: parts.collect(), centre, values: values() }
            }
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

    fn of_ratios(readings: &[Option<Reading>]) -> Column {
        let empty = Sparse::default();
        Column::of(readings, &vec![&empty; readings.len()])
    }

    #[test]
    fn ratios_are_of_all_counts_together() {
        let column = of_ratios(&[ratio(1, 2), ratio(0, 98), None]);
        assert_eq!(column.centre, Some(0.01));
        assert_eq!(column.values, [Some(0.5), Some(0.0), None]);
        assert_eq!(column.estimate().map(|estimate| estimate.n), Some(2));
    }

    #[test]
    fn with_equal_wholes_the_jackknife_is_the_textbook_interval() {
        let column = of_ratios(&[1, 2, 3, 4, 5].map(|part| ratio(part, 10)));
        let means = Column::of_values([0.1, 0.2, 0.3, 0.4, 0.5].map(Some).to_vec());
        let (found, expected) = (column.estimate().unwrap(), means.estimate().unwrap());
        assert!((found.mean - expected.mean).abs() < 1e-12);
        assert!((found.half_width.unwrap() - expected.half_width.unwrap()).abs() < 1e-12);
    }

    #[test]
    fn quantiles_are_of_the_pooled_distribution() {
        let latencies: Vec<Sparse> = [10, 1_000]
            .map(|count| {
                let mut histogram = Histogram::new();
                (1..=count).for_each(|i| histogram.record(SimDuration::from_millis(i * 1_000 / count)));
                histogram.sparse()
            })
            .to_vec();
        let readings = [Some(Reading::LatencyQuantile(0.9)); 2];
        let column = Column::of(&readings, &latencies.iter().collect::<Vec<_>>());
        assert!((column.centre.unwrap() / 900.0 - 1.0).abs() < 0.02, "{column:?}");
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
