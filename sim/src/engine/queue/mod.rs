//! The pending-event set: events wait here until their time comes.
//!
//! The order is that of (time, word). It is total and does not depend on when events were added, so every queue gives
//! the same run bit for bit: [`QuadHeap`] is the oracle that [`Ladder`] is tested against, and the faster of the two
//! from a thousand pending events up is the ladder.

mod ladder;
mod quad_heap;
mod wheel;
mod widths;

pub use ladder::Ladder;
pub use quad_heap::QuadHeap;

/// A set of pending events, taken in the order of (time, word).
pub trait PendingEvents {
    /// Adds the event `word` at `time` \[ns\]. `time` is never before the last event taken.
    fn push(&mut self, time: u64, word: u32);
    /// Takes the earliest event if its time is before `horizon` \[ns\]. An event at `u64::MAX` is never taken.
    fn pop_before(&mut self, horizon: u64) -> Option<(u64, u32)>;
    /// Events pending.
    fn len(&self) -> usize;
    /// Whether nothing is pending.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Once after each group of buckets that was begun: events that will be due soon after those of that group, the
    /// word in the low 32 bits of each, so that a model can load the rows they will need together. They are in no
    /// order, and an event may be missing; none is named that is not pending. `None` in between, and always for
    /// queues that have no buckets.
    #[inline(always)]
    fn opened(&mut self) -> Option<&[u64]> {
        None
    }
    /// Bytes that the set occupies, spare capacity included.
    fn bytes(&self) -> usize;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a test does next to both queues.
    #[derive(Clone, Debug)]
    enum Step {
        /// Add events this long after the last one taken.
        Push(Vec<u64>),
        /// Take up to so many before a horizon that is this far ahead of the last one taken.
        Pop(usize, u64),
    }

