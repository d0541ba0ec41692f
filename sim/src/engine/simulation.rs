//! The loop that drives a model: take the earliest pending event, let the model handle it, until the horizon.

use super::queue::PendingEvents;
use super::time::SimTime;

/// What a simulation is of. The engine knows event words, never their meaning.
pub trait Model {
    /// Handles the event `word` that is due now; schedules what follows.
    fn handle<Q: PendingEvents>(&mut self, now: SimTime, word: u32, pending: &mut Scheduler<Q>);

    /// Told of the events that come next, in no particular order and without any promise, so that the model can
    /// touch the rows that they will need. Must not change the model's state.
    #[inline(always)]
    fn read_ahead(&mut self, _upcoming: &[u64]) {}
}

/// The pending events, as a model sees them: it may only add.
#[derive(Debug)]
pub struct Scheduler<Q> {
    queue: Q,
    now: SimTime,
    /// Events scheduled so far.
    scheduled: u64,
}

impl<Q: PendingEvents> Scheduler<Q> {
    /// Puts the event `word` at `time`. No two pending events may share both.
    #[inline(always)]
    pub fn at(&mut self, time: SimTime, word: u32) {
        debug_assert!(time >= self.now, "an event in the past");
        self.scheduled += 1;
        self.queue.push(time.0, word);
    }

    /// Events pending.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Bytes that the pending-event set occupies.
    pub fn bytes(&self) -> usize {
        self.queue.bytes()
    }
}

/// A model with its pending events and its clock.
#[derive(Debug)]
pub struct Simulation<M, Q> {
    /// The model.
    pub model: M,
    /// Its pending events.
    pub pending: Scheduler<Q>,
    handled: u64,
}

impl<M: Model, Q: PendingEvents> Simulation<M, Q> {
    /// A simulation at time zero with nothing pending.
    pub fn new(model: M, queue: Q) -> Self {
        Self { model, pending: Scheduler { queue, now: SimTime::ZERO, scheduled: 0 }, handled: 0 }
    }

    /// Events handled so far.
    pub fn handled(&self) -> u64 {
        self.handled
    }

    /// Handles events until the next one is at or after `horizon`, or none is left.
    pub fn run_until(&mut self, horizon: SimTime) {
        while let Some((time, word)) = self.pending.queue.pop_before(horizon.0) {
            if let Some(upcoming) = self.pending.queue.opened() {
                self.model.read_ahead(upcoming);
            }
            self.pending.now = SimTime(time);
            self.handled += 1;
            self.model.handle(SimTime(time), word, &mut self.pending);
        }
    }
}
