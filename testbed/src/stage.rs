//! What every case has: a folder, servers, the program's log, and clients.
//!
//! The driver takes one step at a time and waits until the program has logged what it did, so the order of events is known:
//! a line of the log is written when the program has put the request away and before it turns to another.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Fault;
use crate::backend::{Backends, Happening};

/// Longest that the driver waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// What stands between the fields of a line of the log.
const SEPARATOR: char = '|';
/// Port of the log's receiver.
const LOG_PORT: u16 = 5140;
/// The socket, in the case's folder, at which the program takes requests.
pub(crate) const FRONT: &str = "fe.sock";

/// The part of loopback that a case has to itself: 127.`second`.`third`.0/24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) second: u8,
    pub(crate) third: u8,
}

impl Network {
    /// The address with that last byte.
    pub(crate) fn address(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.second, self.third, last)
    }

    /// Where the program is to log to.
    pub(crate) fn log(self) -> SocketAddr {
        (self.address(1), LOG_PORT).into()
    }
}

/// Hands on the lines that the program logs.
#[derive(Debug)]
struct Log {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    fn start(address: SocketAddr, happenings: Sender<Happening>) -> Result<Self, Fault> {
        let socket = UdpSocket::bind(address).map_err(|error| Fault::Address { address, error })?;
        let thread = thread::spawn(move || {
            let mut buffer = [0; 8192];
            // An empty line is the end.
            while let Ok(length) = socket.recv(&mut buffer)
                && length > 0
            {
                let line = String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned();
                if happenings.send(Happening::Logged(line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { address, thread: Some(thread) })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let told =
            UdpSocket::bind((self.address.ip(), 0)).and_then(|socket| socket.send_to(&[], self.address));
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            drop(thread.join());
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It has reached the server with that index, which keeps its answer back.
    Held(usize),
    /// It is over; the fields that the program logged.
    Over(Vec<String>),
}

/// All of that.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) backends: Backends,
    happenings: Receiver<Happening>,
    /// What has been logged and not yet asked for, by request.
    logged: BTreeMap<u32, Vec<String>>,
    /// The servers that requests have reached and not yet been asked for.
    held: BTreeMap<u32, usize>,
    /// What stands before the fields of a line of the log.
    prefix: &'static str,
    _log: Log,
    folder: TempDir,
}

impl Stage {
    /// Starts servers and the log's receiver. A line of the log is `prefix`, the request's number, and further fields, with
    /// [`SEPARATOR`] between them.
    pub(crate) fn new(
        network: Network,
        servers: Vec<SocketAddr>,
        prefix: &'static str,
    ) -> Result<Self, Fault> {
        let (sender, happenings) = channel();
        let folder = tempfile::Builder::new().prefix("evenkeel-live-").tempdir().map_err(Fault::Folder)?;
        let log = Log::start(network.log(), sender.clone())?;
        let backends = Backends::start(servers, sender)?;
        let (logged, held) = Default::default();
        Ok(Self { backends, happenings, logged, held, prefix, _log: log, folder })
    }

    /// The case's folder.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Writes a file into the case's folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), Fault> {
        let path = self.folder().join(name);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(path, text))
            .map_err(Fault::Folder)
    }

    /// Sends `bytes` as a client; the answer comes, unread, while the stream is kept.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<UnixStream, Fault> {
        let mut stream = UnixStream::connect(self.folder().join(FRONT)).map_err(Fault::Client)?;
        stream.write_all(bytes).map_err(Fault::Client)?;
        Ok(stream)
    }

