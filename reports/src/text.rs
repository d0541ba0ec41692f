//! The results as words and tables of words, without knowing what shows them: the terminal and the HTML report render the
//! same models.

use evenkeel_sim::balancer::Evidence;
use evenkeel_sim::experiment::summary::{
    Estimate, FaultImpact, MetricSummary, StrategySummary, Summary, Verdict,
};
use evenkeel_sim::metrics::Phase;

use crate::format::{self, Scale};
use crate::gate;
use crate::lookup;
use crate::model::{Cell, Column, Emphasis, TableModel};

/// A metric that decides between strategies.
struct Deciding {
    metric: &'static str,
    phase: Phase,
    heading: &'static str,
}

/// The metrics that decide, from the load to the cost. Which of them are shown depends on what the run had.
const DECIDING: [Deciding; 8] = [
    Deciding { metric: "load.requests.peak_to_mean", phase: Phase::All, heading: "load skew" },
    Deciding { metric: "load.requests.window.p95", phase: Phase::All, heading: "skew in the worst windows" },
    Deciding {
        metric: "load.requests.peak_to_nominal",
        phase: Phase::During,
        heading: "skew tax during faults",
    },
    Deciding { metric: "visits.with_loss", phase: Phase::All, heading: "visits logged out" },
    Deciding { metric: "requests.failed", phase: Phase::All, heading: "requests failed" },
    Deciding { metric: "latency.p99", phase: Phase::All, heading: "response time, p99" },
    Deciding {
        metric: "health.false_positives",
        phase: Phase::All,
        heading: "taken out though nothing ailed them",
    },
    Deciding { metric: "store.operations", phase: Phase::All, heading: "session store" },
];

/// The deciding metrics that this run can show: those that some strategy has a value for, counts only if there
/// is any, and the spread over windows only where nobody logs in (a replayed log), since load is then all there is to see.
fn deciding(summary: &Summary) -> Vec<&'static Deciding> {
    let mean = |strategy, deciding: &Deciding| lookup::mean(strategy, deciding.metric, deciding.phase);
    let logins = summary
        .strategies
        .iter()
        .any(|strategy| lookup::mean(strategy, "visits.with_loss", Phase::All).is_some());
    DECIDING
        .iter()
        .filter(|deciding| match deciding.metric {
            "load.requests.peak_to_mean" => true,
            "load.requests.window.p95" if logins => false,
            "load.requests.peak_to_nominal" if summary.faults.is_empty() => false,
            "store.operations" | "health.false_positives" => {
                summary.strategies.iter().any(|it| mean(it, deciding).is_some_and(|mean| mean > 0.0))
            }
            _ => summary.strategies.iter().any(|it| mean(it, deciding).is_some()),
        })
        .collect()
}

/// Strategies by the few metrics that decide, each with its interval and its paired difference to the first strategy.
pub fn decisive_table(summary: &Summary) -> TableModel {
    let deciding = deciding(summary);
    let mut columns = vec![Column::words("strategy")];
    columns.extend(deciding.iter().map(|it| Column::numbers(it.heading).detail(it.metric)));
    let rows = summary
        .strategies
        .iter()
        .map(|strategy| {
            let mut name = Cell::name(&strategy.name);
            name.details.push(format!("{}, sessions: {}", balancer_of(strategy), strategy.session));
            let metrics =
                deciding.iter().map(|it| Cell::metric(lookup::metric(strategy, it.metric, it.phase)));
            std::iter::once(name).chain(metrics).collect()
        })
        .collect();
    TableModel { columns, rows, notes: decisive_notes(summary) }
}

/// The strategy's balancer, marked if no recording stands behind it.
fn balancer_of(strategy: &StrategySummary) -> String {
    match strategy.evidence {
        Evidence::NotRecorded => format!("{} ({})", strategy.balancer, Evidence::NotRecorded.name()),
        Evidence::Recorded | Evidence::ByDistribution => strategy.balancer.clone(),
    }
}

fn decisive_notes(summary: &Summary) -> Vec<String> {
    let mut notes = vec![intervals(summary)];
    if let [reference, _, ..] = summary.strategies.as_slice() {
        let among = match summary.strategies.len() {
            2 => "",
            _ => " What stands out does so among all comparisons (Holm).",
        };
        notes.push(format!(
            "Signed figures are paired differences to {}: all strategies meet the same clients.{among}",
            reference.name
        ));
    }
    notes.push(
        "Load skew is the most loaded server over the mean, by weight; chance is what uniform random choice would give at the same counts."
            .to_owned(),
    );
    if summary.strategies.iter().any(|strategy| strategy.evidence == Evidence::NotRecorded) {
        notes.push(
            "Not recorded: the rules come from source, documentation or paper; no decision of the real program was compared."
                .to_owned(),
        );
    }
    if !summary.faults.is_empty() {
        notes.push("The skew tax divides by the fair share of the full fleet: how much more the hottest server needs.".to_owned());
    }
    notes
}

