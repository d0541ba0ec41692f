//! What `evenkeel advise` found, in words and as a table.

use evenkeel_sim::experiment::advise::{Advice, Dropped, Standing};
use evenkeel_sim::metrics::MetricId;

use crate::format::{self, Scale};
use crate::model::{Cell, Column, Emphasis, TableModel};

fn scale(id: MetricId) -> Scale {
    Scale::of(&id.name(), id.line().unit)
}

/// The front and the choice first, then the others; each with its number.
pub fn table(advice: &Advice) -> TableModel {
    // A quantile's name may have a point in its last word.
    let last = |id: &MetricId| {
        let name = id.name();
        name.rmatch_indices('.')
            .map(|(at, _)| &name[at + 1..])
            .find(|word| !word.starts_with(|c: char| c.is_ascii_digit()))
            .unwrap_or(&name)
            .to_owned()
    };
    // A limited metric that is an objective, too, is shown once.
    let limits: Vec<usize> =
        (0..advice.limits.len()).filter(|&at| !advice.minimise.contains(&advice.limits[at].metric)).collect();
    let mut columns = vec![Column::words("candidate")];
    columns.extend(advice.minimise.iter().map(|id| Column::numbers(&last(id)).detail(&id.name())));
    columns.extend(limits.iter().map(|&at| {
        let id = advice.limits[at].metric;
        Column::numbers(&last(&id)).detail(&id.name())
    }));
    columns.extend([Column::words("standing"), Column::numbers("on front"), Column::numbers("chosen")]);
    let mut order: Vec<usize> = (0..advice.standings.len()).collect();
    order.sort_by_key(|&at| (advice.choice != Some(at), !advice.standings[at].on_front, at));
    let rows = order.iter().map(|&at| {
        let it = &advice.standings[at];
        let seen = format!("after {}", it.replications);
        let (standing, emphasis) = match (advice.choice == Some(at), it.on_front, it.dropped) {
            (true, ..) => ("★ choice".to_owned(), Emphasis::Better),
            (_, true, _) => ("● front".to_owned(), Emphasis::Plain),
            (.., Some(Dropped::BreaksLimit)) => (format!("✗ limit, {seen}"), Emphasis::Worse),
            (.., Some(Dropped::BeatenBy(by))) => (format!("beaten by {}, {seen}", by + 1), Emphasis::Faint),
            (.., None) if !it.keeps_limits => ("✗ limit".to_owned(), Emphasis::Worse),
            (.., None) => ("beaten".to_owned(), Emphasis::Faint),
        };
        let mut name = Cell::name(format!("{} {}", at + 1, it.strategy));
        name.details = it.values.clone();
        let limited = limits.iter().map(|&at| (&it.limited[at], advice.limits[at].metric));
        let values = it.objectives.iter().zip(advice.minimise.iter().copied()).chain(limited);
        let mut row = vec![name];
        row.extend(values.map(|(value, id)| Cell::plain(format::estimate(*value, scale(id)))));
        row.push(Cell { emphasis, ..Cell::plain(standing) });
        row.extend(
            [it.front_share, it.chosen_share].map(|share| Cell::plain(format!("{:.0} %", share * 100.0))),
        );
        row
    });
    let rows = rows.collect();
    let (done, all) = advice.runs;
    let mut notes: Vec<String> = advice
        .limits
        .iter()
        .map(|limit| {
            format!(
                "Limit: {} at most {}.",
                limit.metric.name(),
                format::value(limit.max, scale(limit.metric))
            )
        })
        .collect();
    notes.extend([
        "On the front: nobody that keeps the limits is as good in every objective, to within 1 %, and better by more in one. Chosen: of the front, what \
         gives up least, each objective measured by its range on the front. Both as shares of repetitions with replications drawn \
         again."
            .to_owned(),
        format!("{done} runs; trying every candidate to the end would have taken {all}."),
    ]);
    notes.extend(
        advice.warmup.map(|warmup| {
            format!("The warm-up is {warmup}, the longest that any candidate was found to need.")
        }),
    );
    TableModel { columns, rows, notes }
}

/// The advice in sentences.
pub fn sentences(advice: &Advice) -> Vec<String> {
    let Some(choice) = advice.choice.map(|at| &advice.standings[at]) else {
        return vec!["No candidate keeps the limits: loosen them, or give more values.".to_owned()];
    };
    let sure = match choice.chosen_share {
        share if share >= 0.95 => "sure",
        share if share >= 0.75 => "fairly sure",
        share if share >= 0.5 => "not very sure: others would often be chosen, too",
        _ => "a toss-up: several are about as good; more `replications` may tell them apart",
    };
    let share = format::value(choice.chosen_share, Scale::Percent);
    let mut lines = vec![format!("Choose {}; {sure} (chosen in {share} of repetitions).", choice.name)];
    if !choice.changes.is_empty() {
        let changes: Vec<String> = choice.changes.iter().map(|change| format!("--set '{change}'")).collect();
        lines.push(format!("In the scenario: {}", changes.join(" ")));
    }
    for (objective, id) in advice.minimise.iter().enumerate() {
        let mean = |it: &Standing| it.objectives[objective].map(|value| value.mean);
        let on_front = advice.standings.iter().filter(|it| it.on_front);
        let best = on_front.filter_map(|it| Some((it, mean(it)?))).min_by(|a, b| a.1.total_cmp(&b.1));
        if let (Some((best, least)), Some(own)) = (best, mean(choice)) {
            let name = id.name();
            let shown = |value| format::value(value, scale(*id));
            lines.push(match own <= least {
                true => format!("{name}: {}, the least on the front.", shown(own)),
                false => format!("{name}: {}; {} would have {}.", shown(own), best.name, shown(least)),
            });
        }
    }
    lines
}
