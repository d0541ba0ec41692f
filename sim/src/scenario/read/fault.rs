//! What breaks.

use super::Names;
use crate::engine::SimDuration;
use crate::ids::ServerId;
use crate::scenario::section::{Item, Section};
use crate::scenario::{Fault, FaultKind};

/// One `[[fault]]`.
pub(super) fn fault(item: &Item<'_>, servers: &Names, end: Option<SimDuration>) -> Option<Fault> {
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
    let kind = match s.take("store_crash") {
        Some(item) => {
            s.refuse(
                &["crash"],
                |key| format!("one fault, got `store_crash` and `{key}`"),
                "write two faults",
            );
            store_crash(&item)
        }
        None => s.required("crash", |item| crash(&item, servers)),
    };
    section.finish();
    Some(Fault { at: at?, kind: kind? })
}

fn crash(item: &Item<'_>, servers: &Names) -> Option<FaultKind> {
    let mut section = item.section("a table with `server` and `lasts`")?;
    let server = section.required("server", |item| servers.find(&item));
    let lasts = section.required("lasts", |item| item.duration_above_zero());
    section.finish();
    Some(FaultKind::Crash { server: ServerId::from_index(server?), lasts: lasts? })
}

fn store_crash(item: &Item<'_>) -> Option<FaultKind> {
    let mut section = item.section("a table with `node` and `lasts`")?;
    let node = section.required("node", |item| item.u32_at_least(0));
    let lasts = section.required("lasts", |item| item.duration_above_zero());
    let power_loss = section.optional("power_loss", false, |item| item.boolean());
    section.finish();
    Some(FaultKind::StoreCrash { node: node?, lasts: lasts?, power_loss: power_loss? })
}

/// Reports a crash of a server, or of a store's node, that is down already.
pub(super) fn check_crashes(section: &mut Section<'_>, faults: Option<&[Fault]>, servers: &Names) {
    let (Some(faults), Some(item)) = (faults, section.take("fault")) else { return };
    for (i, fault) in faults.iter().enumerate() {
        let earlier = faults.iter().enumerate().find(|&(j, other)| {
            other.kind.is_of_same_part(&fault.kind)
                && (other.at, j) < (fault.at, i)
                && fault.at <= other.at + other.kind.lasts()
        });
        if let (Some((_, other)), Some(elements)) = (earlier, item.elements("an array")) {
            let part = match fault.kind {
                FaultKind::Crash { server, .. } => servers.names[server.index()].clone(),
                FaultKind::StoreCrash { node, .. } => format!("node {node} of the store"),
            };
            let message = format!("`{part}` cannot crash at {}: it is down since {}", fault.at, other.at);
            elements[i].error(message);
        }
    }
}
