//! Load of each server over time: a panel for each strategy, all on the same scale.
//!
//! Loads are divided by the server's share of weight, so that one dashed line, the fair share of the full fleet, holds for all.
//! Above eight servers the lines would hide each other, and a band from the coolest to the hottest takes their place.
//!
//! Several faults, or one that comes again, have a lane each below the plot, on the same axis of time. Below these a lane shows when
//! health kept servers from new clients, if it ever did: thin where a fault was detected, thick where nothing ailed the server.

use evenkeel_sim::experiment::summary::{RemovalLine, StrategySummary, Summary};

use super::axis::{Axis, Plot};
use super::canvas::{self, Anchor, Canvas, Dash, Paint, Stroke, Weight};
use super::legend::{self, Sample};
use super::{Chart, MARGIN, SMALL, TEXT, WIDTH, empty, head};
use crate::{format, lookup};

/// The chart's name.
const NAME: &str = "load-over-time";
const TITLE: &str = "Load of each server over time";
/// Most servers that get a line each.
const MOST_LINES: usize = 8;
/// Room for the labels of the vertical axis, and its name in the first column \[px\].
const LABELS: f64 = 46.0;
const AXIS_NAME: f64 = 26.0;
/// Height of a fault's lane, and of the bar in it \[px\].
const LANE: f64 = 13.0;
const BAR: f64 = 7.0;
/// Room for the axis' own labels above the lanes \[px\].
const ABOVE_LANES: f64 = 24.0;
/// Most lanes; faults beyond share the last.
const LANES_MAX: usize = 12;
/// Pixels of the plot to a drawn point: finer detail than this is noise.
const STEP: f64 = 2.0;
const FAIR: Stroke = Stroke { paint: Paint::Ink, width: 1.5, dash: DASHED };
const DASHED: Dash = &[6.0, 4.0];

/// A panel's data: loads by server, and the fair share, in each bin.
struct Panel<'a> {
    strategy: &'a StrategySummary,
    bin_s: f64,
    loads: Vec<Vec<f64>>,
    fair: Vec<f64>,
}

/// The chart of load over time.
pub(super) fn chart(summary: &Summary) -> Chart {
    let panels: Vec<Panel<'_>> =
        summary.strategies.iter().filter_map(|strategy| panel(summary, strategy)).collect();
    let highest = panels.iter().flat_map(|panel| panel.loads.iter().flatten()).copied().fold(0.0, f64::max);
    if panels.is_empty() || highest <= 0.0 {
        return empty(NAME, TITLE, summary, "No request reached a server: there is no load to show.");
    }

    let columns = match panels.len() {
        1 => 1,
        2..=6 => 2,
        _ => 3,
    };
    let rows = panels.len().div_ceil(columns);
    let plot_height = if columns == 1 { 300.0 } else { 170.0 };
    let (row_height, column_width) = (
        plot_height + 66.0 + all_lanes(summary) as f64 * LANE,
        (WIDTH - 2.0 * MARGIN - AXIS_NAME) / columns as f64,
    );

    // The legend's height is known only once it is drawn, so it is drawn on a canvas that is as high as could be needed.
    let mut canvas = Canvas::new(WIDTH, 4_000.0);
    let title = format!("{TITLE}, by strategy");
    let which = match summary.replications {
        0 | 1 => "one replication".to_owned(),
        many => format!("the first of {many} replications"),
    };
    let subtitle = format!("{which} · {}", summary.title);
    let mut top = head(&mut canvas, &title, &subtitle);
    top += legend::draw(&mut canvas, (MARGIN, top), WIDTH - 2.0 * MARGIN, &legend_entries(summary));
    if lanes(summary) > 0 {
        let more = summary.faults.len().saturating_sub(LANES_MAX);
        let key: Vec<(Sample, String)> = summary
            .faults
            .iter()
            .take(LANES_MAX - usize::from(more > 0))
            .enumerate()
            .map(|(nth, fault)| {
                (
                    Sample::Box(Paint::Fault, 1.0),
                    format!("{} {} at {}", letter(nth), fault.what, format::duration(fault.at_s)),
                )
            })
            .chain((more > 0).then(|| (Sample::Box(Paint::Fault, 1.0), format!("{MORE} {} more", more + 1))))
            .collect();
        top += legend::draw(&mut canvas, (MARGIN, top), WIDTH - 2.0 * MARGIN, &key);
    }
    top += 24.0;

    let y = Axis::linear(0.0, highest, 4, "");
    for (nth, panel) in panels.iter().enumerate() {
        let plot = Plot {
            left: MARGIN + AXIS_NAME + (nth % columns) as f64 * column_width + LABELS,
            top: top + 20.0 + (nth / columns) as f64 * row_height,
            width: column_width - LABELS - 22.0,
            height: plot_height,
        };
        draw_panel(&mut canvas, summary, panel, plot, &y);
    }
    let bottom = top + rows as f64 * row_height;
    let middle = (top + bottom - 20.0) / 2.0;
    canvas.text_upwards((MARGIN + 10.0, middle), axis_name(summary), TEXT, Paint::Ink);
    let below = (WIDTH / 2.0, bottom + 2.0);
    canvas.text(
        below,
        "time since the end of the warm-up",
        TEXT,
        Weight::Regular,
        Paint::Ink,
        Anchor::Middle,
    );
    let canvas = canvas.cut(bottom + 18.0);

    Chart { name: NAME, description: description(summary, &panels), title, canvas }
}

