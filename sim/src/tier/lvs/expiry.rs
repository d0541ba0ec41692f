//! How entries end: timers that fire, and the deletion of what belongs to a removed server.
//!
//! Source: Linux 6.1, `ip_vs_conn.c` (`ip_vs_conn_expire`, `ip_vs_conn_expire_now`, `ip_vs_expire_nodest_conn_flush`).

use crate::engine::SimTime;
use crate::ids::ServerId;

use super::director::Lvs;
use super::table::{Kind, NONE};

impl Lvs {
    /// Does what the timers would have done by `now`.
    #[inline]
    pub(super) fn advance(&mut self, now: SimTime) {
        if now >= self.tick_end {
            let jiffies = self.clock.jiffies(now);
            self.tick_end = self.clock.next_tick(jiffies);
            self.fire_until(jiffies);
        }
    }

    fn fire_until(&mut self, jiffies: u64) {
        if let Some(at) = self.flush_at.take_if(|at| *at <= jiffies) {
            self.fire_timers(at);
            self.flush_removed();
        }
        self.fire_timers(jiffies);
    }

    fn fire_timers(&mut self, until: u64) {
        while let Some(mut due) = self.wheel.advance(until) {
            for list in due.iter_mut().rev() {
                while let Some(slot) = self.wheel.pop(self.table.entries_mut(), list) {
                    self.expire(slot);
                }
            }
        }
    }

    /// A timer has run out: `ip_vs_conn_expire`. Arms no timer but its own and frees no slot but its own, so that the
    /// lists under way stay whole.
    fn expire(&mut self, slot: u32) {
        match self.table.entry(slot).kind() {
            Kind::Template { .. } if self.table.entry(slot).link > 0 => {
                self.table.entry_mut(slot).set_kind(Kind::Template { shortened: true });
                self.announce_shortened(slot);
                self.arm(slot, self.later_ticks);
            }
            _ => self.unlink(slot),
        }
    }

    /// Takes an entry whose timer is not armed out of the table, and of its template's and its server's counts.
    fn unlink(&mut self, slot: u32) {
        let entry = *self.table.entry(slot);
        match entry.kind() {
            Kind::Connection(state) => {
                if entry.link != NONE {
                    self.table.entry_mut(entry.link).link -= 1;
                }
                let service = self.endpoints[usize::from(entry.endpoint)].service;
                self.services[usize::from(service)]
                    .destinations
                    .unbind(ServerId(entry.server), state.is_active());
            }
            Kind::Template { .. } => {
                self.services[usize::from(entry.endpoint)].destinations.relax(ServerId(entry.server));
            }
            Kind::Free => return,
        }
        if entry.is_ipv6() {
            self.addresses.release(entry.client);
        }
        self.table.remove(slot);
    }

    /// Deletes every connection of a removed server, and each template of one that controls none any more.
    fn flush_removed(&mut self) {
        for slot in 0..self.table.slots() {
            let entry = self.table.entry(slot);
            let (service, template) = match entry.kind() {
                Kind::Connection(_) => (self.endpoints[usize::from(entry.endpoint)].service, entry.link),
                Kind::Template { .. } if entry.link == 0 => (entry.endpoint, NONE),
                Kind::Template { .. } | Kind::Free => continue,
            };
            if self.services[usize::from(service)].is_listed(entry.server) {
                continue;
            }
            self.delete(slot);
            if template != NONE && self.table.entry(template).link == 0 {
                self.delete(template);
            }
        }
    }

    fn delete(&mut self, slot: u32) {
        self.wheel.disarm(self.table.entries_mut(), slot);
        self.unlink(slot);
    }

    /// Lets the timer of a connection fire at the next tick (`ip_vs_conn_expire_now`). Until then it counts, but makes
    /// room for another of its addresses.
    pub(super) fn expire_now(&mut self, slot: u32) {
        self.table.hide(slot);
        if self.wheel.ticks_left(self.table.entry(slot)) > 0 {
            self.arm(slot, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Director, config};
    use super::super::{Forwarded, Segment};
    use super::*;

    const CLIENT: [u8; 4] = [10, 0, 0, 1];

    #[test]
    fn with_expire_nodest_conn_everything_of_a_removed_server_is_deleted_two_ticks_later() {
        let mut settings = config("rr", 2, Some(120));
        settings.sysctl.expire_nodest_conn = true;
        let mut director = Director::new(settings);
        let (flow, server) = director.connect(CLIENT, 1);
        director.connect([10, 0, 0, 2], 1);
        director.lvs.remove_server(director.now, ServerId(server));
        director.wait_ms(4);
        assert_eq!(director.counters(server), (1, 0));
        director.wait_ms(4);
        assert_eq!(director.counters(server), (0, 0));
        assert_eq!(director.segment(flow, Segment::FromClient), Forwarded::Reset);
        assert_eq!(director.template(CLIENT), None);
        let sizes = director.sizes();
        assert_eq!((sizes.flows, sizes.affinity_entries), (1, 1));
    }

    #[test]
    fn a_server_back_before_the_deletion_keeps_its_connections() {
        let mut settings = config("rr", 2, None);
        settings.sysctl.expire_nodest_conn = true;
        let mut director = Director::new(settings);
        let (flow, server) = director.connect(CLIENT, 1);
        director.lvs.remove_server(director.now, ServerId(server));
        director.lvs.add_server(director.now, ServerId(server), 1);
        director.wait(1);
        assert_eq!(director.segment(flow, Segment::FromClient), Forwarded::To(ServerId(server)));
    }

    #[test]
    fn hours_of_idleness_empty_the_tables() {
        let mut director = Director::new(config("wlc", 3, Some(300)));
        for client in 0..2_000_u32 {
            director.connect(std::net::Ipv4Addr::from_bits(client), 1);
            director.wait_ms(7);
        }
        director.wait(24 * 3_600);
        assert_eq!([0, 1, 2].map(|server| director.counters(server)), [(0, 0); 3]);
        assert_eq!(director.sizes().affinity_entries, 0);
    }
}
