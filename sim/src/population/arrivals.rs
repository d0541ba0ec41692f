//! Arrivals that wait for nobody: Poisson processes whose rate is constant, follows the day, rises, bursts or jumps, or that bring
//! several at once.
//!
//! Every process takes one exponential number for each arrival, named by the arrival's number, so that arrival n is the
//! same under every strategy.

use super::CountLaw;
use super::curve::{Curve, DayPlan};
use crate::engine::{Distribution, Sampler, SimDuration, SimTime, Stream};

/// Lines by which the exponential decay of a flash crowd is drawn, in each time constant: at most 0.4 % off.
const DECAY_KNOTS: u32 = 6;
/// Time constants after which a flash crowd is over: 0.03 % are left.
const DECAY_LASTS: u32 = 8;

/// How users or requests arrive. Rates are arrivals a second; times count from the end of the warm-up.
#[derive(Clone, Debug, PartialEq)]
pub enum ArrivalPlan {
    /// At a constant rate.
    Poisson {
        /// Rate, above 0.
        rate: f64,
    },
    /// At one rate during bursts and at another between them (a Poisson process modulated by two states).
    Bursts {
        /// Rate in a burst, above 0.
        rate: f64,
        /// Rate between bursts.
        rest_rate: f64,
        /// How long a burst lasts \[s\].
        lasts: Distribution,
        /// Time from the end of a burst to the next \[s\].
        gap: Distribution,
    },
    /// Several at the same moment: a Poisson process of batches (a compound Poisson process).
    Batches {
        /// Batches a second, above 0.
        rate: f64,
        /// Arrivals of a batch.
        size: CountLaw,
    },
    /// With the hours of the day.
    Diurnal {
        /// Mean rate over a day, above 0.
        rate: f64,
        /// The day.
        day: DayPlan,
    },
    /// All at once: a linear rise, a plateau, an exponential decay (the shape of Ari, Hong, Miller, Brandt and Long,
    /// "Managing flash crowds on the Internet", MASCOTS 2003, with a curved decay).
    FlashCrowd {
        /// Rate before and long after.
        rate: f64,
        /// Rate of the plateau.
        peak: f64,
        /// When the rise begins.
        at: SimDuration,
        /// How long it takes.
        rise: SimDuration,
        /// How long the plateau lasts.
        plateau: SimDuration,
        /// Time constant of the decay.
        decay: SimDuration,
    },
    /// From one rate to another in a straight line.
    Ramp {
        /// Rate before.
        from: f64,
        /// Rate after.
        to: f64,
        /// When it begins.
        at: SimDuration,
        /// How long it takes.
        over: SimDuration,
    },
}

impl ArrivalPlan {
    /// The same with `share` times the arrivals.
    pub fn scaled(&self, share: f64) -> Self {
        let mut plan = self.clone();
        match &mut plan {
            Self::Poisson { rate } | Self::Batches { rate, .. } | Self::Diurnal { rate, .. } => {
                *rate *= share
            }
            Self::Bursts { rate, rest_rate, .. } => {
                *rate *= share;
                *rest_rate *= share;
            }
            Self::FlashCrowd { rate, peak, .. } => {
                *rate *= share;
                *peak *= share;
            }
            Self::Ramp { from, to, .. } => {
                *from *= share;
                *to *= share;
            }
        }
        plan
    }

