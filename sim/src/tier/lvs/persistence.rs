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
        now: SimTime,
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
        let Some((server, reason)) = self.services[usize::from(service)].schedule(now, open) else {
            return (None, NONE);
        };
        let reason = if unusable { Reason::AffinityUnusable(Skipped::OutOfService) } else { reason };
        let key = self.acquire(address, 0, service, true);
        let slot = self.insert(key, Kind::Template { shortened: false }, server, 0);
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

#[cfg(test)]
mod tests {
    use super::super::Segment;
    use super::super::fixture::{Director, config};
    use super::*;

    const CLIENT: [u8; 4] = [10, 0, 0, 1];
    const OTHER: [u8; 4] = [10, 0, 0, 2];

    #[test]
    fn a_template_sends_the_client_back_without_asking_the_scheduler() {
        let mut director = Director::new(config("rr", 3, Some(120)));
        let (_, home) = director.connect(CLIENT, 1);
        let again = director.syn(CLIENT, 2).decision;
        assert_eq!((again.server, again.reason), (Some(ServerId(home)), Reason::Affinity));
        assert_eq!(director.connect(OTHER, 1).1, 1, "the pointer of rr has moved once");
    }

    #[test]
    fn connections_rearm_a_template_and_their_packets_do_not() {
        let mut director = Director::new(config("rr", 3, Some(120)));
        let (flow, _) = director.connect(CLIENT, 1);
        director.wait(50);
        director.segment(flow, Segment::FromClient);
        assert_eq!(director.template(CLIENT).unwrap().left, SimDuration::from_secs(70));
        director.connect(CLIENT, 2);
        let view = director.template(CLIENT).unwrap();
        assert_eq!((view.left, view.controlled), (SimDuration::from_secs(120), 2));
    }

    #[test]
    fn a_template_that_runs_out_with_connections_gets_sixty_seconds_for_good() {
        let mut director = Director::new(config("rr", 3, Some(120)));
        let (flow, home) = director.connect(CLIENT, 1);
        director.wait(123);
        let view = director.template(CLIENT).unwrap();
        assert_eq!(view.timeout, SimDuration::from_secs(60));
        let (second, server) = director.connect(CLIENT, 2);
        assert_eq!(server, home);
        assert_eq!(director.template(CLIENT).unwrap().left, SimDuration::from_secs(60), "not 120 again");
        for flow in [flow, second] {
            director.segment(flow, Segment::ClientReset);
        }
        director.wait(63);
        assert_eq!(director.template(CLIENT), None);
        assert!(matches!(director.syn(CLIENT, 3).decision.reason, Reason::Scheduled { .. }));
    }

    #[test]
    fn an_entry_in_the_bucket_of_its_template_goes_first_and_lets_it_die() {
        let mut director = Director::new(config("rr", 3, Some(120)));
        let (flow, _) = director.connect(CLIENT, 1);
        // TIME_WAIT lasts 120 s too, and both end in one granule of 2.048 s.
        director.close(flow);
        director.wait_ms(120_900);
        assert_eq!(director.sizes().flows, 0);
        assert_eq!(director.template(CLIENT), None);
    }

    #[test]
    fn the_netmask_makes_one_client_of_many() {
        let mut settings = config("rr", 3, Some(120));
        settings.services[0].persistence_prefix_v4 = 24;
        settings.services[0].persistence_prefix_v6 = 64;
        let mut director = Director::new(settings);
        let (_, home) = director.connect([10, 0, 0, 1], 1);
        assert_eq!(director.connect([10, 0, 0, 200], 1).1, home);
        assert_ne!(director.connect([10, 0, 1, 1], 1).1, home);
        let (_, home) = director.connect([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 1);
        assert_eq!(director.connect([0x2001, 0xdb8, 0, 0, 9, 9, 9, 9], 1).1, home);
        assert_ne!(director.connect([0x2001, 0xdb8, 0, 1, 0, 0, 0, 1], 1).1, home);
        director.wait(1_200);
        assert_eq!(director.sizes().affinity_entries, 0);
    }

    #[test]
    fn a_quiesced_server_keeps_its_clients_unless_templates_expire() {
        for expire in [false, true] {
            let mut settings = config("rr", 2, Some(120));
            settings.sysctl.expire_quiescent_template = expire;
            let mut director = Director::new(settings);
            let (_, home) = director.connect(CLIENT, 1);
            director.lvs.set_weight(director.now, ServerId(home), 0);
            let decision = director.syn(CLIENT, 2).decision;
            let unusable = Reason::AffinityUnusable(Skipped::OutOfService);
            assert_eq!(decision.reason, if expire { unusable } else { Reason::Affinity });
            assert_eq!(decision.server == Some(ServerId(home)), !expire);
            let (now, old) = (director.now, usize::from(expire));
            assert_eq!(director.lvs.templates(now).filter(|view| view.invalid).count(), old);
            assert_eq!(director.connect(OTHER, 1).1, 1 - home, "no new client");
        }
    }

    #[test]
    fn a_template_of_a_removed_server_is_not_followed() {
        let mut director = Director::new(config("rr", 2, Some(120)));
        let (_, home) = director.connect(CLIENT, 1);
        director.lvs.remove_server(director.now, ServerId(home));
        let decision = director.syn(CLIENT, 2).decision;
        assert_eq!(decision.server, Some(ServerId(1 - home)));
        assert_eq!(decision.reason, Reason::AffinityUnusable(Skipped::OutOfService));
    }

    #[test]
    fn an_overloaded_server_still_takes_the_clients_it_has() {
        let mut settings = config("rr", 2, Some(120));
        settings.services[0].servers[1].upper_threshold = 1;
        let mut director = Director::new(settings);
        assert_eq!(director.connect(CLIENT, 1).1, 1);
        let decision = director.syn(CLIENT, 2).decision;
        assert_eq!((decision.server, decision.reason), (Some(ServerId(1)), Reason::Affinity));
        assert_eq!(director.connect(OTHER, 1).1, 0);
    }

    #[test]
    fn a_controlled_connection_keeps_its_entry_when_its_port_comes_back() {
        let mut director = Director::new(config("rr", 2, Some(120)));
        let (flow, _) = director.connect(CLIENT, 1);
        director.close(flow);
        assert_eq!(director.syn(CLIENT, 1).decision.reason, Reason::LiveEntry);
    }
}
