//! The real servers of one virtual service: the kernel's list, its order and its counters.
//!
//! Source: Linux 6.1, `ip_vs_ctl.c` (`__ip_vs_update_dest`, `__ip_vs_unlink_dest`, `ip_vs_add_dest`) and `ip_vs_conn.c`
//! (`ip_vs_bind_dest`, `ip_vs_unbind_dest`).

use std::net::SocketAddr;

use super::hashing::fold;
use crate::ids::ServerId;

/// No neighbour in the list: the list's head.
const HEAD: u32 = u32::MAX;

/// The largest weight: `ipvsadm -w` takes 0 to 65535. Larger ones count as this, so that products stay in 64 bits.
pub(super) const WEIGHT_MAX: u32 = 65_535;

/// One real server, in the list or removed from it. A removed server keeps its record, as the kernel's does in the
/// trash while connections refer to it: adding it again brings back its counters.
#[derive(Clone, Debug)]
pub struct Destination {
    /// `-w`, at most 65535; 0 takes no new clients.
    pub weight: u32,
    /// The last weight other than 0 (or the one it was added with): the share that `mh` keeps for a server of
    /// weight 0.
    pub last_weight: u32,
    /// Connections in SYN_RECV or ESTABLISHED (`ActiveConn`).
    pub active: u32,
    /// Connections in every other state (`InActConn`).
    pub inactive: u32,
    /// `-x`; 0 is no limit.
    pub upper_threshold: u32,
    /// `-y`; 0 is none given.
    pub lower_threshold: u32,
    /// Whether the thresholds take it out of scheduling (`IP_VS_DEST_F_OVERLOAD`).
    pub overloaded: bool,
    /// Whether it is in the list (`IP_VS_DEST_F_AVAILABLE`).
    pub listed: bool,
    /// Whether it is among the changed ones ([`Destinations::pop_changed`]).
    changed: bool,
    /// The server before it in the list; after its removal, the one before it then.
    previous: u32,
    next: u32,
}

impl Destination {
    /// 256 times the active plus the inactive connections (`ip_vs_dest_conn_overhead`).
    #[inline]
    pub fn overhead(&self) -> u64 {
        (u64::from(self.active) << 8) + u64::from(self.inactive)
    }

    /// Connections in any state (`ip_vs_dest_totalconns`).
    #[inline]
    pub fn total(&self) -> u64 {
        u64::from(self.active) + u64::from(self.inactive)
    }

    /// Whether a scheduler may choose it: a weight, and no threshold in the way.
    #[inline]
    pub fn usable(&self) -> bool {
        self.weight > 0 && !self.overloaded
    }
}

/// The list of destinations. A server is added at the *head*, so iteration runs against the order of addition.
#[derive(Clone, Debug)]
pub struct Destinations {
    /// Records by server, listed or not; length = highest server id + 1.
    records: Vec<Destination>,
    /// What `mh` hashes of each server, by server: see [`Destinations::set_address`]; length = highest server whose
    /// address is known + 1.
    address_sums: Vec<u32>,
    /// Servers whose counters have changed since a scheduler asked, each once.
    changed: Vec<ServerId>,
    first: u32,
    last: u32,
    listed: usize,
}

impl Default for Destinations {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            address_sums: Vec::new(),
            changed: Vec::new(),
            first: HEAD,
            last: HEAD,
            listed: 0,
        }
    }
}

impl Destinations {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `server` at the head (`ipvsadm -a -w weight -x upper -y lower`). A server that was removed comes back with
    /// its counters. Returns whether it was added: one that is listed already stays as it is.
    pub fn add(&mut self, server: ServerId, weight: u32, upper: u32, lower: u32) -> bool {
        let absent = Destination {
            weight: 0,
            last_weight: 0,
            active: 0,
            inactive: 0,
            upper_threshold: 0,
            lower_threshold: 0,
            overloaded: false,
            listed: false,
            changed: false,
            previous: HEAD,
            next: HEAD,
        };
        if self.records.len() <= server.index() {
            self.records.resize(server.index() + 1, absent);
            // Room for every server, so that no connection makes the list grow.
            self.changed.reserve(self.records.len() - self.changed.len());
        }
        let first = self.first;
        let record = &mut self.records[server.index()];
        if record.listed {
            return false;
        }
        // `__ip_vs_update_dest`: only a limit that is lifted or raised clears the flag at once.
        if upper == 0 || upper > record.upper_threshold {
            record.overloaded = false;
        }
        record.weight = weight.min(WEIGHT_MAX);
        record.last_weight = record.weight;
        record.upper_threshold = upper;
        record.lower_threshold = lower;
        record.listed = true;
        record.previous = HEAD;
        record.next = first;
        let id = u32::from(server.0);
        match self.records.get_mut(first as usize) {
            Some(second) => second.previous = id,
            None => self.last = id,
        }
        self.first = id;
        self.listed += 1;
        true
    }

