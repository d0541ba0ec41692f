//! Sessions lost by cause: a stacked bar for each strategy.

use evenkeel_sim::experiment::summary::{StrategySummary, Summary};
use evenkeel_sim::metrics::{LossCause, Phase};

use super::axis::{Axis, Plot};
use super::canvas::{self, Anchor, Canvas, Paint, Stroke, Weight};
use super::legend::{self, Sample};
use super::{Chart, MARGIN, SMALL, TEXT, WIDTH, empty, head, replications};
use crate::format::{self, Scale};
use crate::lookup;

/// The chart's name.
const NAME: &str = "losses-by-cause";
const TITLE: &str = "Sessions lost, by cause";
/// Room for the strategies' names \[px\].
const NAMES: f64 = 236.0;
/// Height of a bar, and of its row \[px\].
const BAR: f64 = 30.0;
const ROW: f64 = 48.0;

/// A cause, or all those that have no colour of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Part {
    causes: Vec<LossCause>,
    name: String,
}

impl Part {
    fn lost(&self, strategy: &StrategySummary) -> f64 {
        let ours = strategy.losses.iter().filter(|loss| self.causes.contains(&loss.cause));
        ours.map(|loss| loss.lost.mean).filter(|lost| lost.is_finite()).sum()
    }
}

/// The chart of losses by cause.
pub(super) fn chart(summary: &Summary) -> Chart {
    let parts = parts(summary);
    let total = |strategy: &StrategySummary| -> f64 { parts.iter().map(|part| part.lost(strategy)).sum() };
    let most = summary.strategies.iter().map(total).fold(0.0, f64::max);
    if most <= 0.0 {
        let sessions = summary
            .strategies
            .iter()
            .any(|strategy| lookup::mean(strategy, "visits.with_loss", Phase::All).is_some());
        let why = if sessions {
            "No session was lost under any strategy."
        } else {
            "No session was lost, and no visit with a login ended within the run."
        };
        return empty(NAME, TITLE, summary, why);
    }

    let mut canvas = Canvas::new(WIDTH, 4_000.0);
    let subtitle = format!("sessions lost in a run, {} · {}", replications(summary), summary.title);
    let mut top = head(&mut canvas, TITLE, &subtitle);
    let entries: Vec<(Sample, String)> = parts
        .iter()
        .enumerate()
        .map(|(nth, part)| (Sample::Box(Paint::Series(nth), 1.0), part.name.clone()))
        .collect();
    top += legend::draw(&mut canvas, (MARGIN, top), WIDTH - 2.0 * MARGIN, &entries) + 12.0;

    let plot = Plot {
        left: MARGIN + NAMES,
        top,
        width: WIDTH - 2.0 * MARGIN - NAMES - 66.0,
        height: ROW * summary.strategies.len() as f64,
    };
    let x = Axis::linear(0.0, most, 6, "");
    // Rows have names instead of ticks.
    let mut y = Axis::linear(0.0, 1.0, 1, "");
    y.ticks.clear();
    plot.grid(&mut canvas, &x, &y, true);
    for (nth, strategy) in summary.strategies.iter().enumerate() {
        let bar_top = plot.top + nth as f64 * ROW + (ROW - BAR) / 2.0;
        let baseline = bar_top + BAR / 2.0 + 0.36 * TEXT;
        let name = canvas::fit(&strategy.name, NAMES - 14.0, TEXT, Weight::Regular);
        canvas.text((plot.left - 12.0, baseline), &name, TEXT, Weight::Regular, Paint::Ink, Anchor::End);
        let end = draw_bar(&mut canvas, &parts, strategy, plot, &x, bar_top);
        let sum = total(strategy);
        let text = if sum > 0.0 { format::value(rounded(sum), Scale::Count) } else { "none".to_owned() };
        canvas.text((end + 8.0, baseline), &text, TEXT, Weight::Bold, Paint::Ink, Anchor::Start);
    }
    let bottom = plot.top + plot.height;
    let below = (plot.left + plot.width / 2.0, bottom + 42.0);
    canvas.text(below, "sessions lost in a run", TEXT, Weight::Regular, Paint::Ink, Anchor::Middle);
    let canvas = canvas.cut(bottom + 58.0);
    Chart { name: NAME, title: TITLE.to_owned(), description: description(summary, &parts), canvas }
}

