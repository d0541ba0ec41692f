//! What a shard has done so far: a line of JSON for each piece, appended at once.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use evenkeel_sim::experiment::sweep::RunValues;
use evenkeel_sim::metrics::Phase;

use super::{Known, Shard, SweepFileError};

/// A run: its number, its warm-up, and its values by the name of the phase.
type Run = (u64, f64, Vec<(String, Vec<Option<f64>>)>);

/// An open journal.
pub(super) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    /// Opens a shard's journal, and says what is in it. One of another sweep is begun anew.
    pub fn open(path: &Path, hash: &str, shard: Shard) -> Result<(Self, Known), SweepFileError> {
        let head = format!("evenkeel sweep {hash} shard {}/{}\n", shard.index, shard.of);
        let text = fs::read_to_string(path).unwrap_or_default();
        let (known, whole) = match text.strip_prefix(&head) {
            Some(lines) => parse(lines),
            None => (Known::new(), 0),
        };
        // A line that was torn by the interruption is cut off, or the next would be glued to it.
        let kept = if text.starts_with(&head) { &text[..head.len() + whole] } else { head.as_str() };
        if kept != text {
            fs::write(path, kept).map_err(SweepFileError::io(path))?;
        }
        let file = OpenOptions::new().append(true).open(path).map_err(SweepFileError::io(path))?;
        Ok((Self { path: path.to_owned(), file: Mutex::new(file) }, known))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes the runs of a piece.
    pub fn note(&self, piece: &[(u64, RunValues)]) -> Result<(), SweepFileError> {
        let phases = |run: &RunValues| -> Vec<_> {
            run.phases.iter().map(|(phase, values)| (phase.name(), values.clone())).collect()
        };
        let runs: Vec<_> = piece.iter().map(|(number, run)| (number, run.warmup_s, phases(run))).collect();
        let line = serde_json::to_string(&runs);
        let written = line.map_err(std::io::Error::other).and_then(|line| {
            // One call for one line, so that lines of several threads are not mixed.
            let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            file.write_all(format!("{line}\n").as_bytes())
        });
        written.map_err(SweepFileError::io(&self.path))
    }

    /// All that was noted.
    pub fn read(&self) -> Result<Known, SweepFileError> {
        let text = fs::read_to_string(&self.path).map_err(SweepFileError::io(&self.path))?;
        Ok(parse(text.split_once('\n').map_or("", |(_, lines)| lines)).0)
    }

    /// Removes the journal of a shard that is done.
    pub fn remove(self) -> Result<(), SweepFileError> {
        fs::remove_file(&self.path).map_err(SweepFileError::io(&self.path))
    }
}

/// The runs of pieces in whole lines, and the length of these.
fn parse(lines: &str) -> (Known, usize) {
    let mut known = Known::new();
    let mut whole = 0;
    for line in lines.split_inclusive('\n').take_while(|line| line.ends_with('\n')) {
        let Ok(runs) = serde_json::from_str::<Vec<Run>>(line) else { break };
        let phase = |name: &str| Phase::ALL.into_iter().find(|phase| phase.name() == name);
        let run = |(number, warmup_s, phases): Run| {
            let phases = phases.into_iter().map(|(name, values)| Some((phase(&name)?, values)));
            Some((number, RunValues { warmup_s, phases: phases.collect::<Option<_>>()? }))
        };
        let Some(runs) = runs.into_iter().map(run).collect::<Option<Vec<_>>>() else { break };
        known.extend(runs);
        whole += line.len();
    }
    (known, whole)
}
