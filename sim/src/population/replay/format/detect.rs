//! Which format a log is in, judged by its first lines.

use std::fmt;

use super::{FormatError, LineParser, LogFormat, SessionsBy, w3c};
use crate::population::replay::parse::{LineError, LineFault};

/// Formats that are tried, the most usual first: of equals the first wins.
const CANDIDATES: [&str; 5] = ["combined", "main", "vhost_combined", "json", "haproxy"];

/// Lines that are looked at.
const LINES: usize = 200;

/// A format that was found.
#[derive(Clone, Debug)]
pub struct Detected {
    /// The format.
    pub format: LogFormat,
    /// Lines that were looked at, and those of them that fit.
    pub fit: (usize, usize),
}

/// No known format fits any of the first lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NothingFits {
    /// The format of which most of the first line fits.
    pub nearest: String,
    /// What is wrong with the line under it.
    pub error: LineError,
}

impl fmt::Display for NothingFits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the nearest format is `{}`: {}", self.nearest, self.error)
    }
}

/// The format that most of the lines of `head` are in, with a parser that tells users apart by `by`; what follows the last
/// line end is not looked at, if there is one.
///
/// # Errors
/// If no format fits a single line, or none of those that tell users apart as asked.
pub(in super::super) fn detect(
    head: &[u8],
    by: &SessionsBy,
    forwarded: bool,
) -> Result<Result<(Detected, LineParser), NothingFits>, FormatError> {
    let whole = head.iter().rposition(|&byte| byte == b'\n').map_or(head, |end| &head[..end]);
    let lines: Vec<&[u8]> =
        whole.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).take(LINES).collect();
    let mut best: Option<(usize, Detected, LineParser)> = None;
    let mut nearest: Option<NothingFits> = None;
    let mut refused = None;
    let own = lines.iter().find_map(|line| fields_of(line, head)).transpose()?;
    let usual = CANDIDATES.iter().filter_map(|name| name.parse::<LogFormat>().ok());
    let lines: Vec<&[u8]> = lines.into_iter().filter(|line| !line.starts_with(b"#")).collect();
    for format in own.into_iter().chain(usual) {
        let mut parser = match format.parser(by, forwarded) {
            Ok(parser) => parser,
            Err(error) => {
                refused.get_or_insert(error);
                continue;
            }
        };
        let mut valid = 0;
        for (number, line) in lines.iter().enumerate() {
            match parser.parse(line) {
                Ok(_) => valid += 1,
                Err(error)
                    if number == 0
                        && !(is_json(line) && format.name() != "json")
                        && nearest.as_ref().is_none_or(|old| is_nearer(error, old.error)) =>
                {
                    nearest = Some(NothingFits { nearest: format.name().to_owned(), error });
                }
                Err(_) => {}
            }
        }
        if valid > best.as_ref().map_or(0, |(most, ..)| *most) {
            let fit = (lines.len(), valid);
            best = Some((valid, Detected { format, fit }, parser));
        }
    }
    match (best, nearest, refused) {
        (Some((_, detected, parser)), ..) => Ok(Ok((detected, parser))),
        // The usual formats were not tried: what they lack is the likelier reason.
        (None, _, Some(error)) => Err(error),
        (None, Some(nothing), None) => Ok(Err(nothing)),
        // Nothing to look at: an empty log is told so by whoever reads it.
        (None, None, None) => {
            let format = LogFormat::combined();
            let parser = format.parser(by, forwarded)?;
            Ok(Ok((Detected { format, fit: (0, 0) }, parser)))
        }
    }
}

/// Whether a line looks like JSON, and nothing else.
fn is_json(line: &[u8]) -> bool {
    matches!(line.trim_ascii_start(), [b'{', ..] | [b'[', b'{' | b'[' | b'"', ..] | b"[")
}

/// The format that a log of W3C's kind announces in `line`.
fn fields_of(line: &[u8], head: &[u8]) -> Option<Result<LogFormat, FormatError>> {
    let text = std::str::from_utf8(line.strip_prefix(w3c::FIELDS.as_bytes())?).ok()?;
    // CloudFront names its fields with spaces between and writes them with tabs.
    let tabs = head.split(|&byte| byte == b'\n').any(|line| !line.starts_with(b"#") && line.contains(&b'\t'));
    let between = if tabs { "\t" } else { " " };
    let names: Vec<_> = text.split_whitespace().collect();
    Some(format!("{} {}", w3c::FIELDS, names.join(between)).parse())
}

/// Whether a line went further before it failed: a field that means nothing is nearer than a layout that differs.
fn is_nearer(new: LineError, old: LineError) -> bool {
    let key = |error: LineError| (!matches!(error.fault, LineFault::Layout | LineFault::Json), error.column);
    key(new) > key(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(head: &str, forwarded: bool) -> Result<(String, (usize, usize)), NothingFits> {
        detect(head.as_bytes(), &SessionsBy::AddressAgent, forwarded)
            .expect("a format that tells users apart")
            .map(|(found, _)| (found.format.name().to_owned(), found.fit))
    }

    const COMBINED: &str = "192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"GET / HTTP/1.1\" 200 1 \"-\" \"A\"";

    #[test]
    fn the_format_of_most_lines_is_found() {
        let of = |line: &str| detected(&format!("{line}\nnoise\n\n{line}\n"), false).expect("a format");
        assert_eq!(of(COMBINED), ("combined".into(), (3, 2)));
        assert_eq!(of(&format!("a.example:443 {COMBINED}")).0, "vhost_combined");
        assert_eq!(of(r#"{"ip":"192.0.2.7","time":"2016-02-20T05:00:45Z"}"#).0, "json");
        let haproxy = "10.0.1.2:33317 [06/Feb/2009:12:14:14.655] in s/a 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"";
        assert_eq!(of(haproxy).0, "haproxy");
    }

    #[test]
    fn a_forwarded_address_needs_a_format_that_has_it() {
        let line = format!("{COMBINED} \"203.0.113.9\"\n");
        assert_eq!(detected(&line, false).expect("a format").0, "combined");
        assert_eq!(detected(&line, true).expect("a format").0, "main");
    }

    #[test]
    fn the_nearest_format_is_named_if_none_fits() {
        let line = "192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"GET / HTTP/1.1\" OK 1 \"-\" \"A\"\n";
        let nothing = detected(line, false).expect_err("no status");
        assert_eq!((&*nothing.nearest, nothing.error.column), ("combined", 61));
        assert!(nothing.to_string().starts_with("the nearest format is `combined`: column 61: not a status"));
    }

    #[test]
    fn a_last_line_that_may_be_cut_is_not_looked_at_and_a_single_one_is() {
        assert_eq!(detected(&format!("{COMBINED}\n{}", &COMBINED[..20]), false).expect("a format").1, (1, 1));
        assert_eq!(detected(COMBINED, false).expect("a format").1, (1, 1));
        assert_eq!(detected("", false).expect("nothing to judge").1, (0, 0));
    }
}
