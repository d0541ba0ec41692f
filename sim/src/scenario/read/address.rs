//! Where a population's clients come from.

use super::population::preset_name;
use crate::engine::SimDuration;
use crate::population::{
    AddressPlan, CountLaw, Front, Ipv6, LEASES_PER_24_MAX, LEAVING_MIN, LeaseOdds, Leases, Pool, Pooling,
};
use crate::scenario::presets::{self, PresetKind};
use crate::scenario::quantity::Quantity;
use crate::scenario::section::{Item, Section};

/// Addresses of a /24 that hosts can have.
const HOSTS: f64 = 254.0;
/// /24s in the largest prefix of a provider.
const PREFIX_NETWORKS: f64 = 4_096.0;
/// Most addresses of a pool, and of a front.
const ADDRESSES_MAX: u64 = 65_536;
/// Shortest time between two changes of an address.
const CHANGES_MIN: SimDuration = SimDuration::from_secs(1);
/// Keys that say how addresses are drawn.
const DRAWN: [&str; 9] = [
    "users_per_address",
    "addresses_per_24",
    "networks_per_prefix",
    "pooling",
    "pool_addresses",
    "mapping_timeout",
    "hand_over",
    "leases",
    "ipv6",
];

/// The `address` of a population.
pub(super) fn address(item: &Item<'_>) -> Option<AddressPlan> {
    let mut section = item.section("a table such as { preset = \"home-nat\" }")?;
    let s = &mut section;
    let preset = preset_name(s, PresetKind::Address);
    let fixed = s.optional("fixed", Vec::new(), |item| {
        let addresses = item.elements("an array of addresses")?;
        if addresses.is_empty() {
            item.error("`fixed` must name at least one address, got none".into());
            return None;
        }
        addresses.iter().map(Item::address).collect()
    });
    let is_fixed = fixed.as_ref().is_none_or(|fixed| !fixed.is_empty());
    if is_fixed {
        let why = |key: &str| format!("`{key}` has no effect on `fixed` addresses");
        s.refuse(&DRAWN, why, "users are dealt to the addresses in turn");
    }
    let plan = presets::address(preset.flatten().unwrap_or("direct"));
    if preset == Some(None) && !is_fixed {
        let names: Vec<_> =
            presets::preset_names(PresetKind::Address).map(|name| format!("`{name}`")).collect();
        s.missing("preset", Some(&format!("one of {}; or list addresses as `fixed`", names.join(", "))));
    }
    let users_per_address = s.optional("users_per_address", plan.users_per_address, |item| {
        if item.is_integer() {
            return item.u32_at_least(1).map(CountLaw::Constant);
        }
        count_law(&item, f64::INFINITY)
    });
    let addresses_per_24 =
        s.optional("addresses_per_24", plan.addresses_per_24, |item| mean_or_law(&item, HOSTS));
    let networks_per_prefix = s.optional("networks_per_prefix", plan.networks_per_prefix, |item| {
        mean_or_law(&item, PREFIX_NETWORKS)
    });
    let preset_pool = if is_fixed { None } else { plan.pool };
    let pool = pool(s, preset_pool, preset.is_some().then_some(&plan.preset));
    let leases = s.optional("leases", plan.leases, |item| {
        if item.text() == Some("none") {
            return Some(None);
        }
        if pool.is_some_and(|pool| pool.is_some()) {
            let help = "behind a pool, addresses change by `hand_over` and `mapping_timeout`";
            item.error_with_help("`leases` have no meaning for the users of a pool".into(), help);
            return None;
        }
        leases(&item, addresses_per_24.as_ref()).map(Some)
    });
    if let (Some(Some(_)), Some(Some(_)), Some(item)) = (leases, pool, s.take("pool_addresses")) {
        let help =
            "add `leases = \"none\"`: behind a pool, addresses change by `hand_over` and `mapping_timeout`";
        item.error_with_help(format!("preset `{}` has leases, which a pool excludes", plan.preset), help);
    }
    let ipv6 = s.optional("ipv6", plan.ipv6, |item| item.or_none(ipv6));
    let front = s.optional("front", plan.front, |item| item.or_none(front));
    section.finish();
    preset?;
    let fixed = fixed?;
    let drawn = fixed.is_empty();
    Some(AddressPlan {
        preset: plan.preset,
        users_per_address: users_per_address?,
        addresses_per_24: addresses_per_24?,
        networks_per_prefix: networks_per_prefix?,
        pool: pool?,
        leases: leases?.filter(|_| drawn),
        ipv6: ipv6?.filter(|_| drawn),
        front: front?,
        fixed,
    })
}

/// A law, or the mean of one that is 1 plus geometric.
pub(super) fn mean_or_law(item: &Item<'_>, max: f64) -> Option<CountLaw> {
    if !item.is_scalar() {
        return count_law(item, max);
    }
    let mean = item.number_at_least(1.0)?;
    at_most(item, mean, max).then_some(CountLaw::OnePlusGeometric { mean })
}

