//! Faults as a scenario writes them.

use super::{Document, duration, list, text};
use crate::scenario::quantity::{Quantity, show_distribution};
use crate::scenario::{Autoscaling, ErrorRule, Fault, FaultKind, Part, Recurs, Scenario};

pub(super) fn show_fault(d: &mut Document, fault: &Fault, scenario: &Scenario) {
    d.header("[[fault]]");
    d.line("at", duration(fault.at));
    match &fault.recurs {
        Recurs::Never => {}
        Recurs::Every { period, times } => {
            d.line("every", duration(*period));
            if let Some(times) = times {
                d.line("times", times);
            }
        }
        Recurs::Random { mtbf, mttr } => {
            d.line("mtbf", show_distribution(mtbf, Quantity::Time));
            d.line("mttr", show_distribution(mttr, Quantity::Time));
        }
    }
    let mut options = Vec::new();
    let mut option = |key: &str, value: String| options.push(format!("{key} = {value}"));
    let name = |server: &crate::ids::ServerId| text(&scenario.servers[server.index()].name);
    match &fault.part {
        Part::Site => {}
        Part::Servers { zone: Some(zone), .. } => option("zone", text(zone)),
        Part::Servers { servers, .. } if servers.len() == 1 => option("server", name(&servers[0])),
        Part::Servers { servers, .. } => option("servers", list(servers.iter().map(name))),
        Part::StoreNode(node) => option("node", node.to_string()),
        Part::Instance(place) => option("instance", text(&scenario.instances[usize::from(*place)])),
        Part::Clients => option("link", text("clients")),
        Part::StoreLinks { servers, zone, node } => {
            option("link", text("store"));
            match zone {
                Some(zone) => option("zone", text(zone)),
                None => option("servers", list(servers.iter().map(name))),
            }
            if let Some(node) = node {
                option("node", node.to_string());
            }
        }
        Part::Replication(node) => {
            option("link", text("replication"));
            option("node", node.to_string());
        }
        Part::Disk { servers, nodes } => {
            let nodes = nodes.iter().map(|node| node.to_string());
            let lists = [
                ("servers", servers.is_empty(), list(servers.iter().map(name))),
                ("nodes", nodes.len() == 0, list(nodes)),
            ];
            let some = lists.into_iter().filter(|(_, none, _)| !none);
            let shown: Vec<_> = some.map(|(key, _, list)| format!("{key} = {list}")).collect();
            option("disk", format!("{{ {} }}", shown.join(", ")));
        }
    }
    match fault.kind {
        FaultKind::Crash
        | FaultKind::Restart
        | FaultKind::Hang
        | FaultKind::Partition
        | FaultKind::Drain { deadline: None }
        | FaultKind::Down
        | FaultKind::ScaleOut
        | FaultKind::Autoscaling
        | FaultKind::Reload => {}
        FaultKind::Kill { process } => option("process", text(process.name())),
        FaultKind::StoreCrash { power_loss } => option("power_loss", power_loss.to_string()),
        FaultKind::Delay { each_way } => option("each_way", duration(each_way)),
        FaultKind::Slow { factor } => option("factor", format!("{factor:?}")),
        FaultKind::Errors(ErrorRule { share, .. }) if matches!(fault.part, Part::StoreNode(_)) => {
            option("share", format!("{share:?}"));
        }
        FaultKind::Errors(ErrorRule { share, status, latency }) => {
            option("share", format!("{share:?}"));
            option("status", status.to_string());
            option("latency", duration(latency));
        }
        FaultKind::Loss { share } => option("share", format!("{share:?}")),
        FaultKind::BrownOut { above, factor } => {
            option("above", format!("{above:?}"));
            option("factor", format!("{factor:?}"));
        }
        FaultKind::Drain { deadline: Some(deadline) } => option("deadline", duration(deadline)),
        FaultKind::Weight { to } => option("to", to.to_string()),
        FaultKind::Deploy { batch, drain, pause } => {
            option("batch", batch.to_string());
            option("drain", duration(drain));
            option("pause", duration(pause));
        }
        FaultKind::ScaleIn { drain } => option("drain", duration(drain)),
    }
    if !fault.lasts.is_zero() {
        option("lasts", duration(fault.lasts));
    }
    d.line(
        fault.kind.name(),
        if options.is_empty() { "{}".into() } else { format!("{{ {} }}", options.join(", ")) },
    );
}

/// `[cluster.autoscaling]`.
pub(super) fn show_autoscaling(d: &mut Document, plan: &Autoscaling, scenario: &Scenario) {
    d.header("[cluster.autoscaling]");
    d.line("servers", list(plan.servers.iter().map(|server| text(&scenario.servers[server.index()].name))));
    d.line("min", plan.min);
    d.line("max", plan.max);
    d.line("initial", plan.initial);
    d.line("target", format!("{{ {} = {:?} }}", plan.target.name(), plan.target.value()));
    d.line("period", duration(plan.period));
    d.line("tolerance", format!("{:?}", plan.tolerance));
    d.line("scale_out_cooldown", duration(plan.scale_out_cooldown));
    d.line("scale_in_stabilisation", duration(plan.scale_in_stabilisation));
    d.line("boot", show_distribution(&plan.boot, Quantity::Time));
    d.line("drain", duration(plan.drain));
}
