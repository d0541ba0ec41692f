//! Replays recordings of the real programs through tier instances, decision by decision.
//!
//! A recording is a folder, the *case*: `case.json` says what was configured, `events.csv` what happened and what the
//! program decided. A case is replayed by driving a tier instance with its inputs and comparing every decision.

mod exceptions;
pub mod haproxy;
pub mod ipvs;
pub mod nginx;
pub mod stores;

pub use exceptions::{EXCEPTIONS, Exception};

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The file that makes a folder a case.
const MANIFEST: &str = "case.json";

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    /// The program that was recorded, as `case.json` spells it; `unknown` where that cannot be read.
    pub program: String,
    /// The case: its folder, relative to the path that was given, with `/` between the parts.
    pub case: String,
    /// The algorithm, as the program spells it; `-` where the case names none.
    pub algorithm: String,
    /// Whether the model decided as the program did.
    pub outcome: CaseOutcome,
}

impl CaseReport {
    /// The known exception that is all that differs, if that is so.
    pub fn exception(&self) -> Option<&'static Exception> {
        exceptions::explains(self)
    }

    /// Whether the case speaks against the model: a decision differs that is no known exception, or the case cannot be
    /// read.
    pub fn failed(&self) -> bool {
        match &self.outcome {
            CaseOutcome::Replayed { decisions, matched, .. } => {
                matched < decisions && self.exception().is_none()
            }
            CaseOutcome::Distribution { passed, .. } => !passed,
            CaseOutcome::Skipped { .. } => false,
            CaseOutcome::Unreadable { .. } => true,
        }
    }
}

/// How the replay of one case ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum CaseOutcome {
    /// Every decision was compared.
    Replayed {
        /// Decisions in the recording.
        decisions: u64,
        /// Those that the model took alike.
        matched: u64,
        /// The first that it did not.
        first_difference: Option<Difference>,
    },
    /// The program decides by chance, so the whole case was compared with replays by the model's own chance.
    Distribution {
        /// Decisions in the recording. None of them was compared by itself.
        decisions: u64,
        /// Replays by the model.
        replays: u64,
        /// Counts that were compared.
        statistics: u64,
        /// How far the recording is from the mean of all, itself among them, in standard deviations: the largest of all
        /// counts. Cannot be above the root of `replays`.
        z_max: f64,
        /// Share of the recording and the replays together that are at least as far out as the recording: the chance that
        /// such a recording is so far out if the model is right.
        p_value: f64,
        /// The p value at or below which the case fails.
        level: f64,
        /// Whether the p value is above the level.
        passed: bool,
    },
    /// The case needs something that is not modelled.
    Skipped {
        /// What it needs.
        reason: String,
    },
    /// The recording is malformed. Counts as failed: a case that cannot be read must not look like one that passed.
    Unreadable {
        /// File, line and what is wrong there.
        error: String,
    },
}

/// A decision that the model took otherwise than the program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Line in `events.csv`, from 1, the header being line 1.
    pub row: u64,
    /// Time of the row, as recorded, in milliseconds.
    pub t_ms: f64,
    /// The row's event.
    pub event: String,
    /// What the program did.
    pub recorded: String,
    /// What the model did.
    pub modelled: String,
}

/// Counts comparisons while a case is replayed.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    decisions: u64,
    matched: u64,
    first_difference: Option<Difference>,
}

impl Tally {
    /// Counts one decision that the model took alike.
    #[inline]
    pub fn alike(&mut self) {
        self.decisions += 1;
        self.matched += 1;
    }

    /// Counts one decision that the model took otherwise; `difference` is called for the first one only.
    pub fn different(&mut self, difference: impl FnOnce() -> Difference) {
        self.decisions += 1;
        self.first_difference.get_or_insert_with(difference);
    }
}

impl From<Tally> for CaseOutcome {
    fn from(tally: Tally) -> Self {
        let Tally { decisions, matched, first_difference } = tally;
        Self::Replayed { decisions, matched, first_difference }
    }
}

/// What is wrong with a case, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CaseError {
    /// A file that every case must have is missing or cannot be read.
    #[error("{file}: {message}")]
    File {
        /// The file's name in the case.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// A line is malformed.
    #[error("{file}:{line}: {message}")]
    Line {
        /// The file's name in the case.
        file: String,
        /// Its line, from 1.
        line: u64,
        /// What is wrong.
        message: String,
    },
}

