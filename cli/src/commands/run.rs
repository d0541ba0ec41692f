//! `evenkeel run`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_reports::{
    ReportInputs, Written, decisive_table, effects, fault_lines, findings, tier_lines, trace_table,
};
use evenkeel_sim::experiment::Findings;
use evenkeel_sim::experiment::summary::Summary;
use evenkeel_sim::scenario::{Loaded, Overrides};

use crate::args::{Arguments, Run, RunOptions};
use crate::failure::{Exit, Failure};
use crate::progress::Watch;
use crate::{output, provenance, stats, tables};

/// Runs a scenario, prints what it found and writes the result folder.
pub fn run(run: &Run, arguments: &Arguments) -> Result<Exit, Failure> {
    run_scenario(&run.scenario, &run.options.overrides.collect(), &run.options, arguments)
}

/// Runs the scenario in `file`, changed by `overrides`.
pub fn run_scenario(
    file: &Path,
    overrides: &Overrides,
    run: &RunOptions,
    arguments: &Arguments,
) -> Result<Exit, Failure> {
    let ran = carry_out(file, overrides, run, arguments.watch())?;
    let summary = &ran.found.summary;
    let folder = run.out.clone().unwrap_or_else(|| default_folder(file));
    let written = ran.write(&folder, &arguments.typed)?;
    if run.json {
        let json = serde_json::to_string_pretty(summary)
            .map_err(|error| Failure::internal(format!("the summary cannot be put into JSON: {error}")))?;
        output::line(&json);
    } else {
        output::data(&in_words(summary));
    }
    if run.stats {
        for line in stats::lines(&ran.found.sizes, ran.wall, ran.threads) {
            output::note(&line);
        }
    }
    if !arguments.quiet {
        output::note(&format!(
            "seed {}, scenario {}, evenkeel {}\nreport: {}",
            summary.seed,
            &summary.scenario_sha256[..12],
            summary.evenkeel_version,
            written.report.display()
        ));
    }
    Ok(Exit::Fine)
}

/// A scenario that was run.
#[derive(Debug)]
pub struct Ran {
    /// The scenario.
    pub loaded: Loaded,
    /// What it came to.
    pub found: Findings,
    /// How long the runs took.
    pub wall: Duration,
    /// By how many threads.
    pub threads: usize,
}

impl Ran {
    /// Writes the result folder, which `command` would make again.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, folder: &Path, command: &str) -> Result<Written, Failure> {
        let inputs = ReportInputs {
            summary: &self.found.summary,
            scenario_toml: &self.loaded.resolved.to_string(),
            provenance: &provenance::now(self.threads, command),
        };
        evenkeel_reports::write(folder, &inputs).map_err(|error| Failure::usage(error.to_string()))
    }
}

/// Runs the scenario in `file`, changed by `overrides`, and writes nothing.
///
/// # Errors
/// The scenario or its logs are wrong, or a run failed.
pub fn carry_out(
    file: &Path,
    overrides: &Overrides,
    run: &RunOptions,
    watch: Watch<'_>,
) -> Result<Ran, Failure> {
    let loaded = super::load(file, overrides)?;
    let pool = super::pool(run.threads)?;
    let (found, wall) = super::carry_out(&loaded, &pool, run.explain_losses, watch)?;
    Ok(Ran { loaded, found, wall, threads: pool.current_num_threads() })
}

/// `results/` and the scenario's name.
fn default_folder(file: &Path) -> PathBuf {
    PathBuf::from("results").join(file.file_stem().unwrap_or("scenario".as_ref()))
}

/// What a terminal shows of a summary.
pub fn in_words(summary: &Summary) -> String {
    let mut text = format!("{}\n\n", summary.title);
    if let Some(trace) = trace_table(summary) {
        text.push_str(&tables::render(&trace));
        text.push('\n');
    } else {
        text.push_str(&tables::render(&decisive_table(summary)));
        text.push('\n');
    }
    let lines = findings(summary).into_iter().chain(effects::sentences(summary));
    let lines = lines.chain(tier_lines(summary)).chain(fault_lines(summary));
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    for strategy in summary.strategies.iter().filter(|strategy| !strategy.stories.is_empty()) {
        text.push_str(&format!("\n{}: some losses\n", strategy.name));
        for story in &strategy.stories {
            text.push_str(&format!("  {story}\n"));
        }
    }
    if !summary.log_statistics.is_empty() {
        text.push('\n');
        for (name, value) in &summary.log_statistics {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push_str("\nNot in the log, inferred:\n");
        for sentence in &summary.inferred {
            text.push_str(&format!("  {sentence}\n"));
        }
    }
    text
}
