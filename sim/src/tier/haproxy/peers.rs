//! Peers: HAProxy processes that tell each other what their stick tables learn.
//!
//! Source: HAProxy 2.6.0, `src/peers.c` (`peer_send_teachmsgs`, `peer_treat_updatemsg`, `process_peer_sync`), `src/stick_table.c`
//! (`stktable_touch_with_exp`) and `src/stream.c` (`process_sticking_rules`, `process_store_rules`): an entry is pushed whenever a
//! request touches it, be it new, matched or changed. Pushed entries come to the peer without a date and live there for the table's
//! whole `expire`; those of a lesson, which a process asks for when it starts, come with the time that they have left. What was
//! learnt from a peer is not pushed on.
//!
//! # How peers are driven
//!
//! [`Haproxy::start_peers`] once for each. After an input to one of them, [`Haproxy::push_updates`] says what its table has learnt;
//! give that to [`Haproxy::learn`] of each of the others: at once, as over a connection that is up, or when it is up again
//! (keep it until then). A process that starts, or the new one of a reload, learns what [`Haproxy::teach`] of another, or of the
//! old one, says.
//!
//! Departures: an update takes no time (HAProxy sends as soon as it is woken); a process that finds nobody to learn from does
//! not look again for it; `server_key` and `server_id` name the same server for all peers.

use super::Haproxy;
use super::stick::StickTable;
use crate::engine::SimTime;
use crate::ids::ServerId;

/// Entries of a stick table on their way to a peer.
#[derive(Clone, Debug, Default)]
pub struct StickUpdates {
    rows: Vec<Row>,
    /// Their keys, one behind the other.
    keys: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    /// Where its key ends in `keys`.
    key_end: usize,
    server: ServerId,
    /// How long it has left \[ms\]; `None` for the table's `expire`.
    left_ms: Option<u64>,
}

impl StickUpdates {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.keys.clear();
    }

    pub(super) fn push(&mut self, key: &[u8], server: ServerId, left_ms: Option<u64>) {
        self.keys.extend_from_slice(key);
        self.rows.push(Row { key_end: self.keys.len(), server, left_ms });
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &Row)> {
        let mut start = 0;
        self.rows.iter().map(move |row| {
            let key = &self.keys[start..row.key_end];
            start = row.key_end;
            (key, row)
        })
    }
}

impl Haproxy {
    /// The stick table has `peers`: from now on what it learns is kept for [`Haproxy::push_updates`]. No effect without a
    /// stick table.
    pub fn start_peers(&mut self) {
        if let Some(table) = &mut self.stick {
            table.start_peers();
        }
    }

    /// Appends to `updates` each entry that requests have touched since this was asked last.
    pub fn push_updates(&mut self, updates: &mut StickUpdates) {
        if let Some(table) = &mut self.stick {
            table.push_touched(updates);
        }
    }

    /// Appends the whole table to `updates`, for a peer that has just started.
    pub fn teach(&mut self, now: SimTime, updates: &mut StickUpdates) {
        let now_ms = self.clock_ms(now);
        if let Some(table) = &mut self.stick {
            table.push_all(now_ms, updates);
        }
    }

    /// What a peer has pushed or taught arrives. As for entries of its own, a full table throws out its oldest, or takes nothing in
    /// with `nopurge`.
    pub fn learn(&mut self, now: SimTime, updates: &StickUpdates) {
        let now_ms = self.clock_ms(now);
        let servers = self.config.servers.len();
        let Some(table) = &mut self.stick else { return };
        for (key, row) in updates.iter().filter(|(_, row)| row.server.index() < servers) {
            table.learn(now_ms, key, row.server, row.left_ms);
        }
    }
}

