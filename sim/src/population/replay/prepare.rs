//! From log files to a [`PreparedLog`]: one pass over the lines, one over the records for the visits.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clients::ClientRegistry;
use super::error::LogError;
use super::lines::{LINE_BYTES_MAX, Line, Lines};
use super::parse::{LineError, LineFault, LogLine};
use super::prepared::PreparedLog;
use super::record::LogRecord;
use super::sort::{SortLimits, Sorted, TimeSorter};
use super::statistics::{ClientStatistics, LineCounts, LogStatistics, MalformedLine};
use super::visits::count_visits;

/// Characters of a malformed line that are kept.
const SAMPLE_CHARACTERS: usize = 120;

/// How logs are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogOptions {
    /// How late a line may be for the log to be sorted on the way, in seconds; default 60. It changes speed, never
    /// results.
    pub reorder_window_seconds: u32,
    /// The most lines in the reorder window, at 32 bytes each; default 65,536. It changes speed, never results.
    pub reorder_lines: usize,
    /// Memory for records, beyond which they go to a temporary file, in bytes; default 64 MiB, enough for 2 million
    /// lines. The table of clients, about 2 MiB of fixed buffers and the reorder window come on top. It changes
    /// speed, never results.
    pub memory_bytes: usize,
    /// How many malformed lines are kept as samples; default 20. All are counted.
    pub malformed_samples: usize,
    /// The longest gap within a visit, in seconds; default 1,800.
    pub visit_gap_seconds: u32,
    /// Where temporary files go; `None`, the default, is the system's directory for them.
    pub temporary_directory: Option<PathBuf>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            reorder_window_seconds: 60,
            reorder_lines: 65_536,
            memory_bytes: 64 << 20,
            malformed_samples: 20,
            visit_gap_seconds: 1_800,
            temporary_directory: None,
        }
    }
}

/// A log that is being read: for sources other than files. Most callers want [`PreparedLog::from_files`].
#[derive(Debug)]
pub struct LogPreparation {
    options: LogOptions,
    sources: Vec<String>,
    counts: LineCounts,
    registry: ClientRegistry,
    sorter: TimeSorter,
    /// Second of the valid line before.
    previous: u32,
    first: u32,
    last: u32,
}

impl LogPreparation {
    /// Nothing read yet.
    pub fn new(options: LogOptions) -> Self {
        let sorter = TimeSorter::new(SortLimits {
            window_seconds: options.reorder_window_seconds,
            window_records: options.reorder_lines,
            memory_bytes: options.memory_bytes,
            directory: options.temporary_directory.clone().unwrap_or_else(std::env::temp_dir),
        });
        Self {
            options,
            sources: Vec::new(),
            counts: LineCounts::default(),
            registry: ClientRegistry::default(),
            sorter,
            previous: 0,
            first: u32::MAX,
            last: 0,
        }
    }

    /// Reads the lines of `file`.
    ///
    /// # Errors
    /// As [`LogPreparation::read`].
    pub fn read_file(&mut self, file: &Path) -> Result<(), LogError> {
        let name = file.display().to_string();
        let input = File::open(file).map_err(|source| LogError::Open { file: name.clone(), source })?;
        self.read(&name, input)
    }

