//! `evenkeel run`.

use std::path::{Path, PathBuf};

use evenkeel_reports::{
    ReportInputs, decisive_table, effects, fault_lines, findings, tier_lines, trace_table,
};
use evenkeel_sim::experiment::summary::Summary;
use evenkeel_sim::scenario::Overrides;

use crate::args::{Arguments, Run, RunOptions};
use crate::failure::{Exit, Failure};
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
    let loaded = super::load(file, overrides)?;
    let pool = super::pool(run.threads)?;
    let (found, wall) = super::carry_out(&loaded, &pool, run.explain_losses, arguments.quiet)?;
    let summary = &found.summary;

    let folder = run.out.clone().unwrap_or_else(|| default_folder(file));
    let written = evenkeel_reports::write(
        &folder,
        &ReportInputs {
            summary,
            scenario_toml: &loaded.resolved.to_string(),
            provenance: &provenance::now(pool.current_num_threads()),
        },
    )
    .map_err(|error| Failure::usage(error.to_string()))?;

    if run.json {
        let json = serde_json::to_string_pretty(summary)
            .map_err(|error| Failure::internal(format!("the summary cannot be put into JSON: {error}")))?;
        output::line(&json);
    } else {
        output::data(&in_words(summary));
    }
    if run.stats {
        for line in stats::lines(&found.sizes, wall, pool.current_num_threads()) {
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

/// `results/` and the scenario's name.
fn default_folder(file: &Path) -> PathBuf {
    PathBuf::from("results").join(file.file_stem().unwrap_or("scenario".as_ref()))
}

/// What a terminal shows of a summary.
fn in_words(summary: &Summary) -> String {
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
