//! The gate's verdicts, for people and for the programs that run it.

use std::fmt::Write as _;

use evenkeel_sim::experiment::gate::{FALSE_ALARMS, GateResult};
use evenkeel_sim::experiment::summary::{Estimate, ExpectationResult, Verdict};
use evenkeel_sim::metrics::{MetricId, Phase};
use serde::Serialize;

use crate::effects;
use crate::format::{self, Scale};
use crate::html::writer::{Html, escape};
use crate::model::{Cell, Column, Emphasis, TableModel};

/// Version of the shape of the JSON.
const SCHEMA_VERSION: u32 = 1;
/// Annotations of a step that GitHub shows are ten; the last tells how many more there are.
const ANNOTATIONS_MAX: usize = 9;

/// A scenario that was checked.
#[derive(Debug)]
pub struct Checked {
    /// Its file, as it was named.
    pub file: String,
    /// What it came to.
    pub result: GateResult,
}

impl Checked {
    /// Its verdicts.
    pub fn verdicts(&self) -> &[ExpectationResult] {
        &self.result.summary.expectations
    }

    /// Whether a verdict stands in the way; one that is out does unless that is `allowed`.
    pub fn fails(&self, inconclusive_allowed: bool) -> bool {
        self.verdicts().iter().any(|it| is_bad(it.verdict, inconclusive_allowed))
    }

    /// How many replications there were, and how often the gate is wrong, in a sentence or two.
    pub fn rates(&self) -> String {
        let GateResult { summary, looks, replications_most, confidence } = &self.result;
        let runs = format::plural(summary.replications as usize, "replication");
        if self.verdicts().iter().all(|it| it.low.is_none() && it.high.is_none()) {
            return format!("{runs}; there is no interval to judge by.");
        }
        let looks: Vec<String> = looks.iter().map(u32::to_string).collect();
        let looks = format::list(&looks.iter().map(String::as_str).collect::<Vec<_>>());
        let rate = format::value(FALSE_ALARMS, Scale::Percent);
        format!(
            "{runs} (looked at after {looks}; at most {replications_most}); varied: {}. Each interval holds its value with {:.2} %, so \
             that at most {rate} of checks raise an alarm where all limits are kept, and at most {rate} pass where one is not.",
            summary.vary,
            confidence * 100.0,
        )
    }
}

/// Whether a verdict stands in the way.
pub fn is_bad(verdict: Verdict, inconclusive_allowed: bool) -> bool {
    match verdict {
        Verdict::Pass => false,
        Verdict::Inconclusive => !inconclusive_allowed,
        Verdict::Worse | Verdict::NoData => true,
    }
}

fn scale(it: &ExpectationResult) -> Scale {
    match it.relative_to {
        Some(_) => Scale::Plain,
        None => {
            MetricId::by_name(&it.metric).map_or(Scale::Plain, |id| Scale::of(&it.metric, id.line().unit))
        }
    }
}

/// What the value is held against: `at most 1.35`, `at most 0.9 of nginx ip_hash`, `baseline 1.353, at most 0.070 above`.
pub(crate) fn limit(it: &ExpectationResult) -> String {
    let scale = scale(it);
    let shown = |limit| format::value(limit, scale);
    if let Some(baseline) = it.baseline {
        let width = match (it.min, it.max) {
            (Some(_), Some(max)) => format!("at most {} off", shown(max)),
            (Some(min), None) => format!("at most {} below", shown(-min)),
            (_, max) => format!("at most {} above", shown(max.unwrap_or(0.0))),
        };
        let clients = if baseline.paired { "same clients" } else { "other clients" };
        return format!("baseline {}, {width} ({clients})", shown(baseline.mean));
    }
    let limit = match (it.min, it.max) {
        (Some(min), Some(max)) => format!("{} to {}", shown(min), shown(max)),
        (Some(min), None) => format!("at least {}", shown(min)),
        (None, Some(max)) => format!("at most {}", shown(max)),
        (None, None) => format::UNDEFINED.to_owned(),
    };
    match &it.relative_to {
        Some(other) => format!("{limit} of {other}"),
        None => limit,
    }
}

