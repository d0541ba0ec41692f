//! Typed reading of the tree: a [`Section`] is a table of which each key is asked for by name, and an [`Item`] a key
//! with its value. Both report what is wrong with a value at its place; a section, when it is finished, reports the
//! keys that nobody asked for.

use std::net::IpAddr;
use std::rc::Rc;

use super::diagnostic::{Report, Source, Span, is_similar, similar};
use super::tree::{Entry, Node, Table, Value};

/// A key and its value, or an element of an array.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    report: &'a Report,
    /// The key; for an element that of its array.
    pub key: &'a str,
    pub key_span: Span,
    node: &'a Node,
    /// The path of the section that holds it, as the reader of an override would write it.
    parent: Rc<str>,
    /// Its index, for an element of an array.
    index: Option<usize>,
}

impl<'a> Item<'a> {
    /// The value's place.
    pub fn span(&self) -> Span {
        self.node.span
    }

    /// The value in a few words, for messages.
    pub fn got(&self) -> String {
        self.node.value.describe()
    }

    pub fn report(&self) -> &'a Report {
        self.report
    }

    pub fn error(&self, message: String) {
        self.report.error(self.span(), message);
    }

    pub fn error_with_help(&self, message: String, help: impl Into<String>) {
        self.report.error_with_help(self.span(), message, help);
    }

    /// Reports that the value is none of the `known` words.
    pub fn unknown(&self, kind: &str, got: &str, known: impl IntoIterator<Item = impl AsRef<str>>) {
        let message = format!("unknown {kind} `{got}`");
        match similar("name", got, known) {
            Some(help) => self.error_with_help(message, help),
            None => self.error(message),
        }
    }

    fn wrong_type(&self, expected: &str) {
        self.error(format!("`{}` must be {expected}, got {}", self.key, self.got()));
    }

    /// The text, if it is a string; nothing is reported.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value as TOML.
    pub fn toml(&self) -> String {
        self.node.value.to_toml()
    }

    /// The elements' or entries' container is neither an array nor a table.
    pub fn is_scalar(&self) -> bool {
        !matches!(self.node.value, Value::Array(_) | Value::Table(_))
    }

    /// What `read` makes of it, or nothing for the word `none`.
    pub fn or_none<T>(&self, read: impl FnOnce(&Self) -> Option<T>) -> Option<Option<T>> {
        if self.text() == Some("none") { Some(None) } else { read(self).map(Some) }
    }

    pub fn is_integer(&self) -> bool {
        matches!(self.node.value, Value::Integer(_))
    }

    pub fn string(&self) -> Option<&'a str> {
        let text = self.text();
        if text.is_none() {
            self.wrong_type("a string");
        }
        text
    }

    /// A name: not empty, without control characters, which no table or chart could show.
    pub fn name(&self) -> Option<&'a str> {
        let name = self.string()?;
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            self.error(format!("`{}` must be some readable text, got {:?}", self.key, name));
            return None;
        }
        Some(name)
    }

    pub fn boolean(&self) -> Option<bool> {
        match self.node.value {
            Value::Boolean(truth) => Some(truth),
            _ => {
                self.wrong_type("true or false");
                None
            }
        }
    }

    /// A whole number from `min` to `max`.
    pub fn integer(&self, min: u64, max: u64) -> Option<u64> {
        let Value::Integer(number) = self.node.value else {
            self.wrong_type("a whole number");
            return None;
        };
        if number < i128::from(min) {
            self.error(format!("`{}` must be at least {min}, got {number}", self.key));
        } else if number > i128::from(max) {
            self.error(format!("`{}` must be at most {max}, got {number}", self.key));
        } else {
            return u64::try_from(number).ok();
        }
        None
    }

    /// A whole number from `min` that fits 32 bits.
    pub fn u32_at_least(&self, min: u32) -> Option<u32> {
        self.integer(min.into(), u32::MAX.into()).map(|number| number as u32)
    }

    /// A finite number, whole or not.
    pub fn number(&self) -> Option<f64> {
        let number = match self.node.value {
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            _ => {
                self.wrong_type("a number");
                return None;
            }
        };
        if !number.is_finite() {
            self.wrong_type("a finite number");
            return None;
        }
        Some(number)
    }

    pub fn number_at_least(&self, min: f64) -> Option<f64> {
        let number = self.number()?;
        if number < min {
            self.error(format!("`{}` must be at least {min}, got {}", self.key, self.got()));
            return None;
        }
        Some(number)
    }

    pub fn number_above_zero(&self) -> Option<f64> {
        let number = self.number()?;
        if number <= 0.0 {
            self.error(format!("`{}` must be above 0, got {}", self.key, self.got()));
            return None;
        }
        Some(number)
    }

    /// A probability or a share.
    pub fn probability(&self) -> Option<f64> {
        let probability = self.number()?;
        if !(0.0..=1.0).contains(&probability) {
            self.error(format!("`{}` is a probability from 0 to 1, got {}", self.key, self.got()));
            return None;
        }
        Some(probability)
    }

    /// An IPv4 or IPv6 address.
    pub fn address(&self) -> Option<IpAddr> {
        let address = self.string()?.parse().ok();
        if address.is_none() {
            self.error(format!("`{}` must be an IP address, got {}", self.key, self.got()));
        }
        address
    }

    /// One of a few words.
    pub fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let got = self.string()?;
        let found = words.iter().find(|(word, _)| *word == got);
        if found.is_none() {
            self.unknown(&format!("`{}`", self.key), got, words.iter().map(|(word, _)| word));
        }
        found.map(|&(_, value)| value)
    }

    /// The table as a section. `expected` says in a message what the table would be.
    pub fn section(&self, expected: &str) -> Option<Section<'a>> {
        let Value::Table(table) = &self.node.value else {
            self.wrong_type(expected);
            return None;
        };
        let mut path = self.parent.to_string();
        for part in [Some(quoted(self.key)), self.index.map(|i| i.to_string())].into_iter().flatten() {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&part);
        }
        Some(Section::new(self.report, path, self.node.span, table))
    }

    /// A section without keys, for a thing that is named without its table of options.
    pub fn empty_section(&self) -> Section<'a> {
        static EMPTY: Table = Table { entries: Vec::new() };
        Section::new(self.report, self.parent.to_string(), self.node.span, &EMPTY)
    }

    /// The elements of an array.
    pub fn elements(&self, expected: &str) -> Option<Vec<Item<'a>>> {
        let Value::Array(items) = &self.node.value else {
            self.wrong_type(expected);
            return None;
        };
        let element = |(i, node)| Item { node, index: Some(i), ..self.clone() };
        Some(items.iter().enumerate().map(element).collect())
    }
}

