//! The native half of the Python package: the commands of the program, whose arguments it reads, with results in place of printed
//! text. `evenkeel/__init__.py` is what people call.
//!
//! Work is done on threads of its own with the interpreter let go. The calling thread waits, calls back with the share that is done,
//! and looks after signals: what a handler raises (`KeyboardInterrupt`) ends the work by unwinding at its next report.

mod watch;

use anstream::adapter::strip_str;
use evenkeel::args::{Arguments, BaselineCommand, Command, RunOptions};
use evenkeel::commands::{advise, baseline, check, compare, explain, fit, list, replay, run, sweep};
use evenkeel::failure::Failure;
use evenkeel::provenance;
use evenkeel_reports::{experiment_tables, gate};
use evenkeel_sim::experiment::baseline::Baseline;
use evenkeel_sim::experiment::compare::Compared;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use watch::watched;

pyo3::create_exception!(
    _native,
    CommandFailed,
    pyo3::exceptions::PyException,
    "A command failed: exit code, message, and the mistakes in the scenario as JSON."
);

/// A failure as an exception.
fn raised(failure: Failure) -> PyErr {
    let mistakes = serde_json::to_string(&failure.mistakes).unwrap_or_default();
    CommandFailed::new_err((failure.exit as u8, failure.message, mistakes))
}

fn internal(what: &str) -> PyErr {
    raised(Failure::internal(what.to_owned()))
}

/// Whatever cannot be put into JSON or Parquet.
fn unwritable(error: impl ToString) -> PyErr {
    internal(&error.to_string())
}

/// What a terminal shows, without its colours.
fn plain(text: &str) -> String {
    strip_str(text).to_string()
}

/// The arguments of a command line whose first word is the command.
fn parsed(words: Vec<OsString>) -> PyResult<Arguments> {
    let typed: Vec<OsString> = std::iter::once("evenkeel".into()).chain(words).collect();
    let mut arguments =
        Arguments::try_parse_from(&typed).map_err(|error| raised(Failure::usage(error.to_string())))?;
    arguments.typed = provenance::typed(&typed);
    Ok(arguments)
}

