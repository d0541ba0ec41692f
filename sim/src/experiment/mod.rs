//! Strategies times replications, on all cores, and what they add up to.
//!
//! Runs are independent and their results are put together in the order of (strategy, replication), so that the number of
//! threads changes nothing but the time taken. Where it depends on results how many replications there are, they are looked at
//! after numbers of replications that are fixed beforehand.

pub mod advise;
pub mod baseline;
mod column;
pub mod compare;
mod expectations;
pub mod gate;
mod impact;
mod intervals;
mod record;
mod shares;
mod steady;
mod stopping;
mod summarise;
pub mod summary;
pub mod sweep;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use thiserror::Error;

use crate::cluster::{self, RunError, RunOutcome, RunSetup, RunSizes};
use crate::engine::SimDuration;
use crate::metrics::quantiles::Source;
use crate::metrics::recorder::Calendar;
use crate::metrics::{MetricId, Phase};
use crate::population::replay::{LogError, LogOptions, PreparedLog, Pseudonyms, show_second};
use crate::scenario::{Loaded, LogSource, Scenario, Strategy, WINDOWS_MAX};

pub use column::Column;
pub use intervals::holm;
pub use shares::Shares;
pub use steady::mser5;

use record::RunRecord;
use summary::Summary;

/// Why an experiment could not be carried out.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// A run failed.
    #[error("strategy `{strategy}`, replication {replication}: {error}")]
    Run {
        /// The strategy's name.
        strategy: String,
        /// The replication, from 0.
        replication: u32,
        /// Why.
        error: RunError,
    },
    /// The warm-up was to be detected, and the load never settled.
    #[error(
        "strategy `{strategy}`: the load does not settle within the first half of the run, so no warm-up can be detected\n  raise `duration`, or give `warmup` as a length of time"
    )]
    NotSteady {
        /// The strategy's name.
        strategy: String,
    },
    /// A log could not be prepared.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ExperimentError {
    /// Whether the simulator, not its input, is at fault.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Run { error: RunError::Accounting(_), .. })
    }
}

/// What an experiment came to.
#[derive(Debug)]
pub struct Findings {
    /// The findings.
    pub summary: Summary,
    /// What each run took, in the order of (strategy, replication).
    pub sizes: Vec<RunSizes>,
}

/// Reads the logs of a scenario once, for all its runs. `progress` is called now and then with the share that has been read.
///
/// # Errors
/// A file cannot be read or holds no valid line.
pub fn prepare_logs(
    scenario: &Scenario,
    folder: &Path,
    progress: &dyn Fn(f64),
) -> Result<Vec<PreparedLog>, LogError> {
    let logs = scenario.logs.len() as f64;
    let mut tiers = scenario.strategies.iter().flat_map(Strategy::programs);
    let paths = tiers.any(|(_, tier)| tier.keys.show_path());
    scenario
        .logs
        .iter()
        .enumerate()
        .map(|(number, log)| {
            let options = LogOptions { paths, ..log_options(log, folder)? };
            // Standard input has no folder.
            let place =
                |file: &PathBuf| if file == Path::new("-") { file.clone() } else { folder.join(file) };
            let files = log.files.iter().map(place);
            let prepared =
                PreparedLog::from_files(files, &options, &|share| progress((number as f64 + share) / logs))?;
            check_length(scenario, log, &prepared)?;
            Ok(prepared)
        })
        .collect()
}

/// Whether a run to the end of a log has a bounded number of windows.
fn check_length(scenario: &Scenario, plan: &LogSource, log: &PreparedLog) -> Result<(), LogError> {
    let statistics = log.statistics();
    let seconds = f64::from(statistics.last_second - statistics.first_second) / plan.speed;
    if scenario.duration.is_some() || seconds / scenario.window.as_secs_f64() <= WINDOWS_MAX as f64 {
        return Ok(());
    }
    Err(LogError::TooLong {
        name: plan.name.clone(),
        first: format!("{} ({})", show_second(statistics.first_second), statistics.first_line),
        last: format!("{} ({})", show_second(statistics.last_second), statistics.last_line),
        window: scenario.window,
        windows_max: WINDOWS_MAX,
    })
}

/// How a log of a scenario is read.
fn log_options(log: &LogSource, folder: &Path) -> Result<LogOptions, LogError> {
    let seconds = |duration: SimDuration| u32::try_from(duration.0 / 1_000_000_000).unwrap_or(u32::MAX);
    let pseudonyms = log.pseudonymise.as_ref().map(|file| Pseudonyms::from_file(&folder.join(file)));
    Ok(LogOptions {
        format: log.format.clone(),
        sessions_by: log.sessions_by.clone(),
        forwarded: log.forwarded,
        pseudonyms: pseudonyms.transpose()?.map(Arc::new),
        from: log.from.unwrap_or(0),
        until: log.until,
        reorder_window_seconds: seconds(log.reorder_window),
        visit_gap_seconds: seconds(log.visit_gap),
        ..LogOptions::default()
    })
}

/// Carries out a scenario's experiment on the current rayon pool. `stories` losses of the first replication of each strategy
/// are told. `progress` is called with the share that is done, from any thread.
///
/// # Errors
/// The first run that failed, in the order of (strategy, replication).
pub fn carry_out(
    loaded: &Loaded,
    logs: &[PreparedLog],
    stories: usize,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<Findings, ExperimentError> {
    let mut experiment = Experiment::new(loaded, logs, stories)?;
    experiment.run_to_precision(progress)?;
    Ok(Findings { summary: experiment.summary(), sizes: experiment.sizes() })
}

/// An experiment that replications can be added to.
pub struct Experiment<'a> {
    loaded: &'a Loaded,
    /// The scenario, with the warm-up that was detected.
    scenario: Scenario,
    logs: &'a [PreparedLog],
    stories: usize,
    calendar: Calendar,
    /// By strategy and replication.
    records: Vec<Vec<RunRecord>>,
}

