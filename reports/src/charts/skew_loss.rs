//! Skew against session loss: one point for each strategy, with its intervals. Nearer to the lower left is better.

use evenkeel_sim::experiment::summary::{Estimate, StrategySummary, Summary};
use evenkeel_sim::metrics::Phase;

use super::axis::{Axis, Plot};
use super::canvas::{Anchor, Canvas, Paint, Point, Stroke, Weight};
use super::labels::{Area, Label, Labels};
use super::{Chart, MARGIN, SMALL, TEXT, WIDTH, empty, head, replications};
use crate::format::{self, Scale};
use crate::lookup;

/// The chart's name.
const NAME: &str = "skew-and-session-loss";
const TITLE: &str = "Load skew against session loss";
const SKEW: &str = "load.requests.peak_to_mean";
const LOSS: &str = "visits.with_loss";
/// Radius of a mark \[px\].
const RADIUS: f64 = 6.5;

/// A strategy's place.
struct Spot<'a> {
    strategy: &'a StrategySummary,
    skew: Estimate,
    /// In per cent.
    loss: Estimate,
    noise_floor: Option<f64>,
}

/// The chart of skew against session loss.
pub(super) fn chart(summary: &Summary) -> Chart {
    let spots: Vec<Spot<'_>> = summary.strategies.iter().filter_map(spot).collect();
    if spots.is_empty() {
        let some = |name| {
            summary.strategies.iter().any(|strategy| lookup::mean(strategy, name, Phase::All).is_some())
        };
        let why = match (some(SKEW), some(LOSS)) {
            (true, false) => {
                "No visit with a login ended within the run, so none can be counted: load skew stands alone."
            }
            (false, true) => "No request was answered, so load has no skew.",
            _ => "Neither load skew nor session loss has a value in this run.",
        };
        return empty(NAME, TITLE, summary, why);
    }

    let mut canvas = Canvas::new(WIDTH, 546.0);
    let subtitle = format!(
        "each point a strategy, bars are 95 % intervals · {} · {}",
        replications(summary),
        summary.title
    );
    let top = head(&mut canvas, TITLE, &subtitle) + 22.0;
    let plot = Plot { left: MARGIN + 74.0, top, width: WIDTH - 2.0 * MARGIN - 90.0, height: 390.0 };

    let upper = |estimate: &Estimate| estimate.mean + half(estimate);
    let lower = |estimate: &Estimate| estimate.mean - half(estimate);
    let right = spots.iter().map(|spot| upper(&spot.skew)).fold(1.0, f64::max);
    let left = spots.iter().map(|spot| lower(&spot.skew)).fold(1.0, f64::min);
    let high = spots.iter().map(|spot| upper(&spot.loss)).fold(0.0, f64::max);
    // Room beyond the points for their labels; what is near chance is not blown up to the whole width.
    let chance = spots.iter().filter_map(|spot| spot.noise_floor).fold(1.0, f64::max) - 1.0;
    let right = (right + 0.12 * (right - left)).max(1.0 + 3.0 * chance).max(1.005);
    let x = Axis::linear(left, right, 6, "");
    // A share ends at 100 %.
    let y = Axis::linear(0.0, (high * 1.08).clamp(0.1, 100.0), 5, " %");
    draw_chance(&mut canvas, plot, &x, &spots);
    plot.grid(&mut canvas, &x, &y, true);
    plot.names(
        &mut canvas,
        "load skew: most loaded server over the mean",
        "visits that lost their session",
        66.0,
    );
    draw_better(&mut canvas, plot);

    let places: Vec<Point> =
        spots.iter().map(|spot| plot.at(&x, &y, (spot.skew.mean, spot.loss.mean))).collect();
    let bars: Vec<[[Point; 2]; 2]> = spots
        .iter()
        .map(|spot| {
            let (across, up) = (spot.skew.mean, spot.loss.mean);
            [
                [plot.at(&x, &y, (lower(&spot.skew), up)), plot.at(&x, &y, (upper(&spot.skew), up))],
                [plot.at(&x, &y, (across, lower(&spot.loss))), plot.at(&x, &y, (across, upper(&spot.loss)))],
            ]
        })
        .collect();
    let mut taken = vec![better_area(plot)];
    taken.extend(places.iter().map(|place| Area::around(*place, RADIUS + 2.0)));
    taken.extend(bars.iter().flatten().map(|[from, to]| Area::along(*from, *to, 2.0)));
    let mut labels = Labels { plot, taken, leaders: Vec::new() };
    let names: Vec<Option<Label>> =
        spots.iter().zip(&places).map(|(spot, place)| labels.place(*place, &spot.strategy.name)).collect();

    for (from, to) in &labels.leaders {
        canvas.line(vec![*from, *to], Stroke::solid(Paint::Muted, 1.0));
    }
    for (nth, bar) in bars.iter().enumerate() {
        bar.iter()
            .for_each(|[from, to]| canvas.line(vec![*from, *to], Stroke::solid(Paint::Series(nth), 2.0)));
    }
    for (nth, place) in places.iter().enumerate() {
        canvas.marker(*place, nth, RADIUS);
    }
    for label in names.iter().flatten() {
        canvas.text(label.at, &label.text, TEXT, Weight::Regular, Paint::Ink, Anchor::Start);
    }
    Chart { name: NAME, title: TITLE.to_owned(), description: description(summary, &spots), canvas }
}

