//! The connection table: connections and templates in one arena, found by hash chains that run through it.
//!
//! Source: Linux 6.1, `ip_vs_conn.c` (`ip_vs_conn_hash`, `ip_vs_conn_in_get`, `ip_vs_ct_in_get`): templates live in the
//! same table as connections. Departures, none of which shows in any decision: the table grows with its entries, where
//! the kernel's has a fixed number of chains; the hash function is another one; a connection that makes room for
//! another with the same key leaves its chain at once, where the kernel keeps it there, behind the new one, until the
//! next tick.

use super::state::TcpState;

/// No entry: the end of a chain or list, or a connection without a template.
pub(super) const NONE: u32 = u32::MAX;

/// The number of chains that a new table has; a power of two.
const CHAINS_MIN: usize = 1 << 10;

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// Nothing: the slot waits to be used again.
    Free,
    /// A connection, and its state.
    Connection(TcpState),
    /// A persistence template. `shortened`: its timer once ran out while it controlled connections, so its timeout is
    /// 60 s for the rest of its life (`ip_vs_conn_expire`).
    Template {
        /// See above.
        shortened: bool,
    },
}

/// One connection or template.
///
/// Half a cache line, since a lookup at a million entries costs one cache miss for each entry that it looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// An IPv4 address (of a template: masked), or the place of an IPv6 address in [`super::addresses`].
    pub client: u32,
    /// The next entry in the chain; of a free slot, the next free one.
    pub next_in_chain: u32,
    /// The next timer in the wheel's bucket.
    pub timer_next: u32,
    /// The timer before it in the bucket; [`NONE`] for the first.
    pub timer_previous: u32,
    /// When its timer nominally runs out: the low 32 bits of that jiffy.
    pub expires: u32,
    /// Of a connection: its template, or [`NONE`]. Of a template: the number of connections that it controls.
    pub link: u32,
    /// The client's port; 0 for a template.
    pub port: u16,
    /// Of a connection: the destination that the client called, in [`super::director::Lvs`]'s list of endpoints. Of a
    /// template: the service.
    pub endpoint: u16,
    /// The real server, within its service.
    pub server: u16,
    /// The wheel's level in the low 4 bits ([`super::wheel::UNARMED`] without a timer), bit 7 set for IPv6.
    pub level_and_family: u8,
    kind: PackedKind,
}

const _: () = assert!(size_of::<Entry>() == 32);

/// A [`Kind`] in one byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PackedKind(u8);

const TEMPLATE: u8 = 0x10;
const HIDDEN: u8 = 0x20;
const SHORTENED: u8 = 0x40;
const IPV6: u8 = 0x80;

impl PackedKind {
    const FREE: Self = Self(0);

    #[inline]
    fn pack(kind: Kind) -> Self {
        Self(match kind {
            Kind::Free => 0,
            Kind::Connection(state) => 1 + state as u8,
            Kind::Template { shortened } => TEMPLATE | if shortened { SHORTENED } else { 0 },
        })
    }

    #[inline]
    fn is_template(self) -> bool {
        self.0 & TEMPLATE != 0
    }
}

impl Entry {
    /// What it is.
    #[inline]
    pub fn kind(&self) -> Kind {
        let packed = self.kind.0 & !HIDDEN;
        if packed & TEMPLATE != 0 {
            Kind::Template { shortened: packed & SHORTENED != 0 }
        } else if packed == 0 {
            Kind::Free
        } else {
            Kind::Connection(TcpState::ALL[usize::from(packed - 1)])
        }
    }

    /// Changes what it is.
    #[inline]
    pub fn set_kind(&mut self, kind: Kind) {
        self.kind = PackedKind(PackedKind::pack(kind).0 | self.kind.0 & HIDDEN);
    }

    /// Whether no lookup finds it ([`Table::hide`]).
    #[inline]
    pub fn is_hidden(&self) -> bool {
        self.kind.0 & HIDDEN != 0
    }

    /// The level of the wheel that its timer is on.
    #[inline]
    pub fn level(&self) -> u8 {
        self.level_and_family & !IPV6
    }

    /// Changes the level.
    #[inline]
    pub fn set_level(&mut self, level: u8) {
        self.level_and_family = self.level_and_family & IPV6 | level;
    }

    /// Whether the client's address is an IPv6 address.
    #[inline]
    pub fn is_ipv6(&self) -> bool {
        self.level_and_family & IPV6 != 0
    }

    /// The key by which it is found.
    #[inline]
    pub fn key(&self) -> Key {
        Key {
            client: self.client,
            ipv6: self.is_ipv6(),
            port: self.port,
            endpoint: self.endpoint,
            template: self.kind.is_template(),
        }
    }

    fn free() -> Self {
        Self {
            client: 0,
            next_in_chain: NONE,
            timer_next: NONE,
            timer_previous: NONE,
            expires: 0,
            link: NONE,
            port: 0,
            endpoint: 0,
            server: 0,
            level_and_family: super::wheel::UNARMED,
            kind: PackedKind::FREE,
        }
    }
}

