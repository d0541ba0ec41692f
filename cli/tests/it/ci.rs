//! What hosted CIs run: the shell steps of the action, and the example repository.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::{Place, repository};

/// Runs the action's step on a copy of the example repository, as GitHub does or not.
fn step(place: &Place, on_github: bool, arguments: &str) -> Output {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_evenkeel"));
    let folders = [program.parent().expect("a folder").to_owned()];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path))).expect("a path");
    let mut command = Command::new("bash");
    command
        .arg(repository("docs/ci/check.sh"))
        .current_dir(place.path("example"))
        .env("PATH", path)
        .env("EVENKEEL_SCENARIOS", "scenarios")
        .env("EVENKEEL_BASELINE", "baseline.json")
        .env("EVENKEEL_JUNIT", "junit.xml")
        .env("EVENKEEL_ARGUMENTS", arguments)
        .env_remove("GITHUB_ACTIONS");
    if on_github {
        command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", place.path("summary.md"));
    }
    command.output().expect("bash is there")
}

fn example() -> Place {
    let place = Place::new();
    for file in ["baseline.json", "scenarios/site.toml"] {
        let text = fs::read_to_string(repository(&format!("docs/ci/example/{file}"))).expect("a file");
        place.write(&format!("example/{file}"), &text);
    }
    place
}

#[test]
fn the_example_passes_as_it_is() {
    let place = example();
    let output = step(&place, true, "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let summary = fs::read_to_string(place.path("summary.md")).expect("a summary");
    assert!(summary.contains("| ✓ pass |") && !summary.contains("worse |"), "{summary}");
    assert!(
        !summary.contains("other clients"),
        "the baseline's fingerprint is still the workload's: {summary}"
    );
}

#[test]
fn a_wrong_weight_is_annotated_at_its_line() {
    let place = example();
    let output = step(&place, true, "--set cluster.servers.web2.weight=3 --max-replications 10");
    assert_eq!(output.status.code(), Some(3));
    let annotations = String::from_utf8_lossy(&output.stdout);
    assert!(annotations.contains("::error file=scenarios/site.toml,line="), "{annotations}");
    let junit = fs::read_to_string(place.path("example/junit.xml")).expect("JUnit");
    assert!(junit.contains("<failure "), "{junit}");
    let elsewhere = step(&place, false, "--set cluster.servers.web2.weight=3 --max-replications 10");
    assert!(String::from_utf8_lossy(&elsewhere.stdout).contains("✗ worse"));
}

#[test]
fn the_action_runs_scripts_that_are_there() {
    let action = fs::read_to_string(repository("action.yml")).expect("the action");
    let steps: Vec<&str> = action.lines().filter_map(|line| line.trim().strip_prefix("run: ")).collect();
    assert_eq!(steps.len(), 2);
    for step in steps {
        let script = step
            .trim_matches(['\'', '"'])
            .strip_prefix("$GITHUB_ACTION_PATH/")
            .expect("a script of this repository");
        assert!(PathBuf::from(repository(script)).is_file(), "{step}");
    }
    // Every variable that the scripts read is set by the action.
    let script = fs::read_to_string(repository("docs/ci/check.sh")).expect("the script");
    for name in ["EVENKEEL_SCENARIOS", "EVENKEEL_BASELINE", "EVENKEEL_JUNIT", "EVENKEEL_ARGUMENTS"] {
        assert!(script.contains(name) && action.contains(&format!("{name}: ${{{{ inputs.")), "{name}");
    }
}
