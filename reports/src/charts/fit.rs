//! What was fitted to a log: for each law the share of the data above a value, on logarithmic scales, beside the laws that
//! were fitted; and the day's course.

use evenkeel_sim::population::fit::{Fit, FittedLaw, Measure, cumulative};

use super::axis::{Axis, Plot};
use super::canvas::{Anchor, Canvas, Paint, Point, Stroke, Weight};
use super::legend::{self, Sample};
use super::{Chart, MARGIN, WIDTH, head};

/// Laws that are drawn beside the data at most: the nearest.
const CANDIDATES_SHOWN: usize = 3;
/// Places at which a law is drawn.
const STEPS: i32 = 160;

/// Every chart of a fit; `source` names the log.
pub fn fitted(fit: &Fit, source: &str) -> Vec<Chart> {
    let laws = fit.laws.iter().filter(|law| law.data.len() > 1).map(|law| of_law(law, source));
    let hours = fit.hours.as_ref().map(|hours| of_hours(hours, source));
    laws.chain(hours).collect()
}

fn of_law(law: &FittedLaw, source: &str) -> Chart {
    let total = law.number() as f64;
    let mut above = law.number();
    let mut data: Vec<Point> = Vec::new();
    for &(value, count) in &law.data {
        above -= count;
        if above > 0 {
            // A value stands for up to one more second or step, and a share above zero cannot be shown at 0.
            data.push((law.measure.upper(value), above as f64 / total));
        }
    }
    let last = law.data.last().map_or(1.0, |&(value, _)| law.measure.upper(value));
    let least_x = if law.measure == Measure::Count { 0.5 } else { 1e-6 };
    let first = data.first().map_or(last, |point| point.0).max(least_x);
    let least = 0.5 / total;

    let mut canvas = Canvas::new(WIDTH, 4_000.0);
    let title = format!("{}{}", law.title[..1].to_uppercase(), &law.title[1..]);
    let subtitle = format!("n {}, mean {} · {source}", law.number(), law.shown_mean());
    let mut top = head(&mut canvas, &title, &subtitle);
    let shown = &law.candidates[..law.candidates.len().min(CANDIDATES_SHOWN)];
    let entries: Vec<(Sample, String)> =
        std::iter::once((Sample::Marked(Stroke::series(0, 1.2), 0), "data".to_owned()))
            .chain(shown.iter().zip(1..).map(|(candidate, nth)| {
                (
                    Sample::Line(Stroke::series(nth, 2.2)),
                    format!("{candidate} (KS {:.3})", candidate.distance),
                )
            }))
            .collect();
    top += legend::draw(&mut canvas, (MARGIN, top), WIDTH - 2.0 * MARGIN, &entries) + 30.0;
    let plot = Plot { left: MARGIN + 90.0, top, width: WIDTH - 2.0 * MARGIN - 130.0, height: 360.0 };
    let x = Axis::logarithmic(first, last, |value| format!("{value}"));
    let y = Axis::logarithmic(least, 1.0, |share| format!("{} %", (share * 1e7).round() / 1e5));
    plot.grid(&mut canvas, &x, &y, true);
    let ratio = libm::log(last / first) / f64::from(STEPS);
    for (candidate, nth) in shown.iter().zip(1..) {
        let points: Vec<Point> = (0..=STEPS)
            .map(|step| first * libm::exp(ratio * f64::from(step)))
            .map(|value| (value, 1.0 - cumulative(&candidate.law, value)))
            .take_while(|(_, above)| *above >= least)
            .map(|point| plot.at(&x, &y, point))
            .collect();
        canvas.line(points, Stroke::series(nth, 2.2));
    }
    // Thousands of points would only hide each other: those that are apart on the page are drawn.
    let mut drawn: Option<Point> = None;
    let mut line = Vec::new();
    for point in data {
        let at = plot.at(&x, &y, point);
        line.push(at);
        if drawn.is_none_or(|(left, up)| (at.0 - left).abs() + (at.1 - up).abs() > 7.0) {
            canvas.marker(at, 0, 3.2);
            drawn = Some(at);
        }
    }
    canvas.line(line, Stroke::series(0, 1.2));
    let unit = if law.measure == Measure::Count { "" } else { ", s" };
    plot.names(&mut canvas, &format!("{}{unit}, logarithmic", law.title), "share above", 84.0);
    let canvas = canvas.cut(plot.top + plot.height + 64.0);
    Chart { name: law.name, title, description: law.goodness().join("; "), canvas }
}

fn of_hours(hours: &[[u64; 24]; 2], source: &str) -> Chart {
    let mut canvas = Canvas::new(WIDTH, 4_000.0);
    let mut top =
        head(&mut canvas, "Visits by the hour at which they begin", &format!("hours in UTC · {source}"));
    let entries = ["people", "robots"].into_iter().zip(0..);
    let entries: Vec<_> =
        entries.map(|(name, nth)| (Sample::Marked(Stroke::series(nth, 2.2), nth), name.to_owned())).collect();
    top += legend::draw(&mut canvas, (MARGIN, top), WIDTH - 2.0 * MARGIN, &entries) + 30.0;
    let share =
        |group: &[u64; 24], hour: usize| 100.0 * group[hour] as f64 / group.iter().sum::<u64>().max(1) as f64;
    let most = hours.iter().flat_map(|group| (0..24).map(move |hour| share(group, hour))).fold(1.0, f64::max);
    let plot = Plot { left: MARGIN + 70.0, top, width: WIDTH - 2.0 * MARGIN - 110.0, height: 300.0 };
    let (x, y) = (Axis::linear(0.0, 24.0, 12, ""), Axis::linear(0.0, most, 5, " %"));
    plot.grid(&mut canvas, &x, &y, true);
    for (nth, group) in hours.iter().enumerate() {
        let points: Vec<Point> =
            (0..24).map(|hour| plot.at(&x, &y, (hour as f64 + 0.5, share(group, hour)))).collect();
        for point in &points {
            canvas.marker(*point, nth, 4.0);
        }
        canvas.line(points, Stroke::series(nth, 2.2));
    }
    plot.names(&mut canvas, "hour, UTC", "share of the group's visits", 64.0);
    canvas.text(
        (plot.left, plot.top - 12.0),
        "each group's visits add up to 100 %",
        13.0,
        Weight::Regular,
        Paint::Muted,
        Anchor::Start,
    );
    let canvas = canvas.cut(plot.top + plot.height + 64.0);
    let description =
        "Share of the visits of people and of robots that begin in each hour of the day.".to_owned();
    Chart { name: "hours", title: "Visits by hour of the day".to_owned(), description, canvas }
}
