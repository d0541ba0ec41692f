//! Persistence templates (`-p`): which server a client's next connection goes to.
//!
//! Source: Linux 6.1, `ip_vs_core.c` (`ip_vs_sched_persist`) and `ip_vs_conn.c` (`ip_vs_check_template`,
//! `ip_vs_conn_expire`). The kernel's key is (client and mask, protocol, address, port), with port 0 for a service of
//! all ports and the mark in place of the address for a firewall mark; no two services share one, so the service
//! stands for it here.

use std::net::IpAddr;

use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;
use crate::tier::{Reason, Skipped};

use super::director::Lvs;
use super::table::{Entry, Kind, NONE};
use super::{LvsService, Open};

/// One template, as `ipvsadm -Lnc` lists it with client port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateView {
    /// The virtual service.
    pub service: u16,
    /// The client's address, masked by the service's netmask.
    pub address: IpAddr,
    /// The real server.
    pub server: ServerId,
    /// Time until its timer nominally runs out; zero when that is past: it stays usable until the timer wheel comes
    /// round.
    pub left: SimDuration,
    /// What the next connection sets its timer to: the service's persistence timeout, or 60 s once it has run out
    /// while connections were open.
    pub timeout: SimDuration,
    /// Connections that it controls, in any state; it does not end before they have.
    pub controlled: u32,
    /// Whether it was invalidated, and no connection will find it any more (`ipvsadm` shows port 65535).
    pub invalid: bool,
}

impl Lvs {
    /// Chooses the server of a new connection to a persistent service and starts the timer of its template, new or
    /// old. Gives the server with the reason, or `None` where there is none; and the template's slot.
    #[inline]
    pub(super) fn schedule_persistent(
        &mut self,
        service: u16,
        ticks: u32,
        open: &Open<'_>,
    ) -> (Option<(u16, Reason)>, u32) {
        let address = self.services[usize::from(service)].config.granule(open.address);
        let mut unusable = false;
        if let Some(slot) = self.find_template(service, address) {
            let entry = *self.table.entry(slot);
            if self.is_template_usable(&entry) {
                let shortened = entry.kind() == Kind::Template { shortened: true };
                self.arm(slot, if shortened { self.later_ticks } else { ticks });
                return (Some((entry.server, Reason::Affinity)), slot);
            }
            // Its timer goes on as it is.
            self.table.hide(slot);
            unusable = true;
        }
        let Some((server, reason)) = self.services[usize::from(service)].schedule(open) else {
            return (None, NONE);
        };
        let reason = if unusable { Reason::AffinityUnusable(Skipped::OutOfService) } else { reason };
        let key = self.acquire(address, 0, service, true);
        let slot = self.table.insert(key, Kind::Template { shortened: false }, server, 0);
        self.arm(slot, ticks);
        (Some((server, reason)), slot)
    }

    /// The template that the next connection from `address` to `service` would find; `None` if there is none, it was
    /// invalidated, or the service is not persistent. Changes nothing but what the timers do by `now`.
    pub fn template_of(&mut self, now: SimTime, service: u16, address: IpAddr) -> Option<TemplateView> {
        self.advance(now);
        let granule = self.services.get(usize::from(service))?.config.granule(address);
        let slot = self.find_template(service, granule)?;
        self.template_view(self.table.entry(slot))
    }

    /// Every template, invalidated ones among them, in no meaningful order. Walks the whole table: for snapshots.
    pub fn templates(&mut self, now: SimTime) -> impl Iterator<Item = TemplateView> {
        self.advance(now);
        self.table.iter().filter_map(|(_, entry)| self.template_view(entry))
    }

    #[inline]
    fn find_template(&self, service: u16, granule: IpAddr) -> Option<u32> {
        self.table.find(self.known(granule, 0, service, true)?)
    }

    /// `ip_vs_check_template`: its server is configured, and has a weight if `expire_quiescent_template` asks for it.
    /// Thresholds do not matter.
    #[inline]
    fn is_template_usable(&self, entry: &Entry) -> bool {
        let service = &self.services[usize::from(entry.endpoint)];
        service.is_listed(entry.server)
            && !(self.sysctl.expire_quiescent_template && service.is_quiesced(entry.server))
    }

    fn template_view(&self, entry: &Entry) -> Option<TemplateView> {
        let Kind::Template { shortened } = entry.kind() else { return None };
        let full = self.services[usize::from(entry.endpoint)].persistence_ticks.unwrap_or(0);
        Some(TemplateView {
            service: entry.endpoint,
            address: self.client_address(entry),
            server: ServerId(entry.server),
            left: self.time_left(entry),
            timeout: self.clock.duration(if shortened { self.later_ticks } else { full }),
            controlled: entry.link,
            invalid: entry.is_hidden(),
        })
    }
}

impl LvsService {
    /// The address by which a template knows a client: masked by `-M`. Prefixes longer than the address mask nothing.
    #[inline]
    fn granule(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => {
                let host_bits = 32_u32.saturating_sub(self.persistence_prefix_v4.into());
                let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                std::net::Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let host_bits = 128_u32.saturating_sub(self.persistence_prefix_v6.into());
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                std::net::Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        }
    }
}
