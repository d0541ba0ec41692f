//! Moments against closed forms, laws against `rand_distr`, residual laws against the tail functions that define
//! them, and the exact values of a million draws.

use super::*;
use crate::ids::StreamId;
use rand_distr::Distribution as _;
use sha2::{Digest as _, Sha256};

/// Draws in a statistical test.
const DRAWS: u64 = 200_000;
/// Standard errors that a mean or variance may be off: 99.99 % for each of some twenty statistics.
const Z: f64 = 3.9;

fn stream() -> Stream {
    Stream::new(11, 0, StreamId::Demand)
}

fn samples(law: &Distribution) -> Vec<f64> {
    let (stream, sampler) = (stream(), law.sampler());
    (0..DRAWS).map(|n| sampler.sample(&stream, n % 1_000, n / 1_000)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The largest distance between the distribution functions of two samples (Kolmogorov-Smirnov), times the square
/// root of the effective size. Above 2.23 with probability 0.0001 for samples of one continuous law.
fn distance(mut left: Vec<f64>, mut right: Vec<f64>) -> f64 {
    left.sort_by(f64::total_cmp);
    right.sort_by(f64::total_cmp);
    let (n, m) = (left.len() as f64, right.len() as f64);
    let (mut at, mut largest): (usize, f64) = (0, 0.0);
    for (below, value) in left.iter().enumerate() {
        while at < right.len() && right[at] < *value {
            at += 1;
        }
        largest = largest.max((below as f64 / n - at as f64 / m).abs());
    }
    largest * (n * m / (n + m)).sqrt()
}

fn empirical() -> Distribution {
    let points = [(0.0, 0.0), (0.5, 1.0), (0.5, 2.0), (1.0, 6.0)];
    Distribution::Empirical(Empirical::new(points).expect("a law"))
}

/// One of each law, with its variance in closed form.
fn laws() -> Vec<(Distribution, f64)> {
    let cut = Distribution::Pareto { min: 1.0, alpha: 1.3, max: 50.0 };
    let (cut_mean, cut_square) = (cut.mean(), 1.0 + 2.0 * (libm::pow(50.0, 0.7) - 1.0) / 0.7);
    let weibull_square = libm::tgamma(1.0 + 2.0 / 1.7) - libm::tgamma(1.0 + 1.0 / 1.7).powi(2);
    vec![
        (Distribution::Uniform { min: 1.0, max: 4.0 }, 9.0 / 12.0),
        (Distribution::Exponential { mean: 3.0 }, 9.0),
        (Distribution::Lognormal { mean: 2.0, cv: 0.8 }, (2.0 * 0.8f64).powi(2)),
        (Distribution::Erlang { shape: 5, mean: 2.0 }, 4.0 / 5.0),
        (Distribution::Erlang { shape: 40, mean: 2.0 }, 4.0 / 40.0),
        // An index above 4 has a finite fourth moment, which the bound for the variance needs.
        (Distribution::Pareto { min: 1.0, alpha: 9.0, max: f64::INFINITY }, 9.0 / (64.0 * 7.0)),
        // Cut off, even the tail of requests by address has all moments: E X² = 1 + 2 (M^0.7 - 1) / 0.7.
        (cut, cut_square - cut_mean.powi(2)),
        (Distribution::Weibull { scale: 2.0, shape: 1.7 }, 4.0 * weibull_square),
        // Clicks of a visit, after Huberman and others.
        (Distribution::InverseGaussian { mean: 2.98, shape: 6.24 }, 2.98f64.powi(3) / 6.24),
        (Distribution::InverseGaussian { mean: 2.0, shape: 3.0 }, 8.0 / 3.0),
        // Uniform on 0 to 1 or on 2 to 6, each half of the time: second moments 1/3 and 52/3.
        (empirical(), 53.0 / 6.0 - 2.25 * 2.25),
    ]
}

#[test]
fn moments_are_those_of_the_closed_forms() {
    for (law, variance) in laws() {
        let values = samples(&law);
        let squares: Vec<f64> = values.iter().map(|x| (x - law.mean()).powi(2)).collect();
        let fourth = mean(&squares.iter().map(|s| (s - variance).powi(2)).collect::<Vec<_>>());
        let mean_off = (mean(&values) - law.mean()) / (variance / DRAWS as f64).sqrt();
        let variance_off = (mean(&squares) - variance) / (fourth / DRAWS as f64).sqrt();
        assert!(mean_off.abs() < Z, "{law:?}: mean {mean_off:.2} standard errors off");
        assert!(variance_off.abs() < Z, "{law:?}: variance {variance_off:.2} standard errors off");
    }
}

#[test]
fn laws_agree_with_rand_distr() {
    let mut rng = stream().draws(0, u64::MAX);
    let sigma = libm::log(1.0 + 0.8f64 * 0.8).sqrt();
    let location = libm::log(2.0) - 0.5 * sigma * sigma;
    let mut oracle = |law: &Distribution| -> Vec<f64> {
        macro_rules! draw {
            ($law:expr) => {{
                let law = $law.expect("valid parameters");
                (0..DRAWS).map(|_| law.sample(&mut rng)).collect()
            }};
        }
        match *law {
            Distribution::Uniform { min, max } => draw!(rand_distr::Uniform::new(min, max)),
            Distribution::Exponential { mean } => draw!(rand_distr::Exp::new(1.0 / mean)),
            Distribution::Lognormal { .. } => draw!(rand_distr::LogNormal::new(location, sigma)),
            Distribution::Erlang { shape, mean } => {
                draw!(rand_distr::Gamma::new(f64::from(shape), mean / f64::from(shape)))
            }
            Distribution::Pareto { min, alpha, .. } => draw!(rand_distr::Pareto::new(min, alpha)),
            Distribution::Weibull { scale, shape } => draw!(rand_distr::Weibull::new(scale, shape)),
            Distribution::InverseGaussian { mean, shape } => {
                draw!(rand_distr::InverseGaussian::new(mean, shape))
            }
            // No generator of that crate joins quantiles by lines: a mixture of two uniform laws is the same.
            Distribution::Empirical(_) => {
                let (low, high) = (rand_distr::Uniform::new(0.0, 1.0), rand_distr::Uniform::new(2.0, 6.0));
                let (low, high) = (low.expect("a range"), high.expect("a range"));
                (0..DRAWS)
                    .map(|n| if n % 2 == 0 { low.sample(&mut rng) } else { high.sample(&mut rng) })
                    .collect()
            }
            Distribution::Constant(_) | Distribution::Truncated { .. } => Vec::new(),
        }
    };
    // A cut piles draws up in one point, which this distance does not allow for.
    let is_cut = |law: &Distribution| matches!(law, Distribution::Pareto { max, .. } if max.is_finite());
    for (law, _) in laws().into_iter().filter(|(law, _)| !is_cut(law)) {
        let off = distance(samples(&law), oracle(&law));
        assert!(off < 2.23, "{law:?}: distance {off:.2}");
    }
}

/// Goal: the residual law is the one whose density is the tail function over the mean. Method: its mean is
/// E[X²] / (2 E[X]), and its distribution function at x is E[min(X, x)] / E[X]; both sides are estimated from draws,
/// at 99.99 % for each.
#[test]
fn residuals_follow_the_stationary_law() {
    let truncated = |law: Distribution, max: f64| Distribution::Truncated { law: Box::new(law), max };
    let mut all: Vec<Distribution> = laws().into_iter().map(|(law, _)| law).collect();
    all.extend([
        Distribution::Constant(3.0),
        Distribution::Pareto { min: 1.0, alpha: 1.0, max: 50.0 },
        Distribution::Pareto { min: 1.0, alpha: 0.7, max: 20.0 },
        truncated(Distribution::Exponential { mean: 3.0 }, 4.0),
        truncated(Distribution::Lognormal { mean: 3.0, cv: 2.0 }, 1.0),
        truncated(Distribution::Pareto { min: 1.0, alpha: 1.5, max: 100.0 }, 30.0),
    ]);
    let stream = Stream::new(12, 0, StreamId::InitialState);
    for law in all {
        let values = samples(&law);
        let residuals: Vec<f64> = (0..DRAWS).map(|n| law.residual(&stream, n % 500, n / 500)).collect();
        let whole = mean(&values);
        for quantile in [0.1, 0.3, 0.5, 0.7, 0.9, 0.99] {
            let mut sorted = residuals.clone();
            sorted.sort_by(f64::total_cmp);
            let at = sorted[(quantile * DRAWS as f64) as usize];
            let covered: Vec<f64> = values.iter().map(|x| x.min(at) - quantile * x).collect();
            let spread =
                (mean(&covered.iter().map(|c| c * c).collect::<Vec<_>>()) / DRAWS as f64).sqrt() / whole;
            let error = spread.hypot((quantile * (1.0 - quantile) / DRAWS as f64).sqrt());
            let off = (mean(&covered) / whole) / error;
            assert!(off.abs() < 4.5, "{law:?} at quantile {quantile}: {off:.2} standard errors off");
        }
    }
}

#[test]
fn a_cut_law_never_exceeds_its_cut_and_reaches_it() {
    let cut = Distribution::Truncated { law: Box::new(Distribution::Exponential { mean: 2.0 }), max: 3.0 };
    let pareto = Distribution::Pareto { min: 1.0, alpha: 1.2, max: 3.0 };
    let (cut, pareto) = (samples(&cut), samples(&pareto));
    assert!(cut.iter().chain(&pareto).all(|&x| x <= 3.0));
    let at_cut = cut.iter().filter(|&&x| x == 3.0).count() as f64 / DRAWS as f64;
    // The tail at the cut is exp(-3/2) = 0.2231; four standard errors are 0.0037.
    assert!((at_cut - 0.2231).abs() < 0.0037, "{at_cut} at the cut");
    let off = mean(&pareto) - Distribution::Pareto { min: 1.0, alpha: 1.2, max: 3.0 }.mean();
    assert!(off.abs() < 0.007, "mean of a cut Pareto law off by {off}");
}

#[test]
fn draws_are_the_same_by_law_and_by_sampler_and_durations_are_in_seconds() {
    let stream = stream();
    for (law, _) in laws() {
        assert_eq!(law.sample(&stream, 3, 4).to_bits(), law.sampler().sample(&stream, 3, 4).to_bits());
    }
    let law = Distribution::Constant(0.02);
    assert_eq!(law.duration(&stream, 0, 0), SimDuration::from_millis(20));
}

#[test]
fn every_wrong_parameter_is_named_with_its_value() {
    let truncated = |law, max| Distribution::Truncated { law: Box::new(law), max };
    for (law, expected) in [
        (Distribution::Constant(-1.0), "got -1"),
        (Distribution::Constant(f64::NAN), "got NaN"),
        (Distribution::Uniform { min: 2.0, max: 1.0 }, "`max` must be at least `min` (2)"),
        (Distribution::Exponential { mean: 0.0 }, "`mean` must be above 0 and finite, got 0"),
        (Distribution::Lognormal { mean: 1.0, cv: -0.5 }, "`cv` must be at least 0 and finite, got -0.5"),
        (Distribution::Erlang { shape: 0, mean: 1.0 }, "`shape` must be between 1 and 10000, got 0"),
        (
            Distribution::Pareto { min: 1.0, alpha: 2.0, max: 0.5 },
            "`max` must be at least `min` (1), got 0.5",
        ),
        (Distribution::Pareto { min: 1.0, alpha: 1.0, max: f64::INFINITY }, "set a finite `max`"),
        (
            Distribution::Weibull { scale: 1.0, shape: f64::INFINITY },
            "`shape` must be above 0 and finite, got inf",
        ),
        (Distribution::InverseGaussian { mean: 1.0, shape: 0.0 }, "`shape`"),
        (truncated(Distribution::Exponential { mean: -1.0 }, 1.0), "`mean`"),
        (truncated(Distribution::Exponential { mean: 1.0 }, 0.0), "`max`"),
    ] {
        let message = law.validate().expect_err("parameters are wrong");
        assert!(message.contains(expected), "{message}");
    }
    assert!(laws().iter().all(|(law, _)| law.validate().is_ok()));
}

/// Goal: a change of any bit of any draw is noticed, on every platform and with any set of features in the build.
/// Method: SHA-256 over a million draws of each law, pinned. These change only with a note in the changelog.
#[test]
fn a_million_draws_of_each_law_are_pinned_to_the_bit() {
    let stream = Stream::new(2_026, 1, StreamId::Demand);
    let mut hashes = Vec::new();
    let mut laws: Vec<Distribution> = laws().into_iter().map(|(law, _)| law).collect();
    laws.push(Distribution::Truncated {
        law: Box::new(Distribution::Lognormal { mean: 1.0, cv: 3.0 }),
        max: 5.0,
    });
    for law in laws {
        let (sampler, mut hash) = (law.sampler(), Sha256::new());
        for n in 0..1_000_000 {
            hash.update(sampler.sample(&stream, n / 100, n % 100).to_bits().to_le_bytes());
        }
        let digest: String = hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        hashes.push(digest);
    }
    assert_eq!(
        hashes,
        [
            "81efbf011103d1db",
            "79ff9ac436cf31ff",
            "d5cefd0bf75fc430",
            "dda9f7a2bf05ec8a",
            "0b85e46fb7078cc9",
            "29dce19b2f190aa8",
            "f67cff896283d27b",
            "5aff2ac355c77f67",
            "c02cf903b6064896",
            "b35aa34ce9f5e81f",
        ]
    );
}
