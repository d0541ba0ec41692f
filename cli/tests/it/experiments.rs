//! Baselines, comparisons, sweeps and advice, as they are used from a shell.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Place, SMALL, files};

const EXPECTS: &str = "[[expect]]\nstrategy = \"shared\"\nmetric = \"visits.with_loss\"\nmax = 0.0\n\
                       [[expect]]\nstrategy = \"local\"\nmetric = \"visits.with_loss\"\nrelative_to = \"shared\"\nmax = 2.0\n";

/// A site small enough for forty runs in a few moments.
const SWEPT: &str = r#"title = "swept"
duration = "30s"
replications = 10
seed = 5
[[population]]
name = "all"
clients = 60
address = { preset = "direct" }
arrivals = { poisson = { rate = 40 } }
[cluster]
servers = [{ name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" }]
capacity = { workers = 4, service = { exponential = { mean = "20ms" } } }
[[strategy]]
name = "hash"
balancer = { nginx.ip_hash = {} }
session = { local = {} }
[sweep]
grid = [{ field = "population.all.clients", values = [20, 60] }]
"#;

#[test]
fn verdicts_come_in_every_format_and_several_at_once() {
    let place = Place::with_small(&EXPECTS.replace("max = 0.0", "min = 0.5"));
    let formats = ["--format", "github", "--format", "junit=verdicts.xml", "--format", "markdown=summary.md"];
    let ran = place.run(&[&["check", "small.toml", "-q"], &formats[..]].concat()).ends_with(3);
    assert!(ran.stdout.starts_with("::error file=small.toml,line="), "{}", ran.stdout);
    let junit = fs::read_to_string(place.path("verdicts.xml")).expect("written");
    assert!(junit.contains("<failure message=\"visits.with_loss of shared"), "{junit}");
    let markdown = fs::read_to_string(place.path("summary.md")).expect("written");
    assert!(markdown.contains("| ✗ worse | shared |"), "{markdown}");
    let two = place.run(&["check", "small.toml", "--format", "json", "--format", "junit"]).ends_with(2);
    assert!(two.stderr.contains("two formats want standard output"), "{}", two.stderr);
    place.run(&["check", "small.toml", "--format", "xml"]).ends_with(2);
}

#[test]
fn a_share_of_zero_is_no_limit_and_no_pass() {
    // Nobody loses a session in the other strategy, so there is no ratio to it.
    let place = Place::with_small(EXPECTS);
    let verdicts = place.run(&["check", "small.toml", "-q", "--json"]).ends_with(3).json();
    assert_eq!(verdicts["scenarios"][0]["expectations"][1]["verdict"], "no_data");
}

#[test]
fn the_first_failure_may_be_the_last_word() {
    let place = Place::new();
    let fails = "[[expect]]\nmetric = \"visits.with_loss\"\nmin = 0.9\n";
    place.write("gates/a.toml", &format!("{SMALL}{fails}"));
    place.write("gates/b.toml", &format!("{SMALL}{fails}"));
    let checked =
        |more: &[&str]| place.run(&[&["check", "gates", "-q", "--json"], more].concat()).ends_with(3).json();
    assert_eq!(checked(&[])["scenarios"].as_array().map(Vec::len), Some(2));
    assert_eq!(checked(&["--fail-fast"])["scenarios"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_baseline_passes_what_wrote_it_and_nothing_that_it_does_not_know() {
    let place = Place::with_small("");
    place.run(&["baseline", "write", "small.toml", "-o", "base.json", "-q"]).ends_with(0);
    let check = ["check", "small.toml", "-q", "--baseline", "base.json"];
    place.run(&check).ends_with(0);
    let slower = ["--set", "cluster.capacity.service.exponential.mean=60ms"];
    let worse = place.run(&[&check[..], &slower].concat()).ends_with(3);
    assert!(worse.stdout.contains("✗ worse"), "{}", worse.stdout);
    place.write("other.toml", SMALL);
    let unknown = place.run(&["check", "other.toml", "--baseline", "base.json"]).ends_with(2);
    assert!(unknown.stderr.contains("no such scenario"), "{}", unknown.stderr);
    place.run(&["baseline", "write", "small.toml", "-o", "x.json", "--metric", "load.sleek"]).ends_with(2);
    place.run(&["check", "small.toml", "--baseline", "small.toml"]).ends_with(2);
}

#[test]
fn a_comparison_tells_what_is_worse_and_fails_if_asked_to() {
    let place = Place::with_small("");
    place.write("slow.toml", &SMALL.replace("mean = \"20ms\"", "mean = \"60ms\""));
    let same =
        place.run(&["compare", "small.toml", "small.toml", "-q", "--fail-on", "regression"]).ends_with(0);
    assert!(
        same.stdout.contains("the same") && same.stdout.contains("met the same clients"),
        "{}",
        same.stdout
    );
    let compared = ["compare", "small.toml", "slow.toml", "-q"];
    let worse = place.run(&[&compared[..], &["--fail-on", "regression"]].concat()).ends_with(3);
    assert!(worse.stdout.contains("✗ worse") && worse.stdout.contains("times as high"), "{}", worse.stdout);
    assert!(place.run(&[&compared[..], &["--json"]].concat()).ends_with(0).json().is_array());
    place.run(&["run", "small.toml", "-q"]).ends_with(0);
    let of_result = place.run(&["compare", "results/small", "small.toml", "-q"]).ends_with(0);
    assert!(!of_result.stdout.contains("worse  "), "{}", of_result.stdout);
}

#[test]
fn a_sweep_is_the_same_in_shards() {
    let place = Place::new();
    place.write("swept.toml", SWEPT);
    let plan = place.run(&["plan", "swept.toml"]).ends_with(0);
    assert!(plan.stdout.contains("runs          20"), "{}", plan.stdout);
    place.run(&["sweep", "swept.toml", "-q", "-o", "whole"]).ends_with(0);
    let merged = |folder: &str| {
        let all = files(&place.path(folder));
        (all["sweep.parquet"].clone(), all["sweep.csv"].clone())
    };

    // In shards, in any order and with any number of threads; incomplete until the last is there.
    place.run(&["sweep", "swept.toml", "-q", "-o", "parts", "--shard", "1/2", "--threads", "1"]).ends_with(0);
    let incomplete = place.run(&["sweep", "swept.toml", "-q", "-o", "parts", "--merge"]).ends_with(5);
    assert!(incomplete.stderr.contains("0/2"), "{}", incomplete.stderr);
    place.run(&["sweep", "swept.toml", "-q", "-o", "parts", "--shard", "0/2"]).ends_with(0);
    place.run(&["sweep", "swept.toml", "-q", "-o", "parts", "--merge"]).ends_with(0);
    assert!(merged("parts") == merged("whole"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_sweep_that_is_interrupted_again_and_again_comes_to_the_same_bytes() {
    // Goal: however it is ended, what is done stays, and `--resume` goes on from there. A longer sweep, so that it is certainly
    // under way when the signals come; each comes once two more runs are noted.
    let place = Place::new();
    place.write("swept.toml", SWEPT);
    let longer = ["--set", "duration=4min", "--set", "population.all.arrivals.poisson.rate=100"];
    let sweep = [&["sweep", "swept.toml", "-o", "broken", "--threads", "1"], &longer[..]].concat();
    let resume = [&sweep[..], &["--resume"]].concat();
    let noted = || {
        if !place.path("broken").exists() {
            return 0;
        }
        let journals = files(&place.path("broken"));
        let journal = journals.iter().find(|(name, _)| name.ends_with(".journal"));
        journal.map_or(0, |(_, text)| text.iter().filter(|&&byte| byte == b'\n').count().saturating_sub(1))
    };
    for (signal, code) in [("INT", Some(130)), ("TERM", Some(130)), ("KILL", None)] {
        let before = noted();
        let child = Started::new(&place, if before == 0 { &sweep } else { &resume });
        wait_until("two runs are noted", || noted() >= before + 2);
        let (ended, said) = child.signalled(signal);
        assert_eq!(ended, code, "{signal}: {said}");
        assert_eq!(said.contains("interrupted; go on with"), code.is_some(), "{said}");
        assert!(!place.path("broken/sweep.parquet").exists());
    }
    let left = noted();
    assert!((6..20).contains(&left), "{left}");
    let refused = place.run(&sweep).ends_with(2);
    assert!(refused.stderr.contains("--resume"), "{}", refused.stderr);
    let resumed = place.run(&resume).ends_with(0);
    assert!(resumed.stderr.contains(&format!("20 runs, {left} of them from before")), "{}", resumed.stderr);
    place.run(&[&["sweep", "swept.toml", "-q", "-o", "again"], &longer[..]].concat()).ends_with(0);
    for file in ["sweep.parquet", "sweep.csv"] {
        let read = |folder: &str| fs::read(place.path(folder).join(file)).expect("a result");
        assert!(read("broken") == read("again"), "{file}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_that_is_interrupted_says_so_and_leaves_nothing() {
    let place = Place::with_small("");
    let run = [
        "run",
        "small.toml",
        "--set",
        "duration=100h",
        "--set",
        "window=10min",
        "--set",
        "replications=1000",
    ];
    for signal in ["INT", "TERM"] {
        let child = Started::new(&place, &run);
        let (ended, said) = child.signalled(signal);
        assert_eq!(ended, Some(130), "{signal}: {said}");
        assert!(said.contains("interrupted"), "{said}");
        assert!(!place.path("results").exists());
    }
}

/// The program while it runs.
#[cfg(target_os = "linux")]
struct Started(std::process::Child);

#[cfg(target_os = "linux")]
impl Started {
    /// Starts the program, and waits until it has a handler for interrupts.
    fn new(place: &Place, arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .current_dir(place.path("."))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let status = format!("/proc/{}/status", child.id());
        let handled = |line: &str| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok();
        wait_until("it handles SIGINT", || {
            let status = fs::read_to_string(&status).expect("its status");
            status.lines().find_map(handled).is_some_and(|mask| mask & 0b10 != 0)
        });
        Self(child)
    }

    /// Sends a signal, and tells the exit code and what was said.
    fn signalled(self, signal: &str) -> (Option<i32>, String) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().expect("kill is there");
        assert!(sent.success());
        let output = self.0.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[cfg(target_os = "linux")]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(300), "it never came that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_paths_the_scenarios_of_the_repository_are_checked() {
    let place = Place::new();
    let passes = format!("{SMALL}[[expect]]\nmetric = \"requests.failed\"\nmax = 1.0\n");
    let checked = |folder: &str| {
        let ran = place.run_in(folder, &["check", "--json", "-q", "--set", "replications=2"]).ends_with(0);
        let found = ran.json();
        let scenarios = found["scenarios"].as_array().expect("a list").iter();
        scenarios.map(|it| it["scenario"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    // Nothing but the folder itself; then that of the repository; then one of its own.
    place.write("site/deep/own.toml", &passes);
    assert_eq!(checked("site/deep"), ["./own.toml"]);
    fs::create_dir(place.path("site/.git")).expect("a folder");
    place.write("site/scenarios/all.toml", &passes);
    assert!(checked("site/deep")[0].ends_with("site/scenarios/all.toml"));
    assert_eq!(checked("site"), ["scenarios/all.toml"]);
    place.write("empty/readme", "");
    fs::create_dir(place.path("empty/.git")).expect("a folder");
    let empty = place.run_in("empty", &["check"]).ends_with(2);
    assert!(empty.stderr.contains("no scenario (`*.toml`)"), "{}", empty.stderr);
}

#[test]
fn mistakes_in_a_sweep_are_told_with_their_place() {
    let place = Place::new();
    for (line, said) in [
        (r#"grid = [{ field = "seed", values = [1, 2] }]"#, "`seed` cannot be swept"),
        (r#"grid = [{ field = "population.all.clients", from = 1, to = 5 }]"#, "missing key `steps`"),
        (
            r#"grid = [{ field = "population.all.clients", from = 0, to = 5, steps = 3, scale = "log" }]"#,
            "lies above 0",
        ),
        (r#"grid = [{ field = "population.all.cleints", values = [1] }]"#, "at point 0"),
        ("gird = []", "unknown key `gird`"),
    ] {
        let text = SWEPT.lines().filter(|it| !it.starts_with("grid")).collect::<Vec<_>>().join("\n");
        place.write("swept.toml", &format!("{text}\n{line}\n"));
        let ran = place.run(&["sweep", "swept.toml"]).ends_with(2);
        assert!(ran.stderr.contains(said), "{line}: {}", ran.stderr);
    }
    place.write("swept.toml", SMALL);
    assert!(place.run(&["sweep", "swept.toml"]).ends_with(2).stderr.contains("no `[sweep]`"));
    place.run(&["sweep", "swept.toml", "--shard", "3/2"]).ends_with(2);
}

#[test]
fn advice_names_a_choice_that_keeps_the_limits() {
    let advise = "[advise]\nfields = [{ field = \"strategy.local.balancer\", values = [{ nginx.ip_hash = {} }, { nginx.random = {} }] }]\n\
                  limits = [{ metric = \"visits.with_loss\", max = 0.3 }]\n";
    let place = Place::with_small(advise);
    let ran =
        place.run(&["advise", "small.toml", "-q", "--set", "replications=8", "--out", "front"]).ends_with(0);
    assert!(ran.stdout.starts_with("Choose "), "{}", ran.stdout);
    assert!(place.path("front/front.svg").exists() && place.path("front/front.png").exists());
    let json =
        place.run(&["advise", "small.toml", "-q", "--set", "replications=8", "--json"]).ends_with(0).json();
    let candidates = json["candidates"].as_array().expect("candidates");
    assert_eq!(candidates.len(), 3);
    let chosen: Vec<_> = candidates.iter().filter(|it| it["chosen"] == true).collect();
    assert!(chosen.len() == 1 && chosen[0]["breaks_limit"] == false, "{json}");
    let none = [
        "advise",
        "small.toml",
        "-q",
        "--set",
        "advise.limits=[{ metric = \"visits.with_loss\", max = -1.0 }]",
    ];
    assert!(place.run(&none).ends_with(3).stdout.contains("No candidate keeps the limits"));
}
