//! The limit that the product's queue is measured against: a two-level ladder that is told its widths, never changes
//! them, checks no bounds and prefetches. It is a yardstick, not a part of the simulator.
#![allow(unsafe_code)] // A yardstick for what safe code costs has to be free of that cost.

use evenkeel_sim::engine::PendingEvents;

const CHUNK: usize = 64;
const NIL: u32 = u32::MAX;

/// Sixteen events a fine bucket and 2,048 fine buckets a coarse one, from the rate and horizon it is told.
#[derive(Debug)]
pub struct BareLadder {
    heads: Vec<u32>,
    fills: Vec<u16>,
    pool: Vec<[u64; CHUNK]>,
    free: u32,
    mask: u64,
    coarse_shift: u32,
    fine_shift: u32,
    coarse: u64,
    next_fine: usize,
    fine: Vec<Vec<u64>>,
    run: Vec<u64>,
    run_end: u64,
    over: Vec<(u64, u32)>,
    over_min: u64,
    len: usize,
    rows: *const u8,
    row_bytes: usize,
    rows_len: usize,
}

impl BareLadder {
    /// A ladder for `pending` events, one of which is due every `gap` ns, none further ahead than `horizon` ns.
    pub fn new(pending: usize, gap: f64, horizon: f64) -> Self {
        let fine_shift = ((gap * 16.0).log2().round().max(0.0) as u32).min(31);
        let fine_bits = 11.min(32 - fine_shift);
        let coarse_shift = fine_shift + fine_bits;
        let buckets = ((horizon / (1u64 << coarse_shift) as f64) as u64 + 2).next_power_of_two().min(1 << 17);
        Self {
            heads: vec![NIL; buckets as usize],
            fills: vec![CHUNK as u16; buckets as usize],
            pool: Vec::with_capacity((pending / (CHUNK - 1) + 64).min(1 << 20)),
            free: NIL,
            mask: buckets - 1,
            coarse_shift,
            fine_shift,
            coarse: 0,
            next_fine: 0,
            fine: (0..1usize << fine_bits).map(|_| Vec::new()).collect(),
            run: Vec::new(),
            run_end: 0,
            over: Vec::new(),
            over_min: u64::MAX,
            len: 0,
            rows: std::ptr::null(),
            row_bytes: 0,
            rows_len: 0,
        }
    }

    /// Rows, by event word, to prefetch shortly before their event is due. Only their addresses are used.
    pub fn prefetch_rows<T>(&mut self, rows: &[T]) {
        self.rows = rows.as_ptr().cast();
        self.row_bytes = size_of::<T>();
        self.rows_len = rows.len();
    }

    #[inline(always)]
    fn append(&mut self, bucket: usize, entry: u64) {
        // SAFETY: `bucket` was masked to the length of `heads` and `fills`; a bucket whose fill is below CHUNK has
        // a head in the pool.
        unsafe {
            let fill = *self.fills.get_unchecked(bucket) as usize;
            if fill < CHUNK {
                let head = *self.heads.get_unchecked(bucket) as usize;
                *self.pool.get_unchecked_mut(head).get_unchecked_mut(fill) = entry;
                *self.fills.get_unchecked_mut(bucket) = fill as u16 + 1;
                return;
            }
        }
        self.append_to_new_chunk(bucket, entry);
    }

    #[inline(never)]
    fn append_to_new_chunk(&mut self, bucket: usize, entry: u64) {
        let chunk = if self.free == NIL {
            self.pool.push([0; CHUNK]);
            (self.pool.len() - 1) as u32
        } else {
            let chunk = self.free;
            self.free = self.pool[chunk as usize][0] as u32;
            chunk
        };
        self.pool[chunk as usize][0] = u64::from(self.heads[bucket]);
        self.pool[chunk as usize][1] = entry;
        self.heads[bucket] = chunk;
        self.fills[bucket] = 2;
    }

