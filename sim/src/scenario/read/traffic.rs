//! Who visits: populations, replayed logs, clients that follow a script.

use std::path::PathBuf;

use super::Names;
use crate::engine::{Distribution, SimDuration};
use crate::population::{AddressPlan, UsersPerAddress};
use crate::scenario::diagnostic::Span;
use crate::scenario::presets::{self, PresetEntry, PresetKind};
use crate::scenario::quantity::Quantity;
use crate::scenario::section::{Item, Section};
use crate::scenario::{
    ClosedBy, ConnectionRules, LogSource, Population, ScriptedClient, ScriptedConnection, Traffic, VisitPlan,
};
use crate::session::OnUnknownId;

/// Users of one population.
const CLIENTS_MAX: u64 = 100_000_000;

/// `[connection]`, or the `connection` of one source of traffic, over `default`.
pub(super) fn connection(item: &Item<'_>, default: ConnectionRules) -> Option<ConnectionRules> {
    let mut section = item.section("a table")?;
    let s = &mut section;
    let keepalive_timeout =
        s.optional("keepalive_timeout", default.keepalive_timeout, |item| item.duration());
    let keepalive_requests =
        s.optional("keepalive_requests", default.keepalive_requests, |item| item.u32_at_least(1));
    let closed_by = s.optional("closed_by", default.closed_by, |item| {
        item.one_of(&[("server", ClosedBy::Server), ("client", ClosedBy::Client)])
    });
    section.finish();
    Some(ConnectionRules {
        keepalive_timeout: keepalive_timeout?,
        keepalive_requests: keepalive_requests?,
        closed_by: closed_by?,
    })
}

/// One `[[population]]`, and the preset of its visits.
pub(super) fn population(
    item: &Item<'_>,
    default_connection: ConnectionRules,
    names: &mut Names,
) -> Option<(Population, Option<&'static PresetEntry>)> {
    let mut section = item.section("a table")?;
    let s = &mut section;
    let name_item = s.take("name");
    if name_item.is_none() {
        s.missing("name", None);
    }
    let name = names.add(name_item);
    let clients = s.required("clients", |item| item.integer(1, CLIENTS_MAX).map(|number| number as u32));
    let address = s.required("address", |item| address(&item));
    let visit_item = s.take("visit");
    let arrivals_item = s.take("arrivals");
    let mut preset = None;
    let traffic = match (visit_item, arrivals_item) {
        (Some(item), None) => visit(&item).map(|(plan, name)| {
            preset = name;
            Traffic::ClosedLoop(plan)
        }),
        (None, Some(item)) => arrivals(&item),
        (Some(_), Some(arrivals)) => {
            let help = "users who click (`visit`) and single requests (`arrivals`) are two populations";
            s.report().error_with_help(
                arrivals.key_span,
                "a population has `visit` or `arrivals`, got both".into(),
                help,
            );
            None
        }
        (None, None) => {
            s.missing("visit", Some("add `visit = { preset = \"login-site\" }`, or `arrivals`"));
            None
        }
    };
    let connection =
        s.optional("connection", default_connection, |item| connection(&item, default_connection));
    section.finish();
    let population = Population {
        name: name?,
        clients: clients?,
        address: address?,
        traffic: traffic?,
        connection: connection?,
    };
    Some((population, preset))
}

/// The name under `preset`, if there is one and it is known.
fn preset_name<'a>(section: &mut Section<'a>, kind: PresetKind) -> Option<Option<&'a str>> {
    let Some(item) = section.take("preset") else { return Some(None) };
    let name = item.string()?;
    if presets::preset(kind, name).is_none() {
        item.unknown("preset", name, presets::preset_names(kind));
        return None;
    }
    Some(Some(name))
}

