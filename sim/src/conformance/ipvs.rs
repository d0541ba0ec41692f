//! Replays recordings of Linux IPVS.
//!
//! A recording says what clients and servers did; the packets that this makes the director see are worked out here
//! (see [`Replay`]). Decisions compared: every `open` (which server, or a refusal) and every `data` (answered, reset,
//! or no answer). Counters, templates and connections of `snapshot` rows are compared as well but are no decisions:
//! they hold values that differ by a tick of the kernel's timer where two events fall together ([`SnapshotTally`]).

mod format;
mod replay;
mod services;
mod snapshot;

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
    let has = |names: &[&str]| events.iter().any(|event| names.contains(&event.event.as_str()));
    // Before the schedulers: whatever those are, what these cases are about is not a decision of one director.
    let two = manifest.directors.is_some()
        || manifest.keepalived.as_ref().is_some_and(|keepalived| keepalived.get("priorities").is_some());
    if !two && (manifest.keepalived.is_some() || has(&["check"])) {
        return skipped("health checks of keepalived: no balancer decision to replay".into());
    }
    if two || has(&["failover", "director_start", "director_down"]) {
        return skipped("two directors: fail-over is not modelled".into());
    }
    let commands = case.files.read(format::COMMANDS)?.unwrap_or_default();
    let setup = match services::Setup::new(&manifest, &String::from_utf8_lossy(&commands))? {
        Ok(setup) => setup,
        Err(missing) => return skipped(missing),
    };
    let mut replay = replay::Replay::new(setup);
    for event in &events {
        replay.step(event)?;
    }
    let (tally, snapshots) = replay.finish();
    Ok((Replayed::Decisions(tally), snapshots))
}
