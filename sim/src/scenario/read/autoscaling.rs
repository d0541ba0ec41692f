//! `[cluster.autoscaling]`: who comes and goes as the servers are busy.

use super::Names;
use super::fault_part::several;
use crate::engine::{Distribution, SimDuration};
use crate::ids::ServerId;
use crate::scenario::quantity::Quantity;
use crate::scenario::section::Item;
use crate::scenario::{Autoscaling, ScalingTarget};

/// Period, tolerance and stabilisation are the defaults of Kubernetes' controller manager (`--horizontal-pod-autoscaler-sync-period`,
/// `-tolerance`, `-downscale-stabilization`), the time to drain is a pod's grace period; the minute of a boot is an assumption.
const PERIOD: SimDuration = SimDuration::from_secs(15);
const TOLERANCE: f64 = 0.1;
const SCALE_IN_STABILISATION: SimDuration = SimDuration::from_secs(300);
const DRAIN: SimDuration = SimDuration::from_secs(30);
const BOOT_S: f64 = 60.0;
/// Shortest period: a look at the servers costs an event and a pass over the group.
const PERIOD_MIN: SimDuration = SimDuration::from_millis(100);

/// Reads it against the names of the servers.
pub(super) fn autoscaling(item: &Item<'_>, names: &Names) -> Option<Autoscaling> {
    let mut section = item.section("a table such as { min = 2, max = 6, target = { utilisation = 0.6 } }")?;
    let s = &mut section;
    let all = (0..names.names.len()).map(ServerId::from_index).collect();
    let servers = s.optional("servers", all, |item| several(&item, names));
    let known = servers.as_ref().map_or(u32::MAX, |servers| servers.len() as u32);
    let number = |item: Item<'_>| item.integer(1, known.into()).map(|number| number as u32);
    let min = s.optional("min", 1, number);
    let max_item = s.take("max");
    let max = max_item.clone().map_or(Some(known), number);
    let initial_item = s.take("initial");
    let initial = initial_item.clone().map_or(min, number);
    let target = s.required("target", |item| target(&item));
    let period = s.optional("period", PERIOD, |item| {
        let period = item.duration_above_zero()?;
        if period < PERIOD_MIN {
            item.error(format!("`period` must be at least {PERIOD_MIN}, got {}", item.got()));
            return None;
        }
        Some(period)
    });
    let tolerance = s.optional("tolerance", TOLERANCE, |item| item.number_at_least(0.0));
    let cooldown = s.optional("scale_out_cooldown", SimDuration::ZERO, |item| item.duration());
    let stabilisation = s.optional("scale_in_stabilisation", SCALE_IN_STABILISATION, |item| item.duration());
    let boot = s.optional("boot", Distribution::Constant(BOOT_S), |item| item.distribution(Quantity::Time));
    let drain = s.optional("drain", DRAIN, |item| item.duration());
    section.finish();
    let (min, max, initial) = (min?, max?, initial?);
    if max < min {
        let place = max_item.as_ref().unwrap_or(item);
        place.error(format!("`max` must be at least `min`, which is {min}, got {max}"));
        return None;
    }
    if !(min..=max).contains(&initial) {
        let place = initial_item.as_ref().unwrap_or(item);
        place.error(format!("`initial` must be {min} to {max}, as `min` and `max` say, got {initial}"));
        return None;
    }
    Some(Autoscaling {
        servers: servers?,
        min,
        max,
        initial,
        target: target?,
        period: period?,
        tolerance: tolerance?,
        scale_out_cooldown: cooldown?,
        scale_in_stabilisation: stabilisation?,
        boot: boot?,
        drain: drain?,
    })
}

/// `{ utilisation = share }` or `{ in_flight = requests }`.
fn target(item: &Item<'_>) -> Option<ScalingTarget> {
    let kind = item
        .section("a table such as { utilisation = 0.6 } or { in_flight = 20 }")?
        .single("target", &["utilisation", "in_flight"])?;
    // What is seen is counted in whole percent, and in thousandths of a request.
    if kind.key == "in_flight" {
        let requests = kind.number_at_least(0.001)?;
        return Some(ScalingTarget::InFlight(requests));
    }
    let share = kind.probability()?;
    if share < 0.01 {
        kind.error(format!("`utilisation` must be 0.01 to 1, got {}", kind.got()));
        return None;
    }
    Some(ScalingTarget::Utilisation(share))
}
