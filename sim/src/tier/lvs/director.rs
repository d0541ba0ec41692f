//! The director: what it does with a SYN and with another segment.
//!
//! Source: Linux 6.1, `ip_vs_core.c` (`ip_vs_in_hook`, `ip_vs_schedule`), `ip_vs_conn.c` (`ip_vs_conn_new`) and
//! `ip_vs_proto_tcp.c` (`tcp_conn_schedule`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;
use crate::tier::{Decision, Reason, Skipped};

use super::addresses::Addresses;
use super::service::{Endpoint, Service};
use super::state::TcpState;
use super::sync::SyncDaemon;
use super::table::{Entry, Key, Kind, NONE, Table};
use super::wheel::TimerWheel;
use super::{FlowId, Forwarded, Forwarding, KernelClock, LvsConfig, LvsSysctl, Open, Opened, Segment};

/// How long a template lives on when its timer has run out and it still controls connections (`ip_vs_conn_expire`).
const EXPIRE_LATER: SimDuration = SimDuration::from_secs(60);

/// What became of a segment that was looked up by its addresses.
#[derive(Clone, Copy, Debug)]
pub struct Rejoined {
    /// Where it went.
    pub forwarded: Forwarded,
    /// The connection, if the director knows it now, and why it goes there.
    pub opened: Option<Opened>,
}

/// One IPVS director.
///
/// For it, [`Open::key`] is the destination that the client called: empty where the service has one address and port,
/// else the address (4 or 16 bytes), the port (2 bytes), or the address and then the port, in network order.
#[derive(Debug)]
pub struct Lvs {
    pub(super) services: Vec<Service>,
    /// The destinations called: first, one with an empty key for each service, then the others as they turn up.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) table: Table,
    pub(super) wheel: TimerWheel,
    pub(super) addresses: Addresses,
    pub(super) sysctl: LvsSysctl,
    pub(super) clock: KernelClock,
    /// When the present jiffy ends.
    pub(super) tick_end: SimTime,
    /// Whether the server's packets pass by.
    one_way: bool,
    /// Timeout of each state in ticks, in the order of [`TcpState::ALL`].
    pub(super) state_ticks: [u32; TcpState::ALL.len()],
    /// [`EXPIRE_LATER`] in ticks.
    pub(super) later_ticks: u32,
    /// The jiffy at which connections of removed servers are deleted (`expire_nodest_conn`).
    pub(super) flush_at: Option<u64>,
    /// The sync daemon, if it runs.
    pub(super) sync: Option<Box<SyncDaemon>>,
}

impl Lvs {
    /// A director with empty tables. It takes the first 65535 services.
    pub fn new(config: LvsConfig) -> Self {
        let LvsConfig { services, forwarding, timeouts, sysctl, clock } = config;
        let clock = clock.bounded();
        let services: Vec<Service> = services
            .into_iter()
            .take(usize::from(u16::MAX))
            .map(|service| Service::new(service, &clock))
            .collect();
        let endpoints =
            (0..services.len() as u16).map(|service| Endpoint { service, key: Box::default() }).collect();
        Self {
            services,
            endpoints,
            table: Table::new(),
            wheel: TimerWheel::new(clock.jiffies_at_zero),
            addresses: Addresses::default(),
            sysctl,
            tick_end: clock.next_tick(clock.jiffies_at_zero),
            one_way: forwarding != Forwarding::Nat,
            state_ticks: TcpState::ALL.map(|state| clock.ticks(state.timeout(&timeouts))),
            later_ticks: clock.ticks(EXPIRE_LATER),
            flush_at: None,
            sync: None,
            clock,
        }
    }

