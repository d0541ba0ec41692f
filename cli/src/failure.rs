//! Exit codes, and failures that end the program with one.

use std::process::ExitCode;

use evenkeel_sim::scenario::Diagnostic;

/// What the program ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// A fault in the simulator.
    Internal = 1,
    /// Bad usage or a bad scenario.
    Usage = 2,
    /// An expectation was not met, or is undecided; a recorded decision differs.
    Gate = 3,
    /// There was nothing to do: no expectation, nothing replayed.
    NothingRan = 4,
    /// Parts of a sweep are missing.
    Incomplete = 5,
    /// The user stopped it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the program ends early.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What is told to the user: place, cause, remedy.
    pub message: String,
    /// The mistakes in a scenario, if that is why, each with its place.
    pub mistakes: Vec<Diagnostic>,
}

impl Failure {
    /// The user can mend it.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), mistakes: Vec::new() }
    }

    /// Only Evenkeel's developers can mend it.
    pub fn internal(message: String) -> Self {
        Self {
            exit: Exit::Internal,
            message: format!(
                "{message}\n  this is a fault in Evenkeel: please report it with the scenario and the command"
            ),
            mistakes: Vec::new(),
        }
    }
}
