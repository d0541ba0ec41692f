//! `report.html`: one file that works offline, in the light and in the dark, on a phone and on paper.
//!
//! The verdict and the command to reproduce it come first, then what decides, then what explains it, then everything else.

mod data;
mod sections;
pub(crate) mod writer;

use evenkeel_sim::experiment::summary::{Summary, Verdict};

use crate::charts::Chart;
use crate::format;
use crate::model::{Align, Cell, Emphasis, TableModel};
use crate::text;
use writer::Html;

/// Most stories that are told; `summary.json` has the rest.
const MOST_STORIES: usize = 30;
/// Most rows of a trace that are shown; `tables/trace.csv` has the rest.
const MOST_STEPS: usize = 400;

/// The report of a result, with these charts in it.
pub fn report(summary: &Summary, charts: &[Chart]) -> String {
    let mut html = Html::default();
    html.markup("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.leaf("title", &format!("{} · Evenkeel", summary.title));
    html.element("style", &[], |html| html.markup(include_str!("style.css")));
    html.markup("</head>\n<body>\n");
    head(&mut html, summary);
    html.element("main", &[], |html| body(html, summary, charts));
    html.element("footer", &[("class", "meta")], |html| {
        let version = format!("Evenkeel {}, schema version {}. ", summary.evenkeel_version, summary.schema_version);
        html.leaf("p", &version);
        html.leaf("p", "Beside this file: the same figures as tidy CSV and Parquet (tables/README.md describes them), the charts as SVG and PNG, summary.json, and manifest.json with the hash of every file.");
    });
    html.markup("</body>\n</html>\n");
    html.finish()
}

/// What ran, what came out, and how to run it again.
fn head(html: &mut Html, summary: &Summary) {
    html.element("header", &[], |html| {
        html.leaf("h1", &summary.title);
        html.element("p", &[("class", "meta")], |html| html.text(&setting(summary)));
        html.element("div", &[("class", verdict_class(summary))], |html| {
            let findings = text::findings(summary);
            let line = text::verdict_line(summary);
            let mut lines = std::iter::once(line).chain(findings).filter(|line| !line.is_empty());
            let first =
                lines.next().unwrap_or_else(|| "Nothing that decides has a value in this run.".to_owned());
            html.element("p", &[("class", "line")], |html| html.text(&first));
            lines.for_each(|line| html.leaf("p", &line));
        });
        html.element("pre", &[], |html| {
            html.element("code", &[], |html| {
                html.text(&format!("evenkeel run scenario.toml --seed {}", summary.seed))
            });
        });
        html.element("p", &[("class", "meta")], |html| {
            html.text("Run in this folder, it gives the same figures again");
            if !summary.log_statistics.is_empty() {
                html.text(
                    " once the paths of its logs, which were relative to the first scenario, lead there",
                );
            }
            html.text(". Scenario SHA-256: ");
            html.leaf("code", &summary.scenario_sha256);
        });
    });
}

/// The run's setting in a line.
fn setting(summary: &Summary) -> String {
    let mut parts = vec![
        format::plural(summary.strategies.len(), "strategy"),
        format::plural(summary.servers.len(), "server"),
        format!(
            "{} measured after {} of warm-up",
            format::duration(summary.duration_s),
            format::duration(summary.warmup_s)
        ),
        format::plural(summary.replications as usize, "replication"),
    ];
    if summary.vary != "nothing" {
        parts.push(format!("varying {}", summary.vary));
    }
    parts.push(format!("seed {}", summary.seed));
    parts.join(" · ")
}

fn verdict_class(summary: &Summary) -> &'static str {
    match summary.expectations.iter().all(|it| it.verdict == Verdict::Pass) {
        _ if summary.expectations.is_empty() => "verdict",
        true => "verdict good",
        false => "verdict bad",
    }
}