    /// A SYN arrives. [`Opened::flow`] is meaningless when the decision names no server; a SYN on the live entry of a
    /// removed server is dropped, and the decision names none.
    #[inline]
    pub fn open(&mut self, now: SimTime, open: &Open<'_>) -> Opened {
        self.advance(now);
        let Some(endpoint) = self.endpoint(open) else { return Opened::refused(Reason::NoneUsable) };
        if let Some(slot) = self.find_connection(open, endpoint) {
            let Entry { server, link, .. } = *self.table.entry(slot);
            let service = &self.services[usize::from(self.endpoints[usize::from(endpoint)].service)];
            let state = self.state_of(slot);
            let reused = self.sysctl.conn_reuse_mode
                && link == NONE
                && matches!(state, TcpState::TimeWait | TcpState::Close);
            let quiesced = self.sysctl.expire_nodest_conn && service.is_quiesced(server);
            if reused || quiesced || (self.sysctl.expire_nodest_conn && !service.is_listed(server)) {
                self.expire_now(slot);
            } else if !service.is_listed(server) {
                return Opened::refused(Reason::AffinityUnusable(Skipped::OutOfService));
            } else {
                self.enter(slot, state.after_syn());
                self.announce(slot);
                return self.opened(slot, Reason::LiveEntry);
            }
        }
        self.admit(now, open, endpoint, TcpState::SynRecv)
    }

    /// Another segment of a connection. [`Forwarded::Reset`] when the flow's entry has expired: with `sloppy_tcp`, see
    /// [`Lvs::rejoin`].
    ///
    /// In direct routing and tunnels, the server's segments pass by: they change nothing here.
    #[inline]
    pub fn segment(&mut self, now: SimTime, flow: FlowId, segment: Segment) -> Forwarded {
        self.advance(now);
        if !self.table.holds(flow.slot, flow.generation) {
            return Forwarded::Reset;
        }
        self.pass(flow.slot, segment)
    }

    /// A segment of which only the addresses are known: of a connection whose entry has expired, or that another
    /// director has handled so far. It belongs to the live entry of these addresses, if there is one. Otherwise it is
    /// scheduled like a new connection with `sloppy_tcp`, except a reset, and answered with a reset without
    /// `sloppy_tcp`. When there is no server for it, it is dropped (the client gets an ICMP message, which ends no
    /// established connection).
    pub fn rejoin(&mut self, now: SimTime, open: &Open<'_>, segment: Segment) -> Rejoined {
        self.advance(now);
        let unknown = Rejoined { forwarded: Forwarded::Reset, opened: None };
        let Some(endpoint) = self.endpoint(open) else { return unknown };
        if let Some(slot) = self.find_connection(open, endpoint) {
            let forwarded = self.pass(slot, segment);
            if forwarded != Forwarded::Reset {
                return Rejoined { forwarded, opened: Some(self.opened(slot, Reason::LiveEntry)) };
            }
        }
        let Some(state) = TcpState::of_unknown(segment).filter(|_| self.sysctl.sloppy_tcp) else {
            return unknown;
        };
        let opened = self.admit(now, open, endpoint, state);
        match opened.decision.server {
            Some(server) => Rejoined { forwarded: Forwarded::To(server), opened: Some(opened) },
            None => Rejoined { forwarded: Forwarded::Dropped, opened: Some(opened) },
        }
    }

    /// A segment of the connection at `slot` passes.
    #[inline]
    fn pass(&mut self, slot: u32, segment: Segment) -> Forwarded {
        let Entry { server, endpoint, .. } = *self.table.entry(slot);
        let from_server = matches!(segment, Segment::FromServer | Segment::ServerFin | Segment::ServerReset);
        if from_server && self.one_way {
            return Forwarded::To(ServerId(server));
        }
        // The server's own packets are rewritten and sent on even after its removal (`handle_response`).
        if !from_server {
            let service = self.endpoints[usize::from(endpoint)].service;
            if !self.services[usize::from(service)].is_listed(server) {
                if !self.sysctl.expire_nodest_conn {
                    return Forwarded::Dropped;
                }
                self.expire_now(slot);
                return Forwarded::Reset;
            }
        }
        self.enter(slot, self.state_of(slot).after(segment, self.one_way));
        if !from_server {
            self.announce(slot);
        }
        Forwarded::To(ServerId(server))
    }

