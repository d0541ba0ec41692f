//! Presets of populations: what kinds of client addresses and visits look like, with where each figure comes from.
//! Assumptions are called so.

mod address;
mod mix;
mod visit;

use super::{ClosedBy, ConnectionRules};
use crate::engine::SimDuration;

pub(super) use address::{FRONT, IPV6, LEASES, POOL, address};
pub(super) use mix::{ACTIVITY, CRAWLERS, PARTS};
pub(super) use visit::{HOLD, PAGE, PATIENCE, SESSION_IDLE_TIMEOUT, visit};

/// What a preset fills in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PresetKind {
    /// The `address` of a population.
    Address,
    /// The `visit` of a population.
    Visit,
    /// A whole `[[population]]`, which becomes several.
    Population,
}

impl PresetKind {
    /// The key that takes the preset.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Visit => "visit",
            Self::Population => "population",
        }
    }
}

/// One preset, for listings.
#[derive(Clone, Copy, Debug)]
pub struct PresetEntry {
    /// What it fills in.
    pub kind: PresetKind,
    /// Its name in scenarios.
    pub name: &'static str,
    /// What it stands for, in a sentence.
    pub summary: &'static str,
    /// Where its figures come from, assumptions named as such.
    pub source: &'static str,
}

/// Every preset, by kind.
pub fn presets() -> impl Iterator<Item = &'static PresetEntry> {
    address::PRESETS.iter().chain(visit::PRESETS).chain(mix::PRESETS)
}

/// The preset of a kind called `name`.
pub(super) fn preset(kind: PresetKind, name: &str) -> Option<&'static PresetEntry> {
    presets().find(|preset| preset.kind == kind && preset.name == name)
}

/// The names of the presets of a kind.
pub(super) fn preset_names(kind: PresetKind) -> impl Iterator<Item = &'static str> {
    presets().filter(move |preset| preset.kind == kind).map(|preset| preset.name)
}

/// Apache httpd 2.2, the web server of RHEL 5, in its default configuration: `KeepAliveTimeout 15`,
/// `MaxKeepAliveRequests 100`, and the server closes.
pub(super) const CONNECTION: ConnectionRules = ConnectionRules {
    keepalive_timeout: SimDuration::from_secs(15),
    keepalive_requests: 100,
    closed_by: ClosedBy::Server,
    port: super::HTTP,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::AddressPlan;

    #[test]
    fn every_preset_has_a_plan_of_its_own() {
        let addresses: Vec<_> = preset_names(PresetKind::Address).map(address).collect();
        for (i, plan) in addresses.iter().enumerate() {
            let same =
                |other: &AddressPlan| AddressPlan { preset: plan.preset.clone(), ..other.clone() } == *plan;
            assert_eq!(addresses.iter().position(same), Some(i), "{}", plan.preset);
        }
        assert!(visit("login-site").login && !visit("browse").login);
        let visits: Vec<_> = preset_names(PresetKind::Visit).map(visit).collect();
        for (i, plan) in visits.iter().enumerate() {
            assert_eq!(visits.iter().position(|other| other == plan), Some(i), "{plan:?}");
        }
    }

    #[test]
    fn an_audience_is_whole_and_of_known_addresses() {
        assert_eq!(PARTS.iter().map(|part| part.percent).sum::<u32>(), 100);
        for part in PARTS.iter().filter(|part| part.name != CRAWLERS) {
            assert!(preset(PresetKind::Address, part.name).is_some(), "{}", part.name);
        }
        assert!((ACTIVITY.mean() - 1.0).abs() < 0.05, "{}", ACTIVITY.mean());
    }
}