fn address(item: &Item<'_>) -> Option<AddressPlan> {
    let mut section = item.section("a table such as { preset = \"home-nat\" }")?;
    let s = &mut section;
    let preset = preset_name(s, PresetKind::Address);
    let fixed = s.optional("fixed", Vec::new(), |item| {
        let addresses = item.elements("an array of addresses")?;
        if addresses.is_empty() {
            item.error("`fixed` must name at least one address, got none".into());
            return None;
        }
        addresses.iter().map(Item::address).collect()
    });
    if fixed.as_ref().is_none_or(|fixed| !fixed.is_empty()) {
        let why = |key: &str| format!("`{key}` has no effect on `fixed` addresses");
        s.refuse(&["users_per_address", "addresses_per_24"], why, "users are dealt to the addresses in turn");
    }
    let plan = presets::address(preset.flatten().unwrap_or("direct"));
    if preset == Some(None) && fixed.as_ref().is_some_and(Vec::is_empty) {
        s.missing(
            "preset",
            Some("one of `direct`, `home-nat`, `office`, `cgnat`; or list addresses as `fixed`"),
        );
    }
    let users = s.optional("users_per_address", plan.users_per_address, |item| users_per_address(&item));
    let density = s.optional("addresses_per_24", plan.addresses_per_24, |item| {
        let number = item.number_at_least(1.0)?;
        if number > 254.0 {
            item.error(format!("`addresses_per_24` must be at most 254, got {}", item.got()));
            return None;
        }
        Some(number)
    });
    let pooling = s.optional("pooling", (), |item| {
        if preset.is_some() && plan.preset != "cgnat" {
            let help = "`pooling` says how a carrier's NAT (`preset = \"cgnat\"`) deals addresses";
            item.error_with_help(format!("`pooling` has no meaning with preset `{}`", plan.preset), help);
            return None;
        }
        match item.string()? {
            "paired" => Some(()),
            "arbitrary" => {
                let help = "write `pooling = \"paired\"`: a user keeps one address, as RFC 6888 asks";
                item.error_with_help("`pooling` \"arbitrary\" is not modelled yet".into(), help);
                None
            }
            other => {
                item.unknown("pooling", other, ["paired"]);
                None
            }
        }
    });
    section.finish();
    preset?;
    pooling?;
    Some(AddressPlan {
        preset: plan.preset,
        users_per_address: users?,
        addresses_per_24: density?,
        fixed: fixed?,
    })
}

fn users_per_address(item: &Item<'_>) -> Option<UsersPerAddress> {
    const LAWS: [&str; 3] = ["constant", "one_plus_poisson", "lognormal"];
    const POISSON_MEAN_MAX: f64 = 1e6;
    if item.is_integer() {
        return item.u32_at_least(1).map(UsersPerAddress::Constant);
    }
    let law = item.section("a whole number, or a table with one law")?.single("law", &LAWS)?;
    if law.key == "constant" {
        return law.u32_at_least(1).map(UsersPerAddress::Constant);
    }
    let mut section = law.section("a table of the law's parameters")?;
    let s = &mut section;
    let users = if law.key == "one_plus_poisson" {
        let mean = s.required("mean", |item| {
            let mean = item.number_at_least(0.0)?;
            if mean > POISSON_MEAN_MAX {
                item.error(format!("`mean` must be at most {POISSON_MEAN_MAX}, got {}", item.got()));
                return None;
            }
            Some(mean)
        });
        mean.map(|mean| UsersPerAddress::OnePlusPoisson { mean })
    } else {
        let median = s.required("median", |item| item.number_above_zero());
        let sigma = s.required("sigma", |item| item.number_at_least(0.0));
        median.zip(sigma).map(|(median, sigma)| UsersPerAddress::Lognormal { median, sigma })
    };
    section.finish();
    users
}

fn visit(item: &Item<'_>) -> Option<(VisitPlan, Option<&'static PresetEntry>)> {
    let mut section = item.section("a table such as { preset = \"login-site\" }")?;
    let s = &mut section;
    let name = preset_name(s, PresetKind::Visit);
    let base = name.flatten().map(presets::visit);
    // With a preset each key is optional; without one the shape of a visit must be said. A preset whose name is
    // wrong is taken for one, so that the mistake is not followed by others.
    let has_preset = name != Some(None);
    let defaults = base.unwrap_or_else(|| presets::visit("login-site"));
    let [clicks, think, away] = [
        ("clicks", &defaults.clicks, Quantity::Count),
        ("think", &defaults.think, Quantity::Time),
        ("away", &defaults.away, Quantity::Time),
    ]
    .map(|(key, default, quantity)| {
        if has_preset {
            s.optional(key, default.clone(), |item| item.distribution(quantity))
        } else {
            s.required(key, |item| item.distribution(quantity))
        }
    });
    if let (Some(item), Some(Distribution::Constant(0.0))) = (s.take("away"), &away) {
        item.error("`away` must be above 0s: a user who is never away clicks without end in no time".into());
    }
    let login = if has_preset {
        s.optional("login", defaults.login, |item| item.boolean())
    } else {
        s.required("login", |item| item.boolean())
    };
    let form_token = s.optional("form_token", defaults.form_token && login == Some(true), |item| {
        let token = item.boolean()?;
        if token && login == Some(false) {
            item.error_with_help("`form_token` has no meaning without a login".into(), "set `login = true`");
            return None;
        }
        Some(token)
    });
    let logins_again = s.optional("logins_again", defaults.logins_again, |item| {
        item.integer(0, u8::MAX.into()).map(|number| number as u8)
    });
    let leave_on_loss = s.optional("leave_on_loss", defaults.leave_on_loss, |item| {
        let probability = item.number()?;
        if !(0.0..=1.0).contains(&probability) {
            item.error(format!("`leave_on_loss` is a probability from 0 to 1, got {}", item.got()));
            return None;
        }
        Some(probability)
    });
    let session_idle_timeout =
        s.optional("session_idle_timeout", defaults.session_idle_timeout, |item| item.duration_above_zero());
    let on_unknown_id = on_unknown_id(s, defaults.on_unknown_id);
    section.finish();
    let preset = name?.and_then(|name| presets::preset(PresetKind::Visit, name));
    let plan = VisitPlan {
        clicks: clicks?,
        think: think?,
        away: away?,
        login: login?,
        form_token: form_token?,
        logins_again: logins_again?,
        leave_on_loss: leave_on_loss?,
        session_idle_timeout: session_idle_timeout?,
        on_unknown_id: on_unknown_id?,
    };
    Some((plan, preset))
}

