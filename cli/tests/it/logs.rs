//! The commands that read access logs, on the small log of the repository.

use std::fs;

use crate::support::{Place, SMALL, repository};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";

fn log() -> String {
    repository("scenarios/logs/data/elastic10k_access.log.gz")
}

#[test]
fn a_fitted_population_runs_in_a_scenario() {
    let place = Place::new();
    let fitted = place.run(&["fit", &log(), "--out", "site.toml", "--quiet"]).ends_with(0);
    for part in [
        "format: combined, judged by the first lines",
        "Hill index 1.3",
        "KS 0.",
        "10000 replayed, 0 malformed",
    ] {
        assert!(fitted.stdout.contains(part), "{part}: {}", fitted.stdout);
    }
    for chart in ["requests_per_address.svg", "think.png", "hours.svg"] {
        assert!(place.path("site.fit").join(chart).is_file(), "{chart}");
    }
    let users = fs::read_to_string(place.path("site.people.csv")).expect("users");
    assert!(users.starts_with("network,copies,address,") && users.lines().count() > 1_000, "{users:.200}");
    let population = SMALL.split("[[population]]").next().unwrap_or_default();
    let cluster = &SMALL[SMALL.find("[cluster]").expect("a cluster")..];
    place.write("site-run.toml", &format!("{population}populations = \"site.toml\"\n{cluster}"));
    let ran =
        place.run(&["run", "site-run.toml", "--set", "replications=1", "--quiet", "--json"]).ends_with(0);
    assert!(ran.json()["strategies"].is_array());
}

#[test]
fn a_log_takes_the_place_of_a_scenario_s_traffic() {
    let place = Place::with_small("");
    place.write("key", KEY);
    let replay = |more: &[&str]| {
        let log = log();
        let arguments = [&["replay", &log, "--scenario", "small.toml", "--quiet"], more].concat();
        place.run(&arguments)
    };
    let plain = replay(&["--speed", "1000"]).ends_with(0);
    assert!(plain.stdout.contains("lines: 10000 (10000 replayed"), "{}", plain.stdout);
    let hidden =
        replay(&["--speed", "1000", "--pseudonymise", "key", "--until", "2015-05-18T00:00:00Z"]).ends_with(0);
    assert!(hidden.stdout.contains("lines before or after the time asked for"), "{}", hidden.stdout);
    for (wrong, message) in [
        (["--log-format", "combinde"], "`combinde` has no variable"),
        (["--sessions-by", "cookie:sid"], "no cookie `sid`"),
        (["--visit-gap", "30"], "it has no unit"),
        (["--from", "monday"], "`--from` must be a time"),
        (["--pseudonymise", "small.toml"], "not 64 hexadecimal digits"),
    ] {
        let failed = replay(&wrong).ends_with(2);
        assert!(failed.stderr.contains(message), "{wrong:?}: {}", failed.stderr);
    }
}

#[test]
fn a_pseudonymised_log_has_other_addresses_and_the_same_statistics() {
    let place = Place::new();
    place.write("key", KEY);
    place.run(&["pseudonymise", &log(), "--key", "key", "--out", "shared.log", "--quiet"]).ends_with(0);
    let text = fs::read(place.path("shared.log")).expect("a log");
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 10_000);
    let statistics = |log: &str| {
        let fitted = place.run(&["fit", log, "--out", "x.toml", "--quiet"]).ends_with(0);
        let lines: Vec<String> = fitted
            .stdout
            .lines()
            .filter(|line| line.contains("Gini") || line.contains("of the top"))
            .map(str::to_owned)
            .collect();
        lines
            .iter()
            .map(|line| line.split_once(": ").map_or("", |(_, rest)| rest).to_owned())
            .collect::<Vec<_>>()
    };
    let (before, after) = (statistics(&log()), statistics("shared.log"));
    assert_eq!(before.len(), 3, "{before:?}");
    assert_eq!(before, after);
    let none = place.run(&["pseudonymise", &log(), "--key", "nowhere"]).ends_with(2);
    assert!(none.stderr.contains("openssl rand -hex 32"), "{}", none.stderr);
}
