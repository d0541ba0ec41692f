//! Logs that are replayed.

use std::path::PathBuf;

use super::Names;
use super::population::connection;
use super::visit::on_unknown_id;
use crate::engine::SimDuration;
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
        visit_gap: visit_gap?,
        reorder_window: reorder_window?,
        sessions: sessions?,
        session_idle_timeout: session_idle_timeout?,
        on_unknown_id: on_unknown_id?,
        connection: connection?,
    })
}
