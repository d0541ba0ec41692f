//! What breaks.

use super::Names;
use super::cluster::WEIGHT_MAX;
use crate::engine::SimDuration;
use crate::ids::ServerId;
use crate::scenario::section::{Item, Section};
use crate::scenario::{Fault, FaultKind, Program, Strategy, TierPlan};

/// One `[[fault]]`.
pub(super) fn fault(
    item: &Item<'_>,
    servers: &Names,
    instances: &Names,
    end: Option<SimDuration>,
) -> Option<Fault> {
    let mut section = item.section("a table")?;
    let s = &mut section;
    let at = s.required("at", |item| {
        let at = item.duration()?;
        if at.is_zero() {
            let help = "`at` counts from the end of the warm-up";
            item.error_with_help("the warm-up must end before the first fault, got \"0s\"".into(), help);
            return None;
        }
        if let Some(end) = end
            && at >= end
        {
            let help = format!("`at` must be before the end at {end}");
            item.error_with_help(
                format!("the fault comes after the run has ended, got {}", item.got()),
                help,
            );
            return None;
        }
        Some(at)
    });
    let kinds: Vec<_> = KINDS.iter().filter_map(|kind| s.take(kind)).collect();
    let kind = match kinds.as_slice() {
        [item] => kind(item, servers, instances),
        [] => {
            s.missing(
                "crash",
                Some(
                    "add `crash = { server = …, lasts = … }`, or `hang`, `drain`, `down`, `weight`, `reload`, `store_crash`, `partition`",
                ),
            );
            None
        }
        [first, second, ..] => {
            let message = format!("a fault is one of its kinds, got `{}` and `{}`", first.key, second.key);
            s.report().error_with_help(second.key_span, message, "write a `[[fault]]` for each");
            None
        }
    };
    section.finish();
    Some(Fault { at: at?, kind: kind? })
}

/// What a fault may be.
const KINDS: [&str; 8] = ["crash", "hang", "drain", "down", "weight", "reload", "store_crash", "partition"];

fn store_crash(item: &Item<'_>) -> Option<FaultKind> {
    let mut section = item.section("a table with `node` and `lasts`")?;
    let node = section.required("node", |item| item.u32_at_least(0));
    let lasts = section.required("lasts", |item| item.duration_above_zero());
    let power_loss = section.optional("power_loss", false, |item| item.boolean());
    section.finish();
    Some(FaultKind::StoreCrash { node: node?, lasts: lasts?, power_loss: power_loss? })
}

fn kind(item: &Item<'_>, servers: &Names, instances: &Names) -> Option<FaultKind> {
    if item.key == "store_crash" {
        return store_crash(item);
    }
    let mut section = item.section("a table with `server` and `lasts`")?;
    let s = &mut section;
    if item.key == "reload" {
        section.finish();
        return Some(FaultKind::Reload);
    }
    let instance = if matches!(item.key, "crash" | "partition") { s.take("instance") } else { None };
    if instance.is_some() || item.key == "partition" {
        if instance.is_none() {
            s.missing("instance", Some("the name of one of a pair's directors, such as \"lvs1\""));
        }
        let instance = instance.and_then(|item| instances.find(&item)).map(|place| place as u16);
        let lasts = s.required("lasts", |item| item.duration_above_zero());
        section.finish();
        let (instance, lasts) = (instance?, lasts?);
        return Some(match item.key {
            "crash" => FaultKind::InstanceCrash { instance, lasts },
            _ => FaultKind::Partition { instance, lasts },
        });
    }
    let server = s.required("server", |item| servers.find(&item).map(ServerId::from_index));
    let lasts = s.required("lasts", |item| item.duration_above_zero());
    let to = match item.key {
        "weight" => s.required("to", |item| item.integer(0, WEIGHT_MAX).map(|weight| weight as u32)),
        _ => Some(0),
    };
    section.finish();
    let (server, lasts, to) = (server?, lasts?, to?);
    Some(match item.key {
        "crash" => FaultKind::Crash { server, lasts },
        "hang" => FaultKind::Hang { server, lasts },
        "drain" => FaultKind::Drain { server, lasts },
        "down" => FaultKind::Down { server, lasts },
        _ => FaultKind::Weight { server, to, lasts },
    })
}

/// Whether a strategy has an instance of this name that is one of a pair.
fn has_pair(strategy: &Strategy, name: &str) -> bool {
    let pairs = strategy.programs().filter(|(_, plan)| plan.director.is_some());
    pairs.into_iter().any(|(_, plan)| plan.instances.iter().any(|instance| instance.name == name))
}

/// Reports a fault of a server that has such a fault already, a hang of one that has crashed, and a fault of a part that no
/// strategy has.
pub(super) fn check_faults(
    section: &mut Section<'_>,
    faults: Option<&[Fault]>,
    (servers, instances): (&Names, &Names),
    strategies: Option<&[Strategy]>,
) {
    let (Some(faults), Some(item)) = (faults, section.take("fault")) else { return };
    let is_nginx = |tier: &TierPlan| matches!(tier.program, Program::Nginx(_));
    let has_nginx =
        strategies.is_none_or(|strategies| strategies.iter().any(|strategy| is_nginx(&strategy.tier)));
    for (i, fault) in faults.iter().enumerate() {
        if let FaultKind::Partition { instance, .. } = fault.kind
            && let Some(strategies) = strategies
            && let Some(name) = instances.names.get(usize::from(instance))
            && !strategies.iter().any(|strategy| has_pair(strategy, name))
            && let Some(elements) = item.elements("an array")
        {
            let help = "add `director = { vrrp = {} }` to its tier";
            elements[i].error_with_help(format!("`{name}` is not of a pair that could part"), help);
        }
        if let FaultKind::StoreCrash { node, .. } = fault.kind {
            let earlier = faults[..i].iter().find(|other| {
                matches!(other.kind, FaultKind::StoreCrash { node: other, .. } if other == node)
                    && other.at <= fault.at
                    && fault.at <= other.at + other.kind.lasts()
            });
            if let (Some(other), Some(elements)) = (earlier, item.elements("an array")) {
                let (at, since) = (fault.at, other.at);
                elements[i].error(format!("node {node} cannot crash at {at}: it is down since {since}"));
            }
        }
        if fault.kind == FaultKind::Reload
            && !has_nginx
            && let Some(elements) = item.elements("an array")
        {
            let help = "leave it out, or add a strategy whose `balancer` is an nginx";
            elements[i].error_with_help("`reload` is of nginx, which no strategy has".into(), help);
        }
        let Some(server) = fault.kind.server() else { continue };
        let broken = |kind: &FaultKind| matches!(kind, FaultKind::Crash { .. } | FaultKind::Hang { .. });
        let earlier = faults.iter().enumerate().find(|&(j, other)| {
            let same = other.kind.name() == fault.kind.name() || broken(&other.kind) && broken(&fault.kind);
            other.kind.server() == Some(server)
                && same
                && (other.at, j) < (fault.at, i)
                && fault.at <= other.at + other.kind.lasts()
        });
        if let (Some((_, other)), Some(elements)) = (earlier, item.elements("an array")) {
            let (name, at) = (&servers.names[server.index()], fault.at);
            let message = match (&fault.kind, &other.kind) {
                (FaultKind::Crash { .. }, FaultKind::Crash { .. }) => {
                    format!("`{name}` cannot crash at {at}: it is down since {}", other.at)
                }
                (kind, other_kind) => format!(
                    "`{name}` cannot have a `{}` at {at}: its `{}` goes on since {}",
                    kind.name(),
                    other_kind.name(),
                    other.at
                ),
            };
            elements[i].error(message);
        }
    }
}