    fn delays() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(0),
            0..4u64,
            0..1_000u64,
            0..10_000_000_000u64,
            (0u32..63).prop_map(|bits| 1 << bits),
            Just(u64::MAX),
        ]
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let push = prop_oneof![
            prop::collection::vec(delays(), 1..40),
            (delays(), 1..900usize).prop_map(|(delay, count)| vec![delay; count]),
            (0..5_000_000u64, 1..900usize)
                .prop_map(|(gap, count)| (0..count as u64).map(|i| i * gap % 1_000_000_007).collect()),
        ];
        let pop =
            (0..1_200usize, prop_oneof![Just(u64::MAX), delays()]).prop_map(|(n, ahead)| Step::Pop(n, ahead));
        prop::collection::vec(prop_oneof![push.prop_map(Step::Push), pop], 1..40)
    }

    /// Drives the ladder and the heap through the same steps, and empties both at the end.
    fn same_sequence(start: u64, steps: &[Step], hold: bool) {
        let (mut ladder, mut heap) = (Ladder::default(), QuadHeap::default());
        let (mut now, mut word) = (start, 0u32);
        let mut add = |ladder: &mut Ladder, heap: &mut QuadHeap, time: u64| {
            // Words in an order of their own, so that ties are not broken by insertion.
            word = word.wrapping_add(0x9E37_79B1);
            ladder.push(time, word);
            heap.push(time, word);
        };
        let drain = Step::Pop(usize::MAX, u64::MAX);
        for (at, step) in steps.iter().chain([&drain]).enumerate() {
            match step {
                Step::Push(delays) => {
                    for delay in delays {
                        add(&mut ladder, &mut heap, now.saturating_add(*delay));
                    }
                }
                Step::Pop(count, ahead) => {
                    let horizon = now.saturating_add(*ahead);
                    for taken in 0..*count {
                        let (got, want) = (ladder.pop_before(horizon), heap.pop_before(horizon));
                        assert_eq!(got, want, "step {at}, event {taken}");
                        assert_eq!(ladder.len(), heap.len());
                        let Some((time, taken_word)) = got else { break };
                        now = time;
                        if hold && at < steps.len() {
                            let delay = u64::from(taken_word).wrapping_mul(0xD1B5_4A32_D192_ED03)
                                >> (taken_word % 64);
                            add(&mut ladder, &mut heap, now.saturating_add(delay));
                        }
                    }
                }
            }
        }
        assert!(ladder.pop_before(u64::MAX).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_ladder_gives_the_sequence_of_the_heap(
            start in prop_oneof![Just(0), any::<u64>(), (u64::MAX - 1_000_000)..u64::MAX],
            steps in steps(),
            hold: bool,
        ) {
            same_sequence(start, &steps, hold);
        }
    }

    /// A small generator of test times (splitmix64).
    fn mix(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Goal: widths are re-chosen many times on the way without touching the order. Method: hold model whose mean
    /// delay and population jump by factors of thousands, compared event by event.
    #[test]
    fn order_survives_changes_of_rate_by_orders_of_magnitude() {
        let (mut ladder, mut heap) = (Ladder::default(), QuadHeap::default());
        let (mut state, mut now, mut word) = (1, 0, 0u32);
        for (mean, added) in [
            (1_000_000_000u64, 2_000u32),
            (1_000, 0),
            (1, 20_000),
            (1 << 40, 0),
            (1_000_000, 1),
            (0, 30_000),
            (50_000_000, 0),
        ] {
            for _ in 0..added {
                let time = now + mix(&mut state) % (2 * mean + 1);
                ladder.push(time, word);
                heap.push(time, word);
                word += 1;
            }
            for _ in 0..60_000 {
                let got = ladder.pop_before(u64::MAX);
                assert_eq!(got, heap.pop_before(u64::MAX));
                let (time, taken) = got.expect("the hold model keeps its events");
                now = time;
                let time = now + mix(&mut state) % (2 * mean + 1);
                ladder.push(time, taken);
                heap.push(time, taken);
            }
        }
    }

    /// Goal: the rows a model loads ahead are those of events that come, and nearly all that come were announced.
    #[test]
    fn opened_buckets_announce_most_events_before_they_are_due() {
        let mut ladder = Ladder::default();
        let mut state = 7;
        let population = 20_000u32;
        for word in 0..population {
            ladder.push(mix(&mut state) % 2_000_000_000, word);
        }
        let mut announced = vec![false; population as usize];
        let (mut hits, mut events) = (0, 0);
        for step in 0..200_000 {
            let (time, word) = ladder.pop_before(u64::MAX).expect("the hold model keeps its events");
            if let Some(upcoming) = ladder.opened() {
                for &entry in upcoming {
                    announced[entry as u32 as usize] = true;
                }
            }
            assert!(ladder.opened().is_none(), "announced twice");
            if step >= 100_000 {
                events += 1;
                hits += u32::from(announced[word as usize]);
            }
            announced[word as usize] = false;
            ladder.push(time + mix(&mut state) % 2_000_000_000, word);
        }
        assert!(hits * 100 > events * 95, "{hits} of {events} announced");
    }

    /// Goal: memory follows the population down. Method: a million events, all but a thousand of them taken for good.
    #[test]
    fn memory_is_released_when_the_population_shrinks() {
        let mut ladder = Ladder::default();
        let mut state = 3;
        for word in 0..1_000_000 {
            ladder.push(mix(&mut state) % 1_000_000_000, word);
        }
        let full = ladder.bytes();
        assert!(full < 24_000_000, "{full} bytes for a million events");
        while ladder.len() > 1_000 {
            ladder.pop_before(u64::MAX);
        }
        for _ in 0..20_000 {
            let (time, word) = ladder.pop_before(u64::MAX).expect("a thousand are left");
            ladder.push(time + mix(&mut state) % 1_000_000_000, word);
        }
        assert!(ladder.bytes() < 1_000_000, "{} bytes for a thousand events", ladder.bytes());
    }
}
