//! The command line: arguments, printing, exit codes. The model is in `evenkeel_sim`, what people read in
//! `evenkeel_reports`.

mod args;
mod commands;
mod failure;
mod log_args;
mod output;
mod progress;
mod provenance;
mod reference;
mod stats;
mod store_reference;
mod tables;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use failure::{Exit, Failure};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.color.write_global();
    let outcome = std::panic::catch_unwind(|| dispatch(&arguments)).unwrap_or_else(|_| {
        Err(Failure::internal("a part of Evenkeel failed (its message is above)".to_owned()))
    });
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::error(&failure.message);
            failure.exit.into()
        }
    }
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
