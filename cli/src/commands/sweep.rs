//! `evenkeel sweep` and `evenkeel plan`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use evenkeel_reports::sweep::{Shard, ShardDone, SweepFileError, merge, run_shard};
use evenkeel_sim::experiment::sweep::{Sweep, SweepError};
use evenkeel_sim::metrics::catalogue::METRICS;
use evenkeel_sim::scenario::Axis;

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
    let progress = Progress::start(&format!("{} runs{}", found.runs(), at_most(&found)), watch);
    let outcome = pool.install(|| {
        run_shard(&found, &folder, shard, sweep.resume, &|done, of| progress.at(done as f64 / of as f64))
    });
    progress.finish();
    let done = outcome.map_err(file_failure)?;
    let merged = if shard == Shard::WHOLE { put_together()? } else { Vec::new() };
    Ok(Swept { shard: Some(done), merged })
}

/// Says what a sweep would take.
pub fn plan(plan: &Plan) -> Result<Exit, Failure> {
    let found = load(&plan.input)?;
    let pool = super::pool(plan.threads)?;
    let threads = pool.current_num_threads();
    let first = &found.points()[0].loaded.scenario;
    // The first run of the first and of the last point stand for all.
    let probes = [0, found.runs() - runs_of_last_point(&found)];
    let start = Instant::now();
    let mut phases = 1;
    for number in probes {
        let values = found.try_out(number).map_err(|error| super::experiment_failure(&error))?;
        phases = phases.max(values.phases.len());
    }
    let each = start.elapsed().as_secs_f64() / probes.len() as f64;
    let rows = found.runs() as f64 * (phases * METRICS.len()) as f64;
    let seconds = each * found.runs() as f64 / threads as f64;
    output::data(&format!(
        "points        {}\nstrategies    {}\nruns          {}{}\nrun           {}, by the first of the first and of the last point\n\
         time          about {} on {threads} threads\nrows          {rows:.0}\nsize          about {} of Parquet, {} of CSV\n",
        found.points().len(),
        first.strategies.len(),
        found.runs(),
        at_most(&found),
        in_words(each),
        in_words(seconds),
        // Measured on a sweep of two fields: 5.6 bytes a row, since values are nearly all there is to compress, and 58 in CSV.
        size(rows * 5.6),
        size(rows * 58.0),
    ));
    Ok(Exit::Fine)
}

/// What is added to a number of runs.
fn at_most(sweep: &Sweep) -> &'static str {
    if sweep.is_until_precise() { " at most" } else { "" }
}

fn runs_of_last_point(sweep: &Sweep) -> u64 {
    let last = &sweep.points()[sweep.points().len() - 1].loaded.scenario;
    last.strategies.len() as u64 * u64::from(last.replications)
}

fn size(bytes: f64) -> String {
    if bytes < 1e6 { format!("{:.0} kB", bytes / 1e3) } else { format!("{:.0} MB", bytes / 1e6) }
}

fn in_words(seconds: f64) -> String {
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
