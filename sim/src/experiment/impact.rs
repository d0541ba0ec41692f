//! What a fault did in one run.

use crate::cluster::{RunOutcome, Spell};
use crate::engine::SimTime;
use crate::metrics::Phase;
use crate::metrics::measure::{Fleet, judged_windows, quantile};
use crate::metrics::recorder::Counts;
use crate::scenario::{Fault, FaultKind, Scenario};

/// Windows in a row that must be even for load to count as even again.
const EVEN_IN_A_ROW: usize = 3;

/// What a fault did.
#[derive(Clone, Copy, Debug)]
pub struct Impact {
    /// Sessions whose loss it caused.
    pub users_logged_out: u64,
    /// Requests that failed while it lasted.
    pub requests_failed: u64,
    /// Highest utilisation of any server in any window from its start until load was even again (or the end).
    pub peak_utilisation: f64,
    /// Time from its end until load was even again \[s\].
    pub even_again_s: Option<f64>,
    /// Whether it made the servers that were left overloaded, all of them; told of the last fault that had begun by then.
    pub toppled: Option<Toppled>,
    /// Times that it came where a health rule could see it, at each of its parts.
    pub visible: u64,
    /// Of these, those that no health rule noticed before they were over.
    pub undetected: u64,
    /// Mean time to detect of the others \[s\].
    pub detected_after_s: Option<f64>,
    /// Mean time from the end to the moment when all chose its part again, of those that saw it \[s\].
    pub back_after_s: Option<f64>,
}

/// How the servers that were left were overloaded.
#[derive(Clone, Copy, Debug)]
pub struct Toppled {
    /// Time from the fault's beginning until they were \[s\].
    pub after_s: f64,
    /// How long they were \[s\].
    pub for_s: f64,
    /// Whether they were to the end of the run.
    pub to_the_end: bool,
}

/// Busy share from which a server counts as overloaded.
const OVERLOADED: f64 = 0.98;
/// Windows in a row in which all servers must be overloaded for the site to count as toppled, and in which they must not be for it
/// to count as well again.
const IN_A_ROW: usize = 3;

/// The impact of every fault of the scenario.
pub fn impacts(scenario: &Scenario, outcome: &RunOutcome, fleet: &Fleet) -> Vec<Impact> {
    let counts = &outcome.counts;
    let toppled = toppled_at(counts, fleet);
    let toppled = toppled.and_then(|(from, until)| {
        let is_event = |spell: &&Spell| scenario.faults[spell.fault as usize].kind != FaultKind::Autoscaling;
        let last = outcome.spells.iter().rev().filter(is_event).find(|spell| spell.from <= from)?;
        let toppled = Toppled {
            after_s: from.since(last.from).as_secs_f64(),
            for_s: until.since(from).as_secs_f64(),
            to_the_end: until == counts.calendar.end,
        };
        Some((last.fault as usize, toppled))
    });
    scenario
        .faults
        .iter()
        .zip(&outcome.faults)
        .enumerate()
        .map(|(number, (fault, blamed))| {
            let (from, until) = bounds(fault, counts);
            let even_again = even_again(counts, fleet, until);
            let seen: Vec<_> = outcome.sightings.iter().filter(|it| it.fault as usize == number).collect();
            let detected = || seen.iter().filter_map(|it| Some(it.detected?.since(it.from).as_secs_f64()));
            let back = seen.iter().filter_map(|it| Some(it.back?.since(it.until).as_secs_f64()));
            Impact {
                users_logged_out: blamed.users_logged_out,
                requests_failed: blamed.requests_failed,
                peak_utilisation: peak_utilisation(
                    counts,
                    fleet,
                    from,
                    even_again.unwrap_or(counts.calendar.end),
                ),
                even_again_s: even_again.map(|at| at.since(until).as_secs_f64()),
                toppled: toppled.filter(|&(fault, _)| fault == number).map(|(_, toppled)| toppled),
                visible: seen.len() as u64,
                undetected: (seen.len() - detected().count()) as u64,
                detected_after_s: mean(detected()),
                back_after_s: mean(back),
            }
        })
        .collect()
}

fn mean(times: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = times.fold((0.0, 0), |(sum, count), time| (sum + time, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn bounds(fault: &Fault, counts: &Counts) -> (SimTime, SimTime) {
    let from = counts.calendar.measured_from + fault.at;
    let until = fault.until().map_or(counts.calendar.end, |until| counts.calendar.measured_from + until);
    (from, until.min(counts.calendar.end))
}

/// When load was even again after `until`: the start of the first of three judged windows in a row whose peak to mean is
/// within what 95 % of the windows before the first fault showed.
fn even_again(counts: &Counts, fleet: &Fleet, until: SimTime) -> Option<SimTime> {
    let before: Vec<f64> =
        judged_windows(counts, fleet, Phase::Before).iter().map(|window| window.peak_to_mean).collect();
    let usual = quantile(&before, 0.95)?;
    let after: Vec<_> =
        judged_windows(counts, fleet, Phase::All).into_iter().filter(|window| window.until > until).collect();
    after
        .windows(EVEN_IN_A_ROW)
        .find(|row| row.iter().all(|window| window.peak_to_mean <= usual))
        .map(|row| row[0].from.max(until))
}

/// From when to when the site was toppled for the first time: the first windows in a row after the first fault in which every server
/// in service was busy all the time, up to the first windows in a row of which that is true of none: servers that come back to clients
/// who try again are idle for a moment. `None` where that happened before a fault, too: such a site was overloaded from the start.
fn toppled_at(counts: &Counts, fleet: &Fleet) -> Option<(SimTime, SimTime)> {
    let calendar = &counts.calendar;
    let start = |window: usize| calendar.measured_from + calendar.window * window as u64;
    let is_overloaded = |window: usize| {
        let (from, until) = (start(window), start(window + 1).min(calendar.end));
        let length = until.since(from).as_secs_f64();
        let busy = |server: usize| counts.window_busy_ns[window * counts.servers + server] as f64 / 1e9;
        let works_hard = |server: &usize| busy(*server) / fleet.workers[*server] / length >= OVERLOADED;
        let is_out = |server: usize| !fleet.outages.of(server, from, until).is_empty();
        let servers = 0..fleet.workers.len();
        servers.clone().any(|server| works_hard(&server))
            && servers.filter(|server| !works_hard(server)).all(is_out)
    };
    let overloaded: Vec<bool> = (0..calendar.windows()).map(is_overloaded).collect();
    let first = overloaded.windows(IN_A_ROW).position(|row| row.iter().all(|&one| one))?;
    let well_again = overloaded[first..].windows(IN_A_ROW).position(|row| !row.contains(&true));
    let (from, until) =
        (start(first), well_again.map_or(calendar.end, |after| start(first + after).min(calendar.end)));
    (start(first + 1) > calendar.faults_from).then(|| (from.max(calendar.faults_from), until))
}

fn peak_utilisation(counts: &Counts, fleet: &Fleet, from: SimTime, until: SimTime) -> f64 {
    let calendar = &counts.calendar;
    let mut peak = 0.0_f64;
    for window in 0..calendar.windows() {
        let start = calendar.measured_from + calendar.window * window as u64;
        let end = (start + calendar.window).min(calendar.end);
        if end <= from || start >= until {
            continue;
        }
        let length = end.since(start).as_secs_f64();
        for (server, workers) in fleet.workers.iter().enumerate() {
            let busy = counts.window_busy_ns[window * counts.servers + server] as f64 / 1e9;
            peak = peak.max(busy / workers / length);
        }
    }
    peak
}
