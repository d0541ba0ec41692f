//! A case as the recordings have it: files by name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use evenkeel_sim::conformance::{Case, CaseFiles};

/// The files of a case.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A row of `events.csv`. What does not apply is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) t_ms: String,
    pub(crate) event: &'static str,
    pub(crate) conn: Option<u32>,
    pub(crate) client: String,
    pub(crate) key: String,
    pub(crate) server: String,
    pub(crate) tried: String,
    pub(crate) status: String,
}

/// `events.csv` with these rows.
pub(crate) fn events(rows: &[Row]) -> Vec<u8> {
    let mut text = String::from("t_ms,event,conn,client,key,server,tried,status\n");
    for Row { t_ms, event, conn, client, key, server, tried, status } in rows {
        let conn = conn.map(|conn| conn.to_string()).unwrap_or_default();
        // Nothing that a script makes up holds a comma, a quote or the end of a line.
        writeln!(text, "{t_ms},{event},{conn},{client},{key},{server},{tried},{status}")
            .unwrap_or_else(|_| unreachable!("text grows"));
    }
    text.into_bytes()
}

/// Requests among `rows`.
pub(crate) fn requests(rows: &[Row]) -> u64 {
    rows.iter().filter(|row| row.event == "open").count() as u64
}

/// The case `name` with these files.
pub(crate) fn case(name: &str, files: &Files) -> Case {
    Case { name: name.to_owned(), files: CaseFiles::Memory(files.clone()) }
}

/// Writes a case as a folder.
pub(crate) fn write(folder: &Path, files: &Files) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    files.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
}
