//! The stick table: which server a key went to.
//!
//! HAProxy 2.6, `src/stick_table.c` (`stksess_new`, `__stktable_trash_oldest`, `stktable_trash_expired`,
//! `stktable_touch_with_exp`). Expiry is sorted lazily, as there: an entry's place is where it was when it was sorted last, and
//! it is looked at again, and perhaps moved, when its turn comes. In a table of full size this decides who goes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

use super::config::{StickKey, StickTableConfig};
use super::peers::StickUpdates;
use crate::ids::ServerId;

/// An entry that a request brings along and that joins the table when its answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending(u32);

#[derive(Clone, Debug)]
struct Entry {
    /// When it expires [ms].
    expires_ms: u64,
    server: ServerId,
    /// Length of its key.
    key_len: u16,
    /// Next entry with the same hash.
    next: u32,
}

/// No entry.
const NONE: u32 = u32::MAX;

/// One stick table. It allocates only when it holds more entries than ever before.
#[derive(Debug)]
pub(super) struct StickTable {
    config: StickTableConfig,
    entries: Vec<Entry>,
    /// Their keys, of equal room.
    keys: Vec<u8>,
    free: Vec<u32>,
    /// First entry of each hash; a power of two of them.
    buckets: Vec<u32>,
    /// Entries in use, pending ones among them.
    current: u32,
    /// Entries of the table by place [ms], those of one place in the order of their sorting.
    places: BinaryHeap<Reverse<(u64, u64, u32)>>,
    sorted: u64,
    /// Entries that requests have touched and peers have not been told of, some of them gone since; `None` without peers.
    touched: Option<Vec<u32>>,
}

/// Room for a key.
pub(super) type KeyBytes = [u8; 16];

impl StickTable {
    pub(super) fn new(config: StickTableConfig) -> Self {
        Self {
            config,
            entries: Vec::new(),
            keys: Vec::new(),
            free: Vec::new(),
            buckets: vec![NONE; 64],
            current: 0,
            places: BinaryHeap::new(),
            sorted: 0,
            touched: None,
        }
    }

    /// See [`super::Haproxy::start_peers`].
    pub(super) fn start_peers(&mut self) {
        self.touched.get_or_insert_default();
    }

    /// See [`super::Haproxy::push_updates`].
    pub(super) fn push_touched(&mut self, updates: &mut StickUpdates) {
        let Some(mut touched) = self.touched.take() else { return };
        for entry in touched.drain(..) {
            let key = self.key(entry);
            if self.search(key) == Some(entry) {
                updates.push(key, self.entries[entry as usize].server, None);
            }
        }
        self.touched = Some(touched);
    }

    /// See [`super::Haproxy::teach`].
    pub(super) fn push_all(&mut self, now_ms: u64, updates: &mut StickUpdates) {
        self.purge(now_ms);
        for place in self.places.as_slice() {
            let entry = place.0.2;
            let Entry { server, expires_ms, .. } = self.entries[entry as usize];
            updates.push(self.key(entry), server, Some(expires_ms.saturating_sub(now_ms)));
        }
    }

