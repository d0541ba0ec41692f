//! A log through the whole way of `evenkeel replay`: read and sorted, then replayed through nginx's `ip_hash`. Nanoseconds a
//! line of CPU time, and lines a second of one core; the log is plain text in a temporary file, so no decompression is in it.
//!
//! The log is drawn: `combined` lines at an even rate, of 200,000 users whose requests have a heavy tail, with 400 agents and
//! 2,000 paths; some lines are a few seconds late, as real ones are.

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};

use evenkeel_benches::{Options, compare, timed};
use evenkeel_sim::cluster::{self, RunSetup};
use evenkeel_sim::engine::Stream;
use evenkeel_sim::ids::StreamId;
use evenkeel_sim::population::replay::{LogOptions, PreparedLog};
use evenkeel_sim::scenario::{self, Overrides};

const USERS: u64 = 200_000;
/// Lines a second.
const RATE: u64 = 100;
/// The start of 2026, UTC.
const START: u64 = 1_767_225_600;

const SCENARIO: &str = r#"
title = "replay"
window = "1h"

[[log]]
name = "log"
file = "-"

[cluster]
servers = [
  { name = "a", address = "10.0.0.1:80" },
  { name = "b", address = "10.0.0.2:80" },
  { name = "c", address = "10.0.0.3:80" },
]
capacity = { workers = 64, service = { exponential = { mean = "20ms" } } }

[[strategy]]
name = "ip_hash"
balancer = { nginx.ip_hash = {} }
session = { local = {} }
"#;

/// Writes `lines` lines into a temporary file.
fn write_log(lines: u64) -> std::io::Result<tempfile::NamedTempFile> {
    let draws = Stream::new(1, 0, StreamId::Arrivals);
    let mut file = BufWriter::new(tempfile::NamedTempFile::new()?);
    let mut text = String::new();
    for line in 0..lines {
        let u = draws.uniform(line, 0);
        // The cube makes a few users busy and most rare.
        let user = (USERS as f64 * u * u * u) as u64;
        let bits = draws.bits(user, 1);
        let [a, b, c, d, ..] = bits.to_le_bytes();
        let late = if line % 50 == 0 { draws.below(5, line, 2) } else { 0 };
        let second = START + (line / RATE).saturating_sub(late);
        let (day, hour, minute) = ((second - START) / 86_400 + 1, second / 3_600 % 24, second / 60 % 60);
        let page = draws.below(2_000, line, 3);
        let ending = if page % 3 == 0 { ".css" } else { "" };
        text.clear();
        let _ = writeln!(
            text,
            "{}.{b}.{c}.{d} - - [{day:02}/Jan/2026:{hour:02}:{minute:02}:{:02} +0000] \"GET /articles/2026/{page}{ending}?ref=home \
             HTTP/1.1\" 200 {} \"https://www.example.org/articles/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, \
             like Gecko) Chrome/{}.0.0.0 Safari/537.36\"",
            1 + a % 220,
            second % 60,
            page * 17,
            100 + bits % 400,
        );
        file.write_all(text.as_bytes())?;
    }
    file.into_inner().map_err(std::io::IntoInnerError::into_error)
}

fn main() {
    let options = Options::from_args().unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2);
    });
    let loaded = scenario::parse("replay.toml", SCENARIO, &Overrides::NONE).expect("the scenario is right");
    let sizes = if options.sizes.is_empty() { vec![1_000_000] } else { options.sizes.clone() };
    for lines in sizes {
        let file = write_log(lines as u64).expect("room for the log in the temporary directory");
        let read = || {
            let log_options = LogOptions { malformed_samples: 0, ..LogOptions::default() };
            PreparedLog::from_files([file.path()], &log_options, &|_| ()).expect("a log")
        };
        let logs = [read()];
        let title = format!(
            "{lines} lines of {} clients, {} bytes",
            logs[0].clients().len(),
            file.as_file().metadata().map_or(0, |m| m.len())
        );
        let prepare = || timed(lines as u64, || read().requests());
        let replay = || {
            timed(lines as u64, || {
                let setup = RunSetup {
                    scenario: &loaded.scenario,
                    strategy: 0,
                    replication: 0,
                    logs: &logs,
                    stories: 0,
                };
                cluster::run(&setup, &|_| ()).expect("the accounts balance").sizes.requests
            })
        };
        let both = || {
            timed(lines as u64, || {
                let logs = [read()];
                let setup = RunSetup {
                    scenario: &loaded.scenario,
                    strategy: 0,
                    replication: 0,
                    logs: &logs,
                    stories: 0,
                };
                cluster::run(&setup, &|_| ()).expect("the accounts balance").sizes.requests
            })
        };
        compare(
            &title,
            &options,
            &mut [
                ("read, parse, sort", Box::new(prepare)),
                ("replay", Box::new(replay)),
                ("both", Box::new(both)),
            ],
        );
    }
}
