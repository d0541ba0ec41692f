//! A table whose rows come and go: slots that are used again, last freed first.

/// Rows in slots. Taking a slot allocates only when more rows are present than ever before.
#[derive(Clone, Debug)]
pub struct Slots<T> {
    rows: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    /// No rows.
    fn default() -> Self {
        Self { rows: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Puts a row into a free slot.
    #[inline]
    pub fn insert(&mut self, row: T) -> u32 {
        self.insert_after(row, |_, _| ())
    }

    /// Puts a row into a free slot; `carry_over` may take something from the row that had the slot before.
    #[inline]
    pub fn insert_after(&mut self, mut row: T, carry_over: impl FnOnce(&mut T, &T)) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                let place = &mut self.rows[slot as usize];
                carry_over(&mut row, place);
                *place = row;
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

    /// The rows in all slots, free ones included.
    #[inline(always)]
    pub fn rows(&self) -> &[T] {
        &self.rows
    }

    /// The rows in all slots, free ones included, to change.
    #[inline(always)]
    pub fn rows_mut(&mut self) -> &mut [T] {
        &mut self.rows
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_and_can_take_over_from_the_row_before() {
        let mut slots = Slots::default();
        let (a, b) = (slots.insert(1), slots.insert(2));
        slots.remove(a);
        assert_eq!((slots.len(), slots.slots(), *slots.get(a)), (1, 2, 1));
        assert_eq!(slots.insert_after(10, |row, before| *row += before), a);
        assert_eq!((*slots.get(a), *slots.get(b), slots.len()), (11, 2, 2));
        assert_eq!(slots.insert_after(10, |row, before| *row += before), 2, "a new slot has nobody before");
        assert_eq!(*slots.get(2), 10);
    }
}
