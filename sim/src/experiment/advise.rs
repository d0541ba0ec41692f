//! Which of many ways to run a site: candidates are tried on the same clients, and those that another surely beats in every objective
//! drop out before more replications are spent on them.
//!
//! Replications are doubled from rung to rung for those that are left, as in successive halving (Jamieson and Talwalkar, AISTATS
//! 2016); how many drop out is decided by paired intervals rather than by a fixed share, since with several objectives it is not
//! known how many belong to the front. How sure the outcome is, is told by drawing the replications again (Efron's bootstrap).

use rayon::prelude::*;
use thiserror::Error;

use super::record::{Times, column, fleet, phases, sparse};
use super::summary::Estimate;
use super::{Column, ExperimentError, run, steady};
use crate::engine::{SimDuration, Stream};
use crate::ids::StreamId;
use crate::metrics::measure::{Reading, readings};
use crate::metrics::{MetricId, Phase};
use crate::population::replay::PreparedLog;
use crate::scenario::sweep::{Point, SweepPlan, at_point, strategy_of};
use crate::scenario::{self, AdvisePlan, Constraint, Diagnostics, Loaded, Overrides};

/// Replications before the first candidates may drop out. In fewer, losses that are rare are often the same by chance.
const FIRST_RUNG: u32 = 8;
/// How much worse counts as equally good, as a share: nobody gives up an hour for a second.
const INDIFFERENT: f64 = 0.01;
/// How sure it must be that another is better before a candidate drops out.
const SURE: f64 = 0.99;
/// The least range by which an objective is measured, as a share of its best value: what all do alike, but for chance, must not
/// decide.
const RANGE_MIN: f64 = 0.1;
/// How often replications are drawn again.
const RESAMPLES: u64 = 400;
/// Candidates at most.
const CANDIDATES_MAX: usize = 10_000;

/// Why there is no advice.
#[derive(Debug, Error)]
pub enum AdviseError {
    /// The scenario is wrong.
    #[error("{0}")]
    Scenario(Diagnostics),
    /// There is nothing to choose from.
    #[error(
        "there is one candidate, and nothing to choose\n  add strategies, or `[advise]` with `fields` and their values"
    )]
    OneCandidate,
    /// There is too much to choose from.
    #[error("{0} candidates are more than {CANDIDATES_MAX}\n  give fewer values in `[advise]`")]
    TooMany(usize),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] ExperimentError),
}

/// Something that can be chosen: a strategy with values of its fields.
#[derive(Debug)]
pub struct Candidate {
    /// The strategy's name.
    pub strategy: String,
    /// Its fields and values.
    pub values: Point,
    place: usize,
    loaded: Loaded,
    runs: Vec<(Vec<Option<Reading>>, Times)>,
}

impl Candidate {
    /// The last key of each field with its value.
    fn values_in_words(&self) -> Vec<String> {
        let key = |field: &str| field.rsplit('.').next().unwrap_or(field).to_owned();
        self.values
            .iter()
            .map(|(field, value)| format!("{} {}", key(field), value.trim_matches('"')))
            .collect()
    }

    /// The candidate in words.
    fn name(&self) -> String {
        let values = self.values_in_words();
        if values.is_empty() {
            self.strategy.clone()
        } else {
            format!("{}, {}", self.strategy, values.join(", "))
        }
    }

    fn column(&self, metric: MetricId) -> Column {
        column(metric, self.runs.iter().map(|(readings, times)| (readings, times)))
    }
}

/// What a candidate came to.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The candidate in words.
    pub name: String,
    /// The strategy's name.
    pub strategy: String,
    /// The last key of each field with its value.
    pub values: Vec<String>,
    /// The changes that make the scenario this candidate, as `--set` takes them.
    pub changes: Vec<String>,
    /// Each objective; `None` where undefined.
    pub objectives: Vec<Option<Estimate>>,
    /// Each limited metric.
    pub limited: Vec<Option<Estimate>>,
    /// Replications that it was given.
    pub replications: u32,
    /// Who beat it, if it dropped out, and after how many replications; for a broken limit nobody.
    pub dropped: Option<Dropped>,
    /// Whether it keeps every limit.
    pub keeps_limits: bool,
    /// Whether no other that keeps the limits is as good in all objectives, to within 1 %, and better by more in one.
    pub on_front: bool,
    /// The share of repetitions in which it is on the front.
    pub front_share: f64,
    /// The share of repetitions in which it is chosen.
    pub chosen_share: f64,
}

