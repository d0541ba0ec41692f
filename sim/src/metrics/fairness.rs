//! How uneven load is, and how uneven it would be by chance alone.

use crate::engine::Stream;

/// Load of servers relative to their fair shares, in the measures that are reported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fairness {
    /// Largest load over the mean, by weight.
    pub peak_to_mean: f64,
    /// Jain's index: (sum x)^2 / (n sum x^2).
    pub jain: f64,
    /// Standard deviation over mean.
    pub cv: f64,
    /// Gini coefficient.
    pub gini: f64,
    /// Largest share of the total.
    pub max_share: f64,
}

impl Fairness {
    /// The measures of `loads`, one per server, against `shares`, the servers' fair shares (any scale). Servers with no
    /// share are left out of all but `max_share`. `None` when there is no load or no share.
    pub fn of(loads: &[f64], shares: &[f64]) -> Option<Self> {
        let total: f64 = loads.iter().sum();
        let all_shares: f64 = shares.iter().sum();
        if total <= 0.0 || all_shares <= 0.0 {
            return None;
        }
        let relative: Vec<f64> = loads
            .iter()
            .zip(shares)
            .filter(|(_, share)| **share > 0.0)
            .map(|(load, share)| load / total / (share / all_shares))
            .collect();
        let n = relative.len() as f64;
        let sum: f64 = relative.iter().sum();
        let squares: f64 = relative.iter().map(|r| r * r).sum();
        let mean = sum / n;
        let variance = (squares / n - mean * mean).max(0.0);
        let mut sorted = relative.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let ranked: f64 =
            sorted.iter().enumerate().map(|(rank, r)| (2.0 * (rank + 1) as f64 - n - 1.0) * r).sum();
        let (jain, cv, gini) = if sum > 0.0 {
            (sum * sum / (n * squares), libm::sqrt(variance) / mean, ranked / (n * sum))
        } else {
            (1.0, 0.0, 0.0)
        };
        Some(Self {
            peak_to_mean: sorted.last().copied().unwrap_or(0.0),
            jain,
            cv,
            gini,
            max_share: loads.iter().copied().fold(0.0, f64::max) / total,
        })
    }
}

/// Samples of what uniform random choice would give, unless servers are many.
const NOISE_SAMPLES: u64 = 1_000;
/// Pieces thrown for all samples together, above which there are fewer of them: among many servers, samples differ little.
const NOISE_PIECES: u64 = 1_000_000;
/// Pieces that could be thrown in the time that a server's normal variate takes.
const PIECES_PER_NORMAL: u64 = 5;

/// What each server would get if `count` equal pieces of work were thrown at random by `shares`: 1,000 samples; fewer, but
/// no less than 100, where those would be more than a million pieces, or servers are more than 200.
///
/// Each sample is multinomial by its normal limit: independent normals with the binomial variances, made to sum to
/// `count`. With fewer than 30 pieces a server the pieces are thrown one by one. `entity` names the samples in `stream`.
pub fn random_loads(count: f64, shares: &[f64], stream: &Stream, entity: u64) -> Vec<Vec<f64>> {
    let total: f64 = shares.iter().sum();
    if total <= 0.0 || count < 1.0 {
        return Vec::new();
    }
    let probabilities: Vec<f64> = shares.iter().map(|share| share / total).collect();
    let thrown_singly = count < 30.0 * shares.len() as f64;
    let pieces = if thrown_singly { count as u64 } else { PIECES_PER_NORMAL * shares.len() as u64 };
    (0..(NOISE_PIECES / pieces).clamp(NOISE_SAMPLES / 10, NOISE_SAMPLES))
        .map(|sample| {
            if thrown_singly {
                throw(count as u64, &probabilities, stream, entity << 20 | sample)
            } else {
                scatter(count, &probabilities, stream, entity << 20 | sample)
            }
        })
        .collect()
}

fn throw(count: u64, probabilities: &[f64], stream: &Stream, entity: u64) -> Vec<f64> {
    let bounds: Vec<f64> = probabilities
        .iter()
        .scan(0.0, |sum, p| {
            *sum += p;
            Some(*sum)
        })
        .collect();
    let last = probabilities.len() - 1;
    let mut loads = vec![0.0; probabilities.len()];
    for piece in 0..count {
        let u = stream.uniform(entity, piece);
        loads[bounds[..last].partition_point(|&bound| bound <= u)] += 1.0;
    }
    loads
}

fn scatter(count: f64, probabilities: &[f64], stream: &Stream, entity: u64) -> Vec<f64> {
    let spread: Vec<f64> = probabilities
        .iter()
        .enumerate()
        .map(|(server, p)| {
            let radius = libm::sqrt(-2.0 * libm::log(stream.uniform(entity, 2 * server as u64)));
            let angle = std::f64::consts::TAU * stream.uniform(entity, 2 * server as u64 + 1);
            libm::sqrt(count * p) * radius * libm::cos(angle)
        })
        .collect();
    // Independent Poisson-like spreads, less each one's part of their sum, have the multinomial's covariance.
    let excess: f64 = spread.iter().sum();
    probabilities.iter().zip(&spread).map(|(p, z)| (count * p + z - p * excess).max(0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamId;

    #[test]
    fn even_load_is_even_in_every_measure() {
        let even = Fairness::of(&[20.0, 10.0, 30.0], &[2.0, 1.0, 3.0]).unwrap();
        assert!((even.peak_to_mean - 1.0).abs() < 1e-12 && (even.jain - 1.0).abs() < 1e-12);
        assert!(even.cv < 1e-7 && even.gini.abs() < 1e-12);
        assert_eq!(even.max_share, 0.5);
    }

    #[test]
    fn one_server_with_everything_is_the_extreme() {
        let uneven = Fairness::of(&[0.0, 0.0, 9.0, 0.0], &[1.0; 4]).unwrap();
        assert_eq!((uneven.peak_to_mean, uneven.jain, uneven.max_share), (4.0, 0.25, 1.0));
        assert!((uneven.gini - 0.75).abs() < 1e-12 && (uneven.cv - 3.0_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn no_load_has_no_fairness() {
        assert_eq!(Fairness::of(&[0.0, 0.0], &[1.0, 1.0]), None);
        assert_eq!(Fairness::of(&[1.0, 0.0], &[0.0, 0.0]), None);
    }

    #[test]
    fn random_loads_reach_the_exact_expected_maximum() {
        // E[max]/mean of m balls in n bins, exact values of the project's balls-in-bins table; the standard error of 1,000
        // samples is below 0.3 %, so 1 % is more than three of them.
        let stream = Stream::new(5, 0, StreamId::NoiseFloor);
        for (balls, bins, expected) in
            [(10.0, 2, 1.24609375), (1000.0, 2, 1.025225018), (2000.0, 2, 1.017839011)]
        {
            let samples = random_loads(balls, &vec![1.0; bins], &stream, bins as u64);
            let mean_max: f64 = samples
                .iter()
                .map(|loads| loads.iter().copied().fold(0.0, f64::max) / (balls / bins as f64))
                .sum::<f64>()
                / samples.len() as f64;
            assert!((mean_max / expected - 1.0).abs() < 0.01, "{balls} in {bins}: {mean_max}");
        }
    }
}