fn at_most(item: &Item<'_>, number: f64, max: f64) -> bool {
    if number > max {
        item.error(format!("`{}` must be at most {max}, got {}", item.key, item.got()));
    }
    number <= max
}

/// A law of whole numbers of at least 1 whose mean, or only value, is at most `max`.
fn count_law(item: &Item<'_>, max: f64) -> Option<CountLaw> {
    const POISSON_MEAN_MAX: f64 = 1e6;
    const LAWS: [&str; 4] = ["constant", "one_plus_poisson", "one_plus_geometric", "lognormal"];
    const OTHERS: [&str; 7] =
        ["uniform", "exponential", "erlang", "pareto", "weibull", "inverse_gaussian", "empirical"];
    let all: Vec<_> = LAWS.into_iter().chain(OTHERS).collect();
    let law = item.section("a whole number, or a table with one law")?.single("law", &all)?;
    match law.key {
        "constant" => {
            let number = law.u32_at_least(1)?;
            return at_most(&law, f64::from(number), max).then_some(CountLaw::Constant(number));
        }
        "one_plus_poisson" | "one_plus_geometric" | "lognormal" => {}
        _ => return item.distribution(Quantity::Count).map(CountLaw::RoundedUp),
    }
    let mut section = law.section("a table of the law's parameters")?;
    let s = &mut section;
    let read = match law.key {
        "one_plus_poisson" => {
            let mean = s.required("mean", |item| {
                let mean = item.number_at_least(0.0)?;
                at_most(&item, mean, POISSON_MEAN_MAX.min(max)).then_some(mean)
            });
            mean.map(|mean| CountLaw::OnePlusPoisson { mean })
        }
        "one_plus_geometric" => {
            let mean = s.required("mean", |item| {
                let mean = item.number_at_least(1.0)?;
                at_most(&item, mean, max).then_some(mean)
            });
            mean.map(|mean| CountLaw::OnePlusGeometric { mean })
        }
        _ => {
            let median = s.required("median", |item| item.number_above_zero());
            let sigma = s.required("sigma", |item| item.number_at_least(0.0));
            median.zip(sigma).map(|(median, sigma)| CountLaw::Lognormal { median, sigma })
        }
    };
    section.finish();
    read
}

/// The keys of a pool; `default` is that of the preset, whose name is known unless it was wrong.
fn pool(s: &mut Section<'_>, default: Option<Pool>, preset: Option<&String>) -> Option<Option<Pool>> {
    let addresses = s.optional("pool_addresses", default.map(|pool| pool.addresses), |item| {
        item.integer(1, ADDRESSES_MAX).map(|number| Some(number as u32))
    });
    let pooling = s.take("pooling");
    let mapping_timeout = s.take("mapping_timeout");
    let hand_over = s.take("hand_over");
    if addresses == Some(None) {
        for item in [pooling, mapping_timeout, hand_over].into_iter().flatten() {
            let Some(preset) = preset else { continue };
            let message = format!("`{}` has no meaning with preset `{preset}`", item.key);
            item.error_with_help(
                message,
                "it is about a pool of addresses: `preset = \"cgnat\"`, or `pool_addresses`",
            );
        }
        return Some(None);
    }
    let default = default.unwrap_or(presets::POOL);
    let paired = match default.pooling {
        Pooling::Paired { .. } => default.pooling,
        Pooling::Arbitrary | Pooling::PerRequest => presets::POOL.pooling,
    };
    let said = match &pooling {
        Some(item) => item.one_of(&[
            ("paired", paired),
            ("arbitrary", Pooling::Arbitrary),
            ("per_request", Pooling::PerRequest),
        ]),
        None => Some(default.pooling),
    };
    let mapping_timeout = match (mapping_timeout, said) {
        (None, said) => said,
        (Some(item), Some(Pooling::Paired { .. })) => {
            item.or_none(positive_duration).map(|mapping_timeout| Pooling::Paired { mapping_timeout })
        }
        (Some(item), _) => {
            let help = "a connection keeps its address for as long as it is open; only `pooling = \"paired\"` keeps it longer";
            item.error_with_help(
                "`mapping_timeout` has no meaning unless users are paired with addresses".into(),
                help,
            );
            None
        }
    };
    let hand_over = match (hand_over, said) {
        (None, _) => Some(default.hand_over),
        (Some(item), Some(Pooling::PerRequest)) => {
            let message = "`hand_over` has no meaning where each request has another address".into();
            item.error_with_help(message, "leave it out");
            None
        }
        (Some(item), _) => item.or_none(positive_duration),
    };
    Some(Some(Pool { addresses: addresses??, pooling: mapping_timeout?, hand_over: hand_over? }))
}

