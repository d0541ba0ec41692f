//! Overrides from the command line: `--set path=value`, applied to the scenario as written, before it is read.
//!
//! A path is keys joined by dots, as in a dotted TOML key; an element of an array is named by its index or by its
//! `name` (`population.homes.clients`). A key with a dot in it is quoted. A value is TOML; what is no TOML is taken
//! as a string, so that `duration=2h` needs no quotes.

use super::diagnostic::{Report, Source, Span, similar};
use super::tree::{self, Entry, Node, Table, Value};

/// What the command line changes in a scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `path=value`, in the order in which they apply: the last one wins.
    assignments: Vec<String>,
}

impl Overrides {
    /// No change.
    pub const NONE: Self = Self { assignments: Vec::new() };

    /// Overrides as they are written after `--set`, such as `population.homes.clients=500`. What is wrong with them
    /// is reported when they are applied.
    pub fn new(assignments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        // One override is one line of the report's source, so a line break inside becomes a space.
        let assignments =
            assignments.into_iter().map(|text| text.into().replace(['\n', '\r'], " ")).collect();
        Self { assignments }
    }

    /// These and then `others`, which win.
    pub fn then(mut self, others: Self) -> Self {
        self.assignments.extend(others.assignments);
        self
    }

    /// Adds an override, which wins over those before it.
    pub fn push(&mut self, assignment: &str) {
        self.assignments.push(assignment.replace(['\n', '\r'], " "));
    }

    /// The overrides as a text of one line each, the source of their spans.
    pub(super) fn text(&self) -> String {
        self.assignments.join("\n")
    }

    /// Applies all to the root table.
    pub(super) fn apply(&self, root: &mut Table, report: &Report) {
        let mut offset = 0;
        for assignment in &self.assignments {
            apply(assignment, offset, root, report);
            offset += assignment.len() + 1;
        }
    }
}

/// Deepest path that is followed; the deepest that means anything has eight keys.
const DEEPEST: usize = 32;

struct Segment {
    key: String,
    span: Span,
}

fn apply(assignment: &str, offset: usize, root: &mut Table, report: &Report) {
    let whole = Span { source: Source::Set, start: offset, end: offset + assignment.len() };
    let Some((path, equals)) = split_path(assignment, offset) else {
        let help = "for example `--set population.homes.clients=500`";
        report.error_with_help(whole, format!("`{assignment}` is not `path=value`"), help);
        return;
    };
    if path.len() > DEEPEST {
        report.error(whole, format!("a path has at most {DEEPEST} keys, got {}", path.len()));
        return;
    }
    let text = assignment[equals + 1..].trim();
    let start = assignment.len() - assignment[equals + 1..].trim_start().len();
    let value = match tree::parse_value(text, Source::Set, offset + start) {
        Some(value) => value,
        None if text.starts_with(['[', '{', '"', '\'']) => {
            let span = Span { start: offset + start, ..whole };
            report.error(span, format!("`{text}` is not a TOML value"));
            return;
        }
        None => Node {
            span: Span { source: Source::Set, start: offset + start, end: offset + start + text.len() },
            value: Value::String(text.into()),
        },
    };
    place(root, &path, value, report);
}

/// The keys before the first `=`, and where that stands; `None` if there is no such path.
fn split_path(assignment: &str, offset: usize) -> Option<(Vec<Segment>, usize)> {
    let mut path = Vec::new();
    let mut key = String::new();
    let mut quote = None;
    let mut start = 0;
    for (i, c) in assignment.char_indices() {
        match c {
            _ if quote == Some(c) => quote = None,
            _ if quote.is_some() => key.push(c),
            '"' | '\'' if key.trim().is_empty() => {
                key.clear();
                quote = Some(c);
            }
            '.' | '=' => {
                let text = assignment[start..i].trim();
                if text.is_empty() {
                    return None;
                }
                let from =
                    offset + start + (assignment[start..i].len() - assignment[start..i].trim_start().len());
                let span = Span { source: Source::Set, start: from, end: from + text.len() };
                path.push(Segment { key: key.trim().to_owned(), span });
                key.clear();
                start = i + 1;
                if c == '=' {
                    return Some((path, i));
                }
            }
            _ => key.push(c),
        }
    }
    None
}

/// The keys of a path; `None` if it is none.
pub(super) fn keys(path: &str) -> Option<Vec<String>> {
    let (segments, _) = split_path(&format!("{path}="), 0)?;
    Some(segments.into_iter().map(|segment| segment.key).collect())
}

