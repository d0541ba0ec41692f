//! Columns of per-entity state, indexed only by the entity's own id (after cranelift's `PrimaryMap`).

use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// An id that is an index into tables of its kind.
pub trait Id: Copy {
    /// The id as an index.
    fn index(self) -> usize;
}

/// A column of values, one per entity, indexed by the entity's id.
#[derive(Clone, Debug)]
pub struct Column<I: Id, T> {
    values: Vec<T>,
    id: PhantomData<fn(I)>,
}

impl<I: Id, T> Column<I, T> {
    /// A column that takes over `values`, in id order.
    pub fn from_vec(values: Vec<T>) -> Self {
        Self { values, id: PhantomData }
    }

    /// Number of entities.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no entities.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values in id order.
    pub fn as_slice(&self) -> &[T] {
        &self.values
    }

    /// The values in id order, to change.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// Makes room for exactly `more` entities, so that a column of many does not grow by doubling.
    pub fn reserve_exact(&mut self, more: usize) {
        self.values.reserve_exact(more);
    }

    /// Appends the value of the next entity.
    pub fn push(&mut self, value: T) {
        self.values.push(value);
    }

    /// The value of `id`, or `None` if there is no such entity.
    #[inline]
    pub fn get(&self, id: I) -> Option<&T> {
        self.values.get(id.index())
    }

    /// Bytes that the column occupies.
    pub fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<T>()
    }
}

impl<I: Id, T: Clone> Column<I, T> {
    /// A column of `len` copies of `value`.
    pub fn filled(value: T, len: usize) -> Self {
        Self::from_vec(vec![value; len])
    }
}

impl<I: Id, T> Index<I> for Column<I, T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, id: I) -> &T {
        &self.values[id.index()]
    }
}

impl<I: Id, T> IndexMut<I> for Column<I, T> {
    #[inline(always)]
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.values[id.index()]
    }
}
