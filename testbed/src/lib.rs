//! The live arm of the conformance suite: drives the real nginx and HAProxy on loopback, and what session stores are made of at
//! sockets of their own, with random configurations and events, records what they decide as the committed recordings do, and replays that by
//! [`evenkeel_sim::conformance`]. So the two arms share one body: a case from here can be added to the recordings as it is.
//!
//! Everything random comes from a seed. What the machine adds is time: a case that differs is run again, and only one that
//! differs again counts; one that does not is told of as not reproduced. A case that counts is shrunk and written to a
//! folder.
//!
//! Programs, servers and clients are on 127.0.0.0/8 and Unix sockets alone. This crate has the sockets, processes and
//! clocks that the simulator must not have.

#![cfg(target_os = "linux")]

mod arm;
mod backend;
mod dice;
mod haproxy;
mod nginx;
mod process;
mod recording;
mod script;
mod shrink;
mod sniffer;
mod stage;
mod stores;
mod traffic;

use std::io;
use std::net::SocketAddr;

pub use arm::{LiveCase, LivePlan, LiveReport, Verdict, run};
pub use process::{Installed, Program};

/// Why a case could not be run: the testbed's or the machine's fault, not the model's.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The case has no folder, or a file in it cannot be written.
    #[error("the case's folder: {0}")]
    Folder(io::Error),
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {error}; is another live run with this seed under way?")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The program cannot be started.
    #[error("cannot start `{program}`: {error}")]
    Start {
        /// Its binary.
        program: String,
        /// What the system says.
        error: io::Error,
    },
    /// The program ended by itself.
    #[error("the program ended ({status}): {message}")]
    Ended {
        /// How.
        status: String,
        /// What it wrote last.
        message: String,
    },
    /// A client could not reach the program.
    #[error("a client's connection: {0}")]
    Client(io::Error),
    /// The program did not log the end of a request.
    #[error("request {id}: the program logged nothing of it")]
    Silent {
        /// The request's number.
        id: u32,
    },
    /// Something that must come did not.
    #[error("waited in vain for {what}")]
    Late {
        /// What.
        what: &'static str,
    },
    /// A line of the program's log is not as configured.
    #[error("a line of the log cannot be read: `{line}`")]
    Log {
        /// The line.
        line: String,
    },
}
