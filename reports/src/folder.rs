//! The result folder: written whole, then renamed into place, so that a folder of that name is either the old result or the
//! new one.
//!
//! `provenance.json` is the only file that may differ between two runs of the same scenario and seed; `manifest.json` names
//! every other file with its SHA-256.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use evenkeel_sim::experiment::summary::Summary;
use parquet::errors::ParquetError;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use thiserror::Error;

use crate::charts::{self, ChartError};
use crate::{html, tables};

/// The file that makes a folder a result folder.
const MANIFEST: &str = "manifest.json";

/// The one file that may differ between two runs.
const PROVENANCE: &str = "provenance.json";

/// What a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct ReportInputs<'a> {
    /// What the experiment found.
    pub summary: &'a Summary,
    /// The scenario with every default filled in, as TOML.
    pub scenario_toml: &'a str,
    /// When, how and where it ran.
    pub provenance: &'a Provenance,
}

/// When, how and where a result was made.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// Wall-clock time of the start, RFC 3339, such as `2026-11-22T22:38:00Z`.
    pub time: String,
    /// The command as typed.
    pub command: String,
    /// Threads used.
    pub threads: usize,
    /// Name of the machine, operating system and processor.
    pub host: String,
}

/// What was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The folder.
    pub folder: PathBuf,
    /// The report to open in a browser.
    pub report: PathBuf,
    /// Every file, relative to the folder, sorted.
    pub files: Vec<String>,
    /// Whether an older result was replaced.
    pub replaced: bool,
}

/// Why a result folder could not be written. Nothing at its place has changed then.
#[derive(Debug, Error)]
pub enum ReportError {
    /// There is something else at that place.
    #[error("{}: exists and is not a result folder (no `manifest.json` of Evenkeel in it)\n  choose another folder with `--out`, or move it away", folder.display())]
    Foreign {
        /// What is in the way.
        folder: PathBuf,
    },
    /// The path has no last name, such as `/`.
    #[error("{}: has no name that a result folder could have\n  choose another folder with `--out`", folder.display())]
    Unnamed {
        /// The path.
        folder: PathBuf,
    },
    /// A file or folder could not be written, read or renamed.
    #[error("{}: cannot {action}: {source}\n  check that its parent folder is writable and the disk has room, or choose another with `--out`", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A table could not be written.
    #[error("tables/{table}.csv: {source}\n  this is a fault in Evenkeel: please report it")]
    Table {
        /// The table.
        table: &'static str,
        /// What the writer said.
        source: csv::Error,
    },
    /// The tables could not be written as Parquet.
    #[error("tables: {source}\n  this is a fault in Evenkeel: please report it")]
    Parquet {
        /// What the writer said.
        source: ParquetError,
    },
    /// A file could not be put into JSON.
    #[error("{file}: {source}\n  this is a fault in Evenkeel: please report it")]
    Json {
        /// The file.
        file: &'static str,
        /// What the writer said.
        source: serde_json::Error,
    },
    /// A chart could not be drawn.
    #[error("charts/{chart}.png: {source}\n  this is a fault in Evenkeel: please report it")]
    Chart {
        /// The chart.
        chart: &'static str,
        /// What went wrong.
        source: ChartError,
    },
}

/// `manifest.json`: all that is needed to make the folder again, and to check it.
#[derive(Serialize)]
struct Manifest<'a> {
    schema_version: u32,
    evenkeel_version: &'a str,
    seed: u64,
    scenario_sha256: &'a str,
    scenario: &'a str,
    files: BTreeMap<&'a str, String>,
}

/// Files by their path in the folder, with `/` between names.
type Files = BTreeMap<String, Vec<u8>>;

/// Writes a result folder at `folder`, replacing an older result of that name.
///
/// # Errors
///
/// [`ReportError::Foreign`] if something is there that is not a result folder: it is left alone. Otherwise what the file system
/// reports; the old result then stays where it was.
pub fn write(folder: &Path, inputs: &ReportInputs<'_>) -> Result<Written, ReportError> {
    let place = place(folder)?;
    let replaced = occupied(&place)?;
    let files = files(inputs)?;

    let temporary = temporary_folder(&place)?;
    for (name, bytes) in &files {
        write_file(&temporary.path().join(name), bytes)?;
    }
    put_in_place(temporary, &place, replaced)?;

    Ok(Written {
        report: place.join("report.html"),
        folder: place,
        files: files.into_keys().collect(),
        replaced,
    })
}