impl CaseError {
    /// An error in `line` of `file`.
    pub fn at(file: &str, line: u64, message: impl Into<String>) -> Self {
        Self::Line { file: file.to_owned(), line, message: message.into() }
    }
}

/// Makes sure that a recording is whole: that it has as many requests as its manifest says, where that says it.
///
/// # Errors
/// If the numbers differ.
fn check_requests(file: &str, stated: Option<u64>, found: u64) -> Result<(), CaseError> {
    match stated {
        Some(stated) if stated != found => {
            let message = format!("{found} requests where `requests` in {MANIFEST} says {stated}");
            Err(CaseError::File { file: file.to_owned(), message })
        }
        _ => Ok(()),
    }
}

impl From<CaseError> for CaseOutcome {
    fn from(error: CaseError) -> Self {
        Self::Unreadable { error: error.to_string() }
    }
}

/// One recording.
#[derive(Clone, Debug)]
pub struct Case {
    /// As in [`CaseReport::case`].
    pub name: String,
    /// Its files.
    pub files: CaseFiles,
}

/// Where the files of a case are.
#[derive(Clone, Debug)]
pub enum CaseFiles {
    /// In a folder on disk.
    Folder(PathBuf),
    /// In memory, by name: taken from an archive.
    Memory(BTreeMap<String, Vec<u8>>),
}

impl CaseFiles {
    /// The bytes of the file called `name`, or `None` if the case has no such file.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CaseError> {
        match self {
            Self::Folder(folder) => match fs::read(folder.join(name)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(CaseError::File { file: name.to_owned(), message: error.to_string() }),
            },
            Self::Memory(files) => Ok(files.get(name).cloned()),
        }
    }

    /// The bytes of the file called `name`.
    ///
    /// # Errors
    /// If there is no such file or it cannot be read.
    pub fn require(&self, name: &str) -> Result<Vec<u8>, CaseError> {
        self.read(name)?.ok_or_else(|| CaseError::File {
            file: name.to_owned(),
            message: "no such file in the case".into(),
        })
    }
}

impl Case {
    /// `case.json` as a `T`.
    ///
    /// # Errors
    /// If the file is missing, is no JSON, or lacks what `T` needs; with the line.
    pub fn manifest<T: DeserializeOwned>(&self) -> Result<T, CaseError> {
        serde_json::from_slice(&self.files.require(MANIFEST)?).map_err(|error| {
            CaseError::at(MANIFEST, error.line() as u64, format!("{error} (column {})", error.column()))
        })
    }

    /// Replays the case through the tier instance of its program.
    pub fn replay(&self) -> CaseReport {
        /// What the report itself needs to know. Each program has its own word for its algorithm.
        #[derive(Deserialize)]
        struct Head {
            product: String,
            method: Option<String>,
            scheduler: Option<String>,
            balance: Option<String>,
            keepalived: Option<serde::de::IgnoredAny>,
        }
        let (program, algorithm, outcome) = match self.manifest::<Head>() {
            Ok(head) => {
                let outcome = match head.product.as_str() {
                    "nginx" => nginx::replay(self),
                    "ipvs" => ipvs::replay(self),
                    "haproxy" => haproxy::replay(self),
                    "redis" => stores::redis::replay(self),
                    "memcached" => stores::memcached::replay(self),
                    "libmemcached" => stores::library::replay(self),
                    other => CaseOutcome::Skipped { reason: format!("no tier replays `{other}`") },
                };
                let keepalived = || head.keepalived.map(|_| "keepalived".to_owned());
                let algorithm = head.method.or(head.scheduler).or(head.balance).or_else(keepalived);
                (head.product, algorithm.unwrap_or_else(|| "-".into()), outcome)
            }
            Err(error) => ("unknown".into(), "-".into(), error.into()),
        };
        CaseReport { program, case: self.name.clone(), algorithm, outcome }
    }
}

/// Why recordings could not be found.
#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// A path cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The path, as given or found beneath one that was.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A path is neither a folder nor an archive.
    #[error("{}: neither a folder nor a `.tar.zst` archive of recordings", path.display())]
    NotRecordings {
        /// The path, as given.
        path: PathBuf,
    },
    /// Nothing beneath a path is a case.
    #[error("{}: no recording in it: found no `case.json`", path.display())]
    NoCase {
        /// The path, as given.
        path: PathBuf,
    },
}