fn on_unknown_id(section: &mut Section<'_>, default: OnUnknownId) -> Option<OnUnknownId> {
    section.optional("on_unknown_id", default, |item| {
        item.one_of(&[("new_id", OnUnknownId::NewId), ("adopt_id", OnUnknownId::AdoptId)])
    })
}

fn arrivals(item: &Item<'_>) -> Option<Traffic> {
    const RATE_MAX: f64 = 1e9;
    let law =
        item.section("a table such as { poisson = { rate = 70.0 } }")?.single("process", &["poisson"])?;
    let mut section = law.section("a table with `rate`")?;
    let rate = section.required("rate", |item| {
        let rate = item.number_above_zero()?;
        if rate > RATE_MAX {
            item.error(format!("`rate` must be at most {RATE_MAX} a second, got {}", item.got()));
            return None;
        }
        Some(rate)
    });
    section.finish();
    Some(Traffic::Poisson { rate: rate? })
}

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

/// One `[[scripted_client]]`.
pub(super) fn scripted_client(
    item: &Item<'_>,
    end: Option<SimDuration>,
    strategies: &Names,
) -> Option<ScriptedClient> {
    let mut section = item.section("a table")?;
    let s = &mut section;
    let name = s.required("name", |item| item.name().map(str::to_owned));
    let address = s.required("address", |item| item.address());
    let connections = s.required("connections", |item| {
        let items = item.elements("an array of { at = …, hold = … }")?;
        if items.is_empty() {
            item.error("`connections` must have at least one, got none".into());
            return None;
        }
        let mut previous = SimDuration::ZERO;
        let mut all = Some(Vec::new());
        for item in items {
            let connection = scripted_connection(&item, end, previous);
            previous = connection.map_or(previous, |connection| connection.at);
            match (connection, &mut all) {
                (Some(connection), Some(connections)) => connections.push(connection),
                _ => all = None,
            }
        }
        all
    });
    let strategies = s.optional("strategies", None, |item| {
        let items = item.elements("an array of names of strategies")?;
        if items.is_empty() {
            let help = "leave `strategies` out for a client that is there in all of them";
            item.error_with_help("`strategies` must name at least one, got none".into(), help);
            return None;
        }
        let found: Vec<_> = items.iter().map(|item| strategies.find(item)).collect();
        found.into_iter().collect::<Option<Vec<usize>>>().map(Some)
    });
    section.finish();
    Some(ScriptedClient {
        name: name?,
        address: address?,
        connections: connections?,
        strategies: strategies?,
    })
}

fn scripted_connection(
    item: &Item<'_>,
    end: Option<SimDuration>,
    previous: SimDuration,
) -> Option<ScriptedConnection> {
    let mut section = item.section("a table with `at` and `hold`")?;
    let at = section.required("at", |item| {
        let at = item.duration()?;
        if at < previous {
            let help = "connections are written in order of time";
            item.error_with_help(format!("{} comes after {previous}", item.got()), help);
            return None;
        }
        if let Some(end) = end
            && at >= end
        {
            let help = format!("`at` must be before the end at {end}");
            item.error_with_help(
                format!("the connection opens after the run has ended, got {}", item.got()),
                help,
            );
            return None;
        }
        Some(at)
    });
    let hold = section.required("hold", |item| item.duration());
    section.finish();
    Some(ScriptedConnection { at: at?, hold: hold? })
}
