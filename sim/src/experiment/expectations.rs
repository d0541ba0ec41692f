//! What the scenario's expectations came to.

use super::summary::{Estimate, ExpectationResult, StrategySummary, Verdict};
use crate::scenario::{Expectation, Scenario};

/// Judges every expectation for the strategies that it names.
pub fn judge(scenario: &Scenario, strategies: &[StrategySummary]) -> Vec<ExpectationResult> {
    // A replayed log has one outcome; anything drawn has many, and one of them is no verdict.
    let drawn = !scenario.populations.is_empty();
    scenario
        .expectations
        .iter()
        .flat_map(|expectation| {
            strategies
                .iter()
                .enumerate()
                .filter(move |(index, _)| expectation.strategy.is_none_or(|only| only == *index))
                .map(move |(_, strategy)| judge_one(expectation, strategy, drawn))
        })
        .collect()
}

fn judge_one(expectation: &Expectation, strategy: &StrategySummary, drawn: bool) -> ExpectationResult {
    let metric = expectation.metric.metric().name;
    let value = strategy
        .metrics
        .iter()
        .find(|summary| summary.metric == metric && summary.phase == expectation.phase)
        .and_then(|summary| summary.value);
    ExpectationResult {
        strategy: strategy.name.clone(),
        metric,
        phase: expectation.phase,
        min: expectation.min,
        max: expectation.max,
        value,
        verdict: match value {
            None => Verdict::NoData,
            Some(Estimate { half_width: None, .. }) if drawn => Verdict::Inconclusive,
            Some(value) => verdict(&value, expectation.min, expectation.max),
        },
        line: expectation.line,
    }
}

fn verdict(value: &Estimate, min: Option<f64>, max: Option<f64>) -> Verdict {
    let (low, high) = value.interval();
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

    #[test]
    fn the_interval_decides_not_the_mean() {
        let estimate = |mean, half| Estimate { mean, half_width: Some(half), n: 10 };
        for (value, expected) in [
            (estimate(1.2, 0.1), Verdict::Pass),
            (estimate(1.3, 0.1), Verdict::Inconclusive),
            (estimate(1.4, 0.1), Verdict::Inconclusive),
            (estimate(1.5, 0.1), Verdict::Worse),
        ] {
            assert_eq!(verdict(&value, None, Some(1.35)), expected, "{value:?}");
        }
        assert_eq!(verdict(&estimate(0.5, 0.1), Some(0.7), None), Verdict::Worse);
        assert_eq!(verdict(&estimate(0.5, 0.1), Some(0.3), Some(0.7)), Verdict::Pass);
    }
}