impl StickTable {
    /// One entry from a peer. Room is made before the key is looked up, as for a request.
    fn learn(&mut self, now_ms: u64, key: &[u8], server: ServerId, left_ms: Option<u64>) {
        if key.len() <= self.room()
            && let Some(pending) = self.prepare(now_ms, key)
        {
            let expires_ms = left_ms.map_or_else(|| self.expiry(now_ms), |left_ms| now_ms + left_ms);
            self.join(pending, server, expires_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        HaproxyConfig, StickConfig, StickKey, StickRule, StickSource, StickTableConfig, StoreAt,
    };
    use super::*;
    use crate::balancer::haproxy::HaproxyMethod;
    use crate::engine::SimDuration;
    use crate::tier::haproxy::HaproxyLine;
    use crate::tier::{Method, Open, Outcome, Ties};

    fn haproxy(size: u32) -> Haproxy {
        let table =
            StickTableConfig { key: StickKey::Ip, size, expire: SimDuration::from_secs(100), nopurge: false };
        let rule = StickRule { matches: true, stores: Some(StoreAt::Request), key: StickSource::Address };
        let method = HaproxyMethod::by_name("roundrobin").expect("in the catalogue");
        let lines = (1..=3).map(HaproxyLine::new).collect();
        let stick = Some(StickConfig { table, rules: vec![rule] });
        let mut haproxy = Haproxy::new(HaproxyConfig { stick, ..HaproxyConfig::new(method, lines) });
        haproxy.start_peers();
        haproxy
    }

    fn at(seconds: u64) -> SimTime {
        SimTime::from_millis(seconds * 1_000)
    }

    /// A request of client `client` that is answered at once: who answered.
    fn serve(haproxy: &mut Haproxy, now: SimTime, client: u8) -> Option<ServerId> {
        let open = Open {
            address: [192, 0, 2, client].into(),
            port: 40_000,
            key: &[],
            method: Method::Get,
            worker: 0,
            service: 0,
            ties: Ties::NONE,
        };
        let opened = haproxy.open(now, &open);
        haproxy.attempt_ended(now, opened.flow, Outcome::Status(200));
        opened.decision.server
    }

    fn pushed(haproxy: &mut Haproxy) -> StickUpdates {
        let mut updates = StickUpdates::default();
        haproxy.push_updates(&mut updates);
        updates
    }

    #[test]
    fn a_client_finds_its_server_behind_the_peer_that_takes_over() {
        let (mut first, mut second) = (haproxy(10), haproxy(10));
        let homes: Vec<_> = (1..=5).map(|client| serve(&mut first, at(0), client)).collect();
        let updates = pushed(&mut first);
        assert_eq!(updates.len(), 5);
        second.learn(at(0), &updates);
        for (client, home) in (1..=5).zip(homes) {
            assert_eq!(serve(&mut second, at(1), client), home);
        }
    }

    #[test]
    fn what_was_learnt_is_not_pushed_on_and_what_is_used_is_pushed_again() {
        let (mut first, mut second) = (haproxy(10), haproxy(10));
        serve(&mut first, at(0), 1);
        second.learn(at(0), &pushed(&mut first));
        assert!(pushed(&mut second).is_empty());
        serve(&mut second, at(60), 1);
        first.learn(at(60), &pushed(&mut second));
        assert!(first.remembered(at(159), [192, 0, 2, 1].into()).is_some(), "use at the peer keeps it alive");
        assert!(first.remembered(at(160), [192, 0, 2, 1].into()).is_none());
    }

    #[test]
    fn an_update_that_comes_late_lives_from_its_arrival_and_a_lesson_for_what_is_left() {
        let (mut first, mut second, mut third) = (haproxy(10), haproxy(10), haproxy(10));
        serve(&mut first, at(0), 1);
        second.learn(at(50), &pushed(&mut first));
        assert!(second.remembered(at(149), [192, 0, 2, 1].into()).is_some());
        let mut lesson = StickUpdates::default();
        first.teach(at(50), &mut lesson);
        third.learn(at(50), &lesson);
        assert!(third.remembered(at(99), [192, 0, 2, 1].into()).is_some());
        assert!(third.remembered(at(100), [192, 0, 2, 1].into()).is_none());
    }

    #[test]
    fn entries_that_are_gone_are_not_told() {
        let (mut first, mut second) = (haproxy(2), haproxy(10));
        for client in 1..=4 {
            serve(&mut first, at(u64::from(client)), client);
        }
        second.learn(at(5), &pushed(&mut first));
        let known = |client: u8| second.remembered(at(5), [192, 0, 2, client].into()).is_some();
        assert_eq!([1, 2, 3, 4].map(known), [false, false, true, true]);
    }

    #[test]
    fn the_last_to_tell_of_a_client_is_believed() {
        let (mut first, mut second) = (haproxy(10), haproxy(10));
        serve(&mut second, at(0), 9);
        let told = serve(&mut second, at(0), 1);
        assert_ne!(serve(&mut first, at(0), 1), told);
        first.learn(at(1), &pushed(&mut second));
        assert_eq!(first.remembered(at(1), [192, 0, 2, 1].into()), told);
    }
}