fn positive_duration(item: &Item<'_>) -> Option<SimDuration> {
    let duration = item.duration()?;
    if duration < CHANGES_MIN {
        item.error(format!("`{}` must be at least {CHANGES_MIN}, got {}", item.key, item.got()));
        return None;
    }
    Some(duration)
}

/// A probability or a share.
fn share(item: &Item<'_>) -> Option<f64> {
    let share = item.number()?;
    if !(0.0..=1.0).contains(&share) {
        item.error(format!("`{}` must be from 0 to 1, got {}", item.key, item.got()));
        return None;
    }
    Some(share)
}

fn leases(item: &Item<'_>, per_24: Option<&CountLaw>) -> Option<Leases> {
    let default = presets::LEASES;
    let mut section =
        item.section("\"none\", or a table such as { periodic = { share = 0.15, period = \"24h\" } }")?;
    let s = &mut section;
    // Whoever names one kind of lease means only that one.
    let all = [s.take("exponential"), s.take("periodic")].iter().all(Option::is_none);
    let none = |share: f64| if all { share } else { 0.0 };
    let exponential =
        s.optional("exponential", (none(default.exponential_share), default.exponential_mean), |item| {
            let mut section = item.section("a table with `share` and `mean`")?;
            let share = section.required("share", |item| share(&item));
            let mean = section.optional("mean", default.exponential_mean, |item| positive_duration(&item));
            section.finish();
            share.zip(mean)
        });
    let periodic = s.optional("periodic", (none(default.periodic_share), default.period, None), |item| {
        let mut section = item.section("a table with `share` and `period`")?;
        let share = section.required("share", |item| share(&item));
        let period = section.optional("period", default.period, |item| positive_duration(&item));
        let at = section.optional("at", None, |item| item.or_none(|item| item.duration()));
        section.finish();
        Some((share?, period?, at?))
    });
    let leaving = |item: &Item<'_>| {
        let probability = share(item)?;
        if probability > 0.0 && probability < LEAVING_MIN {
            item.error(format!("`{}` must be 0 or at least {LEAVING_MIN}, got {}", item.key, item.got()));
            return None;
        }
        Some(probability)
    };
    let new_24 = s.optional("new_24", default.new_24, |item| leaving(&item));
    let new_prefix = s.optional("new_prefix", default.new_prefix, |item| leaving(&item));
    section.finish();
    let ((exponential_share, exponential_mean), (periodic_share, period, at)) = (exponential?, periodic?);
    if exponential_share + periodic_share > 1.0 {
        let message = format!(
            "the shares of the leases must sum to at most 1, got {}",
            exponential_share + periodic_share
        );
        item.error_with_help(message, "the rest of the homes keeps its address");
        return None;
    }
    let (new_24, new_prefix, per_24) = (new_24?, new_prefix?, per_24?.mean());
    if per_24 > LEASES_PER_24_MAX {
        let message = format!(
            "homes with leases can have at most {LEASES_PER_24_MAX} addresses in a /24 on average, got {per_24}"
        );
        item.error_with_help(message, "lower `addresses_per_24`, or set `leases = \"none\"`");
        return None;
    }
    if LeaseOdds::new(new_24, new_prefix, per_24).is_none() {
        let help = "who leaves the prefix leaves the /24, and a provider has few of both, to which some return: \
                    `new_prefix` is at most about 0.85 `new_24`, and `new_24` about 0.9";
        item.error_with_help(
            format!("`new_24` = {new_24} and `new_prefix` = {new_prefix} cannot be had"),
            help,
        );
        return None;
    }
    Some(Leases { exponential_share, exponential_mean, periodic_share, period, at, new_24, new_prefix })
}

fn ipv6(item: &Item<'_>) -> Option<Ipv6> {
    let default = presets::IPV6;
    let mut s = item.section("\"none\", or a table such as { homes = 0.5, connections = 0.95 }")?;
    let homes = s.optional("homes", default.homes, |item| share(&item));
    let connections = s.optional("connections", default.connections, |item| share(&item));
    let temporary = s.optional("temporary", default.temporary, |item| item.or_none(positive_duration));
    s.finish();
    Some(Ipv6 { homes: homes?, connections: connections?, temporary: temporary? })
}

fn front(item: &Item<'_>) -> Option<Front> {
    let default = presets::FRONT;
    let mut s = item
        .section("\"none\", or a table such as { addresses = 4, passes_address = true, trusted = true }")?;
    let addresses = s.optional("addresses", default.addresses, |item| {
        item.integer(1, ADDRESSES_MAX).map(|number| number as u32)
    });
    let passes_address = s.optional("passes_address", default.passes_address, |item| item.boolean());
    let trusted = s.optional("trusted", default.trusted, |item| item.boolean());
    s.finish();
    Some(Front { addresses: addresses?, passes_address: passes_address?, trusted: trusted? })
}