/// Replays every case beneath `paths`, in the order of the paths and, beneath each, of the cases' names. A path is a
/// case, a folder of cases at any depth, or a `.tar.zst` archive of either.
///
/// # Errors
/// If a path cannot be read or holds no case. A malformed case is no error but a report
/// ([`CaseOutcome::Unreadable`]), so that it does not hide the others.
pub fn replay_paths(paths: &[PathBuf]) -> Result<Vec<CaseReport>, ConformanceError> {
    let mut reports = Vec::new();
    for path in paths {
        let cases = find_cases(path)?;
        // Cases are independent, and the order of the reports is that of the cases.
        reports.par_extend(cases.par_iter().map(Case::replay));
    }
    Ok(reports)
}

/// The cases at or beneath `path`, sorted by name.
fn find_cases(path: &Path) -> Result<Vec<Case>, ConformanceError> {
    let unreadable = |source| ConformanceError::Unreadable { path: path.to_owned(), source };
    let mut cases = Vec::new();
    if fs::metadata(path).map_err(unreadable)?.is_dir() {
        let mut found = Vec::new();
        walk(path, &mut found)?;
        for place in found {
            if is_archive(&place) {
                cases.extend(cases_in(&place)?);
            } else {
                let name = case_name(place.strip_prefix(path).unwrap_or(&place), path);
                cases.push(Case { name, files: CaseFiles::Folder(place) });
            }
        }
    } else if is_archive(path) {
        cases = cases_in(path)?;
    } else {
        return Err(ConformanceError::NotRecordings { path: path.to_owned() });
    }
    if cases.is_empty() {
        return Err(ConformanceError::NoCase { path: path.to_owned() });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

/// Whether a file is an archive of recordings, by its name.
fn is_archive(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b".tar.zst")
}

/// The cases of an archive.
fn cases_in(archive: &Path) -> Result<Vec<Case>, ConformanceError> {
    let unreadable = |source| ConformanceError::Unreadable { path: archive.to_owned(), source };
    let folders = unpack(archive).map_err(unreadable)?;
    let with_manifest = folders.into_iter().filter(|(_, files)| files.contains_key(MANIFEST));
    Ok(with_manifest
        .map(|(folder, files)| Case { name: case_name(&folder, archive), files: CaseFiles::Memory(files) })
        .collect())
}

/// Collects every folder at or beneath `folder` that is a case, and every archive. Symbolic links are not followed: they
/// could lead back.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), ConformanceError> {
    let unreadable = |source| ConformanceError::Unreadable { path: folder.to_owned(), source };
    if folder.join(MANIFEST).is_file() {
        found.push(folder.to_owned());
    }
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
        if kind.is_dir() {
            walk(&path, found)?;
        } else if kind.is_file() && is_archive(&path) {
            found.push(path);
        }
    }
    Ok(())
}

/// The files of an archive, by folder and name.
fn unpack(path: &Path) -> io::Result<BTreeMap<PathBuf, BTreeMap<String, Vec<u8>>>> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(BufReader::new(File::open(path)?))?);
    let mut folders: BTreeMap<PathBuf, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let file = entry.path()?.into_owned();
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { continue };
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        folders
            .entry(folder.components().collect())
            .or_default()
            .insert(name.to_string_lossy().into_owned(), bytes);
    }
    Ok(folders)
}

/// The name of the case in `folder`, which is relative to `given`; if that is the case itself, its own name.
fn case_name(folder: &Path, given: &Path) -> String {
    let parts: Vec<_> = folder
        .components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    if parts.is_empty() {
        let name = given.file_name().unwrap_or(given.as_os_str()).to_string_lossy();
        name.trim_end_matches(".tar.zst").to_owned()
    } else {
        parts.join("/")
    }
}

/// Sums over cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Cases, skipped and failed ones among them.
    pub cases: u64,
    /// Decisions compared.
    pub decisions: u64,
    /// Decisions that the model took alike.
    pub matched: u64,
    /// Cases that were skipped.
    pub skipped: u64,
    /// Cases of which the distribution was compared; their decisions are not among those above.
    pub distributions: u64,
    /// Cases that failed ([`CaseReport::failed`]).
    pub failed: u64,
}

