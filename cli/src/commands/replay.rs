//! `evenkeel replay`: a scenario's strategies under real traffic in place of its own.

use std::path::Path;

use evenkeel_sim::scenario::Overrides;

use crate::args::{Arguments, Replay};
use crate::failure::{Exit, Failure};

/// Runs a scenario with logs as its only traffic.
pub fn replay(replay: &Replay, arguments: &Arguments) -> Result<Exit, Failure> {
    super::run::run_scenario(&replay.scenario, &overrides(replay)?, &replay.options, arguments)
}

/// What changes the scenario into one whose only traffic is the logs.
///
/// # Errors
/// An option is wrong.
pub fn overrides(replay: &Replay) -> Result<Overrides, Failure> {
    // What is wrong with an option is told before the scenario is read, in the option's own words.
    replay.log.options()?;
    let user = replay.options.overrides.collect();
    Ok(Overrides::new(assignments(replay)?).then(user))
}

/// What the scenario's traffic is replaced by, as `--set` would spell it.
fn assignments(replay: &Replay) -> Result<Vec<String>, Failure> {
    let log = &replay.log;
    let mut files = Vec::new();
    for file in &log.logs {
        files.push(quoted(&absolute(file)?));
    }
    let mut table = vec![
        "name = \"log\"".to_owned(),
        format!("files = [{}]", files.join(", ")),
        format!("sessions_by = {}", quoted(&log.sessions_by)),
        format!("visit_gap = {}", quoted(&log.visit_gap)),
        format!("client_address = \"{}\"", if log.forwarded { "forwarded" } else { "connection" }),
        format!("speed = {:?}", replay.speed),
    ];
    let texts = [("format", &log.log_format), ("from", &log.from), ("until", &log.until)];
    table.extend(texts.iter().filter_map(|(key, text)| Some(format!("{key} = {}", quoted(text.as_ref()?)))));
    if let Some(key) = &log.pseudonymise {
        table.push(format!("pseudonymise = {}", quoted(&absolute(key)?)));
    }
    let mut assignments = vec![
        "population=[]".to_owned(),
        "populations=[]".to_owned(),
        "scripted_client=[]".to_owned(),
        format!("log=[{{ {} }}]", table.join(", ")),
        "warmup=\"0s\"".to_owned(),
        // A replayed log has one outcome.
        "replications=1".to_owned(),
    ];
    if !replay.keep_duration {
        assignments.push("duration=\"log\"".to_owned());
    }
    Ok(assignments)
}

/// The path from the root, since a scenario's own paths begin at its folder.
fn absolute(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        return Ok("-".to_owned());
    }
    let path = std::path::absolute(file)
        .map_err(|error| Failure::usage(format!("{}: no such path: {error}", file.display())))?;
    let text = path.to_str().ok_or_else(|| {
        Failure::usage(format!("{}: a path that is not UTF-8 cannot be replayed; rename it", file.display()))
    })?;
    Ok(text.to_owned())
}

/// A string that TOML reads back.
fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's, and a string has no other way to fail than a lack of memory.
    serde_json::to_string(text).unwrap_or_default()
}
