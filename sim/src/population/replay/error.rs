//! What can go wrong with a whole log. A single bad line is no error: it is counted and kept as a sample.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::engine::SimDuration;

use super::format::{FormatError, NothingFits};
use super::pseudonym::KeyError;
use super::statistics::MalformedLine;

/// Why a log could not be prepared, or not be read back. None of these leaves anything to replay.
#[derive(Debug, Error)]
pub enum LogError {
    /// A file could not be opened.
    #[error("{file}: cannot open the log: {source}\n  check the path and the permissions")]
    Open {
        /// The file's name, as given.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Reading failed on the way; a damaged or truncated gzip member is such a failure.
    #[error(
        "{file}:{line}: cannot read the log: {source}\n  \
         logs may be plain, gzip or zstd, whatever their names; nothing of a log that breaks off is replayed"
    )]
    Read {
        /// The file's name, as given.
        file: String,
        /// The line that could not be read, from 1.
        line: u64,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// There were lines, or none at all, but none that could be replayed.
    #[error(
        "{files}: no valid line among {lines}{}{}\n  \
         if the format was guessed wrong, say it: `--log-format`, or `format` in the scenario",
        if *outside > 0 { format!("; {outside} outside the time asked for") } else { String::new() },
        first.as_ref().map(|line| format!("; the first malformed one is {line}")).unwrap_or_default()
    )]
    NothingValid {
        /// The files' names, as given, separated by commas.
        files: String,
        /// Lines read, empty ones included.
        lines: u64,
        /// Valid lines before or after the time that was asked for.
        outside: u64,
        /// The first malformed line, if samples were asked for and there was one.
        first: Option<Box<MalformedLine>>,
    },
    /// No known format fits the first lines of a file.
    #[error(
        "{file}: no known format fits the first lines; {nothing}\n  \
         say the format: `--log-format`, or `format` in the scenario, as nginx's or Apache's configuration spells it"
    )]
    UnknownFormat {
        /// The file's name, as given.
        file: String,
        /// The format that came nearest.
        nothing: NothingFits,
    },
    /// The log lasts so long that a run of it would not end.
    #[error(
        "log `{name}`: from {first} to {last} there are more than {windows_max} windows of {window}\n  if a clock was wrong, leave \
         that part out with `from` or `until`; else write a longer `window`"
    )]
    TooLong {
        /// The log's name in the scenario.
        name: String,
        /// File and number of the earliest line.
        first: String,
        /// File and number of the latest line.
        last: String,
        /// The scenario's window.
        window: SimDuration,
        /// The most windows of a run.
        windows_max: u64,
    },
    /// The format lacks what is asked of it.
    #[error("{file}: {source}")]
    Format {
        /// The file's name, as given.
        file: String,
        /// What it lacks.
        source: FormatError,
    },
    /// There is no key for pseudonyms.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The log has more distinct clients than a record can name.
    #[error(
        "{file}:{line}: more than 2147483648 distinct clients (address and user agent), or names of them\n  \
         split the log by time and replay the parts"
    )]
    TooManyClients {
        /// The file's name, as given.
        file: String,
        /// The line that brought one client too many, or one up to 63 lines after it, from 1.
        line: u64,
    },
    /// The temporary file of sorted records could not be made, written or read back.
    #[error(
        "{}: cannot keep the log's records in a temporary file: {source}\n  \
         name a directory with room for 20 bytes a line (60 while sorting), or allow more memory",
        directory.display()
    )]
    Spool {
        /// The directory of the temporary file.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
