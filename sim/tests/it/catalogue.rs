//! What the entries of the catalogue declare, held against what their algorithms do; one body for all.

use evenkeel_sim::balancer::properties::{Grain, Moves, Refuses, Shares, Ties};
use evenkeel_sim::balancer::trial::{Caller, Changed, Trial, TrialServer, trial};
use evenkeel_sim::balancer::{CatalogueEntry, Reason, entries};
use evenkeel_sim::engine::SimDuration;
use evenkeel_sim::ids::ServerId;
use proptest::prelude::*;

/// Servers of these weights, named by their places.
fn weighted(weights: &[u32]) -> Vec<TrialServer> {
    (0..).zip(weights).map(|(name, &weight)| TrialServer::new(name, weight)).collect()
}

/// How many of `requests` requests of as many clients each of four servers of weights 1 to 4 gets, when each ends before
/// the next or when none ends.
fn counts(entry: &CatalogueEntry, requests: u64, stay_open: bool) -> [f64; 4] {
    let mut trial = trial(entry, &weighted(&[1, 2, 3, 4]));
    let mut counts = [0.0; 4];
    for number in 0..requests {
        let (server, _) = trial.open(&Caller::new(number));
        counts[server.expect("all may be used").index()] += 1.0;
        if !stay_open {
            trial.end(0, true);
        }
    }
    counts
}

/// Five standard deviations are allowed: of the sampling of clients, and of what the points of a ring leave to chance. A
/// table of places is off by what a server takes in a turn, at most 64 places (`ip_vs_mh.c`), here its weight.
fn assert_by_weight(entry: &CatalogueEntry, grain: Grain) {
    const REQUESTS: u64 = 20_000;
    let counts = counts(entry, REQUESTS, false);
    for (index, count) in counts.into_iter().enumerate() {
        let share = (index + 1) as f64 / 10.0;
        let deviation = |of: f64| (share * (1.0 - share) / of).sqrt();
        let grain = match grain {
            Grain::Exact => 0.0,
            Grain::Places(places) => 4.0 / f64::from(places),
            Grain::Points(per_weight) => 5.0 * deviation(10.0 * f64::from(per_weight)),
            Grain::PointsInAll(points) => 5.0 * deviation(points.into()),
        };
        let off = (count / REQUESTS as f64 - share).abs();
        assert!(off < grain + 5.0 * deviation(REQUESTS as f64), "{}: {counts:?}", entry.scenario_name);
    }
}

#[test]
fn shares_are_as_declared() {
    for entry in entries() {
        let name = entry.scenario_name;
        match entry.properties.shares {
            Shares::ByWeight(grain) => assert_by_weight(entry, grain),
            Shares::Equal => assert_eq!(counts(entry, 4_000, false), [1_000.0; 4], "{name}"),
            // No server could take one from another and have fewer for its weight, so all are within one turn.
            Shares::OpenByWeight => {
                let counts = counts(entry, 4_000, true);
                let near = |(index, count): (usize, &f64)| {
                    let weight = (index + 1) as f64;
                    (count - 400.0 * weight).abs() <= weight + 1.0
                };
                assert!(counts.iter().enumerate().all(near), "{name}: {counts:?}");
                assert!(!by_weight(counts_when_idle(entry)), "{name}: so do requests that end at once");
            }
            Shares::OpenEqual => {
                assert_eq!(counts(entry, 4_000, true), [1_000.0; 4], "{name}");
                assert_ne!(counts_when_idle(entry), [1_000.0; 4], "{name}: so do requests that end at once");
            }
            Shares::OneServer => {
                let counts = counts_when_idle(entry);
                assert_eq!(counts.iter().filter(|&&count| count > 0.0).count(), 1, "{name}: {counts:?}");
            }
            Shares::Other(what) => {
                let counts = counts_when_idle(entry);
                assert!(!by_weight(counts), "{name}: {counts:?} is by weight, not {what}");
            }
        }
    }
}

fn counts_when_idle(entry: &CatalogueEntry) -> [f64; 4] {
    counts(entry, 4_000, false)
}

/// Whether 4,000 requests are spread by weight, up to five standard deviations of the largest share.
fn by_weight(counts: [f64; 4]) -> bool {
    let off = |(index, count): (usize, &f64)| (count - 400.0 * (index + 1) as f64).abs();
    counts.iter().enumerate().all(|it| off(it) < 155.0)
}

