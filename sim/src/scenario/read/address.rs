//! Where a population's clients come from.

use super::population::preset_name;
use crate::population::{AddressPlan, UsersPerAddress};
use crate::scenario::presets::{self, PresetKind};
use crate::scenario::section::Item;

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
    if fixed.as_ref().is_none_or(|fixed| !fixed.is_empty()) {
        let why = |key: &str| format!("`{key}` has no effect on `fixed` addresses");
        s.refuse(&["users_per_address", "addresses_per_24"], why, "users are dealt to the addresses in turn");
    }
    let plan = presets::address(preset.flatten().unwrap_or("direct"));
    if preset == Some(None) && fixed.as_ref().is_some_and(Vec::is_empty) {
        s.missing(
            "preset",
            Some("one of `direct`, `home-nat`, `office`, `cgnat`; or list addresses as `fixed`"),
        );
    }
    let users = s.optional("users_per_address", plan.users_per_address, |item| users_per_address(&item));
    let density = s.optional("addresses_per_24", plan.addresses_per_24, |item| {
        let number = item.number_at_least(1.0)?;
        if number > 254.0 {
            item.error(format!("`addresses_per_24` must be at most 254, got {}", item.got()));
            return None;
        }
        Some(number)
    });
    let pooling = s.optional("pooling", (), |item| {
        if preset.is_some() && plan.preset != "cgnat" {
            let help = "`pooling` says how a carrier's NAT (`preset = \"cgnat\"`) deals addresses";
            item.error_with_help(format!("`pooling` has no meaning with preset `{}`", plan.preset), help);
            return None;
        }
        match item.string()? {
            "paired" => Some(()),
            "arbitrary" => {
                let help = "write `pooling = \"paired\"`: a user keeps one address, as RFC 6888 asks";
                item.error_with_help("`pooling` \"arbitrary\" is not modelled yet".into(), help);
                None
            }
            other => {
                item.unknown("pooling", other, ["paired"]);
                None
            }
        }
    });
    section.finish();
    preset?;
    pooling?;
    Some(AddressPlan {
        preset: plan.preset,
        users_per_address: users?,
        addresses_per_24: density?,
        fixed: fixed?,
    })
}

fn users_per_address(item: &Item<'_>) -> Option<UsersPerAddress> {
    const LAWS: [&str; 3] = ["constant", "one_plus_poisson", "lognormal"];
    const POISSON_MEAN_MAX: f64 = 1e6;
    if item.is_integer() {
        return item.u32_at_least(1).map(UsersPerAddress::Constant);
    }
    let law = item.section("a whole number, or a table with one law")?.single("law", &LAWS)?;
    if law.key == "constant" {
        return law.u32_at_least(1).map(UsersPerAddress::Constant);
    }
    let mut section = law.section("a table of the law's parameters")?;
    let s = &mut section;
    let users = if law.key == "one_plus_poisson" {
        let mean = s.required("mean", |item| {
            let mean = item.number_at_least(0.0)?;
            if mean > POISSON_MEAN_MAX {
                item.error(format!("`mean` must be at most {POISSON_MEAN_MAX}, got {}", item.got()));
                return None;
            }
            Some(mean)
        });
        mean.map(|mean| UsersPerAddress::OnePlusPoisson { mean })
    } else {
        let median = s.required("median", |item| item.number_above_zero());
        let sigma = s.required("sigma", |item| item.number_at_least(0.0));
        median.zip(sigma).map(|(median, sigma)| UsersPerAddress::Lognormal { median, sigma })
    };
    section.finish();
    users
}
