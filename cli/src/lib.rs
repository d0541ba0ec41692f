//! The command line: arguments, printing, exit codes. The model is in `evenkeel_sim`, what people read in
//! `evenkeel_reports`. It is a library so that the Python module reads the same arguments and takes the same steps.

pub mod args;
pub mod commands;
pub mod failure;
mod interrupt;
pub mod log_args;
mod output;
pub mod progress;
pub mod provenance;
mod reference;
mod stats;
mod store_reference;
mod tables;

use std::ffi::OsString;

use clap::Parser;

use args::{Arguments, Command};
use failure::{Exit, Failure};

/// Carries out a command line, the program's name first. Bad usage and `--help` end the process.
pub fn main(command_line: impl IntoIterator<Item = OsString>) -> Exit {
    let typed: Vec<OsString> = command_line.into_iter().collect();
    let mut arguments = Arguments::parse_from(&typed);
    arguments.typed = provenance::typed(&typed);
    arguments.color.write_global();
    interrupt::watch_for(&arguments);
    let outcome = std::panic::catch_unwind(|| dispatch(&arguments)).unwrap_or_else(|_| {
        Err(Failure::internal("a part of Evenkeel failed (its message is above)".to_owned()))
    });
    outcome.unwrap_or_else(|failure| {
        output::error(&failure.message);
        failure.exit
    })
}

fn dispatch(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Run(run) => commands::run::run(run, arguments),
        Command::Replay(replay) => commands::replay::replay(replay, arguments),
        Command::Fit(fit) => commands::fit::fit(fit, arguments),
        Command::Pseudonymise(pseudonymise) => commands::pseudonymise::pseudonymise(pseudonymise, arguments),
        Command::Check(check) => commands::check::check(check, arguments),
        Command::Baseline(command) => commands::baseline::baseline(command, arguments),
        Command::Compare(compare) => commands::compare::compare(compare, arguments),
        Command::Advise(advise) => commands::advise::advise(advise, arguments),
        Command::Sweep(sweep) => commands::sweep::sweep(sweep, arguments),
        Command::Plan(plan) => commands::sweep::plan(plan),
        Command::Explain(explain) => commands::explain::explain(explain),
        Command::List(list) => commands::list::list(list),
        Command::Conformance(conformance) => commands::conformance::conformance(conformance, arguments),
    }
}