/// What was found, with the interval that decided.
pub(crate) fn found(it: &ExpectationResult) -> String {
    let scale = scale(it);
    let shown = |value| format::value(value, scale);
    let value = match it.baseline {
        Some(baseline) => format!("{} ({})", shown(baseline.now), format::difference(it.value, scale)),
        None => it.value.map_or_else(|| format::UNDEFINED.to_owned(), |value| shown(value.mean)),
    };
    match (it.low, it.high) {
        (None, None) => value,
        (low, high) => {
            let end = |end: Option<f64>| end.map_or_else(|| "…".to_owned(), shown);
            format!("{value} [{} to {}]", end(low), end(high))
        }
    }
}

/// How far the value is from the baseline, or beyond the limit, in words.
pub(crate) fn effect(it: &ExpectationResult) -> Option<String> {
    let value = it.value?;
    if let Some(baseline) = it.baseline {
        return Some(effects::effect(Some(value), baseline.mean, value.p_value(), scale(it)));
    }
    let limit = it.max.filter(|&max| value.mean > max).or(it.min.filter(|&min| value.mean < min))?;
    let beyond = Estimate { mean: value.mean - limit, ..value };
    Some(effects::effect(Some(beyond), limit, None, scale(it)))
}

/// The metric with its phase and quantile.
pub(crate) fn subject(it: &ExpectationResult) -> String {
    let mut text = it.metric.clone();
    match it.phase {
        Phase::All => {}
        phase => text.push_str(&format!(" {} the faults", phase.name())),
    }
    if let Some(quantile) = it.quantile {
        text.push_str(&format!(" in {} of replications", format::value(quantile, Scale::Percent)));
    }
    text
}

/// The verdict as a word with a mark that needs no colour.
pub(crate) fn word(verdict: Verdict) -> (&'static str, Emphasis) {
    match verdict {
        Verdict::Pass => ("✓ pass", Emphasis::Better),
        Verdict::Worse => ("✗ worse", Emphasis::Worse),
        Verdict::Inconclusive => ("? inconclusive", Emphasis::Worse),
        Verdict::NoData => ("✗ no data", Emphasis::Worse),
    }
}

/// A verdict in a sentence.
pub fn sentence(it: &ExpectationResult) -> String {
    let subject = format!("{} of {}", subject(it), it.strategy);
    let effect = effect(it).map_or_else(String::new, |effect| format!(" ({effect})"));
    let detectable = it.detectable.map_or_else(String::new, |effect| {
        format!("; an excess of {} is found in four of five checks", format::value(effect, scale(it)))
    });
    match it.verdict {
        Verdict::NoData => format!("{subject} has no value: nothing was measured, so nothing passes"),
        Verdict::Pass => format!("{subject} is {}: {}", found(it), limit(it)),
        Verdict::Worse => format!("{subject} is {}: worse than {}{effect}", found(it), limit(it)),
        Verdict::Inconclusive => {
            format!(
                "{subject} is {}: cannot be told from {}{detectable}; raise `--max-replications`",
                found(it),
                limit(it)
            )
        }
    }
}

/// The verdicts on a scenario as a table.
pub fn table(checked: &Checked) -> TableModel {
    let columns = vec![
        Column::words("verdict"),
        Column::words("strategy"),
        Column::words("metric"),
        Column::numbers("found"),
        Column::numbers("limit"),
        Column::words("effect"),
        Column::numbers("detectable"),
        Column::numbers("line"),
    ];
    let rows = checked
        .verdicts()
        .iter()
        .map(|it| {
            let (word, emphasis) = word(it.verdict);
            let detectable =
                it.detectable.map_or_else(|| format::UNDEFINED.to_owned(), |by| format::value(by, scale(it)));
            let effect = effect(it).unwrap_or_else(|| format::UNDEFINED.to_owned());
            let line = if it.line == 0 { "baseline".to_owned() } else { it.line.to_string() };
            let cells = [it.strategy.clone(), subject(it), found(it), limit(it), effect, detectable, line]
                .map(Cell::plain);
            std::iter::once(Cell { emphasis, ..Cell::plain(word) }).chain(cells).collect()
        })
        .collect();
    let notes = vec![
        checked.rates(),
        "Detectable: the excess over a limit that is called worse in four of five checks.".into(),
    ];
    TableModel { columns, rows, notes }
}

