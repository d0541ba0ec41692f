//! Programs that session stores are made of: Redis, memcached, and libmemcached, which finds keys' nodes. A case is one short script
//! that leaves nothing to chance; it is not made smaller, since its rows tell where the two part.

pub(crate) mod library;
pub(crate) mod memcached;
pub(crate) mod redis;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::Fault;
use crate::dice::Dice;
use crate::process::{Installed, Running};
use crate::recording::Files;
use crate::stage::until;

/// The socket, in the case's folder, at which a program takes commands.
const SOCKET: &str = "store.sock";

/// A folder of its own, with the program in it.
struct Stand {
    program: Running,
    folder: tempfile::TempDir,
}

impl Stand {
    fn start(installed: &Installed, arguments: &[&str]) -> Result<Self, Fault> {
        let folder = tempfile::Builder::new().prefix("evenkeel-live-").tempdir().map_err(Fault::Folder)?;
        let program = Running::start(&installed.binary, arguments, folder.path())?;
        Ok(Self { program, folder })
    }

    /// A connection to the program, as soon as it takes any.
    fn connect(&mut self) -> Result<Connection, Fault> {
        let socket = self.folder.path().join(SOCKET);
        let program = &mut self.program;
        let stream =
            until(|| program.check().map(|()| UnixStream::connect(&socket).ok()), "the program's socket")?;
        Connection::new(stream).map_err(Fault::Client)
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A connection on which answers come in lines.
struct Connection {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Connection {
    fn new(stream: UnixStream) -> std::io::Result<Self> {
        Ok(Self { answers: BufReader::new(stream.try_clone()?), stream })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stream.write_all(bytes).map_err(Fault::Client)
    }

    fn line(&mut self) -> Result<String, Fault> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(Fault::Client)?;
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    /// So many bytes, and the end of the line behind them.
    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; length + 2];
        self.answers.read_exact(&mut bytes).map_err(Fault::Client)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// The numbers from 0 to below `count`, in any order.
fn shuffled(dice: &mut Dice, count: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..count).collect();
    for left in (1..numbers.len()).rev() {
        numbers.swap(left, dice.below(left as u64 + 1) as usize);
    }
    numbers
}

/// A case of these files.
fn files(manifest: &serde_json::Value, header: &str, rows: &[String]) -> Files {
    let mut events = format!("{header}\n");
    for row in rows {
        writeln!(events, "{row}").unwrap_or_else(|_| unreachable!("text grows"));
    }
    Files::from([
        ("case.json".to_owned(), format!("{manifest:#}\n").into_bytes()),
        ("events.csv".to_owned(), events.into_bytes()),
    ])
}