/// What the vertical axis shows: rates by weight only where weights differ.
fn axis_name(summary: &Summary) -> &'static str {
    if summary.servers.windows(2).any(|pair| pair[0].weight != pair[1].weight) {
        "requests/s, by weight"
    } else {
        "requests/s"
    }
}

fn panel<'a>(summary: &Summary, strategy: &'a StrategySummary) -> Option<Panel<'a>> {
    let rates = &strategy.series.requests_per_s;
    let bins = rates.iter().map(Vec::len).min().filter(|bins| *bins > 0)?;
    let weights: Vec<f64> = (0..rates.len())
        .map(|at| summary.servers.get(at).map_or(1.0, |server| f64::from(server.weight)))
        .collect();
    let mean_weight = weights.iter().sum::<f64>() / weights.len() as f64;
    let fair =
        (0..bins).map(|bin| rates.iter().map(|rates| rates[bin]).sum::<f64>() / rates.len() as f64).collect();
    let loads = rates
        .iter()
        .zip(&weights)
        // A server of weight 0 is out of service: it has no share to divide by, and what it gets is drawn as it is.
        .map(|(rates, weight)| if *weight > 0.0 { (rates, mean_weight / weight) } else { (rates, 1.0) })
        .map(|(rates, factor)| rates[..bins].iter().map(|rate| finite(rate * factor)).collect())
        .collect();
    Some(Panel { strategy, bin_s: strategy.series.bin_s, loads, fair })
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

fn legend_entries(summary: &Summary) -> Vec<(Sample, String)> {
    let fair = (Sample::Line(FAIR), "fair share of the full fleet".to_owned());
    let mut entries: Vec<(Sample, String)> = if summary.servers.len() <= MOST_LINES {
        let line = |(nth, server): (usize, &evenkeel_sim::experiment::summary::ServerLine)| {
            (Sample::Line(server_stroke(nth)), server.name.clone())
        };
        summary.servers.iter().enumerate().map(line).collect()
    } else {
        vec![
            (Sample::Line(Stroke::solid(Paint::Series(1), 1.8)), "hottest server".to_owned()),
            (Sample::Line(Stroke::solid(Paint::Series(0), 1.8)), "coolest server".to_owned()),
            (Sample::Box(Paint::Series(0), 0.2), format!("all {} servers", summary.servers.len())),
        ]
    };
    entries.push(fair);
    if summary.faults.len() == 1 && lanes(summary) == 0 {
        entries.push((Sample::Box(Paint::Fault, 1.0), "fault".to_owned()));
    }
    for (false_positive, name) in [(false, "out for its health"), (true, "out though nothing ailed it")] {
        if removals(summary).any(|removal| removal.false_positive == false_positive) {
            entries.push((Sample::Box(paint_of_removal(false_positive), 1.0), name.to_owned()));
        }
    }
    entries
}

