//! Sweeps on disk: shards that can be interrupted and gone on with, and what they come to when put together.
//!
//! A shard notes each piece in a journal as soon as it is done, so that an interruption costs no more than those in progress. When
//! all its runs are there it writes them as one Parquet part, under another name first, so that a part is whole or absent. Parts
//! are named by shard and by the hash of the sweep: those of another sweep are never mixed in.

mod journal;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use evenkeel_sim::experiment::sweep::{RunValues, Sweep};
use evenkeel_sim::experiment::{ExperimentError, Shares};
use rayon::prelude::*;
use thiserror::Error;

use journal::Journal;

/// The runs of a sweep that are known, by number.
type Known = BTreeMap<u64, RunValues>;

/// Which pieces of a sweep a process carries out: those whose number leaves `index` when divided by `of`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shard {
    /// From 0.
    pub index: u64,
    /// At least 1.
    pub of: u64,
}

impl Shard {
    /// The whole sweep.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    fn pieces(self, sweep: &Sweep) -> impl Iterator<Item = u64> {
        (self.index..sweep.pieces()).step_by(self.of as usize)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((index, of)) if index < of => Ok(Self { index, of }),
            _ => Err("a shard is `i/n` with i from 0 to n - 1, such as `0/4`".to_owned()),
        }
    }
}

