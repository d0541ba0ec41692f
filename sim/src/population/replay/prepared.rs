//! A log that is ready to be replayed.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::clients::LogClient;
use super::error::LogError;
use super::paths::{LoggedPath, Paths};
use super::prepare::{LogOptions, LogPreparation};
use super::record::LogRecord;
use super::service::ServiceTimes;
use super::spool::{RecordReader, Spool};
use super::statistics::LogStatistics;

/// A log that is ready to be replayed, any number of times and by several threads at once.
#[derive(Debug)]
pub struct PreparedLog {
    pub(super) clients: Vec<LogClient>,
    pub(super) users: usize,
    pub(super) agents: Vec<Box<[u8]>>,
    pub(super) paths: Option<Paths>,
    pub(super) service: Option<ServiceTimes>,
    pub(super) spool: Arc<Spool>,
    pub(super) statistics: LogStatistics,
}

impl PreparedLog {
    /// Reads `files` as if they were one log, in this order, and sorts it by time. Plain and gzip files are told
    /// apart by their content; `-` is standard input. `progress` is called now and then with the share of their bytes that has
    /// been read.
    ///
    /// # Errors
    /// If a file cannot be read to its end, if no line of any is valid, or if the temporary file fails.
    pub fn from_files<P: AsRef<Path>>(
        files: impl IntoIterator<Item = P>,
        options: &LogOptions,
        progress: &dyn Fn(f64),
    ) -> Result<Self, LogError> {
        let files: Vec<P> = files.into_iter().collect();
        let bytes = |file: &P| std::fs::metadata(file).map_or(0, |metadata| metadata.len());
        let total = files.iter().map(bytes).sum::<u64>().max(1) as f64;
        let mut before = 0;
        let mut preparation = LogPreparation::new(options.clone());
        for file in &files {
            preparation
                .read_file(file.as_ref(), &|read| progress(((before + read) as f64 / total).min(1.0)))?;
            before += bytes(file);
        }
        preparation.finish()
    }

    /// The clients: distinct pairs of address and user agent, of one user each, in the order in which the log names them first.
    pub fn clients(&self) -> &[LogClient] {
        &self.clients
    }

    /// How many users there are; the number of one's user is in [`LogClient::user`].
    pub const fn users(&self) -> usize {
        self.users
    }

    /// The user agents as logged, in the order in which the log names them first; `-` stands for none.
    pub fn agents(&self) -> &[Box<[u8]>] {
        &self.agents
    }

    /// The path of a request; [`LoggedPath::None`] if [`LogOptions::paths`] was not asked for.
    #[inline]
    pub fn path(&self, record: &LogRecord) -> LoggedPath<'_> {
        self.paths.as_ref().map_or(LoggedPath::None, |paths| paths.get(record.path))
    }

    /// How long requests for other than static objects took, if the log says it.
    pub const fn service_times(&self) -> Option<&ServiceTimes> {
        self.service.as_ref()
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::super::prepare::tests::{DAY, line, prepare};
    use super::super::{BotReason, ReplayedRequest};
    use super::*;

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

    /// Goal: the whole reader on a real log. Method: every figure of the data's README, computed by other programs;
    /// tolerances are half a unit of the digits printed there.
    #[test]
    fn the_blog_log_has_the_statistics_of_its_readme() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/logs/data/blog2016_access.log.gz");
        let log = PreparedLog::from_files([file], &LogOptions::default(), &|_| ()).expect("a readable log");
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

    /// The same for the small log.
    #[test]
    fn the_small_log_has_the_statistics_of_its_readme() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/logs/data/elastic10k_access.log.gz");
        let log = PreparedLog::from_files([file], &LogOptions::default(), &|_| ()).expect("a readable log");
        let statistics = log.statistics();
        assert_eq!((statistics.counts.lines, statistics.counts.malformed), (10_000, 0));
        assert_eq!((statistics.addresses, statistics.networks), (1_753, 1_474));
        let requests = statistics.requests_per_address;
        assert_eq!((requests.p50, requests.p90, requests.p99, requests.max), (2, 8, 50, 482));
        assert_near(requests.mean, 5.7, 0.05, "requests per address");
        assert_near(statistics.gini, 0.640, 0.000_5, "Gini");
        for (shares, expected) in [
            (statistics.address_shares, [0.048, 0.204, 0.471]),
            (statistics.network_shares, [0.054, 0.220, 0.514]),
        ] {
            for (got, expected) in [shares.top_1, shares.top_10, shares.top_100].into_iter().zip(expected) {
                assert_near(got, expected, 0.000_5, "share of the busiest");
            }
        }
        let visits = statistics.visits_by_address;
        assert_eq!((visits.number, visits.p90, visits.p99), (3_052, 6, 33));
        for expected in
            [&[0.6147, 0.3853][..], &[0.3312, 0.2734, 0.3954], &[0.2347, 0.2308, 0.1446, 0.1970, 0.1929]]
        {
            let servers = expected.len();
            let shares = log.shares(servers, |address| ip_hash(address, servers)).expect("readable records");
            for (got, expected) in shares.into_iter().zip(expected) {
                assert_near(got, *expected, 0.000_05, "ip_hash");
            }
        }
    }

    /// Goal: a clock that was not set is not mistaken for half a century of traffic in silence.
    #[test]
    fn a_line_that_stands_years_apart_is_told_with_its_place() {
        let lone = line(5, "192.0.2.1", "A").replace("20/Feb/2016", "01/Jan/1970");
        let log = prepare(&(line(9, "192.0.2.1", "A") + &lone), LogOptions::default()).expect("two lines");
        let warnings = log.statistics().warnings();
        assert!(warnings[0].contains("nothing for 16851 days"), "{warnings:?}");
        assert!(
            warnings[0].contains("the earliest line is access.log:2, the latest access.log:1"),
            "{warnings:?}"
        );
        let log = prepare(&line(9, "192.0.2.1", "A").repeat(2), LogOptions::default()).expect("two lines");
        assert!(log.statistics().warnings().is_empty());
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

        let log = PreparedLog::from_files([&new, &old], &LogOptions::default(), &|_| ())
            .expect("two readable files");
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
        let lines = [line(5, "192.0.2.1", "curl/8"), "?\n".into(), line(4, "host.example", "A")].concat();
        // The last line loses its end and the quote after the agent.
        let text = &lines[..lines.len() - 2];
        let log = prepare(text, LogOptions::default()).expect("two valid lines");
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
            "1 lines end within their user agent",
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
            prop_assert_eq!(replayed.iter().map(|request| request.record.second - DAY).collect::<Vec<_>>(), sorted);
        }
    }
}
