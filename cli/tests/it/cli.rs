//! Exit codes, streams and words of every subcommand.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Place, SMALL, files, repository};

const PASSES: &str = "[[expect]]\nstrategy = \"shared\"\nmetric = \"visits.with_loss\"\nmax = 0.0\n";
const FAILS: &str = "[[expect]]\nstrategy = \"local\"\nmetric = \"visits.with_loss\"\nmax = 0.0\n";

#[test]
fn a_run_prints_a_table_writes_a_folder_and_ends_with_0() {
    let place = Place::with_small("");
    let ran = place.run(&["run", "small.toml"]).ends_with(0);
    for word in ["small", "shared", "local", "crash of web2", "load skew"] {
        assert!(ran.stdout.contains(word), "`{word}` is not in\n{}", ran.stdout);
    }
    assert!(ran.stderr.contains("seed 5"), "{}", ran.stderr);
    let written = files(&place.path("results/small"));
    for file in ["report.html", "summary.json", "manifest.json", "provenance.json", "scenario.toml"] {
        assert!(written.contains_key(file), "{file} is missing");
    }
    assert!(written.keys().any(|name| name.starts_with("charts/") && name.ends_with(".svg")));
    assert!(written.keys().any(|name| name.starts_with("tables/") && name.ends_with(".csv")));
}

#[test]
fn three_typos_are_told_at_once_each_with_its_line_and_the_word_that_was_meant() {
    let text = SMALL
        .replace("duration =", "durration =")
        .replace("preset = \"home-nat\"", "preset = \"home-nta\"")
        .replace("nginx.round_robin = {} }\nsession = { local", "nginx.iphash = {} }\nsession = { local");
    let line = |what: &str| text.lines().position(|line| line.contains(what)).expect("a line") + 1;
    let place = Place::new();
    place.write("typos.toml", &text);
    for command in ["run", "check", "explain"] {
        let ran = place.run(&[command, "typos.toml"]).ends_with(2);
        assert_eq!(ran.stdout, "", "{command}: data in spite of mistakes");
        for (wrong, meant) in
            [("durration", "`duration`"), ("home-nta", "`home-nat`"), ("nginx.iphash", "nginx.ip_hash")]
        {
            let place = format!("typos.toml:{}:", line(wrong));
            assert!(ran.stderr.contains(&place), "{command}: {place} is not in\n{}", ran.stderr);
            assert!(ran.stderr.contains(wrong) && ran.stderr.contains(meant), "{command}: {}", ran.stderr);
        }
    }
    assert!(!place.path("results").exists(), "a bad scenario leaves no result");
}

#[test]
fn bad_usage_ends_with_2_and_says_what_to_do() {
    let place = Place::with_small("");
    place.write("empty/notes.txt", "no scenario");
    for (arguments, said) in [
        (&["run", "absent.toml"][..], "absent.toml"),
        (&["run"], "<SCENARIO>"),
        (&["walk", "small.toml"], "walk"),
        (&["run", "small.toml", "--threads", "0"], "`--threads` must be from 1 to 1024, got 0"),
        (&["run", "small.toml", "--set", "strategy.0.nmae=x"], "nmae"),
        (&["run", "small.toml", "--set", "replications"], "replications"),
        (&["check", "empty"], "no scenario"),
        (&["conformance", "absent"], "absent"),
        (&["conformance", "empty"], "no recording in it"),
        (&["conformance", "empty", "--live"], "replays no recordings"),
        (&["conformance", "empty", "--seed", "3"], "--live"),
        (&["conformance", "--live", "--program", "lvs"], "haproxy"),
        (&["list", "balancer"], "balancers"),
    ] {
        let ran = place.run(arguments).ends_with(2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(ran.stderr.contains(said), "{arguments:?}: `{said}` is not in\n{}", ran.stderr);
    }
}

#[test]
fn check_ends_with_0_3_or_4_as_expectations_are_met_missed_or_absent() {
    for (expectations, code, verdicts) in [
        (PASSES.to_owned(), 0, &["pass"][..]),
        (format!("{PASSES}{FAILS}"), 3, &["pass", "worse"]),
        (FAILS.replace("max = 0.0", "max = 2.0\nmin = 0.0"), 0, &["pass"]),
        (String::new(), 4, &[]),
    ] {
        let place = Place::with_small(&expectations);
        let words = place.run(&["check", "small.toml"]).ends_with(code);
        let checked = place.run(&["check", "small.toml", "--json"]).ends_with(code).json();
        let found: Vec<&str> = checked["scenarios"][0]["expectations"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|expectation| expectation["verdict"].as_str())
            .collect();
        assert_eq!(found, verdicts, "{expectations}");
        for verdict in verdicts {
            assert!(words.stdout.contains(verdict), "{}", words.stdout);
        }
        assert!(!place.path("results").exists(), "a check writes nothing");
    }
}

#[test]
fn an_expectation_without_data_fails() {
    // No request of this site needs a session, so there is no share of them that missed it.
    let place = Place::with_small("[[expect]]\nmetric = \"requests.session_miss\"\nmax = 1.0\n");
    let browse = ["--set", "population.homes.visit={ preset = \"browse\" }"];
    let ran = place.run(&[&["check", "small.toml", "--json"], &browse[..]].concat()).ends_with(3);
    assert_eq!(ran.json()["scenarios"][0]["expectations"][0]["verdict"], "no_data");
}

#[test]
fn check_reads_every_scenario_before_it_runs_any() {
    let place = Place::new();
    place.write("gates/a.toml", &format!("{SMALL}{PASSES}"));
    place.write("gates/b.toml", &SMALL.replace("title", "titel"));
    let ran = place.run(&["check", "gates"]).ends_with(2);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("b.toml:1:1:"), "{}", ran.stderr);
    place.write("gates/b.toml", &format!("{SMALL}{FAILS}"));
    let ran = place.run(&["check", "gates"]).ends_with(3);
    assert!(ran.stdout.find("a.toml") < ran.stdout.find("b.toml"), "{}", ran.stdout);
}

