//! Recordings made by hand, and damaged ones.

use super::super::CaseFiles;
use super::*;
use proptest::prelude::*;

const MANIFEST: &str = r#"{
    "product": "haproxy", "balance": "leastconn",
    "servers": [
        {"name": "s1", "id": 1, "weight": 1, "maxconn": 1},
        {"name": "s2", "id": 2, "weight": 1, "maxconn": 1}
    ],
    "options": {"redispatch": true, "retries": 3, "timeout_connect": "100ms"},
    "key_is": "unused"
}"#;

/// Worked out by hand: the third request waits for the place of the second, s1 goes into maintenance, and a server that
/// refuses is left at once.
const EVENTS: &str = "\
t_ms,event,conn,client,key,server,tried,status
10,open,1,192.0.2.1,,s1,,200
20,open,2,192.0.2.1,,s2,,200
30,open,3,192.0.2.1,,s2,,200
40,close,2,,,s2,,
41,start,3,,,s2,,
50,close,3,,,s2,,
60,close,1,,,s1,,
70,server_down,,,refuse,s2,,
80,open,4,192.0.2.1,rc=+1 tsc=----,s1,s2@0 s1@0,200
90,admin,,,set server b/s1 state maint,,,
100,open,5,192.0.2.1,rc=3 tsc=SC--,,s2@0 s2@100 s2@200 s2@300,503
";

fn outcome(manifest: &str, events: &str) -> CaseOutcome {
    let files = [("case.json", manifest), ("events.csv", events)];
    let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_owned()));
    replay(&Case { name: "case".into(), files: CaseFiles::Memory(files.into()) })
}

#[test]
fn a_recording_that_follows_the_rules_matches_request_by_request() {
    let expected = CaseOutcome::Replayed { decisions: 6, matched: 6, first_difference: None };
    assert_eq!(outcome(MANIFEST, EVENTS), expected);
}

#[test]
fn a_decision_that_was_tampered_with_is_named_with_its_line() {
    for (from, to, row) in [
        ("10,open,1,192.0.2.1,,s1", "10,open,1,192.0.2.1,,s2", 2),
        ("41,start,3,,,s2", "41,start,3,,,s1", 6),
        ("rc=+1", "rc=1", 10),
        ("s2@0 s1@0", "s1@0 s1@0", 10),
        (",503", ",502", 12),
    ] {
        let CaseOutcome::Replayed { decisions, matched, first_difference } =
            outcome(MANIFEST, &EVENTS.replacen(from, to, 1))
        else {
            panic!("readable");
        };
        assert_eq!((decisions, matched), (6, 5), "{from}");
        let difference = first_difference.expect("one decision differs");
        assert_eq!(difference.row, row);
        assert_ne!(difference.recorded, difference.modelled);
    }
}

#[test]
fn a_malformed_row_is_named_with_its_line() {
    for (from, to, error) in [
        ("10,open", "soon,open", "events.csv:2: `soon` is no `t_ms`"),
        ("20,open", "2,open", "events.csv:3: time goes back to `2`"),
        ("40,close,2", "40,close,9", "events.csv:5: request 9 is closed and was not open"),
        ("refuse", "sulk", "events.csv:9: `sulk` is no `key`"),
        ("s2@0", "s9@0", "events.csv:10: `s9` is no `server`"),
        ("b/s1", "b/s7", "events.csv:11: `s7` is no `server`"),
        ("tried,status", "status", "events.csv:1: no column `tried`"),
    ] {
        let expected = CaseOutcome::Unreadable { error: error.into() };
        assert_eq!(outcome(MANIFEST, &EVENTS.replacen(from, to, 1)), expected);
    }
}

#[test]
fn what_is_not_modelled_is_skipped_by_name() {
    for (manifest, events, reason) in [
        (
            MANIFEST.replacen("\"retries\": 3", "\"lines\": [\"option prefer-last-server\"]", 1),
            EVENTS.to_owned(),
            "`option prefer-last-server` is not modelled",
        ),
        (
            MANIFEST.to_owned(),
            EVENTS.replacen("set server b/s1 state maint", "shutdown session x", 1),
            "the command `shutdown session x` is not modelled",
        ),
    ] {
        assert_eq!(outcome(&manifest, &events), CaseOutcome::Skipped { reason: reason.into() });
    }
}

#[test]
fn a_truncated_recording_and_an_unknown_algorithm_are_unreadable() {
    let manifest = MANIFEST.replacen("\"balance\"", "\"requests\": 5, \"balance\"", 1);
    assert!(matches!(outcome(&manifest, EVENTS), CaseOutcome::Replayed { decisions: 6, matched: 6, .. }));
    let end = EVENTS.find("100,open").expect("the last row");
    let error = "events.csv: 4 requests where `requests` in case.json says 5".into();
    assert_eq!(outcome(&manifest, &EVENTS[..end]), CaseOutcome::Unreadable { error });
    let error = "case.json: no balancer for `fastest`".into();
    assert_eq!(
        outcome(&MANIFEST.replacen("leastconn", "fastest", 1), EVENTS),
        CaseOutcome::Unreadable { error }
    );
}

proptest! {
    #[test]
    fn no_damage_to_a_recording_makes_the_replay_panic(
        which in 0usize..2,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
    ) {
        const BYTES: &[u8] = b"\n,|.0123456789-s{}\"xopenclosestart ";
        let mut files = [MANIFEST, EVENTS].map(|file| file.as_bytes().to_vec());
        for (place, byte) in damage {
            let file = &mut files[which];
            let place = place.index(file.len());
            file[place] = BYTES[byte.index(BYTES.len())];
        }
        let [manifest, events] = files.map(|file| String::from_utf8_lossy(&file).into_owned());
        outcome(&manifest, &events);
    }
}
