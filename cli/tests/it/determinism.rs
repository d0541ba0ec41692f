//! The same scenario and seed give the same bytes, whatever the threads; and a result folder is whole or not there.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{Place, files};

/// The one file that may differ between two runs.
const PROVENANCE: &str = "provenance.json";

/// Runs that are killed, after times from none to about that of a whole run.
const KILLS: u32 = 24;

/// Checks that a folder is a complete result: its manifest names every file but itself and the provenance, with its hash.
fn assert_whole(folder: &Path) {
    let files = files(folder);
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).expect("JSON");
    let listed = manifest["files"].as_object().expect("files");
    let others: Vec<&String> =
        files.keys().filter(|name| *name != "manifest.json" && *name != PROVENANCE).collect();
    assert_eq!(listed.keys().collect::<Vec<_>>(), others);
    assert!(others.len() > 8, "{others:?}");
    for (name, hash) in listed {
        let found: String = Sha256::digest(&files[name]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, &found, "{name}");
    }
    assert!(files.contains_key(PROVENANCE));
}

#[test]
fn one_thread_and_two_write_the_same_bytes_and_another_seed_writes_others() {
    // Goal: a result depends on scenario and seed alone. Method: compare every file of three result folders.
    let place = Place::with_small("");
    for (out, threads, seed) in [("one", "1", "5"), ("two", "2", "5"), ("other", "2", "6")] {
        let arguments = ["run", "small.toml", "-q", "--threads", threads, "--seed", seed, "--out", out];
        let ran = place.run(&[&arguments[..], &["--explain-losses", "2"]].concat());
        ran.ends_with(0);
    }
    let [one, two, other] = ["one", "two", "other"].map(|out| files(&place.path(out)));
    assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>());
    let differing: Vec<&String> =
        one.iter().filter(|(name, bytes)| two[*name] != **bytes).map(|(n, _)| n).collect();
    assert_eq!(differing, [PROVENANCE], "the command line is told there");
    for name in ["summary.json", "manifest.json", "report.html", "scenario.toml"] {
        assert!(one[name] != other[name], "{name} does not depend on the seed");
    }
    let tables = one.keys().filter(|name| name.ends_with(".csv"));
    assert!(tables.clone().count() >= 3);
    assert!(tables.clone().any(|name| one[name] != other[name]), "no table depends on the seed");
}

#[test]
fn the_manifest_s_hashes_are_those_of_the_files_and_of_the_scenario() {
    let place = Place::with_small("");
    place.run(&["run", "small.toml", "-q", "--out", "result"]).ends_with(0);
    let folder = place.path("result");
    assert_whole(&folder);
    let files = files(&folder);
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).expect("JSON");
    let summary: Value = serde_json::from_slice(&files["summary.json"]).expect("JSON");
    assert_eq!(manifest["seed"], 5);
    assert_eq!(manifest["scenario_sha256"], summary["scenario_sha256"]);
    let scenario = String::from_utf8(files["scenario.toml"].clone()).expect("text");
    assert_eq!(manifest["scenario"], scenario.as_str());
    // The folder's scenario makes the folder again.
    place.write("again.toml", &scenario);
    place.run(&["run", "again.toml", "-q", "--out", "again"]).ends_with(0);
    assert!(crate::support::files(&place.path("again"))["summary.json"] == files["summary.json"]);
}

#[test]
fn a_run_that_is_killed_leaves_no_half_written_folder_behind() {
    // Goal: whoever finds a result folder may trust it. Method: kill runs after ever longer times, from before the first
    // event to about when a whole run ends; under the target's name there is nothing, the older result or the new one, and
    // each is whole.
    let place = Place::with_small("");
    let start = Instant::now();
    place.run(&["run", "small.toml", "-q", "--seed", "1", "--out", "older"]).ends_with(0);
    let whole = start.elapsed();
    let older = files(&place.path("older"));
    let mut prevented = 0;
    for step in 0..KILLS {
        let replaces = step % 2 == 1;
        let out = if replaces { "older".to_owned() } else { format!("new{step}") };
        let mut child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .current_dir(place.path(""))
            .args(["run", "small.toml", "-q", "--seed", "2", "--out", &out])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        thread::sleep(whole * step / (KILLS - 2));
        // It may be over already.
        let _ = child.kill();
        child.wait().expect("ended");
        let folder = place.path(&out);
        if folder.exists() {
            assert_whole(&folder);
        } else {
            prevented += 1;
            // The instant between the older result's being set aside and the new one's coming.
            if replaces {
                place.run(&["run", "small.toml", "-q", "--seed", "1", "--out", "older"]).ends_with(0);
                assert!(files(&folder)["summary.json"] == older["summary.json"]);
            }
        }
    }
    assert!(prevented > 0, "no run was killed in time");
}
