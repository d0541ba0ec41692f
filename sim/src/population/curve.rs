//! Rates that change with time: straight lines between knots, once or every day.
//!
//! The time at which a changing rate has brought a given amount of work is found by inversion of its integral, piece by
//! piece. So the n-th arrival of a process is a monotone function of n exponential numbers (Çinlar, "Introduction to
//! Stochastic Processes", 1975, section 4.7), and no draw is thrown away as thinning does.

use crate::engine::SimDuration;

/// Seconds of a day.
const DAY: f64 = 86_400.0;
/// Knots of a sinusoidal day: one every quarter of an hour, between which it is at most 0.06 % off.
const SINE_KNOTS: u32 = 96;

/// A rate over time, not negative: linear between knots, and jumping where two knots share a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Time \[s\] and rate; times never fall, the first is 0.
    knots: Vec<(f64, f64)>,
    /// Integral over all knots, if the curve repeats from its last knot on; else its last rate holds for good.
    period_area: Option<f64>,
}

/// How activity changes in the course of a day, about a mean of 1.
#[derive(Clone, Debug, PartialEq)]
pub struct DayPlan {
    /// What o'clock it is when the warm-up ends, from midnight.
    pub starts_at: SimDuration,
    /// The shape.
    pub shape: DayShape,
}

/// The shape of a day.
#[derive(Clone, Debug, PartialEq)]
pub enum DayShape {
    /// A sinusoid.
    Sine {
        /// Activity at the peak over that at the trough, at least 1.
        peak_to_trough: f64,
        /// When the peak is, from midnight.
        peak_at: SimDuration,
    },
    /// Activity at each full hour from midnight on, to be divided by its mean; lines between.
    Hours(Box<[f64; 24]>),
}

impl Curve {
    /// A curve through `knots` (time \[s\], rate) that keeps its last rate.
    ///
    /// # Panics
    /// Panics if there is none, the first time is not 0, or a time falls.
    pub fn once(knots: Vec<(f64, f64)>) -> Self {
        assert!(knots.first().is_some_and(|first| first.0 == 0.0), "a curve starts at 0");
        assert!(knots.is_sorted_by_key(|knot| knot.0), "time does not go back");
        Self { knots, period_area: None }
    }

    /// A curve through `knots` that begins again at the last one.
    ///
    /// # Panics
    /// As [`Curve::once`].
    fn periodic(knots: Vec<(f64, f64)>) -> Self {
        let curve = Self::once(knots);
        let area = curve.knots.windows(2).map(|pair| (pair[1].0 - pair[0].0) * 0.5 * (pair[0].1 + pair[1].1));
        Self { period_area: Some(area.sum()), ..curve }
    }

    /// The rate at a time \[s\] within the first period, from the right.
    fn rate(&self, at: f64) -> f64 {
        let next = self.knots.partition_point(|knot| knot.0 <= at);
        let (from, rate) = self.knots[next - 1];
        match self.knots.get(next) {
            Some(&(to, rate_there)) => rate + (rate_there - rate) * (at - from) / (to - from),
            None => rate,
        }
    }

    fn length(&self) -> f64 {
        self.knots.last().map_or(0.0, |knot| knot.0)
    }

    /// The time \[s\] by which the curve, from `from` on, has brought `work`: the integral from `from` to there. `None` if
    /// it never does.
    pub fn after(&self, from: f64, work: f64) -> Option<f64> {
        let (mut at, mut left) = (from, work);
        let mut start = 0.0;
        if let Some(area) = self.period_area {
            if area <= 0.0 {
                return None;
            }
            let length = self.length();
            let periods = libm::floor(left / area);
            left -= periods * area;
            at += periods * length;
            start = libm::floor(at / length) * length;
        }
        loop {
            let within = at - start;
            let rate = self.rate(within);
            let next = self.knots.partition_point(|knot| knot.0 <= within);
            let Some(&(to, rate_there)) = self.knots.get(next) else {
                if self.period_area.is_some() {
                    start += self.length();
                    at = start;
                    continue;
                }
                return (rate > 0.0).then(|| at + left / rate);
            };
            let span = to - within;
            let area = 0.5 * (rate + rate_there) * span;
            if left < area {
                // The smaller root of rate x + slope x² / 2 = left, in the form that loses no digits.
                let slope = (rate_there - rate) / span;
                return Some(at + 2.0 * left / (rate + (rate * rate + 2.0 * slope * left).max(0.0).sqrt()));
            }
            left -= area;
            at = start + to;
        }
    }
}

