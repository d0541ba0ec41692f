//! Presets of populations: what kinds of client addresses and visits look like, with where each figure comes from.
//! Assumptions are called so.

use crate::engine::{Distribution, SimDuration};
use crate::population::{AddressPlan, UsersPerAddress};
use crate::session::OnUnknownId;

use super::{ClosedBy, ConnectionRules, VisitPlan};

/// What a preset fills in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PresetKind {
    /// The `address` of a population.
    Address,
    /// The `visit` of a population.
    Visit,
}

impl PresetKind {
    /// The key that takes the preset.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Visit => "visit",
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

const PRESETS: &[PresetEntry] = &[
    PresetEntry {
        kind: PresetKind::Address,
        name: "direct",
        summary: "each user has a public address",
        source: "1.7 addresses in a /24: 8,799 clients in 5,127 networks, access log of a blog, 2016",
    },
    PresetEntry {
        kind: PresetKind::Address,
        name: "home-nat",
        summary: "a household behind one address: 1 + Poisson(0.7) users",
        source: "Maier et al., NAT usage in residential broadband networks, PAM 2011, for the order of magnitude; the \
                 law is an assumption; addresses in a /24 as for `direct`",
    },
    PresetEntry {
        kind: PresetKind::Address,
        name: "office",
        summary: "a company behind one address: lognormal number of users, median 8, sigma 1.2",
        source: "Casado and Freedman, Peering through the shroud, NSDI 2007, for few hosts behind most NATs; the law \
                 and 1.2 addresses in a /24 are assumptions",
    },
    PresetEntry {
        kind: PresetKind::Address,
        name: "cgnat",
        summary: "a mobile operator's pool: 256 users on each address, always the same one for a user",
        source: "Richter et al., carrier-grade NAT, IMC 2016; paired pooling as RFC 6888 REQ-2 asks; 64 addresses in \
                 a /24 are an assumption",
    },
    PresetEntry {
        kind: PresetKind::Visit,
        name: "login-site",
        summary: "log in by a form with a token, then about 8 clicks that need the session",
        source: "think time of the TPC-W benchmark: exponential 7 s, cut at 70 s; clicks inverse Gaussian with the shape of \
                 Huberman et al., Science 280 (1998); a mean of 8 clicks, 30 min away and 30 % leaving on a loss are \
                 assumptions",
    },
    PresetEntry {
        kind: PresetKind::Visit,
        name: "browse",
        summary: "about 3 clicks that need no session",
        source: "clicks inverse Gaussian 2.98, 6.24 of Huberman et al., Science 280 (1998); think time of the TPC-W \
                 benchmark; 30 min away are an assumption",
    },
];

/// Every preset, by kind.
pub fn presets() -> &'static [PresetEntry] {
    PRESETS
}

/// The preset of a kind called `name`.
pub(super) fn preset(kind: PresetKind, name: &str) -> Option<&'static PresetEntry> {
    PRESETS.iter().find(|preset| preset.kind == kind && preset.name == name)
}

/// The names of the presets of a kind.
pub(super) fn preset_names(kind: PresetKind) -> impl Iterator<Item = &'static str> {
    PRESETS.iter().filter(move |preset| preset.kind == kind).map(|preset| preset.name)
}

/// The addresses of a preset; those of `direct` for a name that is none.
pub(super) fn address(name: &str) -> AddressPlan {
    let (users_per_address, addresses_per_24) = match name {
        "home-nat" => (UsersPerAddress::OnePlusPoisson { mean: 0.7 }, 1.7),
        "office" => (UsersPerAddress::Lognormal { median: 8.0, sigma: 1.2 }, 1.2),
        "cgnat" => (UsersPerAddress::Constant(256), 64.0),
        _ => (UsersPerAddress::Constant(1), 1.7),
    };
    AddressPlan { preset: name.into(), users_per_address, addresses_per_24, fixed: Vec::new() }
}

/// The visit of a preset; that of `browse` for a name that is none.
pub(super) fn visit(name: &str) -> VisitPlan {
    let login = name == "login-site";
    // The shape keeps the coefficient of variation that was measured: mean over shape is 0.48 in both.
    let (mean, shape) = if login { (8.0, 16.75) } else { (2.98, 6.24) };
    VisitPlan {
        clicks: Distribution::InverseGaussian { mean, shape },
        think: Distribution::Truncated { law: Box::new(Distribution::Exponential { mean: 7.0 }), max: 70.0 },
        away: Distribution::Exponential { mean: 1_800.0 },
        login,
        form_token: login,
        logins_again: LOGINS_AGAIN,
        leave_on_loss: LEAVE_ON_LOSS,
        session_idle_timeout: SESSION_IDLE_TIMEOUT,
        on_unknown_id: OnUnknownId::NewId,
    }
}

/// Logins that a user attempts again in a visit.
pub(super) const LOGINS_AGAIN: u8 = 3;
/// Probability that a user leaves instead of logging in again (assumption).
pub(super) const LEAVE_ON_LOSS: f64 = 0.3;
/// Default of Tomcat's `session-timeout` (30 min); PHP's `session.gc_maxlifetime` is 24 min.
pub(super) const SESSION_IDLE_TIMEOUT: SimDuration = SimDuration::from_secs(1_800);

/// Apache httpd 2.2, the web server of RHEL 5, in its default configuration: `KeepAliveTimeout 15`,
/// `MaxKeepAliveRequests 100`, and the server closes.
pub(super) const CONNECTION: ConnectionRules = ConnectionRules {
    keepalive_timeout: SimDuration::from_secs(15),
    keepalive_requests: 100,
    closed_by: ClosedBy::Server,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_has_a_plan_of_its_own() {
        let addresses: Vec<_> = preset_names(PresetKind::Address).map(address).collect();
        for (i, plan) in addresses.iter().enumerate() {
            let same = |other: &AddressPlan| {
                (other.users_per_address, other.addresses_per_24)
                    == (plan.users_per_address, plan.addresses_per_24)
            };
            assert_eq!(addresses.iter().position(same), Some(i), "{}", plan.preset);
        }
        assert!(visit("login-site").login && !visit("browse").login);
    }
}
