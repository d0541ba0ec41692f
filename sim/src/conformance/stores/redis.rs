//! Redis: which keys make room for others under each `maxmemory-policy`, and what `noeviction` refuses.
//!
//! `case.json`: `method` (the policy); the sample is as large as the number of keys, so that no chance is left, and
//! `lfu-log-factor` is 0, so that every use counts. Rows, by their `event`:
//!
//! - `key`: there is a key with a value of `bytes`, last used `idle_s` ago, that expires in `ttl_s` and was used `uses` times.
//! - `evicted`: the next key to go, of those before the row. A decision each.
//! - `limit`: from here on there is room for what there is and half a value.
//! - `set`, with `result` `taken` or `refused`: a decision each. `delete`, `get` with `result` `found` or `gone`: the latter a decision.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{difference, rows, streams};
use crate::conformance::{Case, CaseError, CaseOutcome, Tally};
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;
use crate::store::eviction::{Keyspace, Rule};
use crate::store::plan::{MaxmemoryPolicy, RedisFailover, RedisPlan, StorePlan};
use crate::store::records::Records;
use crate::store::{Access, Found, NewSession, RecordId, Store};

#[derive(Deserialize)]
struct Manifest {
    method: String,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Key,
    Evicted,
    Limit,
    Set,
    Delete,
    Get,
}

#[derive(Deserialize)]
struct Row {
    event: Event,
    key: String,
    bytes: Option<u32>,
    idle_s: Option<u64>,
    ttl_s: Option<u64>,
    uses: Option<u64>,
    result: String,
}

/// Keys that are drawn for one eviction: more than a recording has.
const SAMPLES: u32 = 64;

/// When the keys of a recording are as its rows say.
const NOW: SimTime = SimTime::from_millis(1_000_000_000);

/// Replays one recording.
pub fn replay(case: &Case) -> CaseOutcome {
    try_replay(case).unwrap_or_else(CaseOutcome::from)
}

fn try_replay(case: &Case) -> Result<CaseOutcome, CaseError> {
    let manifest = case.manifest::<Manifest>()?;
    let place = MaxmemoryPolicy::NAMES.iter().position(|name| *name == manifest.method);
    let Some(place) = place else {
        return Err(CaseError::at("case.json", 1, format!("no policy is called `{}`", manifest.method)));
    };
    let rows = rows::<Row>(case)?;
    if rows.iter().any(|(_, row)| row.event == Event::Limit) {
        refusals(MaxmemoryPolicy::ALL[place], &rows)
    } else {
        evictions(MaxmemoryPolicy::ALL[place], &rows)
    }
}

fn bytes_of(line: u64, row: &Row) -> Result<u32, CaseError> {
    row.bytes.ok_or_else(|| CaseError::at(super::EVENTS, line, "a row without `bytes`"))
}

/// The order in which keys go.
fn evictions(policy: MaxmemoryPolicy, rows: &[(u64, Row)]) -> Result<CaseOutcome, CaseError> {
    let rule = Rule { policy, samples: SAMPLES, log_factor: 0, decay_time: SimDuration::ZERO };
    let (mut records, mut keyspace) = (Records::default(), Keyspace::new(rule));
    let stream = streams().eviction;
    let mut keys: Vec<(&str, RecordId)> = Vec::new();
    let mut places: Vec<u32> = Vec::new();
    let mut tally = Tally::default();
    for (line, row) in rows {
        match row.event {
            Event::Key => {
                let bytes = bytes_of(*line, row)?;
                let idle = SimDuration::from_secs(row.idle_s.unwrap_or(0));
                let left = SimDuration::from_secs(row.ttl_s.unwrap_or(0));
                let used = SimTime(NOW.0.saturating_sub(idle.0));
                let id = records.add(used, *line, bytes, (NOW + left).since(used));
                places.push(keyspace.add(used, id, bytes));
                for number in 0..row.uses.unwrap_or(0) {
                    keyspace.used(NOW, id, &stream, (*line, number));
                }
                keys.push((&row.key, id));
            }
            Event::Evicted => {
                let victim = keyspace.victim(NOW, &records, 0, &stream);
                let name = keys.iter().find(|(_, id)| Some(*id) == victim).map_or("nobody", |(name, _)| name);
                if name == row.key {
                    tally.alike();
                } else {
                    tally.different(|| difference(*line, "evicted", row.key.clone(), name));
                }
                let gone = keys.iter().find(|(name, _)| *name == row.key).map(|(_, id)| *id);
                let gone = gone.filter(|&id| records.get(id).stored).ok_or_else(|| {
                    CaseError::at(super::EVENTS, *line, format!("there is no key `{}` to evict", row.key))
                })?;
                let place = places[gone.index()];
                if let Some(moved) = keyspace.remove(place, records.get(gone).bytes) {
                    places[moved.index()] = place;
                }
                records.drop_data(gone, None);
            }
            Event::Limit | Event::Set | Event::Delete | Event::Get => {
                return Err(CaseError::at(super::EVENTS, *line, "an event that needs a `limit`"));
            }
        }
    }
    Ok(tally.into())
}

