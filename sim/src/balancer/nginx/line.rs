//! What an upstream's configuration says of a server.

/// One `server` line of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct NginxServer {
    /// `weight`, at least 1.
    pub weight: u32,
    /// `max_fails`; 0 turns failure accounting off.
    pub max_fails: u32,
    /// `fail_timeout`, in whole seconds as nginx keeps it.
    pub fail_timeout_s: u64,
    /// `max_conns`; 0 is no limit.
    pub max_conns: u32,
    /// `down`.
    pub down: bool,
    /// `drain`: only requests whose cookie names it.
    pub drain: bool,
    /// `backup`.
    pub backup: bool,
    /// The configuration does not have this line, as when a server is to come or has gone; the others keep their numbers.
    pub absent: bool,
    /// Host and port as written, such as `10.0.0.1:80`. Only the consistent hash reads it: its points come from the text.
    pub address: String,
}

impl Default for NginxServer {
    fn default() -> Self {
        Self {
            weight: 1,
            max_fails: 1,
            fail_timeout_s: 10,
            max_conns: 0,
            down: false,
            drain: false,
            backup: false,
            absent: false,
            address: String::new(),
        }
    }
}
