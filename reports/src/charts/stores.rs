//! What session stores cost beside what they save: a row for each strategy, a bar in each column, each column with its own scale.

use evenkeel_sim::experiment::summary::{StrategySummary, Summary};
use evenkeel_sim::metrics::Phase;

use super::canvas::{self, Anchor, Canvas, Paint, Stroke, Weight};
use super::{Chart, MARGIN, SMALL, WIDTH, head, replications};
use crate::format::{self, Scale};
use crate::lookup;

/// The chart's name.
const NAME: &str = "session-stores";
const TITLE: &str = "What session stores cost, and what they save";
/// Room for the strategies' names, and between columns \[px\].
const NAMES: f64 = 222.0;
const GAP: f64 = 14.0;
/// Height of a bar, and of its row \[px\].
const BAR: f64 = 10.0;
const ROW: f64 = 40.0;

/// A column: the metric, its name in two lines, how it is shown.
type Column = (&'static str, [&'static str; 2], fn(f64) -> String);

/// The columns, what is saved before what it costs.
pub(crate) const COLUMNS: [Column; 8] = [
    ("visits.with_loss", ["visits", "logged out"], |value| format::value(value, Scale::Percent)),
    ("requests.failed", ["requests", "failed"], |value| format::value(value, Scale::Percent)),
    ("store.wait", ["store wait", "per request"], |value| format::value(value, Scale::Milliseconds)),
    ("store.operations", ["operations", "a second"], |value| format::value(value, Scale::Count)),
    ("store.utilisation", ["busiest", "node busy"], |value| format::value(value, Scale::Percent)),
    ("store.messages", ["copies", "a second"], |value| format::value(value, Scale::Count)),
    ("store.bytes", ["bytes sent", "a second"], format::bytes),
    ("store.memory_max", ["most", "memory"], format::bytes),
];

/// Whether a strategy keeps sessions in a store that costs something.
fn uses_store(strategy: &StrategySummary) -> bool {
    let costs = ["store.operations", "store.messages", "store.bytes", "store.wait"];
    costs.iter().any(|name| lookup::mean(strategy, name, Phase::All).is_some_and(|value| value > 0.0))
}

/// The chart of costs and benefits; `None` if no strategy has such a store.
pub(super) fn chart(summary: &Summary) -> Option<Chart> {
    if !summary.strategies.iter().any(uses_store) {
        return None;
    }
    let mut canvas = Canvas::new(WIDTH, 4_000.0);
    let subtitle =
        format!("each column has a scale of its own · {} · {}", replications(summary), summary.title);
    let top = head(&mut canvas, TITLE, &subtitle) + 44.0;
    let left = MARGIN + NAMES;
    let width = (WIDTH - MARGIN - left) / COLUMNS.len() as f64;
    let bottom = top + ROW * summary.strategies.len() as f64;
    for (nth, strategy) in summary.strategies.iter().enumerate() {
        let middle = top + (nth as f64 + 0.5) * ROW;
        let name = canvas::fit(&strategy.name, NAMES - 14.0, SMALL, Weight::Regular);
        let baseline = middle + 0.36 * SMALL;
        canvas.text((left - 14.0, baseline), &name, SMALL, Weight::Regular, Paint::Ink, Anchor::End);
    }
    for (column, (metric, heading, shown)) in COLUMNS.into_iter().enumerate() {
        let from = left + column as f64 * width;
        for (line, words) in heading.into_iter().enumerate() {
            let at = (from, top - 24.0 + 16.0 * line as f64);
            let words = canvas::fit(words, width - 4.0, SMALL, Weight::Bold);
            canvas.text(at, &words, SMALL, Weight::Bold, Paint::Muted, Anchor::Start);
        }
        canvas.line(vec![(from, top), (from, bottom)], Stroke::solid(Paint::Grid, 1.0));
        let value = |strategy| lookup::mean(strategy, metric, Phase::All);
        let most = summary.strategies.iter().filter_map(value).fold(0.0, f64::max);
        // What is saved and what it costs are told apart by colour and by place.
        let paint = Paint::Series(usize::from(column >= 2));
        for (nth, strategy) in summary.strategies.iter().enumerate() {
            let row = top + nth as f64 * ROW;
            let value = value(strategy);
            if let Some(value) = value.filter(|value| *value > 0.0 && most > 0.0) {
                canvas.rect((from, row + 21.0), (value / most * (width - GAP), BAR), paint, 1.0);
            }
            let text = value.map_or(format::UNDEFINED.to_owned(), shown);
            let text = canvas::fit(&text, width - 6.0, SMALL, Weight::Regular);
            let at = (from + 4.0, row + 16.0);
            canvas.text(at, &text, SMALL, Weight::Regular, Paint::Ink, Anchor::Start);
        }
    }
    let canvas = canvas.cut(bottom + 20.0);
    Some(Chart { name: NAME, title: TITLE.to_owned(), description: description(summary), canvas })
}

fn description(summary: &Summary) -> String {
    let strategies: Vec<String> = summary
        .strategies
        .iter()
        .map(|strategy| {
            let columns: Vec<String> = COLUMNS
                .into_iter()
                .filter_map(|(metric, heading, shown)| {
                    let value = lookup::mean(strategy, metric, Phase::All)?;
                    Some(format!("{} {}", heading.join(" "), shown(value)))
                })
                .collect();
            format!("{}: {}", strategy.name, columns.join(", "))
        })
        .collect();
    format!("{}.", strategies.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn costs_stand_beside_what_they_buy_where_there_is_a_store() {
        let chart = chart(&fixture::crash()).expect("one strategy has a store");
        assert!(chart.description.contains("visits logged out"), "{}", chart.description);
        assert!(chart.description.contains("operations a second"), "{}", chart.description);
        assert!(super::chart(&fixture::log()).is_none(), "a log without a store");
    }
}
