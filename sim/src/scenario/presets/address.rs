//! Presets of client addresses, with where each figure comes from. Assumptions are called so, and what was recalled from a
//! publication without its text at hand is called recalled.

use super::{PresetEntry, PresetKind};
use crate::engine::SimDuration;
use crate::population::{AddressPlan, CountLaw, Front, Ipv6, Leases, Pool, Pooling};

const fn preset(name: &'static str, summary: &'static str, source: &'static str) -> PresetEntry {
    PresetEntry { kind: PresetKind::Address, name, summary, source }
}

/// The presets, in the order in which they are listed.
pub(super) const PRESETS: &[PresetEntry] = &[
    preset(
        "direct",
        "each user has a public address, always the same",
        "1.7 addresses in a /24 and 1.65 /24s in a prefix: 8,799 clients in 5,127 /24s and 3,110 /16s, access log of a \
         blog with readers everywhere, 2016; a prefix of 12 to 20 bits, each equally likely, is an assumption",
    ),
    preset(
        "home-nat",
        "a household behind one address: 1 + Poisson(0.7) users; 40 % of the homes get another address from time to time",
        "Maier, Schneider and Feldmann, NAT usage in residential broadband networks, PAM 2011, for the order of magnitude \
         of users; the law is an assumption. Leases: Padmanabhan et al., Reasons dynamic addresses change, IMC 2016, for \
         periods of 24 h and half of the changes leaving the prefix; the shares, 14 days and 0.9 for the /24 are \
         assumptions. Addresses in a /24 as for `direct`",
    ),
    preset(
        "office",
        "a company behind one address: lognormal number of users, median 8, sigma 1.2",
        "Casado and Freedman, Peering through the shroud, NSDI 2007, for few hosts behind most NATs; the law \
         and 1.2 addresses in a /24 are assumptions",
    ),
    preset(
        "campus",
        "a university without NAT: each user has an address, in few /24s of one block",
        "assumption: 120 active users in each /24, 64 such /24s in a block",
    ),
    preset(
        "cgnat",
        "a carrier's NAT: 256 users on each address, pools of 128 addresses, a user always on the same one",
        "Richter et al., A multi-perspective analysis of carrier-grade NAT deployment, IMC 2016; RFC 6888 REQ-2 asks for \
         paired pooling (recalled: 79 % of networks do so, the others are \"arbitrary\"). 256 users, 64 addresses in a /24 \
         and pools of two /24s are assumptions; a mapping lives for 2 h 4 min, which RFC 5382 asks of idle connections \
         (recalled)",
    ),
    preset(
        "mobile",
        "telephones behind a carrier's NAT, handed over to another of its addresses now and then",
        "addresses as for `cgnat`; one hand-over in 45 min is an assumption",
    ),
    preset(
        "mega-proxy",
        "a proxy farm: 2,000 users on 4 addresses, each request from any of them",
        "Casado and Freedman, NSDI 2007, for proxies with very many clients; 500 users an address and rotation by request, as \
         the proxies of large providers did, are assumptions",
    ),
    preset(
        "ipv6-home",
        "a household with a /64 of IPv6: each device takes a new temporary address every day",
        "RFC 8981 for the day that a temporary address is preferred; users as for `home-nat`; that the /64 stays is an \
         assumption",
    ),
    preset(
        "behind-cdn",
        "homes behind a content network or firewall: 8 addresses for everybody, the user's passed on but not believed",
        "assumption; `front` says how many addresses there are and whether the balancer believes what is passed on",
    ),
];

const DAY: SimDuration = SimDuration::from_secs(86_400);

/// How homes change addresses, where the scenario says only that they do.
pub(in crate::scenario) const LEASES: Leases = Leases {
    exponential_share: 0.25,
    exponential_mean: SimDuration(14 * DAY.0),
    periodic_share: 0.15,
    period: DAY,
    at: None,
    new_24: 0.9,
    new_prefix: 0.5,
};

/// IPv6 alone, with temporary addresses.
pub(in crate::scenario) const IPV6: Ipv6 = Ipv6 { homes: 1.0, connections: 1.0, temporary: Some(DAY) };

/// A content network that passes addresses on to a balancer that was not told to believe it.
pub(in crate::scenario) const FRONT: Front = Front { addresses: 8, passes_address: true, trusted: false };

/// Two /24s of a carrier's NAT.
pub(in crate::scenario) const POOL: Pool = Pool {
    addresses: 128,
    pooling: Pooling::Paired { mapping_timeout: Some(SimDuration::from_secs(7_440)) },
    hand_over: None,
};

/// The addresses of a preset; those of `direct` for a name that is none.
pub(in crate::scenario) fn address(name: &str) -> AddressPlan {
    let household = CountLaw::OnePlusPoisson { mean: 0.7 };
    let spread = CountLaw::OnePlusGeometric { mean: 1.7 };
    let of_homes = |users, per_24| AddressPlan::of_homes(name, users, per_24);
    match name {
        "home-nat" => AddressPlan { leases: Some(LEASES), ..of_homes(household, spread) },
        "office" => of_homes(
            CountLaw::Lognormal { median: 8.0, sigma: 1.2 },
            CountLaw::OnePlusGeometric { mean: 1.2 },
        ),
        "campus" => AddressPlan {
            networks_per_prefix: CountLaw::Constant(64),
            ..of_homes(CountLaw::Constant(1), CountLaw::Constant(120))
        },
        "cgnat" | "mobile" => {
            let hand_over = (name == "mobile").then_some(SimDuration::from_secs(2_700));
            AddressPlan {
                networks_per_prefix: CountLaw::Constant(4),
                pool: Some(Pool { hand_over, ..POOL }),
                ..of_homes(CountLaw::Constant(256), CountLaw::Constant(64))
            }
        }
        "mega-proxy" => AddressPlan {
            networks_per_prefix: CountLaw::Constant(1),
            pool: Some(Pool { addresses: 4, pooling: Pooling::PerRequest, hand_over: None }),
            ..of_homes(CountLaw::Constant(500), CountLaw::Constant(4))
        },
        "ipv6-home" => AddressPlan { ipv6: Some(IPV6), ..of_homes(household, spread) },
        "behind-cdn" => AddressPlan { front: Some(FRONT), ..of_homes(household, spread) },
        _ => of_homes(CountLaw::Constant(1), spread),
    }
}
