//! Requests in flight.

use crate::balancer::Skipped;
use crate::balancer::haproxy::HaproxyRequest;
use crate::ids::ServerId;
use crate::tier::FlowId;

use super::stick::Pending;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// At its server.
    Trying,
    /// In the queue of its server, or the backend's; with its number in the order of all that ever queued.
    Queued { server: Option<ServerId>, ticket: u64 },
    /// Before a retry.
    Waiting,
}

/// One request in flight.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) stage: Stage,
    pub(super) request: HaproxyRequest,
    /// The server that it goes to, or went to last.
    pub(super) target: Option<ServerId>,
    /// Whether `target` is settled, so that nothing is to be balanced.
    pub(super) assigned: bool,
    /// Whether a cookie or an entry of the stick table chose `target`.
    pub(super) direct: bool,
    /// Whether it was the cookie, and is so still.
    pub(super) by_cookie: bool,
    /// The server on which it holds a place.
    pub(super) place: Option<ServerId>,
    /// Why the server that it was tied to was passed over.
    pub(super) tie_skipped: Option<Skipped>,
    /// `force-persist` holds.
    pub(super) forced: bool,
    /// Whether its answer may set a cookie.
    pub(super) cookies: bool,
    /// Retries so far.
    pub(super) retries: u32,
    /// Number of the try under way, from 1; stops at 255.
    pub(super) attempt: u8,
    /// What it will store when it is answered.
    pub(super) stores: Option<Pending>,
}

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

    /// A flow that is known to be in flight.
    #[inline]
    pub(super) fn live(&mut self, id: FlowId) -> &mut Flow {
        &mut self.slots[id.slot as usize].flow
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
