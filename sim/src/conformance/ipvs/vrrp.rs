//! Replays recordings of two keepalived directors that share an address: who holds it, from when to when.
//!
//! A decision is a row that says that a director has taken or given up the address, and it is alike if the model says the
//! same of this director, as its next step, at that time within [`SLACK`]. Not compared: that the address of a killed
//! director was taken off, which was done by hand.

use std::collections::BTreeMap;

use crate::conformance::{CaseError, Difference, Tally};
use crate::engine::{SimDuration, SimTime};
use crate::failover::vrrp::{Changed, VrrpConfig, VrrpGroup, VrrpState};

use super::format::{Event, Keepalived, MANIFEST};

/// How far times may be apart. keepalived's timers fire up to 0.1 ms late and each advert is timed from the one before:
/// a millisecond and a half in fifteen seconds. Two that start together add as much.
const SLACK: SimDuration = SimDuration::from_millis(3);

/// From the start of the process until its timers run, on the machine of the recordings, which has one processor: two that
/// start together take twice as long each. Found in the ten restarts of each recording, which differ by half a
/// millisecond.
const START_UP: SimDuration = SimDuration::from_millis(61);

/// One director's having taken or given up the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Step {
    at: SimTime,
    holds: bool,
}

/// Replays the rows.
///
/// # Errors
/// If a row names a director that `case.json` does not, or is none that such a recording has.
pub(super) fn replay(
    keepalived: &Keepalived,
    priorities: &BTreeMap<String, u8>,
    events: &[Event],
) -> Result<Tally, CaseError> {
    let director = |event: &Event| {
        let index = priorities.keys().position(|name| *name == event.server);
        index.ok_or_else(|| event.error(format!("no director `{}` in case.json", event.server)))
    };
    let modelled = modelled(&mut group(keepalived, priorities)?, events, &director)?;

    let mut tally = Tally::default();
    let mut next = vec![0; modelled.len()];
    let mut killed = vec![false; modelled.len()];
    for event in events {
        let index = director(event)?;
        match event.event.as_str() {
            "director_start" => killed[index] = false,
            "director_down" => killed[index] = event.has("kill"),
            _ => {
                let holds = event.has("acquired");
                let step = modelled[index].get(next[index]);
                let by_hand = killed[index] && !holds;
                next[index] += 1;
                if !by_hand {
                    compare(&mut tally, event, holds, step);
                }
            }
        }
    }
    for (index, steps) in modelled.iter().enumerate() {
        for step in steps.get(next[index]..).unwrap_or_default() {
            let Some(last) = events.last() else { break };
            tally.different(|| difference(last, "nothing more".into(), show(Some(step))));
        }
    }
    Ok(tally)
}

fn group(keepalived: &Keepalived, priorities: &BTreeMap<String, u8>) -> Result<VrrpGroup, CaseError> {
    let wrong = |message: &str| CaseError::File { file: MANIFEST.into(), message: message.into() };
    let advert_int = keepalived.advert_int_s.filter(|seconds| (0.01..=255.0).contains(seconds));
    let advert_int = advert_int.ok_or_else(|| wrong("`advert_int_s`: expected 0.01 to 255"))?;
    if priorities.values().any(|&priority| priority == 0) {
        return Err(wrong("`priorities`: expected 1 to 255"));
    }
    let config = |&priority: &u8| VrrpConfig {
        priority,
        advert_int: SimDuration::from_secs_f64(advert_int),
        nopreempt: keepalived.options.split_whitespace().any(|option| option == "nopreempt"),
        ..VrrpConfig::default()
    };
    // Nobody looks at where packets go in these recordings.
    Ok(VrrpGroup::new(priorities.values().map(config).collect(), SimDuration::MAX))
}

/// The steps of each director under the inputs of the rows.
fn modelled(
    group: &mut VrrpGroup,
    events: &[Event],
    director: &dyn Fn(&Event) -> Result<usize, CaseError>,
) -> Result<Vec<Vec<Step>>, CaseError> {
    let starts: Vec<SimTime> =
        events.iter().filter(|event| event.event == "director_start").map(Event::time).collect();
    let mut inputs = Vec::new();
    for event in events {
        let (at, index) = (event.time(), director(event)?);
        match event.event.as_str() {
            "director_start" => {
                let apart = |other: SimTime| at.since(other).max(other.since(at));
                let together = starts.iter().filter(|&&other| apart(other) < START_UP).count() as u64;
                inputs.push((at + START_UP * together, index, VrrpGroup::start as fn(&mut _, _, _)));
            }
            "director_down" if event.has("kill") => inputs.push((at, index, VrrpGroup::crash)),
            "director_down" => inputs.push((at, index, VrrpGroup::stop)),
            "failover" if event.has("acquired") || event.has("released") => {}
            other => return Err(event.error(format!("unknown event `{other}` or `detail`"))),
        }
    }
    inputs.sort_by_key(|&(at, ..)| at);
    for (at, index, input) in inputs {
        input(group, at, index);
    }
    if let Some(last) = events.last() {
        group.advance(last.time() + SLACK);
    }
    let mut steps: Vec<Vec<Step>> = vec![Vec::new(); group.len()];
    for change in group.changes().collect::<Vec<_>>() {
        let Changed::State(state) = change.what else { continue };
        let (steps, holds) = (&mut steps[change.director], state == VrrpState::Master);
        if holds || steps.last().is_some_and(|last| last.holds) {
            steps.push(Step { at: change.at, holds });
        }
    }
    Ok(steps)
}

fn compare(tally: &mut Tally, event: &Event, holds: bool, step: Option<&Step>) {
    let recorded = Step { at: event.time(), holds };
    let alike = step.is_some_and(|step| {
        step.holds == holds && step.at.since(recorded.at).max(recorded.at.since(step.at)) <= SLACK
    });
    if alike {
        tally.alike();
    } else {
        tally.different(|| difference(event, show(Some(&recorded)), show(step)));
    }
}

fn difference(event: &Event, recorded: String, modelled: String) -> Difference {
    Difference { row: event.line, t_ms: event.t_ms, event: event.event.clone(), recorded, modelled }
}

fn show(step: Option<&Step>) -> String {
    match step {
        None => "nothing more".into(),
        Some(Step { at, holds: true }) => format!("acquired at {:.3} ms", at.as_secs_f64() * 1e3),
        Some(Step { at, holds: false }) => format!("released at {:.3} ms", at.as_secs_f64() * 1e3),
    }
}
