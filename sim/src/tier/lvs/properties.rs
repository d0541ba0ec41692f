//! Properties of a director under any sequence of inputs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::fixture::{Director, config, open};
use super::*;
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;
use crate::tier::Reason;

const SEGMENTS: [Segment; 7] = [
    Segment::Established,
    Segment::FromClient,
    Segment::FromServer,
    Segment::ClientFin,
    Segment::ServerFin,
    Segment::ClientReset,
    Segment::ServerReset,
];

#[derive(Clone, Copy, Debug)]
enum Input {
    Open { client: u8, port: u16, service: u16, called: bool },
    Segment { flow: usize, segment: usize },
    Rejoin { client: u8, port: u16, segment: usize },
    Weight { server: u16, weight: u32 },
    Remove { server: u16 },
    Add { server: u16, weight: u32 },
    LoseTables,
}

fn input() -> impl Strategy<Value = Input> {
    let (server, weight) = (0_u16..5, 0_u32..4);
    let (client, port) = (0_u8..12, 1_u16..4);
    prop_oneof![
        10 => (client.clone(), port.clone(), 0_u16..3, any::<bool>())
            .prop_map(|(client, port, service, called)| Input::Open { client, port, service, called }),
        20 => (any::<usize>(), 0..SEGMENTS.len()).prop_map(|(flow, segment)| Input::Segment { flow, segment }),
        2 => (client, port, 0..SEGMENTS.len())
            .prop_map(|(client, port, segment)| Input::Rejoin { client, port, segment }),
        1 => (server.clone(), weight.clone()).prop_map(|(server, weight)| Input::Weight { server, weight }),
        1 => server.clone().prop_map(|server| Input::Remove { server }),
        2 => (server, weight).prop_map(|(server, weight)| Input::Add { server, weight }),
        1 => Just(Input::LoseTables),
    ]
}

/// Half of the clients have IPv6 addresses.
fn address(client: u8) -> IpAddr {
    if client.is_multiple_of(2) {
        Ipv4Addr::new(10, 0, 0, client).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, client.into()).into()
    }
}

/// Two services, the first persistent, with thresholds and switches drawn from `bits`.
fn settings(bits: u8) -> LvsConfig {
    let mut settings = config(if bits & 1 == 0 { "rr" } else { "wlc" }, 4, Some(20));
    settings.services[0].servers[0].upper_threshold = 3;
    let second = config("wlc", 4, None).services.remove(0);
    settings.services.push(second);
    settings.forwarding = if bits & 2 == 0 { Forwarding::Nat } else { Forwarding::Dr };
    settings.sysctl = LvsSysctl {
        expire_nodest_conn: bits & 4 != 0,
        expire_quiescent_template: bits & 8 != 0,
        conn_reuse_mode: bits & 16 != 0,
        sloppy_tcp: bits & 32 != 0,
    };
    settings
}

/// Active and inactive connections, by service and server.
type Counters = BTreeMap<(u16, ServerId), (u32, u32)>;

/// Each server's counters as its live entries have it; and the entries of the persistent service.
fn live(lvs: &mut Lvs, now: SimTime) -> (Counters, u32) {
    let mut live = Counters::new();
    let mut persistent = 0;
    for view in lvs.connections(now) {
        let counters = live.entry((view.service, view.server)).or_default();
        *(if view.state.is_active() { &mut counters.0 } else { &mut counters.1 }) += 1;
        persistent += u32::from(view.service == 0);
    }
    (live, persistent)
}

proptest! {
    #[test]
    fn counters_are_the_live_entries_and_out_of_service_takes_no_new_client(
        bits in any::<u8>(),
        inputs in prop::collection::vec((input(), 0_u64..9_000), 1..120),
    ) {
        let mut director = Director::new(settings(bits));
        let mut backup = Lvs::new(settings(bits));
        let (sync, look) = (LvsSync { sync_threshold: 1, ..LvsSync::default() }, LvsSync::CHECK_PERIOD);
        director.lvs.start_sync(SimTime::ZERO, sync, SyncRole::Master, look);
        backup.start_sync(SimTime::ZERO, sync, SyncRole::Backup, look);
        let mut weights = BTreeMap::from([0, 1, 2, 3].map(|server| (server, 1_u32)));
        let mut flows = Vec::new();
        for (input, pause_ms) in inputs {
            director.now = director.now + SimDuration::from_millis(pause_ms);
            let now = director.now;
            let mut decided = None;
            match input {
                Input::Open { client, port, service, called } => {
                    let key: &[u8] = if called { &[0, 80] } else { &[] };
                    let opened = director.lvs.open(now, &Open { key, service, ..open(address(client), port) });
                    decided = Some(opened.decision);
                    flows.push(opened.flow);
                }
                Input::Segment { flow, segment } if !flows.is_empty() => {
                    let flow = flows[flow % flows.len()];
                    director.lvs.segment(now, flow, SEGMENTS[segment]);
                }
                Input::Segment { .. } => {}
                Input::Rejoin { client, port, segment } => {
                    let rejoined = director.lvs.rejoin(now, &open(address(client), port), SEGMENTS[segment]);
                    // A removed server's own packets still pass.
                    decided = rejoined
                        .opened
                        .map(|opened| opened.decision)
                        .filter(|decision| decision.reason != Reason::LiveEntry);
                }
                Input::Weight { server, weight } => {
                    director.lvs.set_weight(now, ServerId(server), weight);
                    weights.entry(server).and_modify(|own| *own = weight);
                }
                Input::Remove { server } => {
                    director.lvs.remove_server(now, ServerId(server));
                    weights.remove(&server);
                }
                Input::Add { server, weight } => {
                    director.lvs.add_server(now, ServerId(server), weight);
                    weights.entry(server).or_insert(weight);
                }
                Input::LoseTables => {
                    director.lvs.lose_tables(now);
                    director.lvs.start_sync(now, sync, SyncRole::Master, look);
                }
            }

            if let Some(decision) = decided
                && let Some(server) = decision.server
            {
                let weight = weights.get(&server.0).copied();
                prop_assert!(weight.is_some(), "{:?} to a removed server", decision);
                if matches!(decision.reason, Reason::Scheduled { .. } | Reason::AffinityUnusable(_)) {
                    prop_assert!(weight > Some(0), "{:?} to a server of weight 0", decision);
                }
            }

            let mut sent = Vec::new();
            director.lvs.send_sync(now, &mut sent);
            backup.receive_sync(now, &sent);
            let (expected, persistent) = live(&mut director.lvs, now);
            let (expected_of_backup, _) = live(&mut backup, now);
            for service in 0..2 {
                for server in (0..5).map(ServerId) {
                    let of = |expected: &Counters| expected.get(&(service, server)).copied().unwrap_or_default();
                    prop_assert_eq!(director.lvs.server_counters(now, service, server), of(&expected));
                    prop_assert_eq!(backup.server_counters(now, service, server), of(&expected_of_backup));
                }
            }
            let controlled: u32 = director.lvs.templates(now).map(|view| view.controlled).sum();
            prop_assert_eq!(controlled, persistent, "each connection of a persistent service has its template");
        }

        director.wait(2_000);
        let now = director.now;
        prop_assert_eq!(director.lvs.connections(now).count(), 0);
        let TableSizes { flows, affinity_entries, .. } = director.lvs.table_sizes();
        prop_assert_eq!((flows, affinity_entries), (0, 0));
        prop_assert_eq!(backup.connections(now).count() + backup.templates(now).count(), 0);
    }
}
