//! When there are enough replications.

use super::summary::Precision;
use super::{Experiment, ExperimentError};
use crate::metrics::{MetricId, Phase};

/// Replications before the first look. Fewer look precise by chance too often.
pub(super) const FIRST_LOOK: u32 = 10;

/// The numbers of replications after which results are looked at: each half as many again as the one before, so that looks are
/// few. Which they are depends on nothing that was found.
fn looks(most: u32) -> impl Iterator<Item = u32> {
    let next = move |&n: &u32| (n < most).then(|| (n + n.div_ceil(2)).min(most));
    std::iter::successors(Some(FIRST_LOOK.min(most)), next)
}

impl Experiment<'_> {
    /// Carries out the scenario's replications; with a `precision`, until it is reached or there are so many. `progress` is
    /// called with the share of these that is done.
    ///
    /// # Errors
    /// The first run that failed, in the order of (strategy, replication).
    pub fn run_to_precision(&mut self, progress: &(dyn Fn(f64) + Sync)) -> Result<(), ExperimentError> {
        let most = self.scenario.replications;
        if self.scenario.precision.is_none() {
            return self.extend_to(most, progress);
        }
        for look in looks(most) {
            let (from, of) = (f64::from(self.replications()), f64::from(most));
            let share = |share: f64| progress((from + share * (f64::from(look) - from)) / of);
            self.extend_to(look, &share)?;
            if self.precision().is_some_and(|precision| precision.reached) {
                break;
            }
        }
        Ok(())
    }

    /// How precise the results are, if that was asked for.
    pub(super) fn precision(&self) -> Option<Precision> {
        let wanted = self.scenario.precision.as_ref()?;
        let relative = |strategy: usize, metric: MetricId| {
            let estimate = self.column(strategy, metric, Phase::All)?.estimate()?;
            // What is zero in all replications is as precise as it gets.
            let half = estimate.half_width.unwrap_or(f64::INFINITY);
            Some(if half == 0.0 { 0.0 } else { half / estimate.mean.abs() })
        };
        let widest = (0..self.records.len())
            .flat_map(|strategy| wanted.metrics.iter().filter_map(move |&metric| relative(strategy, metric)))
            .fold(0.0, f64::max);
        Some(Precision {
            wanted: wanted.relative,
            metrics: wanted.metrics.iter().map(|metric| metric.name().into_owned()).collect(),
            found: widest.is_finite().then_some(widest),
            reached: widest <= wanted.relative,
            replications_most: self.scenario.replications,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Column;
    use super::*;
    use crate::engine::Stream;
    use crate::ids::StreamId;

    #[test]
    fn stopping_when_precise_costs_little_coverage() {
        // Goal: the interval after a stop covers the mean nearly as often as one after a fixed number of replications does.
        // Method: 2,000 trials of exponential values, heavier in the tail than most metrics, stopped at 10 %.
        let trials: u64 = 2_000;
        let mut covered = 0;
        for trial in 0..trials {
            let stream = Stream::new(5, trial, StreamId::NoiseFloor);
            let value = |at: u32| Some(-libm::log(stream.uniform(0, at.into())));
            let stopped = looks(2_000)
                .map(|n| Column::of_values((0..n).map(value).collect()).estimate().expect("values"))
                .find(|estimate| estimate.half_width.is_some_and(|half| half <= 0.1 * estimate.mean))
                .expect("it stops before 2,000");
            let (low, high) = stopped.interval();
            covered += u64::from(low <= 1.0 && 1.0 <= high);
        }
        let coverage = covered as f64 / trials as f64;
        assert!((0.925..=0.97).contains(&coverage), "{coverage}");
    }

    #[test]
    fn looks_grow_by_half_and_end_at_the_most() {
        assert_eq!(looks(100).collect::<Vec<_>>(), [10, 15, 23, 35, 53, 80, 100]);
        assert_eq!(looks(4).collect::<Vec<_>>(), [4]);
        assert_eq!(looks(10).collect::<Vec<_>>(), [10]);
    }
}
