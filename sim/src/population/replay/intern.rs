//! Numbers for what a log names again and again: texts and clients.
//!
//! A log names its clients in no order, so with many of them each look-up waits for memory. [`HashIndex`] has it wait once:
//! a slot is 8 bytes and is found from the hash alone, so slots can be asked for ahead of their use
//! ([`HashIndex::ask_for`]), as tables whose entries lie behind a second array cannot.

use std::hash::Hasher;

use rustc_hash::FxHasher;

/// There is no number left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoNumberLeft;

/// No number: stands in empty slots.
const NONE: u64 = u64::MAX;

/// The hash of a text.
#[inline]
pub(super) fn hash_of(text: &[u8]) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(text);
    spread(hasher.finish())
}

/// 32 well-mixed bits of a hash that may have its entropy anywhere.
#[inline]
pub(super) fn spread(hash: u64) -> u32 {
    (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

/// Numbers by the hash of what they stand for; what that is, the caller knows. Open addressing with linear probing, at most
/// half full.
#[derive(Clone, Debug)]
pub(super) struct HashIndex {
    /// The hash above, the number below; length a power of two. The place is the hash's top bits, so the table can grow
    /// without what its numbers stand for.
    slots: Vec<u64>,
    /// 32 less the binary logarithm of the length.
    shift: u32,
    len: usize,
}

impl Default for HashIndex {
    fn default() -> Self {
        const BITS: u32 = 10;
        Self { slots: vec![NONE; 1 << BITS], shift: 32 - BITS, len: 0 }
    }
}

impl HashIndex {
    /// Has the memory of a hash fetched, so that the fetches of many overlap.
    #[inline]
    pub fn ask_for(&self, hash: u32) {
        std::hint::black_box(self.slots[self.place(hash)]);
    }

    /// A number that may stand for what has this hash; the caller compares.
    #[inline]
    pub fn candidate(&self, hash: u32) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// The number with this hash that `is_it`.
    #[inline]
    pub fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut place = self.place(hash);
        loop {
            let slot = self.slots[place];
            if slot == NONE {
                return None;
            }
            if (slot >> 32) as u32 == hash && is_it(slot as u32) {
                return Some(slot as u32);
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
    }

    /// Takes the next number, for something with this hash that has none.
    ///
    /// # Errors
    /// After 4294967294 of them, or as many as the memory's half of the table holds.
    pub fn add(&mut self, hash: u32) -> Result<u32, NoNumberLeft> {
        let number = u32::try_from(self.len).ok().filter(|&number| number < u32::MAX).ok_or(NoNumberLeft)?;
        if 2 * (self.len + 1) > self.slots.len() {
            self.grow()?;
        }
        self.put(u64::from(hash) << 32 | u64::from(number));
        self.len += 1;
        Ok(number)
    }

    #[inline]
    fn place(&self, hash: u32) -> usize {
        (hash >> self.shift) as usize
    }

    fn put(&mut self, slot: u64) {
        let mut place = self.place((slot >> 32) as u32);
        while self.slots[place] != NONE {
            place = (place + 1) & (self.slots.len() - 1);
        }
        self.slots[place] = slot;
    }

    fn grow(&mut self) -> Result<(), NoNumberLeft> {
        // Beyond 2^31 numbers the hash has no more bits for a place.
        self.shift = self.shift.checked_sub(1).ok_or(NoNumberLeft)?;
        let slots = vec![NONE; 2 * self.slots.len()];
        let old = std::mem::replace(&mut self.slots, slots);
        old.into_iter().filter(|&slot| slot != NONE).for_each(|slot| self.put(slot));
        Ok(())
    }
}

/// Distinct texts, numbered in order of appearance, one after another in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    index: HashIndex,
    bytes: Vec<u8>,
    /// By number: where the text ends in `bytes`.
    ends: Vec<u64>,
}

impl Texts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text of a number.
    #[inline]
    pub fn get(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[number] as usize]
    }

    /// Bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Numbers by hash, to be asked for ahead.
    #[inline]
    pub fn index(&self) -> &HashIndex {
        &self.index
    }

    /// Reads a little of the text that may have this hash, so that it is at hand when it is compared.
    #[inline]
    pub fn touch(&self, hash: u32) -> u8 {
        let text = self.index.candidate(hash).map_or(&[][..], |number| self.get(number));
        text.first().copied().unwrap_or(0) ^ text.last().copied().unwrap_or(0)
    }

    /// The number of a text, if it has one.
    #[inline]
    pub fn find(&self, hash: u32, text: &[u8]) -> Option<u32> {
        self.index.find(hash, |number| self.get(number) == text)
    }

    /// The number of a text, which it may get only now.
    ///
    /// # Errors
    /// If there is none left.
    #[inline]
    pub fn number(&mut self, hash: u32, text: &[u8]) -> Result<u32, NoNumberLeft> {
        match self.find(hash, text) {
            Some(number) => Ok(number),
            None => self.add(hash, text),
        }
    }

    fn add(&mut self, hash: u32, text: &[u8]) -> Result<u32, NoNumberLeft> {
        let number = self.index.add(hash)?;
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u64);
        Ok(number)
    }

    /// The texts in order, without their index.
    pub fn into_boxes(self) -> Vec<Box<[u8]>> {
        (0..self.len() as u32).map(|number| self.get(number).into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbered_in_order_of_appearance_however_many_there_are() {
        let mut texts = Texts::default();
        let text = |n: u32| format!("/page/{n}").into_bytes();
        for _ in 0..2 {
            for n in 0..5_000 {
                assert_eq!(texts.number(hash_of(&text(n)), &text(n)), Ok(n));
            }
        }
        assert_eq!((texts.len(), texts.get(4_999)), (5_000, &b"/page/4999"[..]));
        assert_eq!(texts.find(hash_of(b"/page/5000"), b"/page/5000"), None);
        assert_eq!(texts.into_boxes()[7][..], *b"/page/7");
    }

    #[test]
    fn texts_of_one_hash_are_told_apart() {
        let mut texts = Texts::default();
        for n in 0..100 {
            assert_eq!(texts.number(u32::MAX, &[n]), Ok(n.into()));
        }
        assert_eq!(texts.find(u32::MAX, &[55]), Some(55));
        assert_eq!(texts.number(hash_of(b""), b""), Ok(100));
        assert_eq!(texts.get(100), b"");
    }
}
