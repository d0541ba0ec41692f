//! From log files to a [`PreparedLog`] in one pass over the lines, and one over the records for the visits.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clients::{ClientRegistry, ClientTables, LogClient};
use super::error::LogError;
use super::lines::{LINE_BYTES_MAX, Line, Lines};
use super::parse::{LineError, LineFault, LogLine};
use super::record::LogRecord;
use super::sort::{SortLimits, Sorted, TimeSorter};
use super::spool::{RecordReader, Spool};
use super::statistics::{ClientStatistics, Counts, LineCounts, LogStatistics, MalformedLine};
use super::visits::VisitTracker;

/// Characters of a malformed line that are kept.
const SAMPLE_CHARACTERS: usize = 120;

/// How logs are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogOptions {
    /// How late a line may be for the log to be sorted on the way [s]; default 60. It changes speed, never results.
    pub reorder_window_seconds: u32,
    /// The most lines in the reorder window, at 32 bytes each; default 65,536. It changes speed, never results.
    pub reorder_lines: usize,
    /// Memory for records, beyond which they go to a temporary file [bytes]; default 64 MiB, enough for 2 million
    /// lines. The table of clients, about 2 MiB of fixed buffers and the reorder window come on top. It changes
    /// speed, never results.
    pub memory_bytes: usize,
    /// How many malformed lines are kept as samples; default 20. All are counted.
    pub malformed_samples: usize,
    /// The longest gap within a visit [s]; default 1,800.
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

/// A log that is ready to be replayed, any number of times and by several threads at once.
#[derive(Debug)]
pub struct PreparedLog {
    clients: Vec<LogClient>,
    agents: Vec<Box<[u8]>>,
    spool: Arc<Spool>,
    statistics: LogStatistics,
}

impl PreparedLog {
    /// Reads `files` as if they were one log, in this order, and sorts it by time. Plain and gzip files are told
    /// apart by their content.
    ///
    /// # Errors
    /// If a file cannot be read to its end, if no line of any is valid, or if the temporary file fails.
    pub fn from_files<P: AsRef<Path>>(
        files: impl IntoIterator<Item = P>,
        options: &LogOptions,
    ) -> Result<Self, LogError> {
        let mut preparation = LogPreparation::new(options.clone());
        for file in files {
            preparation.read_file(file.as_ref())?;
        }
        preparation.finish()
    }

    /// The clients: distinct pairs of address and user agent, in the order in which the log names them first.
    pub fn clients(&self) -> &[LogClient] {
        &self.clients
    }

    /// The user agents as logged, in the order in which the log names them first; `-` stands for none.
    pub fn agents(&self) -> &[Box<[u8]>] {
        &self.agents
    }

    /// The log in numbers.
    pub const fn statistics(&self) -> &LogStatistics {
        &self.statistics
    }

    /// Requests in the log.
    pub fn requests(&self) -> u64 {
        self.spool.len()
    }

    /// A new reader of all requests in time order, from the first one.
    pub fn records(&self) -> RecordReader {
        RecordReader::new(Arc::clone(&self.spool), self.statistics.first_second)
    }