/// Every file of the folder.
fn files(inputs: &ReportInputs<'_>) -> Result<Files, ReportError> {
    let summary = inputs.summary;
    let mut files = Files::new();
    files.insert("summary.json".into(), json("summary.json", summary)?);
    files.insert("scenario.toml".into(), inputs.scenario_toml.as_bytes().to_vec());
    for table in tables::TABLES.iter().filter(|table| table.is_wanted(summary)) {
        let bytes = table.csv(summary).map_err(|source| ReportError::Table { table: table.name, source })?;
        files.insert(format!("tables/{}.csv", table.name), bytes);
    }
    let parquet = tables::parquet_tables(summary).map_err(|source| ReportError::Parquet { source })?;
    files.extend(parquet.into_iter().map(|(name, bytes)| (format!("tables/{name}.parquet"), bytes)));
    files.insert("tables/README.md".into(), tables::dictionary(summary).into_bytes());
    let charts = charts::all(summary);
    for chart in &charts {
        let png = chart.png().map_err(|source| ReportError::Chart { chart: chart.name, source })?;
        files.insert(format!("charts/{}.png", chart.name), png);
        files.insert(format!("charts/{}.svg", chart.name), chart.svg().into_bytes());
    }
    files.insert("report.html".into(), html::report(summary, &charts).into_bytes());

    let manifest = Manifest {
        schema_version: summary.schema_version,
        evenkeel_version: &summary.evenkeel_version,
        seed: summary.seed,
        scenario_sha256: &summary.scenario_sha256,
        scenario: inputs.scenario_toml,
        files: files.iter().map(|(name, bytes)| (name.as_str(), sha256(bytes))).collect(),
    };
    let manifest = json(MANIFEST, &manifest)?;
    files.insert(MANIFEST.into(), manifest);
    files.insert(PROVENANCE.into(), json(PROVENANCE, inputs.provenance)?);
    Ok(files)
}