/// Lines over time are noisy, so their patterns have longer strokes than gaps, which keeps them in one piece.
fn server_stroke(nth: usize) -> Stroke {
    const PATTERNS: [Dash; 4] = [&[], &[8.0, 2.5], &[3.0, 2.0], &[12.0, 2.5, 3.0, 2.5]];
    Stroke { paint: Paint::Series(nth), width: 1.8, dash: PATTERNS[nth % PATTERNS.len()] }
}

fn draw_panel(canvas: &mut Canvas, summary: &Summary, panel: &Panel<'_>, plot: Plot, y: &Axis) {
    let bins = panel.fair.len();
    let x = Axis::time(panel.bin_s * bins as f64, if plot.width > 600.0 { 8 } else { 4 });
    let mut spans = draw_faults(canvas, summary, panel, plot, &x);
    spans.extend(draw_removals(canvas, summary, panel, plot, &x));
    plot.grid(canvas, &x, y, false);

    let wanted = (plot.width / STEP) as usize;
    let merged = bins.div_ceil(wanted.max(1));
    let points = |values: &[f64]| -> Vec<canvas::Point> {
        values
            .chunks(merged)
            .enumerate()
            .map(|(nth, chunk)| {
                let middle = (nth * merged) as f64 + chunk.len() as f64 / 2.0;
                let mean = chunk.iter().sum::<f64>() / chunk.len() as f64;
                plot.at(&x, y, (middle * panel.bin_s, mean))
            })
            .collect()
    };
    if panel.loads.len() <= MOST_LINES {
        for (nth, loads) in panel.loads.iter().enumerate() {
            canvas.line(points(loads), server_stroke(nth));
        }
    } else {
        let extreme = |pick: fn(f64, f64) -> f64, start: f64| -> Vec<f64> {
            (0..bins).map(|bin| panel.loads.iter().map(|loads| loads[bin]).fold(start, pick)).collect()
        };
        let (hottest, coolest) = (points(&extreme(f64::max, 0.0)), points(&extreme(f64::min, f64::INFINITY)));
        let band = hottest.iter().chain(coolest.iter().rev()).copied().collect();
        canvas.polygon(band, Paint::Series(0), 0.2);
        canvas.line(coolest, Stroke::solid(Paint::Series(0), 1.8));
        canvas.line(hottest, Stroke::solid(Paint::Series(1), 1.8));
    }
    canvas.line(points(&panel.fair), FAIR);

    for (label, at) in spans {
        canvas.text(at, &label, SMALL, Weight::Bold, Paint::Muted, Anchor::Middle);
    }
    let name = canvas::fit(&panel.strategy.name, plot.width, 15.0, Weight::Bold);
    canvas.text((plot.left, plot.top - 22.0), &name, 15.0, Weight::Bold, Paint::Ink, Anchor::Start);
}

/// Shades the spans of the faults that apply to this strategy, and draws their lanes; returns their labels, which go on top of the
/// lines.
fn draw_faults(
    canvas: &mut Canvas,
    summary: &Summary,
    panel: &Panel<'_>,
    plot: Plot,
    x: &Axis,
) -> Vec<(String, canvas::Point)> {
    let mut labels = Vec::new();
    let lanes = lanes(summary);
    let right = plot.left + plot.width;
    let mut last_lane = None;
    for (nth, (fault, impact)) in lookup::impacts(summary, panel.strategy).into_iter().enumerate() {
        let Some(impact) = impact else { continue };
        let lane = nth.min(LANES_MAX - 1);
        let top = plot.top + plot.height + ABOVE_LANES + lane as f64 * LANE;
        for (from_s, until_s) in lookup::spans(fault, impact) {
            let (from, to) = (plot.x(x, from_s), plot.x(x, until_s));
            // A fault of a moment is still seen.
            let width = (to - from).max(2.0).min(right - from).max(0.0);
            canvas.rect((from, plot.top - 1.0), (width, plot.height + 1.0), Paint::Fault, 1.0);
            if lanes > 0 {
                canvas.rect((from, top), (width, BAR), Paint::Muted, 1.0);
            } else {
                let text = canvas::fit(&fault.what, plot.width * 0.6, SMALL, Weight::Bold);
                let half = canvas::text_width(&text, SMALL, Weight::Bold) / 2.0;
                let middle =
                    (from + width / 2.0).clamp(plot.left + half, (right - half).max(plot.left + half));
                labels.push((text, (middle, plot.top - 5.0)));
            }
        }
        if lanes > 0 && last_lane != Some(lane) {
            last_lane = Some(lane);
            let shared = lane + 1 == LANES_MAX && summary.faults.len() > LANES_MAX;
            let name = if shared { MORE.to_owned() } else { letter(nth) };
            labels.push((name, (plot.left - 14.0, top + BAR)));
        }
    }
    labels
}

