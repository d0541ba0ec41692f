//! What an administrator tells a director (`ipvsadm`), and what it shows of its tables.
//!
//! Source: Linux 6.1, `ip_vs_ctl.c`.

use std::net::IpAddr;

use crate::balancer::Balancer;
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;

use super::director::Lvs;
use super::state::TcpState;
use super::table::Kind;
use super::{FlowId, TableSizes};

/// Ticks from the removal of a server to the deletion of its connections (`expire_nodest_conn`): the kernel queues
/// that work with a delay of one tick (`__ip_vs_del_dest`), which the timer wheel makes two.
const FLUSH_DELAY: u64 = 2;

/// One connection, as `ipvsadm -Lnc` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// The virtual service.
    pub service: u16,
    /// The client's address.
    pub address: IpAddr,
    /// The client's port.
    pub port: u16,
    /// The real server.
    pub server: ServerId,
    /// Its state.
    pub state: TcpState,
    /// Time until its timer nominally runs out; zero when that is past and the wheel has not come round.
    pub left: SimDuration,
}

impl Lvs {
    /// `ipvsadm -e -w`, in every service that has the server; its thresholds stay. Weights above 65535 count as 65535.
    pub fn set_weight(&mut self, now: SimTime, server: ServerId, weight: u32) {
        self.advance(now);
        for service in &mut self.services {
            if service.destinations.set_weight(server, weight) {
                service.scheduler.servers_changed(&service.destinations);
            }
        }
    }

    /// `ipvsadm -d`, in every service. With `expire_nodest_conn`, its connections are deleted
    /// at the second tick from now (`ip_vs_expire_nodest_conn_flush`), unless it is back by then.
    pub fn remove_server(&mut self, now: SimTime, server: ServerId) {
        self.advance(now);
        for service in &mut self.services {
            if service.destinations.remove(server) {
                service.scheduler.servers_changed(&service.destinations);
                if self.sysctl.expire_nodest_conn {
                    self.flush_at.get_or_insert(self.wheel.now() + FLUSH_DELAY);
                }
            }
        }
    }

    /// `ipvsadm -a`, in every service that does not have the server; with the thresholds of the configuration, and
    /// none for a server that is not in it.
    pub fn add_server(&mut self, now: SimTime, server: ServerId, weight: u32) {
        self.advance(now);
        for service in &mut self.services {
            service.add(server, weight);
        }
    }

    /// Another director with the same configuration takes over and knows no connection: empty tables, counters at
    /// zero, schedulers as at their start, no sync daemon. Flows of before are answered with resets.
    pub fn lose_tables(&mut self, now: SimTime) {
        self.advance(now);
        self.table.clear();
        self.wheel.clear();
        self.addresses.clear();
        self.flush_at = None;
        self.sync = None;
        for service in &mut self.services {
            service.restart();
        }
    }

    /// Connections and templates at the last input; templates that were invalidated or are overdue count until their
    /// timer fires. Bytes are those of this simulator: the connection table and the IPv6 addresses interned for it,
    /// which keep the room of their largest size. The kernel's own entries have 288 bytes on 64 bits
    /// (`struct ip_vs_conn`; the module says so when it is loaded), 320 in whole cache lines.
    pub fn table_sizes(&self) -> TableSizes {
        let (flows, affinity_entries) = (self.table.connections(), self.table.templates());
        let sync = self.sync.as_ref().map_or(0, |daemon| daemon.bytes());
        let bytes = self.table.bytes() + self.addresses.bytes() + sync;
        TableSizes { flows, affinity_entries, bytes: bytes as u64 }
    }

    /// `ActiveConn` and `InActConn` of a server, listed or removed; zeros for one that the service never had.
    pub fn server_counters(&mut self, now: SimTime, service: u16, server: ServerId) -> (u32, u32) {
        self.advance(now);
        self.services
            .get(usize::from(service))
            .and_then(|service| service.destinations.get(server))
            .map_or((0, 0), |record| (record.active, record.inactive))
    }

    /// The state of a flow and the time until its timer nominally runs out; `None` if its entry has expired.
    pub fn connection_state(&mut self, now: SimTime, flow: FlowId) -> Option<(TcpState, SimDuration)> {
        self.advance(now);
        self.table
            .holds(flow.slot, flow.generation)
            .then(|| (self.state_of(flow.slot), self.time_left(self.table.entry(flow.slot))))
    }

    /// Every connection, in no meaningful order. Walks the whole table: for snapshots.
    pub fn connections(&mut self, now: SimTime) -> impl Iterator<Item = ConnectionView> {
        self.advance(now);
        self.table.iter().filter_map(|(_, entry)| {
            let Kind::Connection(state) = entry.kind() else { return None };
            Some(ConnectionView {
                service: self.endpoints[usize::from(entry.endpoint)].service,
                address: self.client_address(entry),
                port: entry.port,
                server: ServerId(entry.server),
                state,
                left: self.time_left(entry),
            })
        })
    }
}
