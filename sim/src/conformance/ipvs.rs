//! Replays recordings of Linux IPVS.
//!
//! A recording says what clients and servers did; the packets that this makes the director see are worked out here
//! (`replay.rs`). Decisions compared: every `open` (which server, or a refusal) and every `data` (answered, reset,
//! or no answer). Recordings of keepalived have decisions of their own (`vrrp.rs`, `checks.rs`). Counters, templates and connections of `snapshot` rows are compared as well but are no decisions:
//! they hold values that differ by a tick of the kernel's timer where two events fall together ([`SnapshotTally`]).

mod checks;
mod format;
mod replay;
mod services;
mod snapshot;
mod vrrp;

use crate::engine::SimDuration;
use crate::tier::lvs::LvsSync;

use super::{Case, CaseError, CaseOutcome, Tally};

pub use replay::SnapshotTally;

/// Replays one recording.
pub fn replay(case: &Case) -> CaseOutcome {
    replay_with_snapshots(case).0
}

/// Replays one recording, and also counts how many values of its snapshots the model shows alike.
pub fn replay_with_snapshots(case: &Case) -> (CaseOutcome, SnapshotTally) {
    match try_replay(case) {
        Ok((Replayed::Decisions(tally), snapshots)) => (tally.into(), snapshots),
        Ok((Replayed::Skipped(reason), snapshots)) => (CaseOutcome::Skipped { reason }, snapshots),
        Err(error) => (error.into(), SnapshotTally::default()),
    }
}

enum Replayed {
    Decisions(Tally),
    Skipped(String),
}

