//! Presets of client addresses, with where each figure comes from. Assumptions are called so.

use super::{PresetEntry, PresetKind};
use crate::population::{AddressPlan, UsersPerAddress};

/// The presets, in the order in which they are listed.
pub(super) const PRESETS: &[PresetEntry] = &[
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
];

/// The addresses of a preset; those of `direct` for a name that is none.
pub(in crate::scenario) fn address(name: &str) -> AddressPlan {
    let (users_per_address, addresses_per_24) = match name {
        "home-nat" => (UsersPerAddress::OnePlusPoisson { mean: 0.7 }, 1.7),
        "office" => (UsersPerAddress::Lognormal { median: 8.0, sigma: 1.2 }, 1.2),
        "cgnat" => (UsersPerAddress::Constant(256), 64.0),
        _ => (UsersPerAddress::Constant(1), 1.7),
    };
    AddressPlan { preset: name.into(), users_per_address, addresses_per_24, fixed: Vec::new() }
}