impl Total {
    fn add(&mut self, report: &CaseReport) {
        self.cases += 1;
        self.failed += u64::from(report.failed());
        match &report.outcome {
            CaseOutcome::Replayed { decisions, matched, .. } => {
                self.decisions += decisions;
                self.matched += matched;
            }
            CaseOutcome::Skipped { .. } => self.skipped += 1,
            CaseOutcome::Distribution { .. } => self.distributions += 1,
            CaseOutcome::Unreadable { .. } => {}
        }
    }
}

/// Sums by program and algorithm, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The sums of each (program, algorithm).
    pub rows: BTreeMap<(String, String), Total>,
}

impl Totals {
    /// The sums over `reports`.
    pub fn of(reports: &[CaseReport]) -> Self {
        let mut totals = Self::default();
        for report in reports {
            totals.rows.entry((report.program.clone(), report.algorithm.clone())).or_default().add(report);
        }
        totals
    }

    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.rows.values().all(|row| row.failed == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `files` (path, text) beneath a new folder.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("inside the folder")).expect("created");
            fs::write(path, text).expect("written");
        }
        folder
    }

    const FILES: [(&str, &str); 4] = [
        ("b/case.json", r#"{"product": "varnish", "balance": "source"}"#),
        ("a/deep/case.json", r#"{"product": "varnish", "balance": "uri"}"#),
        ("c/case.json", "{\n\"product\": nginx}"),
        ("notes/README.md", "no case"),
    ];

    fn summary(reports: &[CaseReport]) -> Vec<(&str, &str, &str, bool)> {
        reports.iter().map(|r| (&*r.program, &*r.algorithm, &*r.case, r.failed())).collect()
    }

    const EXPECTED: [(&str, &str, &str, bool); 3] =
        [("varnish", "uri", "a/deep", false), ("varnish", "source", "b", false), ("unknown", "-", "c", true)];

    #[test]
    fn cases_are_found_at_any_depth_and_reported_in_order() {
        let folder = folder(&FILES);
        let reports = replay_paths(&[folder.path().into()]).expect("readable");
        assert_eq!(summary(&reports), EXPECTED);
        let CaseOutcome::Unreadable { error } = &reports[2].outcome else { panic!("{:?}", reports[2]) };
        assert!(error.starts_with("case.json:2: "), "{error}");
    }

    #[test]
    fn an_archive_reports_the_same_as_its_folder() {
        let folder = folder(&FILES);
        let archive = folder.path().join("cases.tar.zst");
        let mut tar =
            tar::Builder::new(zstd::Encoder::new(File::create(&archive).expect("created"), 1).expect("new"));
        for name in ["a", "b", "c", "notes"] {
            tar.append_dir_all(name, folder.path().join(name)).expect("appended");
        }
        tar.into_inner().expect("complete").finish().expect("compressed");
        assert_eq!(summary(&replay_paths(&[archive]).expect("readable")), EXPECTED);
    }

    #[test]
    fn a_path_that_is_a_case_goes_by_its_own_name() {
        let folder = folder(&FILES);
        let reports = replay_paths(&[folder.path().join("b")]).expect("readable");
        assert_eq!(reports[0].case, "b");
    }

    #[test]
    fn paths_without_a_case_are_errors_that_say_so() {
        let folder = folder(&FILES);
        let error = |path: &str| replay_paths(&[folder.path().join(path)]).expect_err(path).to_string();
        assert!(error("notes").ends_with("no recording in it: found no `case.json`"));
        assert!(error("notes/README.md").contains("neither a folder nor a `.tar.zst` archive"));
        assert!(matches!(
            replay_paths(&[folder.path().join("absent")]),
            Err(ConformanceError::Unreadable { .. })
        ));
    }

    #[test]
    fn an_unreadable_case_counts_as_failed_in_the_totals() {
        let folder = folder(&FILES);
        let totals = Totals::of(&replay_paths(&[folder.path().into()]).expect("readable"));
        let row = |program: &str, algorithm: &str| totals.rows[&(program.to_owned(), algorithm.to_owned())];
        assert_eq!(row("varnish", "uri"), Total { cases: 1, skipped: 1, ..Total::default() });
        assert_eq!(row("unknown", "-"), Total { cases: 1, failed: 1, ..Total::default() });
        assert!(!totals.passed());
    }
}