    /// The share of requests that each of `servers` servers gets, by server, if `choose` names the server of each
    /// request in time order from its address alone: what a hash of the address would do to this log.
    ///
    /// # Errors
    /// If the temporary file cannot be read back.
    ///
    /// # Panics
    /// Panics if `choose` names a server that there is not.
    pub fn shares(
        &self,
        servers: usize,
        mut choose: impl FnMut(IpAddr) -> usize,
    ) -> Result<Vec<f64>, LogError> {
        let mut requests = vec![0_u64; servers];
        for request in self.records() {
            requests[choose(self.clients[request?.record.client as usize].address)] += 1;
        }
        Ok(requests.into_iter().map(|count| count as f64 / self.requests() as f64).collect())
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
        let input =
            File::open(file).map_err(|source| LogError::Read { file: name.clone(), line: 1, source })?;
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

/// Requests per visit, by client and by address.
fn count_visits(
    tables: &ClientTables,
    spool: &Arc<Spool>,
    start: u32,
    gap_seconds: u32,
) -> Result<(Counts, Counts), LogError> {
    let mut by_client = VisitLengths::new(tables.clients.len(), gap_seconds);
    let mut by_address = VisitLengths::new(tables.addresses.len(), gap_seconds);
    for request in RecordReader::new(Arc::clone(spool), start) {
        let LogRecord { second, client, .. } = request?.record;
        by_client.observe(client, second);
        by_address.observe(tables.address_numbers[client as usize], second);
    }
    Ok((by_client.finish(), by_address.finish()))
}

/// Collects the lengths of visits when they end.
struct VisitLengths {
    tracker: VisitTracker,
    lengths: Counts,
}

impl VisitLengths {
    fn new(clients: usize, gap_seconds: u32) -> Self {
        Self { tracker: VisitTracker::new(clients, gap_seconds), lengths: Counts::default() }
    }

    fn observe(&mut self, client: u32, second: u32) {
        let before = self.tracker.clicks(client);
        if self.tracker.observe(client, second).click == 0 && before > 0 {
            self.lengths.add(before.into());
        }
    }

    fn finish(mut self) -> Counts {
        self.tracker
            .open_visits()
            .filter(|&clicks| clicks > 0)
            .for_each(|clicks| self.lengths.add(clicks.into()));
        self.lengths
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::super::{BotReason, ReplayedRequest};
    use super::*;

    fn line(second: u32, address: &str, agent: &str) -> String {
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        format!(
            "{address} - - [20/Feb/2016:{hour:02}:{minute:02}:{:02} +0000] \"GET / HTTP/1.1\" 200 {second} \"-\" \"{agent}\"\n",
            second % 60
        )
    }

    fn prepare(text: &str, options: LogOptions) -> Result<PreparedLog, LogError> {
        let mut preparation = LogPreparation::new(options);
        preparation.read("access.log", text.as_bytes())?;
        preparation.finish()
    }

    fn replayed(log: &PreparedLog) -> Vec<ReplayedRequest> {
        log.records().collect::<Result<_, _>>().expect("readable records")
    }

    /// nginx 1.22.1 `ngx_http_upstream_get_ip_hash_peer` for an IPv4 address and equal weights, all up.
    fn ip_hash(address: IpAddr, servers: usize) -> usize {
        let IpAddr::V4(address) = address else { panic!("{address} is not of IPv4") };
        address.octets()[..3].iter().fold(89, |hash, &octet| (hash * 113 + usize::from(octet)) % 6_271)
            % servers
    }

    fn assert_near(got: f64, expected: f64, half_unit: f64, what: &str) {
        assert!((got - expected).abs() <= half_unit, "{what}: {got}, expected {expected}");
    }

    /// Goal: the whole reader on a real log. Method: every figure of the data's README, which were computed by other
    /// programs; tolerances are half a unit of the digits printed there.
    #[test]
    fn the_blog_log_has_the_statistics_of_its_readme() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/logs/data/blog2016_access.log.gz");
        let log = PreparedLog::from_files([file], &LogOptions::default()).expect("a readable log");
        let statistics = log.statistics();

        assert_eq!(statistics.counts.lines, 206_860);
        assert_eq!(statistics.counts.valid, 206_860);
        assert_eq!(statistics.counts.malformed, 0);
        assert_eq!(statistics.counts.backward_steps, 5_771);
        assert_eq!(statistics.counts.backward_step_seconds_max, 149);
        assert!(statistics.external_sort, "149 s are more than the window of 60 s");
        assert_eq!(statistics.period(), "2016-02-20 05:00:45 UTC to 2016-03-28 18:59:20 UTC");

        assert_eq!((statistics.addresses, statistics.networks, statistics.clients), (8_799, 5_127, 15_404));
        let requests = statistics.requests_per_address;
        assert_eq!((requests.p50, requests.p90, requests.p99, requests.max), (3, 31, 233, 37_506));
        assert_near(requests.mean, 23.5, 0.05, "requests per address");
        assert_near(statistics.gini, 0.845, 0.000_5, "Gini");
        for (shares, expected) in [
            (statistics.address_shares, [0.181, 0.358, 0.527]),
            (statistics.network_shares, [0.185, 0.487, 0.698]),
        ] {
            for (got, expected) in [shares.top_1, shares.top_10, shares.top_100].into_iter().zip(expected) {
                assert_near(got, expected, 0.000_5, "share of the busiest");
            }
        }

        let visits = statistics.visits_by_address;
        assert_eq!((visits.number, visits.p90, visits.p99), (45_963, 4, 32));
        assert_near(visits.mean, 4.5, 0.05, "requests per visit");
        assert_eq!((statistics.visits.number, statistics.visits.p99), (56_354, 28));
        assert_near(statistics.robot_word_lines as f64 / 206_860.0, 0.533, 0.000_5, "robot words");

        for expected in
            [&[0.4215, 0.5785][..], &[0.2918, 0.4661, 0.2421], &[0.1822, 0.1646, 0.3268, 0.1410, 0.1854]]
        {
            let servers = expected.len();
            let shares = log.shares(servers, |address| ip_hash(address, servers)).expect("readable records");
            for (got, expected) in shares.into_iter().zip(expected) {
                assert_near(got, *expected, 0.000_05, "ip_hash");
            }
        }

        let mut previous = None;
        for request in log.records() {
            let at = request.expect("readable records").at;
            assert!(Some(at) > previous, "requests are in order, and no two share an instant");
            previous = Some(at);
        }
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
            error.to_string().starts_with(&format!("{}:1: cannot read the log", missing.display())),
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

    #[test]
    fn several_files_are_one_log_whatever_their_form_and_order() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (old, new) = (directory.path().join("access.log.1"), directory.path().join("access.log"));
        // The older file is compressed, in spite of its name, and is given last.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let old_text = [line(10, "192.0.2.1", "A"), line(3_000, "192.0.2.2", "A")].concat();
        encoder.write_all(old_text.as_bytes()).expect("writing to memory");
        std::fs::write(&old, encoder.finish().expect("writing to memory")).expect("a writable directory");
        let new_text = [line(3_000, "192.0.2.3", "A"), line(3_001, "192.0.2.1", "A")].concat();
        std::fs::write(&new, new_text).expect("a writable directory");

        let log = PreparedLog::from_files([&new, &old], &LogOptions::default()).expect("two readable files");
        let order: Vec<_> = replayed(&log)
            .into_iter()
            .map(|request| (request.at.0 / 1_000_000, log.clients()[request.record.client as usize].address))
            .map(|(millis, address)| (millis, address.to_string()))
            .collect();
        let expected = [
            (500, "192.0.2.1"),
            (2_990_250, "192.0.2.3"),
            (2_990_750, "192.0.2.2"),
            (2_991_500, "192.0.2.1"),
        ];
        assert_eq!(order, expected.map(|(millis, address)| (millis, address.to_owned())));
        assert_eq!(log.statistics().counts.backward_steps, 1);
    }

    #[test]
    fn what_is_inferred_is_said_with_the_logs_numbers() {
        let text = [line(5, "192.0.2.1", "curl/8"), line(4, "host.example", "A"), "?\n".into()].concat();
        let log = prepare(&text, LogOptions::default()).expect("two valid lines");
        let sentences = log.statistics().inferred();
        for part in [
            "2 clients on 2 addresses",
            "at most 1800 s are one visit (2 visits)",
            "share a connection",
            "Service times",
            "(k + 0.5) / m",
            "Bots: 1 of 2 lines",
            "1 host names",
            "1 lines went back in time, by up to 1 s",
            "1 of 3 lines could not be read",
        ] {
            assert!(sentences.iter().any(|sentence| sentence.contains(part)), "{part}: {sentences:?}");
        }
        assert_eq!(log.clients()[0].bot, Some(BotReason::Tool));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Goal: neither window nor budget can be seen in what is replayed. Method: shuffled lines, prepared under
        /// tight and under ample limits.
        #[test]
        fn limits_change_nothing_that_is_replayed(
            lines in prop::collection::vec((0_u32..300, 0_u8..6, 0_u8..2), 1..200),
            reorder_window_seconds in 0_u32..300,
            reorder_lines in 0_usize..50,
            memory_bytes in prop_oneof![Just(0_usize), Just(4), 32..1_000_usize],
        ) {
            let text: String = lines
                .iter()
                .map(|(second, host, agent)| line(*second, &format!("192.0.2.{host}"), &format!("agent {agent}")))
                .collect();
            let tight = LogOptions { reorder_window_seconds, reorder_lines, memory_bytes, ..LogOptions::default() };
            let ample = LogOptions { reorder_window_seconds: u32::MAX, ..LogOptions::default() };
            let (tight, ample) = (prepare(&text, tight).expect("valid"), prepare(&text, ample).expect("valid"));
            prop_assert!(!ample.statistics().external_sort);
            let replayed = replayed(&tight);
            prop_assert_eq!(&replayed, &super::tests::replayed(&ample));
            prop_assert_eq!(tight.clients(), ample.clients());
            prop_assert_eq!(tight.statistics().visits, ample.statistics().visits);

            let mut sorted: Vec<u32> = lines.iter().map(|(second, ..)| *second).collect();
            sorted.sort();
            // The bytes of a line are its second.
            prop_assert_eq!(replayed.iter().map(|request| request.record.bytes).collect::<Vec<_>>(), sorted);
        }
    }
}
