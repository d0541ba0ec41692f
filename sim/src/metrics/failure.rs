//! Requests that nobody answered.

/// Why a request ended without an answer of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Failure {
    /// The server refused the connection, and no other was tried.
    Refused,
    /// The server died, or the director did not know the connection, after the request was sent.
    Reset,
    /// The director dropped the packets: the server is no longer in its table.
    Dropped,
    /// The balancer had no server left to try.
    NoServer,
    /// The server's queue was full: 503.
    QueueFull,
    /// The request waited in the balancer's queue for as long as it may: 503.
    QueueTimeout,
    /// The client gave up waiting.
    TimedOut,
    /// The balancer gave up waiting for the connection or the answer: 504.
    ProxyTimeout,
    /// The application could not ask its session store: 500.
    Store,
    /// Nobody answered at the site's address: no director has it, or the machine behind it is dead.
    NoDirector,
    /// The server answered with an error.
    Error,
}

impl Failure {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::Refused,
        Self::Reset,
        Self::Dropped,
        Self::NoServer,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::TimedOut,
        Self::ProxyTimeout,
        Self::Store,
        Self::NoDirector,
        Self::Error,
    ];
}
