//! The reference page of the session stores, `docs/sessions.md`: all of it comes from the catalogue and from what the stores say of
//! their options.

use std::fmt::Write;

use evenkeel_sim::scenario::store_options;
use evenkeel_sim::store::catalogue::STORES;

const OPENING: &str = "\
# Session stores

This page is printed by `evenkeel list stores --markdown`; a test holds it to that. A strategy names one of these as its
`session`: `session = { redis = { replicas = 2 } }`. How they are modelled, and what is left out, stands in
[model.md](model.md#sessions).

What the sessions of a site are like stands once, in `[session]`: `bytes`, the law of their sizes, and `writes`, the share of
clicks that write their session (all of them read it). Stores with nodes take `on_store_error`: `\"fail\"` (the request ends in
an error) or `\"login\"` (the user sees the login page). A node dies by `[[fault]] store_crash = { node = 0, lasts = \"2min\" }`, and
with `power_loss = true` its machine does; what else can befall nodes and the links to them stands in
[model.md](model.md#links-and-disks). Time-outs are those of the PHP clients that are named.

Times of service are assumptions, marked as such: measure yours. All other defaults are the programs' own.
";

/// The page.
pub fn page() -> String {
    let mut page = String::from(OPENING);
    page.push_str("\n| store | what it is | what takes sessions away | what it costs |\n|---|---|---|---|\n");
    for entry in STORES {
        let (name, summary) = (entry.name, entry.summary);
        writeln!(page, "| `{name}` | {summary} | {} | {} |", entry.loses, entry.costs).expect("a string");
    }
    for entry in STORES {
        write!(page, "\n## {}\n\nSource: {}.\n", entry.name, entry.source).expect("a string");
        if entry.name == "shared" {
            page.push_str("\n`latency`, a law of times, has no default.\n");
        }
        if entry.name == "hybrid" {
            page.push_str(
                "\n`store` is one of `mysql`, `redis`, `memcached` and `write_behind`, with its options.\n",
            );
        }
        let options = store_options(entry.name);
        if options.is_empty() {
            continue;
        }
        page.push_str("\n| option | default | meaning |\n|---|---|---|\n");
        for option in options {
            let beside = match option.beside {
                "" => String::new(),
                beside => format!("; beside `{beside}`"),
            };
            let (name, default, meaning) = (option.name, option.default, option.meaning);
            writeln!(page, "| `{name}` | `{default}` | {meaning}{beside} |").expect("a string");
        }
    }
    page
}
