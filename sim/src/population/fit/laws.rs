//! Laws fitted to counts and times, and how far they are from the data.
//!
//! Parameters are maximum likelihood estimates in closed form (Johnson, Kotz & Balakrishnan, "Continuous Univariate
//! Distributions", 1994), that of Weibull's shape by bisection. Data are whole numbers: a count k is compared with a law rounded
//! up, whose probability of at most k is that of the law; a time of s whole seconds stands for anything up to s + 1.

use std::fmt;

use crate::engine::{Distribution, Empirical};

/// How many entities have each value, values ascending.
pub type Histogram = Vec<(u64, u64)>;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// Numbers of at least 1.
    Count,
    /// Times in whole seconds, rounded down.
    Seconds,
    /// Times in microseconds, rounded down to multiples of a step.
    Micros {
        /// The step \[µs\].
        step: u64,
    },
}

impl Measure {
    /// What laws of this measure are of: the number, or the time in seconds.
    fn unit(self) -> f64 {
        match self {
            Self::Count | Self::Seconds => 1.0,
            Self::Micros { .. } => 1e-6,
        }
    }

    /// The largest number or time \[s\] that a value stands for.
    pub fn upper(self, value: u64) -> f64 {
        match self {
            Self::Count => value as f64,
            Self::Seconds => value as f64 + 1.0,
            Self::Micros { step } => (value + step) as f64 * self.unit(),
        }
    }

    /// What all numbers or times \[s\] that a value stands for exceed, or equal.
    fn lower(self, value: u64) -> f64 {
        match self {
            Self::Count => value as f64 - 1.0,
            Self::Seconds | Self::Micros { .. } => value as f64 * self.unit(),
        }
    }

    fn middle(self, value: u64) -> f64 {
        (self.lower(value) + self.upper(value)) / 2.0
    }
}

/// The data of one law, its empirical form, and parametric laws beside it.
#[derive(Clone, Debug)]
pub struct FittedLaw {
    /// Its name, as a file's: `clicks_per_visit`.
    pub name: &'static str,
    /// What it is of, in words.
    pub title: String,
    /// What is counted.
    pub measure: Measure,
    /// The data.
    pub data: Histogram,
    /// The law of the data; `None` if there are none.
    pub empirical: Option<Empirical>,
    /// Laws with fitted parameters, the nearest first.
    pub candidates: Vec<Candidate>,
}

/// A law with fitted parameters.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The law.
    pub law: Distribution,
    /// The largest difference between its distribution function and that of the data (Kolmogorov-Smirnov).
    pub distance: f64,
}

impl FittedLaw {
    /// Fits the usual laws to `data`.
    pub fn new(name: &'static str, title: impl Into<String>, measure: Measure, data: Histogram) -> Self {
        let point = |value| match measure {
            // Laws of seconds and counts are rounded where they are used; these are used as they are.
            Measure::Micros { .. } => measure.middle(value),
            Measure::Count | Measure::Seconds => measure.upper(value),
        };
        let values = data.iter().map(|&(value, count)| (point(value), count));
        let empirical = Empirical::from_counts(values).ok();
        let mut candidates: Vec<Candidate> = parametric(measure, &data)
            .into_iter()
            .map(|law| Candidate { distance: distance(measure, &data, |x| cumulative(&law, x)), law })
            .filter(|candidate| candidate.distance.is_finite())
            .collect();
        candidates.sort_by(|a, b| a.distance.total_cmp(&b.distance));
        Self { name, title: title.into(), measure, data, empirical, candidates }
    }

    /// Number of observations.
    pub fn number(&self) -> u64 {
        self.data.iter().map(|(_, count)| count).sum()
    }

    /// Mean of the observations.
    pub fn mean(&self) -> f64 {
        let unit = self.measure.unit();
        self.data.iter().map(|&(value, count)| value as f64 * unit * count as f64).sum::<f64>()
            / self.number().max(1) as f64
    }

    /// The mean, with as many digits as mean something.
    pub fn shown_mean(&self) -> String {
        match self.measure {
            Measure::Count | Measure::Seconds => format!("{:.3}", self.mean()),
            Measure::Micros { .. } => format!("{:.6}", self.mean()),
        }
    }

