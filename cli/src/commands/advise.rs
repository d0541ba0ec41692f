//! `evenkeel advise`.

use std::path::Path;

use evenkeel_reports::{advice, charts};
use evenkeel_sim::experiment::advise::{self, Advice, AdviseError, Dropped};
use serde::Serialize;

use crate::args::{Advise, Arguments};
use crate::failure::{Exit, Failure};
use crate::progress::Progress;
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
    let (plan, candidates) =
        advise::candidates(&advise.scenario, &advise.overrides.collect()).map_err(advise_failure)?;
    let loaded = super::load(&advise.scenario, &advise.overrides.collect())?;
    let logs = super::prepare_logs(&loaded, arguments.watch())?;
    let pool = super::pool(advise.threads)?;
    let progress = Progress::start(&format!("{} candidates", candidates.len()), arguments.watch());
    let found = pool
        .install(|| advise::advise(&plan, candidates, &logs, advise.exhaustive, &|share| progress.at(share)));
    progress.finish();
    let found = found.map_err(advise_failure)?;
    if advise.json {
        output::line(&json(&found)?);
    } else {
        for line in advice::sentences(&found) {
            output::line(&line);
        }
        output::line("");
        output::data(&tables::render(&advice::table(&found)));
    }
    if let Some(folder) = &advise.out {
        draw(&found, folder, arguments.quiet)?;
    }
    Ok(if found.choice.is_some() { Exit::Fine } else { Exit::Gate })
}

fn advise_failure(error: AdviseError) -> Failure {
    match error {
        AdviseError::Run(error) => super::experiment_failure(&error),
        other => Failure::usage(other.to_string()),
    }
}

fn json(advice: &Advice) -> Result<String, Failure> {
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

/// Draws the front.
fn draw(advice: &Advice, folder: &Path, quiet: bool) -> Result<(), Failure> {
    let Some(chart) = charts::front(advice) else {
        output::note("no chart: it takes two objectives with values");
        return Ok(());
    };
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
    if !quiet {
        output::note(&format!("chart: {}", files[0].0.display()));
    }
    Ok(())
}