    /// Schedules a connection that has no entry: `ip_vs_schedule`.
    #[inline]
    fn admit(&mut self, now: SimTime, open: &Open<'_>, endpoint: u16, state: TcpState) -> Opened {
        let service = self.endpoints[usize::from(endpoint)].service;
        let (chosen, template) = match self.services[usize::from(service)].persistence_ticks {
            Some(ticks) => self.schedule_persistent(now, service, ticks, open),
            None => (self.services[usize::from(service)].schedule(now, open), NONE),
        };
        let Some((server, reason)) = chosen else { return Opened::refused(Reason::NoneUsable) };
        let key = self.acquire(open.address, open.port, endpoint, false);
        let slot = self.insert(key, Kind::Connection(state), server, template);
        if template != NONE {
            self.table.entry_mut(template).link += 1;
        }
        self.services[usize::from(service)].destinations.bind(ServerId(server), state.is_active());
        self.arm(slot, self.state_ticks[state as usize]);
        self.announce(slot);
        self.opened(slot, reason)
    }

    /// Gives the connection at `slot` a state and starts its timer anew.
    #[inline]
    pub(super) fn enter(&mut self, slot: u32, state: TcpState) {
        let before = self.state_of(slot);
        if state != before {
            let entry = self.table.entry_mut(slot);
            entry.set_kind(Kind::Connection(state));
            let Entry { server, endpoint, .. } = *entry;
            if state.is_active() != before.is_active() {
                let service = self.endpoints[usize::from(endpoint)].service;
                self.services[usize::from(service)].destinations.shift(ServerId(server), state.is_active());
            }
        }
        self.arm(slot, self.state_ticks[state as usize]);
    }

    #[inline]
    pub(super) fn arm(&mut self, slot: u32, ticks: u32) {
        self.wheel.arm(self.table.entries_mut(), slot, ticks);
    }

    #[inline]
    pub(super) fn state_of(&self, slot: u32) -> TcpState {
        match self.table.entry(slot).kind() {
            Kind::Connection(state) => state,
            Kind::Free | Kind::Template { .. } => TcpState::Close,
        }
    }

    pub(super) fn time_left(&self, entry: &Entry) -> SimDuration {
        self.clock.duration(self.wheel.ticks_left(entry))
    }

    /// The destination that `open` calls; `None` if there is no such service, or for the 65536th destination.
    #[inline]
    fn endpoint(&mut self, open: &Open<'_>) -> Option<u16> {
        self.endpoint_of(open.service, open.key)
    }

    #[inline]
    pub(super) fn endpoint_of(&mut self, service: u16, key: &[u8]) -> Option<u16> {
        if key.is_empty() {
            return (usize::from(service) < self.services.len()).then_some(service);
        }
        self.other_endpoint(service, key)
    }

    fn other_endpoint(&mut self, service: u16, key: &[u8]) -> Option<u16> {
        let service = Some(service).filter(|&service| usize::from(service) < self.services.len())?;
        let known = self.endpoints.iter().position(|known| known.service == service && *known.key == *key);
        if let Some(index) = known {
            return Some(index as u16);
        }
        let index = u16::try_from(self.endpoints.len()).ok()?;
        self.endpoints.push(Endpoint { service, key: key.into() });
        Some(index)
    }

    #[inline]
    fn find_connection(&self, open: &Open<'_>, endpoint: u16) -> Option<u32> {
        self.table.find(self.known(open.address, open.port, endpoint, false)?)
    }

    /// The key of an entry; `None` if no entry names this address.
    #[inline]
    pub(super) fn known(&self, address: IpAddr, port: u16, endpoint: u16, template: bool) -> Option<Key> {
        let (client, ipv6) = match address {
            IpAddr::V4(address) => (address.to_bits(), false),
            IpAddr::V6(address) => (self.addresses.find(address.to_bits())?, true),
        };
        Some(Key { client, ipv6, port, endpoint, template })
    }

    /// The key of an entry that is about to be made.
    #[inline]
    pub(super) fn acquire(&mut self, address: IpAddr, port: u16, endpoint: u16, template: bool) -> Key {
        let (client, ipv6) = match address {
            IpAddr::V4(address) => (address.to_bits(), false),
            IpAddr::V6(address) => (self.addresses.acquire(address.to_bits()), true),
        };
        Key { client, ipv6, port, endpoint, template }
    }