    /// Gives `server` its address and port, whose sum `mh` hashes; 0 without. An IPv6 address counts as the
    /// exclusive or of its four words.
    pub fn set_address(&mut self, server: ServerId, address: SocketAddr) {
        if self.address_sums.len() <= server.index() {
            self.address_sums.resize(server.index() + 1, 0);
        }
        self.address_sums[server.index()] = fold(address.ip()).wrapping_add(address.port().into());
    }

    /// See [`Destinations::set_address`].
    pub(super) fn address_sum(&self, server: ServerId) -> u32 {
        self.address_sums.get(server.index()).copied().unwrap_or(0)
    }

    /// A server whose counters have changed since this was asked last, for a scheduler that keeps its servers in order
    /// of them. Changes of the list and of weights are told otherwise
    /// ([`crate::balancer::Balancer::servers_changed`]).
    #[inline]
    pub(super) fn pop_changed(&mut self) -> Option<ServerId> {
        let server = self.changed.pop()?;
        self.records[server.index()].changed = false;
        Some(server)
    }

    /// The record of `server`, whose counters are about to change.
    #[inline]
    fn record_changing(&mut self, server: ServerId) -> &mut Destination {
        let record = &mut self.records[server.index()];
        if !record.changed {
            record.changed = true;
            self.changed.push(server);
        }
        record
    }

    /// Takes `server` out of the list (`ipvsadm -d`). Returns whether it was listed.
    pub fn remove(&mut self, server: ServerId) -> bool {
        let Some(record) = self.records.get_mut(server.index()).filter(|record| record.listed) else {
            return false;
        };
        record.listed = false;
        let (previous, next) = (record.previous, record.next);
        match self.records.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => self.first = next,
        }
        match self.records.get_mut(next as usize) {
            Some(after) => after.previous = previous,
            None => self.last = previous,
        }
        self.listed -= 1;
        true
    }

    /// Changes the weight of a listed server (`ipvsadm -e -w`), which keeps its place and its thresholds. Returns
    /// whether it is listed.
    pub fn set_weight(&mut self, server: ServerId, weight: u32) -> bool {
        let Some(record) = self.records.get_mut(server.index()).filter(|record| record.listed) else {
            return false;
        };
        record.weight = weight.min(WEIGHT_MAX);
        if weight != 0 {
            record.last_weight = record.weight;
        }
        true
    }

    /// Servers in the list.
    pub fn len(&self) -> usize {
        self.listed
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.listed == 0
    }

    /// The record of `server`, listed or removed; `None` if it was never added.
    #[inline]
    pub fn get(&self, server: ServerId) -> Option<&Destination> {
        self.records.get(server.index())
    }

    /// The listed servers in list order: the last that was added comes first.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (ServerId, &Destination)> {
        self.after(None)
    }

    /// The listed servers behind `server` in list order; all of them for `None`, the list's head.
    #[inline]
    pub fn after(&self, server: Option<ServerId>) -> impl Iterator<Item = (ServerId, &Destination)> {
        let mut cursor = match server.and_then(|server| self.get(server)) {
            Some(record) => record.next,
            None => self.first,
        };
        std::iter::from_fn(move || {
            let record = self.records.get(cursor as usize)?;
            let server = ServerId(cursor as u16);
            cursor = record.next;
            Some((server, record))
        })
    }

    /// The server before `server`, or `None` for the list's head; of a removed server, the one that was before it.
    pub fn before(&self, server: ServerId) -> Option<ServerId> {
        let previous = self.get(server)?.previous;
        (previous != HEAD).then_some(ServerId(previous as u16))
    }

    /// A connection was bound to `server`: `ip_vs_bind_dest`.
    #[inline]
    pub(crate) fn bind(&mut self, server: ServerId, active: bool) {
        let record = self.record_changing(server);
        *record.counter(active) += 1;
        if record.upper_threshold != 0 && record.total() >= u64::from(record.upper_threshold) {
            record.overloaded = true;
        }
    }

    /// A connection of `server` moved from or to the active states.
    #[inline]
    pub(crate) fn shift(&mut self, server: ServerId, to_active: bool) {
        let record = self.record_changing(server);
        *record.counter(!to_active) -= 1;
        *record.counter(to_active) += 1;
    }

    /// A connection of `server` has ended: `ip_vs_unbind_dest`.
    #[inline]
    pub(crate) fn unbind(&mut self, server: ServerId, active: bool) {
        *self.record_changing(server).counter(active) -= 1;
        self.relax(server);
    }

    /// Clears the overload flag of `server` if its connections are few enough. The kernel looks when a connection or
    /// a template ends.
    #[inline]
    pub(crate) fn relax(&mut self, server: ServerId) {
        if self.records[server.index()].overloaded {
            let record = self.record_changing(server);
            let total = record.total();
            record.overloaded = if record.lower_threshold != 0 {
                total >= u64::from(record.lower_threshold)
            } else {
                record.upper_threshold != 0 && total * 4 >= u64::from(record.upper_threshold) * 3
            };
        }
    }

    /// Forgets every connection, as a director does that takes over with empty tables.
    pub(crate) fn forget_connections(&mut self) {
        for record in &mut self.records {
            record.active = 0;
            record.inactive = 0;
            record.overloaded = false;
        }
    }
}