/// Why a shard or a merge came to nothing.
#[derive(Debug, Error)]
pub enum SweepFileError {
    /// A run failed.
    #[error(transparent)]
    Run(#[from] ExperimentError),
    /// An earlier attempt left a journal.
    #[error("{}: {runs} of this shard's runs are done\n  go on with them by `--resume`, or remove the file to begin again", journal.display())]
    Unfinished {
        /// The journal.
        journal: PathBuf,
        /// Runs in it.
        runs: usize,
    },
    /// Parts are missing.
    #[error("{}: the sweep is incomplete: {}\n  carry out what is missing with `--shard`", folder.display(), missing.join(", "))]
    Incomplete {
        /// Where parts were looked for.
        folder: PathBuf,
        /// The shards that are missing.
        missing: Vec<String>,
    },
    /// A part is broken.
    #[error("{}: {what}\n  remove the file and carry out its shard again", part.display())]
    Part {
        /// The part.
        part: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}\n  check that the folder is writable and the disk has room, or choose another with `--out`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SweepFileError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// What became of a shard.
#[derive(Debug)]
pub struct ShardDone {
    /// The part.
    pub part: PathBuf,
    /// Runs that it has.
    pub runs: u64,
    /// Of these, those that were there before.
    pub known: u64,
}

fn part_path(sweep: &Sweep, folder: &Path, shard: Shard) -> PathBuf {
    folder.join(format!("part-{}-of-{}-{}.parquet", shard.index, shard.of, &sweep.hash()[..12]))
}

/// Carries out a shard on the current rayon pool and writes its part into `folder`, unless it is there. With `resume`, runs that an
/// earlier attempt has noted are not repeated. `progress` is called with the share that is done, before, during and after
/// each piece, from any thread; it may end the work by unwinding.
///
/// # Errors
/// [`SweepFileError`]; what has been noted stays.
pub fn run_shard(
    sweep: &Sweep,
    folder: &Path,
    shard: Shard,
    resume: bool,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<ShardDone, SweepFileError> {
    let part = part_path(sweep, folder, shard);
    if part.exists() {
        let runs = table::read(&part, sweep.hash())?.len() as u64;
        return Ok(ShardDone { part, runs, known: runs });
    }
    fs::create_dir_all(folder).map_err(SweepFileError::io(folder))?;
    let (journal, known) = Journal::open(&part.with_extension("journal"), sweep.hash(), shard)?;
    if !resume && !known.is_empty() {
        return Err(SweepFileError::Unfinished { journal: journal.path().to_owned(), runs: known.len() });
    }
    // A piece is noted as a whole, so that its first run stands for it.
    let is_known = |piece: &u64| sweep.runs_of(*piece, |_| false).iter().all(|run| known.contains_key(run));
    let (there, left): (Vec<u64>, Vec<u64>) = shard.pieces(sweep).partition(is_known);
    let pieces = (there.len() + left.len()) as f64;
    let with_those_there = |share: f64| progress((there.len() as f64 + share * left.len() as f64) / pieces);
    let shares = Shares::of(left.len(), &with_those_there);
    let outcomes: Vec<Result<(), SweepFileError>> = left
        .par_iter()
        .with_max_len(1)
        .map(|&piece| {
            let report = shares.piece();
            journal.note(&sweep.carry_out(piece, &report)?)?;
            report(1.0);
            Ok(())
        })
        .collect();
    outcomes.into_iter().collect::<Result<(), _>>()?;
    // Read back, so that a part is the same whether its runs were carried out at once or not.
    let values = journal.read()?;
    write_whole(&part, &table::parquet(sweep, &values, &part)?)?;
    journal.remove()?;
    Ok(ShardDone { part, runs: values.len() as u64, known: known.len() as u64 })
}

/// Puts the parts in `folder` together: `sweep.parquet` and `sweep.csv`, ordered by run, the same however many shards there were.
///
/// # Errors
/// [`SweepFileError::Incomplete`] when parts are missing; otherwise what is wrong with a file.
pub fn merge(sweep: &Sweep, folder: &Path) -> Result<Vec<PathBuf>, SweepFileError> {
    let parts = complete(sweep, folder)?;
    let mut known = Known::new();
    for shard in parts {
        let path = part_path(sweep, folder, shard);
        let of_part = table::read(&path, sweep.hash())?;
        let broken = |what: &str| SweepFileError::Part { part: path.clone(), what: what.to_owned() };
        let runs =
            shard.pieces(sweep).flat_map(|piece| sweep.runs_of(piece, |run| of_part.contains_key(&run)));
        if !of_part.keys().copied().eq(runs) {
            return Err(broken("it does not have the runs of its shard"));
        }
        known.extend(of_part);
    }
    let [parquet, csv] = ["sweep.parquet", "sweep.csv"].map(|name| folder.join(name));
    write_whole(&parquet, &table::parquet(sweep, &known, &parquet)?)?;
    write_whole(&csv, &table::csv(sweep, &known).map_err(|error| SweepFileError::io(&csv)(error.into()))?)?;
    Ok(vec![parquet, csv])
}

/// The shards of a complete set of parts.
fn complete(sweep: &Sweep, folder: &Path) -> Result<Vec<Shard>, SweepFileError> {
    let ending = format!("-{}.parquet", &sweep.hash()[..12]);
    let entries = fs::read_dir(folder).map_err(SweepFileError::io(folder))?;
    let mut found: Vec<Shard> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix("part-")?.strip_suffix(&ending)?.replace("-of-", "/").parse().ok()
        })
        .collect();
    found.sort_by_key(|shard| (shard.of, shard.index));
    let of_size = |of: u64| found.iter().filter(move |shard| shard.of == of).copied();
    if let Some(whole) = found.iter().find(|shard| of_size(shard.of).count() as u64 == shard.of) {
        return Ok(of_size(whole.of).collect());
    }
    // What is nearest to being complete tells what is missing.
    let most = found.iter().map(|shard| shard.of).max_by_key(|&of| of_size(of).count()).unwrap_or(1);
    let has = |index: u64| of_size(most).any(|shard| shard.index == index);
    let missing = (0..most).filter(|&index| !has(index)).map(|index| format!("{index}/{most}")).collect();
    Err(SweepFileError::Incomplete { folder: folder.to_owned(), missing })
}

/// Writes a file under another name, then renames it, so that it is whole or absent.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), SweepFileError> {
    use io::Write;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default, but this one becomes the result, which obeys the user's mask like any other.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(SweepFileError::io(folder))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(SweepFileError::io(path))?;
    file.persist(path).map_err(|error| SweepFileError::io(path)(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_sim::scenario::Overrides;

    const SCENARIO: &str = r#"
title = "small"
duration = "20s"
replications = 3
[[population]]
name = "all"
clients = 40
address = { preset = "direct" }
arrivals = { poisson = { rate = 20 } }
[cluster]
servers = [{ name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" }]
capacity = { workers = 4, service = { exponential = { mean = "20ms" } } }
[[strategy]]
name = "hash"
balancer = { nginx.ip_hash = {} }
session = { local = {} }
[[strategy]]
name = "rr"
balancer = { nginx.round_robin = {} }
session = { local = {} }
[sweep]
grid = [{ field = "population.all.clients", values = [20, 40] }]
latin_hypercube = { points = 2, fields = [{ field = "population.all.arrivals.poisson.rate", from = 10, to = 40 }] }
"#;

    fn sweep(home: &Path) -> Sweep {
        let file = home.join("small.toml");
        fs::write(&file, SCENARIO).expect("a file");
        Sweep::load(&file, &Overrides::NONE, &[]).unwrap_or_else(|error| panic!("{error}"))
    }

    fn merged(sweep: &Sweep, folder: &Path) -> Vec<Vec<u8>> {
        let files = merge(sweep, folder).unwrap_or_else(|error| panic!("{error}"));
        files.iter().map(|file| fs::read(file).expect("a file")).collect()
    }

    #[test]
    fn shards_come_to_the_same_bytes_as_the_whole() {
        let home = tempfile::tempdir().expect("a folder");
        let sweep = sweep(home.path());
        assert_eq!(sweep.runs(), 4 * 2 * 3);
        let whole = home.path().join("whole");
        run_shard(&sweep, &whole, Shard::WHOLE, false, &|_| ()).expect("it runs");
        let expected = merged(&sweep, &whole);
        let text = String::from_utf8_lossy(&expected[1]);
        assert!(
            text.starts_with("run_id,point,strategy,replication,seed,warmup_s,population.all.clients,"),
            "{text}"
        );
        for of in [3, 7] {
            let parts = home.path().join(format!("{of}"));
            for index in (0..of).rev() {
                run_shard(&sweep, &parts, Shard { index, of }, false, &|_| ()).expect("it runs");
            }
            assert!(merged(&sweep, &parts) == expected, "{of} shards");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let home = tempfile::tempdir().expect("a folder");
        let sweep = sweep(home.path());
        let parts = home.path().join("parts");
        run_shard(&sweep, &parts, Shard { index: 1, of: 3 }, false, &|_| ()).expect("it runs");
        let error = merge(&sweep, &parts).expect_err("two parts are missing").to_string();
        assert!(error.contains("0/3, 2/3"), "{error}");
    }

    #[test]
    fn an_interrupted_shard_goes_on_where_it_stopped_and_comes_to_the_same() {
        let home = tempfile::tempdir().expect("a folder");
        let sweep = sweep(home.path());
        let whole = home.path().join("whole");
        let part = run_shard(&sweep, &whole, Shard::WHOLE, false, &|_| ()).expect("it runs").part;
        // Five runs are noted, a sixth is torn.
        let broken = home.path().join("broken");
        fs::create_dir(&broken).expect("a folder");
        let path = part_path(&sweep, &broken, Shard::WHOLE).with_extension("journal");
        let (journal, _) = Journal::open(&path, sweep.hash(), Shard::WHOLE).expect("a journal");
        for number in [7, 0, 3, 12, 5, 20] {
            journal.note(&sweep.carry_out(number, &|_| ()).expect("it runs")).expect("noted");
        }
        let text = fs::read(&path).expect("a journal");
        fs::write(&path, &text[..text.len() - 40]).expect("torn");
        let again = run_shard(&sweep, &broken, Shard::WHOLE, false, &|_| ());
        assert!(matches!(again, Err(SweepFileError::Unfinished { runs: 5, .. })));
        let resumed = run_shard(&sweep, &broken, Shard::WHOLE, true, &|_| ()).expect("it goes on");
        assert_eq!((resumed.runs, resumed.known), (24, 5));
        assert!(fs::read(resumed.part).expect("a part") == fs::read(part).expect("a part"));
        assert!(!path.exists());
    }

    #[test]
    fn points_that_are_to_be_precise_come_to_the_same_in_shards_and_after_an_interruption() {
        let home = tempfile::tempdir().expect("a folder");
        let file = home.path().join("precise.toml");
        let precise = "warmup = \"detect\"\nwindow = \"1s\"\nduration = \"2min\"\nreplications = 24\n\
                       precision = { relative = \"15%\", metrics = [\"load.requests.peak_to_mean\"] }";
        let text = SCENARIO.replace("duration = \"20s\"\nreplications = 3", precise);
        fs::write(&file, text).expect("a file");
        let sweep = Sweep::load(&file, &Overrides::NONE, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((sweep.pieces(), sweep.runs()), (4, 4 * 2 * 24));
        let whole = home.path().join("whole");
        let done = run_shard(&sweep, &whole, Shard::WHOLE, false, &|_| ()).expect("it runs");
        assert!(done.runs < sweep.runs() && done.runs >= 4 * 2 * 10, "{}", done.runs);
        let expected = merged(&sweep, &whole);
        let parts = home.path().join("parts");
        // The first shard was interrupted after its second piece.
        let first = Shard { index: 0, of: 2 };
        fs::create_dir(&parts).expect("a folder");
        let path = part_path(&sweep, &parts, first).with_extension("journal");
        let (journal, _) = Journal::open(&path, sweep.hash(), first).expect("a journal");
        journal.note(&sweep.carry_out(2, &|_| ()).expect("it runs")).expect("noted");
        let resumed = run_shard(&sweep, &parts, first, true, &|_| ()).expect("it goes on");
        assert!(resumed.known >= 20 && resumed.known < resumed.runs, "{resumed:?}");
        run_shard(&sweep, &parts, Shard { index: 1, of: 2 }, false, &|_| ()).expect("it runs");
        assert!(merged(&sweep, &parts) == expected);
    }

    #[test]
    fn a_shard_is_two_numbers() {
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, of: 3 }));
        for text in ["3/3", "1", "a/b", "-1/2", "0/0"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