/// Everything after the head.
fn body(html: &mut Html, summary: &Summary, charts: &[Chart]) {
    if let Some(model) = text::expectation_table(summary) {
        section(html, "Expectations", |html| table(html, &model));
    }
    section(html, "What decides", |html| table(html, &text::decisive_table(summary)));
    if let Some(model) = text::fault_table(summary) {
        section(html, "What each fault did", |html| table(html, &model));
    }
    section(html, "Charts", |html| charts.iter().for_each(|chart| figure(html, summary, chart)));
    if let Some(model) = sections::losses(summary) {
        section(html, "Sessions lost, by cause", |html| table(html, &model));
    }
    if let Some(model) = sections::instances(summary) {
        section(html, "Instances of the tiers", |html| table(html, &model));
    }
    section(html, "Servers", |html| long_table(html, &sections::servers(summary), "every server"));
    if let Some(mut model) = text::trace_table(summary) {
        if model.rows.len() > MOST_STEPS {
            model.notes.push(format!(
                "The first {MOST_STEPS} of {} steps; all are in tables/trace.csv.",
                model.rows.len()
            ));
            model.rows.truncate(MOST_STEPS);
        }
        section(html, "Scripted clients, step by step", |html| table(html, &model));
    }
    stories(html, summary);
    if !summary.inferred.is_empty() {
        section(html, "Inferred, because the log does not say it", |html| {
            html.element("ul", &[], |html| summary.inferred.iter().for_each(|line| html.leaf("li", line)));
        });
    }
    if let Some(model) = sections::log_statistics(summary) {
        section(html, "The log", |html| table(html, &model));
    }
    section(html, "All metrics", |html| {
        for (phase, model) in sections::metrics(summary) {
            details(html, phase, |html| table(html, &model));
        }
    });
}

fn section(html: &mut Html, heading: &str, inside: impl FnOnce(&mut Html)) {
    html.element("section", &[], |html| {
        html.leaf("h2", heading);
        inside(html);
    });
}

fn details(html: &mut Html, summary: &str, inside: impl FnOnce(&mut Html)) {
    html.element("details", &[], |html| {
        html.leaf("summary", summary);
        inside(html);
    });
}

/// A chart, and the data that it shows.
fn figure(html: &mut Html, summary: &Summary, chart: &Chart) {
    html.element("figure", &[], |html| {
        scroll(html, &chart.title, |html| html.markup(&chart.svg()));
        let tables = data::of(summary, chart.name);
        if !tables.is_empty() {
            details(html, "Data of this chart", |html| {
                for (heading, model) in &tables {
                    if !heading.is_empty() {
                        html.leaf("h3", heading);
                    }
                    table(html, model);
                }
            });
        }
    });
}

fn stories(html: &mut Html, summary: &Summary) {
    let stories: Vec<(&str, &String)> = summary
        .strategies
        .iter()
        .flat_map(|strategy| strategy.stories.iter().map(|story| (strategy.name.as_str(), story)))
        .collect();
    if stories.is_empty() {
        return;
    }
    section(html, "Some losses, told as stories", |html| {
        html.element("ul", &[], |html| {
            for (strategy, story) in stories.iter().take(MOST_STORIES) {
                html.element("li", &[], |html| {
                    html.leaf("b", strategy);
                    html.text(": ");
                    html.text(story);
                });
            }
        });
        if stories.len() > MOST_STORIES {
            let more = format!("{} more are in summary.json.", stories.len() - MOST_STORIES);
            html.element("p", &[("class", "meta")], |html| html.text(&more));
        }
    });
}

/// A table that is folded away when it is long.
fn long_table(html: &mut Html, model: &TableModel, what: &str) {
    if model.rows.len() <= 16 {
        table(html, model);
    } else {
        details(html, &format!("{what} ({})", model.rows.len()), |html| table(html, model));
    }
}

/// What is wider than the page scrolls by itself, with the keyboard too.
fn scroll(html: &mut Html, label: &str, inside: impl FnOnce(&mut Html)) {
    let attributes = [("class", "scroll"), ("tabindex", "0"), ("role", "region"), ("aria-label", label)];
    html.element("div", &attributes, inside);
}

