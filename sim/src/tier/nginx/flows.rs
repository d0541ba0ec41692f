//! Requests in flight.

use crate::balancer::nginx::RequestState;
use crate::tier::FlowId;

/// One request in flight.
#[derive(Debug)]
pub(super) struct Flow {
    /// The configuration that it began under, as a place in [`super::Nginx::epochs`].
    pub(super) epoch: u32,
    /// Which table of peers of that configuration it uses.
    pub(super) table: u16,
    /// Number of the try under way, from 1; stops at 255.
    pub(super) attempt: u8,
    /// POST, LOCK, PATCH.
    pub(super) non_idempotent: bool,
    /// When it arrived, by nginx's clock, in milliseconds.
    pub(super) started_ms: u64,
    /// What the balancing method knows of it.
    pub(super) request: RequestState,
}

/// A slot of the pool.
#[derive(Debug)]
struct Slot {
    /// How often the slot was used before.
    generation: u32,
    in_use: bool,
    flow: Flow,
}

/// The pool of requests in flight. It allocates only when more are in flight than ever before.
#[derive(Debug, Default)]
pub(super) struct Flows {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Flows {
    /// Stands for a flow that never was.
    pub(super) const NONE: FlowId = FlowId { slot: u32::MAX, generation: u32::MAX };

    #[inline]
    pub(super) fn insert(&mut self, flow: Flow) -> FlowId {
        if let Some(slot) = self.free.pop() {
            let place = &mut self.slots[slot as usize];
            place.in_use = true;
            place.flow = flow;
            return FlowId { slot, generation: place.generation };
        }
        let slot = self.slots.len() as u32;
        self.slots.push(Slot { generation: 0, in_use: true, flow });
        FlowId { slot, generation: 0 }
    }

    /// The flow, or `None` if it has ended.
    #[inline]
    pub(super) fn get(&self, id: FlowId) -> Option<&Flow> {
        let slot = self.slots.get(id.slot as usize)?;
        (slot.in_use && slot.generation == id.generation).then_some(&slot.flow)
    }

    /// The flow, or `None` if it has ended.
    #[inline]
    pub(super) fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        (slot.in_use && slot.generation == id.generation).then_some(&mut slot.flow)
    }

    /// Ends a flow that is in flight.
    #[inline]
    pub(super) fn remove(&mut self, id: FlowId) {
        let slot = &mut self.slots[id.slot as usize];
        slot.in_use = false;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
    }

    /// Flows in flight.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes that the pool occupies.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.free.capacity() * size_of::<u32>()
    }
}
