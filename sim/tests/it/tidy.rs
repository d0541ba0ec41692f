//! How the library is laid out: which module may use which, and that nothing unfinished is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by rank; each may use those of lower rank, and itself. Modules of one rank do not know each other.
const LAYERS: [&[&str]; 9] = [
    &["engine", "ids", "slots", "table"],
    &["metrics", "population", "backend"],
    &["health", "balancer", "store", "session"],
    &["failover", "tier"],
    &["faults", "conformance", "scenario"],
    &["cluster"],
    &["experiment"],
    &["lib"],
    &[],
];

/// Uses among modules of one rank that are meant: the lowest modules are one piece; a balancer's rules are told of failures
/// by a health rule, stores use the rings of balancers, and sessions take their evidence from a balancer's reason and a store.
const AMONG_EQUALS: [(&str, &str); 7] = [
    ("engine", "ids"),
    ("ids", "table"),
    ("engine", "table"),
    ("balancer", "health"),
    ("session", "balancer"),
    ("store", "balancer"),
    ("session", "store"),
];

/// Files longer than this are split.
const LINES_MAX: usize = 600;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every `.rs` file beneath a folder: its path from there, and its text.
fn rust_files(folder: &Path) -> BTreeMap<String, String> {
    fn visit(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                visit(root, &path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name =
                    path.strip_prefix(root).expect("beneath the root").to_string_lossy().replace('\\', "/");
                files.insert(name, fs::read_to_string(&path).expect("text"));
            }
        }
    }
    let mut files = BTreeMap::new();
    visit(folder, folder, &mut files);
    files
}

/// The top-level module that a file of `src` belongs to.
fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

fn rank(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` has no place among the layers: give it one"))
}

/// The top-level modules that a text names by a path from the crate's root, comments and tests left out: a link in a
/// comment is no dependency, and tests may look wherever they like.
fn modules_used(text: &str) -> BTreeSet<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let name = |text: &str| text.chars().take_while(|&c| is_name(c)).collect::<String>();
    let mut used = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        if let Some(group) = after.strip_prefix('{') {
            // `use crate::{a::B, c}`: every name at the first level of the braces.
            let mut depth = 0;
            let mut begins = true;
            for (at, c) in group.char_indices() {
                if depth == 0 && begins && is_name(c) {
                    used.insert(name(&group[at..]));
                }
                begins = c == ',' || (begins && c.is_whitespace());
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    _ => {}
                }
            }
        } else {
            used.insert(name(after));
        }
    }
    // `crate::Name` and `$crate::...` of a macro are of the root, or counted where the macro is used.
    used.remove("");
    used
}

#[test]
fn modules_use_only_those_to_their_left() {
    // Goal: the arrows of the design hold, so that a part can be read, tested and replaced without those above it.
    // Method: find every path from the crate's root in every file, and compare ranks.
    let files = rust_files(&source());
    assert!(files.len() > 80, "the sources were not found: {}", files.len());
    let mut broken = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| *file != "lib.rs") {
        let module = module_of(file);
        for used in modules_used(text).iter().filter(|used| *used != module) {
            let meant = AMONG_EQUALS.contains(&(module, used));
            if rank(used) >= rank(module) && !meant {
                broken.push(format!("{file}: `{module}` must not use `{used}`"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_arrows_are_found_in_every_way_of_writing_a_path() {
    let text = "use crate::{\n    tier::{Reason, lvs},\n    engine::SimTime, ids,\n};\nfn f(x: crate::table::Id) {}\n\
                // crate::cluster is only mentioned\n#[cfg(test)]\nmod tests {\nuse crate::experiment::x;\n}\n";
    let used: Vec<String> = modules_used(text).into_iter().collect();
    assert_eq!(used, ["engine", "ids", "table", "tier"]);
}

#[test]
fn the_library_needs_neither_the_reports_nor_the_command_line() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).expect("a manifest").parse().expect("TOML");
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(dependencies) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
        let own: Vec<&String> = dependencies.keys().filter(|name| name.starts_with("evenkeel")).collect();
        assert!(own.is_empty(), "{section}: {own:?}");
        for name in ["clap", "plotters", "anstream", "indicatif"] {
            assert!(!dependencies.contains_key(name), "{section}: `{name}` is for printing");
        }
    }
    for (file, text) in rust_files(&source()) {
        assert!(!text.contains("evenkeel_reports"), "{file}");
    }
}

#[test]
fn no_file_is_too_long_and_nothing_unfinished_is_left() {
    // The words are put together here so that this file does not contain them.
    let unfinished = ["unimplemented", "todo", "dbg"].map(|name| format!("{name}!("));
    let marker = ["TO", "DO"].concat();
    let mut found = Vec::new();
    for package in
        ["sim/src", "sim/tests", "cli/src", "cli/tests", "reports/src", "testbed/src", "benches/src"]
    {
        let folder = crate::support::repository(package);
        if !folder.is_dir() {
            continue;
        }
        for (file, text) in rust_files(&folder) {
            let lines = text.lines().count();
            if lines > LINES_MAX {
                found.push(format!("{package}/{file}: {lines} lines"));
            }
            for word in unfinished.iter().chain([&marker]) {
                if text.contains(word.as_str()) {
                    found.push(format!("{package}/{file}: `{word}`"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn committed_files_name_no_place_on_the_machine_where_they_were_written() {
    let places = ["work", "Users", "root"].map(|folder| format!("/{folder}/"));
    for package in
        ["sim/src", "sim/tests", "cli/src", "cli/tests", "reports/src", "testbed/src", "benches/src"]
    {
        let folder = crate::support::repository(package);
        if !folder.is_dir() {
            continue;
        }
        for (file, text) in rust_files(&folder) {
            for place in &places {
                assert!(!text.contains(place.as_str()), "{package}/{file} names `{place}`");
            }
        }
    }
}
