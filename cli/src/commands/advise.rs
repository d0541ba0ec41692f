//! `evenkeel advise`.

use std::path::{Path, PathBuf};

use evenkeel_reports::{advice, charts};
use evenkeel_sim::experiment::advise::{self, Advice, AdviseError, Dropped};
use serde::Serialize;

use crate::args::{Advise, Arguments};
use crate::failure::{Exit, Failure};
use crate::progress::{Progress, Watch};
use crate::{output, tables};

/// A candidate, as JSON.
#[derive(Serialize)]
struct CandidateJson<'a> {
    name: &'a str,
    set: &'a [String],
    objectives: Vec<Option<evenkeel_sim::experiment::summary::Estimate>>,
    limited: Vec<Option<evenkeel_sim::experiment::summary::Estimate>>,
    replications: u32,
    dropped: bool,
    breaks_limit: bool,
    on_front: bool,
    front_share: f64,
    chosen_share: f64,
    chosen: bool,
}

/// Says which strategy, with which values, to choose.
pub fn advise(advise: &Advise, arguments: &Arguments) -> Result<Exit, Failure> {
    let found = carry_out(advise, arguments.watch())?;
    if advise.json {
        output::line(&json(&found)?);
    } else {
        output::data(&in_words(&found));
    }
    if let Some(folder) = &advise.out {
        match draw(&found, folder)?.first() {
            Some(chart) if !arguments.quiet => output::note(&format!("chart: {}", chart.display())),
            Some(_) => {}
            None => output::note("no chart: it takes two objectives with values"),
        }
    }
    Ok(exit_of(&found))
}

/// Tries the candidates, and prints nothing.
///
/// # Errors
/// The scenario or its logs are wrong, there is nothing to choose, or a run failed.
pub fn carry_out(advise: &Advise, watch: Watch<'_>) -> Result<Advice, Failure> {
    let overrides = advise.overrides.collect();
    let failure = |error| match error {
        AdviseError::Run(error) => super::experiment_failure(&error),
        AdviseError::Scenario(diagnostics) => super::mistakes(&advise.scenario, diagnostics),
        other => Failure::usage(other.to_string()),
    };
    let (plan, candidates) = advise::candidates(&advise.scenario, &overrides).map_err(failure)?;
    let loaded = super::load(&advise.scenario, &overrides)?;
    let logs = super::prepare_logs(&loaded, watch)?;
    let pool = super::pool(advise.threads)?;
    let progress = Progress::start(&format!("{} candidates", candidates.len()), watch);
    let found = pool
        .install(|| advise::advise(&plan, candidates, &logs, advise.exhaustive, &|share| progress.at(share)));
    progress.finish();
    found.map_err(failure)
}

/// The advice as a terminal shows it.
pub fn in_words(found: &Advice) -> String {
    format!("{}\n\n{}", advice::sentences(found).join("\n"), tables::render(&advice::table(found)))
}

/// How advice ends: it is a failed gate if no candidate keeps the limits.
pub fn exit_of(found: &Advice) -> Exit {
    if found.choice.is_some() { Exit::Fine } else { Exit::Gate }
}

/// The advice as JSON.
///
/// # Errors
/// Only what the writer reports, which writing to memory does not.
pub fn json(advice: &Advice) -> Result<String, Failure> {
    let candidates: Vec<CandidateJson<'_>> = advice
        .standings
        .iter()
        .enumerate()
        .map(|(at, it)| CandidateJson {
            name: &it.name,
            set: &it.changes,
            objectives: it.objectives.clone(),
            limited: it.limited.clone(),
            replications: it.replications,
            dropped: it.dropped.is_some(),
            breaks_limit: it.dropped == Some(Dropped::BreaksLimit) || !it.keeps_limits,
            on_front: it.on_front,
            front_share: it.front_share,
            chosen_share: it.chosen_share,
            chosen: advice.choice == Some(at),
        })
        .collect();
    let names: Vec<_> = advice.minimise.iter().map(|id| id.name()).collect();
    let document = serde_json::json!({
        "title": advice.title, "minimise": names, "runs": advice.runs.0, "runs_exhaustive": advice.runs.1, "candidates": candidates,
    });
    serde_json::to_string_pretty(&document)
        .map_err(|error| Failure::internal(format!("the advice cannot be put into JSON: {error}")))
}

/// Draws the front into a folder; the files, the SVG first, or none if the front cannot be drawn.
///
/// # Errors
/// They cannot be written.
pub fn draw(advice: &Advice, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let Some(chart) = charts::front(advice) else { return Ok(Vec::new()) };
    let png =
        chart.png().map_err(|error| Failure::internal(format!("the front cannot be drawn: {error}")))?;
    let files = [(folder.join("front.svg"), chart.svg().into_bytes()), (folder.join("front.png"), png)];
    std::fs::create_dir_all(folder)
        .and_then(|()| files.iter().try_for_each(|(path, bytes)| std::fs::write(path, bytes)))
        .map_err(|error| {
            Failure::usage(format!(
                "{}: cannot write the chart: {error}\n  name another folder with `--out`",
                folder.display()
            ))
        })?;
    Ok(files.map(|(path, _)| path).into())
}