/// What is refused at the limit.
fn refusals(policy: MaxmemoryPolicy, rows: &[(u64, Row)]) -> Result<CaseOutcome, CaseError> {
    let mut room = 0;
    for (line, row) in rows.iter().take_while(|(_, row)| row.event != Event::Limit) {
        room += Keyspace::size(bytes_of(*line, row)?);
    }
    let half = rows.iter().find_map(|(_, row)| row.bytes).map_or(0, |bytes| Keyspace::size(bytes) / 2);
    let plan = RedisPlan {
        replicas: 0,
        failover: RedisFailover::None,
        maxmemory: Some(room + half),
        maxmemory_policy: policy,
        ..RedisPlan::default()
    };
    let mut store = Store::new(&StorePlan::Redis(plan), 1, streams());
    let mut keys: BTreeMap<&str, RecordId> = BTreeMap::new();
    let mut tally = Tally::default();
    for (line, row) in rows {
        let now = SimTime::from_millis(line * 1_000);
        let access = Access { now, server: ServerId(0), entity: *line, index: 0, stands: false };
        let modelled = match row.event {
            Event::Key | Event::Set => {
                let idle_timeout = SimDuration::from_secs(1_000_000);
                let session = NewSession { name: *line, bytes: bytes_of(*line, row)?, idle_timeout };
                let (id, reply) = store.create(&access, &session);
                keys.insert(&row.key, id);
                if row.event == Event::Key {
                    continue;
                }
                if reply.found == Found::Failed { "refused" } else { "taken" }
            }
            Event::Delete => {
                if let Some(&id) = keys.get(row.key.as_str()) {
                    store.remove(&access, id);
                }
                continue;
            }
            Event::Get => {
                let found = keys.get(row.key.as_str()).map(|&id| store.read(&access, id).found);
                if found == Some(Found::Current) { "found" } else { "gone" }
            }
            Event::Limit => continue,
            Event::Evicted => {
                return Err(CaseError::at(super::EVENTS, *line, "an eviction in a recording with a `limit`"));
            }
        };
        if modelled == row.result {
            tally.alike();
        } else {
            tally.different(|| difference(*line, &row.key, row.result.clone(), modelled));
        }
    }
    Ok(tally.into())
}

#[cfg(test)]
mod tests {
    use super::super::case;
    use super::*;

    const HEADER: &str = "event,key,bytes,idle_s,ttl_s,uses,result\n";

    fn outcome(policy: &str, rows: &str) -> (u64, u64) {
        let manifest = format!(r#"{{"product": "redis", "method": "{policy}"}}"#);
        match replay(&case(&manifest, &format!("{HEADER}{rows}"))) {
            CaseOutcome::Replayed { decisions, matched, .. } => (matched, decisions),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_policy_has_its_own_order_of_the_same_keys() {
        let keys = "key,a,100,30,90,1,\nkey,b,100,10,30,9,\nkey,c,100,20,60,5,\n";
        for (policy, order) in [
            ("allkeys-lru", ["a", "c", "b"]),
            ("volatile-lru", ["a", "c", "b"]),
            ("volatile-ttl", ["b", "c", "a"]),
            ("allkeys-lfu", ["a", "c", "b"]),
        ] {
            let rows: String = order.iter().map(|key| format!("evicted,{key},,,,,\n")).collect();
            assert_eq!(outcome(policy, &format!("{keys}{rows}")), (3, 3), "{policy}");
            let wrong = format!("{keys}evicted,c,,,,,\n");
            assert_eq!(outcome(policy, &wrong), (0, 1), "{policy}");
        }
    }

    #[test]
    fn a_full_redis_that_evicts_nobody_refuses_writes_and_answers_reads() {
        let rows = "key,a,1000,,,,\nkey,b,1000,,,,\nlimit,,,,,,\nset,c,1000,,,,taken\nset,d,1000,,,,refused\n\
                    get,a,,,,,found\nget,d,,,,,gone\ndelete,b,,,,,\nset,e,1000,,,,taken\nset,f,1000,,,,refused\n";
        assert_eq!(outcome("noeviction", rows), (6, 6));
    }
}
