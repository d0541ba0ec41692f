//! A [`Distribution`] made ready to draw from: what depends on the parameters alone is computed once.

use super::distribution::Distribution;
use super::elementary::{exp, ln};
use super::empirical::Empirical;
use super::normal::normal_quantile;
use super::rng::{Draws, Stream};
use super::time::SimDuration;

/// Uniform numbers that are multiplied before one logarithm is taken: sixteen of at least 2^-53 stay normal numbers.
const FACTORS: u32 = 16;

/// Draws from one law. Gives the values of [`Distribution::sample`] bit for bit, faster.
#[derive(Clone, Debug)]
pub struct Sampler {
    law: Law,
    /// Draws beyond this are set to it; infinite if the law is not cut off.
    max: f64,
}

/// The laws with their derived parameters.
#[derive(Clone, Debug)]
enum Law {
    Constant(f64),
    Uniform { min: f64, width: f64 },
    Exponential { mean: f64 },
    Lognormal { mean: f64, sigma: f64 },
    Erlang { shape: u32, scale: f64 },
    Pareto { min: f64, alpha: f64 },
    Weibull { scale: f64, shape: f64 },
    InverseGaussian { mean: f64, ratio: f64 },
    Empirical(Empirical),
}

impl Sampler {
    pub(super) fn new(distribution: &Distribution) -> Self {
        let mut max = f64::INFINITY;
        let law = match *distribution {
            Distribution::Constant(value) => Law::Constant(value),
            Distribution::Uniform { min, max } => Law::Uniform { min, width: max - min },
            Distribution::Exponential { mean } => Law::Exponential { mean },
            Distribution::Lognormal { mean, cv } => {
                Law::Lognormal { mean, sigma: libm::log1p(cv * cv).sqrt() }
            }
            Distribution::Erlang { shape, mean } => Law::Erlang { shape, scale: mean / f64::from(shape) },
            Distribution::Pareto { min, alpha, max: cut } => {
                max = cut;
                Law::Pareto { min, alpha }
            }
            Distribution::Weibull { scale, shape } => Law::Weibull { scale, shape },
            Distribution::InverseGaussian { mean, shape } => {
                Law::InverseGaussian { mean, ratio: mean / (2.0 * shape) }
            }
            Distribution::Empirical(ref law) => Law::Empirical(law.clone()),
            Distribution::Truncated { ref law, max: cut } => {
                let inner = Self::new(law);
                max = cut.min(inner.max);
                inner.law
            }
        };
        Self { law, max }
    }

    /// The value named (entity, index) of `stream`.
    #[inline(always)]
    pub fn sample(&self, stream: &Stream, entity: u64, index: u64) -> f64 {
        // The law of most think times and demands is worth a place in the caller's loop.
        if let Law::Exponential { mean } = self.law {
            return at_most(-mean * ln(stream.uniform(entity, index)), self.max);
        }
        self.sample_other(stream, entity, index)
    }

    #[inline(never)]
    fn sample_other(&self, stream: &Stream, entity: u64, index: u64) -> f64 {
        let value = match self.law {
            Law::Erlang { .. } | Law::InverseGaussian { .. } => {
                self.several(&mut stream.draws(entity, index))
            }
            Law::Constant(value) => value,
            Law::Exponential { .. }
            | Law::Uniform { .. }
            | Law::Lognormal { .. }
            | Law::Pareto { .. }
            | Law::Weibull { .. }
            | Law::Empirical(_) => self.inverted(stream.uniform(entity, index)),
        };
        at_most(value, self.max)
    }

    /// As [`Sampler::sample`], in seconds.
    #[inline(always)]
    pub fn duration(&self, stream: &Stream, entity: u64, index: u64) -> SimDuration {
        SimDuration::from_secs_f64(self.sample(stream, entity, index))
    }

    /// The quantile at `u`, or at 1 - `u` where that is as easy, of a law that has a closed form.
    #[inline]
    fn inverted(&self, u: f64) -> f64 {
        match self.law {
            Law::Uniform { min, width } => min + width * u,
            Law::Lognormal { mean, sigma } => mean * exp(sigma * normal_quantile(u) - 0.5 * sigma * sigma),
            Law::Pareto { min, alpha } => min * exp(-ln(u) / alpha),
            Law::Weibull { scale, shape } => scale * exp(ln(-ln(u)) / shape),
            Law::Exponential { mean } => -mean * ln(u),
            Law::Constant(value) => value,
            Law::Empirical(ref law) => law.quantile(u),
            Law::Erlang { .. } | Law::InverseGaussian { .. } => {
                unreachable!("drawn by several uniform numbers")
            }
        }
    }

