//! libmemcached through pylibmc: it says where it would send a key, without a server.

use std::process::{Command, Stdio};

use serde_json::json;

use super::files;
use crate::Fault;
use crate::dice::Dice;
use crate::process::Installed;
use crate::recording::Files;

/// Prints the place of each key's server: behaviours, then servers up to `--`, then keys.
const SCRIPT: &str = "
import ast, sys, pylibmc
rest = sys.argv[2:]
end = rest.index('--')
client = pylibmc.Client(rest[:end], behaviors=ast.literal_eval(sys.argv[1]))
print(*(client.hash(key) for key in rest[end + 1:]))
";

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    method: &'static str,
    behaviours: &'static str,
    servers: Vec<String>,
    keys: Vec<String>,
}

/// A list of servers, a distribution, and keys as PHP names them.
pub(crate) fn generate(dice: &mut Dice) -> Setup {
    let (method, behaviours) = *dice.pick(&[
        ("modula", "{'distribution': 'modula'}"),
        ("ketama", "{'ketama': True}"),
        ("ketama_weighted", "{'ketama_weighted': True}"),
    ]);
    let port = if dice.percent(50) { 11_211 } else { dice.within(1_024, 60_000) };
    let servers =
        (0..dice.within(1, 40)).map(|place| format!("10.1.{}.{}:{port}", place, dice.within(1, 254)));
    let servers = servers.collect();
    let keys = (0..200).map(|_| format!("memc.sess.key.{:026x}", dice.below(u64::MAX))).collect();
    Setup { method, behaviours, servers, keys }
}

impl Setup {
    pub(crate) fn run(&self, installed: &Installed) -> Result<Files, Fault> {
        let start = |error| Fault::Start { program: installed.binary.display().to_string(), error };
        let output = Command::new(&installed.binary)
            .args(["-c", SCRIPT, self.behaviours])
            .args(&self.servers)
            .arg("--")
            .args(&self.keys)
            .stdin(Stdio::null())
            .output()
            .map_err(start)?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
            return Err(Fault::Ended { status: output.status.to_string(), message });
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let places: Vec<&str> = text.split_whitespace().collect();
        let rows: Vec<String> =
            self.keys.iter().zip(&places).map(|(key, place)| format!("{key},{place}")).collect();
        if places.len() != self.keys.len() {
            return Err(Fault::Log { line: text.into_owned() });
        }
        let manifest = json!({
            "product": "libmemcached", "version": installed.version, "method": self.method, "servers": self.servers,
        });
        Ok(files(&manifest, "key,server", &rows))
    }
}
