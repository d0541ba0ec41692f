//! The native half of the Python package: the commands of the program, whose arguments it reads, with results in place of printed
//! text. `evenkeel/__init__.py` is what people call.
//!
//! Work is done on threads of its own with the interpreter let go. The calling thread waits, calls back with the share that is done,
//! and looks after signals: what a handler raises (`KeyboardInterrupt`) ends the work by unwinding at its next report.

mod watch;

use evenkeel::args::{Arguments, Command, RunOptions};
use evenkeel::commands::{check, explain, fit, list, replay, run, sweep};
use evenkeel::failure::Failure;
use evenkeel::provenance;
use evenkeel_reports::gate;
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
    let json = serde_json::to_string(summary).map_err(|error| internal(&error.to_string()))?;
    let tables = evenkeel_reports::parquet_tables(summary).map_err(|error| internal(&error.to_string()))?;
    let tables = tables.into_iter().map(|(name, bytes)| (name, PyBytes::new(py, &bytes).unbind())).collect();
    Ok((json, run::in_words(summary), ran.loaded.resolved.to_string(), tables))
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
    let json = gate::json(&all).map_err(|error| internal(&error.to_string()))?;
    let in_words = all.iter().map(check::in_words).collect();
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
        CommandFailed, check_scenarios, explain_scenario, fit_logs, list_all, program, run_scenario,
        sweep_scenario,
    };

    /// Version of the simulator.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's spelling")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
