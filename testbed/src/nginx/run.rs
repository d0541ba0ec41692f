//! Carries out a script with the real nginx.
//!
//! Times are nginx's own: `$msec` and `$request_time`. Its failures are dated in whole seconds, so in cases with failures
//! no request begins near the end of a second, or, with servers that hang, of a read timeout; and steps keep apart by more
//! than the milliseconds to which the end of a try is known.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal};
use serde_json::json;

use super::{READ_TIMEOUT_MS, Setup};
use crate::Fault;
use crate::nginx::KeyKind;
use crate::process::{Installed, Running};
use crate::recording::{self, Files, Row};
use crate::script::{Ask, Mode, Step, server_name};
use crate::stage::{FRONT, Seen, Stage, until};

const CONFIGURATION: &str = "nginx.conf";
/// What stands before the fields of a line in nginx's log by syslog.
const LOG_PREFIX: &str = "nginx: ";
/// How far requests keep from the end of a second, in milliseconds: before it, and after it.
const MARGINS_MS: [u64; 2] = [60, 15];
/// How far steps keep from each other in cases with failures.
const APART: Duration = Duration::from_millis(3);

/// Milliseconds since 1970.
fn epoch_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// A request that has not ended.
struct Open {
    /// Its row.
    row: usize,
    /// Its client's end of the connection.
    stream: UnixStream,
}

struct Run<'a> {
    setup: &'a Setup,
    stage: Stage,
    nginx: Running,
    /// The second at which the recording begins, in milliseconds since 1970.
    began: u64,
    rows: Vec<Row>,
    attempts: String,
    open: BTreeMap<u32, Open>,
    /// Requests keep clear of the ends of periods of so many milliseconds.
    period: Option<u64>,
}

impl Setup {
    /// Carries out `steps` under this configuration; gives the case's files.
    pub(crate) fn run(&self, steps: &[Step], installed: &Installed) -> Result<Files, Fault> {
        let addresses = self.all_servers().iter().map(|server| server.address).collect();
        let stage = Stage::new(self.network, addresses, LOG_PREFIX)?;
        for folder in ["logs/.keep", "tmp/.keep"] {
            stage.write(folder, "")?;
        }
        stage.write(CONFIGURATION, &self.configuration(&self.servers))?;
        let prefix = format!("{}/", stage.folder().display());
        let arguments = ["-p", &prefix, "-e", "stderr", "-c", CONFIGURATION];
        let nginx = Running::start(&installed.binary, &arguments, stage.folder())?;
        let fails = steps.iter().any(|step| matches!(step, Step::Behave(_, mode) if *mode != Mode::Up));
        let period =
            if self.read_timeout_ms == READ_TIMEOUT_MS { 1_000 } else { self.read_timeout_ms.into() };
        let mut run = Run {
            setup: self,
            stage,
            nginx,
            began: epoch_ms() / 1_000 * 1_000,
            rows: Vec::new(),
            attempts: "conn,n,server,t_ms,dur_ms,upstream_status\n".into(),
            open: BTreeMap::new(),
            period: fails.then_some(period),
        };
        run.await_workers(&[])?;
        for step in steps {
            run.step(step)?;
        }
        run.finish(installed)
    }
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Result<(), Fault> {
        if self.period.is_some() {
            std::thread::sleep(APART);
        }
        match step {
            Step::Wait(millis) => {
                std::thread::sleep(Duration::from_millis((*millis).into()));
                Ok(())
            }
            Step::Ask(ask) => self.ask(ask),
            Step::Release(id) => self.release(*id),
            Step::Abort(id) => self.abort(*id),
            Step::Behave(number, mode) => self.behave(*number, *mode),
            Step::Reload(index) => self.reload(*index),
            Step::Admin(..) => Ok(()),
        }
    }

    fn now(&self) -> String {
        (epoch_ms() - self.began).to_string()
    }

