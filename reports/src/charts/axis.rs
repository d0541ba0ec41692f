//! Axes: where values lie on the page, and which of them get a tick.

use super::canvas::{Anchor, Canvas, Paint, Point, Stroke, Weight};
use super::{SMALL, TEXT};

/// A rectangle that data is drawn in \[px\].
#[derive(Clone, Copy, Debug)]
pub(super) struct Plot {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// How values become places.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// Values with a line and a label.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An even axis from `low` to at least `high`, ending on a tick, with about `wanted` ticks. `suffix` follows every label.
    pub(super) fn linear(low: f64, high: f64, wanted: usize, suffix: &str) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let step = nice_step((high - low) / wanted.max(1) as f64);
        let first = (low / step).floor();
        let last = (high / step - 1e-9).ceil();
        let decimals = decimals(step);
        let ticks = (0..=(last - first) as usize)
            .map(|nth| (first + nth as f64) * step)
            .map(|value| (value, format!("{}{suffix}", crate::format::fixed(value, decimals, false))))
            .collect();
        Self { low: first * step, high: last * step, logarithmic: false, ticks }
    }

    /// An axis of time from 0 to `end_s` \[s\], labelled in seconds, minutes or hours.
    pub(super) fn time(end_s: f64, wanted: usize) -> Self {
        const STEPS_S: [f64; 19] = [
            0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0,
            14_400.0, 21_600.0, 43_200.0, 86_400.0, 604_800.0,
        ];
        let end_s = if end_s > 0.0 && end_s.is_finite() { end_s } else { 1.0 };
        let rough = end_s / wanted.max(1) as f64;
        let step = STEPS_S.iter().copied().find(|step| *step >= rough).unwrap_or_else(|| nice_step(rough));
        let label = |seconds: f64| {
            if end_s <= 120.0 {
                format!("{} s", (seconds * 10.0).round() / 10.0)
            } else if end_s <= 7_200.0 {
                format!("{} min", (seconds / 60.0 * 10.0).round() / 10.0)
            } else {
                format!("{} h", (seconds / 3600.0 * 100.0).round() / 100.0)
            }
        };
        let ticks = (0..=(end_s / step + 1e-9) as usize)
            .map(|nth| (nth as f64 * step, label(nth as f64 * step)))
            .collect();
        Self { low: 0.0, high: end_s, logarithmic: false, ticks }
    }

    /// A logarithmic axis between positive values; `label` writes a tick.
    pub(super) fn logarithmic(low: f64, high: f64, label: impl Fn(f64) -> String) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low / 2.0, low * 2.0) };
        let first = libm::floor(libm::log10(low)) as i32;
        let last = libm::ceil(libm::log10(high)) as i32;
        let steps: &[f64] = if last - first > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let ticks = (first..=last)
            .flat_map(|exponent| steps.iter().map(move |step| step * power_of_ten(exponent)))
            .filter(|value| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(value))
            .map(|value| (value, label(value)))
            .collect();
        Self { low, high, logarithmic: true, ticks }
    }

    /// Where `value` lies between the ends of the axis, 0 to 1; values beyond lie at the end.
    pub(super) fn share(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            libm::log(value.max(self.low) / self.low) / libm::log(self.high / self.low)
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }
}

impl Plot {
    /// Where a pair of values lies.
    pub(super) fn at(&self, x: &Axis, y: &Axis, (along, up): (f64, f64)) -> Point {
        (self.x(x, along), self.top + self.height * (1.0 - y.share(up)))
    }

    /// Where a value lies across.
    pub(super) fn x(&self, axis: &Axis, value: f64) -> f64 {
        self.left + self.width * axis.share(value)
    }

