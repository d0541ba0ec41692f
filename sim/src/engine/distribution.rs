//! Distributions of times and counts.
//!
//! Values are the same on every platform: transcendental functions come from `libm` or from this module's
//! neighbours, never from the system. A draw is named (see [`Stream`]) and uses one uniform number where the law can
//! be inverted, so that it is a monotone function of that number and strategies stay in step; Erlang and inverse
//! Gaussian draws use several under one name.

use super::elementary::exp;
use super::empirical::Empirical;
use super::rng::Stream;
use super::sampler::Sampler;
use super::time::SimDuration;

/// Draws from the residual of a cut law are tried at most so often; the last one is then set to the cut.
const RESIDUAL_TRIES: u32 = 10_000;
/// Most exponentials that an Erlang law may sum: beyond this its coefficient of variation is below 1 %.
const ERLANG_SHAPE_MAX: u32 = 10_000;

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
        /// Number of exponentials, 1 to 10,000.
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
        /// Largest value; draws beyond it are set to it. May be infinite if `alpha` is above 1.
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
    /// Points of a quantile function, as taken from data.
    Empirical(Empirical),
    /// Another law, with draws beyond `max` set to it.
    Truncated {
        /// The law.
        law: Box<Distribution>,
        /// Largest value.
        max: f64,
    },
}

impl Distribution {
    /// The law made ready to draw from. Worth keeping where draws are many, since what follows
    /// from the parameters is computed here.
    pub fn sampler(&self) -> Sampler {
        Sampler::new(self)
    }

    /// The value named (entity, index) of `stream`.
    #[inline]
    pub fn sample(&self, stream: &Stream, entity: u64, index: u64) -> f64 {
        self.sampler().sample(stream, entity, index)
    }

    /// As [`Distribution::sample`], in seconds.
    #[inline]
    pub fn duration(&self, stream: &Stream, entity: u64, index: u64) -> SimDuration {
        SimDuration::from_secs_f64(self.sample(stream, entity, index))
    }

