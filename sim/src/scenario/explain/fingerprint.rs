//! What the clients of a scenario are and do, as a text that stays the same for as long as they do.
//!
//! Baselines keep the SHA-256 of this text: with the same, the same clients meet another cluster, and replications can be compared one by one.
//! It is what `evenkeel explain` says of them, less all that changes nothing: options that are `"none"` or `false`, and those of
//! [`NEUTRAL`]. So an option that comes with a new version leaves the text of those alone who do not use it. Which value of an option is left out
//! never changes, or two workloads would have one text.

use super::{Document, duration, list, show_clients, text};
use crate::scenario::Scenario;
use crate::scenario::diagnostic::Report;
use crate::scenario::quantity::{Quantity, show_distribution};
use crate::scenario::tree::{self, Table, Value};

/// Version of the text. Another one makes strangers of all baselines that were written before: it is for changes of what the draws of the same
/// text come to.
const VERSION: u32 = 2;

/// Values at which an option changes nothing, where that is neither `"none"` nor `false`, by path.
const NEUTRAL: [(&str, &str); 5] = [
    ("log.speed", "1.0"),
    ("population.visit.logout", "0.0"),
    ("population.visit.retry_on_loss", "0.0"),
    ("population.visit.returns", "0.0"),
    ("log.client_address", "\"connection\""),
];

/// The text whose SHA-256 names what the clients are and do: the experiment's length, seed and variation, sessions, populations, logs,
/// scripts, and the work that requests make, without the servers and balancers that do it.
pub fn workload(scenario: &Scenario) -> String {
    let mut document = Document { text: String::new() };
    let d = &mut document;
    d.line("duration", scenario.duration.map_or_else(|| "\"log\"".into(), duration));
    d.line("warmup", duration(scenario.warmup));
    d.line("seed", scenario.seed);
    d.line("vary", text(scenario.vary.name()));
    let services = scenario.servers.iter().map(|server| &server.capacity.service);
    d.line("services", list(services.map(|service| show_distribution(service, Quantity::Time))));
    show_clients(d, scenario, None);
    stated(&document.text)
}

/// What a document says, in the order of names, less what changes nothing.
fn stated(document: &str) -> String {
    let report = Report::new("workload", document, "");
    let mut lines = vec![format!("workload {VERSION}")];
    put_table(&tree::parse(document, &report), "", &mut lines);
    lines.join("\n")
}

fn put_table(table: &Table, path: &str, lines: &mut Vec<String>) {
    let mut entries: Vec<_> = table.entries.iter().collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    for entry in entries {
        let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        put(&entry.node.value, &path, lines);
    }
}

fn put(value: &Value, path: &str, lines: &mut Vec<String>) {
    match value {
        Value::Boolean(false) => {}
        Value::String(none) if none == "none" => {}
        Value::Table(table) if !table.entries.is_empty() => {
            let before = lines.len();
            put_table(table, path, lines);
            // A table that only holds what changes nothing is there all the same.
            if lines.len() == before {
                lines.push(path.to_owned());
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                lines.push(format!("{path} {at}"));
                put(&item.value, path, lines);
            }
        }
        value => {
            let value = value.to_toml();
            if !NEUTRAL.contains(&(path, value.as_str())) {
                lines.push(format!("{path} = {value}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, parse};

    const SITE: &str = r#"
title = "a site"
duration = "10min"
[[population]]
name = "homes"
clients = 120
address = { preset = "home-nat" }
visit = { preset = "login-site" }
[cluster]
servers = [{ name = "a", address = "10.0.0.1:80" }]
capacity = { workers = 64, service = "20ms" }
[[strategy]]
name = "hash"
balancer = { nginx.ip_hash = {} }
session = { local = {} }
"#;

    fn of(text: &str) -> String {
        let loaded =
            parse("site.toml", text, &Overrides::NONE).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        workload(&loaded.scenario)
    }

    #[test]
    fn the_text_is_what_it_was_when_baselines_were_written() {
        // If this fails, baselines that are committed elsewhere are no longer compared pair by pair. For an option that is new: write it as "none"
        // or `false` where it changes nothing, or name its neutral value in `NEUTRAL`. Only if the same clients now do something else, change
        // `VERSION` and this text.
        let more = "[[population]]\nname = \"buyers\"\nclients = 50\naddress = { preset = \"cgnat\" }\nvisit = { preset = \"shop\" }\n\
                    arrivals = { poisson = { rate = 2 } }\n";
        assert_eq!(of(&format!("{SITE}{more}")), include_str!("fingerprint.txt").trim_end());
    }

    #[test]
    fn a_new_option_that_changes_nothing_leaves_the_text_alone() {
        let document = "seed = 1\n[[population]]\nname = \"a\"\n[population.visit]\nclicks = 3\n";
        let before = stated(document);
        for option in ["teleports = \"none\"", "teleports = false", "returns = 0.0"] {
            assert_eq!(stated(&format!("{document}{option}\n")), before, "{option}");
        }
        for option in ["teleports = 0", "teleports = true", "teleports = { to = \"none\" }", "returns = 0.1"]
        {
            assert_ne!(stated(&format!("{document}{option}\n")), before, "{option}");
        }
        // Nor does the order in which options are shown.
        assert_eq!(
            stated(&document.replace("seed = 1\n", "a = 2\nseed = 1\n")),
            stated(&format!("seed = 1\na = 2\n{}", &document[9..]))
        );
    }

    #[test]
    fn whatever_the_clients_do_is_in_the_text_and_what_the_cluster_does_is_not() {
        let before = of(SITE);
        for (from, to) in [
            ("clients = 120", "clients = 121"),
            ("\"login-site\"", "\"login-site\", logout = 0.5"),
            ("\"20ms\"", "\"21ms\""),
            ("\"home-nat\"", "\"direct\""),
            ("\"10min\"", "\"11min\""),
        ] {
            assert_ne!(of(&SITE.replacen(from, to, 1)), before, "{to}");
        }
        for (from, to) in
            [("ip_hash", "round_robin"), ("workers = 64", "workers = 2"), ("a site", "the site")]
        {
            assert_eq!(of(&SITE.replacen(from, to, 1)), before, "{to}");
        }
    }
}
