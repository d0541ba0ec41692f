//! The charts of a result. Each is drawn once, on a canvas that lists shapes, and comes out as SVG and as PNG.
//!
//! Colours are those of Okabe and Ito (*Color Universal Design*, 2008), told apart by dashes, markers or labels as well. A
//! chart without data says in words why there is nothing to see.

mod axis;
mod canvas;
mod fit;
mod front;
mod labels;
mod latency;
mod legend;
mod load;
mod losses;
mod png;
mod skew_loss;
pub(crate) mod stores;
mod svg;

use evenkeel_sim::experiment::summary::Summary;

use canvas::{Anchor, Canvas, Paint, Weight};

pub use fit::fitted;
pub use front::front;
pub use png::ChartError;

/// Width of every chart \[px\].
const WIDTH: f64 = 1000.0;
/// Space left of and right of everything \[px\].
const MARGIN: f64 = 24.0;
/// Size of most text \[px\].
const TEXT: f64 = 14.0;
/// Size of the least important text \[px\].
const SMALL: f64 = 12.5;

/// A chart.
#[derive(Debug)]
pub struct Chart {
    /// Its name, which is the file's name without ending.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub title: String,
    /// What it shows, for those who do not see it.
    pub description: String,
    canvas: Canvas,
}

impl Chart {
    /// The chart as SVG, with `role="img"`, a title and a description. Colours carry class names, so that a page may give them
    /// other values in the dark.
    pub fn svg(&self) -> String {
        svg::render(self)
    }

    /// The chart as PNG, twice as many pixels across as the SVG is wide.
    ///
    /// # Errors
    ///
    /// [`ChartError`] when the embedded font or the encoder fails; neither depends on the data.
    pub fn png(&self) -> Result<Vec<u8>, ChartError> {
        png::render(&self.canvas)
    }
}

/// Every chart of a result, in the order of the report.
pub fn all(summary: &Summary) -> Vec<Chart> {
    let mut charts = vec![
        load::chart(summary),
        skew_loss::chart(summary),
        losses::chart(summary),
        latency::chart(summary),
    ];
    charts.extend(stores::chart(summary));
    charts
}

/// The head of a chart: what it shows, and of what. Returns where the rest begins.
fn head(canvas: &mut Canvas, title: &str, subtitle: &str) -> f64 {
    let room = WIDTH - 2.0 * MARGIN;
    canvas.text(
        (MARGIN, 36.0),
        &canvas::fit(title, room, 20.0, Weight::Bold),
        20.0,
        Weight::Bold,
        Paint::Ink,
        Anchor::Start,
    );
    canvas.text(
        (MARGIN, 58.0),
        &canvas::fit(subtitle, room, TEXT, Weight::Regular),
        TEXT,
        Weight::Regular,
        Paint::Muted,
        Anchor::Start,
    );
    74.0
}

/// A chart without data: its head, and why there is nothing to see.
fn empty(name: &'static str, title: &str, summary: &Summary, why: &str) -> Chart {
    let mut canvas = Canvas::new(WIDTH, 190.0);
    let top = head(&mut canvas, title, &summary.title);
    canvas.rect((MARGIN, top + 4.0), (WIDTH - 2.0 * MARGIN, 88.0), Paint::Fault, 1.0);
    let why_shown = canvas::fit(why, WIDTH - 4.0 * MARGIN, 16.0, Weight::Regular);
    canvas.text((WIDTH / 2.0, top + 54.0), &why_shown, 16.0, Weight::Regular, Paint::Ink, Anchor::Middle);
    Chart { name, title: title.to_owned(), description: why.to_owned(), canvas }
}

/// The replications as a sentence's end: `mean of 20 replications`.
fn replications(summary: &Summary) -> String {
    match summary.replications {
        0 | 1 => "one replication".to_owned(),
        many => format!("mean of {many} replications"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn every_chart() -> Vec<Chart> {
        let mut empty = fixture::nasty();
        empty.strategies.clear();
        [fixture::crash(), fixture::log(), fixture::nasty(), fixture::crowd(), empty]
            .iter()
            .flat_map(all)
            .collect()
    }

    #[test]
    fn every_svg_has_a_role_a_title_and_a_description() {
        for chart in every_chart() {
            let svg = chart.svg();
            assert!(svg.contains("role=\"img\""), "{}", chart.name);
            assert!(svg.contains("<title id="), "{}", chart.name);
            assert!(svg.contains("<desc id="), "{}", chart.name);
            assert!(!chart.title.is_empty() && !chart.description.is_empty(), "{}", chart.name);
        }
    }

    #[test]
    fn no_chart_holds_a_coordinate_that_is_no_number() {
        for chart in every_chart() {
            let svg = chart.svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", chart.name);
        }
    }

    #[test]
    fn everything_is_drawn_within_the_chart() {
        for chart in every_chart() {
            let outside = chart.canvas.outside();
            assert!(outside.is_empty(), "{} of {:?}: {outside:?}", chart.name, chart.description);
        }
    }

    #[test]
    fn names_are_escaped() {
        for chart in all(&fixture::nasty()) {
            let svg = chart.svg();
            assert!(!svg.contains("<script") && !svg.contains("<b>"), "{}", chart.name);
        }
    }

    #[test]
    fn a_png_is_twice_as_wide_as_the_svg() {
        let chart = empty("none", "None", &fixture::nasty(), "nothing");
        let bytes = chart.png().expect("the embedded font works");
        assert_eq!(&bytes[1..4], b"PNG");
        assert_eq!(u32::from_be_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]), 2000);
    }
}