    /// A draw, before the cut, from as many uniform numbers as it takes.
    fn several(&self, draws: &mut Draws) -> f64 {
        match self.law {
            Law::Erlang { shape, scale } => scale * gamma_integer(shape, draws),
            Law::InverseGaussian { mean, ratio } => inverse_gaussian(mean, ratio, draws),
            Law::Constant(_)
            | Law::Uniform { .. }
            | Law::Exponential { .. }
            | Law::Lognormal { .. }
            | Law::Pareto { .. }
            | Law::Weibull { .. }
            | Law::Empirical(_) => self.inverted(draws.uniform()),
        }
    }

    /// A draw from the law that is left over at a random instant of a renewal process, without regard to the cut:
    /// length-biased, times a uniform number.
    pub(super) fn uncut_residual(&self, draws: &mut Draws) -> f64 {
        let covering = match self.law {
            Law::Constant(value) => value,
            Law::Uniform { min, width } => {
                let max = min + width;
                (min * min + draws.uniform() * width * (max + min)).sqrt()
            }
            Law::Exponential { mean } => return -mean * ln(draws.uniform()),
            // The density times x is lognormal again, its location higher by sigma squared.
            Law::Lognormal { mean, sigma } => {
                mean * exp(sigma * normal_quantile(draws.uniform()) + 0.5 * sigma * sigma)
            }
            Law::Erlang { shape, scale } => scale * gamma_integer(shape + 1, draws),
            // The density times x is a Pareto law of tail index alpha - 1; only finite means get here.
            Law::Pareto { min, alpha } => min * exp(-ln(draws.uniform()) / (alpha - 1.0)),
            Law::Weibull { scale, shape } => scale * exp(ln(gamma(1.0 + 1.0 / shape, draws)) / shape),
            // The reciprocal of the law, scaled back, is its length-biased version.
            Law::InverseGaussian { mean, ratio } => mean * mean / inverse_gaussian(mean, ratio, draws),
            Law::Empirical(ref law) => law.length_biased(draws),
        };
        covering * draws.uniform()
    }

    /// A draw before the cut and the cut.
    pub(super) fn uncut(&self, draws: &mut Draws) -> f64 {
        self.several(draws)
    }

    /// The largest value, infinite if the law is not cut off.
    pub(super) fn max(&self) -> f64 {
        self.max
    }

    /// Tail index and smallest value of a Pareto law.
    pub(super) fn pareto(&self) -> Option<(f64, f64)> {
        if let Law::Pareto { min, alpha } = self.law { Some((min, alpha)) } else { None }
    }
}

/// The smaller of the two; unlike [`f64::min`] without regard to NaN, which no valid law gives.
#[inline(always)]
fn at_most(value: f64, max: f64) -> f64 {
    if value > max { max } else { value }
}

/// The sum of `shape` exponentials of mean 1.
fn gamma_integer(shape: u32, draws: &mut Draws) -> f64 {
    let (mut left, mut sum) = (shape, 0.0);
    while left > 0 {
        let factors = left.min(FACTORS);
        sum -= ln((0..factors).fold(1.0, |product, _| product * draws.uniform()));
        left -= factors;
    }
    sum
}

/// Michael, Schucany & Haas, "Generating Random Variates Using Transformations with Multiple Roots" (The American
/// Statistician 30(2), 1976). `ratio` is the mean over twice the shape. The smaller root is written as a quotient,
/// which loses nothing where the mean is far above the shape.
#[inline]
fn inverse_gaussian(mean: f64, ratio: f64, draws: &mut Draws) -> f64 {
    let normal = normal_quantile(draws.uniform());
    let w = ratio * normal * normal;
    let root = mean / (1.0 + w + (w * w + 2.0 * w).sqrt());
    if draws.uniform() * (mean + root) <= mean { root } else { mean * mean / root }
}

/// Marsaglia & Tsang, "A Simple Method for Generating Gamma Variables" (ACM TOMS 26(3), 2000), for shapes from 1 up.
fn gamma(shape: f64, draws: &mut Draws) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let normal = normal_quantile(draws.uniform());
        let v = 1.0 + c * normal;
        let u = draws.uniform();
        if v > 0.0 {
            let v = v * v * v;
            if ln(u) < 0.5 * normal * normal + d - d * v + d * ln(v) {
                return d * v;
            }
        }
    }
}
