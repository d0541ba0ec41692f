//! `evenkeel fit`.

use std::path::PathBuf;

use evenkeel_reports::fit::{goodness, write_fit};
use evenkeel_sim::population::fit::fit as fit_log;
use evenkeel_sim::population::replay::{LogError, PreparedLog};

use crate::args::{Arguments, Fit};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::{Progress, Watch};

/// Fits a population to logs and writes it.
pub fn fit(fit: &Fit, arguments: &Arguments) -> Result<Exit, Failure> {
    let fitted = carry_out(fit, arguments.watch())?;
    for (what, value) in &fitted.statistics {
        output::line(&format!("{what}: {value}"));
    }
    output::line("\nNot in the log, inferred:");
    for sentence in &fitted.inferred {
        output::line(&format!("  {sentence}"));
    }
    output::line("\nGoodness of fit (KS: the largest difference of the distribution functions, 0 to 1):");
    for line in &fitted.goodness {
        output::line(&format!("  {line}"));
    }
    if !arguments.quiet {
        for file in fitted.files.iter().filter(|file| file.extension().is_none_or(|ending| ending != "png")) {
            output::note(&format!("wrote {}", file.display()));
        }
    }
    Ok(Exit::Fine)
}

/// A population that was fitted to logs, in words.
#[derive(Debug)]
pub struct Fitted {
    /// What was counted in the logs: name and value.
    pub statistics: Vec<(String, String)>,
    /// What is not in them, and was inferred.
    pub inferred: Vec<String>,
    /// How well each law fits.
    pub goodness: Vec<String>,
    /// Every file that was written.
    pub files: Vec<PathBuf>,
}

/// Fits a population to logs and writes it, and prints nothing.
///
/// # Errors
/// An option or a log is wrong, or a file cannot be written.
pub fn carry_out(fit: &Fit, watch: Watch<'_>) -> Result<Fitted, Failure> {
    let options = fit.log.options()?;
    let name = fit.log.called();
    let progress = Progress::start(&format!("reading {name}"), watch);
    let log = PreparedLog::from_files(&fit.log.logs, &options, &|share| progress.at(share));
    progress.finish();
    let log = log.map_err(read_failure)?;
    let fitted = fit_log(&log).map_err(read_failure)?;
    let statistics = log.statistics();
    let files =
        write_fit(&fit.out, &fitted, statistics, &name).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Fitted {
        statistics: statistics.lines(&name),
        inferred: statistics.inferred(),
        goodness: goodness(&fitted),
        files,
    })
}

/// A log without a valid line is nothing to do; all else is for the user to mend.
pub fn read_failure(error: LogError) -> Failure {
    let mut failure = Failure::usage(error.to_string());
    if matches!(error, LogError::NothingValid { .. }) {
        failure.exit = Exit::NothingRan;
    }
    failure
}
