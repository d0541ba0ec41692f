//! Options of algorithms: each algorithm shows its own, one by one, and what looks at them reads, prints or checks them.

use crate::engine::SimDuration;

/// What is done with the options of an algorithm: a scenario's reader sets them, `evenkeel explain` prints them.
///
/// An algorithm names each option once, with the limits that hold for it, so the reader, the printer and the algorithm
/// cannot disagree.
pub trait OptionVisitor {
    /// A whole number from `min` to `max`.
    fn whole(&mut self, name: &'static str, value: &mut u32, min: u32, max: u32);

    /// A prime number from 2 to `max`.
    fn prime(&mut self, name: &'static str, value: &mut u32, max: u32);

    /// A number from `min` to `max`.
    fn number(&mut self, name: &'static str, value: &mut f64, min: f64, max: f64);

    /// A time of at least `min`.
    fn duration(&mut self, name: &'static str, value: &mut SimDuration, min: SimDuration);

    /// A time of at least `min` that limits something, or no limit.
    fn limit(&mut self, name: &'static str, value: &mut Option<SimDuration>, min: SimDuration);

    /// One of some words; `value` is the place of the word.
    fn word(&mut self, name: &'static str, value: &mut usize, words: &'static [&'static str]);

    /// Yes or no.
    fn flag(&mut self, name: &'static str, value: &mut bool);
}

/// Whether `number` is prime.
pub fn is_prime(number: u32) -> bool {
    let divides = |divisor: u32| number.is_multiple_of(divisor);
    number >= 2 && !(2..).take_while(|&divisor| u64::from(divisor).pow(2) <= u64::from(number)).any(divides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_told_from_products() {
        let primes: Vec<_> = (0..30).filter(|&number| is_prime(number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65_537) && is_prime(655_373) && is_prime(4_294_967_291));
        assert!(!is_prime(65_535) && !is_prime(65_521 * 65_521) && !is_prime(u32::MAX));
    }
}