/// Sets the value at `path` below a table. Keys that do not exist are made; if they mean nothing, the reader will
/// find them unknown.
fn place(table: &mut Table, path: &[Segment], value: Node, report: &Report) {
    let Some((first, rest)) = path.split_first() else { return };
    let at = table.entries.iter().position(|entry| entry.key == first.key).unwrap_or_else(|| {
        let node = Node { span: first.span, value: Value::Table(Table::default()) };
        table.entries.push(Entry { key: first.key.clone(), span: first.span, node });
        table.entries.len() - 1
    });
    descend(&mut table.entries[at].node, first, rest, value, report);
}

/// Sets the value at `path` below a node that was reached by the key `by`.
fn descend(node: &mut Node, by: &Segment, path: &[Segment], value: Node, report: &Report) {
    let Some((first, rest)) = path.split_first() else {
        *node = value;
        return;
    };
    match &mut node.value {
        Value::Table(table) => place(table, path, value, report),
        Value::Array(items) => match element(items, &first.key) {
            Some(at) => descend(&mut items[at], first, rest, value, report),
            None => {
                let message = format!("`{}` has no element `{}`", by.key, first.key);
                let names: Vec<String> = items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| name(item).map_or(i.to_string(), Into::into))
                    .collect();
                match similar("element", &first.key, &names) {
                    Some(help) => report.error_with_help(first.span, message, help),
                    None => report.error(first.span, message),
                }
            }
        },
        scalar => {
            let message = format!("`{}` is {}, so it has no `{}`", by.key, scalar.describe(), first.key);
            report.error_with_help(first.span, message, format!("set the whole of `{}` instead", by.key));
        }
    }
}

/// The place of an array's element, by its name or else by its index.
fn element(items: &[Node], key: &str) -> Option<usize> {
    let named = items.iter().position(|item| name(item) == Some(key));
    named.or_else(|| key.parse().ok().filter(|&at| at < items.len()))
}

fn name(item: &Node) -> Option<&str> {
    let Value::Table(table) = &item.value else { return None };
    match &table.get("name")?.node.value {
        Value::String(name) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, assignment: &str) -> Result<String, String> {
        let overrides = Overrides::new([assignment]);
        let report = Report::new("x", text, &overrides.text());
        let mut root = tree::parse(text, &report);
        overrides.apply(&mut root, &report);
        report.into_result().map_err(|diagnostics| diagnostics.to_string())?;
        Ok(show(&Node { span: Span { source: Source::Set, start: 0, end: 0 }, value: Value::Table(root) }))
    }

    fn show(node: &Node) -> String {
        let list = |parts: Vec<String>| parts.join(" ");
        match &node.value {
            Value::Table(table) => {
                list(table.entries.iter().map(|e| format!("{}({})", e.key, show(&e.node))).collect())
            }
            Value::Array(items) => list(items.iter().map(|item| format!("[{}]", show(item))).collect()),
            other => other.describe(),
        }
    }

    #[test]
    fn elements_are_found_by_name_and_by_index() {
        let text = "[[p]]\nname = \"a b\"\n[[p]]\nname = \"x.y\"\n";
        let both = |n| format!("p([name(\"a b\") n({n})] [name(\"x.y\")])");
        assert_eq!(applied(text, "p.0.n=1").unwrap(), both("1"));
        assert_eq!(applied(text, "p.a b.n = 2").unwrap(), both("2"));
        assert_eq!(applied(text, "p.'x.y'.n=3").unwrap(), "p([name(\"a b\")] [name(\"x.y\") n(3)])");
    }

    #[test]
    fn values_are_toml_and_bare_words_are_strings() {
        for (value, shown) in
            [("9", "9"), ("2h", "\"2h\""), ("\"q\"", "\"q\""), ("[1]", "[1]"), ("1.2.3.4", "\"1.2.3.4\"")]
        {
            assert_eq!(applied("", &format!("a={value}")).unwrap(), format!("a({shown})"));
        }
    }

    #[test]
    fn what_cannot_be_set_is_reported_under_the_name_of_the_option() {
        let text = "a = \"s\"\n[[p]]\nname = \"homes\"\n";
        for (assignment, message) in [
            ("p.home.n=1", "--set:1:3: `p` has no element `home`"),
            ("p.7.n=1", "--set:1:3: `p` has no element `7`"),
            ("a.b=1", "--set:1:3: `a` is \"s\", so it has no `b`"),
            ("seed", "--set:1:1: `seed` is not `path=value`"),
            ("=1", "--set:1:1: `=1` is not `path=value`"),
            ("a=[1", "--set:1:3: `[1` is not a TOML value"),
        ] {
            let shown = applied(text, assignment).unwrap_err();
            assert!(shown.starts_with(message), "{assignment}: {shown}");
        }
    }
}
