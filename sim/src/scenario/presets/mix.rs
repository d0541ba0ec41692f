//! Presets of whole audiences: populations of several kinds with stated shares.

use super::{PresetEntry, PresetKind};
use crate::engine::Distribution;

/// The presets, in the order in which they are listed.
pub(super) const PRESETS: &[PresetEntry] = &[PresetEntry {
    kind: PresetKind::Population,
    name: "mix-2026",
    summary: "a public site's audience: homes with IPv4 and IPv6, telephones, offices, a campus, proxies and crawlers",
    source: "every share is an assumption; they are led by half of the users with IPv6 (Google's count, recalled), by carrier-grade \
             NAT in nine of ten cellular networks and one of six others (Richter et al., IMC 2016, recalled) and by 5 to 20 % of \
             requests from bots in public logs. Activity: Pareto with the tail index 1.24 to 1.31 of requests by address \
             in three such logs",
}];

/// One of the populations that an audience consists of.
#[derive(Clone, Copy, Debug)]
pub(in crate::scenario) struct Part {
    /// What is added to the audience's name; also the preset of its addresses, unless it is the crawlers.
    pub name: &'static str,
    /// Its share of the clients, in percent.
    pub percent: u32,
}

const fn part(name: &'static str, percent: u32) -> Part {
    Part { name, percent }
}

/// The parts of `mix-2026`, the only audience. Whoever remains by rounding is at home.
pub(in crate::scenario) const PARTS: [Part; 8] = [
    part("home-nat", 26),
    part("ipv6-home", 24),
    part("mobile", 22),
    part("cgnat", 10),
    part("office", 10),
    part("campus", 3),
    part("mega-proxy", 2),
    part(CRAWLERS, 3),
];

/// The part whose visits are those of the preset of that name.
pub(in crate::scenario) const CRAWLERS: &str = "bots";

/// How active users of an audience are beside each other: a mean of about 1.
pub(in crate::scenario) const ACTIVITY: Distribution =
    Distribution::Pareto { min: 0.27, alpha: 1.3, max: 50.0 };