    /// Waits until a request is over or has reached a server that holds it, but no longer than `patience`.
    pub(crate) fn watch(&mut self, id: u32, patience: Duration) -> Option<Seen> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(fields) = self.logged.remove(&id) {
                return Some(Seen::Over(fields));
            }
            if let Some(server) = self.held.remove(&id) {
                return Some(Seen::Held(server));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.happenings.recv_timeout(left) {
                Ok(happening) => self.file(happening),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Waits until a request is over or held.
    pub(crate) fn settled(&mut self, id: u32) -> Result<Seen, Fault> {
        self.watch(id, PATIENCE).ok_or(Fault::Silent { id })
    }

    /// Waits until a request is over.
    pub(crate) fn over(&mut self, id: u32) -> Result<Vec<String>, Fault> {
        match self.settled(id)? {
            Seen::Over(fields) => Ok(fields),
            Seen::Held(_) => self.over(id),
        }
    }

    fn file(&mut self, happening: Happening) {
        match happening {
            Happening::Held { id, server } => drop(self.held.insert(id, server)),
            Happening::Logged(line) => {
                let Some((_, line)) = line.split_once(self.prefix) else { return };
                let mut fields = line.split(SEPARATOR).map(str::to_owned);
                if let Some(id) = fields.next().and_then(|id| id.parse().ok()) {
                    self.logged.insert(id, fields.collect());
                }
            }
        }
    }
}

/// Tries until `ready` gives something, for as long as the driver waits for what must come.
pub(crate) fn until<T>(
    mut ready: impl FnMut() -> Result<Option<T>, Fault>,
    what: &'static str,
) -> Result<T, Fault> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            return Err(Fault::Late { what });
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Mode;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn stage(third: u8) -> (Stage, SocketAddr, Network) {
        let network = Network { second: 9, third };
        let server = SocketAddr::from((network.address(10), 18_080));
        (Stage::new(network, vec![server], "log: ").expect("free addresses"), server, network)
    }

    fn ask(server: SocketAddr, id: u32) -> TcpStream {
        let mut stream = TcpStream::connect(server).expect("somebody listens");
        stream.write_all(format!("GET / HTTP/1.1\r\nX-Seq: {id}\r\n\r\n").as_bytes()).expect("written");
        stream
    }

    fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_server_does_what_its_mode_says() {
        let (mut stage, server, _) = stage(1);
        assert_eq!(answer(ask(server, 1)), "HTTP/1.1 200 Scripted");
        stage.backends.behave(0, Mode::Http(503)).expect("in use");
        assert_eq!(answer(ask(server, 2)), "HTTP/1.1 503 Scripted");
        stage.backends.behave(0, Mode::Refuse).expect("in use");
        assert!(TcpStream::connect(server).is_err());
        stage.backends.behave(0, Mode::Up).expect("in use");
        assert_eq!(answer(ask(server, 3)), "HTTP/1.1 200 Scripted");
    }

    #[test]
    fn a_held_request_is_told_of_and_gets_its_answer_on_release() {
        let (mut stage, server, _) = stage(2);
        stage.backends.hold(7);
        let stream = ask(server, 7);
        assert_eq!(stage.settled(7).expect("told"), Seen::Held(0));
        stage.backends.release(7);
        assert_eq!(answer(stream), "HTTP/1.1 200 Scripted");
    }

    #[test]
    fn lines_of_the_log_are_found_by_the_number_of_their_request() {
        let (mut stage, _, network) = stage(3);
        let socket = UdpSocket::bind((network.address(2), 0)).expect("a free port");
        for line in ["<190> log: 5|a|b\n", "noise", "<190> log: 4|c\n"] {
            socket.send_to(line.as_bytes(), network.log()).expect("sent");
        }
        assert_eq!(stage.over(4).expect("logged"), ["c"]);
        assert_eq!(stage.over(5).expect("logged"), ["a", "b"]);
        assert_eq!(stage.watch(6, Duration::ZERO), None);
    }

    #[test]
    fn the_end_of_a_stage_ends_requests_that_are_held() {
        let (stage, server, _) = stage(4);
        stage.backends.hold(1);
        let stream = ask(server, 1);
        // The request must have reached its server before the stage ends.
        let Ok(Happening::Held { id: 1, server: 0 }) = stage.happenings.recv() else { panic!("held") };
        drop(stage);
        answer(stream);
    }
}