impl Destination {
    #[inline]
    fn counter(&mut self, active: bool) -> &mut u32 {
        if active { &mut self.active } else { &mut self.inactive }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(list: &Destinations) -> Vec<u16> {
        list.iter().map(|(server, _)| server.0).collect()
    }

    fn three() -> Destinations {
        let mut list = Destinations::new();
        for server in 0..3 {
            list.add(ServerId(server), 1, 0, 0);
        }
        list
    }

    #[test]
    fn the_server_added_last_comes_first() {
        assert_eq!(order(&three()), [2, 1, 0]);
    }

    #[test]
    fn a_removed_server_comes_back_at_the_head_with_its_counters() {
        let mut list = three();
        list.bind(ServerId(1), true);
        assert!(list.remove(ServerId(1)));
        assert_eq!(order(&list), [2, 0]);
        assert!(!list.remove(ServerId(1)));
        assert!(list.add(ServerId(1), 5, 0, 0));
        assert_eq!(order(&list), [1, 2, 0]);
        assert_eq!(list.get(ServerId(1)).unwrap().active, 1);
        assert!(!list.add(ServerId(1), 7, 0, 0), "it is listed already");
        assert_eq!(list.get(ServerId(1)).unwrap().weight, 5);
    }

    #[test]
    fn removing_the_ends_of_the_list_leaves_the_rest_in_order() {
        let mut list = three();
        list.remove(ServerId(2));
        assert_eq!(order(&list), [1, 0]);
        list.remove(ServerId(0));
        assert_eq!(order(&list), [1]);
        list.remove(ServerId(1));
        assert!(list.is_empty() && order(&list).is_empty());
        list.add(ServerId(0), 1, 0, 0);
        assert_eq!(order(&list), [0]);
    }

    #[test]
    fn weight_zero_keeps_place_and_last_weight() {
        let mut list = three();
        list.set_weight(ServerId(1), 4);
        list.set_weight(ServerId(1), 0);
        assert_eq!(order(&list), [2, 1, 0]);
        let record = list.get(ServerId(1)).unwrap();
        assert_eq!((record.weight, record.last_weight, record.usable()), (0, 4, false));
    }

    #[test]
    fn without_a_lower_threshold_overload_ends_below_three_quarters_of_the_upper() {
        let mut list = Destinations::new();
        let server = ServerId(0);
        list.add(server, 1, 8, 0);
        for _ in 0..8 {
            assert!(list.get(server).unwrap().usable());
            list.bind(server, true);
        }
        assert!(!list.get(server).unwrap().usable());
        list.unbind(server, true);
        list.unbind(server, true);
        assert!(!list.get(server).unwrap().usable(), "6 of 8 are not below three quarters");
        list.unbind(server, true);
        assert!(list.get(server).unwrap().usable());
    }

    #[test]
    fn with_a_lower_threshold_overload_ends_below_it() {
        let mut list = Destinations::new();
        let server = ServerId(0);
        list.add(server, 1, 4, 2);
        for _ in 0..4 {
            list.bind(server, false);
        }
        list.unbind(server, false);
        list.unbind(server, false);
        assert!(!list.get(server).unwrap().usable(), "2 connections are not below 2");
        list.unbind(server, false);
        assert!(list.get(server).unwrap().usable());
    }
}
