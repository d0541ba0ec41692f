//! Where sessions live, and what they are like.

use super::options::OptionReader;
use crate::engine::{Distribution, SimDuration};
use crate::scenario::SessionLife;
use crate::scenario::explain::session::options_of;
use crate::scenario::quantity::{Quantity, parse_size};
use crate::scenario::section::{Item, Section};
use crate::session::{OnStoreError, SessionPlan, StoreSession};
use crate::store::catalogue::STORES;
use crate::store::options::StoreOptionVisitor;
use crate::store::plan::{HybridRule, LocalPlan, StorePlan};

/// `session` of a strategy.
pub(super) fn session(item: &Item<'_>) -> Option<SessionPlan> {
    let names: Vec<&str> = STORES.iter().map(|store| store.name).collect();
    let store = item.section("a table such as { local = {} }")?.single("session store", &names)?;
    let mut section = store.section("a table of the store's options")?;
    let plan = match store.key {
        "shared" => {
            let latency = section.required("latency", |item| item.distribution(Quantity::Time));
            latency.map(|latency| SessionPlan::Shared { latency })
        }
        "hybrid" => hybrid(&mut section),
        name => of_its_own(name, &mut section, None),
    };
    section.finish();
    plan
}

/// A store by its name, with its options.
fn of_its_own(name: &str, section: &mut Section<'_>, rule: Option<HybridRule>) -> Option<SessionPlan> {
    let mut store = StorePlan::default_of(name)?;
    let mut reader = OptionReader::new(section);
    store.options(&mut reader);
    let all_good = reader.all_good;
    for option in options_of(&store).iter().filter(|option| !option.beside.is_empty()) {
        let why = |name: &str| format!("`{name}` has no effect in this `{}`", store.name());
        section.refuse(&[option.name], why, &format!("it has one beside `{}`", option.beside));
    }
    if let StorePlan::Local(LocalPlan { max_sessions: None, on_disk: false }) = store {
        // Nothing is to be modelled beyond the server's own memory.
        return all_good.then_some(SessionPlan::Local);
    }
    // The servers' memory cannot be out of reach.
    let on_store_error = if store.can_fail() {
        section.optional("on_store_error", OnStoreError::Fail, |item| {
            item.one_of(&[("fail", OnStoreError::Fail), ("login", OnStoreError::Login)])
        })
    } else {
        Some(OnStoreError::Fail)
    };
    all_good.then_some(SessionPlan::Store(StoreSession { store, rule, on_store_error: on_store_error? }))
}

/// `hybrid`: the rule's options and the `store`.
fn hybrid(section: &mut Section<'_>) -> Option<SessionPlan> {
    let mut rule = HybridRule::default();
    let mut reader = OptionReader::new(section);
    rule.options(&mut reader);
    let all_good = reader.all_good;
    let plan = section.required("store", |item| {
        const KNOWN: [&str; 4] = ["mysql", "redis", "memcached", "write_behind"];
        let store = item.section("a table such as { mysql = {} }")?.single("session store", &KNOWN)?;
        let mut section = store.section("a table of the store's options")?;
        let plan = of_its_own(store.key, &mut section, Some(rule));
        section.finish();
        plan
    });
    plan.filter(|_| all_good)
}

/// `[session]`: what the site's sessions are like, wherever they live.
pub(super) fn life(item: &Item<'_>) -> Option<SessionLife> {
    let default = SessionLife::default();
    let mut section = item.section("a table with `bytes` and `writes`")?;
    let s = &mut section;
    let bytes = s.optional("bytes", default.bytes, |item| item.distribution(Quantity::Count));
    let writes = s.optional("writes", default.writes, |item| {
        let share = item.number()?;
        if !(0.0..=1.0).contains(&share) {
            item.error(format!(
                "`writes` is the share of clicks that write, from 0 to 1, got {}",
                item.got()
            ));
            return None;
        }
        Some(share)
    });
    section.finish();
    Some(SessionLife { bytes: bytes?, writes: writes? })
}

/// A size such as `"64MB"`, above zero.
fn size(item: &Item<'_>) -> Option<u64> {
    let help = "a size is a string with a unit: B, KB, MB or GB, each 1024 of the one before";
    let read = item.text().and_then(parse_size).filter(|&bytes| bytes > 0);
    if read.is_none() {
        item.error_with_help(format!("`{}` must be a size above zero, got {}", item.key, item.got()), help);
    }
    read
}

/// Pairs of seconds and changes, as `redis.conf` writes them in one line.
fn save(item: &Item<'_>) -> Option<Vec<(u32, u32)>> {
    let numbers: Option<Vec<u32>> = item
        .string()?
        .split_whitespace()
        .map(|word| word.parse().ok().filter(|&number| number > 0))
        .collect();
    let pairs = numbers.filter(|numbers| numbers.len().is_multiple_of(2));
    if pairs.is_none() {
        let message = format!("`{}` must be pairs of seconds and changes, got {}", item.key, item.got());
        item.error_with_help(message, "such as \"3600 1 300 100\", or \"\" for no snapshots");
    }
    Some(pairs?.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

impl StoreOptionVisitor for OptionReader<'_, '_> {
    fn whole(&mut self, name: &'static str, _: &'static str, value: &mut u32, (min, max): (u32, u32)) {
        self.set(name, value, |item| item.integer(min.into(), max.into()).map(|number| number as u32));
    }

    fn limit(&mut self, name: &'static str, _: &'static str, value: &mut Option<u32>) {
        self.set(name, value, |item| item.or_none(|item| item.u32_at_least(1)));
    }

    fn factor(&mut self, name: &'static str, _: &'static str, value: &mut f64) {
        self.set(name, value, |item| {
            let number = item.number()?;
            // memcached refuses factors up to 1; ever smaller steps would make ever more classes.
            if !(1.01..=100.0).contains(&number) {
                item.error(format!("`{name}` must be from 1.01 to 100, got {}", item.got()));
                return None;
            }
            Some(number)
        });
    }

    fn bytes(&mut self, name: &'static str, _: &'static str, value: &mut u64) {
        self.set(name, value, |item| size(&item));
    }

    fn bytes_limit(&mut self, name: &'static str, _: &'static str, value: &mut Option<u64>) {
        self.set(name, value, |item| item.or_none(size));
    }

    fn duration(&mut self, name: &'static str, _: &'static str, value: &mut SimDuration) {
        self.set(name, value, |item| item.duration());
    }

    fn law(&mut self, name: &'static str, _: &'static str, value: &mut Distribution) {
        self.set(name, value, |item| item.distribution(Quantity::Time));
    }

    fn law_or_none(&mut self, name: &'static str, _: &'static str, value: &mut Option<Distribution>) {
        self.set(name, value, |item| item.or_none(|item| item.distribution(Quantity::Time)));
    }

    fn flag(&mut self, name: &'static str, _: &'static str, value: &mut bool) {
        self.set(name, value, |item| item.boolean());
    }

    fn word(
        &mut self,
        name: &'static str,
        _: &'static str,
        value: &mut usize,
        words: &'static [&'static str],
    ) {
        self.set(name, value, |item| {
            // Programs write some of these as numbers.
            let written = if item.is_integer() { item.got() } else { item.string()?.to_owned() };
            let place = words.iter().position(|word| *word == written);
            if place.is_none() {
                item.unknown(&format!("`{name}`"), &written, words);
            }
            place
        });
    }

    fn save(&mut self, name: &'static str, _: &'static str, value: &mut Vec<(u32, u32)>) {
        self.set(name, value, |item| save(&item));
    }
}
