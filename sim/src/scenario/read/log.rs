//! Logs that are replayed.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use super::Names;
use super::population::connection;
use super::visit::on_unknown_id;
use crate::engine::SimDuration;
use crate::population::replay::{self, SessionsBy};
use crate::scenario::diagnostic::Span;
use crate::scenario::presets;
use crate::scenario::section::Item;
use crate::scenario::{ConnectionRules, LogSource};
use crate::session::OnUnknownId;

/// One `[[log]]`; its files and where they are named go to `log_files`.
pub(super) fn log(
    item: &Item<'_>,
    default_connection: ConnectionRules,
    names: &mut Names,
    log_files: &mut Vec<(PathBuf, Span)>,
) -> Option<LogSource> {
    let mut section = item.section("a table")?;
    let s = &mut section;
    let name_item = s.take("name");
    if name_item.is_none() {
        s.missing("name", None);
    }
    let name = names.add(name_item);
    let path = |item: &Item<'_>| item.name().map(|text| (PathBuf::from(text), item.span()));
    let files = match (s.take("file"), s.take("files")) {
        (Some(file), None) => path(&file).map(|file| vec![file]),
        (None, Some(files)) => files.elements("an array of files").and_then(|items| {
            if items.is_empty() {
                files.error("`files` must name at least one file, got none".into());
                return None;
            }
            items.iter().map(path).collect::<Option<Vec<_>>>()
        }),
        (Some(_), Some(files)) => {
            s.report().error(files.key_span, "a log has `file` or `files`, got both".into());
            None
        }
        (None, None) => {
            s.missing("file", Some("add `file = \"access.log\"`, relative to the scenario's folder"));
            None
        }
    };
    let format = s.optional("format", None, |item| parsed(&item).map(Some));
    let sessions_by = s.optional("sessions_by", SessionsBy::default(), |item| parsed(&item));
    let forwarded = s
        .optional("client_address", false, |item| item.one_of(&[("connection", false), ("forwarded", true)]));
    let pseudonymise =
        s.optional("pseudonymise", None, |item| item.name().map(|file| Some(PathBuf::from(file))));
    let [from, until] = ["from", "until"].map(|key| s.optional(key, None, |item| instant(&item).map(Some)));
    let speed = s.optional("speed", 1.0, |item| speed(&item));
    let visit_gap = s.optional("visit_gap", SimDuration::from_secs(1_800), |item| item.duration_above_zero());
    let reorder_window = s.optional("reorder_window", SimDuration::from_secs(60), |item| item.duration());
    let sessions = s.optional("sessions", true, |item| item.boolean());
    let session_idle_timeout =
        s.optional("session_idle_timeout", presets::SESSION_IDLE_TIMEOUT, |item| item.duration_above_zero());
    let on_unknown_id = on_unknown_id(s, OnUnknownId::NewId);
    let connection =
        s.optional("connection", default_connection, |item| connection(&item, default_connection));
    section.finish();
    let files = files?;
    log_files.extend(files.iter().cloned());
    Some(LogSource {
        name: name?,
        files: files.into_iter().map(|(path, _)| path).collect(),
        format: format?,
        sessions_by: sessions_by?,
        forwarded: forwarded?,
        pseudonymise: pseudonymise?,
        from: from?,
        until: until?,
        speed: speed?,
        visit_gap: visit_gap?,
        reorder_window: reorder_window?,
        sessions: sessions?,
        session_idle_timeout: session_idle_timeout?,
        on_unknown_id: on_unknown_id?,
        connection: connection?,
    })
}

/// A word or a text that means something of its own.
fn parsed<T: FromStr<Err: Display>>(item: &Item<'_>) -> Option<T> {
    match item.name()?.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            let why = format!("`{}` is {error}", item.key);
            let (message, help) =
                why.split_once("\n  ").map_or((&*why, None), |(message, help)| (message, Some(help)));
            match help {
                Some(help) => item.error_with_help(message.to_owned(), help),
                None => item.error(message.to_owned()),
            }
            None
        }
    }
}

/// A second of a log's own time.
fn instant(item: &Item<'_>) -> Option<u32> {
    let text = item.string()?;
    let second = replay::parse_second(text);
    if second.is_none() {
        let help = "write it as \"2016-02-20T05:00:00Z\" or \"20/Feb/2016:00:00:00 -0500\"";
        item.error_with_help(
            format!("`{}` must be a time from 1970 to 2106, got \"{text}\"", item.key),
            help,
        );
    }
    second
}

fn speed(item: &Item<'_>) -> Option<f64> {
    const SPEED: std::ops::RangeInclusive<f64> = 0.001..=1_000_000.0;
    let speed = item.number_above_zero()?;
    if !SPEED.contains(&speed) {
        item.error(format!("`speed` must be {} to {}, got {}", SPEED.start(), SPEED.end(), item.got()));
        return None;
    }
    Some(speed)
}