/// A run's findings: summary as JSON, the same in words, the scenario in full, tables as Parquet by name.
type Ran = (String, String, String, BTreeMap<&'static str, Py<PyBytes>>);

/// `run` and `replay`. A result folder is written only if the arguments name one.
#[pyfunction]
fn run_scenario(py: Python<'_>, words: Vec<OsString>, progress: Option<Py<PyAny>>) -> PyResult<Ran> {
    let arguments = parsed(words)?;
    let ran = match &arguments.command {
        Command::Run(it) => watched(py, progress, |watch| {
            run::carry_out(&it.scenario, &it.options.overrides.collect(), &it.options, watch)
                .and_then(|ran| written(ran, &it.options, &arguments))
        }),
        Command::Replay(it) => watched(py, progress, |watch| {
            run::carry_out(&it.scenario, &replay::overrides(it)?, &it.options, watch)
                .and_then(|ran| written(ran, &it.options, &arguments))
        }),
        _ => return Err(internal("no command that runs a scenario")),
    }?;
    let summary = &ran.found.summary;
    let json = serde_json::to_string(summary).map_err(unwritable)?;
    let tables = evenkeel_reports::parquet_tables(summary).map_err(unwritable)?;
    let tables = tables.into_iter().map(|(name, bytes)| (name, PyBytes::new(py, &bytes).unbind())).collect();
    Ok((json, plain(&run::in_words(summary)), ran.loaded.resolved.to_string(), tables))
}

fn written(ran: run::Ran, options: &RunOptions, arguments: &Arguments) -> Result<run::Ran, Failure> {
    if let Some(folder) = &options.out {
        ran.write(folder, &arguments.typed)?;
    }
    Ok(ran)
}

/// `check`: exit code, verdicts as JSON, the same in words, and as Markdown.
#[pyfunction]
fn check_scenarios(
    py: Python<'_>,
    words: Vec<OsString>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(u8, String, String, String)> {
    let arguments = parsed(words)?;
    let Command::Check(it) = &arguments.command else { return Err(internal("no check")) };
    let all = watched(py, progress, |watch| check::judge(it, watch))?;
    let json = gate::json(&all).map_err(unwritable)?;
    let in_words = all.iter().map(|checked| plain(&check::in_words(checked))).collect();
    Ok((check::exit_of(&all, it.allow_inconclusive) as u8, json, in_words, gate::markdown(&all)))
}

/// `sweep`: the part that was written with its runs and those of them that were known, and what parts were put together to.
#[pyfunction]
#[expect(clippy::type_complexity, reason = "it is unpacked where it is called")]
fn sweep_scenario(
    py: Python<'_>,
    words: Vec<OsString>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Option<(PathBuf, u64, u64)>, Vec<PathBuf>)> {
    let arguments = parsed(words)?;
    let Command::Sweep(it) = &arguments.command else { return Err(internal("no sweep")) };
    let swept = watched(py, progress, |watch| sweep::carry_out(it, watch))?;
    Ok((swept.shard.map(|done| (done.part, done.runs, done.known)), swept.merged))
}

/// `compare`: the differences as JSON, the same in words, as a table in Parquet, and whether any is worse.
#[pyfunction]
fn compare_sides(
    py: Python<'_>,
    words: Vec<OsString>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, String, Py<PyBytes>, bool)> {
    let arguments = parsed(words)?;
    let Command::Compare(it) = &arguments.command else { return Err(internal("no comparison")) };
    let found = watched(py, progress, |watch| compare::carry_out(it, watch))?;
    let table = experiment_tables::compared(&found).map_err(unwritable)?;
    let is_worse = found.iter().any(Compared::is_worse);
    let json = compare::json(&found).map_err(raised)?;
    Ok((json, plain(&compare::in_words(&found)), PyBytes::new(py, &table).unbind(), is_worse))
}

/// `advise`: the candidates as JSON, the same in words, as a table in Parquet, and the charts that were drawn.
#[pyfunction]
fn advise_on(
    py: Python<'_>,
    words: Vec<OsString>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, String, Py<PyBytes>, Vec<PathBuf>)> {
    let arguments = parsed(words)?;
    let Command::Advise(it) = &arguments.command else { return Err(internal("no advice")) };
    let (found, charts) = watched(py, progress, |watch| {
        let found = advise::carry_out(it, watch)?;
        let charts = it.out.as_deref().map_or(Ok(Vec::new()), |folder| advise::draw(&found, folder))?;
        Ok((found, charts))
    })?;
    let table = experiment_tables::advice(&found).map_err(unwritable)?;
    let json = advise::json(&found).map_err(raised)?;
    Ok((json, plain(&advise::in_words(&found)), PyBytes::new(py, &table).unbind(), charts))
}

/// `baseline write`: what was written, as JSON and as a table in Parquet.
#[pyfunction]
fn write_baseline(
    py: Python<'_>,
    words: Vec<OsString>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, Py<PyBytes>)> {
    let arguments = parsed(words)?;
    let Command::Baseline(BaselineCommand::Write(it)) = &arguments.command else {
        return Err(internal("no baseline to write"));
    };
    as_table(py, &watched(py, progress, |watch| baseline::carry_out(it, watch))?)
}

/// The baseline in a file, as `write_baseline` gives it.
#[pyfunction]
fn read_baseline(py: Python<'_>, file: PathBuf) -> PyResult<(String, Py<PyBytes>)> {
    as_table(py, &py.detach(|| check::read_baseline(&file)).map_err(raised)?)
}

fn as_table(py: Python<'_>, baseline: &Baseline) -> PyResult<(String, Py<PyBytes>)> {
    let table = experiment_tables::baseline(baseline).map_err(unwritable)?;
    let json = serde_json::to_string(baseline).map_err(unwritable)?;
    Ok((json, PyBytes::new(py, &table).unbind()))
}

/// `plan`: what a sweep would take as JSON, and in words.
#[pyfunction]
fn plan_sweep(
    py: Python<'_>,
    words: Vec<OsString>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, String)> {
    let arguments = parsed(words)?;
    let Command::Plan(it) = &arguments.command else { return Err(internal("no plan")) };
    let planned = watched(py, progress, |watch| sweep::estimate(it, watch))?;
    Ok((serde_json::to_string(&planned).map_err(unwritable)?, sweep::in_words(&planned)))
}

/// `fit`: what was counted, what was inferred, how well it fits, the files.
#[pyfunction]
#[expect(clippy::type_complexity, reason = "it is unpacked where it is called")]
fn fit_logs(
    py: Python<'_>,
    words: Vec<OsString>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Vec<(String, String)>, Vec<String>, Vec<String>, Vec<PathBuf>)> {
    let arguments = parsed(words)?;
    let Command::Fit(it) = &arguments.command else { return Err(internal("no fit")) };
    let fitted = watched(py, progress, |watch| fit::carry_out(it, watch))?;
    Ok((fitted.statistics, fitted.inferred, fitted.goodness, fitted.files))
}

/// `explain`: the scenario with every default filled in.
#[pyfunction]
fn explain_scenario(py: Python<'_>, words: Vec<OsString>) -> PyResult<String> {
    let arguments = parsed(words)?;
    let Command::Explain(it) = &arguments.command else { return Err(internal("no explain")) };
    py.detach(|| explain::in_full(it)).map_err(raised)
}

/// `list`, as JSON.
#[pyfunction]
fn list_all() -> String {
    list::as_json(None).to_string()
}

/// The whole program: `arguments` without its name; the exit code.
#[pyfunction]
fn program(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    let typed = std::iter::once("evenkeel".into()).chain(arguments);
    let typed: Vec<OsString> = typed.collect();
    py.detach(|| evenkeel::main(typed)) as u8
}

/// The module.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::{
        CommandFailed, advise_on, check_scenarios, compare_sides, explain_scenario, fit_logs, list_all,
        plan_sweep, program, read_baseline, run_scenario, sweep_scenario, write_baseline,
    };

    /// Version of the simulator.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's spelling")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
