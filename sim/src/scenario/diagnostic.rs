//! Mistakes in a scenario, each with its place: file, line, column, the line itself, and a remedy.
//!
//! Everything that a reader finds is collected in a [`Report`] and shown at once, in order of position. The shape of
//! a message follows ripgrep and hyperfine: what is wrong and what was got in one line, the remedy in the next.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

/// The name under which mistakes in overrides are reported, in place of a file's.
pub const SET: &str = "--set";

/// Characters of a line that are shown.
const SHOWN_MAX: usize = 200;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file as it was named, or [`SET`] for an override.
    pub file: String,
    /// Line, from 1; for overrides their number, from 1; 0 for the file as a whole.
    pub line: usize,
    /// Column in characters, from 1; 0 for the file as a whole.
    pub column: usize,
    /// Length of the marked part in characters, at least 1; ends with the line.
    pub length: usize,
    /// What is wrong, in lower case, without a full stop.
    pub message: String,
    /// The remedy.
    pub help: Option<String>,
    /// The line on which the mistake stands.
    pub source_line: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = printable(&self.message);
        if self.line == 0 {
            write!(f, "{}: {message}", self.file)?;
        } else {
            writeln!(f, "{}:{}:{}: {message}", self.file, self.line, self.column)?;
            let (line, before) = self.shown_line();
            // Tabs are kept before the caret, so that it stands below the mistake whatever width a tab has.
            let indent: String =
                line.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let marked = self.length.min(line.chars().count().saturating_sub(before)).max(1);
            writeln!(f, "  | {line}")?;
            write!(f, "  | {indent}{}", "^".repeat(marked))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  {}", printable(help))?;
        }
        Ok(())
    }
}

impl Diagnostic {
    /// The line as it is shown, and how many of its characters stand before the mistake. Of a long line only the part around it is.
    fn shown_line(&self) -> (String, usize) {
        let line = printable(&self.source_line);
        let at = self.column - 1;
        if line.chars().count() <= SHOWN_MAX {
            return (line, at);
        }
        let from = at.saturating_sub(SHOWN_MAX / 3);
        let part: String = line.chars().skip(from).take(SHOWN_MAX).collect();
        let (head, before) = if from > 0 { ("…", at - from + 1) } else { ("", at) };
        let tail = if from + SHOWN_MAX < line.chars().count() { "…" } else { "" };
        (format!("{head}{part}{tail}"), before)
    }
}

/// Text with control characters replaced one for one, so that a file cannot steer the terminal that shows it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// All mistakes of a scenario, in order of position; never empty when returned as an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// A single mistake of a file as a whole, such as that it cannot be read.
    pub(crate) fn of_file(file: &str, message: String, help: Option<String>) -> Self {
        let source_line = String::new();
        Self(vec![Diagnostic {
            file: file.into(),
            line: 0,
            column: 0,
            length: 1,
            message,
            help,
            source_line,
        }])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Where a text comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Source {
    /// The scenario file.
    File,
    /// The overrides, one a line.
    Set,
}

/// A part of a source, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub source: Source,
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// From the start of this span to the end of `last` if both lie in one source, else this span.
    pub fn to(self, last: Self) -> Self {
        if self.source == last.source && last.end >= self.start {
            Self { end: last.end, ..self }
        } else {
            self
        }
    }
}

/// A source's text and the starts of its lines \[bytes\].
#[derive(Debug)]
struct Text {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl Text {
    fn new(name: &str, text: &str) -> Self {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Self { name: name.into(), text: text.into(), line_starts }
    }