fn spot(strategy: &StrategySummary) -> Option<Spot<'_>> {
    let skew = lookup::metric(strategy, SKEW, Phase::All)?;
    let loss = lookup::metric(strategy, LOSS, Phase::All)?;
    let noise_floor = skew.noise_floor.filter(|floor| floor.is_finite());
    let (skew, loss) = (skew.value?, loss.value?);
    let loss = Estimate {
        mean: loss.mean * 100.0,
        half_width: loss.half_width.map(|half_width| half_width * 100.0),
        n: loss.n,
    };
    (skew.mean.is_finite() && loss.mean.is_finite()).then_some(Spot { strategy, skew, loss, noise_floor })
}

fn half(estimate: &Estimate) -> f64 {
    estimate.half_width.filter(|half_width| half_width.is_finite()).unwrap_or(0.0)
}

/// Shades the skew that chance alone would give.
fn draw_chance(canvas: &mut Canvas, plot: Plot, x: &Axis, spots: &[Spot<'_>]) {
    let Some(floor) = spots.iter().filter_map(|spot| spot.noise_floor).reduce(f64::max) else { return };
    let (from, to) = (plot.x(x, 1.0), plot.x(x, floor));
    canvas.rect((from, plot.top), ((to - from).max(1.5), plot.height), Paint::Fault, 1.0);
    let text = format!("chance alone: up to {}", format::value(floor, Scale::Plain));
    canvas.text((from, plot.top - 8.0), &text, SMALL, Weight::Regular, Paint::Muted, Anchor::Start);
}

/// An arrow into the better corner.
fn draw_better(canvas: &mut Canvas, plot: Plot) {
    let area = better_area(plot);
    let stroke = Stroke::solid(Paint::Muted, 2.0);
    let tip = (area.left + 4.0, area.bottom - 4.0);
    canvas.line(vec![(tip.0 + 22.0, tip.1 - 22.0), tip], stroke);
    canvas.line(vec![(tip.0 + 11.0, tip.1), tip, (tip.0, tip.1 - 11.0)], stroke);
    let at = (tip.0 + 30.0, tip.1 - 18.0);
    canvas.text(at, "better", TEXT, Weight::Bold, Paint::Muted, Anchor::Start);
}

/// The arrow stands in the upper right, where the bad strategies are few and points are rare.
fn better_area(plot: Plot) -> Area {
    let (right, top) = (plot.left + plot.width - 8.0, plot.top + 8.0);
    Area { left: right - 84.0, top, right, bottom: top + 34.0, is_label: true }
}

fn description(summary: &Summary, spots: &[Spot<'_>]) -> String {
    let points: Vec<String> = spots
        .iter()
        .map(|spot| {
            let loss = lookup::metric(spot.strategy, LOSS, Phase::All).and_then(|metric| metric.value);
            format!(
                "{}: load skew {}, {} of visits lost their session",
                spot.strategy.name,
                format::estimate(Some(spot.skew), Scale::Plain),
                format::estimate(loss, Scale::Percent)
            )
        })
        .collect();
    let missing = summary.strategies.len() - spots.len();
    let missing = if missing == 0 {
        String::new()
    } else {
        format!(" {} without a value.", format::plural(missing, "strategy"))
    };
    format!("{}.{missing}", points.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charts::canvas::{self, Shape};
    use crate::fixture;

    #[test]
    fn twelve_strategies_in_one_place_have_labels_that_do_not_overlap() {
        let summary = fixture::crowd();
        let chart = chart(&summary);
        let labels: Vec<Area> = chart
            .canvas
            .shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Text { at: (x, y), text, size, weight, .. } if text.starts_with("strategy") => {
                    let width = canvas::text_width(text, *size, *weight);
                    Some(Area { left: *x, top: y - size, right: x + width, bottom: *y, is_label: true })
                }
                _ => None,
            })
            .collect();
        assert_eq!(labels.len(), summary.strategies.len());
        for (nth, label) in labels.iter().enumerate() {
            assert!(labels[nth + 1..].iter().all(|other| !label.overlaps(other)), "{nth}");
        }
    }

    #[test]
    fn a_log_without_logins_says_that_nothing_could_be_lost() {
        assert!(chart(&fixture::log()).description.contains("No visit with a login ended"));
    }
}
