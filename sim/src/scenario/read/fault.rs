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
    let kind = s.required("crash", |item| {
        let mut section = item.section("a table with `server` and `lasts`")?;
        let server = section.required("server", |item| servers.find(&item));
        let lasts = section.required("lasts", |item| item.duration_above_zero());
        section.finish();
        Some(FaultKind::Crash { server: ServerId::from_index(server?), lasts: lasts? })
    });
    section.finish();
    Some(Fault { at: at?, kind: kind? })
}

/// Reports a crash of a server that is down already.
pub(super) fn check_crashes(section: &mut Section<'_>, faults: Option<&[Fault]>, servers: &Names) {
    let (Some(faults), Some(item)) = (faults, section.take("fault")) else { return };
    for (i, fault) in faults.iter().enumerate() {
        let FaultKind::Crash { server, .. } = fault.kind;
        let earlier = faults.iter().enumerate().find(|&(j, other)| {
            let FaultKind::Crash { server: other_server, lasts } = other.kind;
            other_server == server && (other.at, j) < (fault.at, i) && fault.at <= other.at + lasts
        });
        if let (Some((_, other)), Some(elements)) = (earlier, item.elements("an array")) {
            let message = format!(
                "`{}` cannot crash at {}: it is down since {}",
                servers.names[server.index()],
                fault.at,
                other.at
            );
            elements[i].error(message);
        }
    }
}