    /// The process, where the warm-up lasts `warmup`; `phases` and `source` name the lengths of bursts, `sizes` and `source` those
    /// of batches.
    pub fn process(&self, warmup: SimDuration, phases: Stream, sizes: Stream, source: u64) -> ArrivalProcess {
        let start = warmup.as_secs_f64();
        match self {
            Self::Poisson { rate } => ArrivalProcess::Poisson { gap_mean: 1.0 / rate },
            Self::Batches { rate, size } => ArrivalProcess::Batches(Box::new(Batches {
                gap_mean: 1.0 / rate,
                size: size.clone(),
                sizes,
                source,
                number: 0,
                left: 0,
            })),
            Self::Bursts { rate, rest_rate, lasts, gap } => ArrivalProcess::Bursts(Box::new(Bursts {
                rates: [*rest_rate, *rate],
                lengths: [gap.sampler(), lasts.sampler()],
                phases,
                source,
                phase: 0,
                ends: SimTime::ZERO + gap.duration(&phases, source, 0),
            })),
            Self::Diurnal { rate, day } => {
                ArrivalProcess::Varying { curve: day.curve(warmup), unit: 1.0 / rate }
            }
            Self::FlashCrowd { rate, peak, at, rise, plateau, decay } => {
                let from = start + at.as_secs_f64();
                let top = from + rise.as_secs_f64();
                let falls = top + plateau.as_secs_f64();
                let mut knots = vec![(0.0, *rate), (from, *rate), (top, *peak), (falls, *peak)];
                for k in 1..=DECAY_KNOTS * DECAY_LASTS {
                    let constants = f64::from(k) / f64::from(DECAY_KNOTS);
                    let excess = (peak - rate) * libm::exp(-constants);
                    knots.push((falls + decay.as_secs_f64() * constants, rate + excess));
                }
                knots.push((falls + decay.as_secs_f64() * f64::from(DECAY_LASTS), *rate));
                ArrivalProcess::Varying { curve: Curve::once(knots), unit: 1.0 }
            }
            Self::Ramp { from, to, at, over } => {
                let begins = start + at.as_secs_f64();
                let knots = vec![(0.0, *from), (begins, *from), (begins + over.as_secs_f64(), *to)];
                ArrivalProcess::Varying { curve: Curve::once(knots), unit: 1.0 }
            }
        }
    }
}

/// A process of arrivals while it goes on.
#[derive(Clone, Debug)]
pub enum ArrivalProcess {
    /// A constant rate.
    Poisson {
        /// Mean time between arrivals \[s\].
        gap_mean: f64,
    },
    /// A rate that is known beforehand.
    Varying {
        /// The rate, in arrivals per `unit`.
        curve: Curve,
        /// Work of the curve that a mean gap takes.
        unit: f64,
    },
    /// Two rates that take turns.
    Bursts(Box<Bursts>),
    /// Several at once.
    Batches(Box<Batches>),
}

/// The state of a process of batches.
#[derive(Clone, Debug)]
pub struct Batches {
    /// Mean time between batches \[s\].
    gap_mean: f64,
    size: CountLaw,
    sizes: Stream,
    source: u64,
    /// Batches so far.
    number: u64,
    /// Arrivals of the batch that are still to come.
    left: u32,
}

/// The state of a bursting process.
#[derive(Clone, Debug)]
pub struct Bursts {
    /// Rate between bursts and in them.
    rates: [f64; 2],
    lengths: [Sampler; 2],
    phases: Stream,
    source: u64,
    /// Number of the current phase; odd ones are bursts.
    phase: u64,
    ends: SimTime,
}

impl ArrivalProcess {
    /// The arrival after `now`, of a uniform number `u` in (0, 1) that is its own. `None` if there will be none.
    pub fn next(&mut self, now: SimTime, u: f64) -> Option<SimTime> {
        match self {
            Self::Poisson { gap_mean } => Some(now + SimDuration::from_secs_f64(-*gap_mean * libm::log(u))),
            Self::Varying { curve, unit } => {
                let from = now.since(SimTime::ZERO).as_secs_f64();
                let at = curve.after(from, -*unit * libm::log(u))?;
                // Seconds as floats are a little coarser than nanoseconds: time must not go back.
                Some((SimTime::ZERO + SimDuration::from_secs_f64(at)).max(now))
            }
            Self::Bursts(bursts) => Some(bursts.next(now, -libm::log(u))),
            Self::Batches(batches) => Some(batches.next(now, -libm::log(u))),
        }
    }
}

impl Batches {
    fn next(&mut self, now: SimTime, exponential: f64) -> SimTime {
        if self.left > 0 {
            self.left -= 1;
            return now;
        }
        self.number += 1;
        self.left = self.size.sample(&self.sizes, self.source << 40 | self.number) - 1;
        now + SimDuration::from_secs_f64(self.gap_mean * exponential)
    }
}

