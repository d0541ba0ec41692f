//! Replay of real access logs: reads logs of any size once, in any of the usual formats ([`LogFormat`]) and in bounded
//! memory, and gives any number of simulation runs, in parallel threads, the same requests in time order.
//!
//! ```no_run
//! use evenkeel_sim::population::replay::{LogOptions, PreparedLog};
//!
//! let log = PreparedLog::from_files(["access.log.1.gz", "access.log"], &LogOptions::default(), &|_share| {})?;
//! for request in log.records() {
//!     let request = request?;
//!     let client = &log.clients()[request.record.client as usize];
//!     println!("{:?} {}", request.at, client.address);
//! }
//! # Ok::<(), evenkeel_sim::population::replay::LogError>(())
//! ```
//!
//! # What a log does not say
//!
//! - **Users.** A distinct pair of address and user agent is one, unless a name or a cookie tells them apart
//!   ([`SessionsBy`]).
//! - **Visits.** A run of a user's requests without a gap longer than 30 minutes ([`VisitTracker`]).
//! - **Connections.** The simulation lets requests of one client within `keepalive_timeout` of each other share a
//!   connection; nothing of it is prepared here.
//! - **Times within a second.** Unless the log writes fractions, the k-th of m requests is placed at (k + 0.5) / m of it
//!   ([`ReplayedRequest::at`]).
//! - **Bots.** Judged by agent and by requests for `/robots.txt` ([`BotReason`]).
//! - **Service times, logins, session ends.** Not here: the scenario's.
//!
//! [`LogStatistics::inferred`] says all this with the log's own numbers.
//!
//! # Order
//!
//! Records are sorted by (time, place in the log), the log being the files in the order given. Servers write a line
//! when a request ends (nginx) with the time at which it began (Apache) or ended, so real logs go back and forth.

mod bots;
mod clients;
mod error;
mod format;
mod intern;
mod lines;
mod parse;
mod paths;
mod prepare;
mod prepared;
mod pseudonym;
mod record;
mod rewrite;
mod service;
mod sort;
mod spool;
mod statistics;
mod timestamp;
mod visits;

pub use bots::BotReason;
pub use clients::LogClient;
pub use error::LogError;
pub use format::{Detected, FormatError, LineParser, LogFormat, NothingFits, SessionsBy};
pub use parse::{LineError, LineFault, LogAddress, LogLine};
pub use paths::LoggedPath;
pub use prepare::{LogOptions, LogPreparation};
pub use prepared::PreparedLog;
pub use pseudonym::{KeyError, Pseudonyms};
pub use record::{LogMethod, LogRecord, RecordFlags, ReplayedRequest};
pub use rewrite::{Rewritten, rewrite};
pub use service::{LoggedTime, ServiceTimes};
pub use spool::RecordReader;
pub(super) use statistics::network_of;
pub use statistics::{BotLines, CountSummary, LineCounts, LogStatistics, MalformedLine, TopShares};
pub use timestamp::{parse_second, show_second};
pub use visits::{VisitState, VisitTracker};