/// One scenario of the JSON.
#[derive(Serialize)]
struct ScenarioJson<'a> {
    scenario: &'a str,
    title: &'a str,
    seed: u64,
    vary: &'a str,
    replications: u32,
    replications_most: u32,
    looks: &'a [u32],
    confidence: f64,
    false_alarms_max: f64,
    misses_max: f64,
    expectations: &'a [ExpectationResult],
}

/// The verdicts as JSON.
///
/// # Errors
/// What the writer reports, which is nothing for these values.
pub fn json(all: &[Checked]) -> Result<String, serde_json::Error> {
    let scenarios: Vec<ScenarioJson<'_>> = all
        .iter()
        .map(|Checked { file, result }| ScenarioJson {
            scenario: file,
            title: &result.summary.title,
            seed: result.summary.seed,
            vary: &result.summary.vary,
            replications: result.summary.replications,
            replications_most: result.replications_most,
            looks: &result.looks,
            confidence: result.confidence,
            false_alarms_max: FALSE_ALARMS,
            misses_max: FALSE_ALARMS,
            expectations: &result.summary.expectations,
        })
        .collect();
    let document = serde_json::json!({ "schema_version": SCHEMA_VERSION, "scenarios": scenarios });
    serde_json::to_string_pretty(&document)
}

/// The verdicts that stand in the way as GitHub's workflow commands, which it shows beside the lines of the files.
pub fn github(all: &[Checked], inconclusive_allowed: bool) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let bad: Vec<String> = all
        .iter()
        .flat_map(|checked| checked.verdicts().iter().map(move |it| (checked, it)))
        .filter(|(_, it)| is_bad(it.verdict, inconclusive_allowed))
        .map(|(checked, it)| {
            let line = if it.line == 0 { String::new() } else { format!(",line={}", it.line) };
            format!(
                "::error file={}{line},title=Evenkeel::{}\n",
                property(&checked.file),
                data(&sentence(it))
            )
        })
        .collect();
    let mut text: String = bad.iter().take(ANNOTATIONS_MAX).map(String::as_str).collect();
    if let Some(more) = bad.len().checked_sub(ANNOTATIONS_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "::error title=Evenkeel::{more} more verdicts stand in the way");
    }
    text
}

/// The verdicts as JUnit XML: a suite for each scenario, a case for each verdict.
pub fn junit(all: &[Checked], inconclusive_allowed: bool) -> String {
    let mut xml = Html::default();
    xml.markup("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml.element("testsuites", &[("name", "evenkeel check")], |xml| {
        for checked in all {
            let bad = checked.verdicts().iter().filter(|it| is_bad(it.verdict, inconclusive_allowed)).count();
            let (tests, failures) = (checked.verdicts().len().to_string(), bad.to_string());
            let suite = [("name", checked.file.as_str()), ("tests", &tests), ("failures", &failures)];
            xml.element("testsuite", &suite, |xml| {
                for it in checked.verdicts() {
                    let name = format!("{}: {}, {}", it.strategy, subject(it), limit(it));
                    let line = it.line.to_string();
                    let case = [
                        ("name", name.as_str()),
                        ("classname", &checked.file),
                        ("file", &checked.file),
                        ("line", &line),
                    ];
                    xml.element("testcase", &case, |xml| {
                        if is_bad(it.verdict, inconclusive_allowed) {
                            let said = sentence(it);
                            xml.element("failure", &[("message", &said)], |xml| xml.text(&said));
                        }
                    });
                }
            });
        }
    });
    xml.finish()
}

