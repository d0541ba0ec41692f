//! `evenkeel sweep` and `evenkeel plan`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use evenkeel_reports::sweep::{Shard, ShardDone, SweepFileError, merge, run_shard};
use evenkeel_sim::experiment::sweep::{Sweep, SweepError};
use evenkeel_sim::metrics::catalogue::METRICS;
use evenkeel_sim::scenario::Axis;
use serde::Serialize;

use crate::args::{Arguments, Plan, Sweep as SweepArguments, SweepInput};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::{Progress, Watch};

/// Carries out a shard of a sweep, or all of it, or puts shards together.
pub fn sweep(sweep: &SweepArguments, arguments: &Arguments) -> Result<Exit, Failure> {
    let swept = carry_out(sweep, arguments.watch())?;
    if !arguments.quiet {
        if let Some(done) = &swept.shard {
            let known =
                if done.known > 0 { format!(", {} of them from before", done.known) } else { String::new() };
            output::note(&format!("{}: {} runs{known}", done.part.display(), done.runs));
        }
        swept.merged.iter().for_each(|file| output::note(&format!("merged: {}", file.display())));
    }
    Ok(Exit::Fine)
}

/// What became of a sweep.
#[derive(Debug)]
pub struct Swept {
    /// The shard that was carried out, unless parts were only put together.
    pub shard: Option<ShardDone>,
    /// What the parts were put together to; empty unless all are there.
    pub merged: Vec<PathBuf>,
}

/// Carries out a shard of a sweep, or all of it, or puts shards together, and prints nothing.
///
/// # Errors
/// The scenario is wrong at a point, a run failed, parts are missing, or a file cannot be written.
pub fn carry_out(sweep: &SweepArguments, watch: Watch<'_>) -> Result<Swept, Failure> {
    let found = load(&sweep.input)?;
    let folder = sweep.out.clone().unwrap_or_else(|| default_folder(&sweep.input.scenario));
    let put_together = || merge(&found, &folder).map_err(file_failure);
    if sweep.merge {
        return Ok(Swept { shard: None, merged: put_together()? });
    }
    let shard = sweep.shard.unwrap_or(Shard::WHOLE);
    let pool = super::pool(sweep.threads)?;
    let progress =
        Progress::start(&format!("{} runs{}", found.runs(), at_most(found.is_until_precise())), watch);
    let outcome =
        pool.install(|| run_shard(&found, &folder, shard, sweep.resume, &|share| progress.at(share)));
    progress.finish();
    let done = outcome.map_err(file_failure)?;
    let merged = if shard == Shard::WHOLE { put_together()? } else { Vec::new() };
    Ok(Swept { shard: Some(done), merged })
}

/// Says what a sweep would take.
pub fn plan(plan: &Plan, arguments: &Arguments) -> Result<Exit, Failure> {
    output::data(&in_words(&estimate(plan, arguments.watch())?));
    Ok(Exit::Fine)
}

/// What a sweep would take.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Planned {
    /// Points.
    pub points: usize,
    /// Strategies at each.
    pub strategies: usize,
    /// Runs.
    pub runs: u64,
    /// Whether that is how many there are at most, each point having as many as it takes.
    pub at_most: bool,
    /// Threads that carry them out.
    pub threads: usize,
    /// What a run takes on this machine, by the first of the first and of the last point \[s\].
    pub run_s: f64,
    /// What all take \[s\].
    pub time_s: f64,
    /// Rows of the result.
    pub rows: u64,
    /// Size of the result as Parquet \[bytes\], about.
    pub parquet_bytes: u64,
    /// Size of the result as CSV \[bytes\], about.
    pub csv_bytes: u64,
}

