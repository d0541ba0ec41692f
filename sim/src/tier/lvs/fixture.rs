//! A director under test, with a clock of its own.

use std::net::IpAddr;

use crate::balancer::lvs::LvsScheduler;
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;
use crate::tier::{Method, Ties};

use super::*;

/// One service with servers of equal weight behind a director whose jiffies are 0 at time zero and 4 ms long.
pub(super) fn config(scheduler: &str, servers: usize, persistence_s: Option<u64>) -> LvsConfig {
    let server = |index| LvsServer {
        address: ([192, 0, 2, index as u8 + 1], 80).into(),
        weight: 1,
        upper_threshold: 0,
        lower_threshold: 0,
    };
    LvsConfig {
        services: vec![LvsService {
            scheduler: LvsScheduler::by_name(scheduler).expect("a scheduler"),
            scheduler_flags: SchedulerFlags::default(),
            persistence_timeout: persistence_s.map(SimDuration::from_secs),
            persistence_prefix_v4: 32,
            persistence_prefix_v6: 128,
            template_scope: TemplateScope::Port,
            servers: (0..servers).map(server).collect(),
        }],
        forwarding: Forwarding::Nat,
        timeouts: LvsTimeouts::default(),
        sysctl: LvsSysctl::default(),
        clock: KernelClock { hz: 250, jiffies_at_zero: 0, tick_phase: SimDuration::from_millis(4) },
    }
}

pub(super) struct Director {
    pub lvs: Lvs,
    pub now: SimTime,
}

impl Director {
    pub fn new(config: LvsConfig) -> Self {
        Self { lvs: Lvs::new(config), now: SimTime::ZERO }
    }

    pub fn wait_ms(&mut self, millis: u64) {
        self.now = self.now + SimDuration::from_millis(millis);
    }

    pub fn wait(&mut self, seconds: u64) {
        self.wait_ms(seconds * 1_000);
    }

    /// A SYN.
    pub fn syn(&mut self, address: impl Into<IpAddr>, port: u16) -> Opened {
        self.lvs.open(self.now, &open(address, port))
    }

    /// A connection whose handshake is completed: its flow and its server.
    pub fn connect(&mut self, address: impl Into<IpAddr>, port: u16) -> (FlowId, u16) {
        let opened = self.syn(address, port);
        self.segment(opened.flow, Segment::Established);
        (opened.flow, opened.decision.server.expect("a server").0)
    }

    pub fn segment(&mut self, flow: FlowId, segment: Segment) -> Forwarded {
        self.lvs.segment(self.now, flow, segment)
    }

    /// The client closes and the server answers with its own FIN.
    pub fn close(&mut self, flow: FlowId) {
        self.segment(flow, Segment::ClientFin);
        self.segment(flow, Segment::ServerFin);
    }

    pub fn state(&mut self, flow: FlowId) -> Option<TcpState> {
        self.lvs.connection_state(self.now, flow).map(|(state, _)| state)
    }

    pub fn counters(&mut self, server: u16) -> (u32, u32) {
        self.lvs.server_counters(self.now, 0, ServerId(server))
    }

    /// Table sizes now.
    pub fn sizes(&mut self) -> TableSizes {
        self.counters(0);
        self.lvs.table_sizes()
    }

    pub fn template(&mut self, address: impl Into<IpAddr>) -> Option<TemplateView> {
        self.lvs.template_of(self.now, 0, address.into())
    }
}

pub(super) fn open(address: impl Into<IpAddr>, port: u16) -> Open<'static> {
    Open {
        address: address.into(),
        port,
        key: &[],
        method: Method::Get,
        worker: 0,
        service: 0,
        ties: Ties::NONE,
    }
}
