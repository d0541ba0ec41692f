//! What the scenario's expectations came to.

use super::Experiment;
use super::column::Column;
use super::intervals::{CONFIDENCE, t_within};
use super::summary::{Estimate, ExpectationResult, Verdict};
use crate::scenario::{Expectation, Vary};

/// The power at which the detectable effect is stated.
const POWER: f64 = 0.8;

/// Judges every expectation for the strategies that it names, each by its own 95 % interval.
pub(super) fn judge(experiment: &Experiment<'_>) -> Vec<ExpectationResult> {
    judge_at(experiment, CONFIDENCE)
}

/// The number of verdicts that [`judge`] gives.
pub(super) fn count(experiment: &Experiment<'_>) -> usize {
    subjects(experiment).count()
}

/// Judges as [`judge`] does, by intervals of another confidence.
pub(super) fn judge_at(experiment: &Experiment<'_>, confidence: f64) -> Vec<ExpectationResult> {
    subjects(experiment)
        .map(|(expectation, strategy)| judge_one(experiment, expectation, strategy, confidence))
        .collect()
}

/// Each expectation with each strategy that it is about.
fn subjects<'a>(experiment: &'a Experiment<'_>) -> impl Iterator<Item = (&'a Expectation, usize)> {
    let strategies = 0..experiment.scenario.strategies.len();
    experiment.scenario.expectations.iter().flat_map(move |expectation| {
        let named = move |strategy: &usize| match expectation.strategy {
            Some(only) => only == *strategy,
            None => expectation.relative_to != Some(*strategy),
        };
        strategies.clone().filter(named).map(move |strategy| (expectation, strategy))
    })
}

fn judge_one(
    experiment: &Experiment<'_>,
    expectation: &Expectation,
    strategy: usize,
    confidence: f64,
) -> ExpectationResult {
    let strategies = &experiment.scenario.strategies;
    let column =
        |strategy| experiment.column(strategy, expectation.metric, expectation.phase).unwrap_or_default();
    let own = column(strategy);
    let finding = match (expectation.relative_to, expectation.quantile) {
        (Some(other), _) => Finding::of(own.ratio_to(&column(other)), confidence),
        (None, Some(q)) => Finding::of_quantile(&own, q, confidence),
        (None, None) => Finding::of(own.estimate(), confidence),
    };
    let limits = (expectation.min, expectation.max);
    let (low, high) = finding.bounds();
    ExpectationResult {
        strategy: strategies[strategy].name.clone(),
        metric: expectation.metric.name().into_owned(),
        phase: expectation.phase,
        relative_to: expectation.relative_to.map(|other| strategies[other].name.clone()),
        quantile: expectation.quantile,
        baseline: None,
        min: expectation.min,
        max: expectation.max,
        value: finding.value,
        low,
        high,
        verdict: finding.verdict(limits, is_drawn(experiment)),
        detectable: finding.detectable,
        line: expectation.line,
    }
}

/// Whether an outcome is one of many. A replayed log has one outcome where it is; anything drawn has many, and one of them is no
/// verdict.
pub(super) fn is_drawn(experiment: &Experiment<'_>) -> bool {
    !experiment.scenario.populations.is_empty() || experiment.scenario.vary == Vary::Hash
}

/// What was found, with the interval that decides.
pub(super) struct Finding {
    /// With its 95 % interval.
    pub value: Option<Estimate>,
    /// `None` when there is no interval.
    pub interval: Option<(f64, f64)>,
    /// The excess over a limit that is found with [`POWER`].
    pub detectable: Option<f64>,
}

impl Finding {
    pub fn of(value: Option<Estimate>, confidence: f64) -> Self {
        let half = value.and_then(|value| value.half_width_at(confidence));
        let interval = value.zip(half).map(|(value, half)| (value.mean - half, value.mean + half));
        let detectable = value.zip(half).map(|(value, half)| {
            let degrees = value.n.max(2) - 1;
            half * (1.0 + t_within(degrees, 2.0 * POWER - 1.0) / t_within(degrees, confidence))
        });
        Self { value, interval, detectable }
    }

    fn of_quantile(column: &Column, q: f64, confidence: f64) -> Self {
        let within = column.quantile_within(q, confidence);
        let n = column.values.iter().flatten().count() as u32;
        let value = within.map(|(mean, ..)| Estimate { mean, half_width: None, n });
        Self { value, interval: within.filter(|_| n > 1).map(|(_, low, high)| (low, high)), detectable: None }
    }

    /// The finite ends of the interval.
    pub fn bounds(&self) -> (Option<f64>, Option<f64>) {
        let finite = |end: f64| Some(end).filter(|end| end.is_finite());
        self.interval.map_or((None, None), |(low, high)| (finite(low), finite(high)))
    }

    pub fn verdict(&self, limits: (Option<f64>, Option<f64>), drawn: bool) -> Verdict {
        match (self.value, self.interval) {
            (None, _) => Verdict::NoData,
            (Some(_), None) if drawn => Verdict::Inconclusive,
            (Some(value), None) => verdict((value.mean, value.mean), limits),
            (Some(_), Some(interval)) => verdict(interval, limits),
        }
    }
}

fn verdict((low, high): (f64, f64), (min, max): (Option<f64>, Option<f64>)) -> Verdict {
    if min.is_none_or(|min| low >= min) && max.is_none_or(|max| high <= max) {
        Verdict::Pass
    } else if min.is_some_and(|min| high < min) || max.is_some_and(|max| low > max) {
        Verdict::Worse
    } else {
        Verdict::Inconclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mean: f64, half: f64) -> Finding {
        Finding::of(Some(Estimate { mean, half_width: Some(half), n: 10 }), CONFIDENCE)
    }

    #[test]
    fn the_interval_decides_not_the_mean() {
        for (mean, expected) in [
            (1.2, Verdict::Pass),
            (1.3, Verdict::Inconclusive),
            (1.4, Verdict::Inconclusive),
            (1.5, Verdict::Worse),
        ] {
            assert_eq!(found(mean, 0.1).verdict((None, Some(1.35)), true), expected, "{mean}");
        }
        assert_eq!(found(0.5, 0.1).verdict((Some(0.7), None), true), Verdict::Worse);
        assert_eq!(found(0.5, 0.1).verdict((Some(0.3), Some(0.7)), true), Verdict::Pass);
    }

    #[test]
    fn one_outcome_of_what_is_drawn_is_no_verdict() {
        let once = || Finding::of(Some(Estimate { mean: 1.0, half_width: None, n: 1 }), CONFIDENCE);
        assert_eq!(once().verdict((None, Some(2.0)), true), Verdict::Inconclusive);
        assert_eq!(once().verdict((None, Some(2.0)), false), Verdict::Pass);
        assert_eq!(Finding::of(None, CONFIDENCE).verdict((None, Some(2.0)), false), Verdict::NoData);
    }

    #[test]
    fn what_can_be_detected_is_wider_than_the_interval() {
        // t(9) is 2.262 at 95 % and 0.883 at 80 % on one side.
        let ratio = found(1.0, 0.1).detectable.unwrap() / 0.1;
        assert!((ratio - (1.0 + 0.883 / 2.262)).abs() < 1e-3, "{ratio}");
    }
}
