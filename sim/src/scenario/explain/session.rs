//! Where sessions live, as a scenario writes it.

use std::fmt::Write as _;

use super::{Document, duration, or_none, text};
use crate::engine::{Distribution, SimDuration};
use crate::scenario::quantity::{Quantity, show_distribution, show_size};
use crate::scenario::{SessionLife, Strategy};
use crate::session::{OnStoreError, SessionPlan, StoreSession};
use crate::store::options::StoreOptionVisitor;
use crate::store::plan::{HybridRule, StorePlan};

/// `[session]`.
pub(super) fn show_life(d: &mut Document, life: &SessionLife) {
    d.header("[session]");
    d.line("bytes", show_distribution(&life.bytes, Quantity::Count));
    d.line("writes", format!("{:?}", life.writes));
}

/// `session` of a strategy.
pub(super) fn show_session(d: &mut Document, strategy: &Strategy) {
    let session = match &strategy.session {
        SessionPlan::Local => "{ local = {} }".into(),
        SessionPlan::Shared { latency } => {
            format!("{{ shared = {{ latency = {} }} }}", show_distribution(latency, Quantity::Time))
        }
        SessionPlan::Store(session) => show_store_session(session),
    };
    d.line("session", session);
}

fn show_store_session(session: &StoreSession) -> String {
    let mut list = List::default();
    session.store.clone().options(&mut list);
    if session.store.can_fail() {
        let word = match session.on_store_error {
            OnStoreError::Fail => "fail",
            OnStoreError::Login => "login",
        };
        list.add("on_store_error", text(word));
    }
    let store = format!("{{ {} = {{ {} }} }}", session.store.name(), list.0);
    let Some(rule) = session.rule else { return store };
    let mut list = List::default();
    rule.clone().options(&mut list);
    list.add("store", store);
    format!("{{ hybrid = {{ {} }} }}", list.0)
}

/// An option for the reference page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOption {
    /// Its name.
    pub name: &'static str,
    /// Its default, as a scenario writes it.
    pub default: String,
    /// What it means.
    pub meaning: &'static str,
    /// The settings beside which it has an effect; empty if it always has one.
    pub beside: &'static str,
}

/// The options of a store with their defaults; none of a name that is no store's with options.
pub fn store_options(store: &str) -> Vec<StoreOption> {
    if store == "hybrid" {
        return shown("", |table| HybridRule::default().options(table));
    }
    StorePlan::default_of(store).map_or(Vec::new(), |plan| options_of(&plan))
}

/// The options of a store, those that have no effect as it is among them.
pub(in crate::scenario) fn options_of(store: &StorePlan) -> Vec<StoreOption> {
    let mut all = shown("", |table| store.clone().options(table));
    for (beside, mut variant) in store.variants() {
        let more = shown(beside, |table| variant.options(table));
        let new: Vec<_> = more.into_iter().filter(|new| all.iter().all(|old| old.name != new.name)).collect();
        all.extend(new);
    }
    all
}

fn shown(beside: &'static str, show: impl FnOnce(&mut Table)) -> Vec<StoreOption> {
    let mut table = Table(Vec::new());
    show(&mut table);
    let option = |(name, default, meaning)| StoreOption { name, default, meaning, beside };
    table.0.into_iter().map(option).collect()
}

/// Options as the inside of an inline table.
#[derive(Default)]
struct List(String);

impl List {
    fn add(&mut self, name: &str, value: String) {
        let comma = if self.0.is_empty() { "" } else { ", " };
        write!(self.0, "{comma}{name} = {value}").expect("writing to a string");
    }
}

struct Table(Vec<(&'static str, String, &'static str)>);

/// Takes an option as a scenario writes it.
trait Written {
    fn option(&mut self, name: &'static str, value: String, meaning: &'static str);
}

impl Written for List {
    fn option(&mut self, name: &'static str, value: String, _: &'static str) {
        self.add(name, value);
    }
}

impl Written for Table {
    fn option(&mut self, name: &'static str, value: String, meaning: &'static str) {
        self.0.push((name, value, meaning));
    }
}

impl<W: Written> StoreOptionVisitor for W {
    fn whole(&mut self, name: &'static str, meaning: &'static str, value: &mut u32, _: (u32, u32)) {
        self.option(name, value.to_string(), meaning);
    }

    fn limit(&mut self, name: &'static str, meaning: &'static str, value: &mut Option<u32>) {
        self.option(name, or_none(*value, |limit| limit.to_string()), meaning);
    }

    fn factor(&mut self, name: &'static str, meaning: &'static str, value: &mut f64) {
        self.option(name, format!("{value:?}"), meaning);
    }

    fn bytes(&mut self, name: &'static str, meaning: &'static str, value: &mut u64) {
        self.option(name, text(&show_size(*value)), meaning);
    }

    fn bytes_limit(&mut self, name: &'static str, meaning: &'static str, value: &mut Option<u64>) {
        self.option(name, or_none(*value, |limit| text(&show_size(limit))), meaning);
    }

    fn duration(&mut self, name: &'static str, meaning: &'static str, value: &mut SimDuration) {
        self.option(name, duration(*value), meaning);
    }

    fn law(&mut self, name: &'static str, meaning: &'static str, value: &mut Distribution) {
        self.option(name, show_distribution(value, Quantity::Time), meaning);
    }

    fn law_or_none(&mut self, name: &'static str, meaning: &'static str, value: &mut Option<Distribution>) {
        self.option(name, or_none(value.as_ref(), |law| show_distribution(law, Quantity::Time)), meaning);
    }

    fn flag(&mut self, name: &'static str, meaning: &'static str, value: &mut bool) {
        self.option(name, value.to_string(), meaning);
    }

    fn word(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        value: &mut usize,
        words: &'static [&'static str],
    ) {
        let word = words[*value];
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        self.option(name, if is_number { word.to_owned() } else { text(word) }, meaning);
    }

    fn save(&mut self, name: &'static str, meaning: &'static str, value: &mut Vec<(u32, u32)>) {
        let pairs: Vec<String> =
            value.iter().map(|(seconds, changes)| format!("{seconds} {changes}")).collect();
        self.option(name, text(&pairs.join(" ")), meaning);
    }
}
