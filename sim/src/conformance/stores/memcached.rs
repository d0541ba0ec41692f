//! memcached with `-o no_modern`: the sizes of its chunks, and which items make room for others.
//!
//! `case.json`: `memory_mb` (`-m`), `factor` (`-f`), `chunk_min` (`-n`). Rows, by their `event`:
//!
//! - `class`: the next class of chunks, with `bytes` (of a chunk) and `chunks` (of a page). A decision each; their number is one more.
//! - `set`, `delete`: of the item `key`, 40 characters long, with a value of `bytes`.
//! - `present`, `absent`: whether there is such an item in the end. A decision each.

use serde::Deserialize;

use super::{difference, rows, streams};
use crate::conformance::{Case, CaseError, CaseOutcome, Tally};
use crate::engine::{Distribution, SimDuration, SimTime};
use crate::ids::ServerId;
use crate::store::plan::{KeyDistribution, MemcachedPlan, StorePlan};
use crate::store::slabs::Classes;
use crate::store::{Access, Found, NewSession, RecordId, Store};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Manifest {
    memory_mb: u64,
    factor: f64,
    chunk_min: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Class,
    Set,
    Delete,
    Present,
    Absent,
}

#[derive(Deserialize)]
struct Row {
    event: Event,
    key: String,
    bytes: Option<u32>,
    chunks: Option<u64>,
}

/// Replays one recording.
pub fn replay(case: &Case) -> CaseOutcome {
    try_replay(case).unwrap_or_else(CaseOutcome::from)
}

fn try_replay(case: &Case) -> Result<CaseOutcome, CaseError> {
    let manifest = case.manifest::<Manifest>()?;
    let classes = Classes::new(manifest.chunk_min, manifest.factor);
    let plan = MemcachedPlan {
        nodes: 1,
        distribution: KeyDistribution::Modula,
        remove_failed_servers: false,
        memory: manifest.memory_mb << 20,
        factor: manifest.factor,
        chunk_min: manifest.chunk_min,
        threads: 1,
        operation: Distribution::Constant(0.0),
        network: SimDuration::ZERO,
        ..MemcachedPlan::default()
    };
    let mut store = Store::new(&StorePlan::Memcached(plan), 1, streams());
    let mut items: BTreeMap<String, RecordId> = BTreeMap::new();
    let mut tally = Tally::default();
    let mut seen = 0;
    for (line, row) in rows::<Row>(case)? {
        let now = SimTime::from_millis(line);
        let access = Access { now, server: ServerId(0), entity: line, index: 0, stands: false };
        let missing = |what: &str| CaseError::at(super::EVENTS, line, format!("a row without {what}"));
        match row.event {
            Event::Class => {
                let recorded = (row.bytes.map(u64::from), row.chunks);
                let modelled =
                    (seen < classes.len()).then(|| (Some(classes.size(seen)), Some(classes.per_page(seen))));
                seen += 1;
                if modelled == Some(recorded) {
                    tally.alike();
                } else {
                    tally.different(|| {
                        difference(line, "class", format!("{recorded:?}"), format!("{modelled:?}"))
                    });
                }
            }
            Event::Set => {
                let bytes = row.bytes.ok_or_else(|| missing("`bytes`"))?;
                match items.get(&row.key) {
                    Some(&id) => drop(store.write(&access, id)),
                    None => {
                        let idle_timeout = SimDuration::from_secs(1_000_000);
                        let session = NewSession { name: line, bytes, idle_timeout };
                        items.insert(row.key, store.create(&access, &session).0);
                    }
                }
            }
            Event::Delete => {
                if let Some(&id) = items.get(&row.key) {
                    store.remove(&access, id);
                }
            }
            Event::Present | Event::Absent => {
                let recorded = matches!(row.event, Event::Present);
                let id = *items.get(&row.key).ok_or_else(|| missing("an item that was set"))?;
                // Looking moves nothing to the front: these rows come last.
                let modelled = store.read(&access, id).found == Found::Current;
                if recorded == modelled {
                    tally.alike();
                } else {
                    let word = |present| if present { "present" } else { "absent" };
                    tally.different(|| difference(line, &row.key, word(recorded), word(modelled)));
                }
            }
        }
    }
    if seen == classes.len() {
        tally.alike();
    } else {
        let counted = |classes: usize| format!("{classes} classes");
        tally.different(|| difference(1, "class", counted(seen), counted(classes.len())));
    }
    Ok(tally.into())
}

#[cfg(test)]
mod tests {
    use super::super::case;
    use super::*;

    #[test]
    fn classes_and_items_are_compared_row_by_row() {
        // Four classes at this factor: chunks of 96, 960, 9600, 96 000 and one page; a page has ten items of 96 000.
        let manifest = r#"{"product": "memcached", "memory_mb": 1, "factor": 10.0, "chunk_min": 48}"#;
        let mut events =
            String::from("event,key,bytes,chunks\nclass,,96,10922\nclass,,960,1092\nclass,,9600,109\n");
        events.push_str("class,,96000,10\nclass,,1048576,1\n");
        for item in 0..11 {
            events.push_str(&format!("set,k{item},50000,\n"));
        }
        events.push_str("delete,k5,,\nabsent,k0,,\npresent,k1,,\nabsent,k5,,\nabsent,k10,,\n");
        let outcome = replay(&case(manifest, &events));
        let CaseOutcome::Replayed { decisions: 10, matched: 9, first_difference: Some(first) } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!((first.event.as_str(), first.modelled.as_str()), ("k10", "present"));
    }
}