    /// Waits, if need be, until no end of a period is near.
    fn pace(&self) {
        let Some(period) = self.period else { return };
        let [before, after] = MARGINS_MS;
        let into = epoch_ms() % period;
        if into < after {
            std::thread::sleep(Duration::from_millis(after - into));
        } else if into + before > period {
            std::thread::sleep(Duration::from_millis(period - into + after));
        }
    }

    fn ask(&mut self, ask: &Ask) -> Result<(), Fault> {
        self.pace();
        if ask.hold {
            self.stage.backends.hold(ask.id);
        }
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\nHost: live\r\nConnection: close\r\nX-Seq: {id}\r\nX-Real-IP: {client}\r\n",
            method = if ask.post { "POST" } else { "GET" },
            path = ask.path,
            id = ask.id,
            client = ask.client,
        );
        for header in &ask.headers {
            text += &format!("{header}\r\n");
        }
        text += if ask.post { "Content-Length: 0\r\n\r\n" } else { "\r\n" };
        let stream = self.stage.send(text.as_bytes())?;
        let row = self.rows.len();
        let client = ask.client.to_string();
        self.rows.push(Row {
            event: "open",
            conn: Some(ask.id),
            client,
            key: ask.key.clone(),
            ..Row::default()
        });
        let seen = match self.stage.settled(ask.id) {
            Ok(seen) => seen,
            Err(silence) => {
                self.nginx.check()?;
                return Err(silence);
            }
        };
        match seen {
            Seen::Held(_) => drop(self.open.insert(ask.id, Open { row, stream })),
            Seen::Over(fields) => drop(self.fill(row, &fields)?),
        }
        Ok(())
    }

    /// Writes what nginx logged into a request's row; gives the time of its end.
    fn fill(&mut self, row: usize, fields: &[String]) -> Result<u64, Fault> {
        let line = || Fault::Log { line: fields.join("|") };
        let [msec, request_time, _client, addresses, status, pid, times] = fields else { return Err(line()) };
        let ended = millis(msec).and_then(|at| at.checked_sub(self.began)).ok_or_else(line)?;
        let began = millis(request_time).and_then(|lasted| ended.checked_sub(lasted)).ok_or_else(line)?;
        let servers = self.setup.all_servers();
        let named = |address: &str| {
            let server = servers.iter().find(|server| server.address.to_string() == address);
            server.map(|server| server_name(server.number))
        };
        let conn = self.rows[row].conn.unwrap_or_default();
        let mut tried = Vec::new();
        let mut at = began;
        for ((number, address), time) in (1..).zip(addresses.split(", ")).zip(times.split(", ")) {
            // Without a server left, the upstream's name stands last.
            let name = named(address);
            let lasted = millis(time).unwrap_or_default();
            let shown = name.as_deref().unwrap_or("(no live)");
            self.attempts += &format!("{conn},{number},{shown},{at},{lasted},\n");
            at += lasted;
            tried.push(name);
        }
        let row = &mut self.rows[row];
        row.t_ms = began.to_string();
        row.server = tried.last().cloned().flatten().unwrap_or_default();
        row.tried = tried.into_iter().flatten().collect::<Vec<_>>().join("|");
        row.status = status.clone();
        if self.setup.key_kind == KeyKind::Pid {
            row.key = pid.clone();
        }
        Ok(ended)
    }

    fn release(&mut self, id: u32) -> Result<(), Fault> {
        let Some(open) = self.open.remove(&id) else { return Ok(()) };
        self.stage.backends.release(id);
        self.close(id, open.row)
    }

    fn abort(&mut self, id: u32) -> Result<(), Fault> {
        let Some(open) = self.open.remove(&id) else { return Ok(()) };
        drop(open.stream);
        self.close(id, open.row)?;
        self.stage.backends.release(id);
        Ok(())
    }

    fn close(&mut self, id: u32, row: usize) -> Result<(), Fault> {
        let fields = self.stage.over(id)?;
        let ended = self.fill(row, &fields)?;
        let Row { server, status, .. } = self.rows[row].clone();
        self.rows.push(Row {
            t_ms: ended.to_string(),
            event: "close",
            conn: Some(id),
            server,
            status,
            ..Row::default()
        });
        Ok(())
    }

    fn behave(&mut self, number: u16, mode: Mode) -> Result<(), Fault> {
        let servers = self.setup.all_servers();
        let Some(index) = servers.iter().position(|server| server.number == number) else { return Ok(()) };
        self.stage.backends.behave(index, mode)?;
        let (event, key) = match mode {
            Mode::Up => ("server_up", String::new()),
            _ => ("server_down", mode.to_string()),
        };
        let server = server_name(number);
        self.rows.push(Row { t_ms: self.now(), event, key, server, ..Row::default() });
        Ok(())
    }

    fn reload(&mut self, index: usize) -> Result<(), Fault> {
        let Some(servers) = self.setup.reloads.get(index) else { return Ok(()) };
        // A request under an old configuration and one under the new would be two instances at a time.
        for id in self.open.keys().copied().collect::<Vec<_>>() {
            self.release(id)?;
        }
        let old = self.nginx.children();
        self.stage.write(CONFIGURATION, &self.setup.configuration(servers))?;
        self.nginx.signal(Signal::HUP);
        self.await_workers(&old)?;
        let key = Setup::reload_name(index);
        self.rows.push(Row { t_ms: self.now(), event: "reload", key, ..Row::default() });
        Ok(())
    }

    /// Waits until all workers serve, and none of those before.
    fn await_workers(&mut self, old: &[Pid]) -> Result<(), Fault> {
        let workers = usize::from(self.setup.workers);
        let (front, nginx) = (self.stage.folder().join(FRONT), &mut self.nginx);
        until(
            || {
                nginx.check()?;
                let children = nginx.children();
                let settled = children.len() == workers && !children.iter().any(|child| old.contains(child));
                let Ok(mut stream) = UnixStream::connect(&front) else { return Ok(None) };
                let request = b"GET /__pid HTTP/1.1\r\nHost: live\r\nConnection: close\r\n\r\n";
                let mut answer = String::new();
                let answered = stream.write_all(request).and_then(|()| stream.read_to_string(&mut answer));
                Ok((settled && answered.is_ok() && answer.contains("200 OK")).then_some(()))
            },
            "nginx to serve",
        )
    }

    /// Ends what is open and gives the files.
    fn finish(mut self, installed: &Installed) -> Result<Files, Fault> {
        for id in self.open.keys().copied().collect::<Vec<_>>() {
            self.release(id)?;
        }
        let mut manifest = self.setup.manifest();
        manifest["version"] = json!(installed.version);
        manifest["t0_epoch_s"] = json!(self.began / 1_000);
        manifest["requests"] = json!(recording::requests(&self.rows));
        let text = format!("{manifest:#}\n");
        let mut files = Files::from([
            ("case.json".to_owned(), text.into_bytes()),
            ("events.csv".to_owned(), recording::events(&self.rows)),
            (CONFIGURATION.to_owned(), self.setup.configuration(&self.setup.servers).into_bytes()),
        ]);
        if self.period.is_some() {
            files.insert("attempts.csv".to_owned(), self.attempts.into_bytes());
        }
        for (index, servers) in self.setup.reloads.iter().enumerate() {
            files.insert(Setup::reload_name(index), self.setup.configuration(servers).into_bytes());
        }
        Ok(files)
    }
}

/// Seconds with three decimals, as nginx writes them, in milliseconds.
fn millis(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    let fraction: u64 = fraction.parse().ok().filter(|_| fraction.len() == 3)?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_as_nginx_writes_them() {
        assert_eq!(millis("1795335682.024"), Some(1_795_335_682_024));
        assert_eq!(millis("0.000"), Some(0));
        assert_eq!(millis("-"), None);
        assert_eq!(millis("1.5"), None);
    }
}
