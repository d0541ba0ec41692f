//! Intervals by Student's t, and what several comparisons at once cost (Holm).
//!
//! The quantile is our own because results must be the same on every platform: the distribution function for whole degrees
//! of freedom is a finite sum of sines and cosines (Abramowitz and Stegun 26.7.3 and 26.7.4), taken from `libm`, and it is
//! inverted by bisection.

use super::summary::Estimate;

/// The confidence of every interval that is shown.
pub const CONFIDENCE: f64 = 0.95;

/// The value that |T| stays below with probability `confidence`, T following Student's t with `degrees` degrees of freedom,
/// at least 1.
pub fn t_within(degrees: u32, confidence: f64) -> f64 {
    let (mut low, mut high) = (0.0, 16.0);
    while central_probability(high, degrees) < confidence && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..90 {
        let middle = 0.5 * (low + high);
        if central_probability(middle, degrees) < confidence { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The probability that |T| is at most `t`.
fn central_probability(t: f64, degrees: u32) -> f64 {
    let theta = libm::atan(t / libm::sqrt(f64::from(degrees)));
    let (sine, cosine) = (libm::sin(theta), libm::cos(theta));
    let square = cosine * cosine;
    let odd = degrees % 2 == 1;
    let mut term = if odd { cosine } else { 1.0 };
    let mut sum = 0.0;
    let mut k = if odd { 1 } else { 0 };
    while k + 2 <= degrees {
        sum += term;
        k += 2;
        term *= square * f64::from(k - 1) / f64::from(k);
    }
    if odd { std::f64::consts::FRAC_2_PI * (theta + sine * sum) } else { sine * sum }
}

/// Mean and standard error of independent values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    pub mean: f64,
    /// `None` for a single value.
    pub error: Option<f64>,
    pub n: u32,
}

impl Spread {
    /// `None` without any value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let n = values.len() as u32;
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let error = (n >= 2).then(|| {
            let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
            libm::sqrt(squares / f64::from(n - 1) / f64::from(n))
        });
        Some(Self { mean, error, n })
    }

    /// The estimate `centre`, which is off as these values' mean is.
    pub fn estimate(&self, centre: f64) -> Estimate {
        let half_width = self.error.map(|error| t_within(self.n - 1, CONFIDENCE) * error);
        Estimate { mean: centre, half_width, n: self.n }
    }
}

/// The degrees of freedom of a difference of two means (Satterthwaite, Biometrics 2 (1946), 110), rounded down; at least 1.
pub(super) fn welch_degrees(a: &Spread, b: &Spread) -> u32 {
    let square = |spread: &Spread| spread.error.map_or(0.0, |error| error * error);
    let (va, vb) = (square(a), square(b));
    let term = |v: f64, n: u32| v * v / f64::from(n.max(2) - 1);
    let degrees = (va + vb) * (va + vb) / (term(va, a.n) + term(vb, b.n));
    if degrees.is_finite() { (degrees as u32).max(1) } else { a.n.min(b.n).max(2) - 1 }
}

impl Estimate {
    /// The mean of values over replications with its 95 % t-interval. `None` without any value.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let spread = Spread::of(values.into_iter().flatten())?;
        Some(spread.estimate(spread.mean))
    }

    /// As [`Estimate::of`], for values that every replication has.
    ///
    /// # Panics
    /// Panics without any value.
    pub fn of_all(values: impl IntoIterator<Item = f64>) -> Self {
        Self::of(values.into_iter().map(Some)).expect("at least one replication")
    }

    /// Lower and upper end of the interval; the mean twice when there is none.
    pub fn interval(&self) -> (f64, f64) {
        let half = self.half_width.unwrap_or(0.0);
        (self.mean - half, self.mean + half)
    }

    /// Half the width of the interval at another confidence, between 0 and 1.
    pub fn half_width_at(&self, confidence: f64) -> Option<f64> {
        let degrees = self.n.max(2) - 1;
        self.half_width.map(|half| half / t_within(degrees, CONFIDENCE) * t_within(degrees, confidence))
    }

    /// The probability of a mean at least so far from zero if it were zero; `None` without an interval.
    pub fn p_value(&self) -> Option<f64> {
        let degrees = self.n.max(2) - 1;
        let error = self.half_width? / t_within(degrees, CONFIDENCE);
        Some(match (error > 0.0, self.mean == 0.0) {
            (true, _) => (1.0 - central_probability(self.mean.abs() / error, degrees)).max(0.0),
            (false, true) => 1.0,
            (false, false) => 0.0,
        })
    }
}

/// The p-values of several comparisons, each as it counts among all of them (Holm, Scandinavian Journal of Statistics 6 (1979),
/// 65): those below a level are found by chance in at most that share of experiments, however many comparisons there are.
pub fn holm(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<(f64, usize)> =
        p_values.iter().enumerate().filter_map(|(at, p)| Some(((*p)?, at))).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut adjusted = vec![None; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &(p, at)) in order.iter().enumerate() {
        largest = largest.max(p * (order.len() - rank) as f64).min(1.0);
        adjusted[at] = Some(largest);
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{ContinuousCDF, StudentsT};

    use super::*;

    #[test]
    fn quantiles_agree_with_the_library() {
        for degrees in (1..=60).chain([99, 100, 499, 1000]) {
            let student = StudentsT::new(0.0, 1.0, f64::from(degrees)).unwrap();
            for confidence in [0.5, 0.95, 0.999] {
                let expected = student.inverse_cdf(0.5 + confidence / 2.0);
                let found = t_within(degrees, confidence);
                assert!((found / expected - 1.0).abs() < 1e-7, "{degrees} {confidence}: {found} {expected}");
            }
        }
    }

    #[test]
    fn an_estimate_has_the_textbook_interval() {
        // Mean 3, standard deviation sqrt(2.5), standard error sqrt(0.5), t(4) = 2.7764.
        let estimate = Estimate::of_all([1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!((estimate.mean, estimate.n), (3.0, 5));
        assert!((estimate.half_width.unwrap() - 2.776_445 * 0.5_f64.sqrt()).abs() < 1e-5);
        let wider = estimate.half_width_at(0.99).unwrap();
        assert!((wider - 4.604_095 * 0.5_f64.sqrt()).abs() < 1e-5);
        // 3 over sqrt(0.5) is 4.2426; P(|T(4)| > 4.2426) = 0.01324.
        assert!((estimate.p_value().unwrap() - 0.013_236).abs() < 1e-5, "{:?}", estimate.p_value());
    }

    #[test]
    fn one_value_has_no_interval_and_none_no_estimate() {
        assert_eq!(Estimate::of([Some(4.0), None]), Some(Estimate { mean: 4.0, half_width: None, n: 1 }));
        assert_eq!(Estimate::of([None, None]), None);
    }

    #[test]
    fn holm_steps_down_and_never_falls() {
        // The textbook's example: 0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02.
        let adjusted = holm(&[Some(0.01), Some(0.04), Some(0.03), Some(0.005), None]);
        for (found, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found.unwrap() - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert_eq!(adjusted[4], None);
    }

    #[test]
    fn unequal_spreads_have_fewer_degrees_of_freedom() {
        let spread = |error, n| Spread { mean: 0.0, error: Some(error), n };
        assert_eq!(welch_degrees(&spread(1.0, 10), &spread(1.0, 10)), 18);
        assert_eq!(welch_degrees(&spread(1.0, 10), &spread(0.001, 10)), 9);
        assert_eq!(welch_degrees(&spread(0.0, 10), &spread(0.0, 5)), 4);
    }
}
