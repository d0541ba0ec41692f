//! The arguments of commands that read access logs, and what they come to.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use evenkeel_sim::population::replay::{LogFormat, LogOptions, Pseudonyms, SessionsBy, parse_second};
use evenkeel_sim::scenario::duration;

use crate::failure::Failure;

/// How logs are read.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// The logs, in order of time: plain, gzip or zstd; `-` is standard input.
    #[arg(required = true, value_name = "LOG")]
    pub logs: Vec<PathBuf>,

    /// Format of the lines: combined, common, vhost_combined, main, json, haproxy, or as nginx's `log_format` or Apache's
    /// `LogFormat` spells it. By default it is judged by the first lines.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// What tells users apart: address_agent, address, user or cookie:NAME.
    #[arg(long, value_name = "WHAT", default_value = "address_agent")]
    pub sessions_by: String,

    /// The longest pause within one visit.
    #[arg(long, value_name = "DURATION", default_value = "30min")]
    pub visit_gap: String,

    /// Take the client from `X-Forwarded-For`, as behind a content network.
    #[arg(long)]
    pub forwarded: bool,

    /// Leave out lines before this time, such as 2016-02-20T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,

    /// Leave out lines from this time on.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,

    /// Replace addresses by pseudonyms that share prefixes as the addresses do, under the key in this file.
    #[arg(long, value_name = "KEYFILE")]
    pub pseudonymise: Option<PathBuf>,
}

impl LogArgs {
    /// How the logs are read.
    pub fn options(&self) -> Result<LogOptions, Failure> {
        let time = |option: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => parse_second(text).map(Some).ok_or_else(|| {
                Failure::usage(format!(
                    "`{option}` must be a time such as 2016-02-20T00:00:00Z, got `{text}`"
                ))
            }),
        };
        let gap = duration(&self.visit_gap).map_err(|why| {
            Failure::usage(format!(
                "`--visit-gap` must be a duration such as 30min, got `{}`: {why}",
                self.visit_gap
            ))
        })?;
        let key = self.pseudonymise.as_deref().map(Pseudonyms::from_file).transpose();
        Ok(LogOptions {
            format: self.format()?,
            sessions_by: self
                .sessions_by
                .parse::<SessionsBy>()
                .map_err(|why| Failure::usage(format!("`--sessions-by`: {why}")))?,
            forwarded: self.forwarded,
            pseudonyms: key.map_err(|error| Failure::usage(error.to_string()))?.map(Arc::new),
            from: time("--from", &self.from)?.unwrap_or(0),
            until: time("--until", &self.until)?,
            visit_gap_seconds: u32::try_from(gap.0 / 1_000_000_000).unwrap_or(u32::MAX),
            ..LogOptions::default()
        })
    }

    /// The format that was asked for.
    pub fn format(&self) -> Result<Option<LogFormat>, Failure> {
        let format = self.log_format.as_deref().map(str::parse).transpose();
        format.map_err(|error| Failure::usage(format!("`--log-format` is {error}")))
    }

    /// The logs as a word or two: the first one's name.
    pub fn called(&self) -> String {
        let first = self.logs.first().map_or_else(String::new, |log| log.display().to_string());
        match self.logs.len() {
            1 => first,
            more => format!("{first} and {} more", more - 1),
        }
    }
}
