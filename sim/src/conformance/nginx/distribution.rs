//! Compares a recording of a random method with replays of it by the model, by how often what happened.
//!
//! The recording's inputs are replayed [`REPLAYS`] times, each time with draws of its own, and the same counts are taken of
//! the recording and of each replay: tries at each server, requests that found no server, answers that are no success, and
//! requests that were answered by the server of the request before, which tells chance from taking turns. If nginx follows
//! the model, the recording is one more replay, and whatever single figure is made of the counts, it is as likely as any
//! other to be the largest (Barnard, in the discussion of Bartlett, JRSS B 25 (1963); Besag & Diggle, Applied Statistics 26
//! (1977)). The figure is the largest |z| of all counts, against mean and standard deviation of recording and replays
//! together. A count that chance does not touch is the same in all replays, so a recording in which it differs is furthest
//! out and fails.

use super::Replay;
use super::recording::{Event, Name, Recording};
use crate::conformance::{CaseError, CaseOutcome};

/// Replays: the fewest with which a recording that is further out than all of them has a p value at [`LEVEL`].
const REPLAYS: u64 = 99;
/// A right model fails one case in a hundred; which, is settled for good once the recording is made.
const LEVEL: f64 = 0.01;
/// Statuses from here on are no success.
const FIRST_ERROR: u16 = 400;

/// Replays `recording`, whose method is a random one, and says whether it looks like the replays.
pub(super) fn compare(recording: &Recording) -> Result<CaseOutcome, CaseError> {
    let mut counts = Counts::new(recording);
    for row in &recording.rows {
        if let Event::Open(request) = &row.event {
            counts.add(&recording.tried[request.tried.clone()], request.server, request.status);
        }
    }
    let decisions = counts.requests;
    let mut samples = vec![counts.values];
    for instance in 0..REPLAYS {
        let replay = Replay::new(recording, instance).run()?;
        let mut counts = Counts::new(recording);
        for answer in &replay.answers {
            let tried = &replay.tried[answer.tried.clone()];
            let server = if answer.no_live { None } else { tried.last().copied() };
            counts.add(tried, server, answer.status);
        }
        samples.push(counts.values);
    }
    let distances = distances(&samples);
    let beyond = distances.iter().filter(|&&distance| distance >= distances[0]).count();
    let p_value = beyond as f64 / distances.len() as f64;
    Ok(CaseOutcome::Distribution {
        decisions,
        replays: REPLAYS,
        statistics: samples[0].len() as u64,
        z_max: distances[0],
        p_value,
        level: LEVEL,
        passed: p_value > LEVEL,
    })
}

/// What happened how often.
struct Counts {
    /// Tries at each server, by [`Name`]; then requests without a server, errors, and repeats.
    values: Vec<f64>,
    requests: u64,
    previous: Option<Name>,
}

impl Counts {
    fn new(recording: &Recording) -> Self {
        Self { values: vec![0.0; recording.names.len() + 3], requests: 0, previous: None }
    }

    /// Counts a request that tried `tried`, was answered by `server` and got `status`.
    fn add(&mut self, tried: &[Name], server: Option<Name>, status: u16) {
        let others = self.values.len() - 3;
        for name in tried {
            self.values[name.0 as usize] += 1.0;
        }
        self.values[others] += f64::from(u8::from(server.is_none()));
        self.values[others + 1] += f64::from(u8::from(status >= FIRST_ERROR));
        self.values[others + 2] += f64::from(u8::from(server.is_some() && server == self.previous));
        self.previous = server;
        self.requests += 1;
    }
}

/// For each sample the largest distance of its values from the mean of all samples, in standard deviations.
fn distances(samples: &[Vec<f64>]) -> Vec<f64> {
    let n = samples.len() as f64;
    let mut distances = vec![0.0_f64; samples.len()];
    for statistic in 0..samples[0].len() {
        let values = || samples.iter().map(|sample| sample[statistic]);
        let mean = values().sum::<f64>() / n;
        let deviation = (values().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n).sqrt();
        if deviation > 0.0 {
            for (distance, value) in distances.iter_mut().zip(values()) {
                *distance = distance.max((value - mean).abs() / deviation);
            }
        }
    }
    distances
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Case, CaseFiles};
    use crate::engine::Stream;
    use crate::ids::StreamId;

    const SERVERS: [(&str, u64); 3] = [("a", 4), ("b", 1), ("c", 2)];

    /// A recording of 4,000 requests, one after the other, of which request `n` is answered as `answer` says.
    fn outcome(options: &str, answer: impl Fn(u64) -> (&'static str, u16)) -> CaseOutcome {
        let servers = SERVERS.map(|(name, weight)| format!(r#"{{"name": "{name}", "weight": {weight}}}"#));
        let manifest = format!(
            r#"{{"product": "nginx", "method": "random", "options": {options}, "servers": [{}]}}"#,
            servers.join(",")
        );
        let mut events = String::from("t_ms,event,conn,client,key,server,tried,status\n");
        for n in 0..4_000 {
            let (server, status) = answer(n);
            events.push_str(&format!("{n},open,{n},192.0.2.1,,{server},{server},{status}\n"));
        }
        let files = [("case.json", manifest), ("events.csv", events)];
        let files = files.map(|(name, text)| (name.to_owned(), text.into_bytes()));
        super::super::replay(&Case { name: "case".into(), files: CaseFiles::Memory(files.into()) })
    }

    fn passed(outcome: &CaseOutcome) -> bool {
        match outcome {
            CaseOutcome::Distribution { decisions: 4_000, statistics: 6, passed, .. } => *passed,
            other => panic!("{other:?}"),
        }
    }

    /// Draws by weight from a stream that the model does not use.
    fn draw(n: u64) -> usize {
        let stream = Stream::new(99, 0, StreamId::Demand);
        [0, 0, 0, 0, 1, 2, 2][stream.below(7, n, 0) as usize]
    }

    #[test]
    fn other_draws_by_the_same_rule_pass() {
        let outcome = outcome("{}", |n| (SERVERS[draw(n)].0, 200));
        assert!(passed(&outcome), "{outcome:?}");
    }

    #[test]
    fn the_right_shares_in_turns_fail() {
        let outcome = outcome("{}", |n| (SERVERS[[0, 2, 0, 1, 0, 2, 0][n as usize % 7]].0, 200));
        assert!(!passed(&outcome), "{outcome:?}");
    }

    #[test]
    fn one_draw_is_told_from_the_second_of_two() {
        let outcome = outcome(r#"{"two": true, "least_conn": true}"#, |n| (SERVERS[draw(n)].0, 200));
        assert!(!passed(&outcome), "{outcome:?}");
    }

    #[test]
    fn what_chance_does_not_touch_must_be_equal() {
        let outcome = outcome("{}", |n| (SERVERS[draw(n)].0, if n == 1_234 { 502 } else { 200 }));
        assert!(!passed(&outcome), "{outcome:?}");
        let CaseOutcome::Distribution { p_value, z_max, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(p_value, 0.01);
        assert!((z_max - 99.0_f64.sqrt()).abs() < 1e-9, "{z_max}");
    }
}
