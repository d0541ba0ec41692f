//! Strategies meet the same users: the same click has the same think time and service demand, whatever happened before.

use std::collections::BTreeMap;

use evenkeel_sim::cluster::{Answer, Observer, RunOutcome, RunSetup, StepName, run_observed};
use evenkeel_sim::engine::{SimDuration, SimTime};
use evenkeel_sim::ids::{ClientId, ServerId};

use crate::support::read;

/// Two crashes, and so few connections kept that think times decide; the store's time and 64 workers, more than the
/// users need, so that no request waits and the time in the server less the store's is the demand itself.
const SCENARIO: &str = r#"
title = "the same users"
duration = "40min"
seed = 11
[[population]]
name = "users"
clients = 400
address = { preset = "home-nat" }
visit = { preset = "login-site", away = { exponential = { mean = "2min" } } }
[cluster]
servers = [
  { name = "a", address = "10.0.0.1:80" },
  { name = "b", address = "10.0.0.2:80" },
  { name = "c", address = "10.0.0.3:80" },
]
capacity = { workers = 64, service = { lognormal = { mean = "200ms", cv = 2.0 } } }
[[fault]]
at = "10min"
crash = { server = "b", lasts = "3min" }
[[fault]]
at = "20min"
crash = { server = "a", lasts = "2min" }
[[strategy]]
name = "LVS, local"
balancer = { lvs.wlc = { persistence_timeout = "60s" } }
health = { tcp_check = { retry = 0 } }
session = { local = {} }
[[strategy]]
name = "LVS, shared"
balancer = { lvs.wlc = { persistence_timeout = "60s" } }
session = { shared = { latency = { exponential = { mean = "5ms" } } } }
[[strategy]]
name = "round robin, local"
balancer = { nginx.round_robin = {} }
session = { local = {} }
[[strategy]]
name = "ip_hash, local"
balancer = { nginx.ip_hash = {} }
session = { local = {} }
"#;

/// What one run shows of each step.
#[derive(Debug, Default)]
struct Diary {
    /// Service demand of the first answer to a step.
    demands: BTreeMap<StepName, (SimDuration, ServerId)>,
    /// Time from the answer to a step to what the client asks next.
    thinks: BTreeMap<StepName, SimDuration>,
    /// The answer that each client got last.
    last: BTreeMap<ClientId, (SimTime, StepName)>,
}

impl Observer for Diary {
    fn asks(&mut self, now: SimTime, step: StepName) {
        if let Some((at, before)) = self.last.remove(&step.client)
            && before.visit == step.visit
        {
            self.thinks.entry(before).or_insert(now.since(at));
        }
    }

    fn answered(&mut self, now: SimTime, step: StepName, answer: Answer) {
        self.last.insert(step.client, (now, step));
        let demand = SimDuration(answer.in_server.0 - answer.store_time.0);
        self.demands.entry(step).or_insert((demand, answer.server));
    }
}

fn diaries() -> Vec<(Diary, RunOutcome)> {
    let loaded = read(SCENARIO);
    (0..loaded.scenario.strategies.len())
        .map(|strategy| {
            let setup =
                RunSetup { scenario: &loaded.scenario, strategy, replication: 0, logs: &[], stories: 0 };
            let mut diary = Diary::default();
            let outcome = run_observed(&setup, &mut diary).unwrap_or_else(|error| panic!("{error}"));
            (diary, outcome)
        })
        .collect()
}

/// The number of a click in [`StepName::step`].
const CLICK: u8 = 3;

/// A step's name without the logins that a strategy made necessary before: what is common.
fn common(step: &StepName) -> Option<StepName> {
    let first_login = step.step != CLICK && step.logins_again == 0;
    (step.step == CLICK || first_login).then_some(StepName { logins_again: 0, ..*step })
}

#[test]
fn click_k_of_visit_v_has_the_same_demand_and_think_time_under_every_strategy() {
    // Goal: common random numbers survive crashes, lost sessions and logins that repeat lost ones. Method: watch four
    // strategies that send the users different ways, and compare every step that two of them have in common.
    let runs = diaries();
    let (reference, _) = &runs[0];
    let demands: BTreeMap<StepName, (SimDuration, ServerId)> =
        reference.demands.iter().filter_map(|(step, &seen)| Some((common(step)?, seen))).collect();
    for (diary, outcome) in &runs[1..] {
        let (mut compared, mut elsewhere) = (0, 0);
        for (step, &(demand, server)) in &diary.demands {
            let Some(&(expected, at)) = common(step).and_then(|step| demands.get(&step)) else { continue };
            assert_eq!(demand, expected, "demand of {step:?}");
            compared += 1;
            elsewhere += u64::from(server != at);
        }
        assert!(compared > 15_000, "only {compared} steps in common");
        assert!(elsewhere > compared / 10, "the strategies do the same: {elsewhere} of {compared}");
        assert!(outcome.counts.ledger.requests_issued > 20_000);

        // After a click that lost its session the client logs in again, which takes a pause of another name; the click
        // itself is made again later. So think times are compared where neither run had lost anything before.
        let undisturbed = |step: &StepName| step.logins_again == 0;
        let mut compared = 0;
        for (step, think) in diary.thinks.iter().filter(|(step, _)| undisturbed(step)) {
            let (next, lost) = (next_undisturbed(diary, step), next_undisturbed(reference, step));
            if let (Some(expected), true, true) = (reference.thinks.get(step), next, lost) {
                assert_eq!(think, expected, "think time after {step:?}");
                compared += 1;
            }
        }
        assert!(compared > 5_000, "only {compared} think times in common");
    }
}

/// Whether a step was followed by the next one of the same login: nothing was lost at it.
fn next_undisturbed(diary: &Diary, step: &StepName) -> bool {
    let next = if step.step == CLICK {
        StepName { click: step.click + 1, ..*step }
    } else {
        StepName { step: step.step + 1, ..*step }
    };
    diary.demands.contains_key(&next)
}

#[test]
fn the_strategies_that_are_compared_lose_different_sessions() {
    // Goal: the test above is not passed by runs in which nothing happens. The shared store loses none, LVS and
    // ip_hash those of the servers that crash, round robin nearly every one at the first click.
    let lost: Vec<u64> = diaries().iter().map(|(_, outcome)| outcome.counts.ledger.losses).collect();
    let [lvs_local, lvs_shared, round_robin, ip_hash] = lost[..] else { panic!("four strategies") };
    assert_eq!(lvs_shared, 0);
    assert!(ip_hash > 20 && lvs_local > 20 && round_robin > 20 * (ip_hash + lvs_local) / 2, "{lost:?}");
}

#[test]
fn watching_a_run_does_not_change_it() {
    let loaded = read(SCENARIO);
    let setup = RunSetup { scenario: &loaded.scenario, strategy: 0, replication: 0, logs: &[], stories: 0 };
    let watched = run_observed(&setup, &mut Diary::default()).expect("a run");
    let alone = evenkeel_sim::cluster::run(&setup, &|_| ()).expect("a run");
    assert_eq!(watched.counts.ledger, alone.counts.ledger);
    assert_eq!(
        (watched.sizes.events, watched.counts.visits_open),
        (alone.sizes.events, alone.counts.visits_open)
    );
}
