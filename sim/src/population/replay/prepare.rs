//! From log files to a [`PreparedLog`]: one pass over the lines, one over the records for the visits.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clients::ClientRegistry;
use super::error::LogError;
use super::format::{Detected, FormatError, LineParser, LogFormat, SessionsBy, detect};
use super::intern::NoNumberLeft;
use super::lines::{LINE_BYTES_MAX, Line, Lines};
use super::parse::{LineError, LineFault, LogLine};
use super::paths::Paths;
use super::prepared::PreparedLog;
use super::pseudonym::Pseudonyms;
use super::record::is_static_path;
use super::service::{ServiceTally, ServiceTimes};
use super::sort::{SortLimits, Sorted, TimeSorter};
use super::statistics::{ClientStatistics, LineCounts, LogStatistics, MalformedLine};
use super::visits::{Passed, pass};

/// Characters of a malformed line that are kept.
const SAMPLE_CHARACTERS: usize = 120;

/// How logs are read.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The format of the lines; `None`, the default, has it judged by the first lines of each file.
    pub format: Option<LogFormat>,
    /// What tells users apart; by default the address with the agent.
    pub sessions_by: SessionsBy,
    /// Whether the client is whom `X-Forwarded-For` names, as behind a content network; default false.
    pub forwarded: bool,
    /// What addresses are replaced by; `None`, the default, leaves them.
    pub pseudonyms: Option<Arc<Pseudonyms>>,
    /// The first second that is replayed, since the Unix epoch in UTC; default 0. Lines before it are counted.
    pub from: u32,
    /// The second before which replaying ends; `None`, the default, is the log's end. Later lines are counted.
    pub until: Option<u32>,
    /// How late a line may be for the log to be sorted on the way, in seconds; default 60. It changes speed, never
    /// results.
    pub reorder_window_seconds: u32,
    /// The most lines in the reorder window, at 20 bytes each; default 65,536. It changes speed, never results.
    pub reorder_lines: usize,
    /// Memory for records, beyond which they go to a temporary file, in bytes; default 64 MiB, enough for 1.6
    /// million lines. The table of clients, about 2 MiB of fixed buffers and the reorder window come on top. It changes
    /// speed, never results.
    pub memory_bytes: usize,
    /// Whether requests keep their paths, for balancers that hash them; default false.
    pub paths: bool,
    /// Memory for paths, beyond which new ones are known by their hash, in bytes; default 256 MiB, enough for some 3 million
    /// paths of 50 bytes.
    pub path_bytes: usize,
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
            format: None,
            sessions_by: SessionsBy::default(),
            forwarded: false,
            pseudonyms: None,
            from: 0,
            until: None,
            reorder_window_seconds: 60,
            reorder_lines: 65_536,
            memory_bytes: 64 << 20,
            paths: false,
            path_bytes: 256 << 20,
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
    service: ServiceTally,
    registry: ClientRegistry,
    sorter: TimeSorter,
    /// Second of the valid line before.
    previous: u32,
    first: Option<Place>,
    last: Option<Place>,
    detected: Vec<Detected>,
}

/// Tells how much was read of an input.
struct Counted<'a> {
    input: File,
    read: u64,
    told: u64,
    progress: &'a dyn Fn(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        const TELL_EVERY_BYTES: u64 = 4 << 20;
        let length = self.input.read(buffer)?;
        self.read += length as u64;
        if self.read - self.told >= TELL_EVERY_BYTES {
            self.told = self.read;
            (self.progress)(self.read);
        }
        Ok(length)
    }
}

/// Why lines could not be sorted.
enum Unsettled {
    NoNumberLeft,
    Failed(LogError),
}

impl From<NoNumberLeft> for Unsettled {
    fn from(_: NoNumberLeft) -> Self {
        Self::NoNumberLeft
    }
}

