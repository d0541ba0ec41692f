//! What a fault did in one run.

use crate::cluster::RunOutcome;
use crate::engine::SimTime;
use crate::metrics::Phase;
use crate::metrics::measure::{Fleet, judged_windows, quantile};
use crate::metrics::recorder::Counts;
use crate::scenario::{Fault, Scenario};

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
}

/// The impact of every fault of the scenario.
pub fn impacts(scenario: &Scenario, outcome: &RunOutcome, fleet: &Fleet) -> Vec<Impact> {
    let counts = &outcome.counts;
    scenario
        .faults
        .iter()
        .zip(&outcome.faults)
        .map(|(fault, blamed)| {
            let (from, until) = bounds(fault, counts);
            let even_again = even_again(counts, fleet, until);
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
            }
        })
        .collect()
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