/// Why a candidate dropped out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    /// This candidate is surely as good in all objectives, to within 1 %, and better by more in one.
    BeatenBy(usize),
    /// It surely breaks a limit.
    BreaksLimit,
}

/// What is advised.
#[derive(Debug)]
pub struct Advice {
    /// The scenario's title.
    pub title: String,
    /// The metrics that are minimised.
    pub minimise: Vec<MetricId>,
    /// The limits.
    pub limits: Vec<Constraint>,
    /// The candidates.
    pub standings: Vec<Standing>,
    /// The one that is chosen: of the front the one that gives up least, each objective measured by its range on the front. `None`
    /// when no candidate keeps the limits.
    pub choice: Option<usize>,
    /// The warm-up, if it was detected.
    pub warmup: Option<SimDuration>,
    /// Runs that were carried out, and those that trying everything to the end would have taken.
    pub runs: (u64, u64),
}

/// Reads the scenario's candidates.
///
/// # Errors
/// [`AdviseError`].
pub fn candidates(
    file: &std::path::Path,
    overrides: &Overrides,
) -> Result<(AdvisePlan, Vec<Candidate>), AdviseError> {
    let base = scenario::load(file, overrides).map_err(AdviseError::Scenario)?;
    let plan = base.scenario.advise.clone().unwrap_or_else(|| AdvisePlan::of(Vec::new()));
    let mut candidates = Vec::new();
    for (place, strategy) in base.scenario.strategies.iter().enumerate() {
        let is_own = |field: &str| strategy_of(field, &base.scenario).is_none_or(|owner| owner == place);
        let grid = plan.fields.iter().filter(|axis| is_own(&axis.field)).cloned().collect();
        let points = SweepPlan { grid, hypercube: None };
        if points.points() as usize + candidates.len() > CANDIDATES_MAX {
            return Err(AdviseError::TooMany(points.points() as usize + candidates.len()));
        }
        for values in points.expand(base.scenario.seed) {
            let changes = overrides.clone().then(at_point(&values));
            let loaded = scenario::load(file, &changes).map_err(AdviseError::Scenario)?;
            candidates.push(Candidate {
                strategy: strategy.name.clone(),
                values,
                place,
                loaded,
                runs: Vec::new(),
            });
        }
    }
    if candidates.len() < 2 {
        return Err(AdviseError::OneCandidate);
    }
    Ok((plan, candidates))
}

