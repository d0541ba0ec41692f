//! Carries out a script with the real HAProxy.
//!
//! Clients come through the PROXY protocol, whose port names the request. Times are the driver's, in milliseconds since the
//! case began. With a stick table no request comes near the time at which its entry expires.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{BACKEND, SERVERS, STATS, Setup};
use crate::Fault;
use crate::process::{Installed, Running};
use crate::recording::{self, Files, Row};
use crate::script::{Ask, Mode, Step, server_name};
use crate::sniffer::Sniffer;
use crate::stage::{Seen, Stage, until};

const CONFIGURATION: &str = "haproxy.cfg";
const LOG_PREFIX: &str = "REQ|";
/// How far requests keep from the time at which an entry of the stick table expires.
const MARGIN: Duration = Duration::from_millis(60);
/// How long a request may take to show up at a server before HAProxy is asked whether it is queued.
const GLIMPSE: Duration = Duration::from_millis(3);

/// A request that has not ended.
struct Open {
    /// Its row.
    row: usize,
    /// Who was tried so far, where that was seen.
    tried: String,
    /// Whether it waits for a server.
    queued: bool,
    /// Its client's end of the connection.
    _stream: UnixStream,
}

struct Run<'a> {
    setup: &'a Setup,
    stage: Stage,
    haproxy: Running,
    sniffer: Option<Sniffer>,
    began: Instant,
    rows: Vec<Row>,
    open: BTreeMap<u32, Open>,
    /// When each key of the stick table was used last.
    used: BTreeMap<String, Instant>,
}

impl Setup {
    /// Carries out `steps` under this configuration; gives the case's files.
    pub(crate) fn run(&self, steps: &[Step], installed: &Installed) -> Result<Files, Fault> {
        let address = self.network.address(SERVERS);
        let servers = self.servers.iter().map(|server| (address, server.port).into()).collect();
        let stage = Stage::new(self.network, servers, LOG_PREFIX)?;
        stage.write(CONFIGURATION, &self.configuration())?;
        let haproxy = Running::start(&installed.binary, &["-db", "-f", CONFIGURATION], stage.folder())?;
        let mut run = Run {
            setup: self,
            stage,
            haproxy,
            // Who is tried belongs to one request only while no other can be on its way.
            sniffer: if self.queues() { None } else { Sniffer::start(address) },
            began: Instant::now(),
            rows: Vec::new(),
            open: BTreeMap::new(),
            used: BTreeMap::new(),
        };
        until(
            || {
                run.haproxy.check()?;
                Ok(run.tell("show info").ok().filter(|answer| answer.contains("Pid:")))
            },
            "HAProxy to serve",
        )?;
        run.began = Instant::now();
        for step in steps {
            run.step(step)?;
        }
        run.finish(installed)
    }
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Result<(), Fault> {
        match step {
            Step::Wait(millis) => {
                thread::sleep(Duration::from_millis((*millis).into()));
                Ok(())
            }
            Step::Ask(ask) => self.ask(ask),
            // A client that goes away is no event of these recordings.
            Step::Release(id) | Step::Abort(id) => self.release(*id),
            Step::Behave(number, mode) => self.behave(*number, *mode),
            Step::Admin(number, words) => self.admin(*number, words),
            Step::Reload(_) => Ok(()),
        }
    }

    fn now(&self) -> String {
        format!("{:.1}", self.began.elapsed().as_secs_f64() * 1e3)
    }

