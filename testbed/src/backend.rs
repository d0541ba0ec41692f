//! The servers behind the balancer: listeners on loopback that answer as the script says.
//!
//! A server is told what to do by its mode, a request by its number in `X-Seq`: if it is to be held, its answer waits for a
//! release. A refusal is a listener that is closed, so the kernel refuses and not this program.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::Fault;
use crate::script::Mode;

/// Longest that a server waits for the rest of a request.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// First byte of a packet of the Remote Desktop Protocol (RFC 1006: the version, 3).
const TPKT: u8 = 3;

/// What the driver is told, in the order in which it happened as far as one sender goes.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A request that is to be held has reached a server.
    Held {
        /// The request.
        id: u32,
        /// The server, as an index.
        server: usize,
    },
    /// The program logged a line.
    Logged(String),
}

/// What servers share with the driver.
#[derive(Debug, Default)]
struct State {
    modes: Vec<Mode>,
    to_hold: BTreeSet<u32>,
    /// The case is over: whoever waits goes home.
    over: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    happenings: Sender<Happening>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that failed has left nothing half done: each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Listening {
    listener: Arc<TcpListener>,
    thread: JoinHandle<()>,
}

/// The servers of a case.
#[derive(Debug)]
pub(crate) struct Backends {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    listening: Vec<Option<Listening>>,
}

impl Backends {
    /// Starts a server at each address.
    pub(crate) fn start(addresses: Vec<SocketAddr>, happenings: Sender<Happening>) -> Result<Self, Fault> {
        let state = State { modes: vec![Mode::Up; addresses.len()], ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), happenings });
        let mut backends = Self { shared, listening: addresses.iter().map(|_| None).collect(), addresses };
        for server in 0..backends.addresses.len() {
            backends.open(server)?;
        }
        Ok(backends)
    }

    /// Makes a server behave otherwise from now on.
    pub(crate) fn behave(&mut self, server: usize, mode: Mode) -> Result<(), Fault> {
        self.shared.lock().modes[server] = mode;
        if mode == Mode::Refuse {
            self.close(server);
            Ok(())
        } else {
            self.open(server)
        }
    }

    /// The answer to this request is to wait.
    pub(crate) fn hold(&self, id: u32) {
        self.shared.lock().to_hold.insert(id);
    }

    /// The answer to this request need not wait any longer.
    pub(crate) fn release(&self, id: u32) {
        self.shared.lock().to_hold.remove(&id);
        self.shared.changed.notify_all();
    }

    fn open(&mut self, server: usize) -> Result<(), Fault> {
        if self.listening[server].is_some() {
            return Ok(());
        }
        let address = self.addresses[server];
        let listener = TcpListener::bind(address).map_err(|error| Fault::Address { address, error })?;
        let listener = Arc::new(listener);
        let (shared, accepting) = (Arc::clone(&self.shared), Arc::clone(&listener));
        let thread = thread::spawn(move || {
            loop {
                let stream = match accepting.accept() {
                    Ok((stream, _)) => stream,
                    Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                    // The listener was shut down.
                    Err(_) => return,
                };
                let shared = Arc::clone(&shared);
                // A broken connection shows in what the program logs.
                thread::spawn(move || drop(serve(&shared, server, stream)));
            }
        });
        self.listening[server] = Some(Listening { listener, thread });
        Ok(())
    }

    fn close(&mut self, server: usize) {
        let Some(Listening { listener, thread }) = self.listening[server].take() else { return };
        // Closing it would not do: a process that is being started holds all that is open for a moment.
        let _ = rustix::net::shutdown(&*listener, rustix::net::Shutdown::Both);
        drop(thread.join());
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        for server in 0..self.addresses.len() {
            self.close(server);
        }
    }
}

/// Serves one connection with one request.
fn serve(shared: &Shared, server: usize, stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let Some(request) = Head::read(&mut reader)? else { return Ok(()) };
    let mut state = shared.lock();
    let mode = state.modes[server];
    if let Some(id) = request.id
        && matches!(mode, Mode::Up)
        && state.to_hold.contains(&id)
    {
        drop(shared.happenings.send(Happening::Held { id, server }));
        while state.to_hold.contains(&id) && !state.over {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
    drop(state);
    let status = match mode {
        Mode::Up => 200,
        Mode::Http(status) => status,
        Mode::Slow(millis) => {
            thread::sleep(Duration::from_millis(millis.into()));
            200
        }
        // With a refusal, a connection that was accepted before the server was closed.
        Mode::Close | Mode::Refuse => return Ok(()),
        Mode::Hang => {
            // Until the program gives up, or the case is over and its end closes the connection.
            reader.get_ref().set_read_timeout(None)?;
            reader.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
    };
    let mut stream = reader.into_inner();
    let cookie = request.set_cookie.map(|cookie| format!("Set-Cookie: {cookie}\r\n")).unwrap_or_default();
    let answer =
        format!("HTTP/1.1 {status} Scripted\r\nContent-Length: 0\r\nConnection: close\r\n{cookie}\r\n");
    stream.write_all(answer.as_bytes())
}

/// What a server needs to know of a request.
struct Head {
    id: Option<u32>,
    /// `X-Set-Cookie`: what the answer is to set.
    set_cookie: Option<String>,
}

impl Head {
    /// Reads a request without a body; `None` if the peer left without one.
    fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Self>> {
        let mut head = Self { id: None, set_cookie: None };
        if reader.fill_buf()?.first() == Some(&TPKT) {
            let mut prefix = [0; 4];
            reader.read_exact(&mut prefix)?;
            let rest = usize::from(u16::from_be_bytes([prefix[2], prefix[3]])).saturating_sub(prefix.len());
            reader.read_exact(&mut vec![0; rest])?;
            return Ok(Some(head));
        }
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let text = line.trim_end();
            if text.is_empty() {
                return Ok(Some(head));
            }
            let Some((name, value)) = text.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("x-seq") {
                head.id = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("x-set-cookie") {
                head.set_cookie = Some(value.trim().to_owned());
            }
        }
    }
}