/// A second and the line that names it.
#[derive(Clone, Copy, Debug)]
struct Place {
    second: u32,
    /// Index into the sources.
    source: usize,
    line: u64,
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
        let paths = options.paths.then(|| Paths::new(options.path_bytes));
        let registry = ClientRegistry::new(options.sessions_by.clone(), options.pseudonyms.clone(), paths);
        Self {
            options,
            sources: Vec::new(),
            counts: LineCounts::default(),
            service: ServiceTally::default(),
            registry,
            sorter,
            previous: 0,
            first: None,
            last: None,
            detected: Vec::new(),
        }
    }

    /// Reads the lines of `file`; `-` is standard input. `progress` is called now and then with the bytes read so far.
    ///
    /// # Errors
    /// As [`LogPreparation::read`].
    pub fn read_file(&mut self, file: &Path, progress: &dyn Fn(u64)) -> Result<(), LogError> {
        if file == Path::new("-") {
            return self.read("standard input", std::io::stdin().lock());
        }
        let name = file.display().to_string();
        let input = File::open(file).map_err(|source| LogError::Open { file: name.clone(), source })?;
        self.read(&name, Counted { input, read: 0, told: 0, progress })
    }

    /// Reads the lines of `input`, plain, gzip or zstd, which is called `name` in messages.
    ///
    /// # Errors
    /// If reading fails, if no format fits or the format lacks what users are told apart by, if there are too many clients, or if the temporary file fails.
    pub fn read(&mut self, name: &str, input: impl Read) -> Result<(), LogError> {
        self.sources.push(name.to_owned());
        let failed = |line, source| LogError::Read { file: name.to_owned(), line, source };
        let mut lines = Lines::new(input).map_err(|source| failed(1, source))?;
        let mut parser = self.parser(name, lines.head())?;
        loop {
            let number = lines.number + 1;
            let line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => return self.settle(name, number),
                Err(source) => return Err(failed(number, source)),
            };
            self.counts.lines += 1;
            let parsed = match line {
                Line::Whole(text) if text.starts_with(b"#") || text.trim_ascii().is_empty() => {
                    self.counts.empty += 1;
                    continue;
                }
                Line::Whole(text) => parser.parse(text).map_err(|error| (error, text)),
                Line::TooLong(text) => Err((LineFault::TooLong.at(LINE_BYTES_MAX), text)),
            };
            match parsed {
                Ok(line) => self.take(&line, name, number)?,
                Err((error, text)) => self.reject(error, text, name, number),
            }
        }
    }

    /// A parser of the lines that begin with `head`.
    fn parser(&mut self, file: &str, head: &[u8]) -> Result<LineParser, LogError> {
        let LogOptions { sessions_by, forwarded, .. } = &self.options;
        let format_error = |source: FormatError| LogError::Format { file: file.to_owned(), source };
        if let Some(format) = &self.options.format {
            return format.parser(sessions_by, *forwarded).map_err(format_error);
        }
        match detect(head, sessions_by, *forwarded).map_err(format_error)? {
            Ok((detected, parser)) => {
                self.detected.push(detected);
                Ok(parser)
            }
            Err(nothing) => Err(LogError::UnknownFormat { file: file.to_owned(), nothing }),
        }
    }

    fn take(&mut self, line: &LogLine<'_>, file: &str, number: u64) -> Result<(), LogError> {
        if line.time < self.options.from || self.options.until.is_some_and(|until| line.time >= until) {
            self.counts.outside += 1;
            return Ok(());
        }
        if line.time < self.previous {
            self.counts.backward_steps += 1;
            let step = self.previous - line.time;
            self.counts.backward_step_seconds_max = self.counts.backward_step_seconds_max.max(step);
        }
        self.previous = line.time;
        let place = Place { second: line.time, source: self.sources.len() - 1, line: number };
        if self.first.is_none_or(|first| place.second < first.second) {
            self.first = Some(place);
        }
        if self.last.is_none_or(|last| place.second > last.second) {
            self.last = Some(place);
        }
        self.counts.valid += 1;
        self.counts.agents_cut += u64::from(line.agent_cut);
        if let Some(took) = line.took.filter(|_| !line.path.is_some_and(is_static_path)) {
            self.service.add(took);
        }
        let full = self
            .registry
            .see(line)
            .map_err(|_| LogError::TooManyClients { file: file.to_owned(), line: number })?;
        if full { self.settle(file, number) } else { Ok(()) }
    }

    /// Has the lines that wait for their clients sorted.
    fn settle(&mut self, file: &str, number: u64) -> Result<(), LogError> {
        let sorter = &mut self.sorter;
        let settled = self.registry.settle(|record| sorter.push(record).map_err(Unsettled::Failed));
        settled.map_err(|error| match error {
            Unsettled::NoNumberLeft => LogError::TooManyClients { file: file.to_owned(), line: number },
            Unsettled::Failed(error) => error,
        })
    }

    fn reject(&mut self, error: LineError, text: &[u8], file: &str, number: u64) {
        self.counts.malformed += 1;
        *self.counts.malformed_by_reason.entry(error.fault).or_default() += 1;
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
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return Err(LogError::NothingValid {
                files: if self.sources.is_empty() { "no file".into() } else { self.sources.join(", ") },
                lines: self.counts.lines,
                outside: self.counts.outside,
                first: self.counts.malformed_samples.into_iter().next().map(Box::new),
            });
        };
        let Sorted { spool, late, runs } = self.sorter.finish()?;
        let spool = Arc::new(spool);
        let tables = self.registry.finish();
        let Passed { visits, visits_by_address, gap } =
            pass(&tables, &spool, first.second, self.options.visit_gap_seconds)?;
        let by_client = ClientStatistics::of(&tables);
        let service = self.service.finish();
        let statistics = LogStatistics {
            counts: self.counts,
            formats: self
                .options
                .format
                .map_or_else(|| judged(&self.sources, &self.detected), |format| format.name().to_owned()),
            sessions_by: self.options.sessions_by.to_string(),
            named_users: tables.named_users as u64,
            users: tables.users as u64,
            first_second: first.second,
            last_second: last.second,
            first_line: format!("{}:{}", self.sources[first.source], first.line),
            last_line: format!("{}:{}", self.sources[last.source], last.line),
            longest_gap: gap,
            external_sort: late,
            sort_runs: runs,
            addresses: tables.addresses.len() as u64,
            host_names: tables.names as u64,
            networks: by_client.networks,
            clients: tables.clients.len() as u64,
            timed_requests: service.as_ref().map_or(0, ServiceTimes::requests),
            paths: tables.paths.as_ref().map_or(0, Paths::kept),
            requests_with_hashed_path: tables.paths.as_ref().map_or(0, Paths::hashed),
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
        Ok(PreparedLog {
            clients: tables.clients,
            users: tables.users,
            agents: tables.agents,
            paths: tables.paths,
            service,
            spool,
            statistics,
        })
    }
}

