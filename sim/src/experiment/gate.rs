//! The gate: expectations and baselines judged together, with replications added while a verdict is out.
//!
//! A verdict is asked for several times (one for each expectation, strategy and baseline value) and possibly after several numbers
//! of replications. For the rates below to hold for a check as a whole, each interval gets its share of the error (Bonferroni;
//! over looks, error spending after Lan and DeMets, Biometrika 70 (1983), 659):
//! of checks in which every value keeps its limit at most [`FALSE_ALARMS`] call one worse, and of checks in which one value does
//! not keep it at most [`FALSE_ALARMS`] pass it. How large an excess must be to be called worse four times out of five is told with
//! each verdict.

use thiserror::Error;

use super::baseline::{Baseline, BaselineScenario};
use super::expectations::{self, Finding};
use super::summary::{AgainstBaseline, ExpectationResult, Summary, Verdict};
use super::{Column, Experiment, ExperimentError};
use crate::metrics::{Direction, MetricId, Phase};

/// The share of checks that may be wrong, all verdicts and looks together.
pub const FALSE_ALARMS: f64 = 0.05;
/// How often replications are doubled while a verdict is out, unless a cap is given.
const DOUBLINGS: u32 = 2;

/// Why a check could not be carried out.
#[derive(Debug, Error)]
pub enum GateError {
    /// A run failed.
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
    /// The baseline has values of something that the scenario does not have.
    #[error("baseline of `{scenario}`: {what}\n  write the baseline anew with `evenkeel baseline write`")]
    Baseline {
        /// The scenario's name in the baseline.
        scenario: String,
        /// What it has and the scenario does not.
        what: String,
    },
}

/// What a check of one scenario came to.
#[derive(Debug)]
pub struct GateResult {
    /// The summary of all replications; its expectations are the gate's verdicts, those on the baseline among them.
    pub summary: Summary,
    /// Numbers of replications after which there was a look.
    pub looks: Vec<u32>,
    /// Replications after which a verdict that is still out stays so.
    pub replications_most: u32,
    /// Confidence of each interval at the last look.
    pub confidence: f64,
}

/// What is held against what.
#[derive(Debug, Default)]
pub struct Gate<'b> {
    /// The scenario's baseline, if it is held against one.
    pub baseline: Option<&'b BaselineScenario>,
    /// Replications at most; `None`: four times the first number.
    pub replications_most: Option<u32>,
}

impl Gate<'_> {
    /// Runs the experiment until every verdict is clear, or there are as many replications as there may be.
    ///
    /// # Errors
    /// A run failed, or the baseline does not fit the scenario.
    pub fn check(
        &self,
        experiment: &mut Experiment<'_>,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<GateResult, GateError> {
        let looks = self.looks(experiment);
        let verdicts = expectations::count(experiment) + self.baseline.map_or(0, |it| it.values.len());
        let most = looks.last().copied().unwrap_or(1);
        let last = looks.len() - 1;
        let mut results = Vec::new();
        let mut taken = Vec::new();
        let mut confidence = 1.0;
        for (nth, look) in looks.into_iter().enumerate() {
            confidence = 1.0 - FALSE_ALARMS * share_of_look(nth, last) / verdicts.max(1) as f64;
            let (from, of) = (f64::from(experiment.replications()), f64::from(most));
            let share = |share: f64| progress((from + share * (f64::from(look) - from)) / of);
            experiment.extend_to(look, &share)?;
            taken.push(look);
            results = expectations::judge_at(experiment, confidence);
            if let Some(baseline) = self.baseline {
                results.extend(against(experiment, baseline, confidence)?);
            }
            if results.iter().all(|result| result.verdict != Verdict::Inconclusive) {
                break;
            }
        }
        let summary = Summary { expectations: results, ..experiment.summary() };
        Ok(GateResult { summary, looks: taken, replications_most: most, confidence })
    }

    /// Numbers of replications after which results may be looked at.
    fn looks(&self, experiment: &Experiment<'_>) -> Vec<u32> {
        let scenario = experiment.scenario();
        let first = match scenario.precision {
            Some(_) => super::stopping::FIRST_LOOK.min(scenario.replications),
            None => scenario.replications,
        };
        // More of what does not vary says nothing more.
        if !expectations::is_drawn(experiment) {
            return vec![first];
        }
        let usual = first.saturating_mul(1 << DOUBLINGS).max(scenario.replications);
        // Beyond the baseline's replications there are no more pairs to compare.
        let pairs = self
            .baseline
            .filter(|it| scenario.expectations.is_empty() && it.workload == experiment.workload());
        let usual = pairs.map_or(usual, |baseline| baseline.replications);
        let most = self.replications_most.unwrap_or(usual).max(first);
        let mut looks = vec![first];
        while let Some(&last) = looks.last().filter(|last| **last < most) {
            looks.push(last.saturating_mul(2).min(most));
        }
        looks
    }
}

