//! IPv6 addresses of clients, each kept once, so that an entry of the connection table names one in 32 bits.

/// No address: the end of a chain.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Row {
    address: u128,
    /// The next address in the chain; of a free row, the next free one.
    next: u32,
    /// Entries of the connection table that name it; 0 for a free row.
    uses: u32,
}

/// The addresses in use.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    rows: Vec<Row>,
    /// First row of each chain; length = 0 or a power of two.
    chains: Vec<u32>,
    free: Vec<u32>,
}

impl Addresses {
    /// The place of `address`, if an entry names it.
    #[inline]
    pub fn find(&self, address: u128) -> Option<u32> {
        let mut place = *self.chains.get(self.chain(address))?;
        while place != NONE {
            let row = &self.rows[place as usize];
            if row.address == address {
                return Some(place);
            }
            place = row.next;
        }
        None
    }

    /// The address at `place`.
    #[inline]
    pub fn get(&self, place: u32) -> u128 {
        self.rows[place as usize].address
    }

    /// The place of `address`, which one more entry names now.
    ///
    /// # Panics
    /// Panics at 4 294 967 295 addresses.
    pub fn acquire(&mut self, address: u128) -> u32 {
        if let Some(place) = self.find(address) {
            self.rows[place as usize].uses += 1;
            return place;
        }
        let row = Row { address, next: NONE, uses: 1 };
        let place = match self.free.pop() {
            Some(place) => {
                self.rows[place as usize] = row;
                place
            }
            None => {
                let place = u32::try_from(self.rows.len()).ok().filter(|&place| place != NONE);
                let place = place.expect("more addresses than a place can count");
                self.rows.push(row);
                place
            }
        };
        if self.rows.len() > self.chains.len() {
            self.chains = vec![NONE; (self.rows.len() * 2).next_power_of_two().max(1024)];
            for place in 0..self.rows.len() as u32 {
                if self.rows[place as usize].uses > 0 {
                    self.link(place);
                }
            }
        } else {
            self.link(place);
        }
        place
    }

    /// One entry less names the address at `place`.
    pub fn release(&mut self, place: u32) {
        let row = &mut self.rows[place as usize];
        row.uses -= 1;
        if row.uses > 0 {
            return;
        }
        let Row { address, next, .. } = *row;
        let chain = self.chain(address);
        let mut before = self.chains[chain];
        if before == place {
            self.chains[chain] = next;
        } else {
            while self.rows[before as usize].next != place {
                before = self.rows[before as usize].next;
            }
            self.rows[before as usize].next = next;
        }
        self.free.push(place);
    }

    /// Bytes of the addresses and their chains. A row that was used once counts until all are forgotten.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.rows[..]) + size_of_val(&self.chains[..]) + size_of_val(&self.free[..])
    }

    /// Forgets every address.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn link(&mut self, place: u32) {
        let chain = self.chain(self.rows[place as usize].address);
        self.rows[place as usize].next = std::mem::replace(&mut self.chains[chain], place);
    }

    /// The chain of `address`; 0 while there are none.
    #[inline]
    fn chain(&self, address: u128) -> usize {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let folded = (address >> 64) as u64 ^ (address as u64).wrapping_mul(GOLDEN);
        let mixed = (folded ^ folded >> 32).wrapping_mul(GOLDEN);
        (mixed >> 32) as usize & self.chains.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_place_while_it_is_in_use() {
        let mut addresses = Addresses::default();
        assert_eq!(addresses.find(1), None);
        let places: Vec<u32> = (0..5_000).map(|address| addresses.acquire(address)).collect();
        for (address, &place) in (0..).zip(&places) {
            assert_eq!(addresses.acquire(address), place);
            assert_eq!(addresses.get(place), address);
        }
        addresses.release(places[7]);
        assert_eq!(addresses.find(7), Some(places[7]));
        addresses.release(places[7]);
        assert_eq!(addresses.find(7), None);
        assert_eq!(addresses.acquire(1 << 100), places[7], "the free place is used again");
    }
}