impl Bursts {
    fn next(&mut self, now: SimTime, exponential: f64) -> SimTime {
        let (mut at, mut left) = (now, exponential);
        loop {
            let kind = (self.phase % 2) as usize;
            let rate = self.rates[kind];
            let work = self.ends.since(at).as_secs_f64() * rate;
            if left < work {
                return at + SimDuration::from_secs_f64(left / rate);
            }
            left -= work;
            at = self.ends;
            self.phase += 1;
            let length =
                self.lengths[(self.phase % 2) as usize].duration(&self.phases, self.source, self.phase);
            // A phase of no length would never end the loop if all were so.
            self.ends = at + length.max(SimDuration(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamId;

    const S: fn(u64) -> SimDuration = SimDuration::from_secs;

    /// Arrivals in each of `n` stretches of `length` seconds, averaged over replications.
    fn counts(plan: &ArrivalPlan, length: f64, n: usize, replications: u64) -> Vec<f64> {
        let mut counts = vec![0.0; n];
        for replication in 0..replications {
            let draws = Stream::new(3, replication, StreamId::Arrivals);
            let phases = Stream::new(3, replication, StreamId::ArrivalPhases);
            let sizes = Stream::new(3, replication, StreamId::ArrivalBatches);
            let mut process = plan.process(S(10), phases, sizes, 0);
            let (mut now, mut number) = (SimTime::ZERO, 0);
            while let Some(next) = process.next(now, draws.uniform(0, number)) {
                assert!(next >= now);
                let place = (next.since(SimTime::ZERO).as_secs_f64() / length) as usize;
                if place >= n {
                    break;
                }
                counts[place] += 1.0 / replications as f64;
                (now, number) = (next, number + 1);
            }
        }
        counts
    }

    /// Goal: each process has the rate that its plan says. Method: mean counts against the integral of the rate, within
    /// 4.5 standard deviations of a Poisson mean over 400 replications.
    fn assert_rates(plan: &ArrivalPlan, length: f64, expected: &[f64]) {
        let found = counts(plan, length, expected.len(), 400);
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            let bound = 4.5 * (expected / 400.0).sqrt();
            assert!((found - expected).abs() < bound, "{plan:?}: stretch {place}: {found} for {expected}");
        }
    }

    #[test]
    fn a_constant_rate_is_constant() {
        assert_rates(&ArrivalPlan::Poisson { rate: 5.0 }, 10.0, &[50.0; 5]);
    }

    #[test]
    fn a_ramp_rises_by_the_trapezium() {
        let ramp = ArrivalPlan::Ramp { from: 1.0, to: 5.0, at: S(10), over: S(20) };
        assert_rates(&ramp, 10.0, &[10.0, 10.0, 20.0, 40.0, 50.0]);
    }

    #[test]
    fn a_flash_crowd_rises_stays_and_decays() {
        let crowd = ArrivalPlan::FlashCrowd {
            rate: 1.0,
            peak: 9.0,
            at: S(10),
            rise: S(10),
            plateau: S(20),
            decay: S(10),
        };
        // After the plateau 8 (1 - 1/e) time constants of excess come in the first ten seconds, then 1/e of that each.
        let excess = 80.0 * (1.0 - (-1.0f64).exp());
        let tail = |k: i32| 10.0 + excess * (-f64::from(k)).exp();
        assert_rates(&crowd, 10.0, &[10.0, 10.0, 50.0, 90.0, 90.0, tail(0), tail(1), tail(2)]);
    }

    #[test]
    fn batches_have_the_mean_and_the_variance_of_a_compound_poisson_process() {
        // Sizes are one plus geometric of mean 4: variance 12, second moment 28. In 10 s of 0.5 batches a second come 5 batches:
        // mean 20 arrivals, variance 5 * 28. Standard errors over 4,000 stretches: 0.19, and 2.3 % of the variance and a little.
        let plan = ArrivalPlan::Batches { rate: 0.5, size: CountLaw::OnePlusGeometric { mean: 4.0 } };
        let all = counts(&plan, 10.0, 4_000, 1);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let variance = all.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / all.len() as f64;
        assert!((mean - 20.0).abs() < 0.8, "{mean}");
        assert!((variance / 140.0 - 1.0).abs() < 0.15, "{variance}");
    }

    #[test]
    fn bursts_have_the_mean_of_their_phases_and_are_more_uneven_than_poisson() {
        let bursts = ArrivalPlan::Bursts {
            rate: 20.0,
            rest_rate: 0.0,
            lasts: Distribution::Exponential { mean: 5.0 },
            gap: Distribution::Exponential { mean: 15.0 },
        };
        let all = counts(&bursts, 5.0, 4_000, 1);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        // A quarter of the time at 20 a second.
        assert!((mean - 25.0).abs() < 2.0, "{mean}");
        let variance = all.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / all.len() as f64;
        assert!(variance > 20.0 * mean, "variance {variance} of mean {mean}");
        assert!(all.iter().filter(|count| **count == 0.0).count() > 1_000, "there are quiet times");
    }
}