/// What the intervals are, in a sentence or two.
fn intervals(summary: &Summary) -> String {
    let runs = format::plural(summary.replications as usize, "replication");
    let mut text = match (summary.vary.as_str(), summary.batches) {
        ("nothing", _) => format!("{runs}, nothing varies: one outcome, no intervals."),
        (_, 0) => {
            format!("± is half of the 95 % interval over {runs}; what varies between them: {}.", summary.vary)
        }
        (_, batches) => {
            format!(
                "± is half of the 95 % interval over {batches} batches of one run: this site, these users, over time."
            )
        }
    };
    if let Some(precision) = &summary.precision {
        let share = |share: f64| format::value(share, Scale::Percent);
        let found = precision.found.map_or_else(|| "no mean to divide by".to_owned(), share);
        let wanted = share(precision.wanted);
        text.push_str(&match precision.reached {
            true => format!(" Replications were added until the widest interval was within ±{wanted} of its mean: {found}."),
            false => format!(
                " The precision of ±{wanted} was not reached after all {runs} (widest: {found}); raise `replications`."
            ),
        });
    }
    if summary.warmup_detected {
        let warmup = format::duration(summary.warmup_s);
        text.push_str(&format!(" The warm-up was detected (MSER-5): {warmup}."));
    }
    text
}

/// One line for each tier with several instances: the share of each.
pub fn tier_lines(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    for strategy in &summary.strategies {
        for tier in strategy.instances.chunk_by(|one, next| one.tier == next.tier) {
            let shares = tier.iter().map(|found| {
                format!("{} {}", found.instance, format::estimate(Some(found.share), Scale::Percent))
            });
            let shares: Vec<_> = shares.collect();
            if let [first, _, ..] = tier {
                let what = format!("{} at tier {}", first.decides, first.tier);
                lines.push(format!("{} · {what}: {}", strategy.name, shares.join(", ")));
            }
        }
    }
    lines
}

/// One line for each fault and strategy: users logged out, requests failed, peak utilisation, time until even again.
pub fn fault_lines(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    for at in 0..summary.faults.len() {
        for strategy in &summary.strategies {
            let (fault, impact) = lookup::impacts(summary, strategy)[at];
            let found = match impact {
                Some(impact) => {
                    let even = match even_again(impact).as_str() {
                        // What goes on to the end has no time after it.
                        _ if !impact.acts.is_empty() => None,
                        format::UNDEFINED => Some("time until even again unknown".to_owned()),
                        time if impact.even_again_s.is_none() => Some(time.to_owned()),
                        time => Some(format!("even again after {time}")),
                    };
                    let mut found = vec![
                        format!(
                            "{} users logged out",
                            format::estimate(Some(impact.users_logged_out), Scale::Count)
                        ),
                        format!(
                            "{} requests failed",
                            format::estimate(Some(impact.requests_failed), Scale::Count)
                        ),
                        format!(
                            "peak utilisation {}",
                            format::estimate(Some(impact.peak_utilisation), Scale::Percent)
                        ),
                    ];
                    found
                        .extend([even, noticed(impact), toppled(impact), acts(impact)].into_iter().flatten());
                    found.join(", ")
                }
                None => "not applicable".to_owned(),
            };
            lines.push(format!("{} · {}: {found}", fault.what, strategy.name));
        }
    }
    lines
}

/// When health rules noticed the fault, and when its part was back; `None` for one that they cannot see.
fn noticed(impact: &FaultImpact) -> Option<String> {
    let count = |of: Estimate| format::estimate(Some(of), Scale::Count);
    if impact.visible.mean == 0.0 {
        return None;
    }
    let Some(after) = impact.detected_after_s else { return Some("not detected".to_owned()) };
    let mut text = format!("detected after {}", format::estimate(Some(after), Scale::Seconds));
    if impact.undetected.mean > 0.0 {
        text.push_str(&format!(" ({} of {} not)", count(impact.undetected), count(impact.visible)));
    }
    if let Some(back) = impact.back_after_s {
        text.push_str(&format!(", back after {}", format::estimate(Some(back), Scale::Seconds)));
    }
    Some(text)
}

