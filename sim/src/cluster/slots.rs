//! A table whose rows come and go: slots that are used again, last freed first.

/// Rows in slots. Taking a slot allocates only when the table grows.
#[derive(Debug)]
pub struct Slots<T> {
    rows: Vec<T>,
    free: Vec<u32>,
}

impl<T: Copy> Slots<T> {
    /// No rows.
    pub fn new() -> Self {
        Self { rows: Vec::new(), free: Vec::new() }
    }

    /// Puts a row into a free slot.
    #[inline]
    pub fn insert(&mut self, row: T) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.rows[slot as usize] = row;
                slot
            }
            None => {
                self.rows.push(row);
                (self.rows.len() - 1) as u32
            }
        }
    }

    /// Frees a slot. Its row stays readable until the slot is used again.
    #[inline]
    pub fn remove(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// The row in a slot.
    #[inline(always)]
    pub fn get(&self, slot: u32) -> &T {
        &self.rows[slot as usize]
    }

    /// The row in a slot, to change.
    #[inline(always)]
    pub fn get_mut(&mut self, slot: u32) -> &mut T {
        &mut self.rows[slot as usize]
    }

    /// Slots ever used, free ones included.
    pub fn slots(&self) -> u32 {
        self.rows.len() as u32
    }

    /// Rows present.
    pub fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}