impl DayPlan {
    /// The day as a curve with a mean of 1 in simulated time, where the warm-up ends at `measured_from`.
    pub fn curve(&self, measured_from: SimDuration) -> Curve {
        let seconds = |duration: SimDuration| duration.as_secs_f64();
        // What o'clock it is at time zero.
        let offset = libm::fmod(seconds(self.starts_at) - seconds(measured_from), DAY);
        let offset = if offset < 0.0 { offset + DAY } else { offset };
        let by_the_clock = match &self.shape {
            DayShape::Sine { peak_to_trough, peak_at } => {
                let swing = (peak_to_trough - 1.0) / (peak_to_trough + 1.0);
                let knot = |i: u32| {
                    let at = DAY * f64::from(i) / f64::from(SINE_KNOTS);
                    let angle = std::f64::consts::TAU * (at - seconds(*peak_at)) / DAY;
                    (at, 1.0 + swing * libm::cos(angle))
                };
                Curve::periodic((0..=SINE_KNOTS).map(knot).collect())
            }
            DayShape::Hours(hours) => {
                let mean = hours.iter().sum::<f64>() / 24.0;
                let knot = |hour: usize| (3_600.0 * hour as f64, hours[hour % 24] / mean);
                Curve::periodic((0..=24).map(knot).collect())
            }
        };
        let later = by_the_clock.knots.iter().filter(|knot| knot.0 > offset);
        let earlier = by_the_clock.knots.iter().filter(|knot| knot.0 > 0.0 && knot.0 < offset);
        let mut knots = vec![(0.0, by_the_clock.rate(offset))];
        knots.extend(later.map(|&(at, rate)| (at - offset, rate)));
        knots.extend(earlier.map(|&(at, rate)| (at + DAY - offset, rate)));
        knots.push((DAY, knots[0].1));
        Curve::periodic(knots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: SimDuration = SimDuration::from_secs(3_600);

    fn sine(starts_at: SimDuration) -> DayPlan {
        DayPlan { starts_at, shape: DayShape::Sine { peak_to_trough: 3.0, peak_at: HOUR * 20 } }
    }

    #[test]
    fn the_inverse_of_the_integral_undoes_it() {
        // Goal: the closed form in each piece is right. Method: add up small steps of the rate up to the time found.
        let curve =
            Curve::once(vec![(0.0, 2.0), (10.0, 2.0), (20.0, 12.0), (20.0, 5.0), (40.0, 0.0), (50.0, 1.0)]);
        for work in [0.5, 19.0, 20.0, 55.0, 89.9, 93.0, 139.0, 142.0, 150.0] {
            let until = curve.after(0.0, work).expect("the rate never stops for good");
            let steps = 200_000;
            let step = until / f64::from(steps);
            let sum: f64 = (0..steps).map(|i| curve.rate((f64::from(i) + 0.5) * step) * step).sum();
            assert!((sum - work).abs() < 1e-3 * work.max(1.0), "{work}: {sum}");
        }
    }

    #[test]
    fn work_done_in_pieces_ends_when_work_done_at_once_does() {
        let curve = sine(HOUR * 3).curve(HOUR);
        let whole = curve.after(1_000.0, 300_000.0).unwrap();
        let pieces = (0..300).fold(1_000.0, |at, _| curve.after(at, 1_000.0).unwrap());
        assert!((whole - pieces).abs() < 1e-4, "{whole} {pieces}");
    }

    #[test]
    fn a_day_has_a_mean_of_one_and_its_peak_where_it_was_put() {
        for starts_at in [SimDuration::ZERO, HOUR * 8, HOUR * 23] {
            let curve = sine(starts_at).curve(HOUR * 2);
            let day = curve.after(0.0, DAY).unwrap();
            assert!((day - DAY).abs() < 1e-6, "{day}");
            // At 20 o'clock; the warm-up of two hours ends at `starts_at`.
            let clock = (20.0 - starts_at.as_secs_f64() / 3_600.0 + 2.0) * 3_600.0;
            let peak = curve.rate(libm::fmod(clock + DAY, DAY));
            let trough = curve.rate(libm::fmod(clock + 1.5 * DAY, DAY));
            assert!((peak - 1.5).abs() < 1e-9 && (trough - 0.5).abs() < 1e-9, "{peak} {trough}");
        }
    }

    #[test]
    fn hours_are_divided_by_their_mean() {
        let mut hours = Box::new([1.0; 24]);
        hours[12] = 25.0;
        let curve =
            DayPlan { starts_at: SimDuration::ZERO, shape: DayShape::Hours(hours) }.curve(SimDuration::ZERO);
        assert_eq!((curve.rate(0.0), curve.rate(12.0 * 3_600.0)), (0.5, 12.5));
        assert_eq!(curve.rate(11.5 * 3_600.0), 6.5);
    }

    #[test]
    fn a_rate_that_falls_to_nothing_brings_no_more_work() {
        let curve = Curve::once(vec![(0.0, 1.0), (10.0, 0.0)]);
        assert!(curve.after(0.0, 4.9).is_some());
        assert_eq!(curve.after(0.0, 5.1), None);
        assert_eq!(curve.after(20.0, 0.1), None);
    }
}