/// When all servers that were left were overloaded, if they were.
fn toppled(impact: &FaultImpact) -> Option<String> {
    let after = format::estimate(Some(impact.toppled_after_s?), Scale::Seconds);
    let runs = impact.users_logged_out.n;
    let where_not_all = match u64::from(impact.toppled) {
        all if all == u64::from(runs) => String::new(),
        some => format!(" (in {some} of {runs} replications)"),
    };
    let lasted = format::estimate(impact.toppled_for_s, Scale::Seconds);
    let to_the_end = match impact.toppled_to_the_end {
        0 => String::new(),
        all if all == impact.toppled => ", to the end of the run".to_owned(),
        some => format!(", to the end of the run in {some} of them"),
    };
    Some(format!("toppled the rest after {after}, for {lasted}{where_not_all}{to_the_end}"))
}

/// Acts of an autoscaler that are told one by one; the chart of the load shows all.
const ACTS_MAX: usize = 4;

/// What an autoscaler did in the first replication.
fn acts(impact: &FaultImpact) -> Option<String> {
    let more = impact.acts.len().saturating_sub(ACTS_MAX);
    let told = impact.acts.iter().take(ACTS_MAX);
    let mut told: Vec<_> =
        told.map(|act| format!("{} at {}", act.what, format::duration(act.at_s))).collect();
    if more > 0 {
        told.push(format!("and {more} more acts"));
    }
    (!told.is_empty()).then(|| told.join(", "))
}

/// The same for a cell: how often each.
fn acts_counted(impact: &FaultImpact) -> Vec<String> {
    let kind = |what: &str| what.split(' ').next().unwrap_or_default().to_owned();
    let mut kinds: Vec<String> = Vec::new();
    for act in &impact.acts {
        if !kinds.contains(&kind(&act.what)) {
            kinds.push(kind(&act.what));
        }
    }
    let times = |name: &String| impact.acts.iter().filter(|act| kind(&act.what) == *name).count();
    kinds.iter().map(|name| format!("{} {name}", times(name))).collect()
}

/// Time until even again, and in how many replications it never came.
fn even_again(impact: &FaultImpact) -> String {
    match (impact.even_again_s, impact.never_even) {
        (Some(time), 0) => format::estimate(Some(time), Scale::Seconds),
        (Some(time), never) => {
            format!(
                "{} (never in {never} of {} replications)",
                format::estimate(Some(time), Scale::Seconds),
                u64::from(time.n) + u64::from(never)
            )
        }
        (None, 0) => format::UNDEFINED.to_owned(),
        (None, never) => {
            format!("not even again before the end ({})", format::plural(never as usize, "replication"))
        }
    }
}

/// What each fault did under each strategy; `None` without faults.
pub fn fault_table(summary: &Summary) -> Option<TableModel> {
    if summary.faults.is_empty() {
        return None;
    }
    let columns = vec![
        Column::words("fault"),
        Column::words("strategy"),
        Column::numbers("users logged out"),
        Column::numbers("requests failed"),
        Column::numbers("peak utilisation"),
        Column::numbers("even again after"),
        Column::numbers("detected after"),
        Column::numbers("back after"),
    ];
    let mut rows = Vec::new();
    for at in 0..summary.faults.len() {
        for (nth, strategy) in summary.strategies.iter().enumerate() {
            let (fault, impact) = lookup::impacts(summary, strategy)[at];
            let mut row = vec![Cell::name(if nth == 0 { fault.what.as_str() } else { "" })];
            if nth == 0 {
                row[0].details.push(format!(
                    "at {}, for {}",
                    format::duration(fault.at_s),
                    format::duration(fault.until_s - fault.at_s)
                ));
            }
            row.push(Cell::plain(&strategy.name));
            match impact {
                Some(impact) => row.extend([
                    Cell::plain(format::estimate(Some(impact.users_logged_out), Scale::Count)),
                    Cell::plain(format::estimate(Some(impact.requests_failed), Scale::Count)),
                    Cell::plain(format::estimate(Some(impact.peak_utilisation), Scale::Percent)),
                    Cell {
                        details: toppled(impact).into_iter().chain(acts_counted(impact)).collect(),
                        ..Cell::plain(even_again(impact))
                    },
                    Cell {
                        details: (impact.undetected.mean > 0.0)
                            .then(|| {
                                let count = |of| format::estimate(Some(of), Scale::Count);
                                format!(
                                    "not detected: {} of {}",
                                    count(impact.undetected),
                                    count(impact.visible)
                                )
                            })
                            .into_iter()
                            .collect(),
                        ..Cell::plain(format::estimate(impact.detected_after_s, Scale::Seconds))
                    },
                    Cell::plain(format::estimate(impact.back_after_s, Scale::Seconds)),
                ]),
                None => {
                    let absent = Cell { emphasis: Emphasis::Faint, ..Cell::plain("not applicable") };
                    row.push(absent);
                    row.extend((0..5).map(|_| Cell::plain(format::UNDEFINED)));
                }
            }
            rows.push(row);
        }
    }
    let has_toppled =
        summary.strategies.iter().flat_map(|strategy| &strategy.faults).any(|impact| impact.toppled > 0);
    let note = "Toppled: all servers in service were busy all the time, for three windows in a row or more.";
    let notes = if has_toppled { vec![note.to_owned()] } else { Vec::new() };
    Some(TableModel { columns, rows, notes })
}

