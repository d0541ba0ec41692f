//! The arm itself: which cases are run, how often, and what is made of the result.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel_sim::conformance::{CaseOutcome, CaseReport};
use serde::Serialize;

use crate::Fault;
use crate::dice::Dice;
use crate::process::{Installed, Program};
use crate::recording::{self, Files};
use crate::script::Script;
use crate::shrink::shrink;
use crate::stage::Network;
use crate::{haproxy, nginx, stores};

/// Cases under way at a time. Most of a case's time is pauses.
const LANES: usize = 12;
/// Most runs for shrinking one case.
const SHRINK_RUNS: u32 = 150;
/// Longest that one case is shrunk.
const SHRINK_TIME: Duration = Duration::from_secs(120);

/// What is to be run.
#[derive(Clone, Debug)]
pub struct LivePlan {
    /// The programs.
    pub programs: Vec<Program>,
    /// Seed of every case.
    pub seed: u64,
    /// Cases of each program.
    pub cases: u64,
    /// Where cases that differ are written, a folder each. It is made if need be.
    pub out: PathBuf,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Model and program decided alike.
    Alike,
    /// They did not, twice; the smallest case that still differs was written to this folder.
    Differs {
        /// The folder.
        written: PathBuf,
        /// What the replay of the case that was written says.
        smallest: CaseReport,
    },
    /// They did not, and when the case was run again they did.
    NotReproduced {
        /// Where the first run was written.
        written: PathBuf,
    },
    /// The case could not be run or replayed, which tells nothing of the model.
    Failed {
        /// Why.
        error: String,
    },
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct LiveCase {
    /// What the replay of its first run says; of a case that could not be run, that it cannot be read.
    pub report: CaseReport,
    /// What became of it.
    pub verdict: Verdict,
}

/// What a run of the arm says.
#[derive(Clone, Debug, Serialize)]
pub struct LiveReport {
    /// The seed.
    pub seed: u64,
    /// The programs that were found.
    pub installed: Vec<Installed>,
    /// Those that were asked for and not found.
    pub missing: Vec<Program>,
    /// The cases, by program and number.
    pub cases: Vec<LiveCase>,
}

impl LiveReport {
    /// Cases in which program and model differ, and cases that could not be run.
    pub fn failed(&self) -> usize {
        self.cases
            .iter()
            .filter(|case| matches!(case.verdict, Verdict::Differs { .. } | Verdict::Failed { .. }))
            .count()
    }
}

/// A script of one of the programs.
#[derive(Clone, Debug)]
enum Live {
    Nginx(Script<nginx::Setup>),
    Haproxy(Script<haproxy::Setup>),
    Redis(stores::redis::Setup),
    Memcached(stores::memcached::Setup),
    Libmemcached(stores::library::Setup),
}

impl Live {
    /// Case `number` of `program`.
    fn generate(program: Program, seed: u64, number: u64) -> Self {
        /// Last bytes of the networks of the cases, each with one of its own.
        const THIRDS: u64 = 250;
        /// Second bytes for each program: the seed says where cases begin, lest runs with different seeds meet.
        const SECONDS: u64 = 100;
        let mut dice = Dice::new(seed, program as u64, number);
        let first = Dice::new(seed, 0, u64::MAX).below(SECONDS);
        let network = |range: u64| {
            let second = 10 + SECONDS * range + (first + number / THIRDS) % SECONDS;
            Network { second: second as u8, third: (number % THIRDS) as u8 }
        };
        match program {
            Program::Nginx => Self::Nginx(nginx::generate(&mut dice, network(0))),
            Program::Haproxy => Self::Haproxy(haproxy::generate(&mut dice, network(1))),
            Program::Redis => Self::Redis(stores::redis::generate(&mut dice)),
            Program::Memcached => Self::Memcached(stores::memcached::generate(&mut dice)),
            Program::Libmemcached => Self::Libmemcached(stores::library::generate(&mut dice)),
        }
    }

    fn run(&self, installed: &Installed) -> Result<Files, Fault> {
        match self {
            Self::Nginx(Script { setup, steps }) => setup.run(steps, installed),
            Self::Haproxy(Script { setup, steps }) => setup.run(steps, installed),
            Self::Redis(setup) => setup.run(installed),
            Self::Memcached(setup) => setup.run(installed),
            Self::Libmemcached(setup) => setup.run(installed),
        }
    }

    /// The smallest case for which `differs` holds still.
    fn shrunk(self, mut differs: impl FnMut(&Self) -> Option<bool>) -> Self {
        match self {
            Self::Nginx(script) => {
                let differs = |script: &Script<nginx::Setup>| differs(&Self::Nginx(script.clone()));
                Self::Nginx(shrink(script, nginx::Setup::simpler, differs))
            }
            Self::Haproxy(script) => {
                let differs = |script: &Script<haproxy::Setup>| differs(&Self::Haproxy(script.clone()));
                Self::Haproxy(shrink(script, haproxy::Setup::simpler, differs))
            }
            whole @ (Self::Redis(_) | Self::Memcached(_) | Self::Libmemcached(_)) => whole,
        }
    }
}

/// Runs `plan`; `done` is called after each case with its number among all, from 1, and the number of all.
pub fn run(plan: &LivePlan, done: impl Fn(u64, u64) + Sync) -> LiveReport {
    let (mut installed, mut missing) = (Vec::new(), Vec::new());
    for &program in &plan.programs {
        match Installed::find(program) {
            Some(found) => installed.push(found),
            None => missing.push(program),
        }
    }
    let total = installed.len() as u64 * plan.cases;
    let (next, finished) = (AtomicU64::new(0), AtomicU64::new(0));
    let cases = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= total {
                        return;
                    }
                    // Cases of the programs alternate: those of one take longer than those of the other.
                    let programs = installed.len() as u64;
                    let (found, number) = (&installed[(index % programs) as usize], index / programs);
                    let case = run_case(found, plan, number);
                    if let Ok(mut cases) = cases.lock() {
                        cases.push(((found.program, number), case));
                    }
                    done(finished.fetch_add(1, Ordering::Relaxed) + 1, total);
                }
            });
        }
    });
    let mut cases = cases.into_inner().unwrap_or_default();
    cases.sort_by_key(|&(key, _)| key);
    LiveReport {
        seed: plan.seed,
        installed,
        missing,
        cases: cases.into_iter().map(|(_, case)| case).collect(),
    }
}