    /// The line that holds a byte, from 0.
    fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= at) - 1
    }

    fn diagnostic(&self, found: &Found) -> Diagnostic {
        let line = self.line(found.span.start);
        let start = self.line_starts[line];
        let end = self.line_starts.get(line + 1).copied().unwrap_or(self.text.len());
        let source_line = self.text[start..end].trim_end_matches(['\n', '\r']);
        // Bounds from the TOML parser fall on characters; if one did not, the count would be off, never a panic.
        let characters = |to: usize| {
            source_line
                .char_indices()
                .take_while(|&(i, _)| start + i < to.min(start + source_line.len()))
                .count()
        };
        let column = characters(found.span.start);
        let length = characters(found.span.end).saturating_sub(column).max(1);
        Diagnostic {
            file: self.name.clone(),
            line: line + 1,
            column: column + 1,
            length,
            message: found.message.clone(),
            help: found.help.clone(),
            source_line: source_line.into(),
        }
    }
}

#[derive(Debug)]
struct Found {
    span: Span,
    message: String,
    help: Option<String>,
}

/// Collects mistakes while a scenario is read.
#[derive(Debug)]
pub(super) struct Report {
    file: Text,
    set: Text,
    found: RefCell<Vec<Found>>,
    /// Lines of the file, from 0, that are no TOML.
    torn: RefCell<BTreeSet<usize>>,
}

impl Report {
    pub fn new(file_name: &str, file: &str, set: &str) -> Self {
        Self {
            file: Text::new(file_name, file),
            set: Text::new(SET, set),
            found: RefCell::default(),
            torn: RefCell::default(),
        }
    }

    /// The file is no TOML at `span`. What else its line seems to say is not reported, nor what seems to be missing.
    pub fn syntax_error(&self, span: Span, message: String, help: Option<String>) {
        let line = self.file.line(span.start);
        if self.torn.borrow_mut().insert(line) {
            self.found.borrow_mut().push(Found { span, message, help });
        }
    }

    pub fn error(&self, span: Span, message: String) {
        self.push(span, message, None);
    }

    pub fn error_with_help(&self, span: Span, message: String, help: impl Into<String>) {
        self.push(span, message, Some(help.into()));
    }

    /// Something seems to be missing, which says little where lines could not be read.
    pub fn absence(&self, span: Span, message: String, help: impl Into<String>) {
        if self.torn.borrow().is_empty() {
            self.push(span, message, Some(help.into()));
        }
    }

    fn push(&self, span: Span, message: String, help: Option<String>) {
        let torn = span.source == Source::File && self.torn.borrow().contains(&self.file.line(span.start));
        if !torn {
            self.found.borrow_mut().push(Found { span, message, help });
        }
    }

    pub fn file_name(&self) -> &str {
        &self.file.name
    }

    /// Line of the file that holds `span`, from 1; 0 for a span of an override.
    pub fn line(&self, span: Span) -> usize {
        match span.source {
            Source::File => self.file.line(span.start) + 1,
            Source::Set => 0,
        }
    }

    /// All that was found, in order of position.
    ///
    /// # Errors
    /// The mistakes, if there are any.
    pub fn into_result(self) -> Result<(), Diagnostics> {
        let mut found = self.found.into_inner();
        if found.is_empty() {
            return Ok(());
        }
        found.sort_by_key(|found| (found.span.source, found.span.start));
        // One mistake in the cluster may be found again by each strategy.
        found.dedup_by(|a, b| (a.span, &a.message) == (b.span, &b.message));
        let diagnostics = found.iter().map(|found| match found.span.source {
            Source::File => self.file.diagnostic(found),
            Source::Set => self.set.diagnostic(found),
        });
        Err(Diagnostics(diagnostics.collect()))
    }
}

/// From this similarity on, one word may be meant as another.
const NEAR: f64 = 0.6;

/// 1 for equal words, 0 for words that share nothing.
fn similarity(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b)
}

/// Whether one word may be meant as another.
pub(super) fn is_similar(got: &str, known: &str) -> bool {
    similarity(got, known) >= NEAR
}

