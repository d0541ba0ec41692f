//! memcached: items of a few sizes, set, set again and deleted in a small memory; then which of them are left.

use std::fs;

use serde_json::json;

use super::{SOCKET, Stand, files};
use crate::Fault;
use crate::dice::Dice;
use crate::process::{Installed, MESSAGES};
use crate::recording::Files;

#[derive(Clone, Copy, Debug)]
enum Step {
    Set(usize),
    Delete(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    memory_mb: u64,
    factor: f64,
    chunk_min: u64,
    /// Bytes of each item.
    items: Vec<u64>,
    steps: Vec<Step>,
}

/// Sizes are such that a class has few chunks to a page.
pub(crate) fn generate(dice: &mut Dice) -> Setup {
    let sizes: Vec<u64> = (0..dice.within(1, 3)).map(|_| dice.within(4_000, 300_000)).collect();
    let items: Vec<u64> = (0..dice.within(5, 400)).map(|_| *dice.pick(&sizes)).collect();
    let step = |dice: &mut Dice| {
        let item = dice.below(items.len() as u64) as usize;
        if dice.percent(15) { Step::Delete(item) } else { Step::Set(item) }
    };
    let steps = (0..dice.within(20, 1_000)).map(|_| step(dice)).collect();
    let factor = *dice.pick(&[1.08, 1.25, 1.5, 2.0]);
    Setup { memory_mb: dice.within(2, 8), factor, chunk_min: *dice.pick(&[48, 72, 200]), items, steps }
}

/// A key of 40 characters.
fn key(item: usize) -> String {
    format!("memc.sess.key.{item:026}")
}

impl Setup {
    pub(crate) fn run(&self, installed: &Installed) -> Result<Files, Fault> {
        let [memory, factor, chunk_min] =
            [self.memory_mb.to_string(), self.factor.to_string(), self.chunk_min.to_string()];
        // It refuses to run as the superuser unless it is told to.
        let arguments = [
            "-vv",
            "-u",
            "root",
            "-s",
            SOCKET,
            "-t",
            "1",
            "-o",
            "no_modern",
            "-m",
            &memory,
            "-f",
            &factor,
            "-n",
            &chunk_min,
        ];
        let mut stand = Stand::start(installed, &arguments)?;
        let mut client = stand.connect()?;
        let said = fs::read_to_string(stand.folder().join(MESSAGES)).map_err(Fault::Folder)?;
        let mut rows = classes(&said)?;
        let mut was_set = vec![false; self.items.len()];
        for &step in &self.steps {
            match step {
                Step::Set(item) => {
                    let bytes = self.items[item];
                    let mut command = format!("set {} 0 0 {bytes}\r\n", key(item)).into_bytes();
                    command.extend(std::iter::repeat_n(b'x', bytes as usize));
                    command.extend(b"\r\n");
                    client.send(&command)?;
                    let line = client.line()?;
                    if line != "STORED" {
                        return Err(Fault::Log { line });
                    }
                    was_set[item] = true;
                    rows.push(format!("set,{},{bytes},", key(item)));
                }
                Step::Delete(item) => {
                    client.send(format!("delete {}\r\n", key(item)).as_bytes())?;
                    client.line()?;
                    rows.push(format!("delete,{},,", key(item)));
                }
            }
        }
        for item in (0..self.items.len()).filter(|&item| was_set[item]) {
            client.send(format!("get {}\r\n", key(item)).as_bytes())?;
            let answer = client.line()?;
            let present = answer.starts_with("VALUE");
            if present {
                client.bytes(self.items[item] as usize)?;
                client.line()?;
            }
            rows.push(format!("{},{},,", if present { "present" } else { "absent" }, key(item)));
        }
        let manifest = json!({
            "product": "memcached", "version": installed.version, "method": "no_modern",
            "memory_mb": self.memory_mb, "factor": self.factor, "chunk_min": self.chunk_min,
        });
        Ok(files(&manifest, "event,key,bytes,chunks", &rows))
    }
}

/// The classes that `-vv` tells of: `slab class   1: chunk size        96 perslab   10922`.
fn classes(said: &str) -> Result<Vec<String>, Fault> {
    let lines = said.lines().filter(|line| line.starts_with("slab class"));
    lines
        .map(|line| {
            let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
            match (numbers.next(), numbers.next()) {
                (Some(size), Some(chunks)) => Ok(format!("class,,{size},{chunks}")),
                _ => Err(Fault::Log { line: line.to_owned() }),
            }
        })
        .collect()
}
