//! The pool of requests in flight of a layer 7 instance, or of a chain of them.

use super::FlowId;
use crate::slots::Slots;

#[derive(Debug)]
struct Place<F> {
    /// How often the slot was used before.
    generation: u32,
    in_use: bool,
    flow: F,
}

/// Requests in flight, by [`FlowId`]. It allocates only when more are in flight than ever before.
#[derive(Debug)]
pub(crate) struct Flows<F> {
    places: Slots<Place<F>>,
}

impl<F> Default for Flows<F> {
    fn default() -> Self {
        Self { places: Slots::default() }
    }
}

impl FlowId {
    /// Stands for a flow that never was.
    pub(super) const NONE: Self = Self { slot: u32::MAX, generation: u32::MAX };
}

impl<F> Flows<F> {
    #[inline]
    pub(crate) fn insert(&mut self, flow: F) -> FlowId {
        let mut generation = 0;
        let place = Place { generation, in_use: true, flow };
        let slot = self.places.insert_after(place, |place, before| {
            generation = before.generation;
            place.generation = generation;
        });
        FlowId { slot, generation }
    }

    /// The flow, or `None` if it has ended.
    #[inline]
    pub(crate) fn get(&self, id: FlowId) -> Option<&F> {
        let place = self.places.rows().get(id.slot as usize)?;
        (place.in_use && place.generation == id.generation).then_some(&place.flow)
    }

    /// The flow, or `None` if it has ended.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: FlowId) -> Option<&mut F> {
        let place = self.places.rows_mut().get_mut(id.slot as usize)?;
        (place.in_use && place.generation == id.generation).then_some(&mut place.flow)
    }

    /// A flow that is known to be in flight.
    #[inline]
    pub(crate) fn live(&mut self, id: FlowId) -> &mut F {
        &mut self.places.get_mut(id.slot).flow
    }

    /// Ends a flow that is in flight.
    #[inline]
    pub(crate) fn remove(&mut self, id: FlowId) {
        let place = self.places.get_mut(id.slot);
        place.in_use = false;
        place.generation = place.generation.wrapping_add(1);
        self.places.remove(id.slot);
    }

    /// All flows in flight, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (FlowId, &F)> {
        let places = (0..).zip(self.places.rows()).filter(|(_, place)| place.in_use);
        places.map(|(slot, place)| (FlowId { slot, generation: place.generation }, &place.flow))
    }

    /// Flows in flight.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes that the pool occupies.
    pub(crate) fn bytes(&self) -> usize {
        self.places.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_that_has_ended_is_told_from_the_next_in_its_slot() {
        let mut flows = Flows::default();
        let first = flows.insert('a');
        flows.remove(first);
        assert_eq!(flows.get(first), None);
        let second = flows.insert('b');
        assert_eq!((second.slot, flows.get(first), flows.get(second)), (first.slot, None, Some(&'b')));
        assert_eq!((flows.len(), flows.get(FlowId::NONE)), (1, None));
        assert!(flows.iter().eq([(second, &'b')]));
    }
}