    /// What a sample of bytes is as a key; `None` if it is none.
    pub(super) fn key_of_sample<'a>(&self, sample: &'a [u8]) -> Option<&'a [u8]> {
        match self.config.key {
            StickKey::Bytes { len } if !sample.is_empty() => Some(&sample[..sample.len().min(len.into())]),
            _ => None,
        }
    }

    /// What an address is as a key; `None` if the table has no place for such.
    pub(super) fn key_of_address<'a>(&self, address: IpAddr, room: &'a mut KeyBytes) -> Option<&'a [u8]> {
        let (address, len) = match (self.config.key, address) {
            (StickKey::Ip, IpAddr::V4(address)) => (address.octets(), 4),
            (StickKey::Ip, IpAddr::V6(address)) => (address.to_ipv4_mapped()?.octets(), 4),
            (StickKey::Ipv6, IpAddr::V4(address)) => {
                *room = address.to_ipv6_mapped().octets();
                return Some(&room[..]);
            }
            (StickKey::Ipv6, IpAddr::V6(address)) => {
                *room = address.octets();
                return Some(&room[..]);
            }
            (StickKey::Bytes { .. }, _) => return None,
        };
        room[..len].copy_from_slice(&address);
        Some(&room[..len])
    }

    pub(super) fn room(&self) -> usize {
        match self.config.key {
            StickKey::Ip => 4,
            StickKey::Ipv6 => 16,
            StickKey::Bytes { len } => len.into(),
        }
    }

    fn key(&self, entry: u32) -> &[u8] {
        let start = entry as usize * self.room();
        &self.keys[start..start + usize::from(self.entries[entry as usize].key_len)]
    }

    pub(super) fn expiry(&self, now_ms: u64) -> u64 {
        if self.config.expire.is_zero() { u64::MAX } else { now_ms + self.config.expire.0 / 1_000_000 }
    }

    /// The server of a key; its expiry starts anew.
    pub(super) fn find(&mut self, now_ms: u64, key: &[u8]) -> Option<ServerId> {
        self.purge(now_ms);
        let entry = self.search(key)?;
        let expires_ms = self.expiry(now_ms);
        self.touched.iter_mut().for_each(|touched| touched.push(entry));
        let entry = &mut self.entries[entry as usize];
        entry.expires_ms = expires_ms;
        Some(entry.server)
    }

    /// The server of a key, as far as anybody can look without touching the entry.
    pub(super) fn peek(&self, now_ms: u64, key: &[u8]) -> Option<ServerId> {
        let entry = &self.entries[self.search(key)? as usize];
        (entry.expires_ms > now_ms).then_some(entry.server)
    }

    /// Makes an entry for a key, whether or not the table has it already; in a full table the oldest ones go first. `None`
    /// if there is no room.
    pub(super) fn prepare(&mut self, now_ms: u64, key: &[u8]) -> Option<Pending> {
        self.purge(now_ms);
        if self.current >= self.config.size
            && (self.config.nopurge || !self.evict(self.config.size / 256 + 1))
        {
            return None;
        }
        self.current += 1;
        let record = Entry {
            expires_ms: self.expiry(now_ms),
            server: ServerId(0),
            key_len: key.len() as u16,
            next: NONE,
        };
        let entry = self.free.pop().unwrap_or_else(|| {
            self.entries.push(record.clone());
            self.keys.resize(self.entries.len() * self.room(), 0);
            self.entries.len() as u32 - 1
        });
        self.entries[entry as usize] = record;
        let start = entry as usize * self.room();
        self.keys[start..start + key.len()].copy_from_slice(key);
        Some(Pending(entry))
    }

    /// The answer came from `server`: the entry joins the table, or gives its server to the one that the table has.
    pub(super) fn store(&mut self, now_ms: u64, pending: Pending, server: ServerId) {
        self.purge(now_ms);
        let expires_ms = self.expiry(now_ms);
        let kept = self.join(pending, server, expires_ms);
        self.touched.iter_mut().for_each(|touched| touched.push(kept));
    }

    /// An entry joins the table, or gives its server and date to the one that the table has; which of the two is kept.
    pub(super) fn join(&mut self, Pending(entry): Pending, server: ServerId, expires_ms: u64) -> u32 {
        let kept = match self.search(self.key(entry)) {
            Some(known) => {
                self.discard(Pending(entry));
                known
            }
            None => {
                self.link(entry);
                self.sort(self.entries[entry as usize].expires_ms, entry);
                entry
            }
        };
        let record = &mut self.entries[kept as usize];
        record.server = server;
        record.expires_ms = expires_ms;
        kept
    }

    /// There was no answer: the entry goes.
    pub(super) fn discard(&mut self, Pending(entry): Pending) {
        self.current -= 1;
        self.free.push(entry);
    }

    fn sort(&mut self, place_ms: u64, entry: u32) {
        self.places.push(Reverse((place_ms, self.sorted, entry)));
        self.sorted += 1;
    }

    /// Removes what has expired.
    fn purge(&mut self, now_ms: u64) {
        while let Some(&Reverse((place_ms, _, entry))) = self.places.peek()
            && place_ms <= now_ms
        {
            self.places.pop();
            self.move_or_remove(place_ms, entry);
        }
    }

    /// Removes up to `count` entries whose places come first, looking at twice as many. Says whether any was.
    fn evict(&mut self, count: u32) -> bool {
        let mut removed = 0;
        for _ in 0..2 * count {
            if removed == count {
                break;
            }
            let Some(Reverse((place_ms, _, entry))) = self.places.pop() else { break };
            removed += u32::from(self.move_or_remove(place_ms, entry));
        }
        removed > 0
    }

    /// An entry's place has come: it moves if it has been used since, else it goes. Says whether it is gone.
    fn move_or_remove(&mut self, place_ms: u64, entry: u32) -> bool {
        let expires_ms = self.entries[entry as usize].expires_ms;
        if expires_ms != place_ms {
            self.sort(expires_ms, entry);
            return false;
        }
        self.unlink(entry);
        self.discard(Pending(entry));
        true
    }

    fn bucket(&self, key: &[u8]) -> usize {
        // FNV-1a: which entry is found does not depend on the function.
        let mix = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325, mix);
        (hash ^ hash >> 32) as usize & (self.buckets.len() - 1)
    }

    fn search(&self, key: &[u8]) -> Option<u32> {
        let mut entry = self.buckets[self.bucket(key)];
        while entry != NONE && self.key(entry) != key {
            entry = self.entries[entry as usize].next;
        }
        (entry != NONE).then_some(entry)
    }

    fn link(&mut self, entry: u32) {
        if self.places.len() >= self.buckets.len() {
            self.buckets = vec![NONE; 2 * self.buckets.len()];
            for index in 0..self.places.len() {
                let known = self.places.as_slice()[index].0.2;
                self.push(known);
            }
        }
        self.push(entry);
    }

    fn push(&mut self, entry: u32) {
        let bucket = self.bucket(self.key(entry));
        self.entries[entry as usize].next = self.buckets[bucket];
        self.buckets[bucket] = entry;
    }

    fn unlink(&mut self, entry: u32) {
        let bucket = self.bucket(self.key(entry));
        let after = self.entries[entry as usize].next;
        if self.buckets[bucket] == entry {
            self.buckets[bucket] = after;
            return;
        }
        let mut before = self.buckets[bucket];
        while self.entries[before as usize].next != entry {
            before = self.entries[before as usize].next;
        }
        self.entries[before as usize].next = after;
    }

    /// Keys in the table.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes that the table occupies.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.keys.capacity()
            + (self.free.capacity() + self.buckets.capacity()) * size_of::<u32>()
            + self.places.capacity() * size_of::<Reverse<(u64, u64, u32)>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SimDuration;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn table(size: u32, nopurge: bool) -> StickTable {
        StickTable::new(StickTableConfig {
            key: StickKey::Bytes { len: 8 },
            size,
            expire: SimDuration::from_millis(100),
            nopurge,
        })
    }

    /// A request for `key` that is answered at once.
    fn serve(table: &mut StickTable, now_ms: u64, key: &str, server: u16) -> bool {
        let pending = table.prepare(now_ms, key.as_bytes());
        if let Some(pending) = pending {
            table.store(now_ms, pending, ServerId(server));
        }
        pending.is_some()
    }

    #[test]
    fn an_entry_lives_until_the_very_millisecond_and_a_hit_prolongs_it() {
        let mut table = table(10, false);
        serve(&mut table, 0, "a", 1);
        assert_eq!(table.find(99, b"a"), Some(ServerId(1)));
        assert_eq!(table.find(198, b"a"), Some(ServerId(1)));
        assert_eq!(table.find(298, b"a"), None);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_full_table_loses_its_oldest_entry_even_for_a_key_that_it_has() {
        let mut table = table(2, false);
        serve(&mut table, 0, "a", 1);
        serve(&mut table, 10, "b", 2);
        assert!(serve(&mut table, 20, "b", 3), "room is made before the key is looked up");
        assert_eq!(table.find(20, b"a"), None);
        assert_eq!(table.find(20, b"b"), Some(ServerId(3)));
    }

    #[test]
    fn an_entry_that_was_used_since_costs_a_look() {
        let mut table = table(2, false);
        serve(&mut table, 0, "a", 1);
        serve(&mut table, 10, "b", 2);
        assert_eq!(table.find(20, b"a"), Some(ServerId(1)));
        assert!(serve(&mut table, 30, "c", 3));
        assert_eq!(table.find(30, b"b"), None);
        assert_eq!(table.find(30, b"a"), Some(ServerId(1)));
        // Both places are stale now, and two looks find nobody to throw out.
        assert_eq!(table.find(40, b"c"), Some(ServerId(3)));
        assert_eq!(table.find(40, b"a"), Some(ServerId(1)));
        assert!(!serve(&mut table, 50, "d", 4));
    }

    #[test]
    fn nopurge_takes_nobody_into_a_full_table() {
        let mut table = table(1, true);
        assert!(serve(&mut table, 0, "a", 1));
        assert!(!serve(&mut table, 10, "b", 2));
        assert!(serve(&mut table, 100, "b", 2), "the first one has expired");
    }

    #[test]
    fn keys_are_cut_to_the_length_of_the_table_and_addresses_need_their_own_type() {
        let texts = table(1, false);
        assert_eq!(texts.key_of_sample(b"123456789"), Some(&b"12345678"[..]));
        assert_eq!(texts.key_of_sample(b""), None);
        let mut room = KeyBytes::default();
        assert_eq!(texts.key_of_address([192, 0, 2, 1].into(), &mut room), None);
        let addresses = StickTable::new(StickTableConfig { key: StickKey::Ip, ..texts.config });
        assert_eq!(addresses.key_of_address([192, 0, 2, 1].into(), &mut room), Some(&[192, 0, 2, 1][..]));
        let v6: IpAddr = "2001:db8::1".parse().expect("an address");
        assert_eq!(addresses.key_of_address(v6, &mut room), None);
    }

    proptest! {
        #[test]
        fn a_table_with_room_remembers_like_a_map_with_dates(
            requests in prop::collection::vec((0u64..60, 0u8..40, any::<bool>()), 1..300),
        ) {
            let mut table = table(1_000, false);
            let mut model: BTreeMap<u8, (u16, u64)> = BTreeMap::new();
            let mut now_ms = 0;
            for (number, (wait_ms, key, hit)) in requests.into_iter().enumerate() {
                now_ms += wait_ms;
                model.retain(|_, (_, expires_ms)| *expires_ms > now_ms);
                if hit {
                    let expected = model.get_mut(&key).map(|(server, expires_ms)| {
                        *expires_ms = now_ms + 100;
                        ServerId(*server)
                    });
                    prop_assert_eq!(table.find(now_ms, &[key]), expected);
                } else {
                    let pending = table.prepare(now_ms, &[key]).expect("there is room");
                    table.store(now_ms, pending, ServerId(number as u16));
                    model.insert(key, (number as u16, now_ms + 100));
                }
                table.purge(now_ms);
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.current as usize, model.len());
            }
        }
    }
}
