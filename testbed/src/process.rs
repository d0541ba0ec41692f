//! The programs: where they are, which version, and one of them running.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Fault;

/// A program that the live arm drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Redis.
    Redis,
    /// memcached.
    Memcached,
    /// libmemcached, by its Python binding.
    Libmemcached,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nginx, Self::Haproxy, Self::Redis, Self::Memcached, Self::Libmemcached];

    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Redis => "redis",
            Self::Memcached => "memcached",
            Self::Libmemcached => "libmemcached",
        }
    }

    /// Debian's package that has it.
    pub fn package(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Libmemcached => "python3-pylibmc",
            Self::Nginx | Self::Haproxy | Self::Memcached => self.name(),
        }
    }

    /// Its binary, and with which arguments that tells its version.
    fn binary(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Nginx | Self::Haproxy => (self.name(), &["-v"]),
            Self::Redis => ("redis-server", &["-v"]),
            Self::Memcached => ("memcached", &["-V"]),
            Self::Libmemcached => ("python3", &["-c", "import pylibmc; print(pylibmc.libmemcached_version)"]),
        }
    }

    /// The version whose rules are modelled, as its first two numbers.
    pub fn modelled_version(self) -> &'static str {
        match self {
            Self::Nginx => "1.22",
            Self::Haproxy => "2.6",
            Self::Redis => "7.0",
            Self::Memcached => "1.6",
            Self::Libmemcached => "1.0",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A program that was found on this machine.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Installed {
    /// Which.
    pub program: Program,
    /// Its binary.
    #[serde(skip)]
    pub binary: PathBuf,
    /// Its version, as it says itself.
    pub version: String,
}

impl Installed {
    /// Looks for the program in `PATH` and where system programs are.
    pub fn find(program: Program) -> Option<Self> {
        let (name, arguments) = program.binary();
        // Of several Pythons not all need have the library.
        find_binaries(name).find_map(|binary| {
            let output = Command::new(&binary).args(arguments).stdin(Stdio::null()).output().ok()?;
            // nginx tells its version on the standard error.
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            let version = version_in(&text).filter(|_| output.status.success())?.to_owned();
            Some(Self { program, binary, version })
        })
    }

    /// Whether it is of the version whose rules are modelled.
    pub fn is_modelled_version(&self) -> bool {
        let rest = self.version.strip_prefix(self.program.modelled_version());
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    }
}

/// The first word that begins with a number, what stands before a `/` or `=` left out: `nginx version: nginx/1.22.1`,
/// `HAProxy version 2.6.12-1 2023/12/16`, `Redis server v=7.0.15`.
fn version_in(text: &str) -> Option<&str> {
    let words =
        text.split_whitespace().map(|word| word.rsplit_once(['/', '=']).map_or(word, |(_, version)| version));
    words.into_iter().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

fn find_binary(name: &str) -> Option<PathBuf> {
    find_binaries(name).next()
}

fn find_binaries(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(system).collect();
    folders.into_iter().map(move |folder| folder.join(name)).filter(|file| file.is_file())
}

/// A program that runs, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pid: Pid,
    folder: PathBuf,
}

/// What the program writes on its standard error, in its folder.
pub(crate) const MESSAGES: &str = "stderr.log";
/// Longest that a program may take to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(3);

impl Running {
    /// Starts `binary` in `folder`. It ends when this is dropped; where `setpriv` of util-linux is at hand, also when
    /// this process ends in whatever way.
    pub(crate) fn start(binary: &Path, arguments: &[&str], folder: &Path) -> Result<Self, Fault> {
        let failed = |error| Fault::Start { program: binary.display().to_string(), error };
        let messages = File::create(folder.join(MESSAGES)).map_err(failed)?;
        let mut command = match find_binary("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command.args(arguments).current_dir(folder);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages).spawn().map_err(failed)?;
        let pid = Pid::from_child(&child);
        Ok(Self { child, pid, folder: folder.to_owned() })
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        // It fails if the program has ended, which the next step tells better.
        let _ = kill_process(self.pid, signal);
    }

    /// An error that says what the program said last, if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), Fault> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Fault::Ended { status: status.to_string(), message: self.last_words() }),
            Err(error) => Err(Fault::Ended { status: error.to_string(), message: self.last_words() }),
        }
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(self.folder.join(MESSAGES)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Processes that the program started.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let pid = self.pid.as_raw_nonzero();
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let children = self.children();
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // The program has not waited for its own children either.
                for child in children {
                    let _ = kill_process(child, Signal::KILL);
                }
                drop(self.child.kill());
                drop(self.child.wait());
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(program: Program, version: &str) -> Installed {
        Installed { program, binary: PathBuf::new(), version: version.into() }
    }

    #[test]
    fn versions_are_read_as_the_programs_write_them() {
        assert_eq!(version_in("nginx version: nginx/1.22.1\n"), Some("1.22.1"));
        assert_eq!(
            version_in("HAProxy version 2.6.12-1+deb12u1 2023/12/16 - https://"),
            Some("2.6.12-1+deb12u1")
        );
        assert_eq!(version_in("usage: none"), None);
    }

    #[test]
    fn other_versions_are_told_from_those_that_are_modelled() {
        assert!(installed(Program::Nginx, "1.22.1").is_modelled_version());
        assert!(!installed(Program::Nginx, "1.24.0").is_modelled_version());
        assert!(!installed(Program::Nginx, "1.220.0").is_modelled_version());
        assert!(installed(Program::Haproxy, "2.6.12-1").is_modelled_version());
        assert!(!installed(Program::Haproxy, "2.8.3").is_modelled_version());
    }

    #[test]
    fn a_process_ends_when_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sleep = find_binary("sleep").expect("sleep");
        let running = Running::start(&sleep, &["600"], folder.path()).expect("started");
        let process = PathBuf::from(format!("/proc/{}", running.pid.as_raw_nonzero()));
        assert!(process.exists());
        drop(running);
        assert!(!process.exists());
    }

    #[test]
    fn a_program_that_ended_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sleep = find_binary("sleep").expect("sleep");
        let mut running = Running::start(&sleep, &["nonsense"], folder.path()).expect("started");
        let deadline = Instant::now() + PATIENCE;
        let error = loop {
            match running.check() {
                Err(error) => break error.to_string(),
                Ok(()) => assert!(Instant::now() < deadline),
            }
            thread::sleep(Duration::from_millis(2));
        };
        assert!(error.contains("nonsense"), "{error}");
    }
}
