//! The reference pages. `docs/balancers.md`: all of it comes from the catalogue, and the options from what
//! `evenkeel explain` says of a scenario that sets none. `docs/populations.md`: the presets, written out.

use std::fmt::Write;

use evenkeel_sim::balancer::properties::{Cost, Moves, Refuses, Ties};
use evenkeel_sim::balancer::{CatalogueEntry, entries};
use evenkeel_sim::scenario::{Overrides, canonical, parameters, parse, presets};

use crate::failure::Failure;

const POPULATIONS: &str = "\
# Populations

This page is printed by `evenkeel list presets --markdown`; a test holds it to that. A preset fills in one part of a
`[[population]]`; every key below it can be written to differ from the preset. What is an assumption is called so; what was
recalled, without the publication's text at hand, too. What the keys mean and what is left out stands in
[model.md](model.md#populations-and-addresses).
";

/// The page of the presets.
pub fn populations() -> String {
    let mut page = String::from(POPULATIONS);
    let mut kind = None;
    for preset in presets() {
        if kind.replace(preset.kind) != Some(preset.kind) {
            write!(page, "\n## `{}`\n", preset.kind.name()).expect("writing to a string");
        }
        let (name, summary, source) = (preset.name, preset.summary, preset.source);
        let parameters = parameters(preset);
        write!(page, "\n### {name}\n\n{summary}.\n\n```toml\n{parameters}```\n\nSource: {source}.\n")
            .expect("writing to a string");
    }
    page
}

const OPENING: &str = "\
# Balancers

This page is printed by `evenkeel list balancers --markdown`; a test holds it to that. Every line is of the catalogue, and
what it claims is tested for all balancers by one body, `sim/tests/it/catalogue.rs`.

- **evidence**: whether recordings of the real program stand behind it.
- **shares**: what each server gets of many fresh requests. This and what follows is said of the default options.
- **tied to**: what a client's server depends on. Templates, cookies and stick tables, which any of them may have around it,
  do not count.
- **move**: clients of servers that stay who move when one of ten goes, at run time and, behind the stroke, by a new
  configuration.
- **pick**: how the work of a choice grows with the servers. A `table` and `arithmetic` take at most 30 ns among 16 servers,
  and all but a `scan` at most 200 ns among 1,000 (`picks` in [benches](../benches/README.md)).
";

/// The page of the balancers.
///
/// # Errors
/// If the scenario that shows the options is no longer one: a fault in the simulator.
pub fn balancers() -> Result<String, Failure> {
    let mut page = String::from(OPENING);
    let mut programs: Vec<&str> = entries().map(|entry| entry.program).collect();
    programs.dedup();
    for program in programs {
        let of_program: Vec<_> = entries().filter(|entry| entry.program == program).collect();
        write!(page, "\n## {program}\n\n").expect("writing to a string");
        page.push_str("| balancer | what it does | rules of | evidence | shares | tied to | move | pick |\n");
        page.push_str("|---|---|---|---|---|---|---|---|\n");
        for entry in &of_program {
            page.push_str(&row(entry));
        }
        let mut notes = Vec::new();
        for entry in &of_program {
            if let Refuses::When(case) = entry.properties.refuses {
                let name = entry.scenario_name;
                notes.push(format!(
                    "- `{name}` refuses a request, though a server could take it, when {case}.\n"
                ));
            }
            if let Cost::Scan(why) = entry.properties.cost {
                notes.push(format!("- `{}` is a scan: {why}.\n", entry.scenario_name));
            }
        }
        options(&of_program, notes, &mut page)?;
    }
    Ok(page)
}

fn row(entry: &CatalogueEntry) -> String {
    let properties = &entry.properties;
    let moves = match properties.ties {
        Ties::Nothing => String::new(),
        Ties::Client { out, deleted } | Ties::Called { out, deleted } => both(out, deleted),
    };
    format!(
        "| `{}` | {} | {} | {} | {} | {} | {moves} | {} |\n",
        entry.scenario_name,
        entry.summary.trim(),
        properties.source,
        entry.evidence.name(),
        properties.shares,
        properties.ties,
        properties.cost,
    )
}

fn both(out: Moves, deleted: Moves) -> String {
    if out == deleted { out.to_string() } else { format!("{out} / {deleted}") }
}

/// Notes, the options that all of a program's balancers have, and those of single ones.
fn options(of_program: &[&CatalogueEntry], mut notes: Vec<String>, page: &mut String) -> Result<(), Failure> {
    let mut known = Vec::new();
    for entry in of_program {
        match defaults(entry) {
            Some(options) => known.push((entry, options)),
            None => notes.push(format!("- `{}` is in no scenario yet.\n", entry.scenario_name)),
        }
    }
    if !notes.is_empty() {
        write!(page, "\n{}", notes.concat()).expect("writing to a string");
    }
    let Some((_, first)) = known.first() else {
        return Err(Failure::internal(format!(
            "no balancer of `{}` can be explained",
            of_program[0].program
        )));
    };
    let common: Vec<_> =
        first.iter().filter(|line| known.iter().all(|(_, own)| own.contains(line))).collect();
    page.push_str("\nOptions that all of them have, with the defaults:\n\n```toml\n");
    for line in &common {
        writeln!(page, "{line}").expect("writing to a string");
    }
    page.push_str("```\n");
    let single = known.iter().filter(|(_, own)| own.len() > common.len());
    let mut heading = "\nOptions of their own:\n\n";
    for (entry, own) in single {
        page.push_str(heading);
        heading = "";
        let own: Vec<_> =
            own.iter().filter(|line| !common.contains(line)).map(|line| format!("`{line}`")).collect();
        writeln!(page, "- `{}`: {}", entry.scenario_name, own.join(", ")).expect("writing to a string");
    }
    Ok(())
}

/// What a scenario that names the balancer and sets nothing resolves to, line by line; `None` if scenarios do not take it.
fn defaults(entry: &CatalogueEntry) -> Option<Vec<String>> {
    let scenario = format!(
        r#"
        title = "defaults"
        duration = "1s"

        [[scripted_client]]
        name = "anyone"
        address = "192.0.2.1"
        connections = [{{ at = "0s", hold = "0s" }}]

        [cluster]
        servers = [{{ name = "NAME", address = "10.0.0.1:80" }}]
        capacity = {{ workers = 1, service = "1s" }}

        [[strategy]]
        name = "it"
        balancer = "{}"
        session = {{ local = {{}} }}
        "#,
        entry.scenario_name
    );
    let loaded = parse("defaults.toml", &scenario, &Overrides::default()).ok()?;
    let explained = canonical(&loaded.resolved);
    let header = format!("[strategy.balancer.{}]", entry.scenario_name);
    let lines = explained.lines().skip_while(|line| *line != header).skip(1);
    Some(lines.take_while(|line| !line.is_empty()).map(str::to_owned).collect())
}