/// Tries the candidates, each with as many replications as its scenario has unless it drops out, on the current rayon pool. A warm-up
/// that is to be detected is the longest that any candidate asks for, so that all are measured over the same time. `exhaustive` lets none drop out. `progress` is called with the share of all runs that is done or saved.
///
/// # Errors
/// A run failed.
pub fn advise(
    plan: &AdvisePlan,
    mut candidates: Vec<Candidate>,
    logs: &[PreparedLog],
    exhaustive: bool,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<Advice, AdviseError> {
    let most = candidates[0].loaded.scenario.replications;
    let warmup = detected_warmup(&candidates, logs)?;
    if let Some(warmup) = warmup {
        candidates.iter_mut().for_each(|candidate| candidate.loaded.scenario.warmup = warmup);
    }
    let mut dropped: Vec<Option<Dropped>> = vec![None; candidates.len()];
    let mut rung = if exhaustive { most } else { FIRST_RUNG.min(most) };
    loop {
        extend(&mut candidates, &dropped, logs, rung)?;
        progress(f64::from(rung) / f64::from(most));
        if rung == most {
            break;
        }
        drop_out(plan, &candidates, &mut dropped);
        rung = rung.saturating_mul(2).min(most);
    }
    Ok(Advice { warmup, ..judge(plan, &candidates, &dropped, most) })
}

/// The longest warm-up that any candidate asks for, if it is to be detected.
fn detected_warmup(
    candidates: &[Candidate],
    logs: &[PreparedLog],
) -> Result<Option<SimDuration>, ExperimentError> {
    let mut longest = None;
    for Candidate { loaded, place, .. } in candidates.iter().filter(|it| it.loaded.scenario.detect_warmup) {
        longest = longest.max(Some(steady::warmup(&loaded.scenario, *place..*place + 1, logs)?));
    }
    Ok(longest)
}

/// Carries out what the remaining candidates lack.
fn extend(
    candidates: &mut [Candidate],
    dropped: &[Option<Dropped>],
    logs: &[PreparedLog],
    replications: u32,
) -> Result<(), AdviseError> {
    let wanted: Vec<(usize, u32)> = (0..candidates.len())
        .filter(|&place| dropped[place].is_none())
        .flat_map(|place| {
            (candidates[place].runs.len() as u32..replications).map(move |number| (place, number))
        })
        .collect();
    let all = &*candidates;
    let found: Vec<Result<_, ExperimentError>> = wanted
        .par_iter()
        .with_max_len(1)
        .map(|&(place, replication)| {
            let Candidate { loaded, place: strategy, .. } = &all[place];
            let outcome = run(&loaded.scenario, logs, (*strategy, replication), 0, &|_| ())?;
            let fleet = fleet(&loaded.scenario, *strategy, &outcome.outages);
            let whole = phases(&outcome.counts.calendar)[0];
            let times = sparse(&outcome.counts.phase(whole));
            Ok((place, (readings(&outcome.counts, &fleet, Phase::All), times)))
        })
        .collect();
    for outcome in found {
        let (place, record) = outcome?;
        candidates[place].runs.push(record);
    }
    Ok(())
}

/// Drops the candidates that surely break a limit, or that another surely beats.
fn drop_out(plan: &AdvisePlan, candidates: &[Candidate], dropped: &mut [Option<Dropped>]) {
    let left: Vec<usize> = (0..candidates.len()).filter(|&place| dropped[place].is_none()).collect();
    let columns: Vec<Vec<Column>> = left
        .iter()
        .map(|&place| plan.minimise.iter().map(|&metric| candidates[place].column(metric)).collect())
        .collect();
    for (at, &place) in left.iter().enumerate() {
        let breaks = plan.limits.iter().any(|limit| {
            let estimate = candidates[place].column(limit.metric).estimate();
            estimate.is_some_and(|it| it.half_width_at(SURE).is_some_and(|half| it.mean - half > limit.max))
        });
        // Whoever keeps the limits less surely may not push out one that keeps them.
        let may_beat = |other: usize| {
            plan.limits.iter().all(|limit| {
                let column = |place: usize| candidates[place].column(limit.metric).estimate();
                let upper = |it: Estimate| it.mean + it.half_width_at(SURE).unwrap_or(f64::INFINITY);
                column(other).is_some_and(|it| upper(it) <= limit.max)
            })
        };
        let beats = |&other: &usize| {
            other != at && may_beat(left[other]) && surely_beats(&columns[other], &columns[at])
        };
        dropped[place] = match breaks {
            true => Some(Dropped::BreaksLimit),
            false => (0..left.len()).find(beats).map(|other| Dropped::BeatenBy(left[other])),
        };
    }
}

/// Whether the first is surely as good, to within [`INDIFFERENT`], in every objective, and better by more in one.
fn surely_beats(first: &[Column], second: &[Column]) -> bool {
    let mut better = false;
    for (a, b) in first.iter().zip(second) {
        if a.centre.is_none() && b.centre.is_none() {
            continue;
        }
        let upper = |factor: f64| {
            let rest = a.less(factor, b)?;
            Some(rest.mean + rest.half_width_at(SURE)?)
        };
        let (Some(as_good), Some(is_better)) = (upper(1.0 + INDIFFERENT), upper(1.0 - INDIFFERENT)) else {
            return false;
        };
        if as_good > 0.0 {
            return false;
        }
        better |= is_better < 0.0;
    }
    better
}

/// The values by which candidates are judged: by candidate, the objectives and then the limited metrics.
type Values = Vec<Vec<Option<f64>>>;

fn judge(plan: &AdvisePlan, candidates: &[Candidate], dropped: &[Option<Dropped>], most: u32) -> Advice {
    let metrics: Vec<MetricId> =
        plan.minimise.iter().copied().chain(plan.limits.iter().map(|limit| limit.metric)).collect();
    let columns: Vec<Vec<Column>> = candidates
        .iter()
        .map(|candidate| metrics.iter().map(|&metric| candidate.column(metric)).collect())
        .collect();
    let left: Vec<bool> = dropped.iter().map(Option::is_none).collect();
    let found: Values = columns.iter().map(|of| of.iter().map(|column| column.centre).collect()).collect();
    let keeps = kept(plan, &found);
    let front = front(plan, &found, &left);
    let choice = choose(plan, &found, &front);
    let mut front_counts = vec![0_u64; candidates.len()];
    let mut chosen_counts = vec![0_u64; candidates.len()];
    let stream = Stream::new(candidates[0].loaded.scenario.seed, 0, StreamId::Resampling);
    for repetition in 0..RESAMPLES {
        let drawn: Vec<usize> =
            (0..most).map(|at| stream.below(most.into(), repetition, at.into()) as usize).collect();
        let again: Values = columns
            .iter()
            .zip(&left)
            .map(|(of, &left)| {
                of.iter().map(|column| if left { resampled(column, &drawn) } else { None }).collect()
            })
            .collect();
        let front = self::front(plan, &again, &left);
        front.iter().enumerate().for_each(|(place, &on)| front_counts[place] += u64::from(on));
        if let Some(chosen) = choose(plan, &again, &front) {
            chosen_counts[chosen] += 1;
        }
    }
    let objectives = plan.minimise.len();
    let share = |count: u64| count as f64 / RESAMPLES as f64;
    let standings = candidates
        .iter()
        .enumerate()
        .map(|(place, candidate)| {
            let estimates: Vec<Option<Estimate>> = columns[place].iter().map(Column::estimate).collect();
            Standing {
                name: candidate.name(),
                strategy: candidate.strategy.clone(),
                values: candidate.values_in_words(),
                changes: candidate.values.iter().map(|(field, value)| format!("{field}={value}")).collect(),
                objectives: estimates[..objectives].to_vec(),
                limited: estimates[objectives..].to_vec(),
                replications: candidate.runs.len() as u32,
                dropped: dropped[place],
                keeps_limits: keeps[place],
                on_front: front[place],
                front_share: share(front_counts[place]),
                chosen_share: share(chosen_counts[place]),
            }
        })
        .collect();
    Advice {
        title: candidates[0].loaded.scenario.title.clone(),
        minimise: plan.minimise.clone(),
        limits: plan.limits.clone(),
        standings,
        choice,
        warmup: None,
        runs: (
            candidates.iter().map(|candidate| candidate.runs.len() as u64).sum(),
            candidates.len() as u64 * u64::from(most),
        ),
    }
}

/// A column's estimate if its replications had been these.
fn resampled(column: &Column, drawn: &[usize]) -> Option<f64> {
    let parts: Vec<f64> = drawn.iter().filter_map(|&at| column.parts.get(at).copied().flatten()).collect();
    (!parts.is_empty()).then(|| parts.iter().sum::<f64>() / parts.len() as f64)
}

/// Which candidates keep every limit.
fn kept(plan: &AdvisePlan, values: &Values) -> Vec<bool> {
    let limited = |of: &Vec<Option<f64>>| {
        plan.limits
            .iter()
            .zip(&of[plan.minimise.len()..])
            .all(|(limit, value)| value.is_some_and(|value| value <= limit.max))
    };
    values.iter().map(limited).collect()
}

/// Which candidates are on the front: none of those that keep the limits is as good in all objectives, to within [`INDIFFERENT`],
/// and better by more in one.
fn front(plan: &AdvisePlan, values: &Values, left: &[bool]) -> Vec<bool> {
    let objectives = plan.minimise.len();
    let runs: Vec<bool> = kept(plan, values).iter().zip(left).map(|(keeps, left)| *keeps && *left).collect();
    let worth = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
    let dominates = |a: usize, b: usize| {
        let pairs = || {
            values[a][..objectives].iter().zip(&values[b][..objectives]).map(|(a, b)| (worth(*a), worth(*b)))
        };
        pairs().all(|(a, b)| a <= b * (1.0 + INDIFFERENT))
            && pairs().any(|(a, b)| a < b * (1.0 - INDIFFERENT))
    };
    (0..values.len()).map(|b| runs[b] && !(0..values.len()).any(|a| runs[a] && dominates(a, b))).collect()
}

/// Of the front the candidate that gives up least: the smallest sum over objectives of its distance from the best, in ranges of the
/// front.
fn choose(plan: &AdvisePlan, values: &Values, front: &[bool]) -> Option<usize> {
    let on: Vec<usize> = (0..values.len()).filter(|&place| front[place]).collect();
    let given_up = |place: usize| {
        let of = |objective: usize| {
            let all = on.iter().filter_map(|&other| values[other][objective]);
            let (best, worst) =
                all.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
            let value = values[place][objective].unwrap_or(worst);
            let range = (worst - best).max(RANGE_MIN * best.abs());
            if range > 0.0 { (value - best) / range } else { 0.0 }
        };
        (0..plan.minimise.len()).map(of).sum::<f64>()
    };
    on.iter().copied().min_by(|&a, &b| given_up(a).total_cmp(&given_up(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(limits: Vec<Constraint>) -> AdvisePlan {
        AdvisePlan { limits, ..AdvisePlan::of(Vec::new()) }
    }

    fn values(rows: &[[f64; 5]]) -> Values {
        rows.iter().map(|row| row.iter().map(|&value| Some(value)).collect()).collect()
    }

    fn limit() -> Vec<Constraint> {
        vec![Constraint { metric: MetricId::by_name("visits.with_loss").expect("a metric"), max: 0.5 }]
    }

    #[test]
    fn the_front_is_what_nobody_beats_in_everything() {
        let found = values(&[
            [1.0, 3.0, 1.0, 0.0, 0.1],
            [2.0, 2.0, 1.0, 0.0, 0.1],
            [2.0, 3.0, 1.0, 0.0, 0.1],
            [0.5, 0.5, 0.5, 0.0, 0.9],
        ]);
        // The third is beaten by both; the fourth would beat all, but breaks the limit.
        assert_eq!(front(&plan(limit()), &found, &[true; 4]), [true, true, false, false]);
        assert_eq!(front(&plan(limit()), &found, &[false, true, true, true]), [false, true, false, false]);
    }

    #[test]
    fn the_choice_gives_up_least() {
        let found =
            values(&[[0.0, 10.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0, 0.0], [10.0, 0.0, 0.0, 0.0, 0.0]]);
        let plan = plan(limit());
        let on = front(&plan, &found, &[true; 3]);
        assert_eq!(on, [true; 3]);
        assert_eq!(choose(&plan, &found, &on), Some(1));
        assert_eq!(choose(&plan, &found, &[false; 3]), None);
    }

    #[test]
    fn only_the_sure_drop_out() {
        let column = |shift: f64, noise: f64| {
            Column::of_values((0..8).map(|at| Some(1.0 + shift + noise * f64::from(at % 3))).collect())
        };
        let base = vec![column(0.0, 0.1), column(0.0, 0.1)];
        assert!(
            surely_beats(&[column(-0.1, 0.1), column(0.0, 0.1)], &base),
            "better in one, the same in the other"
        );
        assert!(!surely_beats(&[column(-0.1, 0.1), column(0.1, 0.1)], &base), "worse in one");
        assert!(!surely_beats(&base, &base), "the same");
        assert!(!surely_beats(&[column(-0.1, 0.9), column(0.0, 0.1)], &base), "not sure");
        assert!(!surely_beats(&[column(-0.005, 0.1), column(0.0, 0.1)], &base), "not worth a word");
    }
}