/// A table of words with its notes.
fn table(html: &mut Html, model: &TableModel) {
    let label = model.columns.iter().map(|column| column.heading.as_str()).collect::<Vec<_>>().join(", ");
    scroll(html, &label, |html| {
        html.element("table", &[], |html| {
            html.element("thead", &[], |html| {
                html.element("tr", &[], |html| {
                    for column in &model.columns {
                        html.element(
                            "th",
                            &[("scope", "col"), ("class", align_class(column.align))],
                            |html| {
                                html.text(&column.heading);
                                column.detail.iter().for_each(|detail| dotted(html, detail));
                            },
                        );
                    }
                });
            });
            html.element("tbody", &[], |html| {
                for row in &model.rows {
                    html.element("tr", &[], |html| {
                        row.iter().zip(&model.columns).for_each(|(it, column)| cell(html, it, column.align));
                    });
                }
            });
        });
    });
    if !model.notes.is_empty() {
        html.element("ul", &[("class", "notes")], |html| {
            model.notes.iter().for_each(|note| html.leaf("li", note))
        });
    }
}

/// A metric's name in small type, which may break after its dots.
fn dotted(html: &mut Html, name: &str) {
    html.element("small", &[], |html| {
        for (nth, word) in name.split('.').enumerate() {
            if nth > 0 {
                html.markup(".<wbr>");
            }
            html.text(word);
        }
    });
}

fn align_class(align: Align) -> &'static str {
    match align {
        Align::Left => "",
        Align::Right => "number",
    }
}

fn cell(html: &mut Html, cell: &Cell, align: Align) {
    let (tag, scope) = if cell.emphasis == Emphasis::Name { ("th", "row") } else { ("td", "") };
    let emphasis = match cell.emphasis {
        Emphasis::Plain | Emphasis::Name => "",
        Emphasis::Better => "better",
        Emphasis::Worse => "worse",
        Emphasis::Faint => "faint",
    };
    let class = [align_class(align), emphasis].join(" ");
    html.element(tag, &[("scope", scope), ("class", class.trim())], |html| {
        if matches!(cell.emphasis, Emphasis::Better | Emphasis::Worse) {
            html.leaf("b", &cell.text);
        } else {
            html.text(&cell.text);
        }
        cell.details.iter().for_each(|detail| html.leaf("small", detail));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{charts, fixture};

    fn render(summary: &Summary) -> String {
        report(summary, &charts::all(summary))
    }

    #[test]
    fn the_report_asks_nothing_of_the_network() {
        for summary in [fixture::crash(), fixture::log(), fixture::nasty(), fixture::crowd()] {
            let html = render(&summary).replace("http://www.w3.org/2000/svg", "");
            for outside in ["http://", "https://", "src=\"", "url(", "@import", "<link", "<script"] {
                assert!(!html.contains(outside), "{outside} in {}", summary.title);
            }
        }
    }

    #[test]
    fn the_largest_report_is_below_two_megabytes() {
        assert!(render(&fixture::crowd()).len() < 2_000_000);
    }

    #[test]
    fn names_titles_and_stories_are_escaped() {
        let html = render(&fixture::nasty());
        for markup in ["<script", "<img", "<b> &", "<web&", "<c>", "\u{202e}"] {
            assert!(!html.contains(markup), "{markup:?}");
        }
        assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;"));
    }

    #[test]
    fn the_verdict_and_the_command_come_before_the_figures() {
        let html = render(&fixture::crash());
        let at = |words: &str| html.find(words).unwrap_or_else(|| panic!("no {words:?}"));
        assert!(at("Not passed: of 3 expectations") < at("evenkeel run scenario.toml --seed 7"));
        assert!(at("evenkeel run scenario.toml --seed 7") < at("What decides"));
        assert!(at("What decides") < at("What each fault did"));
        assert!(at("What each fault did") < at("<svg"));
    }

    #[test]
    fn sections_without_content_are_left_out() {
        let log = render(&fixture::log());
        assert!(log.contains("Inferred, because") && log.contains("81,982"));
        assert!(!log.contains("What each fault did") && !log.contains("told as stories"));
        assert!(!render(&fixture::crash()).contains("Inferred, because"));
    }

    #[test]
    fn elements_are_closed_in_the_order_they_were_opened() {
        let html = render(&fixture::nasty());
        for tag in
            ["table", "tr", "td", "th", "section", "figure", "details", "div", "svg", "text", "ul", "li"]
        {
            let open = html.matches(&format!("<{tag} ")).count() + html.matches(&format!("<{tag}>")).count();
            assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
