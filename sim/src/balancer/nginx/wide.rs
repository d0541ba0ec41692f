//! Sets of tried peers for upstreams with more peers than fit one word.

/// An arena of bit sets, all of one width. It allocates only when more sets are in use at once than ever before.
#[derive(Clone, Debug)]
pub(super) struct WideSets {
    /// Words of one set.
    words: usize,
    /// The sets, one after the other.
    bits: Vec<u64>,
    /// Sets that are not in use.
    free: Vec<u64>,
}

impl WideSets {
    /// An arena of sets over `members` members.
    pub(super) fn new(members: usize) -> Self {
        Self { words: members.div_ceil(64), bits: Vec::new(), free: Vec::new() }
    }

    /// An empty set, by its handle.
    pub(super) fn acquire(&mut self) -> u64 {
        let Some(set) = self.free.pop() else {
            self.bits.resize(self.bits.len() + self.words, 0);
            return (self.bits.len() / self.words - 1) as u64;
        };
        let start = set as usize * self.words;
        self.bits[start..start + self.words].fill(0);
        set
    }

    /// Gives a set back.
    pub(super) fn release(&mut self, set: u64) {
        self.free.push(set);
    }

    pub(super) fn contains(&self, set: u64, member: usize) -> bool {
        self.bits[set as usize * self.words + member / 64] >> (member % 64) & 1 != 0
    }

    pub(super) fn insert(&mut self, set: u64, member: usize) {
        self.bits[set as usize * self.words + member / 64] |= 1 << (member % 64);
    }

    /// Bytes that the arena occupies.
    pub(super) fn bytes(&self) -> usize {
        (self.bits.capacity() + self.free.capacity()) * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_do_not_share_members_and_come_back_empty() {
        let mut sets = WideSets::new(130);
        let (a, b) = (sets.acquire(), sets.acquire());
        sets.insert(a, 129);
        sets.insert(b, 64);
        assert!(sets.contains(a, 129) && !sets.contains(a, 64));
        assert!(sets.contains(b, 64) && !sets.contains(b, 129));
        sets.release(a);
        let bytes = sets.bytes();
        let again = sets.acquire();
        assert!((0..130).all(|member| !sets.contains(again, member)));
        assert_eq!(sets.bytes(), bytes, "a set that was given back is used again");
    }
}
