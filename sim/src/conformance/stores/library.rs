//! libmemcached: to which node each key goes.
//!
//! `case.json`: `method` (the `distribution`) and `servers`, their addresses in order. Rows: `key`, and the `server` that the library
//! named, by its place from 0. Every row is a decision.

use std::net::SocketAddrV4;

use serde::Deserialize;

use super::{difference, rows};
use crate::conformance::{Case, CaseError, CaseOutcome, Tally};
use crate::store::key_map::{KeyMap, hash_of_key};
use crate::store::plan::KeyDistribution;

#[derive(Deserialize)]
struct Manifest {
    method: String,
    servers: Vec<SocketAddrV4>,
}

#[derive(Deserialize)]
struct Row {
    key: String,
    server: usize,
}

/// Replays one recording.
pub fn replay(case: &Case) -> CaseOutcome {
    try_replay(case).unwrap_or_else(CaseOutcome::from)
}

fn try_replay(case: &Case) -> Result<CaseOutcome, CaseError> {
    let manifest = case.manifest::<Manifest>()?;
    let place = KeyDistribution::NAMES.iter().position(|name| *name == manifest.method);
    let Some(place) = place else {
        let reason = format!("no distribution is called `{}`", manifest.method);
        return Err(CaseError::at("case.json", 1, reason));
    };
    let distribution = KeyDistribution::ALL[place];
    let nodes: Vec<_> = manifest.servers.into_iter().enumerate().collect();
    let keys = KeyMap::new(distribution, &nodes);
    let mut tally = Tally::default();
    for (line, row) in rows::<Row>(case)? {
        let node = keys.node(hash_of_key(distribution, row.key.as_bytes()));
        if node == Some(row.server) {
            tally.alike();
        } else {
            let named = |server: usize| format!("server {server}");
            tally.different(|| {
                difference(line, "key", named(row.server), node.map_or("none".to_owned(), named))
            });
        }
    }
    Ok(tally.into())
}

#[cfg(test)]
mod tests {
    use super::super::case;
    use super::*;

    #[test]
    fn a_key_elsewhere_is_a_difference_and_an_unknown_distribution_no_recording() {
        let manifest =
            r#"{"product": "libmemcached", "method": "modula", "servers": ["10.0.0.1:1", "10.0.0.2:1"]}"#;
        let outcome = replay(&case(manifest, "key,server\na,0\na,1\n"));
        let CaseOutcome::Replayed { decisions: 2, matched: 1, first_difference: Some(first) } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert!([2, 3].contains(&first.row), "{first:?}");
        let unknown = replay(&case(&manifest.replace("modula", "modulo"), "key,server\n"));
        assert!(matches!(unknown, CaseOutcome::Unreadable { .. }), "{unknown:?}");
    }
}
