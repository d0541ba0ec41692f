//! When what befalls which part in one run: the scenario's faults, spelled out time by time and server by server.

use crate::engine::{Distribution, SimDuration, SimTime, Stream};
use crate::ids::ServerId;
use crate::metrics::recorder::Calendar;
use crate::scenario::{Fault, FaultKind, Part, Recurs, Scenario};

/// One time that a fault comes, at one part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Occurrence {
    /// The fault's place in the scenario.
    pub fault: u32,
    /// What happens: none of the kinds that are made up of others.
    pub kind: FaultKind,
    /// To what.
    pub target: Target,
    /// From when on.
    pub from: SimTime,
    /// Until when; [`SimTime::NEVER`] for good.
    pub until: SimTime,
}

/// What an occurrence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Site,
    Server(ServerId),
    StoreNode(u32),
    Instance(u16),
    Clients,
    /// From a server to a node of the session store; `None`: to all.
    StoreLink(ServerId, Option<u32>),
    Replication(u32),
}

/// All that befalls a run, in order of its beginning, then as in the scenario. `stream` is that of the times of faults.
pub(super) fn timetable(scenario: &Scenario, calendar: &Calendar, stream: &Stream) -> Vec<Occurrence> {
    let mut all = Vec::new();
    for (number, fault) in (0..).zip(&scenario.faults) {
        let from = calendar.measured_from + fault.at;
        match &fault.recurs {
            Recurs::Never => once(number, fault, from, &mut all),
            Recurs::Every { period, times } => {
                let mut at = from;
                for _ in 0..times.unwrap_or(u32::MAX) {
                    if at >= calendar.end {
                        break;
                    }
                    once(number, fault, at, &mut all);
                    at = at + *period;
                }
            }
            Recurs::Random { mtbf, mttr } => {
                for (part, targets) in parts_that_fail_alone(fault) {
                    let name = u64::from(number) << 17 | part;
                    for (at, lasts) in spells((mtbf, mttr), from, calendar.end, stream, name) {
                        all.extend(targets.iter().map(|&target| Occurrence {
                            fault: number,
                            kind: fault.kind,
                            target,
                            from: at,
                            until: at + lasts,
                        }));
                    }
                }
            }
        }
    }
    all.sort_by_key(|occurrence| occurrence.from);
    all
}

/// The parts of a random fault that break independently of each other, each with the number that names its draws.
fn parts_that_fail_alone(fault: &Fault) -> Vec<(u64, Vec<Target>)> {
    match &fault.part {
        Part::Servers { servers, zone: None } => {
            servers.iter().map(|&server| (u64::from(server.0), vec![Target::Server(server)])).collect()
        }
        _ => vec![(1 << 16, targets(fault))],
    }
}

fn targets(fault: &Fault) -> Vec<Target> {
    match &fault.part {
        Part::Site => vec![Target::Site],
        Part::Servers { servers, .. } => servers.iter().map(|&server| Target::Server(server)).collect(),
        Part::StoreNode(node) => vec![Target::StoreNode(*node)],
        Part::Instance(instance) => vec![Target::Instance(*instance)],
        Part::Clients => vec![Target::Clients],
        Part::StoreLinks { servers, node, .. } => {
            servers.iter().map(|&server| Target::StoreLink(server, *node)).collect()
        }
        Part::Replication(node) => vec![Target::Replication(*node)],
        Part::Disk { servers, nodes } => {
            let servers = servers.iter().map(|&server| Target::Server(server));
            servers.chain(nodes.iter().map(|&node| Target::StoreNode(node))).collect()
        }
    }
}

/// Times at which a part breaks, and for how long: it is up for `mtbf`, then down for `mttr`, and so on.
fn spells(
    (mtbf, mttr): (&Distribution, &Distribution),
    from: SimTime,
    end: SimTime,
    stream: &Stream,
    name: u64,
) -> Vec<(SimTime, SimDuration)> {
    let (up, down) = (mtbf.sampler(), mttr.sampler());
    let mut spells = Vec::new();
    let mut at = from + SimDuration::from_secs_f64(mtbf.residual_by(&up, stream, name, 0));
    // A law may give times near zero, but not for ever: their mean is above a millisecond.
    for cycle in 0_u64.. {
        if at >= end {
            break;
        }
        let lasts = down.duration(stream, name, 2 * cycle + 1);
        spells.push((at, lasts));
        at = at + lasts + up.duration(stream, name, 2 * cycle + 2);
    }
    spells
}

/// What a fault that begins at `from` is made up of.
fn once(number: u32, fault: &Fault, from: SimTime, all: &mut Vec<Occurrence>) {
    let drain = FaultKind::Drain { deadline: None };
    let mut add =
        |kind, target, from, until| all.push(Occurrence { fault: number, kind, target, from, until });
    match fault.kind {
        FaultKind::Deploy { batch, drain: drained, pause } => {
            let mut at = from;
            for servers in fault.servers().chunks(batch.max(1) as usize) {
                let restart = at + drained;
                for &server in servers {
                    if !drained.is_zero() {
                        add(drain, Target::Server(server), at, restart + fault.lasts);
                    }
                    add(FaultKind::Restart, Target::Server(server), restart, restart + fault.lasts);
                }
                at = restart + fault.lasts + pause;
            }
        }
        // What it does follows from the run.
        FaultKind::Autoscaling => {}
        kind => {
            for target in targets(fault) {
                match kind {
                    FaultKind::ScaleOut => add(FaultKind::Down, target, SimTime::ZERO, from),
                    FaultKind::ScaleIn { drain: drained } => {
                        if !drained.is_zero() {
                            add(drain, target, from, from + drained);
                        }
                        add(FaultKind::Down, target, from + drained, SimTime::NEVER);
                    }
                    FaultKind::Drain { deadline: Some(deadline) } if deadline < fault.lasts => {
                        add(drain, target, from, from + fault.lasts);
                        add(FaultKind::Down, target, from + deadline, from + fault.lasts);
                    }
                    kind => add(kind, target, from, from + fault.lasts),
                }
            }
        }
    }
}
