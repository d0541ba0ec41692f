//! A law taken from data: points of its quantile function, joined by straight lines.
//!
//! Between two points the law is uniform. Two points of the same value carry an atom, two of the same probability leave a
//! gap. A draw is the quantile at one uniform number (inversion, as Devroye, "Non-Uniform Random Variate Generation",
//! 1986, section II.2), so it is a monotone function of that number.

use std::sync::Arc;

use super::rng::Draws;

/// Points of a law made from observations, at most about.
const POINTS_WANTED: f64 = 400.0;
/// Values of such a law are kept apart if they differ by this share at least.
const RESOLUTION: f64 = 0.03;

/// A law given by points of its quantile function. Copies share the points.
#[derive(Clone, Debug, PartialEq)]
pub struct Empirical {
    points: Arc<[Point]>,
}

/// One point of a quantile function.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    /// Probability of a value up to this one, from 0 at the first point to 1 at the last.
    probability: f64,
    /// The value, at least 0.
    value: f64,
    /// The mean's part up to here: the integral of the quantile function from 0 to `probability`.
    area: f64,
}

impl Empirical {
    /// The law through `points` of (probability, value): probabilities from 0 to 1, values of at least 0, neither falling.
    ///
    /// # Errors
    /// What is wrong with the points, and what to write instead.
    pub fn new(points: impl IntoIterator<Item = (f64, f64)>) -> Result<Self, String> {
        let mut all: Vec<Point> = Vec::new();
        for (probability, value) in points {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(format!("a value must be at least 0 and finite, got {value}"));
            }
            let area = match all.last() {
                None if probability != 0.0 => {
                    return Err(format!("the first probability must be 0, got {probability}"));
                }
                None => 0.0,
                Some(last) if !(probability >= last.probability && value >= last.value) => {
                    return Err(format!(
                        "probabilities and values must not fall, got {probability}, {value} after {}, {}",
                        last.probability, last.value
                    ));
                }
                Some(last) => last.area + (probability - last.probability) * (last.value + value) / 2.0,
            };
            all.push(Point { probability, value, area });
        }
        match all.last() {
            Some(last) if last.probability == 1.0 && all.len() > 1 => Ok(Self { points: all.into() }),
            Some(last) => {
                Err(format!("the last probability must be 1 and not the first, got {}", last.probability))
            }
            None => Err("at least two points are needed, got none".into()),
        }
    }

    /// The law with `values` as quantiles at equal steps of probability, from the smallest value to the largest.
    ///
    /// # Errors
    /// As [`Empirical::new`].
    pub fn from_quantiles(values: &[f64]) -> Result<Self, String> {
        let steps = values.len().saturating_sub(1).max(1) as f64;
        Self::new(values.iter().enumerate().map(|(at, &value)| (at as f64 / steps, value)))
    }

    /// The law of observations, given as (value, how often) in ascending order. A value's share is spread over the gap
    /// below it, so that a count that is rounded up has exactly the shares of the data; the smallest value is an atom.
    /// Values that differ by less than 3 % share a point, in the bulk those within a 400th of the observations too.
    ///
    /// # Errors
    /// As [`Empirical::new`]; above all if there are no observations.
    pub fn from_counts(counts: impl IntoIterator<Item = (f64, u64)> + Clone) -> Result<Self, String> {
        let total: u64 = counts.clone().into_iter().map(|(_, count)| count).sum();
        let mut points: Vec<(f64, f64)> = Vec::new();
        let mut seen = 0;
        for (value, count) in counts {
            seen += count;
            let probability = seen as f64 / total as f64;
            if points.is_empty() {
                points.push((0.0, value));
            }
            // The last point takes in this value if it is the same, or if the point before it is still near.
            if let [.., (before_p, before), (last_p, last)] = &mut points[..]
                && (value == *last
                    || (value - *before <= RESOLUTION * *before
                        && probability - *before_p <= 1.0 / POINTS_WANTED))
            {
                (*last_p, *last) = (probability, value);
            } else {
                points.push((probability, value));
            }
        }
        Self::new(points)
    }

    /// The points, as (probability, value).
    pub fn points(&self) -> impl ExactSizeIterator<Item = (f64, f64)> + '_ {
        self.points.iter().map(|point| (point.probability, point.value))
    }

    /// The value that is not exceeded with probability `u`.
    #[inline]
    pub fn quantile(&self, u: f64) -> f64 {
        let (low, high) = self.cell(|point| point.probability < u);
        if high.probability <= low.probability {
            return high.value;
        }
        let share = (u - low.probability) / (high.probability - low.probability);
        low.value + share.clamp(0.0, 1.0) * (high.value - low.value)
    }

    /// The probability of a value of at most `value`.
    pub fn cumulative(&self, value: f64) -> f64 {
        let above = self.points.partition_point(|point| point.value <= value);
        match (above.checked_sub(1).map(|at| self.points[at]), self.points.get(above)) {
            (None, _) => 0.0,
            (Some(_), None) => 1.0,
            (Some(low), Some(high)) => {
                let share = (value - low.value) / (high.value - low.value);
                low.probability + share * (high.probability - low.probability)
            }
        }
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.points.last().map_or(0.0, |last| last.area)
    }

    /// A draw that is as likely as the density times the value: the time that covers a random instant. Within a cell the
    /// law is uniform, whose length-biased version has a closed form.
    pub(super) fn length_biased(&self, draws: &mut Draws) -> f64 {
        let area = draws.uniform() * self.mean();
        let (low, high) = self.cell(|point| point.area < area);
        let (min, width) = (low.value, high.value - low.value);
        (min * min + draws.uniform() * width * (high.value + min)).sqrt()
    }

    /// The neighbours between which `below` turns false.
    #[inline]
    fn cell(&self, below: impl Fn(&Point) -> bool) -> (Point, Point) {
        let high = self.points.partition_point(below).clamp(1, self.points.len() - 1);
        (self.points[high - 1], self.points[high])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_make_no_law_are_refused_with_what_is_wrong() {
        for (points, why) in [
            (&[][..], "at least two points"),
            (&[(0.0, 1.0)], "the last probability must be 1"),
            (&[(0.1, 1.0), (1.0, 2.0)], "the first probability must be 0, got 0.1"),
            (&[(0.0, 1.0), (0.9, 2.0)], "the last probability must be 1 and not the first, got 0.9"),
            (&[(0.0, 2.0), (1.0, 1.0)], "must not fall, got 1, 1 after 0, 2"),
            (&[(0.0, 1.0), (0.5, 1.0), (0.4, 2.0), (1.0, 3.0)], "must not fall"),
            (&[(0.0, -1.0), (1.0, 1.0)], "a value must be at least 0 and finite, got -1"),
            (&[(0.0, 1.0), (f64::NAN, 1.0)], "must not fall"),
        ] {
            let error = Empirical::new(points.iter().copied()).expect_err("no law");
            assert!(error.contains(why), "{points:?}: {error}");
        }
    }

    #[test]
    fn quantile_and_cumulative_undo_each_other_and_the_mean_is_the_area() {
        let law = Empirical::new([(0.0, 1.0), (0.5, 3.0), (0.5, 5.0), (1.0, 7.0)]).unwrap();
        // By hand: half of the time uniform on 1 to 3, half on 5 to 7.
        assert_eq!(law.mean(), 4.0);
        for u in [0.1, 0.25, 0.4999, 0.6, 0.99] {
            assert!((law.cumulative(law.quantile(u)) - u).abs() < 1e-12, "{u}");
        }
        assert_eq!((law.cumulative(0.5), law.cumulative(4.0), law.cumulative(9.0)), (0.0, 0.5, 1.0));
    }

    #[test]
    fn equal_steps_and_an_atom() {
        let law = Empirical::from_quantiles(&[0.0, 1.0, 10.0]).unwrap();
        assert_eq!((law.quantile(0.25), law.quantile(0.75)), (0.5, 5.5));
        let atom = Empirical::from_quantiles(&[2.0, 2.0, 2.0]).unwrap();
        assert_eq!((atom.quantile(0.3), atom.mean()), (2.0, 2.0));
        assert!(Empirical::from_quantiles(&[2.0]).is_err());
    }

    #[test]
    fn counts_rounded_up_have_exactly_the_shares_of_the_data() {
        let data = [(1.0, 60), (2.0, 25), (5.0, 10), (30.0, 5)];
        let law = Empirical::from_counts(data).unwrap();
        let share =
            |count: f64| (1..1_000).filter(|&u| law.quantile(f64::from(u) / 1e3).ceil() <= count).count();
        assert_eq!([1.0, 2.0, 5.0, 30.0].map(share), [600, 850, 950, 999]);
    }

    #[test]
    fn many_observations_make_few_points_and_keep_the_mean() {
        // Values from 1 to 10^6 whose tail is that of a Pareto law of index 1.2.
        let mut values: Vec<f64> =
            (1..200_000).map(|k| (f64::from(k) / 2e5).powf(-1.0 / 1.2).round()).collect();
        values.sort_by(f64::total_cmp);
        let law = Empirical::from_counts(values.iter().map(|&value| (value, 1))).unwrap();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!(law.points().len() < 1_200, "{}", law.points().len());
        // Counts lose up to a half each by the gaps below them.
        assert!((law.mean() / mean - 1.0).abs() < 0.1, "{} {mean}", law.mean());
        for share in [0.5, 0.9, 0.99, 0.999] {
            let wanted = values[(share * values.len() as f64) as usize];
            assert!((law.quantile(share).ceil() / wanted - 1.0).abs() < 0.05, "{share}");
        }
    }
}
