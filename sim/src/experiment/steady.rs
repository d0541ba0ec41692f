//! Where the warm-up ends, for those who do not know: MSER-5 (White, Transactions of the SCS 14 (1997), 30; White, Cobb and Spratt,
//! WSC 2000).
//!
//! The observations are put into batches of five; the start that is left out is the one without which the mean of the rest has the
//! smallest standard error. A start beyond half of the run says that the run never settled.

use std::ops::Range;

use rayon::prelude::*;

use super::{ExperimentError, run};
use crate::engine::SimDuration;
use crate::population::replay::PreparedLog;
use crate::scenario::Scenario;

/// Runs of each strategy from which the warm-up is told: their mean is smoother than one.
const PILOTS: u32 = 5;
/// Observations in a batch.
const BATCH: usize = 5;
/// Batches without which nothing can be said.
const BATCHES_MIN: usize = 10;

/// How many observations to leave out at the start; `None` when the series is too short, or does not settle within its first
/// half.
pub fn mser5(series: &[f64]) -> Option<usize> {
    let batches: Vec<f64> =
        series.chunks_exact(BATCH).map(|batch| batch.iter().sum::<f64>() / BATCH as f64).collect();
    if batches.len() < BATCHES_MIN {
        return None;
    }
    // From the back, so that each start adds one batch. Starts beyond the half are not tried: of few batches some always look
    // alike.
    let half = batches.len() / 2;
    let (mut sum, mut squares) = (0.0, 0.0);
    let mut best = (f64::INFINITY, half);
    for (start, batch) in batches.iter().enumerate().rev() {
        sum += batch;
        squares += batch * batch;
        let rest = (batches.len() - start) as f64;
        let score = (squares - sum * sum / rest).max(0.0) / (rest * rest);
        if start <= half && score <= best.0 {
            best = (score, start);
        }
    }
    (best.1 < half).then_some(best.1 * BATCH)
}

/// The warm-up of a stationary scenario: what MSER-5 leaves out of the requests, or of the busy time, in each window, averaged
/// over the first replications of a strategy; the longest of these strategies, since all are measured over the same time.
///
/// # Errors
/// A run failed, or a strategy's load does not settle.
pub(super) fn warmup(
    scenario: &Scenario,
    strategies: Range<usize>,
    logs: &[PreparedLog],
) -> Result<SimDuration, ExperimentError> {
    let pilot = Scenario { warmup: SimDuration::ZERO, replications: PILOTS, ..scenario.clone() };
    let mut longest = 0;
    for strategy in strategies {
        let outcomes: Vec<_> = (0..PILOTS)
            .into_par_iter()
            .map(|replication| run(&pilot, logs, (strategy, replication), 0, &|_| ()))
            .collect();
        let (mut requests, mut busy) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            let counts = outcome?.counts;
            let whole = counts.calendar.end.since(counts.calendar.measured_from).0 / counts.calendar.window.0;
            requests.resize(whole as usize, 0.0);
            busy.resize(whole as usize, 0.0);
            for window in 0..whole as usize {
                let cells = window * counts.servers..(window + 1) * counts.servers;
                let of_window = |sum: u64| sum as f64;
                requests[window] += of_window(
                    counts.window_requests[cells.clone()].iter().map(|&count| u64::from(count)).sum(),
                );
                busy[window] += of_window(counts.window_busy_ns[cells].iter().sum());
            }
        }
        let cuts = mser5(&requests).zip(mser5(&busy));
        let (by_requests, by_busy) = cuts.ok_or_else(|| ExperimentError::NotSteady {
            strategy: scenario.strategies[strategy].name.clone(),
        })?;
        longest = longest.max(by_requests).max(by_busy);
    }
    Ok(scenario.window * longest as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Stream;
    use crate::ids::StreamId;

    fn noise(seed: u64, n: u64) -> Vec<f64> {
        let stream = Stream::new(seed, 0, StreamId::NoiseFloor);
        (0..n).map(|at| stream.uniform(0, at) - 0.5).collect()
    }

    #[test]
    fn a_rise_at_the_start_is_left_out_and_little_more() {
        // A start that dies away with a time constant of 20: after 60 it is half a tenth of what it was.
        for seed in 0..20 {
            let series: Vec<f64> = noise(seed, 400)
                .iter()
                .enumerate()
                .map(|(at, noise)| 10.0 - 10.0 * libm::exp(-(at as f64) / 20.0) + noise)
                .collect();
            let cut = mser5(&series).expect("it settles");
            assert!((40..=160).contains(&cut), "{seed}: {cut}");
        }
    }

    #[test]
    fn what_was_steady_from_the_start_loses_little() {
        let cuts: Vec<usize> = (0..20).map(|seed| mser5(&noise(seed, 400)).unwrap_or(200)).collect();
        assert!(cuts.iter().sum::<usize>() / cuts.len() < 60, "{cuts:?}");
    }

    #[test]
    fn what_never_settles_has_no_warm_up() {
        let series: Vec<f64> = (0..400).map(f64::from).collect();
        assert_eq!(mser5(&series), None);
        assert_eq!(mser5(&[1.0; 49]), None, "too short");
    }
}