/// What scripted clients met, step by step; `None` when the scenario scripts none. Strategies get a column when several have a
/// trace.
pub fn trace_table(summary: &Summary) -> Option<TableModel> {
    let traced: Vec<&StrategySummary> = summary.strategies.iter().filter(|it| !it.trace.is_empty()).collect();
    if traced.is_empty() {
        return None;
    }
    let mut columns = vec![Column::numbers("time")];
    columns.extend(["client", "event", "server", "reason", "state"].map(Column::words));
    if summary.strategies.len() > 1 {
        columns.insert(0, Column::words("strategy"));
    }
    let mut rows = Vec::new();
    for strategy in traced {
        for (nth, line) in strategy.trace.iter().enumerate() {
            let mut row = vec![Cell::plain(format::value(line.at_s, Scale::Seconds))];
            row.extend([&line.client, &line.event, &line.server, &line.reason, &line.state].map(Cell::plain));
            if summary.strategies.len() > 1 {
                row.insert(0, Cell::name(if nth == 0 { strategy.name.as_str() } else { "" }));
            }
            rows.push(row);
        }
    }
    Some(TableModel { columns, rows, notes: vec!["The first replication.".to_owned()] })
}

/// What the expectations came to; `None` when the scenario has none.
pub fn expectation_table(summary: &Summary) -> Option<TableModel> {
    if summary.expectations.is_empty() {
        return None;
    }
    let columns = vec![
        Column::words("verdict"),
        Column::words("strategy"),
        Column::words("metric"),
        Column::numbers("found"),
        Column::numbers("limit"),
        Column::numbers("line"),
    ];
    let rows = summary
        .expectations
        .iter()
        .map(|it| {
            let (word, emphasis) = gate::word(it.verdict);
            let cells = [
                it.strategy.clone(),
                gate::subject(it),
                gate::found(it),
                gate::limit(it),
                it.line.to_string(),
            ];
            std::iter::once(Cell { emphasis, ..Cell::plain(word) }).chain(cells.map(Cell::plain)).collect()
        })
        .collect();
    let undecided = summary.expectations.iter().any(|it| it.verdict == Verdict::Inconclusive);
    let notes = if undecided {
        vec![
            "Inconclusive: the interval reaches over the limit, or there is none; raise `replications`."
                .into(),
        ]
    } else {
        Vec::new()
    };
    Some(TableModel { columns, rows, notes })
}

/// The verdict in a line: what the expectations came to. Empty when the scenario has none.
pub fn verdict_line(summary: &Summary) -> String {
    let count = |verdict| summary.expectations.iter().filter(|it| it.verdict == verdict).count();
    let all = summary.expectations.len();
    let parts = [
        (count(Verdict::Worse), "worse than its limit", "worse than their limits"),
        (count(Verdict::NoData), "without data", "without data"),
        (count(Verdict::Inconclusive), "inconclusive", "inconclusive"),
    ];
    let bad: Vec<String> = parts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
        .collect();
    match (all, bad.is_empty()) {
        (0, _) => String::new(),
        (1, true) => "Passed: the expectation holds.".to_owned(),
        (_, true) => format!("Passed: all {all} expectations hold."),
        (_, false) => format!("Not passed: of {}, {}.", format::plural(all, "expectation"), bad.join(", ")),
    }
}