    /// The mean in closed form. A Pareto law's counts its own cut; a truncated law's is that of the law before
    /// truncation, which has no closed form in general.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Uniform { min, max } => 0.5 * (min + max),
            Self::Exponential { mean }
            | Self::Lognormal { mean, .. }
            | Self::Erlang { mean, .. }
            | Self::InverseGaussian { mean, .. } => *mean,
            Self::Pareto { min, alpha, max } => pareto_area(*min, *alpha, *max),
            Self::Weibull { scale, shape } => scale * libm::tgamma(1.0 + 1.0 / shape),
            Self::Empirical(law) => law.mean(),
            Self::Truncated { law, .. } => law.mean(),
        }
    }

    /// What is left, at a random instant of a long history of such times, of the time that is running: a draw from
    /// the stationary residual law, whose density is (1 - F(x)) / mean. For initial states.
    ///
    /// Drawn as a length-biased time times a uniform number (Cox, "Renewal Theory", 1962, chapter 5), which has an
    /// exact form for each law here; a cut Pareto law is inverted. For a truncated law, the residual is that of the
    /// whole law given that it is below the cut, drawn by rejection under one name. Where the mean lies above the
    /// cut that would be rare, and truncated draws are length-biased by rejection instead.
    pub fn residual(&self, stream: &Stream, entity: u64, index: u64) -> f64 {
        self.residual_by(&self.sampler(), stream, entity, index)
    }

    /// As [`Distribution::residual`], with the law's sampler at hand, for many draws.
    pub fn residual_by(&self, sampler: &Sampler, stream: &Stream, entity: u64, index: u64) -> f64 {
        let mut draws = stream.draws(entity, index);
        let max = sampler.max();
        if let Some((min, alpha)) = sampler.pareto() {
            return pareto_residual(min, alpha, max, draws.uniform());
        }
        if max == f64::INFINITY {
            return sampler.uncut_residual(&mut draws);
        }
        let whole = self.mean() <= max;
        for _ in 0..RESIDUAL_TRIES {
            if whole {
                let residual = sampler.uncut_residual(&mut draws);
                if residual < max {
                    return residual;
                }
            } else {
                let cut = sampler.uncut(&mut draws).min(max);
                if draws.uniform() * max < cut {
                    return cut * draws.uniform();
                }
            }
        }
        max * draws.uniform()
    }

    /// Whether the parameters make sense.
    ///
    /// # Errors
    /// The first parameter that does not, what it was, and what to write instead.
    pub fn validate(&self) -> Result<(), String> {
        match *self {
            Self::Constant(value) if value >= 0.0 && value.is_finite() => Ok(()),
            Self::Constant(value) => Err(format!("a constant must be at least 0 and finite, got {value}")),
            Self::Uniform { min, max } => {
                not_negative("min", min)?;
                if max >= min && max.is_finite() {
                    return Ok(());
                }
                Err(format!(
                    "`max` must be at least `min` ({min}) and finite, got {max}\n  swap them, if they are in the wrong order"
                ))
            }
            Self::Exponential { mean } => positive("mean", mean),
            Self::Lognormal { mean, cv } => positive("mean", mean).and_then(|()| not_negative("cv", cv)),
            Self::Erlang { shape, mean } => {
                if !(1..=ERLANG_SHAPE_MAX).contains(&shape) {
                    return Err(format!(
                        "`shape` must be between 1 and {ERLANG_SHAPE_MAX}, got {shape}\n  \
                         for hardly any spread, use a constant"
                    ));
                }
                positive("mean", mean)
            }
            Self::Pareto { min, alpha, max } => {
                positive("min", min)?;
                positive("alpha", alpha)?;
                if max.is_nan() || max < min {
                    return Err(format!("`max` must be at least `min` ({min}), got {max}"));
                }
                if max == f64::INFINITY && alpha <= 1.0 {
                    return Err(format!(
                        "`alpha` must be above 1 where `max` is infinite, got {alpha}\n  \
                         the mean is infinite otherwise; set a finite `max`"
                    ));
                }
                Ok(())
            }
            Self::Weibull { scale, shape } => {
                positive("scale", scale).and_then(|()| positive("shape", shape))
            }
            Self::InverseGaussian { mean, shape } => {
                positive("mean", mean).and_then(|()| positive("shape", shape))
            }
            // Points that make no law cannot be built.
            Self::Empirical(_) => Ok(()),
            Self::Truncated { ref law, max } => law.validate().and_then(|()| positive("max", max)),
        }
    }
}

fn positive(name: &str, value: f64) -> Result<(), String> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(format!(
        "`{name}` must be above 0 and finite, got {value}\n  for a value that never varies, use a constant"
    ))
}

fn not_negative(name: &str, value: f64) -> Result<(), String> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(format!("`{name}` must be at least 0 and finite, got {value}\n  set it to 0, or leave it out"))
}

/// The area under a Pareto law's tail function from 0 to `to`: the mean of the law cut there.
fn pareto_area(min: f64, alpha: f64, to: f64) -> f64 {
    if to <= min {
        return to;
    }
    let log_ratio = libm::log(to / min);
    let excess = alpha - 1.0;
    // (1 - exp(-excess log_ratio)) / excess, which tends to log_ratio at a tail index of 1.
    let beyond = if excess == 0.0 { log_ratio } else { -libm::expm1(-excess * log_ratio) / excess };
    min * (1.0 + beyond)
}

/// The quantile at `u` of the residual of a Pareto law cut at `max`: where the area reaches `u` times the whole.
fn pareto_residual(min: f64, alpha: f64, max: f64, u: f64) -> f64 {
    let area = u * pareto_area(min, alpha, max);
    if area <= min {
        return area;
    }
    let (beyond, excess) = (area / min - 1.0, alpha - 1.0);
    let log_ratio = if excess == 0.0 { beyond } else { -libm::log1p(-excess * beyond) / excess };
    (min * exp(log_ratio)).min(max)
}

#[cfg(test)]
#[path = "distribution_tests.rs"]
mod tests;