impl std::fmt::Debug for Experiment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Experiment({}, {} replications)", self.scenario.title, self.replications())
    }
}

impl<'a> Experiment<'a> {
    /// An experiment without replications yet. A warm-up that is to be detected is detected here, on the current rayon pool.
    ///
    /// # Errors
    /// A run from which the warm-up was to be told failed, or there is none.
    pub fn new(loaded: &'a Loaded, logs: &'a [PreparedLog], stories: usize) -> Result<Self, ExperimentError> {
        let mut scenario = loaded.scenario.clone();
        if scenario.detect_warmup {
            scenario.warmup = steady::warmup(&scenario, 0..scenario.strategies.len(), logs)?;
        }
        let calendar = cluster::calendar(&scenario, logs);
        let records = scenario.strategies.iter().map(|_| Vec::new()).collect();
        Ok(Self { loaded, scenario, logs, stories, calendar, records })
    }

    /// The scenario, with the warm-up that was detected.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Replications of each strategy so far.
    pub fn replications(&self) -> u32 {
        self.records[0].len() as u32
    }

    /// Carries out all strategies until each has `replications`. `progress` is called with the share that is done.
    ///
    /// # Errors
    /// The first run that failed, in the order of (strategy, replication).
    pub fn extend_to(
        &mut self,
        replications: u32,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<(), ExperimentError> {
        let from = self.replications();
        let runs: Vec<(usize, u32)> = (0..self.scenario.strategies.len())
            .flat_map(|strategy| (from..replications).map(move |replication| (strategy, replication)))
            .collect();
        let mut records = self.run_all(&runs, progress)?.into_iter();
        let each = replications.saturating_sub(from) as usize;
        self.records.iter_mut().for_each(|of_strategy| of_strategy.extend(records.by_ref().take(each)));
        Ok(())
    }

    fn run_all(
        &self,
        runs: &[(usize, u32)],
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<Vec<RunRecord>, ExperimentError> {
        let shares = Shares::of(runs.len(), progress);
        let records: Vec<Result<RunRecord, ExperimentError>> = runs
            .par_iter()
            .map(|&(strategy, replication)| {
                let told = if replication == 0 { self.stories } else { 0 };
                let which = (strategy, replication);
                let outcome = run(&self.scenario, self.logs, which, told, &shares.piece())?;
                Ok(RunRecord::new(&self.scenario, strategy, outcome, replication == 0))
            })
            .collect();
        records.into_iter().collect()
    }

    /// What the runs so far say of a metric; `None` when the runs do not have the phase.
    pub fn column(&self, strategy: usize, metric: MetricId, phase: Phase) -> Option<Column> {
        self.column_of_first(self.records[strategy].len(), strategy, metric, phase)
    }

    /// What the first `n` of the runs so far say of a metric, or all if they are fewer.
    pub(crate) fn column_of_first(
        &self,
        n: usize,
        strategy: usize,
        metric: MetricId,
        phase: Phase,
    ) -> Option<Column> {
        let place = self.records[strategy].first()?.phases.iter().position(|record| record.phase == phase)?;
        let runs = &self.records[strategy];
        Some(column_at(&runs[..n.min(runs.len())], place, metric))
    }

    /// What the runs so far add up to.
    ///
    /// # Panics
    /// Panics before the first replication.
    pub fn summary(&self) -> Summary {
        summarise::summarise(self)
    }

    /// What each run says of every metric, in the order of (strategy, replication).
    pub fn values(&self) -> impl Iterator<Item = (usize, u32, sweep::PhaseValues)> {
        self.records.iter().enumerate().flat_map(|(strategy, runs)| {
            (0..).zip(runs).map(move |(replication, run)| {
                let phases = run.phases.iter().map(|phase| (phase.phase, phase.values()));
                (strategy, replication, phases.collect())
            })
        })
    }

    /// What each run took, in the order of (strategy, replication).
    pub fn sizes(&self) -> Vec<RunSizes> {
        self.records.iter().flatten().map(|record| record.sizes).collect()
    }
}

/// What runs say of a metric in the phase at `place`.
fn column_at(runs: &[RunRecord], place: usize, metric: MetricId) -> Column {
    let phases = runs.iter().map(|run| &run.phases[place]);
    let column = record::column(metric, phases.map(|phase| (&phase.readings, &phase.times)));
    match (runs, metric.source()) {
        ([run], Source::Quantile(of, q)) if !run.without_batch.is_empty() => {
            let times: Vec<_> = run.batch_times.iter().map(|times| &times[of as usize]).collect();
            Column { parts: Column::of_quantile(of, q, &times).parts, ..column }
        }
        ([run], Source::Reading(line)) if !run.without_batch.is_empty() => {
            let without: Vec<_> = run.without_batch.iter().map(|metrics| metrics[line]).collect();
            Column::of_batches(column.centre, &without)
        }
        _ => column,
    }
}

/// Carries out one run, named by strategy and replication.
fn run(
    scenario: &Scenario,
    logs: &[PreparedLog],
    (strategy, replication): (usize, u32),
    stories: usize,
    progress: &dyn Fn(f64),
) -> Result<RunOutcome, ExperimentError> {
    let setup = RunSetup { scenario, strategy, replication, logs, stories };
    cluster::run(&setup, progress).map_err(|error| ExperimentError::Run {
        strategy: scenario.strategies[strategy].name.clone(),
        replication,
        error,
    })
}
