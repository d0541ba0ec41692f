//! Laws of whole numbers: users on an address, addresses in a network.

use crate::engine::{Distribution, Stream};

/// Largest number that a law gives.
const COUNT_MAX: f64 = 1e6;

/// A law of whole numbers from 1 to a million.
#[derive(Clone, Debug, PartialEq)]
pub enum CountLaw {
    /// Always the same, at least 1.
    Constant(u32),
    /// One, and a Poisson number of others.
    OnePlusPoisson {
        /// Mean number of others.
        mean: f64,
    },
    /// One, and a geometric number of others.
    OnePlusGeometric {
        /// Mean of the whole, at least 1.
        mean: f64,
    },
    /// Lognormal, rounded to a whole number of at least 1.
    Lognormal {
        /// Median.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Any other law, rounded up.
    RoundedUp(Distribution),
}

impl CountLaw {
    /// The number named (entity, 0), and (entity, 1) where a law takes two draws.
    pub fn sample(&self, stream: &Stream, entity: u64) -> u32 {
        let u = || stream.uniform(entity, 0);
        match self {
            Self::Constant(number) => (*number).max(1),
            Self::OnePlusPoisson { mean } => 1 + poisson(*mean, u()),
            Self::OnePlusGeometric { mean } if *mean <= 1.0 => 1,
            Self::OnePlusGeometric { mean } => {
                let others = libm::floor(libm::log(u()) / libm::log(1.0 - 1.0 / mean));
                1 + others.min(COUNT_MAX) as u32
            }
            Self::Lognormal { median, sigma } => {
                // Box and Muller, one of the pair.
                let radius = libm::sqrt(-2.0 * libm::log(u()));
                let normal = radius * libm::cos(std::f64::consts::TAU * stream.uniform(entity, 1));
                libm::round(median * libm::exp(sigma * normal)).clamp(1.0, COUNT_MAX) as u32
            }
            Self::RoundedUp(law) => libm::ceil(law.sample(stream, entity, 0)).clamp(1.0, COUNT_MAX) as u32,
        }
    }

    /// The mean; of a law that is rounded, as if it were smooth on the scale of 1, and before limits.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Constant(number) => f64::from((*number).max(1)),
            Self::OnePlusPoisson { mean } => 1.0 + mean,
            Self::OnePlusGeometric { mean } => mean.max(1.0),
            Self::Lognormal { median, sigma } => median * libm::exp(sigma * sigma / 2.0),
            Self::RoundedUp(Distribution::Constant(number)) => libm::ceil(*number),
            Self::RoundedUp(law) => law.mean() + 0.5,
        }
    }
}

/// A Poisson number by inversion.
pub(super) fn poisson(mean: f64, u: f64) -> u32 {
    let mut term = libm::exp(-mean);
    let mut below = term;
    let mut k = 0;
    while u > below && k < 10_000 {
        k += 1;
        term *= mean / f64::from(k);
        below += term;
    }
    k
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamId;

    #[test]
    fn numbers_follow_their_law() {
        // Means over many draws against closed forms, five standard errors wide.
        for (law, mean, sd) in [
            (CountLaw::Constant(256), 256.0, 0.0),
            (CountLaw::OnePlusPoisson { mean: 0.7 }, 1.7, 0.7_f64.sqrt()),
            (CountLaw::OnePlusGeometric { mean: 1.7 }, 1.7, (1.7_f64 * 0.7).sqrt()),
            // Lognormal: mean = median exp(sigma^2/2); rounding and the floor at 1 shift it by less than 0.1.
            (CountLaw::Lognormal { median: 8.0, sigma: 1.2 }, 8.0 * 0.72_f64.exp(), 30.0),
            // Uniform on 0 to 9, rounded up: 1 to 9 with equal chances.
            (CountLaw::RoundedUp(Distribution::Uniform { min: 0.0, max: 9.0 }), 5.0, (60.0_f64 / 9.0).sqrt()),
        ] {
            let stream = Stream::new(11, 0, StreamId::UsersPerAddress);
            let n = 20_000;
            let total: f64 = (0..n).map(|entity| f64::from(law.sample(&stream, entity))).sum();
            let rounding = if matches!(law, CountLaw::Lognormal { .. }) { 0.1 } else { 0.0 };
            let width = 5.0 * sd / (n as f64).sqrt() + rounding;
            assert!((total / n as f64 - mean).abs() <= width, "{law:?}: {}", total / n as f64);
            assert!((law.mean() - mean).abs() < 1e-9, "{law:?}: {}", law.mean());
        }
    }
}
