//! The recordings of the real programs, replayed through the tier instances that the simulation runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use evenkeel_sim::balancer::Evidence;
use evenkeel_sim::conformance::ipvs::replay_with_snapshots;
use evenkeel_sim::conformance::{Case, CaseFiles, CaseOutcome, CaseReport, Totals, replay_paths};

const PROGRAMS: [&str; 3] = ["haproxy", "ipvs", "nginx"];

/// Least that must be replayed of each (program, algorithm): cases, decisions. What is modelled grows; it may not shrink.
const FLOORS: [(&str, &str, u64, u64); 19] = [
    ("haproxy", "first", 2, 3_036),
    ("haproxy", "hdr(X-User)", 2, 8_000),
    ("haproxy", "leastconn", 5, 9_482),
    ("haproxy", "random", 1, 4_006),
    ("haproxy", "random(1)", 1, 10_000),
    ("haproxy", "random(2)", 1, 4_001),
    ("haproxy", "rdp-cookie(mstshash)", 1, 1_500),
    ("haproxy", "roundrobin", 29, 44_098),
    ("haproxy", "source", 24, 179_506),
    ("haproxy", "static-rr", 4, 5_840),
    ("haproxy", "uri", 13, 48_546),
    ("haproxy", "uri len 14 depth 2", 1, 3_000),
    ("haproxy", "uri whole", 1, 5_000),
    ("haproxy", "url_param uid", 2, 8_000),
    ("ipvs", "keepalived", 4, 186),
    ("ipvs", "rr", 11, 7_072),
    ("ipvs", "wlc", 34, 19_321),
    ("nginx", "ip_hash", 19, 143_579),
    ("nginx", "round_robin", 36, 33_271),
];

/// Recorded cases of each program, in the order of [`PROGRAMS`].
const CASES: [usize; 3] = [87, 121, 88];

fn archive(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{program}.tar.zst"))
}

