//! `evenkeel check`.

use std::path::{Path, PathBuf};

use evenkeel_reports::gate::{self, Checked};
use evenkeel_sim::experiment::Experiment;
use evenkeel_sim::experiment::baseline::Baseline;
use evenkeel_sim::experiment::gate::{Gate, GateError, baseline_of};

use crate::args::{Arguments, Check, CheckFormat, FormatTo};
use crate::failure::{Exit, Failure};
use crate::progress::{Progress, Watch};
use crate::{output, tables};

/// Runs scenarios and judges their expectations, and how they stand to a baseline.
pub fn check(check: &Check, arguments: &Arguments) -> Result<Exit, Failure> {
    let formats = formats(&check.format, check.json)?;
    let all = judge(check, arguments.watch())?;
    for FormatTo { format, path } in &formats {
        let text = in_format(*format, &all, check.allow_inconclusive)?;
        write(path.as_deref(), &text)?;
    }
    Ok(exit_of(&all, check.allow_inconclusive))
}

/// Runs scenarios and judges them, and prints nothing.
///
/// # Errors
/// A scenario or the baseline is wrong, or a run failed.
pub fn judge(check: &Check, watch: Watch<'_>) -> Result<Vec<Checked>, Failure> {
    let files = scenario_files(&check.scenarios)?;
    let overrides = check.overrides.collect();
    // All scenarios are read before any runs, so that a mistake in the last is told at once.
    let loaded = files.iter().map(|file| super::load(file, &overrides)).collect::<Result<Vec<_>, _>>()?;
    let baseline = check.baseline.as_deref().map(read_baseline).transpose()?;
    let baselines = files
        .iter()
        .map(|file| baseline.as_ref().map(|baseline| baseline_of(baseline, file)).transpose())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::usage(error.to_string()))?;
    let pool = super::pool(check.threads)?;
    let mut all = Vec::new();
    for ((file, loaded), baseline) in files.iter().zip(&loaded).zip(baselines) {
        let logs = super::prepare_logs(loaded, watch)?;
        let progress = Progress::start(&loaded.scenario.title, watch);
        let gate = Gate { baseline, replications_most: check.max_replications };
        let result = pool.install(|| {
            let mut experiment = Experiment::new(loaded, &logs, 0)?;
            gate.check(&mut experiment, &|share| progress.at(share))
        });
        progress.finish();
        let result = result.map_err(|error| match error {
            GateError::Experiment(error) => super::experiment_failure(&error),
            other => Failure::usage(other.to_string()),
        })?;
        let checked = Checked { file: file.display().to_string(), result };
        let failed = checked.fails(check.allow_inconclusive);
        all.push(checked);
        if failed && check.fail_fast {
            break;
        }
    }
    Ok(all)
}

/// Where the verdicts go: as asked for, and as words to standard output unless something else goes there.
fn formats(asked: &[FormatTo], json: bool) -> Result<Vec<FormatTo>, Failure> {
    let mut formats = asked.to_vec();
    if json {
        formats.push(FormatTo { format: CheckFormat::Json, path: None });
    }
    match formats.iter().filter(|it| it.path.is_none()).count() {
        0 => formats.insert(0, FormatTo { format: CheckFormat::Human, path: None }),
        1 => {}
        _ => {
            return Err(Failure::usage(
                "two formats want standard output\n  give all but one a file, such as `--format junit=verdicts.xml`",
            ));
        }
    }
    Ok(formats)
}

fn in_format(format: CheckFormat, all: &[Checked], inconclusive_allowed: bool) -> Result<String, Failure> {
    Ok(match format {
        CheckFormat::Human => all.iter().map(in_words).collect(),
        CheckFormat::Json => {
            let json = gate::json(all);
            json.map_err(|error| Failure::internal(format!("the verdicts cannot be put into JSON: {error}")))?
                + "\n"
        }
        CheckFormat::Github => gate::github(all, inconclusive_allowed),
        CheckFormat::Junit => gate::junit(all, inconclusive_allowed),
        CheckFormat::Markdown => gate::markdown(all),
    })
}

/// The verdicts as a terminal shows them.
pub fn in_words(checked: &Checked) -> String {
    let head = format!("{}: {}\n", checked.file, checked.result.summary.title);
    if checked.verdicts().is_empty() {
        return format!("{head}  nothing to check: the scenario has no `[[expect]]`\n\n");
    }
    format!("{head}{}\n", tables::render(&gate::table(checked)))
}

fn write(path: Option<&Path>, text: &str) -> Result<(), Failure> {
    match path {
        None => {
            output::data(text);
            Ok(())
        }
        Some(path) => std::fs::write(path, text).map_err(|error| {
            Failure::usage(format!(
                "{}: cannot write the verdicts: {error}\n  name another file",
                path.display()
            ))
        }),
    }
}

/// Reads a baseline.
pub fn read_baseline(file: &Path) -> Result<Baseline, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let remedy = "write one with `evenkeel baseline write`";
        Failure::usage(format!("{}: cannot read the baseline: {error}\n  {remedy}", file.display()))
    })?;
    Baseline::parse(&file.display().to_string(), &text).map_err(|error| Failure::usage(error.to_string()))
}

/// How a check ends.
pub fn exit_of(all: &[Checked], inconclusive_allowed: bool) -> Exit {
    if all.iter().all(|checked| checked.verdicts().is_empty()) {
        Exit::NothingRan
    } else if all.iter().any(|checked| checked.fails(inconclusive_allowed)) {
        Exit::Gate
    } else {
        Exit::Fine
    }
}

/// The scenario files among the paths, folders searched for `*.toml`, sorted within each folder. Without paths, those of the
/// folder where scenarios usually are.
pub fn scenario_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let usual = [usual_folder()];
    let mut files = Vec::new();
    for path in if paths.is_empty() { &usual } else { paths } {
        if path.is_dir() {
            let before = files.len();
            collect(path, &mut files)?;
            if files.len() == before {
                return Err(Failure::usage(format!(
                    "{}: no scenario (`*.toml`) in this folder\n  name a scenario file, or a folder of them",
                    path.display()
                )));
            }
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// `scenarios/` here, or at the root of the git repository that this folder is in, or else this folder.
fn usual_folder() -> PathBuf {
    let here = PathBuf::from(".");
    let beneath = |folder: &Path| Some(folder.join("scenarios")).filter(|scenarios| scenarios.is_dir());
    let at_root = || {
        let current = std::env::current_dir().ok()?;
        // In a work tree `.git` is a file.
        beneath(current.ancestors().find(|folder| folder.join(".git").exists())?)
    };
    beneath(Path::new("")).or_else(at_root).unwrap_or(here)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let unreadable = |error| Failure::usage(format!("{}: cannot read the folder: {error}", folder.display()));
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(())
}
