//! Finds things in a summary by name, so that every table and chart reads them the same way.

use evenkeel_sim::experiment::summary::{FaultImpact, FaultLine, MetricSummary, StrategySummary, Summary};
use evenkeel_sim::metrics::Phase;

/// The metric called `name` in `phase`, if the strategy has it there.
pub fn metric<'a>(strategy: &'a StrategySummary, name: &str, phase: Phase) -> Option<&'a MetricSummary> {
    strategy.metrics.iter().find(|metric| metric.metric == name && metric.phase == phase)
}

/// The mean of the metric called `name` in `phase`; `None` when it is undefined.
pub fn mean(strategy: &StrategySummary, name: &str, phase: Phase) -> Option<f64> {
    let value = metric(strategy, name, phase)?.value?;
    value.mean.is_finite().then_some(value.mean)
}

/// The scenario's faults in order, each with what it did under `strategy`: `None` where it is not applicable.
///
/// Faults are matched by what they are, in order, so two crashes of one server stay apart.
pub fn impacts<'a>(
    summary: &'a Summary,
    strategy: &'a StrategySummary,
) -> Vec<(&'a FaultLine, Option<&'a FaultImpact>)> {
    let mut rest = strategy.faults.iter().peekable();
    summary.faults.iter().map(|fault| (fault, rest.next_if(|impact| impact.what == fault.what))).collect()
}

/// From when to when a fault lasted under a strategy in the first replication \[s\]: what an autoscaler does is each strategy's own.
pub fn spans(fault: &FaultLine, impact: &FaultImpact) -> Vec<(f64, f64)> {
    match impact.acts.as_slice() {
        [] => fault.spans_s.clone(),
        acts => acts.iter().map(|act| (act.at_s, act.until_s)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_fault_that_a_strategy_lacks_does_not_shift_the_next_one() {
        let mut summary = fixture::crash();
        let second =
            FaultLine { what: "director fails over".into(), at_s: 10.0, until_s: 20.0, spans_s: Vec::new() };
        summary.faults.insert(0, second);
        let found = impacts(&summary, &summary.strategies[0]);
        assert!(found[0].1.is_none());
        assert_eq!(found[1].1.map(|impact| impact.what.as_str()), Some("crash of web2"));
    }
}