    pub(super) fn client_address(&self, entry: &Entry) -> IpAddr {
        if entry.is_ipv6() {
            Ipv6Addr::from_bits(self.addresses.get(entry.client)).into()
        } else {
            Ipv4Addr::from_bits(entry.client).into()
        }
    }

    #[inline]
    fn opened(&self, slot: u32, reason: Reason) -> Opened {
        let server = Some(ServerId(self.table.entry(slot).server));
        Opened {
            flow: FlowId { slot, generation: self.table.generation(slot) },
            decision: Decision { server, reason, attempt: 1 },
        }
    }
}

impl Opened {
    /// No server, and so no flow.
    fn refused(reason: Reason) -> Self {
        Self {
            flow: FlowId { slot: u32::MAX, generation: 0 },
            decision: Decision { server: None, reason, attempt: 1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Director, config, open};
    use super::*;
    use crate::tier::lvs::TemplateScope;

    const CLIENT: [u8; 4] = [10, 0, 0, 1];

    #[test]
    fn every_new_connection_is_scheduled_without_persistence() {
        let mut director = Director::new(config("rr", 3, None));
        let servers: Vec<u16> = (1..=4).map(|port| director.connect(CLIENT, port).1).collect();
        assert_eq!(servers, [2, 1, 0, 2]);
        assert_eq!(director.syn(CLIENT, 9).decision.reason, Reason::Scheduled { tie: false });
    }

    #[test]
    fn a_tie_of_wlc_is_told() {
        let mut director = Director::new(config("wlc", 2, None));
        assert_eq!(director.syn(CLIENT, 1).decision.reason, Reason::Scheduled { tie: true });
        assert_eq!(director.syn(CLIENT, 2).decision.reason, Reason::Scheduled { tie: false });
    }

    #[test]
    fn counters_follow_the_states() {
        let mut director = Director::new(config("wlc", 1, None));
        let opened = director.syn(CLIENT, 1);
        assert_eq!(director.counters(0), (1, 0), "SYN_RECV is active");
        director.segment(opened.flow, Segment::Established);
        director.segment(opened.flow, Segment::ClientFin);
        assert_eq!(director.counters(0), (0, 1));
        director.segment(opened.flow, Segment::ServerFin);
        assert_eq!(director.state(opened.flow), Some(TcpState::TimeWait));
        director.wait(123);
        assert_eq!((director.counters(0), director.state(opened.flow)), ((0, 0), None));
    }

    #[test]
    fn no_usable_server_means_a_refusal_without_an_entry() {
        let mut director = Director::new(config("wlc", 1, None));
        director.lvs.set_weight(director.now, ServerId(0), 0);
        let opened = director.syn(CLIENT, 1);
        assert_eq!((opened.decision.server, opened.decision.reason), (None, Reason::NoneUsable));
        assert_eq!(director.sizes().flows, 0);
        let elsewhere = Open { service: 7, ..open(CLIENT, 1) };
        assert_eq!(director.lvs.open(director.now, &elsewhere).decision.server, None);
    }

    #[test]
    fn a_segment_of_an_expired_connection_is_reset() {
        let mut director = Director::new(config("wlc", 2, None));
        let (flow, server) = director.connect(CLIENT, 1);
        director.wait(899);
        assert_eq!(director.segment(flow, Segment::FromClient), Forwarded::To(ServerId(server)));
        director.wait(918);
        assert_eq!(director.segment(flow, Segment::FromClient), Forwarded::Reset);
    }

    #[test]
    fn sloppy_tcp_schedules_unknown_connections_afresh() {
        let mut settings = config("rr", 2, None);
        let mut strict = Director::new(settings.clone());
        let rejoined = strict.lvs.rejoin(strict.now, &open(CLIENT, 1), Segment::FromClient);
        assert_eq!((rejoined.forwarded, rejoined.opened.is_none()), (Forwarded::Reset, true));

        settings.sysctl.sloppy_tcp = true;
        let mut sloppy = Director::new(settings);
        let rejoined = sloppy.lvs.rejoin(sloppy.now, &open(CLIENT, 1), Segment::FromClient);
        assert_eq!(rejoined.forwarded, Forwarded::To(ServerId(1)));
        let flow = rejoined.opened.unwrap().flow;
        assert_eq!(sloppy.state(flow), Some(TcpState::Established));
        let reset = sloppy.lvs.rejoin(sloppy.now, &open(CLIENT, 2), Segment::ClientReset);
        assert_eq!(reset.forwarded, Forwarded::Reset);
    }

    #[test]
    fn a_port_that_comes_back_finds_its_entry_unless_that_is_closed() {
        let mut director = Director::new(config("rr", 3, None));
        let (flow, server) = director.connect(CLIENT, 1);
        director.segment(flow, Segment::ClientFin);
        let again = director.syn(CLIENT, 1);
        assert_eq!((again.flow, again.decision.reason), (flow, Reason::LiveEntry));
        director.segment(flow, Segment::Established);
        director.close(flow);
        let rescheduled = director.syn(CLIENT, 1);
        assert_ne!(rescheduled.decision.server, Some(ServerId(server)));
        assert_eq!(director.counters(server), (0, 1), "the old one counts until the next tick");
        director.wait_ms(4);
        assert_eq!(director.counters(server), (0, 0));
    }

    #[test]
    fn without_reuse_mode_a_closed_entry_is_used_again_even_at_weight_zero() {
        let mut settings = config("rr", 3, None);
        settings.sysctl.conn_reuse_mode = false;
        let mut director = Director::new(settings);
        let (flow, server) = director.connect(CLIENT, 1);
        director.close(flow);
        director.lvs.set_weight(director.now, ServerId(server), 0);
        let again = director.syn(CLIENT, 1).decision;
        assert_eq!((again.server, again.reason), (Some(ServerId(server)), Reason::LiveEntry));
    }

    #[test]
    fn with_expire_nodest_conn_a_port_of_a_quiesced_server_is_rescheduled() {
        let mut settings = config("rr", 2, None);
        settings.sysctl.expire_nodest_conn = true;
        let mut director = Director::new(settings);
        let (flow, server) = director.connect(CLIENT, 1);
        director.lvs.set_weight(director.now, ServerId(server), 0);
        assert_ne!(director.syn(CLIENT, 1).flow, flow);
    }

    #[test]
    fn direct_routing_sees_the_client_only() {
        let mut settings = config("wlc", 1, None);
        settings.forwarding = Forwarding::Dr;
        let mut director = Director::new(settings);
        let (flow, _) = director.connect(CLIENT, 1);
        assert_eq!(director.segment(flow, Segment::ServerFin), Forwarded::To(ServerId(0)));
        assert_eq!(director.state(flow), Some(TcpState::Established));
        director.close(flow);
        assert_eq!(director.state(flow), Some(TcpState::FinWait));
    }

    #[test]
    fn packets_to_a_removed_server_are_dropped_and_its_return_revives_them() {
        let mut director = Director::new(config("wlc", 2, None));
        let (flow, server) = director.connect(CLIENT, 1);
        director.lvs.remove_server(director.now, ServerId(server));
        assert_eq!(director.segment(flow, Segment::FromClient), Forwarded::Dropped);
        assert_eq!(director.segment(flow, Segment::ServerFin), Forwarded::To(ServerId(server)));
        let syn = director.syn(CLIENT, 1).decision;
        assert_eq!((syn.server, syn.reason), (None, Reason::AffinityUnusable(Skipped::OutOfService)));
        director.lvs.add_server(director.now, ServerId(server), 1);
        assert_eq!(director.counters(server), (0, 1));
        assert_eq!(director.segment(flow, Segment::FromClient), Forwarded::To(ServerId(server)));
    }

    #[test]
    fn thresholds_take_a_server_out_and_back() {
        let mut settings = config("rr", 2, None);
        settings.services[0].servers[1].upper_threshold = 2;
        let mut director = Director::new(settings);
        let opened: Vec<_> = (1..=6).map(|port| director.connect(CLIENT, port)).collect();
        let servers: Vec<u16> = opened.iter().map(|&(_, server)| server).collect();
        assert_eq!(servers, [1, 0, 1, 0, 0, 0]);
        director.segment(opened[0].0, Segment::ClientReset);
        director.wait(12);
        assert_eq!(director.connect(CLIENT, 7).1, 1);
    }

    #[test]
    fn a_director_that_takes_over_knows_nothing() {
        let mut director = Director::new(config("wlc", 2, Some(120)));
        let (flow, server) = director.connect(CLIENT, 1);
        director.lvs.lose_tables(director.now);
        assert_eq!(director.segment(flow, Segment::FromClient), Forwarded::Reset);
        assert_eq!((director.counters(server), director.template(CLIENT)), ((0, 0), None));
        assert_eq!(director.syn(CLIENT, 2).decision.reason, Reason::Scheduled { tie: true });
        director.wait(1_000);
        assert_eq!(director.sizes().flows, 0);
    }

    #[test]
    fn a_director_that_takes_over_begins_its_rounds_as_one_that_saw_the_servers_being_added() {
        let mut settings = config("wrr", 3, None);
        for (server, weight) in settings.services[0].servers.iter_mut().zip([3, 2, 4]) {
            server.weight = weight;
        }
        let mut director = Director::new(settings);
        let mut turn =
            |from| (from..from + 9).map(|port| director.connect(CLIENT, port).1).collect::<Vec<_>>();
        let first = turn(1);
        assert_eq!(first, [2, 1, 0, 2, 2, 0, 2, 1, 0]);
        turn(10);
        director.connect(CLIENT, 100);
        director.lvs.lose_tables(director.now);
        let again: Vec<u16> = (1..=9).map(|port| director.connect(CLIENT, port).1).collect();
        assert_eq!(again, first);
    }

    #[test]
    fn bytes_are_those_of_entries_and_addresses_and_stay_when_they_end() {
        let mut director = Director::new(config("wlc", 2, None));
        let empty = director.sizes().bytes;
        for port in 1..=1_000 {
            director.connect(CLIENT, port);
        }
        let of_entries = director.sizes().bytes - empty;
        assert_eq!(of_entries, 1_000 * 36, "an entry and its generation");
        for client in 1..=1_000 {
            director.connect([0x2001, 0xdb8, 0, 0, 0, 0, 0, client], 1);
        }
        let full = director.sizes().bytes;
        assert!(full - empty >= 2_000 * 36 + 1_000 * 32, "and 32 for an IPv6 address");
        director.wait(2_000);
        assert_eq!(director.sizes().flows, 0);
        assert!(director.sizes().bytes >= full, "the room is kept");
    }

    #[test]
    fn hashing_tells_why_it_left_the_first_choice_and_follows_the_service_s_flags() {
        let mut settings = config("sh", 3, None);
        settings.services[0].scheduler_flags.fallback = true;
        let mut director = Director::new(settings);
        let home = director.syn(CLIENT, 1).decision;
        assert_eq!(home.reason, Reason::Hashed);
        director.lvs.set_weight(director.now, home.server.unwrap(), 0);
        let away = director.syn(CLIENT, 2).decision;
        assert_eq!(away.reason, Reason::Rehashed(Skipped::OutOfService));
        assert_ne!(away.server, home.server);
    }

    #[test]
    fn ports_of_a_service_for_all_ports_are_different_connections() {
        let mut settings = config("rr", 3, Some(60));
        settings.services[0].template_scope = TemplateScope::AllPorts;
        let mut director = Director::new(settings);
        let call = |director: &mut Director, key: &'static [u8]| {
            director.lvs.open(director.now, &Open { key, ..open(CLIENT, 1) })
        };
        let web = call(&mut director, &[0, 80]);
        let tls = call(&mut director, &[1, 187]);
        assert_ne!(web.flow, tls.flow);
        assert_eq!((tls.decision.server, tls.decision.reason), (web.decision.server, Reason::Affinity));
        assert_eq!(call(&mut director, &[0, 80]).decision.reason, Reason::LiveEntry);
    }
}