/// A recording of a director that deals in turn between two servers, the one added last first.
fn recording(place: &Place, product: &str, servers: [&str; 2]) {
    place.write(
        "case/case.json",
        &format!(
            r#"{{
            "product": "{product}", "scheduler": "rr", "persistence_s": null, "vip": "192.0.2.1:80", "forwarding": "nat",
            "sysctl": {{"expire_nodest_conn": "0"}},
            "servers": [{{"name": "s1", "weight": 1}}, {{"name": "s2", "weight": 1}}],
            "kernel_timer": {{"hz": 250, "jiffies_read": 4294957597, "jiffies_read_at_ms": -0.671, "tick_phase_ms": 2.0}}
            }}"#
        ),
    );
    let mut events = "t_ms,event,conn,client,client_port,server,detail\n".to_owned();
    for (number, server) in servers.iter().enumerate() {
        events.push_str(&format!(
            "{}.5,open,{},10.0.0.1,{},{server},\n",
            number + 1,
            number + 1,
            40_000 + number
        ));
    }
    place.write("case/events.csv", &events);
}

#[test]
fn conformance_ends_with_0_3_or_4_as_decisions_agree_differ_or_are_not_replayed() {
    let place = Place::new();
    recording(&place, "ipvs", ["s2", "s1"]);
    let ran = place.run(&["conformance", "case"]).ends_with(0);
    assert!(ran.stdout.contains("ipvs") && ran.stdout.contains("rr"), "{}", ran.stdout);

    recording(&place, "ipvs", ["s2", "s2"]);
    let ran = place.run(&["conformance", "case"]).ends_with(3);
    assert!(ran.stdout.contains("events.csv:3"), "the line is not told:\n{}", ran.stdout);
    let cases = place.run(&["conformance", "case", "--json"]).ends_with(3).json();
    assert_eq!(cases[0]["outcome"]["Replayed"]["matched"], 1);

    recording(&place, "someone-else-s-proxy", ["s2", "s1"]);
    let ran = place.run(&["conformance", "case"]).ends_with(4);
    assert!(ran.stdout.contains("skipped"), "{}", ran.stdout);
}

#[test]
fn the_live_arm_ends_with_4_without_a_case_and_tells_its_seed() {
    let place = Place::new();
    let ran = place.run(&["conformance", "--live", "--cases", "0", "--seed", "77"]).ends_with(4);
    assert!(ran.stdout.contains("seed 77"), "{}", ran.stdout);
    let report =
        place.run(&["conformance", "--live", "--cases", "0", "--seed", "77", "--json"]).ends_with(4).json();
    assert_eq!(report["seed"], 77);
    let known = |list: &Value| list.as_array().map_or(0, Vec::len);
    assert_eq!(known(&report["installed"]) + known(&report["missing"]), 5, "{report}");
}