/// The formats that files were judged to be in, in words.
fn judged(sources: &[String], detected: &[Detected]) -> String {
    let same = detected.windows(2).all(|pair| pair[0].format == pair[1].format);
    let (seen, fit) =
        detected.iter().fold((0, 0), |(seen, fit), found| (seen + found.fit.0, fit + found.fit.1));
    let judged = format!("judged by the first lines, of which {fit} of {seen} fit");
    match detected {
        [first, ..] if same => format!("{}, {judged}", first.format.name()),
        _ => {
            let each =
                sources.iter().zip(detected).map(|(file, found)| format!("{file}: {}", found.format.name()));
            format!("{}; {judged}", each.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// The second in which the day of [`line`] begins.
    pub(in super::super) const DAY: u32 = 1_455_926_400;

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
        assert_eq!(counts.malformed_by_reason.values().sum::<u64>(), 3);
        let samples: Vec<_> = counts.malformed_samples.iter().map(ToString::to_string).collect();
        assert_eq!(
            samples,
            ["access.log:3:10: not what the format has here", "access.log:5:1: not what the format has here"]
        );
        assert_eq!(counts.malformed_samples[0].text, format!("nonsense {}\u{e9}", "x".repeat(110)));
    }

    #[test]
    fn a_log_without_a_valid_line_is_an_error_that_shows_the_first_one() {
        let message = |text| prepare(text, LogOptions::default()).expect_err("nothing is valid").to_string();
        assert!(
            message("no log\n\n").starts_with(
                "access.log: no known format fits the first lines; the nearest format is `combined`: column 4: not "
            ),
            "{}",
            message("no log\n\n")
        );
        assert!(message("").starts_with("access.log: no valid line among 0\n"));
        let options = LogOptions { format: Some(LogFormat::combined()), ..LogOptions::default() };
        let error = prepare("no log\n", options).expect_err("nothing is valid").to_string();
        assert!(error.contains("among 1; the first malformed one is access.log:1:4: not "), "{error}");
        let options = LogOptions { from: DAY + 60, ..LogOptions::default() };
        let error = prepare(&line(5, "192.0.2.1", "A"), options).expect_err("before the time").to_string();
        assert!(error.contains("1 outside the time asked for"), "{error}");
        let nothing = PreparedLog::from_files([""; 0], &LogOptions::default(), &|_| ());
        assert!(nothing.expect_err("no file was named").to_string().starts_with("no file: "));
    }

    #[test]
    fn an_unreadable_file_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let missing = directory.path().join("missing.log");
        let error = PreparedLog::from_files([&missing], &LogOptions::default(), &|_| ())
            .expect_err("there is no such file");
        assert!(
            error.to_string().starts_with(&format!("{}: cannot open the log: ", missing.display())),
            "{error}"
        );
        let error = PreparedLog::from_files([directory.path()], &LogOptions::default(), &|_| ());
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