    /// Gives a command to the runtime API; its answer.
    fn tell(&self, command: &str) -> Result<String, Fault> {
        let mut stream = UnixStream::connect(self.stage.folder().join(STATS)).map_err(Fault::Client)?;
        let mut answer = String::new();
        let command = format!("{command}\n");
        let told = stream.write_all(command.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
        told.map_err(Fault::Client)?;
        Ok(answer)
    }

    /// Waits, if need be, until no entry that the request would look for is about to expire.
    fn pace(&mut self, ask: &Ask) {
        let expire = Duration::from_millis(self.setup.expire_ms.into());
        if expire.is_zero() {
            return;
        }
        let client = ask.client.to_string();
        let keys = ask.samples.iter().chain([&client]).filter(|key| !key.is_empty());
        loop {
            let near = keys.clone().filter_map(|key| self.used.get(key)).any(|used| {
                let age = used.elapsed();
                age + MARGIN > expire && age < expire + MARGIN
            });
            if !near {
                break;
            }
            thread::sleep(MARGIN / 4);
        }
        for key in keys {
            self.used.insert(key.clone(), Instant::now());
        }
    }

    fn ask(&mut self, ask: &Ask) -> Result<(), Fault> {
        self.pace(ask);
        if ask.hold {
            self.stage.backends.hold(ask.id);
        }
        self.tried();
        let (row, client) = (self.rows.len(), ask.client.to_string());
        let (t_ms, conn, key) = (self.now(), Some(ask.id), ask.key.clone());
        self.rows.push(Row { t_ms, event: "open", conn, client, key, ..Row::default() });
        let mut stream = self.stage.send(&bytes(ask, self.setup.tcp))?;
        if self.setup.tcp {
            // HAProxy does not know when an answer is complete: it logs a connection when both sides have closed it.
            stream.read_to_end(&mut Vec::new()).map_err(Fault::Client)?;
            stream.shutdown(Shutdown::Both).map_err(Fault::Client)?;
        }
        let (mut tried, mut queued) = (String::new(), false);
        let seen = if self.setup.queues() && ask.hold {
            match self.held_or_queued(ask.id)? {
                Some(seen) => seen,
                None => {
                    queued = true;
                    let open = Open { row, tried, queued, _stream: stream };
                    self.open.insert(ask.id, open);
                    return Ok(());
                }
            }
        } else {
            match self.stage.settled(ask.id) {
                Ok(seen) => seen,
                Err(silence) => {
                    self.haproxy.check()?;
                    return Err(silence);
                }
            }
        };
        tried += &self.tried();
        match seen {
            Seen::Held(server) => {
                self.rows[row].server = server_name(self.setup.servers[server].number);
                self.open.insert(ask.id, Open { row, tried, queued, _stream: stream });
                Ok(())
            }
            Seen::Over(fields) => self.fill(row, &fields, &tried),
        }
    }

    /// Who was tried since the last call, where that is seen.
    fn tried(&self) -> String {
        let ports = self.sniffer.as_ref().map(Sniffer::ports).unwrap_or_default();
        let servers = &self.setup.servers;
        let named = |port: &u16| servers.iter().find(|server| server.port == *port);
        let names: Vec<_> = ports.iter().filter_map(named).map(|server| server_name(server.number)).collect();
        names.join(" ")
    }

    /// What became of a request that is to be held, or nothing if it waits in a queue.
    fn held_or_queued(&mut self, id: u32) -> Result<Option<Seen>, Fault> {
        let waiting = self.open.values().filter(|open| open.queued).count();
        let mut outcome = None;
        until(
            || {
                self.haproxy.check()?;
                outcome = self.stage.watch(id, GLIMPSE);
                Ok((outcome.is_some() || self.queued()? > waiting).then_some(()))
            },
            "a request to reach a server or a queue",
        )?;
        Ok(outcome)
    }

    /// Requests in all queues, as HAProxy tells.
    fn queued(&self) -> Result<usize, Fault> {
        let table = self.tell("show stat")?;
        // Name of the proxy, of the server, requests in the queue.
        let rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let count = |row: Vec<&str>| match row[..] {
            [BACKEND, _, queued, ..] => queued.parse::<usize>().ok(),
            _ => None,
        };
        Ok(rows.filter_map(count).sum())
    }

    /// Requests that have left their queue get a row; waits until HAProxy's queues hold as many as are known to wait.
    fn follow_starts(&mut self) -> Result<(), Fault> {
        if !self.setup.queues() {
            return Ok(());
        }
        until(
            || {
                self.haproxy.check()?;
                let waiting: Vec<u32> =
                    self.open.iter().filter(|(_, open)| open.queued).map(|(&id, _)| id).collect();
                let known = waiting.len();
                for id in waiting {
                    match self.stage.watch(id, Duration::ZERO) {
                        Some(Seen::Held(server)) => self.start(id, server),
                        Some(Seen::Over(fields)) => {
                            if let Some(Open { row, tried, .. }) = self.open.remove(&id) {
                                self.fill(row, &fields, &tried)?;
                            }
                        }
                        None => {}
                    }
                }
                let left = self.open.values().filter(|open| open.queued).count();
                Ok((left == known && self.queued()? == left).then_some(()))
            },
            "the queues to settle",
        )
    }

    fn start(&mut self, id: u32, server: usize) {
        let t_ms = self.now();
        let server = server_name(self.setup.servers[server].number);
        if let Some(open) = self.open.get_mut(&id) {
            open.queued = false;
            self.rows[open.row].server = server.clone();
        }
        self.rows.push(Row { t_ms, event: "start", conn: Some(id), server, ..Row::default() });
    }

    /// Writes what HAProxy logged into a request's row.
    fn fill(&mut self, row: usize, fields: &[String], tried: &str) -> Result<(), Fault> {
        let [server, status, retries, flags] = fields else {
            return Err(Fault::Log { line: fields.join("|") });
        };
        let row = &mut self.rows[row];
        // The first letter says what ended the request before its time: without one a server has answered.
        let answered = flags.starts_with('-');
        row.server = if answered { server.clone() } else { String::new() };
        // There is none in TCP: there 200 stands for an answer.
        row.status = if answered || !self.setup.tcp { status.clone() } else { "503".into() };
        row.tried = tried.to_owned();
        let space = if row.key.is_empty() { "" } else { " " };
        row.key += &format!("{space}rc={retries} tsc={flags}");
        Ok(())
    }

    fn release(&mut self, id: u32) -> Result<(), Fault> {
        let queued = self.open.get(&id).is_some_and(|open| open.queued);
        if queued {
            return Ok(());
        }
        // Its end of the connection stays open until the answer has come.
        let Some(open) = self.open.remove(&id) else { return Ok(()) };
        self.stage.backends.release(id);
        let fields = self.stage.over(id)?;
        self.fill(open.row, &fields, &open.tried)?;
        let server = self.rows[open.row].server.clone();
        self.rows.push(Row { t_ms: self.now(), event: "close", conn: Some(id), server, ..Row::default() });
        self.follow_starts()
    }

    fn behave(&mut self, number: u16, mode: Mode) -> Result<(), Fault> {
        let Some(index) = self.setup.servers.iter().position(|server| server.number == number) else {
            return Ok(());
        };
        self.stage.backends.behave(index, mode)?;
        let event = if mode == Mode::Up { "server_up" } else { "server_down" };
        let (key, server) = (mode.to_string(), server_name(number));
        self.rows.push(Row { t_ms: self.now(), event, key, server, ..Row::default() });
        Ok(())
    }

    fn admin(&mut self, number: u16, words: &str) -> Result<(), Fault> {
        if !self.setup.servers.iter().any(|server| server.number == number) {
            return Ok(());
        }
        let key = format!("set server {BACKEND}/{} {words}", server_name(number));
        let t_ms = self.now();
        // What is refused, such as most weights with a static algorithm, has no effect.
        if self.tell(&key)?.trim().is_empty() {
            self.rows.push(Row { t_ms, event: "admin", key, ..Row::default() });
        }
        self.follow_starts()
    }

    /// Ends what is open and gives the files.
    fn finish(mut self, installed: &Installed) -> Result<Files, Fault> {
        let numbers: Vec<u16> = self.setup.servers.iter().map(|server| server.number).collect();
        let mut ways = numbers.into_iter();
        while let Some((&id, _)) = self.open.first_key_value() {
            if let Some((&id, _)) = self.open.iter().find(|(_, open)| !open.queued) {
                self.release(id)?;
            } else if let Some(number) = ways.next() {
                // Who waits still would wait for ever; a server that comes back from maintenance looks for work. A static
                // algorithm takes only the first weight, and the first is none for a server that began without.
                for words in ["weight 100%", "weight 1", "state maint", "state ready"] {
                    self.admin(number, words)?;
                }
            } else {
                return Err(Fault::Silent { id });
            }
        }
        let mut manifest = self.setup.manifest();
        manifest["version"] = json!(installed.version);
        manifest["requests"] = json!(recording::requests(&self.rows));
        Ok(Files::from([
            ("case.json".to_owned(), format!("{manifest:#}\n").into_bytes()),
            ("events.csv".to_owned(), recording::events(&self.rows)),
            (CONFIGURATION.to_owned(), self.setup.configuration().into_bytes()),
        ]))
    }
}

/// A request as its client sends it, with what the PROXY protocol (version 1) says of the client before it.
fn bytes(ask: &Ask, tcp: bool) -> Vec<u8> {
    let (client, id) = (ask.client, ask.id);
    let proxy = match client {
        IpAddr::V4(_) => format!("PROXY TCP4 {client} 192.0.2.1 {id} 80\r\n"),
        IpAddr::V6(_) => format!("PROXY TCP6 {client} 2001:db8::1 {id} 80\r\n"),
    };
    if tcp {
        return [proxy.into_bytes(), rdp(&ask.key)].concat();
    }
    let mut text =
        format!("{proxy}GET {} HTTP/1.1\r\nHost: live\r\nConnection: close\r\nX-Seq: {id}\r\n", ask.path);
    for header in &ask.headers {
        text += &format!("{header}\r\n");
    }
    (text + "\r\n").into_bytes()
}

/// A connection request of the Remote Desktop Protocol (Microsoft, MS-RDPBCGR, 2.2.1.1), with a cookie unless `user` is
/// empty.
fn rdp(user: &str) -> Vec<u8> {
    let cookie = if user.is_empty() { String::new() } else { format!("Cookie: mstshash={user}\r\n") };
    // TPKT: version, reserved, length; X.224: length of the rest, connection request, references, class.
    let length = 11 + cookie.len() as u16;
    let [high, low] = length.to_be_bytes();
    let header = [3, 0, high, low, (length - 5) as u8, 0xe0, 0, 0, 0, 0, 0];
    [&header[..], cookie.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desktop_client_says_how_long_its_packet_is() {
        let packet = rdp("bob");
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
        assert_eq!(usize::from(packet[4]) + 5, packet.len());
        assert!(packet.ends_with(b"Cookie: mstshash=bob\r\n"));
        assert_eq!(rdp("").len(), 11);
    }
}