#[test]
fn conformance_replays_the_recordings_of_the_repository() {
    let archive = repository("sim/tests/golden/nginx.tar.zst");
    let ran = Place::new().run(&["conformance", &archive]).ends_with(0);
    assert!(ran.stdout.contains("ip_hash") && ran.stdout.contains("143 579"), "{}", ran.stdout);
}

#[test]
fn json_is_all_that_stdout_carries() {
    let place = Place::with_small(PASSES);
    let summary = place.run(&["run", "small.toml", "--json", "--stats"]).ends_with(0);
    assert_eq!(summary.json()["schema_version"], 2);
    assert!(summary.stderr.contains("requests"), "statistics are for people: {}", summary.stderr);
    let written: Value =
        serde_json::from_slice(&files(&place.path("results/small"))["summary.json"]).expect("JSON");
    assert_eq!(summary.json(), written);
    for arguments in
        [&["check", "small.toml", "--json"][..], &["list", "--json"], &["list", "metrics", "--json"]]
    {
        place.run(arguments).ends_with(0).json();
    }
}

#[test]
fn quiet_runs_say_nothing_on_stderr() {
    let place = Place::with_small(PASSES);
    for arguments in [&["run", "small.toml", "-q", "--json"][..], &["check", "small.toml", "--quiet"]] {
        assert_eq!(place.run(arguments).ends_with(0).stderr, "", "{arguments:?}");
    }
}

#[test]
fn colours_are_for_terminals_unless_they_are_forced() {
    let place = Place::with_small(PASSES);
    let run = ["run", "small.toml", "--explain-losses", "1"];
    for arguments in [&run[..], &["check", "small.toml"], &["list"], &["run", "absent.toml"], &["--help"]] {
        assert!(!place.run(arguments).has_escapes(), "{arguments:?}: escapes in a pipe");
    }
    assert!(place.run_with(&run, &[("CLICOLOR_FORCE", "1")]).has_escapes());
    assert!(place.run(&["run", "small.toml", "--color", "always"]).has_escapes());
    assert!(!place.run_with(&run, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).has_escapes());
    let never = ["run", "small.toml", "--color", "never"];
    assert!(!place.run_with(&never, &[("CLICOLOR_FORCE", "1")]).has_escapes());
}

#[test]
fn what_is_set_on_the_command_line_is_what_runs() {
    let place = Place::with_small("");
    let changes = ["--set", "replications=2", "--set", "population.homes.clients=40", "--seed", "77"];
    let summary =
        place.run(&[&["run", "small.toml", "--json", "-q"], &changes[..]].concat()).ends_with(0).json();
    assert_eq!((&summary["replications"], &summary["seed"]), (&Value::from(2), &Value::from(77)));
    let explained = place.run(&[&["explain", "small.toml"], &changes[..]].concat()).ends_with(0);
    for line in ["replications = 2", "clients = 40", "seed = 77"] {
        assert!(explained.stdout.lines().any(|found| found == line), "{line}\n{}", explained.stdout);
    }
    assert_eq!(fs::read_to_string(place.path("small.toml")).expect("a file"), SMALL, "the file was touched");
}

#[test]
fn what_explain_prints_runs_to_the_same_result() {
    let place = Place::with_small(PASSES);
    let explained = place.run(&["explain", "small.toml"]).ends_with(0).stdout;
    assert!(explained.contains("fail_timeout") && explained.contains("keepalive_timeout"), "{explained}");
    place.write("explained.toml", &explained);
    assert_eq!(place.run(&["explain", "explained.toml"]).ends_with(0).stdout, explained);
    let [first, second] = ["small.toml", "explained.toml"]
        .map(|file| place.run(&["run", file, "--json", "-q", "--out", "out"]).ends_with(0).json());
    assert_eq!(first["scenario_sha256"], second["scenario_sha256"]);
    assert_eq!(first["strategies"], second["strategies"]);
}

#[test]
fn the_stores_reference_page_is_what_the_catalogue_says() {
    let page = Place::new().run(&["list", "stores", "--markdown"]).ends_with(0).stdout;
    let committed = include_str!("../../../docs/sessions.md");
    assert!(page == committed, "run `evenkeel list stores --markdown >docs/sessions.md`");
}

