//! Weights as whole numbers of equal slots (points of a ring, buckets).

use super::ProxyServers;
use crate::ids::ServerId;

/// A server with a share of the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Who.
    pub server: ServerId,
    /// Above 0.
    pub weight: u32,
}

/// The members that the configuration names.
pub fn configured(servers: &ProxyServers) -> Vec<Member> {
    let all = (0..servers.len()).map(ServerId::from_index);
    all.map(|server| Member { server, weight: servers.configured_weight(server) })
        .filter(|member| member.weight > 0)
        .collect()
}

/// The members that may be used now.
pub fn present(servers: &ProxyServers) -> Vec<Member> {
    servers.usable().iter().map(|&server| Member { server, weight: servers.weight(server) }).collect()
}

/// How many slots each member gets: its weight, with what all weights have in common divided out, times `per_unit`; if
/// that makes more than `max` in all, proportionally fewer, though each keeps at least one.
pub fn counts(members: &[Member], per_unit: u32, max: u64) -> Vec<u32> {
    let common = members.iter().fold(0, |divisor, member| greatest_common_divisor(divisor, member.weight));
    let units = |member: &Member| u64::from(member.weight / common.max(1));
    let total = members.iter().map(units).sum::<u64>().saturating_mul(per_unit.into());
    let count = |member: &Member| {
        let wanted = units(member) * u64::from(per_unit);
        let fitting = if total <= max {
            wanted
        } else {
            (u128::from(wanted) * u128::from(max) / u128::from(total)) as u64
        };
        fitting.max(1) as u32
    };
    members.iter().map(count).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(index, &weight)| Member { server: ServerId::from_index(index), weight };
        weights.iter().enumerate().map(member).collect()
    }

    #[test]
    fn slots_are_the_weights_in_lowest_terms() {
        assert_eq!(counts(&members(&[10, 20, 50]), 1, 100), [1, 2, 5]);
        assert_eq!(counts(&members(&[7, 7]), 160, 1_000), [160, 160]);
        assert!(counts(&[], 1, 10).is_empty());
    }

    #[test]
    fn too_many_slots_are_scaled_down_but_nobody_loses_all() {
        assert_eq!(counts(&members(&[4_000_000_000, 1]), 160, 1_000), [999, 1]);
    }
}
