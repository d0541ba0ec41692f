//! Two experiments side by side: what the second does otherwise than the first.

use thiserror::Error;

use super::Column;
use super::baseline::{BaselineScenario, BaselineValue};
use super::intervals::holm;
use super::summary::Estimate;
use crate::metrics::{Direction, MetricId};

/// A value of the first experiment beside that of the second.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The strategy in the first.
    pub strategy: String,
    /// The strategy in the second, where it has another name.
    pub other: String,
    /// The metric.
    pub metric: MetricId,
    /// The phase's name.
    pub phase: String,
    /// The value of the first, which is the reference.
    pub before: f64,
    /// The value of the second.
    pub after: f64,
    /// The second less the first.
    pub difference: Estimate,
    /// How likely such a difference is by chance, counted among all that are compared (Holm).
    pub p: Option<f64>,
    /// Whether both met the same clients.
    pub paired: bool,
}

/// Why two experiments cannot be compared.
#[derive(Debug, Error)]
#[error(
    "`{first}` and `{second}` have no strategy, metric and phase in common\n  strategies are compared by name"
)]
pub struct NothingInCommon {
    /// The first.
    pub first: String,
    /// The second.
    pub second: String,
}

impl Compared {
    /// Whether the second is worse: the difference is none of chance, and to the bad side.
    pub fn is_worse(&self) -> bool {
        self.is_clear()
            && match self.metric.line().direction {
                Direction::LowerIsBetter => self.difference.mean > 0.0,
                Direction::HigherIsBetter => self.difference.mean < 0.0,
                Direction::Neutral => false,
            }
    }

    /// Whether the difference is none of chance, at 5 % for all comparisons together.
    pub fn is_clear(&self) -> bool {
        self.p.is_some_and(|p| p <= 0.05)
    }
}

/// Compares what two experiments came to. Strategies are compared by name; two that are alone are compared whatever their names.
///
/// # Errors
/// They have nothing in common.
pub fn compare(
    first: &BaselineScenario,
    second: &BaselineScenario,
) -> Result<Vec<Compared>, NothingInCommon> {
    let paired = first.workload == second.workload;
    let alone = |of: &BaselineScenario| of.values.iter().all(|value| value.strategy == of.values[0].strategy);
    let by_name = !(alone(first) && alone(second));
    let column = |value: &BaselineValue| Column {
        centre: Some(value.mean),
        values: Vec::new(),
        parts: value.parts.clone(),
    };
    let mut all: Vec<Compared> = first
        .values
        .iter()
        .filter_map(|before| {
            let same = |it: &&BaselineValue| {
                it.metric == before.metric
                    && it.phase == before.phase
                    && (it.strategy == before.strategy || !by_name)
            };
            let after = second.values.iter().find(same)?;
            let (a, b) = (column(before), column(after));
            let n = a.parts.len().min(b.parts.len());
            let difference =
                if paired { b.first(n).less(1.0, &a.first(n))? } else { b.less_unpaired(1.0, &a)? };
            Some(Compared {
                strategy: before.strategy.clone(),
                other: after.strategy.clone(),
                metric: MetricId::by_name(&before.metric)?,
                phase: before.phase.clone(),
                before: before.mean,
                after: after.mean,
                difference,
                p: difference.p_value(),
                paired,
            })
        })
        .collect();
    if all.is_empty() {
        let names = (first.scenario.clone(), second.scenario.clone());
        return Err(NothingInCommon { first: names.0, second: names.1 });
    }
    let adjusted = holm(&all.iter().map(|it| it.p).collect::<Vec<_>>());
    all.iter_mut().zip(adjusted).for_each(|(it, p)| it.p = p);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(workload: &str, strategy: &str, parts: &[f64]) -> BaselineScenario {
        let value = BaselineValue {
            strategy: strategy.into(),
            metric: "latency.p99".into(),
            phase: "all".into(),
            mean: parts.iter().sum::<f64>() / parts.len() as f64,
            tolerance: 0.0,
            parts: parts.iter().map(|&part| Some(part)).collect(),
        };
        BaselineScenario {
            scenario: "x.toml".into(),
            scenario_sha256: String::new(),
            workload: workload.into(),
            seed: 1,
            replications: parts.len() as u32,
            values: vec![value],
        }
    }

    #[test]
    fn pairs_show_what_strangers_hide() {
        let (before, after) = ([10.0, 30.0, 20.0, 44.0], [11.0, 31.1, 21.0, 45.1]);
        let first = side("w", "s", &before);
        let pairs = compare(&first, &side("w", "t", &after)).expect("one of each");
        assert!(pairs[0].paired && pairs[0].is_worse(), "{pairs:?}");
        let strangers = compare(&first, &side("v", "s", &after)).expect("one of each");
        assert!(!strangers[0].paired && !strangers[0].is_clear(), "{strangers:?}");
    }

    #[test]
    fn strategies_of_several_are_compared_by_name() {
        let mut first = side("w", "s", &[1.0, 2.0]);
        first.values.push(BaselineValue { strategy: "r".into(), ..first.values[0].clone() });
        assert!(compare(&first, &side("w", "t", &[1.0, 2.0])).is_err());
        assert_eq!(compare(&first, &side("w", "r", &[1.0, 2.0])).expect("they share one").len(), 1);
    }
}
