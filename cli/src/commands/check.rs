//! `evenkeel check`.

use std::path::{Path, PathBuf};

use evenkeel_reports::text::expectation_table;
use evenkeel_sim::experiment::summary::{ExpectationResult, Summary, Verdict};
use serde::Serialize;

use crate::args::{Arguments, Check};
use crate::failure::{Exit, Failure};
use crate::{output, tables};

/// The verdicts on one scenario, as JSON.
#[derive(Serialize)]
struct Checked<'a> {
    scenario: String,
    title: &'a str,
    seed: u64,
    replications: u32,
    expectations: &'a [ExpectationResult],
}

/// Runs scenarios and judges their expectations.
pub fn check(check: &Check, arguments: &Arguments) -> Result<Exit, Failure> {
    let files = scenario_files(&check.scenarios)?;
    let overrides = check.overrides.collect();
    // All scenarios are read before any runs, so that a mistake in the last is told at once.
    let loaded = files.iter().map(|file| super::load(file, &overrides)).collect::<Result<Vec<_>, _>>()?;
    let pool = super::pool(check.threads)?;
    let mut summaries = Vec::new();
    for loaded in &loaded {
        summaries.push(super::carry_out(loaded, &pool, 0, arguments.quiet)?.0.summary);
    }
    if check.json {
        print_json(&files, &summaries)?;
    } else {
        files.iter().zip(&summaries).for_each(|(file, summary)| print_words(file, summary));
    }
    Ok(exit_of(summaries.iter().flat_map(|summary| &summary.expectations)))
}

fn exit_of<'a>(results: impl Iterator<Item = &'a ExpectationResult>) -> Exit {
    let mut exit = Exit::NothingRan;
    for result in results {
        match result.verdict {
            Verdict::Pass if exit == Exit::NothingRan => exit = Exit::Fine,
            Verdict::Pass => {}
            Verdict::Worse | Verdict::Inconclusive | Verdict::NoData => exit = Exit::Gate,
        }
    }
    exit
}

fn print_json(files: &[PathBuf], summaries: &[Summary]) -> Result<(), Failure> {
    let checked: Vec<Checked<'_>> = files
        .iter()
        .zip(summaries)
        .map(|(file, summary)| Checked {
            scenario: file.display().to_string(),
            title: &summary.title,
            seed: summary.seed,
            replications: summary.replications,
            expectations: &summary.expectations,
        })
        .collect();
    let json = serde_json::to_string_pretty(&checked)
        .map_err(|error| Failure::internal(format!("the verdicts cannot be put into JSON: {error}")))?;
    output::line(&json);
    Ok(())
}

fn print_words(file: &Path, summary: &Summary) {
    output::line(&format!("{}: {}", file.display(), summary.title));
    match expectation_table(summary) {
        Some(table) => output::line(&tables::render(&table)),
        None => output::line("  nothing to check: the scenario has no `[[expect]]`\n"),
    }
}

/// The scenario files among the paths, folders searched for `*.toml`, sorted within each folder.
fn scenario_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            collect(path, &mut files)?;
            if files.len() == before {
                return Err(Failure::usage(format!(
                    "{}: no scenario (`*.toml`) in this folder",
                    path.display()
                )));
            }
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let unreadable = |error| Failure::usage(format!("{}: cannot read the folder: {error}", folder.display()));
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(())
}