/// Carries out two runs of a sweep to say what all would take, and prints nothing.
///
/// # Errors
/// The scenario is wrong at a point, or a run failed.
pub fn estimate(plan: &Plan, watch: Watch<'_>) -> Result<Planned, Failure> {
    // Measured on a sweep of two fields: 5.6 bytes a row, since values are nearly all there is to compress, and 58 in CSV.
    const PARQUET_ROW: f64 = 5.6;
    const CSV_ROW: f64 = 58.0;
    let found = load(&plan.input)?;
    let pool = super::pool(plan.threads)?;
    let threads = pool.current_num_threads();
    // The first run of the first and of the last point stand for all.
    let probes = [0, found.runs() - runs_of_last_point(&found)];
    let progress = Progress::start("two runs", watch);
    let start = Instant::now();
    let mut phases = 1;
    for (place, number) in probes.into_iter().enumerate() {
        let share = |share: f64| progress.at((place as f64 + share) / probes.len() as f64);
        let values = found.try_out(number, &share).map_err(|error| super::experiment_failure(&error))?;
        phases = phases.max(values.phases.len());
    }
    let run_s = start.elapsed().as_secs_f64() / probes.len() as f64;
    progress.finish();
    let rows = found.runs() as f64 * (phases * METRICS.len()) as f64;
    Ok(Planned {
        points: found.points().len(),
        strategies: found.points()[0].loaded.scenario.strategies.len(),
        runs: found.runs(),
        at_most: found.is_until_precise(),
        threads,
        run_s,
        time_s: run_s * found.runs() as f64 / threads as f64,
        rows: rows as u64,
        parquet_bytes: (rows * PARQUET_ROW) as u64,
        csv_bytes: (rows * CSV_ROW) as u64,
    })
}

/// A plan as a terminal shows it.
pub fn in_words(plan: &Planned) -> String {
    format!(
        "points        {}\nstrategies    {}\nruns          {}{}\nrun           {}, by the first of the first and of the last point\n\
         time          about {} on {} threads\nrows          {}\nsize          about {} of Parquet, {} of CSV\n",
        plan.points,
        plan.strategies,
        plan.runs,
        at_most(plan.at_most),
        time(plan.run_s),
        time(plan.time_s),
        plan.threads,
        plan.rows,
        size(plan.parquet_bytes),
        size(plan.csv_bytes),
    )
}

/// What is added to a number of runs.
fn at_most(is_so: bool) -> &'static str {
    if is_so { " at most" } else { "" }
}

fn runs_of_last_point(sweep: &Sweep) -> u64 {
    let last = &sweep.points()[sweep.points().len() - 1].loaded.scenario;
    last.strategies.len() as u64 * u64::from(last.replications)
}

fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes < 1e6 { format!("{:.0} kB", bytes / 1e3) } else { format!("{:.0} MB", bytes / 1e6) }
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        evenkeel_reports::format::duration(seconds)
    }
}

fn load(input: &SweepInput) -> Result<Sweep, Failure> {
    let grid = input
        .grid
        .iter()
        .map(|axis| Axis::parse(axis).map_err(Failure::usage))
        .collect::<Result<Vec<_>, _>>()?;
    Sweep::load(&input.scenario, &input.overrides.collect(), &grid).map_err(|error| match error {
        SweepError::Log(error) => super::fit::read_failure(error),
        SweepError::Scenario(diagnostics) => super::mistakes(&input.scenario, diagnostics),
        other => Failure::usage(other.to_string()),
    })
}

/// `results/` and the scenario's name.
fn default_folder(file: &Path) -> PathBuf {
    let name = file.file_stem().unwrap_or("scenario".as_ref()).to_string_lossy().into_owned();
    PathBuf::from("results").join(format!("{name}-sweep"))
}

fn file_failure(error: SweepFileError) -> Failure {
    match error {
        SweepFileError::Run(error) => super::experiment_failure(&error),
        SweepFileError::Incomplete { .. } => {
            Failure { exit: Exit::Incomplete, ..Failure::usage(error.to_string()) }
        }
        other => Failure::usage(other.to_string()),
    }
}