#[test]
fn the_balancers_reference_page_is_what_the_catalogue_says() {
    let page = Place::new().run(&["list", "balancers", "--markdown"]).ends_with(0).stdout;
    let committed = include_str!("../../../docs/balancers.md");
    assert!(page == committed, "run `evenkeel list balancers --markdown >docs/balancers.md`");
    assert!(page.contains("| `lvs.wlc` | Weighted least connection"), "{page}");
    Place::new().run(&["list", "--markdown"]).ends_with(2);
}

#[test]
fn the_populations_reference_page_is_what_the_presets_say() {
    let page = Place::new().run(&["list", "presets", "--markdown"]).ends_with(0).stdout;
    let committed = include_str!("../../../docs/populations.md");
    assert!(page == committed, "run `evenkeel list presets --markdown >docs/populations.md`");
    assert!(page.contains("### mega-proxy") && page.contains("pooling = \"per_request\""), "{page}");
}

#[test]
fn list_names_what_scenarios_may_say() {
    let place = Place::new();
    let listed = place.run(&["list"]).ends_with(0).stdout;
    for name in ["nginx.ip_hash", "lvs.wlc", "home-nat", "login-site", "load.requests.peak_to_mean"] {
        assert!(listed.contains(name), "`{name}` is not in\n{listed}");
    }
    let balancers = place.run(&["list", "balancers"]).ends_with(0).stdout;
    assert!(balancers.contains("nginx.round_robin") && !balancers.contains("login-site"), "{balancers}");
    let all = place.run(&["list", "--json"]).ends_with(0).json();
    let kinds: Vec<&String> = all.as_object().expect("an object").keys().collect();
    assert_eq!(kinds, ["balancers", "metrics", "presets", "stores", "tiers"]);
    assert!(all["metrics"].as_array().is_some_and(|metrics| metrics.len() > 30));
}

#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    // Goal: `evenkeel list | head -1` shows no error. Method: close the reading end before anything can be written; the
    // explained scenario and the list are longer than nothing, so a write must fail.
    let place = Place::with_small("");
    for arguments in [&["list"][..], &["explain", "small.toml"], &["run", "small.toml", "-q"], &["--help"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .current_dir(place.path(""))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ended");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn losses_are_told_as_three_stories_for_each_strategy_that_loses() {
    let place = Place::with_small("");
    let told = place.run(&["run", "small.toml", "-q", "--explain-losses", "3"]).ends_with(0).stdout;
    let stories: Vec<&str> = told.lines().filter(|line| line.contains("did not find the session")).collect();
    assert_eq!(stories.len(), 3, "{told}");
    for story in &stories {
        assert!(story.contains("client ") && story.contains("was last known at web"), "{story}");
    }
    assert!(told.contains("local: some losses") && !told.contains("shared: some losses"), "{told}");
    let summary =
        place.run(&["run", "small.toml", "-q", "--json", "--explain-losses", "3"]).ends_with(0).json();
    let numbers: Vec<_> = summary["strategies"]
        .as_array()
        .expect("strategies")
        .iter()
        .map(|strategy| strategy["stories"].as_array().expect("stories").len())
        .collect();
    assert_eq!(numbers, [0, 3]);
}

#[test]
fn a_folder_that_is_no_result_is_not_replaced() {
    let place = Place::with_small("");
    place.write("thesis/chapter1.tex", "years of work");
    let ran = place.run(&["run", "small.toml", "-q", "--out", "thesis"]).ends_with(2);
    assert!(ran.stderr.contains("is not a result folder"), "{}", ran.stderr);
    let left = files(&place.path("thesis"));
    assert_eq!(left.keys().collect::<Vec<_>>(), ["chapter1.tex"]);
    place.run(&["run", "small.toml", "-q", "--out", "result"]).ends_with(0);
    place.run(&["run", "small.toml", "-q", "--out", "result"]).ends_with(0);
}

#[test]
fn help_begins_with_examples_and_tells_the_exit_codes() {
    let help = Place::new().run(&["--help"]).ends_with(0).stdout;
    assert!(help.starts_with("Examples:"), "{help}");
    for code in ["0  fine", "2  bad usage", "3  ", "4  nothing ran"] {
        assert!(help.contains(code), "{help}");
    }
    Place::new().run(&["--version"]).ends_with(0);
}