fn json(file: &'static str, value: &impl Serialize) -> Result<Vec<u8>, ReportError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| ReportError::Json { file, source })?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where the folder really is: links and `..` are followed, so that a rename replaces what they point at.
fn place(folder: &Path) -> Result<PathBuf, ReportError> {
    let place = if folder.exists() {
        fs::canonicalize(folder).map_err(|source| io_error(folder, "find it", source))?
    } else {
        folder.to_owned()
    };
    if place.file_name().is_none() {
        return Err(ReportError::Unnamed { folder: folder.to_owned() });
    }
    Ok(place)
}

/// Whether an older result is at `place`; something else there is an error.
fn occupied(place: &Path) -> Result<bool, ReportError> {
    match fs::symlink_metadata(place) {
        Ok(_) if is_result(place) => Ok(true),
        Ok(_) => Err(ReportError::Foreign { folder: place.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(io_error(place, "look at it", source)),
    }
}

/// Whether `folder` holds a manifest of ours; other programs have files of that name too.
fn is_result(folder: &Path) -> bool {
    fs::read(folder.join(MANIFEST))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
        .is_some_and(|manifest| manifest["evenkeel_version"].is_string())
}

/// The folder that `place` is in.
fn parent(place: &Path) -> &Path {
    match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A hidden sibling of `place`, so that the rename stays within one file system; removed when dropped.
fn temporary_folder(place: &Path) -> Result<TempDir, ReportError> {
    let parent = parent(place);
    fs::create_dir_all(parent).map_err(|source| io_error(parent, "create it", source))?;
    let mut prefix = OsString::from(".");
    prefix.push(place.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    // Temporary folders are private by default, but this one becomes the result, which obeys the user's mask like any other.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent).map_err(|source| io_error(parent, "create a folder in it", source))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let folder = parent(path);
    fs::create_dir_all(folder).map_err(|source| io_error(folder, "create it", source))?;
    fs::write(path, bytes).map_err(|source| io_error(path, "write it", source))
}

/// Renames the finished folder into place; an older result is first set aside, and put back if that fails.
fn put_in_place(temporary: TempDir, place: &Path, replaced: bool) -> Result<(), ReportError> {
    let old = if replaced {
        let aside = temporary_folder(place)?;
        let old = aside.path().join("old");
        fs::rename(place, &old).map_err(|source| io_error(place, "set the older result aside", source))?;
        Some((aside, old))
    } else {
        None
    };
    match fs::rename(temporary.path(), place) {
        Ok(()) => {
            // It is no longer at its temporary path: nothing is left there to remove.
            let _ = temporary.keep();
            Ok(())
        }
        Err(source) => {
            if let Some((aside, old)) = old
                && fs::rename(&old, place).is_err()
            {
                // Better a stray folder than a lost result.
                let _ = aside.keep();
            }
            Err(io_error(place, "rename the finished result to it", source))
        }
    }
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> ReportError {
    ReportError::Io { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn provenance(time: &str) -> Provenance {
        Provenance {
            time: time.into(),
            command: "evenkeel run three.toml".into(),
            threads: 2,
            host: "test".into(),
        }
    }

    fn write_at(folder: &Path, summary: &Summary, time: &str) -> Result<Written, ReportError> {
        let provenance = provenance(time);
        write(
            folder,
            &ReportInputs { summary, scenario_toml: "title = \"three\"\n", provenance: &provenance },
        )
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn two_writes_differ_in_nothing_but_provenance() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let summary = fixture::crash();
        let first = write_at(&home.path().join("a"), &summary, "2026-11-22T10:00:00Z").expect("written");
        let second = write_at(&home.path().join("b"), &summary, "2026-11-23T11:00:00Z").expect("written");
        assert_eq!(first.files, second.files);
        let differing: Vec<&String> = first
            .files
            .iter()
            .filter(|name| fs::read(first.folder.join(name)).ok() != fs::read(second.folder.join(name)).ok())
            .collect();
        assert_eq!(differing, [PROVENANCE]);
    }

    #[test]
    fn the_manifest_names_every_other_file_with_its_hash() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let written = write_at(&home.path().join("a"), &fixture::nasty(), "now").expect("written");
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(written.folder.join(MANIFEST)).expect("a manifest"))
                .expect("JSON");
        let listed = manifest["files"].as_object().expect("files");
        let expected: Vec<&String> =
            written.files.iter().filter(|name| *name != MANIFEST && *name != PROVENANCE).collect();
        assert_eq!(listed.keys().collect::<Vec<_>>(), expected);
        for (name, hash) in listed {
            let bytes = fs::read(written.folder.join(name)).expect("a listed file");
            assert_eq!(hash, &sha256(&bytes), "{name}");
        }
        assert_eq!(manifest["scenario"], "title = \"three\"\n");
    }

    #[test]
    fn an_older_result_is_replaced_whole_and_nothing_is_left_beside_it() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let place = home.path().join("result");
        assert!(!write_at(&place, &fixture::nasty(), "1").expect("written").replaced);
        assert!(place.join("tables/trace.csv").exists());
        assert!(write_at(&place, &fixture::crash(), "2").expect("replaced").replaced);
        assert!(!place.join("tables/trace.csv").exists(), "a file of the older result is left");
        assert_eq!(names(home.path()), ["result"]);
    }

    #[test]
    fn a_folder_of_someone_else_is_refused_and_not_touched() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let place = home.path().join("thesis");
        fs::create_dir(&place).expect("a folder");
        fs::write(place.join("thesis.tex"), "years of work").expect("a file");
        fs::write(place.join(MANIFEST), "{\"name\": \"a browser extension\"}").expect("a file");
        let error = write_at(&place, &fixture::nasty(), "1").expect_err("it is not ours");
        assert!(matches!(error, ReportError::Foreign { .. }));
        assert!(error.to_string().contains("is not a result folder"), "{error}");
        assert_eq!(names(&place), [MANIFEST, "thesis.tex"]);
        assert_eq!(names(home.path()), ["thesis"]);
    }

    #[test]
    fn a_file_in_the_way_is_refused() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let place = home.path().join("result");
        fs::write(&place, "a file").expect("a file");
        assert!(matches!(write_at(&place, &fixture::nasty(), "1"), Err(ReportError::Foreign { .. })));
        assert_eq!(fs::read_to_string(&place).expect("still there"), "a file");
    }

    #[test]
    fn missing_parents_are_created_and_a_root_is_no_result() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let place = home.path().join("results/2026/three");
        let written = write_at(&place, &fixture::nasty(), "1").expect("written");
        assert!(written.report.exists());
        assert!(matches!(write_at(Path::new("/"), &fixture::nasty(), "1"), Err(ReportError::Unnamed { .. })));
    }
}
