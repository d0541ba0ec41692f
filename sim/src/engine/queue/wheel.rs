//! The coarse level of the ladder: a wheel of append-only lists.

/// Entries in a chunk: 512 bytes, eight cache lines that are written and read in order.
const CHUNK: usize = 64;

/// A circular array of buckets, each a chain of chunks. Adding an entry is a store to the chunk at the bucket's tail:
/// with a few hundred buckets all tails stay in the cache, and nothing that waits is touched again until it is due.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    /// Position in `pool` (chunk times [`CHUNK`] plus slot) of a bucket's next free slot, by bucket; length is a
    /// power of two. A multiple of [`CHUNK`] means that there is no room: the chunk before it is full, or, at 0,
    /// that the bucket is empty.
    tails: Vec<u32>,
    /// The chunks of all buckets and the free ones.
    pool: Vec<[u64; CHUNK]>,
    /// The tail that its bucket had before the chunk was added, by chunk. Kept apart from the chunks so that a chain
    /// can be walked without waiting for the entries.
    links: Vec<u32>,
    /// Chunks that hold nothing. The last one drained is used first, since it is still in the cache.
    free: Vec<u32>,
    /// One bit a bucket: whether it holds anything.
    occupied: Vec<u64>,
}

impl Wheel {
    /// A wheel of `buckets` (a power of two, at least 64) with room for about `entries`.
    pub(super) fn new(buckets: usize, entries: usize) -> Self {
        let chunks = entries / CHUNK + buckets.min(entries);
        Self {
            tails: vec![0; buckets],
            pool: Vec::with_capacity(chunks),
            links: Vec::with_capacity(chunks),
            free: Vec::new(),
            occupied: vec![0; buckets / 64],
        }
    }

    /// Adds `entry` to the bucket that the low bits of `bucket` name.
    #[inline(always)]
    pub(super) fn append(&mut self, bucket: u64, entry: u64) {
        let bucket = bucket as usize & (self.tails.len().wrapping_sub(1));
        if let Some(tail) = self.tails.get_mut(bucket) {
            let at = *tail as usize;
            if !at.is_multiple_of(CHUNK)
                && let Some(chunk) = self.pool.get_mut(at / CHUNK)
            {
                chunk[at % CHUNK] = entry;
                *tail += 1;
                return;
            }
        }
        self.append_to_new_chunk(bucket, entry);
    }

    #[inline(never)]
    fn append_to_new_chunk(&mut self, bucket: usize, entry: u64) {
        let chunk = match self.free.pop() {
            Some(chunk) => chunk as usize,
            None => {
                self.pool.push([0; CHUNK]);
                self.links.push(0);
                self.pool.len() - 1
            }
        };
        self.links[chunk] = self.tails[bucket];
        self.pool[chunk][0] = entry;
        // 2^26 chunks are 32 GiB; more events than words exist cannot be pending.
        self.tails[bucket] =
            u32::try_from(chunk * CHUNK + 1).expect("more events pending than there are words");
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Buckets from `bucket` to the next one that holds anything, or `None` if none does. 0 if `bucket` does.
    pub(super) fn distance_to_occupied(&self, bucket: u64) -> Option<u64> {
        let words = self.occupied.len();
        let start = bucket as usize & (self.tails.len().wrapping_sub(1));
        let first = *self.occupied.get(start / 64)? >> (start % 64);
        if first != 0 {
            return Some(u64::from(first.trailing_zeros()));
        }
        (1..=words).find_map(|ahead| {
            let word = self.occupied[(start / 64 + ahead) % words];
            (word != 0).then(|| (64 * ahead - start % 64) as u64 + u64::from(word.trailing_zeros()))
        })
    }

    /// Takes everything out of the bucket, in chunks, the newest first.
    #[inline]
    pub(super) fn drain(&mut self, bucket: u64, mut take: impl FnMut(&[u64])) {
        let bucket = bucket as usize & (self.tails.len().wrapping_sub(1));
        let mut tail = std::mem::take(&mut self.tails[bucket]) as usize;
        self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        while tail != 0 {
            let chunk = (tail - 1) / CHUNK;
            let used = tail - chunk * CHUNK;
            tail = self.links[chunk] as usize;
            if tail != 0 {
                // Loads one word of each line of the next chunk, whose misses overlap with the work on this one.
                let next = &self.pool[(tail - 1) / CHUNK];
                std::hint::black_box(next.iter().step_by(8).fold(0, |sum, entry| sum | entry));
            }
            take(&self.pool[chunk][..used]);
            self.free.push(chunk as u32);
        }
    }

    /// Every entry with the number of buckets from `bucket` to its own.
    pub(super) fn for_each(&self, bucket: u64, mut visit: impl FnMut(u64, u64)) {
        for ahead in 0..self.tails.len() as u64 {
            let mut tail = self.tails[(bucket + ahead) as usize & (self.tails.len() - 1)] as usize;
            while tail != 0 {
                let chunk = (tail - 1) / CHUNK;
                self.pool[chunk][..tail - chunk * CHUNK].iter().for_each(|&entry| visit(ahead, entry));
                tail = self.links[chunk] as usize;
            }
        }
    }

    /// Buckets of the wheel.
    pub(super) fn buckets(&self) -> usize {
        self.tails.len()
    }

    /// Entries for which there is room in chunks that hold nothing.
    pub(super) fn spare(&self) -> usize {
        self.free.len() * CHUNK
    }

    /// Bytes occupied, spare capacity included.
    pub(super) fn bytes(&self) -> usize {
        self.pool.capacity() * size_of::<[u64; CHUNK]>()
            + (self.tails.capacity() + self.links.capacity() + self.free.capacity()) * size_of::<u32>()
            + self.occupied.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_back_what_was_appended_and_its_chunks_are_used_again() {
        let mut wheel = Wheel::new(64, 0);
        for round in 0..3 {
            for entry in 0..200 {
                wheel.append(64 + 5, entry + 1_000 * round);
            }
            let mut taken = Vec::new();
            wheel.drain(5, |entries| taken.extend_from_slice(entries));
            taken.sort_unstable();
            assert!(taken.into_iter().eq(1_000 * round..1_000 * round + 200));
            assert_eq!(wheel.pool.len(), 4);
        }
    }

    #[test]
    fn the_next_occupied_bucket_is_found_around_the_end() {
        let mut wheel = Wheel::new(256, 0);
        assert_eq!(wheel.distance_to_occupied(3), None);
        wheel.append(2, 0);
        assert_eq!(wheel.distance_to_occupied(2), Some(0));
        assert_eq!(wheel.distance_to_occupied(3), Some(255));
        wheel.append(200, 0);
        assert_eq!(wheel.distance_to_occupied(3), Some(197));
        assert_eq!(wheel.distance_to_occupied(201), Some(57));
    }
}
