//! `evenkeel list`.

use comfy_table::Table;
use evenkeel_sim::balancer::{self, CatalogueEntry};
use evenkeel_sim::metrics::catalogue::METRICS;
use evenkeel_sim::scenario::{TIER_PARTS, parameters, presets};
use evenkeel_sim::store::catalogue::STORES;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{List, Listing};
use crate::failure::{Exit, Failure};
use crate::{output, reference, store_reference, tables};

/// Lists balancers, parts of tiers, presets, stores, metrics.
pub fn list(list: &List) -> Result<Exit, Failure> {
    let wanted = |what| list.what.is_none() || list.what == Some(what);
    if list.markdown {
        let page = match list.what {
            Some(Listing::Balancers) => reference::balancers()?,
            Some(Listing::Presets) => reference::populations(),
            Some(Listing::Stores) => store_reference::page(),
            Some(Listing::Metrics | Listing::Tiers) | None => {
                let remedy = "balancers, presets and stores have a reference page each\n  \
                              write `evenkeel list balancers --markdown`, and so on";
                return Err(Failure::usage(remedy));
            }
        };
        output::data(&page);
        return Ok(Exit::Fine);
    }
    if list.json {
        output::line(&format!("{:#}", as_json(list.what)));
        return Ok(Exit::Fine);
    }
    if wanted(Listing::Balancers) {
        let mut table = tables::plain(["balancer", "what it does", "evidence"]);
        for entry in balancer::entries() {
            table.add_row([entry.scenario_name, entry.summary.trim(), entry.evidence.name()]);
        }
        print(table);
    }
    if wanted(Listing::Tiers) {
        let mut table = tables::plain(["part of a tier", "what it does", "options and defaults", "source"]);
        for part in TIER_PARTS {
            table.add_row([part.name, part.summary, part.options, part.source]);
        }
        print(table);
    }
    if wanted(Listing::Presets) {
        let mut table = tables::plain(["preset", "of", "what it is", "parameters", "source"]);
        for preset in presets() {
            let (name, kind) = (preset.name.to_owned(), preset.kind.name().to_owned());
            let written_out = parameters(preset).trim_end().to_owned();
            table.add_row([name, kind, preset.summary.to_owned(), written_out, preset.source.to_owned()]);
        }
        print(table);
    }
    if wanted(Listing::Stores) {
        let mut table = tables::plain(["session store", "what it is", "what takes sessions away"]);
        for entry in STORES {
            table.add_row([entry.name, entry.summary, entry.loses]);
        }
        print(table);
    }
    if wanted(Listing::Metrics) {
        let mut table = tables::plain(["metric", "unit", "direction", "what it means", "undefined when"]);
        for metric in METRICS {
            table.add_row([
                metric.name.to_owned(),
                word(&metric.unit),
                word(&metric.direction),
                metric.meaning.to_owned(),
                metric.undefined.to_owned(),
            ]);
        }
        print(table);
    }
    Ok(Exit::Fine)
}
/// What is listed, or all, as JSON.
pub fn as_json(what: Option<Listing>) -> Value {
    let wanted = |which| what.is_none() || what == Some(which);
    let mut all = serde_json::Map::new();
    if wanted(Listing::Balancers) {
        all.insert("balancers".to_owned(), balancers_json());
    }
    if wanted(Listing::Tiers) {
        all.insert("tiers".to_owned(), json!(TIER_PARTS));
    }
    if wanted(Listing::Presets) {
        all.insert("presets".to_owned(), presets_json());
    }
    if wanted(Listing::Stores) {
        all.insert("stores".to_owned(), stores_json());
    }
    if wanted(Listing::Metrics) {
        all.insert("metrics".to_owned(), json!(METRICS));
    }
    Value::Object(all)
}

fn print(mut table: Table) {
    tables::keep_whole(&mut table, 0);
    output::line(&format!("{}\n", table.trim_fmt()));
}

/// A variant's name as JSON spells it, with spaces.
fn word(value: &impl Serialize) -> String {
    match json!(value) {
        Value::String(name) => name.replace('_', " "),
        other => other.to_string(),
    }
}

fn balancers_json() -> Value {
    let line = |entry: &CatalogueEntry| {
        let properties = &entry.properties;
        json!({
            "name": entry.scenario_name,
            "program": entry.program,
            "summary": entry.summary.trim(),
            "evidence": entry.evidence,
            "source": properties.source,
            "shares": properties.shares.to_string(),
            "ties": properties.ties.to_string(),
            "cost": properties.cost.to_string(),
        })
    };
    balancer::entries().map(line).collect()
}

fn stores_json() -> Value {
    STORES
        .iter()
        .map(|entry| {
            json!({
                "name": entry.name,
                "summary": entry.summary,
                "loses": entry.loses,
                "costs": entry.costs,
                "source": entry.source,
            })
        })
        .collect()
}

fn presets_json() -> Value {
    presets()
        .map(|p| {
            let (kind, parameters) = (p.kind.name(), parameters(p));
            json!({"name": p.name, "kind": kind, "summary": p.summary, "parameters": parameters, "source": p.source})
        })
        .collect()
}
