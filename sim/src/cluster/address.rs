//! What a change of a client's address does: to its connections, and to the evidence of why a session was lost.

use std::net::IpAddr;

use super::Cluster;
use crate::engine::SimTime;
use crate::ids::{ClientId, ConnectionId};
use crate::population::Since;
use crate::scenario::{Program, TierPlan};
use crate::session::sessions::Cut;
use crate::tier::{Key, Layer};

/// How much of a client's address ties it to a server: leading bits of either family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressTie {
    v4: u8,
    v6: u8,
}

impl AddressTie {
    /// All of it.
    const WHOLE: Self = Self { v4: 32, v6: 128 };

    /// What a tier without cookies looks at; `None` if addresses mean nothing to it.
    pub fn of(plan: &TierPlan) -> Option<Self> {
        let by_hash = plan.keys.hash.as_ref().is_none_or(Key::shows_address).then_some(Self::WHOLE);
        match &plan.program {
            Program::Nginx(config) if config.method.name() == "ip_hash" => Some(Self { v4: 24, v6: 128 }),
            Program::Nginx(_) | Program::Proxy(_) => by_hash,
            Program::Lvs(config) => {
                let service = &config.services[0];
                let (v4, v6) = (service.persistence_prefix_v4, service.persistence_prefix_v6);
                let hashes = matches!(service.scheduler.name(), "sh" | "mh") && !service.scheduler_flags.port;
                match service.persistence_timeout {
                    Some(_) => Some(Self { v4, v6 }),
                    None => hashes.then_some(Self::WHOLE),
                }
            }
            Program::HaProxy(config) if config.stick.is_some() => {
                // A table of cookies or headers does not look at addresses.
                plan.keys.stick.is_none().then_some(Self::WHOLE)
            }
            Program::HaProxy(_) => by_hash,
        }
    }

    /// Whether two addresses are the same to the tier.
    pub(super) fn is_same(self, one: IpAddr, other: IpAddr) -> bool {
        let differs = |bits: u128, width: u32, looked_at: u8| {
            bits.leading_zeros() - (128 - width) < u32::from(looked_at).min(width)
        };
        match (one, other) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                !differs(u128::from(u32::from(one) ^ u32::from(other)), 32, self.v4)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                !differs(u128::from(one) ^ u128::from(other), 128, self.v6)
            }
            _ => false,
        }
    }
}

impl Cluster<'_> {
    /// Whether a request of a session leaves home because it comes from another address than the last one that reached home.
    pub(super) fn address_made_leave(&mut self, now: SimTime, slot: u32, route: &Cut) -> bool {
        let session = self.sessions.get(slot);
        let way = (session.last_address, route.from);
        self.tier.lost_by_address(now, route.instance, way, session.home, route.reason)
    }

    /// The connection of a client, unless the client's address has changed since it was opened: then it is broken, and
    /// nobody else hears of it. `name` names what is to be sent.
    #[inline(always)]
    pub(super) fn standing_connection(
        &mut self,
        now: SimTime,
        client: ClientId,
        connection: Option<ConnectionId>,
        name: u64,
    ) -> Option<ConnectionId> {
        let id = connection?;
        if self.clients.row(client).moves() { self.follow(now, client, id, name) } else { Some(id) }
    }

    /// As [`Cluster::standing_connection`], for a client whose address may change.
    #[inline(never)]
    fn follow(
        &mut self,
        now: SimTime,
        client: ClientId,
        id: ConnectionId,
        name: u64,
    ) -> Option<ConnectionId> {
        match self.clients.since(client, now, name, self.connections.get(id.0).link) {
            Since::Unchanged => {}
            Since::Broken => {
                self.forget_connection(now, id);
                return None;
            }
            Since::Moved { user, link } => {
                let layer = self.layer();
                let hidden = self.paths.as_ref().is_some_and(|paths| paths.hides_clients());
                let row = self.connections.get_mut(id.0);
                row.link = link;
                if layer == Layer::Request && !hidden {
                    row.address = user;
                }
            }
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_same_as_far_as_a_tier_looks() {
        let tie = AddressTie { v4: 24, v6: 64 };
        let same = |one: &str, other: &str| tie.is_same(one.parse().unwrap(), other.parse().unwrap());
        assert!(same("81.2.69.1", "81.2.69.254"));
        assert!(!same("81.2.69.1", "81.2.68.1"));
        assert!(same("2a02:1::1", "2a02:1::ffff:0:0:2"));
        assert!(!same("2a02:1::1", "2a02:1:0:1::1"));
        assert!(!same("81.2.69.1", "2a02:1::1"));
        let whole = AddressTie::WHOLE;
        assert!(!whole.is_same("81.2.69.0".parse().unwrap(), "81.2.69.1".parse().unwrap()));
        assert!(whole.is_same("81.2.69.0".parse().unwrap(), "81.2.69.0".parse().unwrap()));
    }
}
