//! Legends: samples with names, in rows.

use super::TEXT;
use super::canvas::{self, Anchor, Canvas, Paint, Stroke, Weight};

/// What stands before a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sample {
    /// A piece of line.
    Line(Stroke),
    /// A piece of line with the mark of that number upon it.
    Marked(Stroke, usize),
    /// A filled box.
    Box(Paint, f64),
}

/// Height of a row \[px\].
const ROW: f64 = 24.0;
/// Width of a sample \[px\].
const SAMPLE: f64 = 34.0;
/// Space between sample and name, and a third of that between entries \[px\].
const GAP: f64 = 8.0;

/// Draws entries in rows from `(left, top)` on, within `room` \[px\]; returns their height.
pub(super) fn draw(
    canvas: &mut Canvas,
    (left, top): (f64, f64),
    room: f64,
    entries: &[(Sample, String)],
) -> f64 {
    let longest = (room / 2.0 - SAMPLE - 4.0 * GAP).max(60.0);
    let (mut x, mut y) = (left, top);
    for (sample, name) in entries {
        let name = canvas::fit(name, longest, TEXT, Weight::Regular);
        let sample_width = if matches!(sample, Sample::Box(..)) { 16.0 } else { SAMPLE };
        let width = sample_width + GAP + canvas::text_width(&name, TEXT, Weight::Regular);
        if x > left && x + width > left + room {
            x = left;
            y += ROW;
        }
        let middle = y + ROW / 2.0;
        match *sample {
            Sample::Line(stroke) => canvas.line(vec![(x, middle), (x + SAMPLE, middle)], stroke),
            Sample::Marked(stroke, nth) => {
                canvas.line(vec![(x, middle), (x + SAMPLE, middle)], stroke);
                canvas.marker((x + SAMPLE / 2.0, middle), nth, 4.5);
            }
            Sample::Box(paint, opacity) => canvas.rect((x, middle - 7.0), (16.0, 14.0), paint, opacity),
        }
        let at = (x + sample_width + GAP, middle + 0.36 * TEXT);
        canvas.text(at, &name, TEXT, Weight::Regular, Paint::Ink, Anchor::Start);
        x += width + 3.0 * GAP;
    }
    if entries.is_empty() { 0.0 } else { y + ROW - top }
}
