//! The subcommands.

pub mod advise;
pub mod baseline;
pub mod check;
pub mod compare;
pub mod conformance;
pub mod explain;
pub mod fit;
pub mod list;
pub mod live;
pub mod pseudonymise;
pub mod replay;
pub mod run;
pub mod sweep;

use std::path::Path;
use std::time::{Duration, Instant};

use evenkeel_sim::experiment::{self, ExperimentError, Findings};
use evenkeel_sim::population::replay::PreparedLog;
use evenkeel_sim::scenario::{self, Diagnostics, Loaded, Overrides};

use crate::failure::Failure;
use crate::progress::{Progress, Watch};

/// Reads a scenario.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Loaded, Failure> {
    scenario::load(path, overrides).map_err(|diagnostics| mistakes(path, diagnostics))
}

/// What is wrong with a scenario.
fn mistakes(path: &Path, diagnostics: Diagnostics) -> Failure {
    let count = diagnostics.0.len();
    let mistakes = if count == 1 { "1 mistake".to_owned() } else { format!("{count} mistakes") };
    let message = format!("{} has {mistakes}\n{diagnostics}", path.display());
    Failure { mistakes: diagnostics.0, ..Failure::usage(message) }
}

/// A pool of threads.
pub fn pool(threads: Option<usize>) -> Result<rayon::ThreadPool, Failure> {
    const THREADS_MAX: usize = 1_024;
    if let Some(threads) = threads.filter(|threads| !(1..=THREADS_MAX).contains(threads)) {
        return Err(Failure::usage(format!(
            "`--threads` must be from 1 to {THREADS_MAX}, got {threads}\n  leave it out for one thread for each core"
        )));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build()
        .map_err(|error| Failure::usage(format!("cannot start the threads: {error}; lower `--threads`")))
}

/// Reads the logs that a scenario names.
pub fn prepare_logs(loaded: &Loaded, watch: Watch<'_>) -> Result<Vec<PreparedLog>, Failure> {
    let progress = Progress::start("reading the log", watch.only_if(!loaded.scenario.logs.is_empty()));
    let logs = experiment::prepare_logs(&loaded.scenario, &loaded.folder, &|share| progress.at(share));
    progress.finish();
    logs.map_err(fit::read_failure)
}

/// How an experiment that could not be carried out ends the program.
pub fn experiment_failure(error: &ExperimentError) -> Failure {
    if error.is_internal() { Failure::internal(error.to_string()) } else { Failure::usage(error.to_string()) }
}

/// Carries out a scenario's experiment, and says how long that took.
pub fn carry_out(
    loaded: &Loaded,
    pool: &rayon::ThreadPool,
    stories: usize,
    watch: Watch<'_>,
) -> Result<(Findings, Duration), Failure> {
    let logs = prepare_logs(loaded, watch)?;
    let progress = Progress::start(&loaded.scenario.title, watch);
    let start = Instant::now();
    let findings =
        pool.install(|| experiment::carry_out(loaded, &logs, stories, &|share| progress.at(share)));
    progress.finish();
    let findings = findings.map_err(|error| experiment_failure(&error))?;
    Ok((findings, start.elapsed()))
}
