//! `evenkeel conformance --live`: the arm that drives the real programs.

use crate::args::Conformance;
use crate::failure::{Exit, Failure};
#[cfg(not(target_os = "linux"))]
use crate::progress::Watch;

/// There is nothing to drive.
#[cfg(not(target_os = "linux"))]
pub fn live(_: &Conformance, _: Watch<'_>) -> Result<Exit, Failure> {
    Err(Failure::usage(
        "`--live` drives the programs with what only Linux has\n  replay recordings instead: `evenkeel conformance \
         sim/tests/golden`",
    ))
}

#[cfg(target_os = "linux")]
pub use linux::live;

#[cfg(target_os = "linux")]
mod linux {
    use std::time::{SystemTime, UNIX_EPOCH};

    use evenkeel_sim::conformance::{CaseOutcome, CaseReport};
    use evenkeel_testbed::{LiveCase, LivePlan, LiveReport, Program, Verdict, run};

    use super::{Conformance, Exit, Failure};
    use crate::args::LiveProgram;
    use crate::commands::conformance::{difference_in_words, print_totals};
    use crate::output;
    use crate::progress::{Progress, Watch};

    /// Drives the programs and compares decision by decision.
    pub fn live(arguments: &Conformance, watch: Watch<'_>) -> Result<Exit, Failure> {
        let programs = match arguments.program {
            None => Program::ALL.to_vec(),
            Some(LiveProgram::Nginx) => vec![Program::Nginx],
            Some(LiveProgram::Haproxy) => vec![Program::Haproxy],
            Some(LiveProgram::Redis) => vec![Program::Redis],
            Some(LiveProgram::Memcached) => vec![Program::Memcached],
            Some(LiveProgram::Libmemcached) => vec![Program::Libmemcached],
        };
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let seed = arguments.seed.unwrap_or_else(now);
        let plan = LivePlan { programs, seed, cases: arguments.cases, out: arguments.out.clone() };
        let progress = Progress::start("live cases", watch);
        let report = run(&plan, |done, all| progress.at(done as f64 / all as f64));
        progress.finish();
        if arguments.json {
            let json = serde_json::to_string_pretty(&report)
                .map_err(|error| Failure::internal(format!("the cases cannot be put into JSON: {error}")))?;
            output::line(&json);
        } else {
            print_words(&report);
        }
        Ok(if report.failed() > 0 {
            Exit::Gate
        } else if report.cases.is_empty() || (arguments.require && !report.missing.is_empty()) {
            Exit::NothingRan
        } else {
            Exit::Fine
        })
    }

    fn print_words(report: &LiveReport) {
        output::line(&format!("seed {}", report.seed));
        for installed in &report.installed {
            let (program, version) = (installed.program, &installed.version);
            output::line(&format!("{program} {version}"));
            if !installed.is_modelled_version() {
                output::line(&format!(
                    "  warning: the rules are those of {program} {}; what another version does may differ",
                    program.modelled_version()
                ));
            }
        }
        for program in &report.missing {
            output::line(&format!(
                "{program} is not installed: the live arm did not run for it\n  it would with the package `{package}` \
                 (Debian, Ubuntu: `apt-get install {package}`)",
                package = program.package()
            ));
        }
        if report.cases.is_empty() {
            return;
        }
        let reports: Vec<CaseReport> = report.cases.iter().map(|case| case.report.clone()).collect();
        print_totals(&reports);
        for case in &report.cases {
            print_case(case);
        }
        let count = |is: fn(&Verdict) -> bool| report.cases.iter().filter(|case| is(&case.verdict)).count();
        output::line(&format!(
            "\n{} cases: {} alike, {} differ, {} not reproduced, {} could not be run",
            report.cases.len(),
            count(|verdict| *verdict == Verdict::Alike),
            count(|verdict| matches!(verdict, Verdict::Differs { .. })),
            count(|verdict| matches!(verdict, Verdict::NotReproduced { .. })),
            count(|verdict| matches!(verdict, Verdict::Failed { .. })),
        ));
    }

    fn print_case(case: &LiveCase) {
        let name = &case.report.case;
        match &case.verdict {
            Verdict::Alike => {}
            Verdict::Differs { written, smallest } => output::line(&format!(
                "\n{name}: program and model differ; the smallest case is in {}: {}",
                written.display(),
                outcome(smallest)
            )),
            Verdict::NotReproduced { written } => output::line(&format!(
                "\n{name}: differed once and was alike when it was run again; the first run is in {}: {}",
                written.display(),
                outcome(&case.report)
            )),
            Verdict::Failed { error } => output::line(&format!("\n{name}: could not be run: {error}")),
        }
    }

    fn outcome(report: &CaseReport) -> String {
        match &report.outcome {
            CaseOutcome::Replayed { decisions, matched, first_difference: Some(difference) } => {
                difference_in_words(*matched, *decisions, difference)
            }
            CaseOutcome::Distribution { z_max, p_value, .. } => {
                format!("as a whole: {z_max:.2} standard deviations out, p = {p_value:.2}")
            }
            other => format!("{other:?}"),
        }
    }
}