/// What an entry is found by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    /// As in [`Entry::client`].
    pub client: u32,
    /// Whether that is the place of an IPv6 address.
    pub ipv6: bool,
    /// As in [`Entry::port`].
    pub port: u16,
    /// As in [`Entry::endpoint`].
    pub endpoint: u16,
    /// Whether a template is meant.
    pub template: bool,
}

impl Key {
    /// A mixture of all bits of the key in the upper half (multiplication by 2^64 divided by the golden ratio, twice).
    #[inline]
    fn hash(self) -> u64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let low = u64::from(self.client) << 32 | u64::from(self.port) << 16 | u64::from(self.endpoint);
        let flags = u64::from(self.ipv6) << 1 | u64::from(self.template);
        let mixed = low.wrapping_mul(GOLDEN) ^ flags;
        (mixed ^ mixed >> 32).wrapping_mul(GOLDEN)
    }
}

/// The arena and its chains.
#[derive(Debug)]
pub(super) struct Table {
    /// Length = slots that were ever used.
    entries: Vec<Entry>,
    /// How often each slot has held a connection before; same length. Apart from the entries, which would pass
    /// half a cache line with it.
    generations: Vec<u32>,
    /// First entry of each chain; length = a power of two.
    chains: Vec<u32>,
    /// 64 less the binary logarithm of the number of chains.
    shift: u32,
    first_free: u32,
    connections: u64,
    templates: u64,
}