/// The causes that occur, the most frequent first; those beyond the colours are one part.
fn parts(summary: &Summary) -> Vec<Part> {
    let lost = |cause: LossCause| -> f64 {
        let losses = summary.strategies.iter().flat_map(|strategy| &strategy.losses);
        losses.filter(|loss| loss.cause == cause).map(|loss| loss.lost.mean).sum()
    };
    let mut causes: Vec<LossCause> = LossCause::ALL.into_iter().filter(|cause| lost(*cause) > 0.0).collect();
    // Stable, so causes with equal losses keep the order of the list.
    causes.sort_by(|one, other| lost(*other).total_cmp(&lost(*one)));
    let own = if causes.len() > canvas::COLOURS { canvas::COLOURS - 1 } else { causes.len() };
    let rest = causes.split_off(own);
    let mut parts: Vec<Part> =
        causes.into_iter().map(|cause| Part { causes: vec![cause], name: words(cause) }).collect();
    if !rest.is_empty() {
        let name = format!("{} others", rest.len());
        parts.push(Part { causes: rest, name });
    }
    parts
}

/// A cause's name as words: `server lost`.
fn words(cause: LossCause) -> String {
    cause.name().replace('_', " ")
}

/// Draws a bar with a label in each part that has room for one; returns where it ends.
fn draw_bar(
    canvas: &mut Canvas,
    parts: &[Part],
    strategy: &StrategySummary,
    plot: Plot,
    x: &Axis,
    top: f64,
) -> f64 {
    let mut sum = 0.0;
    for (nth, part) in parts.iter().enumerate() {
        let lost = part.lost(strategy);
        let (from, to) = (plot.x(x, sum), plot.x(x, sum + lost));
        sum += lost;
        if to <= from {
            continue;
        }
        canvas.rect((from, top), (to - from, BAR), Paint::Series(nth), 1.0);
        // A thin line between parts, for those who do not tell their colours apart.
        if from > plot.left {
            canvas.line(vec![(from, top), (from, top + BAR)], Stroke::solid(Paint::Surface, 1.5));
        }
        let count = format::value(rounded(lost), Scale::Count);
        let texts = [format!("{} {count}", part.name), part.name.clone(), count];
        let fits = |text: &&String| canvas::text_width(text, SMALL, Weight::Regular) <= to - from - 10.0;
        if let Some(text) = texts.iter().find(fits) {
            let at = ((from + to) / 2.0, top + BAR / 2.0 + 0.36 * SMALL);
            canvas.text(at, text, SMALL, Weight::Regular, Paint::OnSeries(nth), Anchor::Middle);
        }
    }
    plot.x(x, sum)
}

/// Whole sessions, but for less than ten, where a tenth matters.
fn rounded(lost: f64) -> f64 {
    if lost < 10.0 { (lost * 10.0).round() / 10.0 } else { lost.round() }
}

fn description(summary: &Summary, parts: &[Part]) -> String {
    let strategies: Vec<String> = summary
        .strategies
        .iter()
        .map(|strategy| {
            let causes: Vec<String> = parts
                .iter()
                .map(|part| (part, part.lost(strategy)))
                .filter(|(_, lost)| *lost > 0.0)
                .map(|(part, lost)| format!("{} {}", part.name, format::value(rounded(lost), Scale::Count)))
                .collect();
            let causes = if causes.is_empty() { "none".to_owned() } else { causes.join(", ") };
            format!("{}: {causes}", strategy.name)
        })
        .collect();
    format!("{}.", strategies.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn causes_come_by_frequency_and_those_beyond_the_colours_are_one_part() {
        let mut summary = fixture::crash();
        assert_eq!(parts(&summary)[0].name, "server lost");
        let sample = summary.strategies[0].losses[0].clone();
        summary.strategies[0].losses = LossCause::ALL
            .into_iter()
            .map(|cause| evenkeel_sim::experiment::summary::LossSummary { cause, ..sample })
            .collect();
        let parts = parts(&summary);
        assert_eq!(parts.len(), canvas::COLOURS);
        assert_eq!(parts.iter().map(|part| part.causes.len()).sum::<usize>(), LossCause::ALL.len());
        assert_eq!(parts.last().map(|part| part.name.as_str()), Some("9 others"));
    }

    #[test]
    fn no_loss_is_told_from_no_session() {
        let mut summary = fixture::crash();
        for strategy in &mut summary.strategies {
            strategy.losses.clear();
        }
        assert_eq!(chart(&summary).description, "No session was lost under any strategy.");
        assert!(chart(&fixture::log()).description.contains("no visit with a login ended"));
    }
}
