//! What a case does: the steps, in the order in which the driver takes them.
//!
//! A step that makes no sense, such as the release of a request that is not held, is passed over, so that any part of a
//! script is a script: that is what makes shrinking simple.

use std::fmt;
use std::net::IpAddr;

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Answers with 200 at once.
    Up,
    /// Nobody listens.
    Refuse,
    /// Accepts, never answers.
    Hang,
    /// Accepts, and breaks off when it has read the request.
    Close,
    /// Answers with this status.
    Http(u16),
    /// Answers with 200 after so many milliseconds.
    Slow(u16),
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("ok"),
            Self::Refuse => f.write_str("refuse"),
            Self::Hang => f.write_str("hang"),
            Self::Close => f.write_str("close"),
            Self::Http(status) => write!(f, "http{status}"),
            Self::Slow(millis) => write!(f, "slow:{millis}"),
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Its number, unique in the script.
    pub(crate) id: u32,
    /// The address that the program is told.
    pub(crate) client: IpAddr,
    /// `GET` or `POST`.
    pub(crate) post: bool,
    /// Path and query.
    pub(crate) path: String,
    /// Headers besides those that every request has, each without the end of its line.
    pub(crate) headers: Vec<String>,
    /// What the recording's key column shows of it.
    pub(crate) key: String,
    /// What stick rules look at, in the request and in the answer; empty without such rules.
    pub(crate) samples: [String; 2],
    /// Whether the answer waits for a [`Step::Release`].
    pub(crate) hold: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing happens for so many milliseconds.
    Wait(u32),
    /// A request arrives.
    Ask(Ask),
    /// A request that is held gets its answer.
    Release(u32),
    /// The client of a request that is held goes away.
    Abort(u32),
    /// The server of that number, from 1, behaves otherwise from now on.
    Behave(u16, Mode),
    /// nginx loads the configuration with that index, from 0, among those for reloads.
    Reload(usize),
    /// HAProxy is told something about the server of that number, from 1: what follows its name in `set server`.
    Admin(u16, String),
}

/// A configuration and what happens under it.
#[derive(Clone, Debug)]
pub(crate) struct Script<S> {
    /// The configuration.
    pub(crate) setup: S,
    /// What happens, in order.
    pub(crate) steps: Vec<Step>,
}

/// The name of a server by its number.
pub(crate) fn server_name(number: u16) -> String {
    format!("s{number}")
}