/// Draws when health kept servers from new clients; returns the name of the lane.
fn draw_removals(
    canvas: &mut Canvas,
    summary: &Summary,
    panel: &Panel<'_>,
    plot: Plot,
    x: &Axis,
) -> Option<(String, canvas::Point)> {
    removals(summary).next()?;
    let top = plot.top + plot.height + ABOVE_LANES + lanes(summary) as f64 * LANE;
    let right = plot.left + plot.width;
    for removal in &panel.strategy.removals {
        let (from, to) = (plot.x(x, removal.from_s), plot.x(x, removal.until_s));
        let width = (to - from).max(1.5).min(right - from).max(0.0);
        let thin = if removal.false_positive { 0.0 } else { 4.0 };
        let paint = paint_of_removal(removal.false_positive);
        canvas.rect((from, top + thin / 2.0), (width, BAR - thin), paint, 1.0);
    }
    Some((OUT.to_owned(), (plot.left - 14.0, top + BAR)))
}

fn removals(summary: &Summary) -> impl Iterator<Item = &RemovalLine> {
    summary.strategies.iter().flat_map(|strategy| &strategy.removals)
}

fn paint_of_removal(false_positive: bool) -> Paint {
    if false_positive { Paint::Series(1) } else { Paint::Ink }
}

/// How the lane of removals is called.
const OUT: &str = "out";

/// How the lane is called that several faults share.
const MORE: &str = "…";

/// Lanes of faults below each plot: none where a single fault comes once, which is named where it is.
fn lanes(summary: &Summary) -> usize {
    let scales = summary.strategies.iter().flat_map(|strategy| &strategy.faults).any(|it| it.acts.len() > 1);
    match summary.faults.as_slice() {
        [] => 0,
        [fault] if fault.spans_s.len() <= 1 && !scales => 0,
        faults => faults.len().min(LANES_MAX),
    }
}

/// Those of faults and that of removals.
fn all_lanes(summary: &Summary) -> usize {
    lanes(summary) + usize::from(removals(summary).next().is_some())
}

/// A, B, …, Z, A1, …
fn letter(nth: usize) -> String {
    let letter = char::from(b'A' + (nth % 26) as u8);
    if nth < 26 { letter.to_string() } else { format!("{letter}{}", nth / 26) }
}

fn description(summary: &Summary, panels: &[Panel<'_>]) -> String {
    let faults: Vec<String> = summary
        .faults
        .iter()
        .map(|fault| format!("{} at {}", fault.what, format::duration(fault.at_s)))
        .collect();
    let faults = if faults.is_empty() { "no faults".to_owned() } else { faults.join(", ") };
    let peaks: Vec<String> = panels
        .iter()
        .map(|panel| {
            let peak = panel.loads.iter().flatten().copied().fold(0.0, f64::max);
            format!(
                "{}: at most {} requests a second on one server",
                panel.strategy.name,
                format::fixed(peak, 0, false)
            )
        })
        .collect();
    format!(
        "Requests a second at each of {} servers over time, {faults}. {}.",
        summary.servers.len(),
        peaks.join("; ")
    )
}
