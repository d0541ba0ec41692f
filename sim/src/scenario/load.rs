//! The way in: from a file, or a text, to a resolved scenario.

use std::fs;
use std::path::{Path, PathBuf};

use super::Scenario;
use super::diagnostic::{Diagnostics, Report, Span};
use super::explain::Resolved;
use super::overrides::Overrides;
use super::read::{self, Read};
use super::tree;

/// Largest scenario file that is read \[bytes\]: far above what anyone writes, far below what fills a memory.
const FILE_MAX: usize = 4 << 20;

/// A scenario that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The scenario.
    pub scenario: Scenario,
    /// The same as a document, with every default filled in; what `evenkeel explain` prints.
    pub resolved: Resolved,
    /// The folder from which relative files of logs start: that of the scenario file.
    pub folder: PathBuf,
}

/// Reads a scenario file. Files of logs that it names must exist.
///
/// # Errors
/// All mistakes of the file and the overrides, in order of position.
pub fn load(path: impl AsRef<Path>, overrides: &Overrides) -> Result<Loaded, Diagnostics> {
    let path = path.as_ref();
    let file_name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| {
        Diagnostics::of_file(&file_name, format!("cannot read the scenario: {error}"), None)
    })?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => return Err(not_utf8(&file_name, &bytes, error.valid_up_to())),
    };
    let (loaded, log_files) = resolve(&file_name, text, overrides)?;
    let report = Report::new(&file_name, text, &overrides.text());
    for (file, span) in log_files.iter().filter(|(file, _)| file != Path::new("-")) {
        let place = loaded.folder.join(file);
        if let Err(error) = fs::metadata(&place) {
            let help = format!("looked for {}", place.display());
            report.error_with_help(*span, format!("cannot read the log `{}`: {error}", file.display()), help);
        }
    }
    report.into_result()?;
    Ok(loaded)
}

/// Reads the text of a scenario; `file_name` is what messages call it, and its folder is where relative files of logs
/// start. Whether those exist is not looked at.
///
/// # Errors
/// All mistakes of the text and the overrides, in order of position.
pub fn parse(file_name: &str, text: &str, overrides: &Overrides) -> Result<Loaded, Diagnostics> {
    resolve(file_name, text, overrides).map(|(loaded, _)| loaded)
}

/// The scenario, and where the files of its logs are named.
fn resolve(
    file_name: &str,
    text: &str,
    overrides: &Overrides,
) -> Result<(Loaded, Vec<(PathBuf, Span)>), Diagnostics> {
    if text.len() > FILE_MAX {
        let message = format!("a scenario has at most {FILE_MAX} bytes, got {}", text.len());
        return Err(Diagnostics::of_file(file_name, message, None));
    }
    let report = Report::new(file_name, text, &overrides.text());
    let mut root = tree::parse(text, &report);
    overrides.apply(&mut root, &report);
    let Read { scenario, visit_presets, log_files } = read::scenario(&root, report)?;
    let folder = Path::new(file_name).parent().unwrap_or(Path::new("")).to_owned();
    let resolved = Resolved::new(scenario.clone(), visit_presets);
    Ok((Loaded { scenario, resolved, folder }, log_files))
}

fn not_utf8(file_name: &str, bytes: &[u8], at: usize) -> Diagnostics {
    let (before, after) = bytes.split_at(at);
    let before = String::from_utf8_lossy(before);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let rest: Vec<u8> = after.iter().copied().take_while(|&byte| byte != b'\n').take(80).collect();
    let mut diagnostics = Diagnostics::of_file(
        file_name,
        "a scenario is UTF-8 text, got bytes that are not".into(),
        Some("save the file as UTF-8".into()),
    );
    for diagnostic in &mut diagnostics.0 {
        diagnostic.line = before.matches('\n').count() + 1;
        diagnostic.column = before[line_start..].chars().count() + 1;
        diagnostic.source_line = format!("{}{}", &before[line_start..], String::from_utf8_lossy(&rest));
    }
    diagnostics
}