    /// Draws grid and tick labels: lines across for the vertical axis, down for the horizontal one if `lines_down`.
    pub(super) fn grid(&self, canvas: &mut Canvas, x: &Axis, y: &Axis, lines_down: bool) {
        let line = Stroke::solid(Paint::Grid, 1.0);
        let bottom = self.top + self.height;
        for (value, label) in &y.ticks {
            let height = self.top + self.height * (1.0 - y.share(*value));
            canvas.line(vec![(self.left, height), (self.left + self.width, height)], line);
            let at = (self.left - 8.0, height + 0.36 * SMALL);
            canvas.text(at, label, SMALL, Weight::Regular, Paint::Muted, Anchor::End);
        }
        for (value, label) in &x.ticks {
            let across = self.x(x, *value);
            if lines_down {
                canvas.line(vec![(across, self.top), (across, bottom)], line);
            } else {
                canvas.line(vec![(across, bottom), (across, bottom + 5.0)], Stroke::solid(Paint::Muted, 1.0));
            }
            canvas.text((across, bottom + 19.0), label, SMALL, Weight::Regular, Paint::Muted, Anchor::Middle);
        }
        canvas.line(
            vec![(self.left, bottom), (self.left + self.width, bottom)],
            Stroke::solid(Paint::Muted, 1.0),
        );
    }

    /// Names the axes; `offset` is how far left of the plot the vertical name stands \[px\].
    pub(super) fn names(&self, canvas: &mut Canvas, x: &str, y: &str, offset: f64) {
        let below = (self.left + self.width / 2.0, self.top + self.height + 42.0);
        canvas.text(below, x, TEXT, Weight::Regular, Paint::Ink, Anchor::Middle);
        canvas.text_upwards((self.left - offset, self.top + self.height / 2.0), y, TEXT, Paint::Ink);
    }
}

/// The least of 1, 2 and 5 times a power of ten that is at least `rough`.
fn nice_step(rough: f64) -> f64 {
    let base = power_of_ten(libm::floor(libm::log10(rough)) as i32);
    [1.0, 2.0, 5.0]
        .iter()
        .map(|step| step * base)
        .find(|step| *step >= rough * (1.0 - 1e-9))
        .unwrap_or(10.0 * base)
}

/// Decimals that tell ticks of this step apart.
fn decimals(step: f64) -> usize {
    (-libm::floor(libm::log10(step) + 1e-9)).clamp(0.0, 9.0) as usize
}

/// A power of ten; negative ones by division, which rounds to the nearest number that is written that way.
fn power_of_ten(exponent: i32) -> f64 {
    let power = (0..exponent.unsigned_abs()).fold(1.0, |power, _| power * 10.0);
    if exponent < 0 { 1.0 / power } else { power }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_axes_end_on_round_ticks() {
        assert_eq!(labels(&Axis::linear(0.0, 93.0, 5, "")), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Axis::linear(1.0, 1.36, 4, "")), ["1.0", "1.1", "1.2", "1.3", "1.4"]);
        assert_eq!(labels(&Axis::linear(0.0, 0.0, 2, " %")), ["0.0 %", "0.5 %", "1.0 %"]);
    }

    #[test]
    fn time_is_labelled_in_the_unit_that_suits_its_length() {
        assert_eq!(labels(&Axis::time(90.0, 4)), ["0 s", "30 s", "60 s", "90 s"]);
        assert_eq!(labels(&Axis::time(7200.0, 4)), ["0 min", "30 min", "60 min", "90 min", "120 min"]);
        assert_eq!(labels(&Axis::time(86_400.0, 4)), ["0 h", "6 h", "12 h", "18 h", "24 h"]);
    }

    #[test]
    fn logarithmic_axes_have_ticks_within_their_ends_only() {
        let axis = Axis::logarithmic(4.0, 300.0, |value| value.to_string());
        assert_eq!(labels(&axis), ["5", "10", "20", "50", "100", "200"]);
        assert!(
            (axis.share(34.641_016_151_377_55) - 0.5).abs() < 1e-12,
            "the geometric mean lies in the middle"
        );
        assert!(axis.share(0.0).abs() < 1e-12, "zero lies at the lower end");
    }

    #[test]
    fn an_axis_of_one_value_is_still_an_axis() {
        assert!(Axis::logarithmic(5.0, 5.0, |value| value.to_string()).share(5.0).is_finite());
        assert!(Axis::linear(3.0, 3.0, 4, "").share(3.0).is_finite());
        assert!(Axis::time(0.0, 4).share(0.0).is_finite());
    }
}
