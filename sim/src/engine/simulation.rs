//! The loop that drives a model: take the earliest pending event, let the model handle it, until the horizon.

use super::queue::PendingEvents;
use super::time::SimTime;

/// What a simulation is of. The engine knows event words, never their meaning.
pub trait Model {
    /// Handles the event `word` that is due now; schedules what follows.
    fn handle<Q: PendingEvents>(&mut self, now: SimTime, word: u32, pending: &mut Scheduler<Q>);

    /// Told once for each group of buckets that the queue begins of the events that come after it, the word in the
    /// low 32 bits of each, in no particular order and without any promise, so that the model can touch the rows that
    /// they will need. Loads that do not depend on each other miss the cache together; a sum of one field of each
    /// row, passed to [`std::hint::black_box`], does it. Must not change the model's state.
    #[inline(always)]
    fn read_ahead(&mut self, _upcoming: &[u64]) {}
}

/// The pending events, as a model sees them: it may only add.
#[derive(Debug)]
pub struct Scheduler<Q> {
    queue: Q,
    /// Time of the event that is being handled.
    now: SimTime,
}

impl<Q: PendingEvents> Scheduler<Q> {
    /// Puts the event `word` at `time`. No two pending events may share both.
    #[inline(always)]
    pub fn at(&mut self, time: SimTime, word: u32) {
        debug_assert!(time >= self.now, "an event in the past");
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
    /// Events handled so far.
    handled: u64,
}

impl<M: Model, Q: PendingEvents> Simulation<M, Q> {
    /// A simulation at time zero with nothing pending.
    pub fn new(model: M, queue: Q) -> Self {
        Self { model, pending: Scheduler { queue, now: SimTime::ZERO }, handled: 0 }
    }

    /// Events handled so far.
    pub fn handled(&self) -> u64 {
        self.handled
    }

    /// The same simulation with its model put into, or taken out of, another one.
    pub fn map_model<N: Model>(self, map: impl FnOnce(M) -> N) -> Simulation<N, Q> {
        Simulation { model: map(self.model), pending: self.pending, handled: self.handled }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::queue::{Ladder, QuadHeap};
    use crate::engine::time::SimDuration;

    /// Every event schedules the next of its word, a little later for higher words.
    #[derive(Debug, Default)]
    struct Metronomes {
        ticks: Vec<(SimTime, u32)>,
        announced: usize,
    }

    impl Model for Metronomes {
        fn handle<Q: PendingEvents>(&mut self, now: SimTime, word: u32, pending: &mut Scheduler<Q>) {
            self.ticks.push((now, word));
            pending.at(now + SimDuration::from_millis(u64::from(word) + 1), word);
        }

        fn read_ahead(&mut self, upcoming: &[u64]) {
            self.announced += upcoming.len();
        }
    }

    fn run<Q: PendingEvents>(queue: Q, horizons: &[u64]) -> Simulation<Metronomes, Q> {
        let mut simulation = Simulation::new(Metronomes::default(), queue);
        for word in 0..50 {
            simulation.pending.at(SimTime::ZERO, word);
        }
        for &horizon in horizons {
            simulation.run_until(SimTime::from_millis(horizon));
        }
        simulation
    }

    #[test]
    fn a_run_in_pieces_is_the_run_in_one_with_any_queue() {
        let whole = run(QuadHeap::default(), &[1_000]);
        let pieces = run(Ladder::default(), &[1, 2, 333, 334, 1_000]);
        assert_eq!(whole.model.ticks, pieces.model.ticks);
        assert_eq!(whole.handled(), whole.model.ticks.len() as u64);
        assert!(whole.model.ticks.iter().all(|&(time, _)| time < SimTime::from_millis(1_000)));
        assert_eq!(pieces.pending.pending(), 50);
    }

    #[test]
    fn events_are_announced_by_the_ladder_and_not_by_the_heap() {
        assert_eq!(run(QuadHeap::default(), &[1_000]).model.announced, 0);
        assert!(run(Ladder::default(), &[1_000]).model.announced > 0);
    }
}
