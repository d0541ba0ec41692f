//! Random choices of a case: the same for the same seed, program and number.

use evenkeel_sim::engine::{Draws, Stream};
use evenkeel_sim::ids::StreamId;

/// Draws one case's choices, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Draws);

impl Dice {
    /// Those of case `number` of the program with index `program`.
    pub(crate) fn new(seed: u64, program: u64, number: u64) -> Self {
        Self(Stream::new(seed, 0, StreamId::LiveCases).draws(program, number))
    }

    /// A uniform integer below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A uniform integer from `low` to `high`, both included.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Whether something happens that does in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, of which there is at least one.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// One of `items`, each as often as its number says.
    pub(crate) fn weighted<T: Copy>(&mut self, items: &[(u64, T)]) -> T {
        let mut left = self.below(items.iter().map(|(weight, _)| weight).sum());
        for &(weight, item) in items {
            if left < weight {
                return item;
            }
            left -= weight;
        }
        unreachable!("the draw is below the sum")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_case_draws_the_same_and_another_does_not() {
        let draw = |seed, program, number| Dice::new(seed, program, number).below(u64::MAX);
        assert_eq!(draw(1, 0, 3), draw(1, 0, 3));
        assert_ne!(draw(1, 0, 3), draw(1, 0, 4));
        assert_ne!(draw(1, 0, 3), draw(1, 1, 3));
        assert_ne!(draw(1, 0, 3), draw(2, 0, 3));
    }

    #[test]
    fn weights_are_shares() {
        let mut dice = Dice::new(7, 0, 0);
        let heavy = (0..1_000).filter(|_| dice.weighted(&[(3, true), (1, false)])).count();
        assert!((700..800).contains(&heavy), "{heavy} of 1000 draws with weight 3 of 4");
    }
}