/// A key as a dotted path writes it.
fn quoted(key: &str) -> String {
    if key.contains(['.', '=', '"']) { format!("'{key}'") } else { key.to_owned() }
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    report: &'a Report,
    path: Rc<str>,
    span: Span,
    table: &'a Table,
    /// Whether each entry has been asked for.
    read: Vec<bool>,
    /// The keys that were asked for, for the remedy of an unknown one.
    known: Vec<&'static str>,
    /// Keys that must be there and are not, with remedies.
    missing: Vec<(&'static str, String)>,
}

impl<'a> Section<'a> {
    fn new(report: &'a Report, path: String, span: Span, table: &'a Table) -> Self {
        let read = vec![false; table.entries.len()];
        Self { report, path: path.into(), span, table, read, known: Vec::new(), missing: Vec::new() }
    }

    /// The whole document.
    pub fn root(report: &'a Report, table: &'a Table) -> Self {
        let span = Span { source: Source::File, start: 0, end: 0 };
        Self::new(report, String::new(), span, table)
    }

    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// Where the section stands: its header, or its braces.
    pub fn span(&self) -> Span {
        self.span
    }

    fn item(&self, entry: &'a Entry) -> Item<'a> {
        let Entry { key, span, node } = entry;
        Item { report: self.report, key, key_span: *span, node, parent: self.path.clone(), index: None }
    }

    /// The value of `key`, if it is there.
    pub fn take(&mut self, key: &'static str) -> Option<Item<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let at = self.table.entries.iter().position(|entry| entry.key == key)?;
        self.read[at] = true;
        Some(self.item(&self.table.entries[at]))
    }

    /// The value of `key` as `read` understands it, or `default` if the key is not there. `None` if it was wrong.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(Item<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.take(key) {
            Some(item) => read(item),
            None => Some(default),
        }
    }

    /// The value of `key`, which must be there.
    pub fn required<T>(&mut self, key: &'static str, read: impl FnOnce(Item<'a>) -> Option<T>) -> Option<T> {
        match self.take(key) {
            Some(item) => read(item),
            None => {
                self.missing(key, None);
                None
            }
        }
    }

    /// Notes that `key` is missing, to be reported when the section is finished.
    pub fn missing(&mut self, key: &'static str, help: Option<&str>) {
        let help = help.map_or_else(|| format!("add `{key} = …`"), Into::into);
        self.missing.push((key, help));
    }

    /// The one entry of a table that names one thing of a kind, such as a law by its name. Its key must be `known`.
    pub fn single(&mut self, kind: &str, known: &[&str]) -> Option<Item<'a>> {
        let Some(first) = self.table.entries.first() else {
            let help = similar(kind, "", known).unwrap_or_default();
            self.report.error_with_help(self.span, format!("`{}` needs a {kind}", self.path), help);
            return None;
        };
        if let Some(second) = self.table.entries.get(1) {
            let message =
                format!("`{}` takes one {kind}, got `{}` and `{}`", self.path, first.key, second.key);
            self.report.error(second.span, message);
            return None;
        }
        if !known.contains(&first.key.as_str()) {
            let message = format!("unknown {kind} `{}`", first.key);
            let help = similar("name", &first.key, known).unwrap_or_default();
            self.report.error_with_help(first.span, message, help);
            return None;
        }
        Some(self.item(first))
    }

    /// Every entry, for tables whose keys are names.
    pub fn entries(&mut self) -> Vec<Item<'a>> {
        self.read.fill(true);
        self.table.entries.iter().map(|entry| self.item(entry)).collect()
    }

    /// Reports the keys of `keys` that are there, with a reason and a remedy: they mean something elsewhere.
    pub fn refuse(&mut self, keys: &[&str], why: impl Fn(&str) -> String, help: &str) {
        for (at, entry) in self.table.entries.iter().enumerate() {
            if keys.contains(&entry.key.as_str()) {
                self.read[at] = true;
                self.report.error_with_help(entry.span, why(&entry.key), help);
            }
        }
    }

    /// Ends the reading: keys that were not asked for are unknown, and what is missing is reported, unless one of the
    /// unknown keys is plainly meant to be it.
    pub fn finish(self) {
        for (key, help) in &self.missing {
            if !self.unread().any(|entry| is_similar(&entry.key, key)) {
                let message = format!("missing key `{key}`{}", self.place());
                self.report.absence(self.span, message, help.as_str());
            }
        }
        for entry in self.unread() {
            self.report_unknown(entry);
        }
    }

    fn unread(&self) -> impl Iterator<Item = &'a Entry> {
        self.table.entries.iter().zip(&self.read).filter(|(_, read)| !**read).map(|(entry, _)| entry)
    }

    fn place(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) }
    }

    fn report_unknown(&self, entry: &Entry) {
        let (message, help) = match entry.span.source {
            Source::File => (
                format!("unknown key `{}`{}", entry.key, self.place()),
                similar("key", &entry.key, &self.known),
            ),
            // Someone who wrote an override thinks in paths.
            Source::Set => {
                let start = if self.path.is_empty() { String::new() } else { format!("{}.", self.path) };
                let path = |key: &str| format!("{start}{key}");
                // Paths look alike by what they share, so only keys tell whether one is near.
                let near: Vec<_> = self.known.iter().filter(|key| is_similar(&entry.key, key)).collect();
                let help = match near.is_empty() {
                    true => similar("key", &entry.key, &self.known),
                    false => similar("path", &path(&entry.key), near.iter().map(|key| path(key))),
                };
                (format!("unknown path `{}`", path(&entry.key)), help)
            }
        };
        match help {
            Some(help) => self.report.error_with_help(entry.span, message, help),
            None => self.report.error(entry.span, message),
        }
    }
}
