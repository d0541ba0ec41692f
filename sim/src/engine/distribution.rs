//! Distributions of times and counts.

use super::rng::Stream;
use super::time::SimDuration;

/// A law of a non-negative quantity: seconds for durations, a plain number for counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Constant(f64),
    /// Uniform between two values.
    Uniform {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// Exponential.
    Exponential {
        /// Mean.
        mean: f64,
    },
    /// Lognormal by its mean and coefficient of variation.
    Lognormal {
        /// Mean.
        mean: f64,
        /// Standard deviation over mean.
        cv: f64,
    },
    /// Erlang: the sum of `shape` exponentials.
    Erlang {
        /// Number of exponentials, at least 1.
        shape: u32,
        /// Mean of the sum.
        mean: f64,
    },
    /// Pareto, cut off at `max`.
    Pareto {
        /// Smallest value.
        min: f64,
        /// Tail index.
        alpha: f64,
        /// Largest value; draws beyond it are set to it.
        max: f64,
    },
    /// Weibull.
    Weibull {
        /// Scale.
        scale: f64,
        /// Shape.
        shape: f64,
    },
    /// Inverse Gaussian (Wald).
    InverseGaussian {
        /// Mean.
        mean: f64,
        /// Shape (lambda).
        shape: f64,
    },
    /// Another law, with draws beyond `max` set to it.
    Truncated {
        /// The law.
        law: Box<Distribution>,
        /// Largest value.
        max: f64,
    },
}

impl Distribution {
    /// The value named (entity, index) of `stream`.
    #[inline]
    pub fn sample(&self, stream: &Stream, entity: u64, index: u64) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Exponential { mean } => -mean * libm::log(stream.uniform(entity, index)),
            _ => unimplemented!(),
        }
    }

    /// As [`Distribution::sample`], in seconds.
    #[inline]
    pub fn duration(&self, stream: &Stream, entity: u64, index: u64) -> SimDuration {
        SimDuration::from_secs_f64(self.sample(stream, entity, index))
    }

    /// The mean, in closed form (that of the law before truncation for truncated ones).
    pub fn mean(&self) -> f64 {
        unimplemented!()
    }
}
