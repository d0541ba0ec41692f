//! What `evenkeel advise` found: every candidate in the two first objectives, those on the front named.

use evenkeel_sim::experiment::advise::{Advice, Standing};
use evenkeel_sim::metrics::MetricId;

use super::axis::{Axis, Plot};
use super::canvas::{Anchor, Canvas, Paint, Point, Stroke, Weight};
use super::labels::{Area, Label, Labels};
use super::{Chart, MARGIN, TEXT, WIDTH, head};
use crate::format::{self, Scale};

/// The chart's name.
const NAME: &str = "front";
/// Radius of a mark on the front \[px\]; that of the choice is larger, the others' smaller.
const RADIUS: f64 = 6.0;

/// The chart of the front; `None` when there are not two objectives with values.
pub fn front(advice: &Advice) -> Option<Chart> {
    let [across, up, ..] = advice.minimise.as_slice() else { return None };
    let spots: Vec<(usize, &Standing, Point)> = advice
        .standings
        .iter()
        .enumerate()
        .filter_map(|(nth, standing)| {
            let value =
                |objective: usize, id: &MetricId| Some(standing.objectives[objective]?.mean * factor(*id));
            Some((nth, standing, (value(0, across)?, value(1, up)?)))
        })
        .collect();
    if spots.is_empty() {
        return None;
    }
    let mut canvas = Canvas::new(WIDTH, 546.0);
    let on_front = advice.standings.iter().filter(|it| it.on_front).count();
    let title = format!(
        "{} of {}: nobody is better in all",
        on_front,
        format::plural(advice.standings.len(), "candidate")
    );
    let subtitle = format!("filled marks are the front, the largest is the choice · {}", advice.title);
    let top = head(&mut canvas, &title, &subtitle) + 22.0;
    let plot = Plot { left: MARGIN + 84.0, top, width: WIDTH - 2.0 * MARGIN - 100.0, height: 390.0 };
    let x = axis(spots.iter().map(|(.., (x, _))| *x), *across);
    let y = axis(spots.iter().map(|(.., (_, y))| *y), *up);
    plot.grid(&mut canvas, &x, &y, true);
    plot.names(&mut canvas, &across.name(), &up.name(), 74.0);
    let places: Vec<Point> = spots.iter().map(|(.., spot)| plot.at(&x, &y, *spot)).collect();
    let mut named: Vec<usize> = (0..spots.len()).filter(|&at| spots[at].1.on_front).collect();
    named.sort_by(|&a, &b| places[a].0.total_cmp(&places[b].0).then(places[a].1.total_cmp(&places[b].1)));
    // With more objectives than the chart has axes the front is no line on it.
    if advice.minimise.len() == 2 {
        canvas.line(named.iter().map(|&at| places[at]).collect(), Stroke::solid(Paint::Muted, 1.5));
    }
    let mut labels = Labels {
        plot,
        taken: places.iter().map(|place| Area::around(*place, RADIUS + 2.0)).collect(),
        leaders: Vec::new(),
    };
    let names: Vec<Option<Label>> =
        named.iter().map(|&at| labels.place(places[at], &label(spots[at].0, spots[at].1))).collect();
    for (from, to) in &labels.leaders {
        canvas.line(vec![*from, *to], Stroke::solid(Paint::Muted, 1.0));
    }
    for (at, (nth, standing, _)) in spots.iter().enumerate() {
        let (x, y) = places[at];
        match (advice.choice == Some(*nth), standing.on_front) {
            (true, _) => canvas.marker((x, y), 1, RADIUS * 1.5),
            (false, true) => canvas.marker((x, y), 0, RADIUS),
            (false, false) => canvas.rect((x - 2.5, y - 2.5), (5.0, 5.0), Paint::Muted, 1.0),
        }
    }
    for label in names.iter().flatten() {
        canvas.text(label.at, &label.text, TEXT, Weight::Regular, Paint::Ink, Anchor::Start);
    }
    Some(Chart { name: NAME, title, description: description(advice), canvas })
}

/// The candidate's number, as in the table, its strategy, and its values without their keys.
fn label(nth: usize, standing: &Standing) -> String {
    let values = standing.values.iter().map(|value| value.rsplit(' ').next().unwrap_or_default());
    std::iter::once(format!("{} {}", nth + 1, standing.strategy))
        .chain(values.map(str::to_owned))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a metric's values are multiplied by before they are shown.
fn factor(id: MetricId) -> f64 {
    if scale(id) == Scale::Percent { 100.0 } else { 1.0 }
}

fn scale(id: MetricId) -> Scale {
    Scale::of(&id.name(), id.line().unit)
}

fn axis(values: impl Iterator<Item = f64> + Clone, id: MetricId) -> Axis {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    let room = 0.1 * (high - low).max(1e-3 * high.abs()).max(1e-6);
    let suffix = if scale(id) == Scale::Percent { " %" } else { "" };
    Axis::linear((low - room).max(low.min(0.0)), high + room, 6, suffix)
}

fn description(advice: &Advice) -> String {
    let of_front: Vec<String> = advice
        .standings
        .iter()
        .filter(|standing| standing.on_front)
        .map(|standing| {
            let values: Vec<String> = advice
                .minimise
                .iter()
                .zip(&standing.objectives)
                .map(|(id, value)| format!("{} {}", id.name(), format::estimate(*value, scale(*id))))
                .collect();
            format!("{}: {}", standing.name, values.join(", "))
        })
        .collect();
    format!("{}.", of_front.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_sim::experiment::summary::Estimate;
    use evenkeel_sim::scenario::AdvisePlan;

    fn advice() -> Advice {
        let estimate = |mean| Some(Estimate { mean, half_width: Some(0.01), n: 8 });
        let standing = |nth: u32| Standing {
            name: format!("<candidate {nth}>"),
            strategy: format!("<candidate {nth}>"),
            values: Vec::new(),
            changes: Vec::new(),
            objectives: vec![
                estimate(1.0 + 0.1 * f64::from(nth)),
                estimate(0.2 - 0.03 * f64::from(nth)),
                None,
                estimate(0.0),
            ],
            limited: Vec::new(),
            replications: 8,
            dropped: None,
            keeps_limits: true,
            on_front: nth.is_multiple_of(2),
            front_share: 1.0,
            chosen_share: 0.5,
        };
        Advice {
            title: "which?".into(),
            minimise: AdvisePlan::of(Vec::new()).minimise,
            limits: Vec::new(),
            standings: (0..6).map(standing).collect(),
            choice: Some(2),
            warmup: None,
            runs: (40, 48),
        }
    }

    #[test]
    fn the_front_is_named_and_everything_is_within_the_chart() {
        let chart = front(&advice()).expect("two objectives");
        assert!(chart.canvas.outside().is_empty(), "{:?}", chart.canvas.outside());
        let svg = chart.svg();
        assert!(svg.contains("3 &lt;candidate 2&gt;") && !svg.contains("NaN"), "{svg}");
        assert_eq!(chart.title, "3 of 6 candidates: nobody is better in all");
    }

    #[test]
    fn one_objective_is_no_chart() {
        let mut advice = advice();
        advice.minimise.truncate(1);
        assert!(front(&advice).is_none());
    }
}
