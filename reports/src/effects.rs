//! Differences in plain words.

use evenkeel_sim::experiment::compare::Compared;
use evenkeel_sim::experiment::summary::{Estimate, Summary};
use evenkeel_sim::metrics::{Direction, Phase};

use crate::format::{self, Scale};
use crate::lookup;
use crate::model::{Cell, Column, Emphasis, TableModel};

/// The metrics whose differences are told of every strategy, and what a reader calls them.
const TOLD: [(&str, &str); 4] = [
    ("load.requests.peak_to_mean", "load skew"),
    ("visits.with_loss", "visits logged out"),
    ("requests.failed", "requests failed"),
    ("latency.p99", "response time p99"),
];

/// How large a difference is beside the reference: `twice as high`, `38 % lower`, `slightly higher (+0.4 %)`, or that none was
/// seen. `p` is its probability by chance, among all that are compared.
pub fn effect(difference: Option<Estimate>, reference: f64, p: Option<f64>, scale: Scale) -> String {
    let Some(difference) = difference else { return format::UNDEFINED.to_owned() };
    let half = difference.half_width.unwrap_or(0.0);
    if difference.mean == 0.0 && half == 0.0 {
        return "the same".to_owned();
    }
    if p.is_some_and(|p| p > 0.05) {
        return format!("no difference seen (within {})", format::difference(Some(difference), scale));
    }
    let way = if difference.mean > 0.0 { "higher" } else { "lower" };
    if reference == 0.0 {
        return format!("{way}: {} instead of 0", format::value(difference.mean, scale));
    }
    let ratio = (reference + difference.mean) / reference;
    let share = (ratio - 1.0).abs() * 100.0;
    let percent = if share < 2.0 { format!("{share:.1} %") } else { format!("{share:.0} %") };
    match ratio {
        ratio if ratio >= 1.9 => {
            format!("{} times as high", format::fixed(ratio, usize::from(ratio < 10.0), false))
        }
        ratio if (ratio - 1.0).abs() < 0.02 => format!("slightly {way} ({percent})"),
        ratio if (ratio - 1.0).abs() < 0.2 => format!("{percent} {way}"),
        _ => format!("much {way}: {percent}"),
    }
}

/// A sentence for each strategy but the first: how it differs from the first, in the few metrics that decide.
pub fn sentences(summary: &Summary) -> Vec<String> {
    let Some((first, others)) = summary.strategies.split_first() else { return Vec::new() };
    others
        .iter()
        .filter_map(|strategy| {
            let parts: Vec<String> = TOLD
                .iter()
                .filter_map(|(name, words)| {
                    let metric = lookup::metric(strategy, name, Phase::All)?;
                    let reference = lookup::mean(first, name, Phase::All)?;
                    let scale = Scale::of(name, metric.unit);
                    metric.difference?;
                    Some(format!(
                        "{words} {}",
                        effect(metric.difference, reference, metric.difference_p, scale)
                    ))
                })
                .collect();
            (!parts.is_empty())
                .then(|| format!("{} against {}: {}.", strategy.name, first.name, parts.join("; ")))
        })
        .collect()
}

/// Two experiments side by side.
pub fn table(compared: &[Compared]) -> TableModel {
    let columns = vec![
        Column::words("verdict"),
        Column::words("strategy"),
        Column::words("metric"),
        Column::numbers("first"),
        Column::numbers("second"),
        Column::numbers("difference"),
        Column::words("in words"),
    ];
    let rows = compared
        .iter()
        .map(|it| {
            let scale = Scale::of(&it.metric.name(), it.metric.line().unit);
            let (word, emphasis) =
                match (it.is_worse(), it.is_clear() && it.metric.line().direction != Direction::Neutral) {
                    (true, _) => ("✗ worse", Emphasis::Worse),
                    (false, true) => ("✓ better", Emphasis::Better),
                    (false, false) => ("· alike", Emphasis::Plain),
                };
            let strategy = match it.strategy == it.other {
                true => it.strategy.clone(),
                false => format!("{} → {}", it.strategy, it.other),
            };
            let metric = match it.phase == Phase::All.name() {
                true => it.metric.name().into_owned(),
                false => format!("{} {} the faults", it.metric.name(), it.phase),
            };
            let cells = [
                strategy,
                metric,
                format::value(it.before, scale),
                format::value(it.after, scale),
                format::difference(Some(it.difference), scale),
                effect(Some(it.difference), it.before, it.p, scale),
            ];
            std::iter::once(Cell { emphasis, ..Cell::plain(word) }).chain(cells.map(Cell::plain)).collect()
        })
        .collect();
    let clients = match compared.first().is_some_and(|it| it.paired) {
        true => "Both met the same clients: differences are taken replication by replication.",
        false => "They met other clients: differences are those of strangers (Welch), which are wider.",
    };
    let counted = "Better and worse are told among all comparisons (Holm, 5 %).";
    TableModel { columns, rows, notes: vec![clients.to_owned(), counted.to_owned()] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn told(mean: f64, reference: f64, p: f64) -> String {
        effect(Some(Estimate { mean, half_width: Some(0.01), n: 20 }), reference, Some(p), Scale::Plain)
    }

    #[test]
    fn effects_are_told_by_their_size() {
        assert_eq!(told(1.3, 1.0, 0.001), "2.3 times as high");
        assert_eq!(told(-0.38, 1.0, 0.001), "much lower: 38 %");
        assert_eq!(told(0.12, 1.0, 0.001), "12 % higher");
        assert_eq!(told(0.01, 1.0, 0.001), "slightly higher (1.0 %)");
        assert_eq!(told(0.25, 0.0, 0.001), "higher: 0.250 instead of 0");
    }

    #[test]
    fn what_may_be_chance_is_no_effect() {
        assert!(told(0.38, 1.0, 0.06).starts_with("no difference seen"));
        assert_eq!(
            effect(Some(Estimate { mean: 0.0, half_width: Some(0.0), n: 3 }), 1.0, Some(1.0), Scale::Plain),
            "the same"
        );
    }

    #[test]
    fn every_strategy_but_the_first_has_a_sentence() {
        let lines = sentences(&fixture::crash());
        assert_eq!(lines.len(), 3);
        assert!(
            lines[1]
                .starts_with("round robin, sessions in MySQL against nginx ip_hash: load skew much lower"),
            "{}",
            lines[1]
        );
    }
}
