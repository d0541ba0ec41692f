//! Response times: the share of answers within a time, and beside it the share that took longer, on a logarithmic scale, which
//! shows the tail.

use evenkeel_sim::experiment::summary::Summary;
use evenkeel_sim::metrics::Phase;

use super::axis::{Axis, Plot};
use super::canvas::{Anchor, Canvas, Paint, Point, Stroke, Weight};
use super::legend::{self, Sample};
use super::{Chart, MARGIN, WIDTH, empty, head};
use crate::format::{self, Scale};
use crate::lookup;

/// The chart's name.
const NAME: &str = "response-time";
const TITLE: &str = "Response time";
/// Least share that the tail shows.
const LEAST_SHARE: f64 = 1e-5;
/// Where the plots begin: after their first mark the others follow at this distance \[px\].
const MARKS: f64 = 110.0;

/// A strategy's distribution: (milliseconds, share of answers at most that).
struct Curve {
    nth: usize,
    name: String,
    points: Vec<Point>,
}

impl Curve {
    /// Where it begins to be seen: the fastest thousandth is not.
    fn start_ms(&self) -> f64 {
        let unseen = self.points.iter().take_while(|(_, share)| *share < 0.001).last();
        unseen.or(self.points.first()).map_or(f64::INFINITY, |(ms, _)| *ms)
    }
}

/// The chart of response times.
pub(super) fn chart(summary: &Summary) -> Chart {
    let curves: Vec<Curve> = summary
        .strategies
        .iter()
        .enumerate()
        .map(|(nth, strategy)| {
            let valid = |(ms, share): &&Point| ms.is_finite() && *ms > 0.0 && share.is_finite();
            let points = strategy.latency_cdf.iter().filter(valid).copied().collect();
            Curve { nth, name: strategy.name.clone(), points }
        })
        .filter(|curve: &Curve| !curve.points.is_empty())
        .collect();
    if curves.is_empty() {
        return empty(
            NAME,
            TITLE,
            summary,
            "No response time was measured: no request was answered, or a log was replayed.",
        );
    }

    let mut canvas = Canvas::new(WIDTH, 4_000.0);
    let runs = if summary.replications > 1 {
        format!("all answers of {} replications together", summary.replications)
    } else {
        "all answers of one replication".to_owned()
    };
    let mut top =
        head(&mut canvas, "Response time: within a time, and slower", &format!("{runs} · {}", summary.title));
    let entries: Vec<(Sample, String)> = curves
        .iter()
        .map(|curve| (Sample::Marked(Stroke::series(curve.nth, 2.2), curve.nth), curve.name.clone()))
        .collect();
    top += legend::draw(&mut canvas, (MARGIN, top), WIDTH - 2.0 * MARGIN, &entries) + 38.0;

    let all = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let slowest = all().map(|(ms, _)| ms).fold(0.0, f64::max);
    let fastest = curves.iter().map(Curve::start_ms).fold(slowest, f64::min);
    let x = Axis::logarithmic(fastest, slowest, |ms| format::value(ms, Scale::Milliseconds));
    let left = Plot { left: MARGIN + 64.0, top, width: 390.0, height: 300.0 };
    let right = Plot { left: WIDTH - MARGIN - 390.0 - 14.0, ..left };

    let within = Axis::linear(0.0, 100.0, 5, " %");
    left.grid(&mut canvas, &x, &within, true);
    let least =
        all().map(|(_, share)| 1.0 - share).filter(|slower| *slower > LEAST_SHARE).fold(0.5, f64::min);
    let slower = Axis::logarithmic(least, 1.0, |share| format!("{} %", (share * 1e6).round() / 1e4));
    right.grid(&mut canvas, &x, &slower, true);

    for curve in &curves {
        let share_within =
            curve.points.iter().map(|(ms, share)| left.at(&x, &within, (*ms, share * 100.0))).collect();
        draw_curve(&mut canvas, share_within, curve.nth);
        let tail = curve.points.iter().filter(|(_, share)| 1.0 - share >= least);
        let share_slower = tail.map(|(ms, share)| right.at(&x, &slower, (*ms, 1.0 - share))).collect();
        draw_curve(&mut canvas, share_slower, curve.nth);
    }
    for (plot, title) in [(left, "answers within a time"), (right, "answers slower than a time")] {
        let at = (plot.left, plot.top - 12.0);
        canvas.text(at, title, 15.0, Weight::Bold, Paint::Ink, Anchor::Start);
        plot.names(&mut canvas, "response time [ms], logarithmic", "share of answers", 58.0);
    }
    let bottom = left.top + left.height + 64.0;
    let canvas = canvas.cut(bottom);
    Chart { name: NAME, title: TITLE.to_owned(), description: description(summary), canvas }
}

/// A line with marks along it; each strategy's marks begin elsewhere, so that those of equal curves do not hide each other.
fn draw_curve(canvas: &mut Canvas, points: Vec<Point>, nth: usize) {
    let mut until_mark = 20.0 + (nth * 29) as f64 % MARKS;
    let mut marks = Vec::new();
    for pair in points.windows(2) {
        let [(mut x, mut y), (x1, y1)] = [pair[0], pair[1]];
        loop {
            let length = ((x1 - x) * (x1 - x) + (y1 - y) * (y1 - y)).sqrt();
            if length < until_mark {
                until_mark -= length;
                break;
            }
            (x, y) = (x + (x1 - x) * until_mark / length, y + (y1 - y) * until_mark / length);
            marks.push((x, y));
            until_mark = MARKS;
        }
    }
    if let [only] = points.as_slice() {
        marks.push(*only);
    }
    canvas.line(points, Stroke::series(nth, 2.2));
    for mark in marks {
        canvas.marker(mark, nth, 4.5);
    }
}

fn description(summary: &Summary) -> String {
    let quantile = |strategy, name| {
        let metric = lookup::metric(strategy, name, Phase::All);
        format::estimate(metric.and_then(|metric| metric.value), Scale::Milliseconds)
    };
    let strategies: Vec<String> = summary
        .strategies
        .iter()
        .map(|it| {
            format!(
                "{}: median {}, p99 {}",
                it.name,
                quantile(it, "latency.p50"),
                quantile(it, "latency.p99")
            )
        })
        .collect();
    format!("Share of answers within a time, and slower than it. {}.", strategies.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn without_answers_the_chart_says_so() {
        assert!(chart(&fixture::nasty()).description.contains("No response time"));
    }

    #[test]
    fn a_distribution_of_one_point_is_drawn() {
        let mut summary = fixture::crash();
        for strategy in &mut summary.strategies {
            strategy.latency_cdf = vec![(12.5, 1.0)];
        }
        assert!(!chart(&summary).svg().contains("NaN"));
    }
}
