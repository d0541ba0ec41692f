//! A small scenario, and the program run on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A site small enough for a moment, with a crash, and users who lose their sessions in one of two strategies.
pub const SMALL: &str = r#"title = "small"
duration = "4min"
warmup = "30s"
replications = 3
seed = 5
[[population]]
name = "homes"
clients = 150
address = { preset = "home-nat" }
visit = { preset = "login-site", away = { exponential = { mean = "1min" } } }
[cluster]
servers = [
  { name = "web1", address = "10.0.0.1:80" },
  { name = "web2", address = "10.0.0.2:80" },
]
capacity = { workers = 16, service = { exponential = { mean = "20ms" } } }
[[fault]]
at = "1min"
crash = { server = "web2", lasts = "30s" }
[[strategy]]
name = "shared"
balancer = { nginx.round_robin = {} }
session = { shared = { latency = "2ms" } }
[[strategy]]
name = "local"
balancer = { nginx.round_robin = {} }
session = { local = {} }
"#;

/// A folder of its own, with files in it.
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A folder with [`SMALL`] and more lines at its end as `small.toml`.
    pub fn with_small(more: &str) -> Self {
        let place = Self::new();
        place.write("small.toml", &format!("{SMALL}{more}"));
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(path, text).expect("written");
    }

    /// Runs the program in the folder.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    /// Runs the program in the folder, with these variables and none that touch colours besides.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        self.run_anywhere(".", arguments, variables)
    }

    /// Runs the program in a folder of the folder.
    pub fn run_in(&self, folder: &str, arguments: &[&str]) -> Ran {
        self.run_anywhere(folder, arguments, &[])
    }

    fn run_anywhere(&self, folder: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = Command::cargo_bin("evenkeel").expect("the program");
        command.current_dir(self.path(folder)).args(arguments);
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"] {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        let output = command.output().expect("it ran");
        Ran {
            arguments: arguments.join(" "),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

/// What a run of the program came to.
pub struct Ran {
    arguments: String,
    code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Demands an exit code.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        let Self { arguments, stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "evenkeel {arguments}\n{stdout}\n{stderr}");
        self
    }

    /// The standard output, which must be JSON and nothing else.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("evenkeel {}: {error}\n{}", self.arguments, self.stdout))
    }

    /// Whether there is an escape sequence in anything that was printed.
    pub fn has_escapes(&self) -> bool {
        self.stdout.contains('\x1b') || self.stderr.contains('\x1b')
    }
}

/// Every file beneath a folder, by its path from there.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn visit(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                visit(root, &path, files);
            } else {
                let name = path.strip_prefix(root).expect("beneath").to_string_lossy().replace('\\', "/");
                files.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(folder, folder, &mut found);
    found
}

/// A path of the repository.
pub fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).to_string_lossy().into_owned()
}
