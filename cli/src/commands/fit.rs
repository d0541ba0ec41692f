//! `evenkeel fit`.

use evenkeel_reports::fit::{goodness, write_fit};
use evenkeel_sim::population::fit::fit as fit_log;
use evenkeel_sim::population::replay::{LogError, PreparedLog};

use crate::args::{Arguments, Fit};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::Progress;

/// Fits a population to logs and writes it.
pub fn fit(fit: &Fit, arguments: &Arguments) -> Result<Exit, Failure> {
    let options = fit.log.options()?;
    let name = fit.log.called();
    let progress = Progress::start(&format!("reading {name}"), arguments.quiet);
    let log = PreparedLog::from_files(&fit.log.logs, &options, &|share| progress.at(share));
    progress.finish();
    let log = log.map_err(read_failure)?;
    let fitted = fit_log(&log).map_err(read_failure)?;
    let files = write_fit(&fit.out, &fitted, log.statistics(), &name)
        .map_err(|error| Failure::usage(error.to_string()))?;
    for (what, value) in log.statistics().lines(&name) {
        output::line(&format!("{what}: {value}"));
    }
    output::line("\nNot in the log, inferred:");
    for sentence in log.statistics().inferred() {
        output::line(&format!("  {sentence}"));
    }
    output::line("\nGoodness of fit (KS: the largest difference of the distribution functions, 0 to 1):");
    for line in goodness(&fitted) {
        output::line(&format!("  {line}"));
    }
    if !arguments.quiet {
        for file in files.iter().filter(|file| file.extension().is_none_or(|ending| ending != "png")) {
            output::note(&format!("wrote {}", file.display()));
        }
    }
    Ok(Exit::Fine)
}

/// A log without a valid line is nothing to do; all else is for the user to mend.
pub fn read_failure(error: LogError) -> Failure {
    let mut failure = Failure::usage(error.to_string());
    if matches!(error, LogError::NothingValid { .. }) {
        failure.exit = Exit::NothingRan;
    }
    failure
}