/// What the run found, in a sentence for each question: who is most even, who logs out fewest.
pub fn findings(summary: &Summary) -> Vec<String> {
    let questions = [
        ("load.requests.peak_to_mean", "Most even load", "Load skew"),
        ("visits.with_loss", "Fewest visits logged out", "Visits logged out"),
    ];
    questions
        .iter()
        .filter_map(|(metric, among_many, alone)| {
            let found: Vec<(&StrategySummary, &MetricSummary, f64)> = summary
                .strategies
                .iter()
                .filter_map(|it| {
                    Some((it, lookup::metric(it, metric, Phase::All)?, lookup::mean(it, metric, Phase::All)?))
                })
                .collect();
            let best = found.iter().map(|(.., mean)| *mean).min_by(f64::total_cmp)?;
            let (_, first, _) = found.iter().find(|(.., mean)| *mean == best)?;
            let value = format::estimate(first.value, Scale::of(metric, first.unit));
            let names: Vec<&str> =
                found.iter().filter(|(.., mean)| *mean == best).map(|(it, ..)| it.name.as_str()).collect();
            Some(match (summary.strategies.len(), names.len()) {
                (1, _) => format!("{alone}: {value}."),
                (_, 1..=3) => format!("{among_many}: {}, {value}.", format::list(&names)),
                (_, ties) => format!("{among_many}: {ties} strategies alike, {value}."),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_decisive_table_has_a_row_for_each_strategy_and_a_cell_for_each_column() {
        let summary = fixture::crash();
        let table = decisive_table(&summary);
        assert_eq!(table.rows.len(), summary.strategies.len());
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
    }

    #[test]
    fn the_reference_has_no_difference_and_the_others_have_one() {
        let table = decisive_table(&fixture::crash());
        assert_eq!(table.rows[0][1].text, "1.352 ±0.014");
        assert_eq!(table.rows[0][1].details, ["chance 1.004"]);
        assert_eq!(table.rows[2][1].details[0], "−0.351 ±0.014");
        assert_eq!(table.rows[2][1].emphasis, Emphasis::Better);
    }

    #[test]
    fn the_store_is_a_column_only_where_one_is_used() {
        let mut summary = fixture::crash();
        let has_store = |summary: &Summary| {
            decisive_table(summary).columns.iter().any(|it| it.heading == "session store")
        };
        assert!(has_store(&summary));
        summary.strategies.retain(|strategy| strategy.session == "local");
        assert!(!has_store(&summary));
    }

    #[test]
    fn a_log_without_logins_shows_the_spread_over_windows_instead() {
        let table = decisive_table(&fixture::log());
        let details: Vec<_> = table.columns.iter().filter_map(|column| column.detail.as_deref()).collect();
        assert!(details.contains(&"load.requests.window.p95"));
        assert!(!details.contains(&"visits.with_loss"));
        assert!(table.notes[0].contains("no intervals"), "{}", table.notes[0]);
    }

    #[test]
    fn every_fault_and_strategy_has_a_line() {
        let lines = fault_lines(&fixture::crash());
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with("crash of web2 · nginx ip_hash: 2,"), "{}", lines[0]);
        assert!(lines[1].contains("never in 3 of 20 replications"), "{}", lines[1]);
    }

    #[test]
    fn a_fault_on_a_part_that_a_strategy_lacks_is_not_applicable() {
        let mut summary = fixture::crash();
        summary.strategies[1].faults.clear();
        assert_eq!(fault_lines(&summary)[1], "crash of web2 · LVS wlc, -p 120: not applicable");
        let table = fault_table(&summary).expect("there is a fault");
        assert_eq!(table.rows[1][2].text, "not applicable");
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
    }

    #[test]
    fn one_bad_expectation_spoils_the_verdict() {
        let mut summary = fixture::crash();
        assert_eq!(verdict_line(&summary), "Not passed: of 3 expectations, 1 worse than its limit.");
        summary.expectations.retain(|it| it.verdict == Verdict::Pass);
        assert_eq!(verdict_line(&summary), "Passed: all 2 expectations hold.");
        summary.expectations.clear();
        assert_eq!(verdict_line(&summary), "");
    }

    #[test]
    fn findings_name_the_best_and_its_value() {
        let found = findings(&fixture::crash());
        assert_eq!(found[0], "Most even load: round robin, sessions in MySQL, 1.0011 ±0.0002.");
        assert_eq!(found[1], "Fewest visits logged out: round robin, sessions in MySQL, 0.110 % ±0.013.");
        assert!(findings(&fixture::nasty()).is_empty());
    }

    #[test]
    fn tables_without_rows_are_not_there() {
        let summary = fixture::nasty();
        assert_eq!(fault_table(&summary), None);
        assert_eq!(expectation_table(&summary), None);
        assert_eq!(trace_table(&fixture::log()), None);
    }

    #[test]
    fn a_trace_of_one_strategy_has_no_column_for_it() {
        let table = trace_table(&fixture::nasty()).expect("it has a trace");
        assert_eq!(table.columns[0].heading, "time");
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
    }
}
