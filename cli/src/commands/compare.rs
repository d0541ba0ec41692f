//! `evenkeel compare`.

use std::path::Path;

use evenkeel_reports::effects;
use evenkeel_sim::experiment::Experiment;
use evenkeel_sim::experiment::baseline::BaselineScenario;
use evenkeel_sim::experiment::compare;
use evenkeel_sim::metrics::MetricId;
use evenkeel_sim::scenario::Overrides;
use serde::Serialize;

use crate::args::{Arguments, Compare, FailOn};
use crate::failure::{Exit, Failure};
use crate::progress::{Progress, Watch};
use crate::{output, tables};

/// A comparison, as JSON.
#[derive(Serialize)]
struct ComparedJson<'a> {
    strategy: &'a str,
    other: &'a str,
    metric: std::borrow::Cow<'static, str>,
    phase: &'a str,
    before: f64,
    after: f64,
    difference: evenkeel_sim::experiment::summary::Estimate,
    p: Option<f64>,
    paired: bool,
    verdict: &'static str,
}

/// Compares what two scenarios, results or baselines come to.
pub fn compare(compare: &Compare, arguments: &Arguments) -> Result<Exit, Failure> {
    let metrics =
        compare.metric.iter().map(|name| super::baseline::metric(name)).collect::<Result<Vec<_>, _>>()?;
    let overrides = compare.overrides.collect();
    let pool = super::pool(compare.threads)?;
    let side = |file: &Path| side(file, &overrides, &metrics, &pool, arguments.watch());
    let (first, second) = (side(&compare.first)?, side(&compare.second)?);
    let compared = compare::compare(&first, &second).map_err(|error| Failure::usage(error.to_string()))?;
    if compare.json {
        let rows: Vec<ComparedJson<'_>> = compared
            .iter()
            .map(|it| ComparedJson {
                strategy: &it.strategy,
                other: &it.other,
                metric: it.metric.name(),
                phase: &it.phase,
                before: it.before,
                after: it.after,
                difference: it.difference,
                p: it.p,
                paired: it.paired,
                verdict: match (it.is_worse(), it.is_clear()) {
                    (true, _) => "worse",
                    (false, true) => "better",
                    (false, false) => "alike",
                },
            })
            .collect();
        let json = serde_json::to_string_pretty(&rows)
            .map_err(|error| Failure::internal(format!("the comparison cannot be put into JSON: {error}")))?;
        output::line(&json);
    } else {
        output::data(&tables::render(&effects::table(&compared)));
    }
    let failed =
        compare.fail_on == Some(FailOn::Regression) && compared.iter().any(compare::Compared::is_worse);
    Ok(if failed { Exit::Gate } else { Exit::Fine })
}

/// What a file comes to: a baseline as it is, a scenario when it is run, a result folder when its scenario is.
fn side(
    file: &Path,
    overrides: &Overrides,
    metrics: &[MetricId],
    pool: &rayon::ThreadPool,
    watch: Watch<'_>,
) -> Result<BaselineScenario, Failure> {
    if file.extension().is_some_and(|extension| extension == "json") {
        let mut scenarios = super::check::read_baseline(file)?.scenarios;
        return match (scenarios.pop(), scenarios.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(Failure::usage(format!(
                "{}: a baseline of several scenarios, of which one is wanted\n  use `evenkeel check --baseline` for all of them",
                file.display()
            ))),
        };
    }
    let scenario = if file.is_dir() { file.join("scenario.toml") } else { file.to_owned() };
    let loaded = super::load(&scenario, overrides)?;
    let logs = super::prepare_logs(&loaded, watch)?;
    let progress = Progress::start(&loaded.scenario.title, watch);
    let found = pool.install(|| {
        let mut experiment = Experiment::new(&loaded, &logs, 0)?;
        experiment.run_to_precision(&|share| progress.at(share))?;
        Ok(experiment.baseline(&scenario, metrics, None))
    });
    progress.finish();
    found.map_err(|error| super::experiment_failure(&error))
}