impl Table {
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            generations: Vec::new(),
            chains: vec![NONE; CHAINS_MIN],
            shift: u64::BITS - CHAINS_MIN.ilog2(),
            first_free: NONE,
            connections: 0,
            templates: 0,
        }
    }

    /// The entry at `slot`.
    #[inline]
    pub fn entry(&self, slot: u32) -> &Entry {
        &self.entries[slot as usize]
    }

    /// The entry at `slot`, to change.
    #[inline]
    pub fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.entries[slot as usize]
    }

    /// All slots, for the timer wheel.
    #[inline]
    pub fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// Every entry that is in use, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (0..).zip(&self.entries).filter(|(_, entry)| entry.kind() != Kind::Free)
    }

    /// Slots that were ever used.
    pub fn slots(&self) -> u32 {
        self.entries.len() as u32
    }

    /// How often `slot` has been used before.
    #[inline]
    pub fn generation(&self, slot: u32) -> u32 {
        self.generations[slot as usize]
    }

    /// Whether `slot` holds the connection of this generation.
    #[inline]
    pub fn holds(&self, slot: u32, generation: u32) -> bool {
        self.generations.get(slot as usize) == Some(&generation)
    }

    /// Connections in the table.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Templates in the table, invalidated ones among them.
    pub fn templates(&self) -> u64 {
        self.templates
    }

    /// Bytes of the entries, their generations and the chains. A slot that was used once counts for ever, and what the
    /// allocator keeps in reserve does not.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.entries[..]) + size_of_val(&self.generations[..]) + size_of_val(&self.chains[..])
    }

    /// The slot of the entry with this key.
    #[inline]
    pub fn find(&self, key: Key) -> Option<u32> {
        let mut slot = self.chains[self.chain(key)];
        while slot != NONE {
            let entry = self.entry(slot);
            if entry.key() == key {
                return Some(slot);
            }
            slot = entry.next_in_chain;
        }
        None
    }

    /// A new entry, without a timer. No entry of the same key must be found any more.
    ///
    /// # Panics
    /// Panics at 4 294 967 295 entries.
    #[inline]
    pub fn insert(&mut self, key: Key, kind: Kind, server: u16, link: u32) -> u32 {
        match kind {
            Kind::Template { .. } => self.templates += 1,
            _ => self.connections += 1,
        }
        if self.connections + self.templates > self.chains.len() as u64 {
            self.grow();
        }
        let slot = self.free_slot();
        let chain = self.chain(key);
        let family = if key.ipv6 { IPV6 } else { 0 };
        self.entries[slot as usize] = Entry {
            client: key.client,
            next_in_chain: self.chains[chain],
            timer_next: NONE,
            timer_previous: NONE,
            expires: 0,
            link,
            port: key.port,
            endpoint: key.endpoint,
            server,
            level_and_family: super::wheel::UNARMED | family,
            kind: PackedKind::pack(kind),
        };
        self.chains[chain] = slot;
        slot
    }

    /// Frees `slot`, whose timer must not be armed any more.
    #[inline]
    pub fn remove(&mut self, slot: u32) {
        let entry = *self.entry(slot);
        if !entry.is_hidden() {
            self.unchain(slot, entry.key(), entry.next_in_chain);
        }
        match entry.kind() {
            Kind::Template { .. } => self.templates -= 1,
            _ => self.connections -= 1,
        }
        self.generations[slot as usize] = self.generations[slot as usize].wrapping_add(1);
        *self.entry_mut(slot) = Entry { next_in_chain: self.first_free, ..Entry::free() };
        self.first_free = slot;
    }

    /// Takes `slot` out of its chain: no lookup finds it any more. It stays in the table until its timer fires.
    pub fn hide(&mut self, slot: u32) {
        let entry = self.entry_mut(slot);
        if !entry.is_hidden() {
            entry.kind.0 |= HIDDEN;
            let (key, next) = (entry.key(), entry.next_in_chain);
            self.unchain(slot, key, next);
        }
    }

    /// Frees every slot. Flows of before are recognised as unknown.
    pub fn clear(&mut self) {
        self.chains.fill(NONE);
        self.first_free = NONE;
        self.connections = 0;
        self.templates = 0;
        // From the back, so that the lowest slot is used first, as in a new table.
        for slot in (0..self.slots()).rev() {
            let generation = &mut self.generations[slot as usize];
            *generation = generation.wrapping_add(1);
            self.entries[slot as usize] = Entry { next_in_chain: self.first_free, ..Entry::free() };
            self.first_free = slot;
        }
    }

    #[inline]
    fn chain(&self, key: Key) -> usize {
        (key.hash() >> self.shift) as usize
    }

    #[inline]
    fn unchain(&mut self, slot: u32, key: Key, next: u32) {
        let chain = self.chain(key);
        let mut before = self.chains[chain];
        if before == slot {
            self.chains[chain] = next;
            return;
        }
        while self.entry(before).next_in_chain != slot {
            before = self.entry(before).next_in_chain;
        }
        self.entry_mut(before).next_in_chain = next;
    }

    #[inline]
    fn free_slot(&mut self) -> u32 {
        let slot = self.first_free;
        if slot != NONE {
            self.first_free = self.entry(slot).next_in_chain;
            return slot;
        }
        let slot = u32::try_from(self.entries.len()).ok().filter(|&slot| slot != NONE);
        let slot = slot.expect("more entries than a slot number can count");
        self.entries.push(Entry::free());
        self.generations.push(0);
        slot
    }

    /// Doubles the number of chains. Goes by slots and not by the old chains, which lead all over the memory.
    fn grow(&mut self) {
        let chains = self.chains.len() * 2;
        self.chains.clear();
        self.chains.resize(chains, NONE);
        self.shift -= 1;
        for slot in 0..self.slots() {
            let entry = self.entry(slot);
            if entry.kind() != Kind::Free && !entry.is_hidden() {
                let chain = self.chain(entry.key());
                self.entry_mut(slot).next_in_chain = std::mem::replace(&mut self.chains[chain], slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: u32) -> Key {
        Key { client, ipv6: false, port: 7, endpoint: 0, template: false }
    }

    const CONNECTION: Kind = Kind::Connection(TcpState::SynRecv);

    #[test]
    fn every_part_of_the_key_tells_entries_apart() {
        let mut table = Table::new();
        let keys = [
            key(1),
            key(2),
            Key { port: 8, ..key(1) },
            Key { endpoint: 1, ..key(1) },
            Key { ipv6: true, ..key(1) },
            Key { template: true, ..key(1) },
        ];
        for (server, key) in (0..).zip(keys) {
            let template = Kind::Template { shortened: false };
            table.insert(key, if key.template { template } else { CONNECTION }, server, NONE);
        }
        for (server, key) in (0..).zip(keys) {
            assert_eq!(table.entry(table.find(key).unwrap()).server, server);
        }
    }

    #[test]
    fn a_hidden_entry_makes_room_for_another_of_its_key() {
        let mut table = Table::new();
        let old = table.insert(key(1), CONNECTION, 0, NONE);
        table.hide(old);
        table.hide(old);
        assert_eq!(table.find(key(1)), None);
        let new = table.insert(key(1), CONNECTION, 1, NONE);
        assert_eq!(table.find(key(1)), Some(new));
        assert_eq!(table.connections(), 2);
        table.remove(old);
        assert_eq!((table.find(key(1)), table.connections()), (Some(new), 1));
    }

    #[test]
    fn growth_loses_no_entry_and_brings_no_hidden_one_back() {
        let mut table = Table::new();
        let hidden = table.insert(key(1), CONNECTION, 0, NONE);
        table.hide(hidden);
        for client in 100..10_000 {
            table.insert(key(client), CONNECTION, 0, NONE);
        }
        assert!((100..10_000).all(|client| table.find(key(client)).is_some()));
        assert_eq!(table.find(key(1)), None);
        table.remove(hidden);
        assert_eq!(table.connections(), 9_900);
    }

    #[test]
    fn a_slot_used_again_has_another_generation() {
        let mut table = Table::new();
        let slot = table.insert(key(1), CONNECTION, 0, NONE);
        let generation = table.generation(slot);
        table.remove(slot);
        assert!(!table.holds(slot, generation));
        assert_eq!(table.insert(key(2), CONNECTION, 0, NONE), slot);
        assert!(!table.holds(slot, generation) && table.find(key(1)).is_none());
        table.clear();
        assert_eq!((table.connections(), table.templates(), table.find(key(2))), (0, 0, None));
    }
}
