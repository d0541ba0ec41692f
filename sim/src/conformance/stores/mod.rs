//! Replays recordings of the programs that session stores are made of, and of a library that finds keys' nodes.
//!
//! A recording has a row in `events.csv` for each thing that was done or that happened, in order; which columns apply, each
//! program's module says. There is no time in them: what depends on it (ages, times to live) was set, not waited for.

pub mod library;
pub mod memcached;
pub mod redis;

use serde::de::DeserializeOwned;

use super::{Case, CaseError, Difference};
use crate::engine::Stream;
use crate::ids::StreamId;
use crate::store::StoreStreams;

const EVENTS: &str = "events.csv";

/// The rows of `events.csv`, each with its line.
fn rows<T: DeserializeOwned>(case: &Case) -> Result<Vec<(u64, T)>, CaseError> {
    let bytes = case.files.require(EVENTS)?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let rows = reader.deserialize().enumerate().map(|(place, row)| {
        let line = place as u64 + 2;
        row.map(|row| (line, row)).map_err(|error| CaseError::at(EVENTS, line, error.to_string()))
    });
    rows.collect()
}

/// A row that went otherwise.
fn difference(row: u64, event: &str, recorded: impl Into<String>, modelled: impl Into<String>) -> Difference {
    Difference {
        row,
        t_ms: 0.0,
        event: event.to_owned(),
        recorded: recorded.into(),
        modelled: modelled.into(),
    }
}

/// Draws of a replay. What is compared depends on none of them.
fn streams() -> StoreStreams {
    let stream = |id| Stream::new(0, 0, id);
    StoreStreams {
        operation: stream(StreamId::StoreOperation),
        copy: stream(StreamId::StoreCopy),
        eviction: stream(StreamId::StoreEviction),
        failover: stream(StreamId::StoreFailover),
        mishap: stream(StreamId::StoreMishaps),
    }
}

#[cfg(test)]
pub(super) fn case(manifest: &str, events: &str) -> Case {
    let files = [("case.json", manifest), (EVENTS, events)];
    let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    Case { name: "case".into(), files: super::CaseFiles::Memory(files.into()) }
}