#[test]
fn what_ties_a_client_says_hashed_and_what_does_not_says_scheduled() {
    for entry in entries() {
        // An address that `lblc` and `lblcr` have not met yet is scheduled, by the least load.
        let learns = ["lvs.lblc", "lvs.lblcr"].contains(&entry.scenario_name);
        let expected = match entry.properties.ties {
            Ties::Client { .. } | Ties::Called { .. } if !learns => Reason::Hashed,
            _ => Reason::Scheduled { tie: false },
        };
        let (_, reason) = trial(entry, &weighted(&[1, 3])).open(&Caller::new(1));
        let reason = match reason {
            Reason::Scheduled { .. } => Reason::Scheduled { tie: false },
            other => other,
        };
        assert_eq!(reason, expected, "{}", entry.scenario_name);
    }
}

const CLIENTS: u64 = 5_000;

/// The names of the servers that clients go to, each alone.
fn homes(trial: &mut dyn Trial, servers: &[TrialServer], ties: Ties) -> Vec<Option<u16>> {
    let home = |number| {
        let caller = Caller::new(number);
        let caller = if matches!(ties, Ties::Called { .. }) { caller.calling_its_own() } else { caller };
        let (server, _) = trial.open(&caller);
        server.map(|server| {
            trial.end(0, true);
            servers[server.index()].name
        })
    };
    (0..CLIENTS).map(home).collect()
}

/// The share of clients who moved although their server stayed.
fn moved(before: &[Option<u16>], after: &[Option<u16>], gone: u16) -> f64 {
    let stayed = before.iter().zip(after).filter(|(before, _)| **before != Some(gone));
    stayed.filter(|(before, after)| before != after).count() as f64 / CLIENTS as f64
}

/// What is declared as a bound has its reason:
/// - Maglev's table of 65,537 moves 0.23 % needlessly (measured on Envoy's own tables), and twice that is allowed; the
///   kernel's of 4,093 is smaller, and the paper (section 5.3, figure 12) finds a few percent with so few places a server;
/// - Envoy's ring keeps its size when a server goes, so those that stay get a tenth of all points anew, and with them at
///   most as many clients as had to move.
///
/// `Unbounded` is a claim too: it would be a better algorithm if nobody or few moved.
fn assert_moves(name: &str, moves: Moves, moved: f64) {
    let as_declared = match moves {
        Moves::Nobody => moved == 0.0,
        Moves::AtMost(most) => moved > 0.0 && moved <= most,
        Moves::Unbounded => moved > 0.1,
    };
    assert!(as_declared, "{name}: {moves:?}, but {moved} of all clients moved");
}

/// Who moves when the fifth of ten equal servers goes, at run time or by a new configuration; and everyone is at home
/// when it is back.
#[test]
fn clients_of_servers_that_stay_move_as_declared() {
    let ten = weighted(&[1; 10]);
    for entry in entries() {
        let name = entry.scenario_name;
        let ties = entry.properties.ties;
        let (Ties::Client { out, deleted } | Ties::Called { out, deleted }) = ties else {
            // Nothing is tied: after one more request, turns fall on other callers. Or one server has everybody.
            let mut trial = trial(entry, &ten);
            let first = homes(&mut *trial, &ten, ties);
            trial.open(&Caller::new(CLIENTS));
            trial.end(0, true);
            let all_one = first.iter().all(|home| *home == first[0]);
            assert!(all_one || homes(&mut *trial, &ten, ties) != first, "{name}");
            continue;
        };
        let mut running = trial(entry, &ten);
        let before = homes(&mut *running, &ten, ties);
        assert_eq!(homes(&mut *running, &ten, ties), before, "{name}");
        let gone = ServerId(4);
        running.change(gone, 1, true);
        let without = homes(&mut *running, &ten, ties);
        assert!(!without.contains(&Some(4)), "{name}");
        assert_moves(name, out, moved(&before, &without, 4));
        if matches!(ties, Ties::Client { .. }) {
            running.change(gone, 1, false);
            // The kernel puts a server that comes back at the head of its list, whose order its tables go by.
            let reordered = entry.program == "lvs";
            let back = homes(&mut *running, &ten, ties);
            assert!(reordered || back == before, "{name}: not everyone is back");
        }

        let nine: Vec<_> = ten.iter().copied().filter(|server| server.name != 4).collect();
        let restarted = homes(&mut *trial(entry, &nine), &nine, ties);
        assert_moves(name, deleted, moved(&before, &restarted, 4));
    }
}