    /// Reads the lines of `input`, plain or gzip, which is called `name` in messages.
    ///
    /// # Errors
    /// If reading fails, if there are too many clients, or if the temporary file fails.
    pub fn read(&mut self, name: &str, input: impl Read) -> Result<(), LogError> {
        self.sources.push(name.to_owned());
        let failed = |line, source| LogError::Read { file: name.to_owned(), line, source };
        let mut lines = Lines::new(input).map_err(|source| failed(1, source))?;
        loop {
            let number = lines.number + 1;
            let line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(source) => return Err(failed(number, source)),
            };
            self.counts.lines += 1;
            let parsed = match line {
                Line::Whole(text) if text.trim_ascii().is_empty() => {
                    self.counts.empty += 1;
                    continue;
                }
                Line::Whole(text) => LogLine::parse(text).map_err(|error| (error, text)),
                Line::TooLong(text) => {
                    let column = LINE_BYTES_MAX as u32 + 1;
                    Err((LineError { column, fault: LineFault::TooLong }, text))
                }
            };
            match parsed {
                Ok(line) => self.take(&line, name, number)?,
                Err((error, text)) => self.reject(error, text, name, number),
            }
        }
    }

    fn take(&mut self, line: &LogLine<'_>, file: &str, number: u64) -> Result<(), LogError> {
        let seen = self
            .registry
            .see(line)
            .map_err(|_| LogError::TooManyClients { file: file.to_owned(), line: number })?;
        if line.time < self.previous {
            self.counts.backward_steps += 1;
            let step = self.previous - line.time;
            self.counts.backward_step_seconds_max = self.counts.backward_step_seconds_max.max(step);
        }
        self.previous = line.time;
        self.first = self.first.min(line.time);
        self.last = self.last.max(line.time);
        self.counts.valid += 1;
        self.counts.agents_cut += u64::from(line.agent_cut);
        self.sorter.push(LogRecord::new(line, seen.client, seen.bot_path))
    }

    fn reject(&mut self, error: LineError, text: &[u8], file: &str, number: u64) {
        self.counts.malformed += 1;
        if self.counts.malformed_samples.len() < self.options.malformed_samples {
            // A character has at most four bytes, and so has what becomes of a byte that is none.
            let text = text.trim_ascii_end();
            let text = String::from_utf8_lossy(&text[..text.len().min(4 * SAMPLE_CHARACTERS)]);
            self.counts.malformed_samples.push(MalformedLine {
                file: file.to_owned(),
                line: number,
                error,
                text: text.chars().take(SAMPLE_CHARACTERS).collect(),
            });
        }
    }

    /// Sorts what was read.
    ///
    /// # Errors
    /// If no line was valid, or if the temporary file fails.
    pub fn finish(self) -> Result<PreparedLog, LogError> {
        if self.counts.valid == 0 {
            return Err(LogError::NothingValid {
                files: if self.sources.is_empty() { "no file".into() } else { self.sources.join(", ") },
                lines: self.counts.lines,
                first: self.counts.malformed_samples.into_iter().next().map(Box::new),
            });
        }
        let Sorted { spool, late, runs } = self.sorter.finish()?;
        let spool = Arc::new(spool);
        let tables = self.registry.finish();
        let (visits, visits_by_address) =
            count_visits(&tables, &spool, self.first, self.options.visit_gap_seconds)?;
        let by_client = ClientStatistics::of(&tables);
        let statistics = LogStatistics {
            counts: self.counts,
            first_second: self.first,
            last_second: self.last,
            external_sort: late,
            sort_runs: runs,
            addresses: tables.addresses.len() as u64,
            host_names: tables.names as u64,
            networks: by_client.networks,
            clients: tables.clients.len() as u64,
            requests_per_address: by_client.requests_by_address.summary(),
            gini: by_client.requests_by_address.gini(),
            address_shares: by_client.requests_by_address.top_shares(),
            network_shares: by_client.requests_by_network.top_shares(),
            visit_gap_seconds: self.options.visit_gap_seconds,
            visits: visits.summary(),
            visits_by_address: visits_by_address.summary(),
            bot_lines: by_client.bot_lines,
            robot_word_lines: tables.robot_lines,
        };
        Ok(PreparedLog { clients: tables.clients, agents: tables.agents, spool, statistics })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    pub(in super::super) fn line(second: u32, address: &str, agent: &str) -> String {
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        format!(
            "{address} - - [20/Feb/2016:{hour:02}:{minute:02}:{:02} +0000] \"GET / HTTP/1.1\" 200 {second} \"-\" \"{agent}\"\n",
            second % 60
        )
    }

    pub(in super::super) fn prepare(text: &str, options: LogOptions) -> Result<PreparedLog, LogError> {
        let mut preparation = LogPreparation::new(options);
        preparation.read("access.log", text.as_bytes())?;
        preparation.finish()
    }

    #[test]
    fn malformed_lines_are_counted_and_sampled_with_their_place() {
        let long = format!("nonsense {}\u{e9}{}\n", "x".repeat(110), "y".repeat(300));
        let text =
            [&line(1, "192.0.2.1", "A"), "\r\n", &long, &line(2, "192.0.2.1", "A"), "!\n", "?"].concat();
        let log =
            prepare(&text, LogOptions { malformed_samples: 2, ..LogOptions::default() }).expect("two lines");
        let counts = &log.statistics().counts;
        assert_eq!((counts.lines, counts.valid, counts.empty, counts.malformed), (6, 2, 1, 3));
        let samples: Vec<_> = counts.malformed_samples.iter().map(ToString::to_string).collect();
        assert_eq!(
            samples,
            ["access.log:3:9: expected ident, user and `[`", "access.log:5:1: not an address or a host name"]
        );
        assert_eq!(counts.malformed_samples[0].text, format!("nonsense {}\u{e9}", "x".repeat(110)));
    }

    #[test]
    fn a_log_without_a_valid_line_is_an_error_that_shows_the_first_one() {
        let message = |text| prepare(text, LogOptions::default()).expect_err("nothing is valid").to_string();
        assert_eq!(
            message("no log\n\n"),
            "access.log: no valid line among 2; the first malformed one is access.log:1:3: expected ident, user and \
             `[`\n  lines must be in the `combined` or `common` format of Apache and nginx"
        );
        assert!(message("").starts_with("access.log: no valid line among 0\n"));
        let nothing = PreparedLog::from_files([""; 0], &LogOptions::default());
        assert!(nothing.expect_err("no file was named").to_string().starts_with("no file: "));
    }

    #[test]
    fn an_unreadable_file_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let missing = directory.path().join("missing.log");
        let error =
            PreparedLog::from_files([&missing], &LogOptions::default()).expect_err("there is no such file");
        assert!(
            error.to_string().starts_with(&format!("{}: cannot open the log: ", missing.display())),
            "{error}"
        );
        let error = PreparedLog::from_files([directory.path()], &LogOptions::default());
        assert!(matches!(error, Err(LogError::Read { .. })), "a directory is no log");
    }

    #[test]
    fn a_truncated_gzip_log_is_an_error_that_names_the_line() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(line(1, "192.0.2.1", "A").repeat(3).as_bytes()).expect("writing to memory");
        let whole = encoder.finish().expect("writing to memory");
        let error = LogPreparation::new(LogOptions::default()).read("access.log", &whole[..whole.len() - 4]);
        assert!(matches!(error, Err(LogError::Read { line: 4, .. })), "{error:?}");
    }

    #[test]
    fn a_temporary_directory_that_is_missing_is_an_error_only_when_it_is_needed() {
        let text: String = (0..100).map(|second| line(second, "192.0.2.1", "A")).collect();
        let options = |memory_bytes| LogOptions {
            memory_bytes,
            temporary_directory: Some("/nonexistent/spool".into()),
            ..LogOptions::default()
        };
        assert!(prepare(&text, options(1 << 20)).is_ok());
        let error = prepare(&text, options(1)).expect_err("the directory is missing").to_string();
        assert!(error.starts_with("/nonexistent/spool: cannot keep"), "{error}");
    }
}