fn replay(path: PathBuf) -> Vec<CaseReport> {
    replay_paths(&[path]).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_decision_of_the_real_programs_is_taken_alike_or_its_case_skipped_for_a_stated_reason() {
    // Goal: the model decides as the programs did. Method: replay all recordings, decision by decision; what is not
    // modelled must say so, and what is modelled today must stay so.
    for (program, cases) in PROGRAMS.into_iter().zip(CASES) {
        let reports = replay(archive(program));
        assert_eq!(reports.len(), cases, "{program}: cases were lost");
        for report in &reports {
            assert_eq!(report.program, program, "{}", report.case);
            match &report.outcome {
                CaseOutcome::Replayed { decisions, matched, first_difference } => {
                    assert!(*decisions > 0, "{}: replayed without a decision", report.case);
                    let excepted = u64::from(report.exception().is_some());
                    assert_eq!(matched + excepted, *decisions, "{}: {first_difference:?}", report.case);
                }
                CaseOutcome::Distribution { passed, p_value, .. } => {
                    assert!(*passed, "{}: the recording is too far out, p = {p_value}", report.case);
                }
                CaseOutcome::Skipped { reason } => {
                    assert!(reason.len() > 10, "{}: skipped without a reason: `{reason}`", report.case);
                }
                CaseOutcome::Unreadable { error } => panic!("{}: {error}", report.case),
            }
        }
        let totals = Totals::of(&reports);
        for (_, algorithm, cases, decisions) in FLOORS.into_iter().filter(|floor| floor.0 == program) {
            let total = totals.rows[&(program.to_owned(), algorithm.to_owned())];
            assert!(total.cases - total.skipped >= cases, "{algorithm}: {total:?}");
            assert!(total.matched >= decisions, "{algorithm}: {total:?}");
        }
    }
}

#[test]
fn what_the_catalogue_says_of_recordings_is_what_the_recordings_show() {
    // Goal: "recorded" is no claim but a fact, and what has been recorded is not kept back. Method: the cases that were
    // replayed, by program and first word of the algorithm, against the catalogue.
    let mut replayed = BTreeMap::new();
    for program in PROGRAMS {
        for report in replay(archive(program)) {
            let evidence = match report.outcome {
                CaseOutcome::Replayed { .. } => Evidence::Recorded,
                CaseOutcome::Distribution { .. } => Evidence::ByDistribution,
                CaseOutcome::Skipped { .. } | CaseOutcome::Unreadable { .. } => continue,
            };
            let family = if program == "ipvs" { "lvs" } else { program };
            // What a recording of nginx calls `hash` or `random` may be one with a parameter, a method of its own here.
            let name = match report.algorithm.split([' ', '(']).next().unwrap_or_default() {
                "hash" if report.case.contains("chash") => "hash_consistent",
                "random" if report.case.contains("random_two") => "random_two",
                name => name,
            };
            // Who holds the address and which servers are up is no balancer's decision.
            if name == "keepalived" {
                continue;
            }
            let name = name.to_owned();
            let before = replayed.insert((family, name), evidence);
            assert!(before.is_none_or(|before| before == evidence), "{}", report.case);
        }
    }
    for entry in evenkeel_sim::balancer::entries() {
        let found = replayed.remove(&(entry.program, entry.name.to_owned()));
        assert_eq!(entry.evidence, found.unwrap_or(Evidence::NotRecorded), "{}", entry.scenario_name);
    }
    assert!(replayed.is_empty(), "recordings of what is not in the catalogue: {replayed:?}");
}

#[test]
fn what_the_live_arm_found_has_not_come_back() {
    // Goal: a difference that was mended stays mended. Method: replay the cases to which it was
    // shrunk, and those of session stores.
    let reports = replay(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/live"));
    assert!(reports.len() >= 17, "cases were lost: {}", reports.len());
    for report in &reports {
        let CaseOutcome::Replayed { decisions, matched, first_difference } = &report.outcome else {
            panic!("{}: {:?}", report.case, report.outcome)
        };
        assert!(*decisions > 0, "{}", report.case);
        assert_eq!(matched, decisions, "{}: {first_difference:?}", report.case);
    }
}

#[test]
fn no_recording_of_ipvs_and_none_of_a_modelled_algorithm_is_skipped() {
    // Goal: no case is left out by accident. All of IPVS is modelled: one director, two with and without sync daemon,
    // keepalived's address and its checks.
    for program in PROGRAMS {
        let modelled = |report: &CaseReport| {
            program == "ipvs" || FLOORS.iter().any(|f| f.0 == program && f.1 == report.algorithm)
        };
        for report in replay(archive(program)).iter().filter(|report| modelled(report)) {
            let skipped = matches!(report.outcome, CaseOutcome::Skipped { .. });
            assert!(!skipped, "{}: {:?}", report.case, report.outcome);
        }
    }
}

#[test]
fn a_fail_over_that_was_configured_otherwise_is_told_from_the_one_recorded() {
    // Goal: the recordings of pairs and checks constrain the model. Method: change one option of each kind in `case.json`.
    let folder = tempfile::tempdir().expect("a temporary folder");
    unpack("ipvs", folder.path());
    for (name, from, to) in [
        ("sync-default-persist", "\"sync_daemon\": true", "\"sync_daemon\": false"),
        ("sync-default-plain", "\"sync_threshold\": \"3 50\"", "\"sync_threshold\": \"5 50\""),
        ("keepalived-vrrp-100-90", "\"d2\": 90", "\"d2\": 92"),
        ("keepalived-check-refuse", "\"retry\": 3", "\"retry\": 2"),
        ("keepalived-check-blackhole", "\"connect_timeout_s\": 3", "\"connect_timeout_s\": 4"),
    ] {
        let case = folder.path().join("ipvs").join(name);
        assert!(replay(case.clone()).iter().all(|report| !report.failed()), "{name}");
        let manifest = fs::read_to_string(case.join("case.json")).expect("a manifest");
        let changed = manifest.replacen(from, to, 1);
        assert_ne!(manifest, changed, "{name}");
        fs::write(case.join("case.json"), changed).expect("written");
        assert!(replay(case).iter().all(CaseReport::failed), "{name}: {to} is not told from {from}");
    }
}

#[test]
fn a_backup_s_tables_are_those_recorded_value_by_value() {
    // Goal: what the sync daemon copies, when it arrives, and how its timers run. Method: every counter, template and
    // connection that the backup showed five times a second; decisions alone would forgive much.
    let folder = tempfile::tempdir().expect("a temporary folder");
    unpack("ipvs", folder.path());
    for name in ["sync-default-persist", "sync-default-plain", "sync-none-persist", "sync-none-plain"] {
        let files = CaseFiles::Folder(folder.path().join("ipvs").join(name));
        let (_, shown) = replay_with_snapshots(&Case { name: name.into(), files });
        assert!(shown.counters + shown.templates + shown.connections >= 1_700, "{name}: {shown:?}");
        assert_eq!(
            shown.matched(),
            shown.counters + shown.templates + shown.connections,
            "{name}: {shown:?}"
        );
    }
}

#[test]
fn a_skipped_case_counts_neither_as_replayed_nor_as_matched() {
    for program in PROGRAMS {
        let reports = replay(archive(program));
        let mut skipped: BTreeMap<&str, u64> = BTreeMap::new();
        let mut decisions: BTreeMap<&str, u64> = BTreeMap::new();
        for report in &reports {
            match &report.outcome {
                CaseOutcome::Skipped { .. } => *skipped.entry(&report.algorithm).or_default() += 1,
                CaseOutcome::Replayed { decisions: n, .. } => {
                    *decisions.entry(&report.algorithm).or_default() += n;
                }
                CaseOutcome::Distribution { .. } | CaseOutcome::Unreadable { .. } => {}
            }
        }
        for ((_, algorithm), total) in &Totals::of(&reports).rows {
            assert_eq!(total.skipped, skipped.get(algorithm.as_str()).copied().unwrap_or(0), "{algorithm}");
            assert_eq!(
                total.decisions,
                decisions.get(algorithm.as_str()).copied().unwrap_or(0),
                "{algorithm}"
            );
        }
    }
}

/// Writes all cases of a program beneath `folder`.
fn unpack(program: &str, folder: &Path) {
    let archive = File::open(archive(program)).expect("an archive");
    let mut archive = tar::Archive::new(zstd::Decoder::new(archive).expect("zstd"));
    archive.unpack(folder).expect("unpacked");
}

/// The columns of `events.csv` that say which server the program chose, by name.
const SERVERS_CHOSEN: [&str; 2] = ["server", "tried"];

/// Writes the case `name` of a program's archive beneath `folder`, with the server of the `nth` open changed to another
/// one of the case; returns the line that was changed, from 1.
fn tamper(program: &str, name: &str, nth: usize, folder: &Path) -> u64 {
    unpack(program, folder);
    let events = folder.join(program).join(name).join("events.csv");
    let text = fs::read_to_string(&events).expect("events");
    let mut lines: Vec<Vec<String>> =
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect();
    let columns: Vec<usize> =
        (0..lines[0].len()).filter(|&column| SERVERS_CHOSEN.contains(&lines[0][column].as_str())).collect();
    let is_open = |line: &Vec<String>| line[1] == "open" && !line[columns[0]].is_empty();
    let at = (0..lines.len()).filter(|&at| is_open(&lines[at])).nth(nth).expect("so many opens");
    let recorded = lines[at][columns[0]].clone();
    let other = lines
        .iter()
        .filter(|line| is_open(line))
        .map(|line| line[columns[0]].clone())
        .find(|server| *server != recorded)
        .expect("another server");
    for &column in &columns {
        lines[at][column].clone_from(&other);
    }
    let tampered: Vec<String> = lines.iter().map(|line| line.join(",")).collect();
    fs::write(&events, tampered.join("\n") + "\n").expect("written");
    at as u64 + 1
}

#[test]
fn one_tampered_decision_is_found_at_its_line() {
    // Goal: the comparison sees a single wrong decision. Method: change one recorded server among hundreds. The hash and
    // the scheduler's state do not depend on what was recorded, so exactly that row must differ.
    for (program, name, nth) in
        [("nginx", "iphash_v4_3eq", 100), ("ipvs", "sched-rr-equal", 57), ("haproxy", "source-map-w5", 1_000)]
    {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let line = tamper(program, name, nth, folder.path());
        let reports = replay(folder.path().join(program).join(name));
        let CaseOutcome::Replayed { decisions, matched, first_difference } = &reports[0].outcome else {
            panic!("{name}: {:?}", reports[0].outcome)
        };
        let difference = first_difference.as_ref().unwrap_or_else(|| panic!("{name}: nothing was found"));
        assert_eq!((decisions - matched, difference.row), (1, line), "{name}: {difference:?}");
        assert_ne!(difference.recorded, difference.modelled, "{name}");
        assert!(reports[0].failed() && !Totals::of(&reports).passed(), "{name}");
    }
}