/// Something that happens to a trial.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open { client: u64 },
    End { request: usize, answered: bool },
    Change { server: usize, weight: u32, out: bool },
    Pass { seconds: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u64..40).prop_map(|client| Step::Open { client }),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(request, answered)| Step::End { request, answered }),
        2 => (any::<usize>(), 0_u32..6, any::<bool>())
            .prop_map(|(server, weight, out)| Step::Change { server, weight, out }),
        1 => (0_u64..20).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

fn any_servers() -> impl Strategy<Value = Vec<TrialServer>> {
    let server = (0_u32..6, prop_oneof![3 => Just(0_u32), 1 => 1_u32..4], prop::bool::weighted(0.2));
    prop::collection::vec(server, 1..24).prop_map(|servers| {
        let server = |(name, (weight, max_open, out))| TrialServer { name, weight, max_open, out };
        (0..).zip(servers).map(server).collect()
    })
}

/// Plays `steps` and checks every pick against what an outsider knows; gives the picks.
fn play(entry: &CatalogueEntry, mut servers: Vec<TrialServer>, steps: &[Step]) -> Vec<Option<ServerId>> {
    let name = entry.scenario_name;
    let mut trial = trial(entry, &servers);
    // The servers that each open request has tried; the last of them is the one that it is at.
    let mut open: Vec<Vec<ServerId>> = Vec::new();
    let mut picks = Vec::new();
    let mut anyone_failed = false;
    for &step in steps {
        let (picked, mut tried) = match step {
            Step::Open { client } => (trial.open(&Caller::new(client)), Vec::new()),
            Step::End { request, answered } if !open.is_empty() => {
                anyone_failed |= !answered;
                let request = request % open.len();
                let tried = open.swap_remove(request);
                match trial.end(request, answered) {
                    Some(picked) => (picked, tried),
                    None => continue,
                }
            }
            Step::Change { server, weight, out } => {
                let server = server % servers.len();
                match trial.change(ServerId::from_index(server), weight, out) {
                    Changed::Refused => continue,
                    Changed::Reloaded => open.clear(),
                    Changed::Done => {}
                }
                servers[server] = TrialServer { weight, out, ..servers[server] };
                continue;
            }
            Step::Pass { seconds } => {
                trial.pass(SimDuration::from_secs(seconds));
                continue;
            }
            Step::End { .. } => continue,
        };
        picks.push(picked.0);
        match picked {
            (Some(server), reason) => {
                let TrialServer { weight, max_open, out, .. } = servers[server.index()];
                assert!(!out && weight > 0, "{name}: {server:?} is down or has weight 0");
                assert!(!tried.contains(&server), "{name}: {server:?} was tried");
                assert_ne!(reason, Reason::NoneUsable, "{name}");
                let there = open.iter().filter(|tried| tried.last() == Some(&server)).count();
                // `lblc` does not look at the thresholds of the server that an address is at; nginx refuses `max_conns` with the
                // methods of others.
                let unlimited = ["lvs.lblc", "nginx.fair", "nginx.session_sticky"].contains(&name);
                let limited = ["nginx", "lvs"].contains(&entry.program) && !unlimited && max_open > 0;
                assert!(!limited || there < max_open as usize, "{name}: {server:?} is full");
                tried.push(server);
                open.push(tried);
            }
            (None, _) => {
                // With neither limits nor failures, whoever is up could have taken it.
                let could = |(index, server): (usize, &TrialServer)| {
                    let tried = tried.contains(&ServerId::from_index(index));
                    !server.out && server.weight > 0 && server.max_open == 0 && !anyone_failed && !tried
                };
                let never = entry.properties.refuses == Refuses::Never;
                assert!(!never || !servers.iter().enumerate().any(could), "{name} refused too early");
            }
        }
    }
    picks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn only_servers_that_are_up_are_picked_one_always_is_and_equal_inputs_have_equal_answers(
        servers in any_servers(),
        steps in prop::collection::vec(any_step(), 1..150),
    ) {
        for entry in entries() {
            let picks = play(entry, servers.clone(), &steps);
            prop_assert_eq!(picks, play(entry, servers.clone(), &steps), "{}", entry.scenario_name);
        }
    }
}
