//! Intervals by Student's t.
//!
//! The quantile is our own because results must be the same on every platform: the distribution function for whole degrees
//! of freedom is a finite sum of sines and cosines (Abramowitz and Stegun 26.7.3 and 26.7.4), taken from `libm`, and it is
//! inverted by bisection.

use super::summary::Estimate;

/// The 97.5 % quantile of Student's t with `degrees` degrees of freedom, at least 1.
pub fn t_975(degrees: u32) -> f64 {
    let (mut low, mut high) = (1.9, 12.8);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if central_probability(middle, degrees) < 0.95 { low = middle } else { high = middle }
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

impl Estimate {
    /// The mean of values over replications, those without a value left out, with its 95 % t-interval. `None` without any
    /// value.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().flatten().collect();
        let n = values.len() as u32;
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let half_width = (n >= 2).then(|| {
            let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
            let error = libm::sqrt(squares / f64::from(n - 1) / f64::from(n));
            t_975(n - 1) * error
        });
        Some(Self { mean, half_width, n })
    }

    /// As [`Estimate::of`], for values that every replication has.
    ///
    /// # Panics
    /// Panics without any value.
    pub fn of_all(values: impl IntoIterator<Item = f64>) -> Self {
        Self::of(values.into_iter().map(Some)).expect("at least one replication")
    }

    /// The estimate of the paired differences `of - reference`, replication by replication; pairs without both values are
    /// left out.
    pub fn difference(of: &[Option<f64>], reference: &[Option<f64>]) -> Option<Self> {
        Self::of(of.iter().zip(reference).map(|(a, b)| Some((*a)? - (*b)?)))
    }

    /// Lower and upper end of the interval; the mean twice when there is none.
    pub fn interval(&self) -> (f64, f64) {
        let half = self.half_width.unwrap_or(0.0);
        (self.mean - half, self.mean + half)
    }
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{ContinuousCDF, StudentsT};

    use super::*;

    #[test]
    fn quantiles_agree_with_the_library() {
        for degrees in (1..=60).chain([99, 100, 499, 1000]) {
            let expected = StudentsT::new(0.0, 1.0, f64::from(degrees)).unwrap().inverse_cdf(0.975);
            assert!(
                (t_975(degrees) / expected - 1.0).abs() < 1e-8,
                "{degrees}: {} {expected}",
                t_975(degrees)
            );
        }
    }

    #[test]
    fn an_estimate_has_the_textbook_interval() {
        // Mean 3, standard deviation sqrt(2.5), standard error sqrt(0.5), t(4) = 2.7764.
        let estimate = Estimate::of_all([1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!((estimate.mean, estimate.n), (3.0, 5));
        assert!((estimate.half_width.unwrap() - 2.776_445 * 0.5_f64.sqrt()).abs() < 1e-5);
    }

    #[test]
    fn one_value_has_no_interval_and_none_no_estimate() {
        assert_eq!(Estimate::of([Some(4.0), None]), Some(Estimate { mean: 4.0, half_width: None, n: 1 }));
        assert_eq!(Estimate::of([None, None]), None);
    }

    #[test]
    fn differences_are_paired() {
        let difference =
            Estimate::difference(&[Some(3.0), None, Some(5.0)], &[Some(1.0), Some(9.0), Some(3.0)]).unwrap();
        assert_eq!((difference.mean, difference.half_width, difference.n), (2.0, Some(0.0), 2));
    }
}
