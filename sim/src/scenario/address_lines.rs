//! An address plan as a scenario writes it.

use std::net::IpAddr;

use super::explain::{duration, list, or_none, text};
use super::quantity::{Quantity, show_distribution};
use crate::population::{AddressPlan, CountLaw, Front, Ipv6, Leases, Pooling};

/// Keys and values, in the order in which they are shown; every default is filled in.
pub(super) fn address_lines(plan: &AddressPlan) -> Vec<(&'static str, String)> {
    let mut lines = vec![("preset", text(&plan.preset))];
    let front = ("front", or_none(plan.front, front));
    if !plan.fixed.is_empty() {
        let addresses = plan.fixed.iter().map(|address: &IpAddr| text(&address.to_string()));
        lines.extend([("fixed", list(addresses)), front]);
        return lines;
    }
    lines.push(("users_per_address", count_law(&plan.users_per_address)));
    lines.push(("addresses_per_24", count_law(&plan.addresses_per_24)));
    lines.push(("networks_per_prefix", count_law(&plan.networks_per_prefix)));
    if let Some(pool) = plan.pool {
        lines.push(("pool_addresses", pool.addresses.to_string()));
        let pooling = match pool.pooling {
            Pooling::Paired { .. } => "paired",
            Pooling::Arbitrary => "arbitrary",
            Pooling::PerRequest => "per_request",
        };
        lines.push(("pooling", text(pooling)));
        if let Pooling::Paired { mapping_timeout } = pool.pooling {
            lines.push(("mapping_timeout", or_none(mapping_timeout, duration)));
        }
        if pool.pooling != Pooling::PerRequest {
            lines.push(("hand_over", or_none(pool.hand_over, duration)));
        }
    } else {
        lines.push(("leases", or_none(plan.leases, leases)));
    }
    lines.extend([("ipv6", or_none(plan.ipv6, ipv6)), front]);
    lines
}

pub(super) fn count_law(law: &CountLaw) -> String {
    match law {
        CountLaw::Constant(number) => format!("{{ constant = {number} }}"),
        CountLaw::OnePlusPoisson { mean } => format!("{{ one_plus_poisson = {{ mean = {mean:?} }} }}"),
        CountLaw::OnePlusGeometric { mean } => format!("{{ one_plus_geometric = {{ mean = {mean:?} }} }}"),
        CountLaw::Lognormal { median, sigma } => {
            format!("{{ lognormal = {{ median = {median:?}, sigma = {sigma:?} }} }}")
        }
        CountLaw::RoundedUp(law) => show_distribution(law, Quantity::Count),
    }
}

fn leases(leases: Leases) -> String {
    let Leases { exponential_share, periodic_share, new_24, new_prefix, .. } = leases;
    let (mean, period) = (duration(leases.exponential_mean), duration(leases.period));
    let at = or_none(leases.at, duration);
    format!(
        "{{ exponential = {{ share = {exponential_share:?}, mean = {mean} }}, \
         periodic = {{ share = {periodic_share:?}, period = {period}, at = {at} }}, \
         new_24 = {new_24:?}, new_prefix = {new_prefix:?} }}"
    )
}

fn ipv6(Ipv6 { homes, connections, temporary }: Ipv6) -> String {
    let temporary = or_none(temporary, duration);
    format!("{{ homes = {homes:?}, connections = {connections:?}, temporary = {temporary} }}")
}

fn front(Front { addresses, passes_address, trusted }: Front) -> String {
    format!("{{ addresses = {addresses}, passes_address = {passes_address}, trusted = {trusted} }}")
}
