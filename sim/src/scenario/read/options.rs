//! Options that an algorithm shows of itself.

use crate::balancer::{Balancer, OptionVisitor, is_prime};
use crate::engine::SimDuration;
use crate::scenario::section::{Item, Section};

/// Sets an algorithm's options to what the section says. Says whether nothing was wrong.
pub(super) fn read_options(section: &mut Section<'_>, algorithm: &mut impl Balancer) -> bool {
    let mut reader = OptionReader::new(section);
    algorithm.options(&mut reader);
    reader.all_good
}

/// A time of at least `min`, or `"none"`.
pub(super) fn limit(item: &Item<'_>, min: SimDuration) -> Option<Option<SimDuration>> {
    item.or_none(|item| at_least(item, min))
}

fn at_least(item: &Item<'_>, min: SimDuration) -> Option<SimDuration> {
    let duration = item.duration()?;
    if duration < min {
        item.error(format!("`{}` must be at least {min}, got {}", item.key, item.got()));
        return None;
    }
    Some(duration)
}

/// Sets the options that an algorithm or a store shows of itself to what the section says.
pub(super) struct OptionReader<'s, 'a> {
    section: &'s mut Section<'a>,
    /// Whether nothing was wrong so far.
    pub(super) all_good: bool,
}

impl<'s, 'a> OptionReader<'s, 'a> {
    pub(super) fn new(section: &'s mut Section<'a>) -> Self {
        Self { section, all_good: true }
    }

    /// Sets an option to what `read` makes of the key of that name, if the section has it.
    pub(super) fn set<T>(
        &mut self,
        name: &'static str,
        value: &mut T,
        read: impl FnOnce(Item<'a>) -> Option<T>,
    ) {
        let Some(item) = self.section.take(name) else { return };
        match read(item) {
            Some(read) => *value = read,
            None => self.all_good = false,
        }
    }
}

impl OptionVisitor for OptionReader<'_, '_> {
    fn whole(&mut self, name: &'static str, value: &mut u32, min: u32, max: u32) {
        self.set(name, value, |item| item.integer(min.into(), max.into()).map(|number| number as u32));
    }

    fn prime(&mut self, name: &'static str, value: &mut u32, max: u32) {
        self.set(name, value, |item| {
            let number = item.integer(2, max.into())? as u32;
            if !is_prime(number) {
                let next = (number..=max).find(|&number| is_prime(number));
                let help =
                    next.map_or_else(|| "take a smaller one".into(), |next| format!("the next is {next}"));
                item.error_with_help(format!("`{name}` must be a prime number, got {number}"), help);
                return None;
            }
            Some(number)
        });
    }

    fn number(&mut self, name: &'static str, value: &mut f64, min: f64, max: f64) {
        self.set(name, value, |item| {
            let number = item.number_at_least(min)?;
            if number > max {
                item.error(format!("`{name}` must be at most {max}, got {}", item.got()));
                return None;
            }
            Some(number)
        });
    }

    fn duration(&mut self, name: &'static str, value: &mut SimDuration, min: SimDuration) {
        self.set(name, value, |item| at_least(&item, min));
    }

    fn limit(&mut self, name: &'static str, value: &mut Option<SimDuration>, min: SimDuration) {
        self.set(name, value, |item| limit(&item, min));
    }

    fn word(&mut self, name: &'static str, value: &mut usize, words: &'static [&'static str]) {
        self.set(name, value, |item| {
            let written = item.string()?;
            let place = words.iter().position(|word| *word == written);
            if place.is_none() {
                item.unknown("word", written, words);
            }
            place
        });
    }

    fn flag(&mut self, name: &'static str, value: &mut bool) {
        self.set(name, value, |item| item.boolean());
    }
}