    /// The distance that a sample of this size exceeds by chance in one of twenty cases, if the law is right (Smirnov's
    /// asymptotic bound; conservative for counts, too wide where parameters were fitted).
    pub fn chance(&self) -> f64 {
        1.358 / (self.number().max(1) as f64).sqrt()
    }

    /// How well the laws fit, in a line each: the empirical one first.
    pub fn goodness(&self) -> Vec<String> {
        let Some(empirical) = &self.empirical else { return vec![format!("{}: no data", self.title)] };
        let own = distance(self.measure, &self.data, |x| empirical.cumulative(x));
        let mut lines = vec![format!(
            "{}: n {}, mean {}; empirical law of {} points, KS {own:.4}",
            self.title,
            self.number(),
            self.shown_mean(),
            empirical.points().len(),
        )];
        lines.extend(self.candidates.iter().map(|candidate| {
            format!(
                "  {candidate}: KS {:.4}, {}",
                candidate.distance,
                if candidate.distance <= self.chance() {
                    format!("within chance ({:.4})", self.chance())
                } else {
                    format!("off by up to {:.1} % of the observations", candidate.distance * 100.0)
                }
            )
        }));
        lines
    }
}

impl fmt::Display for Candidate {
    /// As a scenario writes it, times in seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = |x: f64| if x < 1.0 { format!("{x:.6}") } else { format!("{x:.4}") };
        match &self.law {
            Distribution::Exponential { mean } => write!(f, "exponential, mean {}", n(*mean)),
            Distribution::Lognormal { mean, cv } => write!(f, "lognormal, mean {}, cv {}", n(*mean), n(*cv)),
            Distribution::Weibull { scale, shape } => {
                write!(f, "weibull, scale {}, shape {}", n(*scale), n(*shape))
            }
            Distribution::InverseGaussian { mean, shape } => {
                write!(f, "inverse_gaussian, mean {}, shape {}", n(*mean), n(*shape))
            }
            Distribution::Pareto { min, alpha, .. } => {
                write!(f, "pareto, min {}, alpha {}", n(*min), n(*alpha))
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// The largest difference between the data's distribution function and another.
fn distance(measure: Measure, data: &Histogram, law: impl Fn(f64) -> f64) -> f64 {
    let total: u64 = data.iter().map(|(_, count)| count).sum();
    let mut below = 0;
    let mut largest: f64 = 0.0;
    for &(value, count) in data {
        // Just before the value, the data's function is still what it was; a law may have risen over the gap.
        let before = law(measure.lower(value));
        largest = largest.max((before - below as f64 / total as f64).abs());
        below += count;
        largest = largest.max((law(measure.upper(value)) - below as f64 / total as f64).abs());
    }
    largest
}

/// The usual laws with their most likely parameters; none where the data do not vary.
fn parametric(measure: Measure, data: &Histogram) -> Vec<Distribution> {
    let total: f64 = data.iter().map(|&(_, count)| count as f64).sum();
    if data.len() < 2 {
        return Vec::new();
    }
    let mean_of = |f: &dyn Fn(f64) -> f64| {
        data.iter().map(|&(value, count)| count as f64 * f(measure.middle(value))).sum::<f64>() / total
    };
    let mean = mean_of(&|x| x);
    let log_mean = mean_of(&|x| libm::log(x));
    let log_variance = mean_of(&|x| (libm::log(x) - log_mean) * (libm::log(x) - log_mean));
    let lognormal = Distribution::Lognormal {
        mean: libm::exp(log_mean + log_variance / 2.0),
        cv: libm::sqrt(libm::expm1(log_variance)),
    };
    let shape = 1.0 / (mean_of(&|x| 1.0 / x) - 1.0 / mean);
    let min = measure.middle(data[0].0);
    let alpha = 1.0 / (log_mean - libm::log(min));
    let mut laws = vec![
        Distribution::Exponential { mean },
        lognormal,
        Distribution::InverseGaussian { mean, shape },
        Distribution::Pareto { min, alpha, max: f64::INFINITY },
    ];
    laws.extend(weibull(&mean_of, log_mean));
    laws.retain(|law| match law {
        // A heavy law's mean may be infinite; its form is still worth seeing.
        Distribution::Pareto { alpha, .. } => alpha.is_finite() && *alpha > 0.0,
        law => law.validate().is_ok(),
    });
    laws
}

/// The mean of a function of the data.
type MeanOf<'a> = &'a dyn Fn(&dyn Fn(f64) -> f64) -> f64;

/// The shape solves E[x^k ln x] / E[x^k] - 1/k = E[ln x], whose left side grows with k.
fn weibull(mean_of: MeanOf<'_>, log_mean: f64) -> Option<Distribution> {
    let excess = |k: f64| {
        let weighted = mean_of(&|x| libm::pow(x, k) * libm::log(x)) / mean_of(&|x| libm::pow(x, k));
        weighted - 1.0 / k - log_mean
    };
    let (mut low, mut high) = (0.02, 20.0);
    if !(excess(low) < 0.0 && excess(high) > 0.0) {
        return None;
    }
    for _ in 0..60 {
        let half = (low + high) / 2.0;
        if excess(half) < 0.0 { low = half } else { high = half }
    }
    Some(Distribution::Weibull { scale: libm::pow(mean_of(&|x| libm::pow(x, low)), 1.0 / low), shape: low })
}

/// The probability of at most `x`, for the laws that are fitted here.
pub fn cumulative(law: &Distribution, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let normal = |z: f64| 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2);
    match *law {
        Distribution::Exponential { mean } => -libm::expm1(-x / mean),
        Distribution::Lognormal { mean, cv } => {
            let sigma = libm::sqrt(libm::log1p(cv * cv));
            normal((libm::log(x / mean) + sigma * sigma / 2.0) / sigma)
        }
        Distribution::Weibull { scale, shape } => -libm::expm1(-libm::pow(x / scale, shape)),
        Distribution::InverseGaussian { mean, shape } => {
            let root = libm::sqrt(shape / x);
            let second = normal(-root * (x / mean + 1.0));
            // The product of a huge and a tiny number: where the tiny one is nothing, so is the product.
            let second = if second > 0.0 { libm::exp(2.0 * shape / mean + libm::log(second)) } else { 0.0 };
            (normal(root * (x / mean - 1.0)) + second).min(1.0)
        }
        Distribution::Pareto { min, alpha, .. } if x > min => 1.0 - libm::pow(min / x, alpha),
        Distribution::Pareto { .. } => 0.0,
        Distribution::Empirical(ref law) => law.cumulative(x),
        _ => f64::NAN,
    }
}

/// The tail of a law: Hill's estimator over the largest values (Hill, "A Simple General Approach to Inference About the Tail
/// of a Distribution", Annals of Statistics 3(5), 1975).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tail {
    /// The tail index: the probability of more than x falls as x to this power.
    pub index: f64,
    /// Its asymptotic standard error: the index over the root of the number of values.
    pub standard_error: f64,
    /// How many of the largest values it is estimated from.
    pub values: u64,
    /// Their share of all values.
    pub share: f64,
    /// The value beyond which the tail begins.
    pub from: u64,
    /// Kolmogorov-Smirnov distance of the tail from a Pareto law of this index.
    pub distance: f64,
}

impl Tail {
    /// The tail of the largest `share` of the values; `None` if these are fewer than ten or do not vary.
    pub fn of(data: &Histogram, share: f64) -> Option<Self> {
        let total: u64 = data.iter().map(|(_, count)| count).sum();
        let values = (total as f64 * share) as u64;
        if values < 10 || values >= total {
            return None;
        }
        // The first value that is not among them.
        let mut left = values;
        let (from, _) = *data.iter().rev().find(|&&(_, count)| {
            let inside = count > left;
            left = left.saturating_sub(count);
            inside
        })?;
        let mut left = values;
        let mut logs = 0.0;
        let mut tail = Vec::new();
        for &(value, count) in data.iter().rev() {
            let taken = count.min(left);
            left -= taken;
            if taken > 0 {
                logs += taken as f64 * libm::log(value as f64 / from as f64);
                tail.push((value, taken));
            }
        }
        let index = values as f64 / logs;
        tail.reverse();
        let pareto = |x: f64| if x <= from as f64 { 0.0 } else { 1.0 - libm::pow(from as f64 / x, index) };
        let mut below = 0;
        let mut distance: f64 = 0.0;
        for (value, count) in tail {
            below += count;
            distance = distance.max((pareto(value as f64) - below as f64 / values as f64).abs());
        }
        let error = index / (values as f64).sqrt();
        index.is_finite().then_some(Self { index, standard_error: error, values, share, from, distance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Stream;
    use crate::ids::StreamId;

    /// `number` draws of `law`, as counts or whole seconds.
    fn data(law: &Distribution, measure: Measure, number: u64) -> Histogram {
        let stream = Stream::new(5, 0, StreamId::Think);
        let mut histogram = std::collections::BTreeMap::<u64, u64>::new();
        for n in 0..number {
            let value = law.sample(&stream, n, 0);
            let whole = if measure == Measure::Count { value.ceil().max(1.0) } else { value.floor() };
            *histogram.entry(whole as u64).or_default() += 1;
        }
        histogram.into_iter().collect()
    }

    #[test]
    fn the_law_that_made_the_data_fits_best_and_within_chance() {
        // Fine-grained data, so that rounding does not matter: the KS distance of 20,000 draws is below 1.95 / sqrt(n) with
        // probability 0.999.
        for law in [
            Distribution::Exponential { mean: 3_000.0 },
            Distribution::Lognormal { mean: 5_000.0, cv: 1.5 },
            Distribution::Weibull { scale: 4_000.0, shape: 0.6 },
            Distribution::InverseGaussian { mean: 4_000.0, shape: 2_000.0 },
            Distribution::Pareto { min: 1_000.0, alpha: 1.3, max: f64::INFINITY },
        ] {
            let fitted = FittedLaw::new("test", "test", Measure::Count, data(&law, Measure::Count, 20_000));
            let best = &fitted.candidates[0];
            assert!(best.distance < 0.0138, "{law:?}: {best}: {}", best.distance);
            let same = std::mem::discriminant(&best.law) == std::mem::discriminant(&law)
                || matches!(
                    (&law, &best.law),
                    (Distribution::Exponential { .. }, Distribution::Weibull { .. })
                );
            assert!(same, "{law:?}: {best}");
        }
    }

    #[test]
    fn service_times_in_milliseconds_give_the_law_in_seconds() {
        let law = Distribution::Lognormal { mean: 0.04, cv: 1.0 };
        let stream = Stream::new(5, 0, StreamId::Think);
        let mut histogram = std::collections::BTreeMap::<u64, u64>::new();
        for n in 0..20_000 {
            *histogram.entry((law.sample(&stream, n, 0) * 1e3) as u64 * 1_000).or_default() += 1;
        }
        let data = histogram.into_iter().collect();
        let fitted = FittedLaw::new("service", "service", Measure::Micros { step: 1_000 }, data);
        let empirical = fitted.empirical.as_ref().expect("data");
        // The standard error of the mean of 20,000 draws is 0.7 %.
        assert!((empirical.mean() / 0.04 - 1.0).abs() < 0.03, "{}", empirical.mean());
        let Distribution::Lognormal { mean, cv } = fitted.candidates[0].law else {
            panic!("{:?}", fitted.candidates)
        };
        assert!((mean / 0.04 - 1.0).abs() < 0.03 && (cv - 1.0).abs() < 0.05, "{mean} {cv}");
    }

    #[test]
    fn the_empirical_law_is_near_its_data() {
        let law = Distribution::InverseGaussian { mean: 3.0, shape: 6.0 };
        let fitted = FittedLaw::new("clicks", "Clicks", Measure::Count, data(&law, Measure::Count, 20_000));
        let lines = fitted.goodness();
        assert!(lines[0].contains("KS 0.000"), "{lines:?}");
        assert!((fitted.mean() - 3.5).abs() < 0.1, "rounded up: {}", fitted.mean());
        assert!(
            FittedLaw::new("none", "Nothing", Measure::Count, Vec::new()).goodness()[0].contains("no data")
        );
    }

    #[test]
    fn the_tail_index_of_a_pareto_law_is_found() {
        let law = Distribution::Pareto { min: 1_000.0, alpha: 1.24, max: f64::INFINITY };
        let tail = Tail::of(&data(&law, Measure::Count, 40_000), 0.05).expect("a tail");
        assert_eq!(tail.values, 2_000);
        assert!((tail.index - 1.24).abs() < 4.0 * tail.standard_error, "{tail:?}");
        assert!(tail.distance < 0.04, "{tail:?}");
        assert_eq!(Tail::of(&vec![(1, 1_000)], 0.05), None, "all the same");
        assert_eq!(Tail::of(&vec![(1, 50), (9, 3)], 0.05), None, "too few");
    }
}