/// The remedy for an unknown word: the nearest known ones, or all of them if none is near and they are few.
pub(super) fn similar(
    kind: &str,
    got: &str,
    known: impl IntoIterator<Item = impl AsRef<str>>,
) -> Option<String> {
    const FEW: usize = 16;
    let known: Vec<_> = known.into_iter().collect();
    let mut near: Vec<(f64, &str)> = known
        .iter()
        .map(|word| (similarity(got, word.as_ref()), word.as_ref()))
        .filter(|&(similarity, _)| similarity >= NEAR)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let best = near.first().map_or(1.0, |near| near.0);
    near.retain(|&(similarity, _)| best - similarity <= 0.1);
    let quoted = |words: &mut dyn Iterator<Item = &str>| {
        words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    };
    if !near.is_empty() {
        Some(format!("similar {kind}s: {}", quoted(&mut near.iter().map(|near| near.1))))
    } else if !known.is_empty() && known.len() <= FEW {
        Some(format!("known {kind}s: {}", quoted(&mut known.iter().map(AsRef::as_ref))))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: usize, end: usize) -> Span {
        Span { source: Source::File, start, end }
    }

    #[test]
    fn a_caret_stands_below_the_mistake_whatever_comes_before_it() {
        let text = "a = 1\n\tγ = \"é\" # 12\r\n";
        let report = Report::new("x.toml", text, "");
        let twelve = text.find("12").unwrap();
        report.error_with_help(at(twelve, twelve + 2), "too many".into(), "take one");
        let shown = report.into_result().unwrap_err();
        assert_eq!((shown.0[0].line, shown.0[0].column, shown.0[0].length), (2, 12, 2));
        assert_eq!(
            shown.to_string(),
            "x.toml:2:12: too many\n  | \tγ = \"é\" # 12\n  | \t          ^^\n  take one"
        );
    }

    #[test]
    fn of_a_long_line_the_part_around_the_mistake_is_shown() {
        let text = format!("a = [{}\"here\", {}]", "1, ".repeat(1_000), "2, ".repeat(1_000));
        let report = Report::new("x.toml", &text, "");
        let here = text.find("\"here\"").unwrap();
        report.error(at(here, here + 6), "no number".into());
        let shown = report.into_result().unwrap_err().to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "x.toml:1:3006: no number");
        assert!(lines[1].chars().count() < 210 && lines[1].starts_with("  | …") && lines[1].ends_with('…'));
        let caret = lines[2].find('^').unwrap();
        let marked: String = lines[1].chars().skip(caret).take(6).collect();
        assert_eq!((marked.as_str(), lines[2].matches('^').count()), ("\"here\"", 6));
    }

    #[test]
    fn mistakes_come_in_order_of_position_and_overrides_last() {
        let report = Report::new("x.toml", "one\ntwo\n", "three");
        report.error(Span { source: Source::Set, start: 0, end: 5 }, "c".into());
        report.error(at(4, 7), "b".into());
        report.error(at(0, 3), "a".into());
        let messages: Vec<_> = report.into_result().unwrap_err().0.into_iter().map(|d| d.message).collect();
        assert_eq!(messages, ["a", "b", "c"]);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let report = Report::new("x.toml", "a = \u{1b}[31m", "");
        report.error(at(4, 5), "no".into());
        assert!(!report.into_result().unwrap_err().to_string().contains('\u{1b}'));
    }

    #[test]
    fn spans_outside_the_text_are_cut_and_not_a_panic() {
        let report = Report::new("x.toml", "é", "");
        report.error(at(1, 900), "odd".into());
        report.error(at(2, 2), "end".into());
        assert_eq!(report.into_result().unwrap_err().0.len(), 2);
    }

    #[test]
    fn the_nearest_word_is_named_alone_and_all_words_when_none_is_near() {
        let known = ["nginx.ip_hash", "nginx.round_robin"];
        assert_eq!(similar("name", "nginx.iphash", known).unwrap(), "similar names: `nginx.ip_hash`");
        assert_eq!(similar("name", "x", known).unwrap(), "known names: `nginx.ip_hash`, `nginx.round_robin`");
    }
}