fn try_replay(case: &Case) -> Result<(Replayed, SnapshotTally), CaseError> {
    let manifest = case.manifest::<format::Manifest>()?;
    let skipped = |reason: String| Ok((Replayed::Skipped(reason), SnapshotTally::default()));
    let events = format::events(&case.files.require(format::EVENTS)?)?;
    if let Some(keepalived) = &manifest.keepalived {
        let tally = match &keepalived.priorities {
            Some(priorities) => vrrp::replay(keepalived, priorities, &events)?,
            None => checks::replay(keepalived, &manifest.servers, &events)?,
        };
        return Ok((Replayed::Decisions(tally), SnapshotTally::default()));
    }
    let commands = case.files.read(format::COMMANDS)?.unwrap_or_default();
    let setup = match services::Setup::new(&manifest, &String::from_utf8_lossy(&commands))? {
        Ok(setup) => setup,
        Err(missing) => return skipped(missing),
    };
    // The daemon's thread began before the recording, at a moment that this does not tell. Of the moments that the timer
    // wheel allows, the first is taken under which most values of the snapshots agree; decisions have no say in it.
    let first_looks: Vec<SimDuration> = match setup.sync {
        Some(_) => LvsSync::first_looks(setup.config.clock).collect(),
        None => vec![SimDuration::ZERO],
    };
    let mut best = (Tally::default(), SnapshotTally::default());
    for first_look in first_looks {
        let mut replay = replay::Replay::new(setup.clone(), first_look);
        for event in &events {
            replay.step(event)?;
        }
        let (tally, snapshots) = replay.finish();
        if best.0.decisions == 0 || snapshots.matched() > best.1.matched() {
            best = (tally, snapshots);
        }
    }
    let (tally, snapshots) = best;
    Ok((Replayed::Decisions(tally), snapshots))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::CaseFiles;
    use super::*;

    const MANIFEST: &str = r#"{
        "product": "ipvs", "scheduler": "rr", "persistence_s": 120, "vip": "192.0.2.1:80", "forwarding": "nat",
        "sysctl": {"expire_nodest_conn": "0"},
        "servers": [{"name": "s1", "weight": 1}, {"name": "s2", "weight": 1}],
        "kernel_timer": {"hz": 250, "jiffies_read": 4294957597, "jiffies_read_at_ms": -0.671, "tick_phase_ms": 2.018}
    }"#;
    const HEADER: &str = "t_ms,event,conn,client,client_port,server,detail\n";

    fn case(manifest: &str, events: &str) -> Case {
        let files = [("case.json", manifest.to_owned()), ("events.csv", format!("{HEADER}{events}"))];
        let files = files.map(|(name, text)| (name.to_owned(), text.into_bytes()));
        Case { name: "case".into(), files: CaseFiles::Memory(BTreeMap::from(files)) }
    }

    fn matched(outcome: &CaseOutcome) -> (u64, u64) {
        match outcome {
            CaseOutcome::Replayed { decisions, matched, .. } => (*matched, *decisions),
            other => panic!("{other:?}"),
        }
    }

    fn unreadable(events: &str) -> String {
        match replay(&case(MANIFEST, events)) {
            CaseOutcome::Unreadable { error } => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn servers_refusals_probes_and_snapshots_are_compared() {
        let events = r#"1.0,open,1,10.0.0.1,1024,s2,
2.0,open,2,10.0.0.2,1024,s1,
3.0,data,1,10.0.0.1,1024,s2,answered
4.0,close,1,10.0.0.1,1024,s2,client
5.0,remove,,,,s1,
6.0,data,2,10.0.0.2,1024,,no-answer
7.0,snapshot,,,,,"{""servers"":{""s2"":[1,0,1]},""templates_count"":2,""templates"":[[""10.0.0.1"",""s2"",119,""ASSURED""]]}"
8.0,weight,,,,s2,0
9.0,open,3,10.0.0.3,1024,,refused
10.0,server_down,,,,s2,
11.0,open,4,10.0.0.1,1025,,refused by=s2
12.0,data,4,10.0.0.1,1025,,reset
"#;
        let (outcome, snapshots) = replay_with_snapshots(&case(MANIFEST, events));
        // The last row cannot happen: the entry in CLOSE lives for 10 s and its server answers.
        assert_eq!(matched(&outcome), (6, 7));
        let CaseOutcome::Replayed { first_difference: Some(difference), .. } = outcome else {
            unreachable!()
        };
        assert_eq!((difference.row, difference.modelled.as_str()), (13, "answered"));
        assert_eq!((snapshots.counters, snapshots.counters_matched), (2, 2));
        assert_eq!((snapshots.templates, snapshots.templates_matched), (2, 2));
    }

    #[test]
    fn mistakes_are_reported_with_their_line() {
        for (events, error) in [
            ("x,open,1,10.0.0.1,1024,s2,\n", "events.csv:2: `t_ms`: cannot read `x`"),
            ("1,open,1,10.0.0,1024,s2,\n", "events.csv:2: `client`: cannot read `10.0.0`"),
            ("1,open,1,,1024,s2,\n", "events.csv:2: `open` without a client"),
            ("1,open,1,10.0.0.1,1024,s2,vport=81\n", "events.csv:2: no service at 192.0.2.1 port 81"),
            ("1,remove,,,,s9,\n", "events.csv:2: no server `s9` in case.json"),
            ("1,server_up,,,,s1,\n1,close,7,,,,client\n", "events.csv:3: connection `7` was never opened"),
            ("1,jump,,,,,\n", "events.csv:2: unknown event `jump`"),
        ] {
            assert_eq!(unreadable(events), error);
        }
        assert!(unreadable("1,snapshot,,,,,{\n").starts_with("events.csv:2: `detail` is no snapshot"));
    }

    #[test]
    fn what_is_not_modelled_is_skipped_with_its_reason() {
        let skipped = |manifest: String, events: &str| match replay(&case(&manifest, events)) {
            CaseOutcome::Skipped { reason } => reason,
            other => panic!("{other:?}"),
        };
        let mode = MANIFEST.replace("\"expire_nodest_conn\": \"0\"", "\"conn_reuse_mode\": \"2\"");
        assert_eq!(skipped(mode, ""), "no rule for `conn_reuse_mode = 2`");
    }

    #[test]
    fn what_a_case_of_two_directors_or_of_keepalived_lacks_is_told() {
        let told = |manifest: &str, events: &str| match replay(&case(manifest, events)) {
            CaseOutcome::Unreadable { error } => error,
            other => panic!("{other:?}"),
        };
        let failover = "1,failover,,,,d2,vip moved from d1 to d2\n";
        assert_eq!(told(MANIFEST, failover), "events.csv:2: no director `d2` in case.json");
        let keepalived = |what: &str| MANIFEST.replacen('{', &format!("{{\"keepalived\": {{{what}}},"), 1);
        let checks = keepalived("\"retry\": 3");
        assert_eq!(told(&checks, ""), "case.json: `delay_loop_s`: missing or out of range");
        let pair = keepalived("\"advert_int_s\": 1, \"priorities\": {\"d1\": 100, \"d2\": 90}");
        assert_eq!(told(&pair, "1,director_start,,,,d3,\n"), "events.csv:2: no director `d3` in case.json");
        assert_eq!(
            told(&pair, "1,snapshot,,,,d1,{}\n"),
            "events.csv:2: unknown event `snapshot` or `detail`"
        );
    }

    #[test]
    fn a_scheduler_of_no_known_name_makes_a_recording_unreadable() {
        let outcome = replay(&case(&MANIFEST.replace("\"rr\"", "\"sh2\""), ""));
        assert_eq!(outcome, CaseOutcome::Unreadable { error: "case.json: no balancer for `sh2`".into() });
    }

    proptest! {
        #[test]
        fn no_text_makes_the_replay_panic(
            manifest in prop_oneof![Just(MANIFEST.to_owned()), "\\PC{0,80}"],
            rows in prop::collection::vec(
                (
                    "(-?[0-9]{1,14}(\\.[0-9])?|nan)",
                    "(open|close|data|weight|add|remove|server_down|snapshot|[a-z]{1,5})",
                    "[12]?",
                    "(10\\.0\\.0\\.[12]|::1|\\PC{0,5})",
                    "[0-9]{0,5}",
                    "(s1|s2|\\PC{0,3})",
                    "(client|server-half|answered|5|4294967295|\\{\\}|\\PC{0,9})",
                ),
                0..20,
            ),
        ) {
            let rows: Vec<String> = rows
                .into_iter()
                .map(|(time, event, conn, client, port, server, detail)| {
                    format!("{time},{event},{conn},{client},{port},{server},{detail}\n")
                })
                .collect();
            replay(&case(&manifest, &rows.concat()));
        }
    }
}