/// The share of the error that a look may spend: half of what is left, and the last all of it. Most checks end at the first.
fn share_of_look(nth: usize, last: usize) -> f64 {
    let left = 1.0 / (1_u64 << nth.min(60)) as f64;
    if nth == last { left } else { left / 2.0 }
}

/// Holds every value of a baseline against what was found.
fn against(
    experiment: &Experiment<'_>,
    baseline: &BaselineScenario,
    confidence: f64,
) -> Result<Vec<ExpectationResult>, GateError> {
    let misfit = |what: String| GateError::Baseline { scenario: baseline.scenario.clone(), what };
    let scenario = experiment.scenario();
    let paired = baseline.workload == experiment.workload();
    let results = baseline
        .values
        .iter()
        .map(|value| {
            let strategy = scenario
                .strategies
                .iter()
                .position(|strategy| strategy.name == value.strategy)
                .ok_or_else(|| misfit(format!("the scenario has no strategy `{}`", value.strategy)))?;
            let metric = MetricId::by_name(&value.metric)
                .ok_or_else(|| misfit(format!("there is no metric `{}`", value.metric)))?;
            let phase = Phase::ALL.into_iter().find(|phase| phase.name() == value.phase);
            // In pairs, replications beyond the baseline's have no partner.
            let most = if paired { value.parts.len() } else { usize::MAX };
            let now = phase
                .and_then(|phase| experiment.column_of_first(most, strategy, metric, phase))
                .ok_or_else(|| misfit(format!("the scenario has no phase `{}`", value.phase)))?;
            let before = Column { centre: Some(value.mean), values: Vec::new(), parts: value.parts.clone() };
            let difference = if paired {
                let n = now.parts.len().min(before.parts.len());
                now.first(n).less(1.0, &before.first(n))
            } else {
                now.less_unpaired(1.0, &before)
            };
            let finding = Finding::of(difference, confidence);
            let limits = match metric.line().direction {
                Direction::LowerIsBetter => (None, Some(value.tolerance)),
                Direction::HigherIsBetter => (Some(-value.tolerance), None),
                Direction::Neutral => (Some(-value.tolerance), Some(value.tolerance)),
            };
            let (low, high) = finding.bounds();
            Ok(ExpectationResult {
                strategy: value.strategy.clone(),
                metric: value.metric.clone(),
                phase: phase.unwrap_or(Phase::All),
                relative_to: None,
                quantile: None,
                baseline: now.centre.map(|now| AgainstBaseline { mean: value.mean, now, paired }),
                min: limits.0,
                max: limits.1,
                value: finding.value,
                low,
                high,
                verdict: finding.verdict(limits, expectations::is_drawn(experiment)),
                detectable: finding.detectable,
                line: 0,
            })
        })
        .collect::<Result<Vec<_>, GateError>>()?;
    let has_values = |name: &str| baseline.values.iter().any(|value| value.strategy == name);
    match scenario.strategies.iter().find(|strategy| !has_values(&strategy.name)) {
        Some(new) => Err(misfit(format!("the baseline has nothing of strategy `{}`", new.name))),
        None => Ok(results),
    }
}

/// The scenario's part of a baseline, by the name of its file.
///
/// # Errors
/// There is none: what has no baseline does not pass for being as good as before.
pub fn baseline_of<'b>(
    baseline: &'b Baseline,
    file: &std::path::Path,
) -> Result<&'b BaselineScenario, GateError> {
    let name = super::baseline::scenario_name(file);
    baseline.scenarios.iter().find(|scenario| scenario.scenario == name).ok_or_else(|| GateError::Baseline {
        what: {
            let others: Vec<String> =
                baseline.scenarios.iter().map(|other| format!("`{}`", other.scenario)).collect();
            format!("the baseline has no such scenario; it has {}", others.join(", "))
        },
        scenario: name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_spend_the_whole_error_and_no_more() {
        for last in 0..6 {
            let spent: f64 = (0..=last).map(|nth| share_of_look(nth, last)).sum();
            assert_eq!(spent, 1.0, "{last}");
        }
        assert_eq!(share_of_look(0, 2), 0.5);
    }
}
