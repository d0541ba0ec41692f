//! A scenario as written: values and keys with their places, before anything is known of their meaning.
//!
//! The TOML parser recovers from errors, so the tree of a broken file holds what could be read of it.

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Report, Source, Span};
use super::explain::{key, list, text};

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub span: Span,
    pub value: Value,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    /// Any whole number; those beyond 128 bits saturate, far outside every range.
    Integer(i128),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Table),
}

impl Value {
    /// The value in a few words, for messages.
    pub fn describe(&self) -> String {
        const LONGEST: usize = 40;
        match self {
            Self::String(text) if text.chars().count() > LONGEST => {
                format!("\"{}…\"", text.chars().take(LONGEST).collect::<String>())
            }
            Self::String(text) => format!("\"{text}\""),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => format!("{number:?}"),
            Self::Boolean(truth) => truth.to_string(),
            Self::Datetime => "a date".into(),
            Self::Array(_) => "an array".into(),
            Self::Table(_) => "a table".into(),
        }
    }
}

impl Value {
    /// The value as TOML.
    pub fn to_toml(&self) -> String {
        match self {
            Self::String(string) => text(string),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => format!("{number:?}"),
            Self::Boolean(truth) => truth.to_string(),
            // No field is a date: the reader says so where it stands.
            Self::Datetime => "1970-01-01".into(),
            Self::Array(items) => list(items.iter().map(|item| item.value.to_toml())),
            Self::Table(table) => {
                let entries: Vec<String> = table
                    .entries
                    .iter()
                    .map(|entry| format!("{} = {}", key(&entry.key), entry.node.value.to_toml()))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }
}

/// A table: entries in order of position.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub entries: Vec<Entry>,
}

/// A key, its place, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub span: Span,
    pub node: Node,
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// Reads a TOML document. Errors of syntax go to `report`; what could be read is returned.
pub(super) fn parse(text: &str, report: &Report) -> Table {
    let (document, errors) = DeTable::parse_recoverable(text);
    report_syntax(errors, text.len(), report);
    table(document.get_ref(), Source::File, 0)
}

/// Reads one TOML value that stands at `offset` of `source`, or `None` if the text is none.
pub(super) fn parse_value(text: &str, source: Source, offset: usize) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    Some(node(value.get_ref(), value.span(), source, offset))
}

/// Reports errors of syntax, at most one a line. An array that is not closed makes nonsense of all that follows;
/// there only its first consequence is reported.
fn report_syntax(errors: Vec<toml::de::Error>, length: usize, report: &Report) {
    let mut errors: Vec<(usize, usize, String)> = errors
        .iter()
        .map(|error| {
            let span = error.span().unwrap_or(length..length);
            (span.start, span.end, error.message().to_owned())
        })
        .collect();
    errors.sort();
    let unclosed = errors.iter().any(|(.., message)| message.contains("unclosed"));
    for (start, end, message) in errors {
        let span = Span { source: Source::File, start, end };
        let follows = ["unclosed", "missing comma", "in array", "in inline table"]
            .iter()
            .any(|part| message.contains(part));
        if unclosed && follows {
            let help = "an array or table that begins here or above is not closed";
            report.syntax_error(span, message, Some(help.into()));
            break;
        }
        report.syntax_error(span, message, None);
    }
}

fn table(table: &DeTable<'_>, source: Source, offset: usize) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            span: Span { source, start: key.span().start + offset, end: key.span().end + offset },
            node: node(value.get_ref(), value.span(), source, offset),
        })
        .collect();
    // The parser's map is in order of names; mistakes and settings are worked on in the order of the file.
    entries.sort_by_key(|entry| entry.span.start);
    Table { entries }
}

fn node(value: &DeValue<'_>, span: std::ops::Range<usize>, source: Source, offset: usize) -> Node {
    let span = Span { source, start: span.start + offset, end: span.end + offset };
    let value = match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str();
            let beyond = if digits.starts_with('-') { i128::MIN } else { i128::MAX };
            Value::Integer(i128::from_str_radix(digits, number.radix()).unwrap_or(beyond))
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| node(item.get_ref(), item.span(), source, offset)).collect())
        }
        DeValue::Table(entries) => Value::Table(table(entries, source, offset)),
    };
    Node { span, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_the_order_of_the_file() {
        let report = Report::new("x", "", "");
        let table = parse("b = 1\na = 2\n[z]\n[c]\n", &report);
        let keys: Vec<_> = table.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["b", "a", "z", "c"]);
    }

    #[test]
    fn an_array_that_is_not_closed_is_one_mistake() {
        let text = "a = 1\nb = [ 1, 2\nc = 3\nd = 4\n[e]\nf = 5\n";
        let report = Report::new("x", text, "");
        parse(text, &report);
        let shown = report.into_result().unwrap_err();
        assert_eq!(shown.0.len(), 1, "{shown}");
        assert!(shown.0[0].help.as_ref().unwrap().contains("not closed"));
    }

    #[test]
    fn two_broken_lines_are_two_mistakes() {
        let text = "a = \nb = 2\nc = 1x\nd = 4\n";
        let report = Report::new("x", text, "");
        let table = parse(text, &report);
        let lines: Vec<_> = report.into_result().unwrap_err().0.iter().map(|d| d.line).collect();
        assert_eq!(lines, [1, 3]);
        assert!(table.get("d").is_some(), "reading goes on after a broken line");
    }

    #[test]
    fn nesting_without_end_is_a_mistake_and_not_a_crash() {
        for text in [format!("{}a = 1", "a.".repeat(100_000)), format!("a = {}", "[".repeat(100_000))] {
            let report = Report::new("x", &text, "");
            parse(&text, &report);
            assert!(report.into_result().is_err());
        }
        let text = format!("[{}a]\nb = 1", "a.".repeat(70));
        parse(&text, &Report::new("x", &text, ""));
    }
}