    #[inline(never)]
    fn open_coarse(&mut self) {
        self.coarse += 1;
        self.next_fine = 0;
        if self.over_min >> self.coarse_shift < self.coarse + self.mask {
            let over = std::mem::take(&mut self.over);
            self.over_min = u64::MAX;
            self.len -= over.len();
            for (time, word) in over {
                self.push(time, word);
            }
        }
        let bucket = (self.coarse & self.mask) as usize;
        let (mut head, mut fill) = (self.heads[bucket], self.fills[bucket] as usize);
        while head != NIL {
            let chunk = &self.pool[head as usize];
            let next = chunk[0] as u32;
            if next != NIL {
                self.pool[next as usize].iter().step_by(8).for_each(|line| prefetch(line));
            }
            for &entry in &chunk[1..fill] {
                // SAFETY: the time in a coarse bucket shifted by the fine shift is below the number of fine ones.
                unsafe { self.fine.get_unchecked_mut((entry >> 32 >> self.fine_shift) as usize).push(entry) };
            }
            self.pool[head as usize][0] = u64::from(self.free);
            self.free = head;
            (head, fill) = (next, CHUNK);
        }
        self.heads[bucket] = NIL;
        self.fills[bucket] = CHUNK as u16;
    }

    #[inline(never)]
    fn refill(&mut self) {
        loop {
            while self.next_fine < self.fine.len() {
                let at = self.next_fine;
                self.next_fine += 1;
                if self.fine[at].is_empty() {
                    continue;
                }
                std::mem::swap(&mut self.run, &mut self.fine[at]);
                sort_descending(&mut self.run);
                if let Some(ahead) = self.fine.get(at + 2)
                    && self.rows_len > 0
                {
                    for &entry in ahead {
                        let row = entry as u32 as usize;
                        if row < self.rows_len {
                            // SAFETY: the row is within the slice that the address came from.
                            prefetch(unsafe { self.rows.add(row * self.row_bytes) });
                        }
                    }
                }
                self.run_end = (self.coarse << self.coarse_shift) + ((at as u64 + 1) << self.fine_shift);
                return;
            }
            self.open_coarse();
            self.run_end = self.coarse << self.coarse_shift;
        }
    }
}

#[inline(always)]
fn prefetch<T>(_at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and faults on nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(_at.cast());
    }
}

#[inline(always)]
fn sort_descending(run: &mut [u64]) {
    if run.len() > 20 {
        run.sort_unstable_by(|a, b| b.cmp(a));
        return;
    }
    for i in 1..run.len() {
        let entry = run[i];
        let mut hole = i;
        while hole > 0 && run[hole - 1] < entry {
            run[hole] = run[hole - 1];
            hole -= 1;
        }
        run[hole] = entry;
    }
}

impl PendingEvents for BareLadder {
    #[inline(always)]
    fn push(&mut self, time: u64, word: u32) {
        self.len += 1;
        let bucket = time >> self.coarse_shift;
        let in_bucket = time & ((1u64 << self.coarse_shift) - 1);
        let entry = (in_bucket << 32) | u64::from(word);
        let ahead = bucket - self.coarse;
        if ahead.wrapping_sub(1) < self.mask - 1 {
            self.append((bucket & self.mask) as usize, entry);
        } else if ahead == 0 {
            if time < self.run_end {
                let at = self.run.partition_point(|&other| other > entry);
                self.run.insert(at, entry);
            } else {
                // SAFETY: as in `open_coarse`.
                unsafe { self.fine.get_unchecked_mut((in_bucket >> self.fine_shift) as usize).push(entry) }
            }
        } else {
            self.over_min = self.over_min.min(time);
            self.over.push((time, word));
        }
    }

    #[inline(always)]
    fn pop_before(&mut self, horizon: u64) -> Option<(u64, u32)> {
        if self.len == 0 {
            return None;
        }
        loop {
            if let Some(&entry) = self.run.last() {
                let time = (self.coarse << self.coarse_shift) | (entry >> 32);
                if time >= horizon {
                    return None;
                }
                self.run.pop();
                self.len -= 1;
                return Some((time, entry as u32));
            }
            self.refill();
        }
    }

    fn len(&self) -> usize {
        self.len
    }

    fn bytes(&self) -> usize {
        self.pool.capacity() * size_of::<[u64; CHUNK]>()
            + self.fine.iter().map(|f| 8 * f.capacity()).sum::<usize>()
    }
}
