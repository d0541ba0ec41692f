//! `evenkeel baseline`.

use evenkeel_sim::experiment::Experiment;
use evenkeel_sim::experiment::baseline::Baseline;
use evenkeel_sim::metrics::MetricId;
use evenkeel_sim::scenario::instead_of_metric;

use crate::args::{Arguments, BaselineCommand, BaselineWrite};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::Progress;

/// Does what was asked for with baselines.
pub fn baseline(command: &BaselineCommand, arguments: &Arguments) -> Result<Exit, Failure> {
    match command {
        BaselineCommand::Write(write) => self::write(write, arguments),
    }
}

/// Runs scenarios and writes what they came to.
fn write(write: &BaselineWrite, arguments: &Arguments) -> Result<Exit, Failure> {
    let metrics = write.metric.iter().map(|name| metric(name)).collect::<Result<Vec<_>, _>>()?;
    let tolerance = write.tolerance.map(|percent| percent / 100.0);
    if tolerance.is_some_and(|tolerance| !(0.0..=10.0).contains(&tolerance)) {
        return Err(Failure::usage("`--tolerance` is a share in per cent from 0 to 1000"));
    }
    let files = super::check::scenario_files(&write.scenarios)?;
    let overrides = write.overrides.collect();
    let loaded = files.iter().map(|file| super::load(file, &overrides)).collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<_> = files.iter().filter_map(|file| file.file_name()).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let name = twice[0].to_string_lossy();
        return Err(Failure::usage(format!(
            "two scenarios are called `{name}`, and a baseline knows them by that name\n  rename one, or write two baselines"
        )));
    }
    let pool = super::pool(write.threads)?;
    let mut scenarios = Vec::new();
    for (file, loaded) in files.iter().zip(&loaded) {
        let logs = super::prepare_logs(loaded, arguments.watch())?;
        let progress = Progress::start(&loaded.scenario.title, arguments.watch());
        let found = pool.install(|| {
            let mut experiment = Experiment::new(loaded, &logs, 0)?;
            experiment.run_to_precision(&|share| progress.at(share))?;
            Ok(experiment.baseline(file, &metrics, tolerance))
        });
        progress.finish();
        scenarios.push(found.map_err(|error| super::experiment_failure(&error))?);
    }
    let json = serde_json::to_string_pretty(&Baseline::new(scenarios))
        .map_err(|error| Failure::internal(format!("the baseline cannot be put into JSON: {error}")))?;
    std::fs::write(&write.out, json + "\n").map_err(|error| {
        Failure::usage(format!(
            "{}: cannot write the baseline: {error}\n  name another file with `--out`",
            write.out.display()
        ))
    })?;
    if !arguments.quiet {
        output::note(&format!("baseline: {}", write.out.display()));
    }
    Ok(Exit::Fine)
}

/// The metric called `name`.
pub fn metric(name: &str) -> Result<MetricId, Failure> {
    MetricId::by_name(name)
        .ok_or_else(|| Failure::usage(format!("unknown metric `{name}`\n  {}", instead_of_metric(name))))
}
