//! Whatever a file holds, it is read or refused; nothing makes the reader panic.

use evenkeel_sim::scenario::{Overrides, parse};
use proptest::prelude::*;

use super::{WHOLE, read, shown};

/// Parts that mean something to the reader, to be put where they do not belong.
const FRAGMENTS: [&str; 24] = [
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "[[",
    "]]",
    ".",
    "=",
    ",",
    "\n",
    "0",
    "-1",
    "nan",
    "inf",
    "1e999",
    "\"0s\"",
    "99999999999999999999",
    "true",
    "é",
    "\t",
    "#",
    "{}",
];

proptest! {
    // Two thousand mutants: cuts, copies and insertions of a scenario that has everything. Whatever comes out is read
    // or refused with places inside the file; the reader never panics.
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutant_of_a_scenario_makes_the_reader_panic(
        edits in prop::collection::vec((0..WHOLE.len(), 0..40_usize, 0..FRAGMENTS.len() + 2), 1..6)
    ) {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for (at, length, what) in edits {
            let from = at.min(text.len());
            let to = (from + length).min(text.len());
            match FRAGMENTS.get(what) {
                Some(fragment) => { text.splice(from..(from + length % 3).min(text.len()), fragment.chars()); }
                None if what == FRAGMENTS.len() => { text.drain(from..to); }
                None => { let copy = text[from..to].to_vec(); text.splice(0..0, copy); }
            }
        }
        let text: String = text.into_iter().collect();
        match read(&text) {
            Ok(loaded) => {
                let explained = loaded.resolved.to_string();
                let again = read(&explained);
                prop_assert!(again.is_ok(), "{}\n{}", again.unwrap_err(), explained);
                prop_assert_eq!(shown(&again.unwrap().scenario), shown(&loaded.scenario));
            }
            Err(mistakes) => {
                prop_assert!(!mistakes.0.is_empty());
                prop_assert!(!mistakes.to_string().is_empty());
                let lines = text.matches('\n').count() + 1;
                prop_assert!(mistakes.0.iter().all(|mistake| (1..=lines).contains(&mistake.line)));
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(read(&text).is_err());
    }

    #[test]
    fn no_override_makes_the_reader_panic(assignment in "[a-z0-9.='\"\\[{ ]{0,30}", path in 0..4_usize) {
        let path = ["", "population.", "strategy.lvs.balancer.", "cluster.servers.web1."][path];
        let overrides = Overrides::new([format!("{path}{assignment}")]);
        if let Err(mistakes) = parse("x.toml", WHOLE, &overrides) {
            prop_assert!(!mistakes.to_string().is_empty());
        }
    }
}