/// The verdicts as Markdown, for a step's summary or a comment.
pub fn markdown(all: &[Checked]) -> String {
    let mut text = String::new();
    let cell = |text: &str| escape(text).replace('|', "\\|").replace('\n', " ");
    for checked in all {
        let table = table(checked);
        let _ = write!(text, "### {}\n\n`{}`\n\n", cell(&checked.result.summary.title), checked.file);
        if checked.verdicts().is_empty() {
            text.push_str("Nothing to check: the scenario has no `[[expect]]`.\n\n");
            continue;
        }
        let headings: Vec<&str> = table.columns.iter().map(|column| column.heading.as_str()).collect();
        let _ = writeln!(text, "| {} |\n|{}", headings.join(" | "), "---|".repeat(headings.len()));
        for row in &table.rows {
            let cells: Vec<String> = row.iter().map(|it| cell(&it.text)).collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        let _ = write!(text, "\n{}\n\n", table.notes.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn checked(times: usize) -> Vec<Checked> {
        let mut summary = fixture::crash();
        let verdicts = summary.expectations.clone();
        summary.expectations = verdicts.iter().cycle().take(times).cloned().collect();
        vec![Checked {
            file: "gate/a,b.toml".into(),
            result: GateResult { summary, looks: vec![20, 40], replications_most: 80, confidence: 0.995 },
        }]
    }

    #[test]
    fn github_gets_nine_annotations_and_the_number_of_the_rest() {
        let text = github(&checked(36), false);
        assert_eq!(text.lines().count(), 10);
        let first = text.lines().next().expect("a line");
        assert!(
            first.starts_with("::error file=gate/a%2Cb.toml,line=46,title=Evenkeel::visits.with_loss of"),
            "{first}"
        );
        assert!(first.contains("16.1 %25"), "{first}");
        assert_eq!(text.lines().last(), Some("::error title=Evenkeel::3 more verdicts stand in the way"));
        assert_eq!(github(&checked(1), false), "");
    }

    #[test]
    fn junit_has_a_case_for_each_verdict_and_a_failure_for_each_bad_one() {
        let xml = junit(&checked(3), false);
        assert_eq!(xml.matches("<testcase ").count(), 3);
        assert_eq!(xml.matches("<failure ").count(), 1);
        assert!(xml.contains(r#"tests="3" failures="1""#), "{xml}");
    }

    #[test]
    fn inconclusive_stands_in_the_way_unless_it_is_allowed() {
        let mut all = checked(1);
        all[0].result.summary.expectations[0].verdict = Verdict::Inconclusive;
        assert!(all[0].fails(false) && !all[0].fails(true));
        all[0].result.summary.expectations[0].verdict = Verdict::NoData;
        assert!(all[0].fails(true), "no data never passes");
    }

    #[test]
    fn markdown_is_a_table_with_the_rates_below() {
        let text = markdown(&checked(2));
        assert_eq!(text.lines().filter(|line| line.starts_with("| ")).count(), 3);
        assert!(text.contains("at most 5 % of checks raise an alarm"), "{text}");
    }

    #[test]
    fn a_baseline_is_told_with_the_difference_to_it() {
        let mut it = fixture::crash().expectations[0].clone();
        it.baseline =
            Some(evenkeel_sim::experiment::summary::AgainstBaseline { mean: 1.0, now: 1.03, paired: true });
        (it.max, it.value) = (
            Some(0.05),
            it.value.map(|value| evenkeel_sim::experiment::summary::Estimate { mean: 0.03, ..value }),
        );
        assert_eq!(limit(&it), "baseline 1.000, at most 0.050 above (same clients)");
        assert!(found(&it).starts_with("1.030 (+0.030"), "{}", found(&it));
    }
}