fn run_case(installed: &Installed, plan: &LivePlan, number: u64) -> LiveCase {
    let name = format!("{}-{}-{number}", installed.program, plan.seed);
    let live = Live::generate(installed.program, plan.seed, number);
    let folder = plan.out.join(&name);
    let failed = |report: Option<CaseReport>, error: String| LiveCase {
        report: report.unwrap_or_else(|| CaseReport {
            program: installed.program.name().into(),
            case: name.clone(),
            algorithm: "-".into(),
            outcome: CaseOutcome::Unreadable { error: error.clone() },
        }),
        verdict: Verdict::Failed { error },
    };
    let (report, files) = match observe(&live, installed, &name) {
        Ok(observed) => observed,
        Err(fault) => return failed(None, fault.to_string()),
    };
    match &report.outcome {
        CaseOutcome::Skipped { reason } => {
            let error = format!("the replay skips what was generated: {reason}");
            return failed(Some(report), error);
        }
        CaseOutcome::Unreadable { error } => {
            let error = format!("the replay cannot read what was recorded: {error}");
            drop(recording::write(&folder, &files));
            return failed(Some(report), error);
        }
        _ if !report.failed() => return LiveCase { report, verdict: Verdict::Alike },
        _ => {}
    }
    let again = observe(&live, installed, &name);
    let reproduced = matches!(&again, Ok((again, _)) if again.failed());
    if !reproduced {
        return match recording::write(&folder, &files) {
            Ok(()) => LiveCase { report, verdict: Verdict::NotReproduced { written: folder } },
            Err(error) => failed(Some(report), unwritable(&folder, &error)),
        };
    }
    let (smallest, files) = smallest(live, installed, &name, (report.clone(), files));
    match recording::write(&folder, &files) {
        Ok(()) => LiveCase { report, verdict: Verdict::Differs { written: folder, smallest } },
        Err(error) => failed(Some(report), unwritable(&folder, &error)),
    }
}

fn unwritable(folder: &Path, error: &std::io::Error) -> String {
    format!("model and program differ, and the case cannot be written to {}: {error}", folder.display())
}

/// Runs a case once and replays what was recorded.
fn observe(live: &Live, installed: &Installed, name: &str) -> Result<(CaseReport, Files), Fault> {
    let files = live.run(installed)?;
    Ok((recording::case(name, &files).replay(), files))
}

/// The smallest case that differs, as observed last. A case that was judged as a whole stays as it is: with fewer requests
/// chance hides the difference.
fn smallest(
    live: Live,
    installed: &Installed,
    name: &str,
    mut kept: (CaseReport, Files),
) -> (CaseReport, Files) {
    if !matches!(kept.0.outcome, CaseOutcome::Replayed { .. }) {
        return kept;
    }
    let began = Instant::now();
    let mut runs = 0;
    live.shrunk(|candidate| {
        runs += 1;
        if runs > SHRINK_RUNS || began.elapsed() > SHRINK_TIME {
            return None;
        }
        // A candidate must differ twice as well, lest a hiccup lead astray.
        let differing = || {
            let observed = observe(candidate, installed, name).ok()?;
            let replayed = matches!(observed.0.outcome, CaseOutcome::Replayed { .. });
            (replayed && observed.0.failed()).then_some(observed)
        };
        match differing().and_then(|_| differing()) {
            Some(observed) => kept = observed,
            None => return Some(false),
        }
        Some(true)
    });
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_that_are_installed_decide_as_their_models_do() {
        // Goal: the arm works, on a machine with the programs. Method: a few cases each; more are `.ci/live`'s business.
        let out = tempfile::tempdir().expect("a temporary folder");
        let plan = LivePlan { programs: Program::ALL.to_vec(), seed: 2, cases: 4, out: out.path().into() };
        let counted = AtomicU64::new(0);
        let report = run(&plan, |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(report.installed.len() + report.missing.len(), Program::ALL.len());
        assert_eq!(report.cases.len() as u64, plan.cases * report.installed.len() as u64);
        assert_eq!(counted.into_inner(), report.cases.len() as u64);
        if report.installed.iter().all(Installed::is_modelled_version) {
            assert_eq!(report.failed(), 0, "{:#?}", report.cases);
        }
    }

    #[test]
    fn only_what_differs_twice_or_cannot_be_run_is_a_failure() {
        let case = |verdict| LiveCase {
            report: CaseReport {
                program: "nginx".into(),
                case: "nginx-1-1".into(),
                algorithm: "hash".into(),
                outcome: CaseOutcome::Unreadable { error: "unused".into() },
            },
            verdict,
        };
        let verdicts = [
            Verdict::Alike,
            Verdict::NotReproduced { written: "a".into() },
            Verdict::Differs { written: "b".into(), smallest: case(Verdict::Alike).report },
            Verdict::Failed { error: "no room".into() },
        ];
        let cases = verdicts.map(case).to_vec();
        let report = LiveReport { seed: 1, installed: Vec::new(), missing: Vec::new(), cases };
        assert_eq!(report.failed(), 2);
    }
}
