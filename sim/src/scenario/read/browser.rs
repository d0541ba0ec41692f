//! What a browser does beyond one request at a time: the objects of pages, patience, held connections.

use super::population::optional_table;
use crate::scenario::presets;
use crate::scenario::quantity::Quantity;
use crate::scenario::section::{Item, Section};
use crate::scenario::{Backoff, Browser, CONNECTIONS_MAX, ClientBudget, HoldPlan, PagePlan, Patience};

/// Largest multiple of a service demand.
const COST_MAX: f64 = 1_000.0;
/// Largest factor between pauses.
const FACTOR_MAX: f64 = 100.0;

/// `page`, `patience` and `hold` of a visit, over those of its preset.
pub(super) fn browser(s: &mut Section<'_>, default: Option<Browser>) -> Option<Option<Browser>> {
    let default = default.unwrap_or_default();
    let page = optional_table(s, "page", default.page, page);
    let patience = optional_table(s, "patience", default.patience, patience);
    let hold = optional_table(s, "hold", default.hold, hold);
    let browser = Browser { page: page?, patience: patience?, hold: hold? };
    if browser.page.is_some() && browser.hold.is_some() {
        let help = "let one population load pages and another hold connections";
        s.report().error_with_help(s.span(), "a visit has `page` or `hold`, got both".into(), help);
        return None;
    }
    Some((browser != Browser::default()).then_some(browser))
}

fn page(item: &Item<'_>, default: Option<PagePlan>) -> Option<PagePlan> {
    let default = default.unwrap_or(presets::PAGE);
    let mut section = item.section("a table such as { objects = 20, connections = 6 }, or \"none\"")?;
    let s = &mut section;
    let objects = s.optional("objects", default.objects, |item| item.distribution(Quantity::Count));
    let static_share = s.optional("static_share", default.static_share, |item| item.probability());
    let cost = s.optional("cost", default.cost, |item| cost(&item));
    let connections = s.optional("connections", default.connections, |item| {
        item.integer(1, CONNECTIONS_MAX.into()).map(|number| number as u8)
    });
    let streams =
        s.optional("streams", default.streams, |item| item.integer(1, 1_000).map(|number| number as u16));
    section.finish();
    Some(PagePlan {
        objects: objects?,
        static_share: static_share?,
        cost: cost?,
        connections: connections?,
        streams: streams?,
    })
}

fn cost(item: &Item<'_>) -> Option<f64> {
    let cost = item.number_at_least(0.0)?;
    if cost > COST_MAX {
        item.error(format!("`{}` must be at most {COST_MAX}, got {}", item.key, item.got()));
        return None;
    }
    Some(cost)
}

fn patience(item: &Item<'_>, default: Option<Patience>) -> Option<Patience> {
    let default = default.unwrap_or(presets::PATIENCE);
    let mut section = item.section("a table such as { timeout = \"30s\", reloads = 2 }, or \"none\"")?;
    let s = &mut section;
    let timeout = s.optional("timeout", default.timeout, |item| {
        item.or_none(|item| {
            let law = item.distribution(Quantity::Time)?;
            if law.mean() == 0.0 {
                item.error("`timeout` must be above 0s; to wait for good, write \"none\"".into());
                return None;
            }
            Some(law)
        })
    });
    let reloads = s.optional("reloads", default.reloads, |item| {
        item.integer(0, u8::MAX.into()).map(|number| number as u8)
    });
    let backoff = s.optional("backoff", default.backoff.clone(), |item| backoff(&item, default.backoff));
    let on_error = s.optional("on_error", default.on_error, |item| item.boolean());
    let budget = s.optional("budget", default.budget, |item| item.or_none(client_budget));
    let leaves = s.optional("leaves", default.leaves, |item| item.boolean());
    section.finish();
    Some(Patience {
        timeout: timeout?,
        reloads: reloads?,
        backoff: backoff?,
        on_error: on_error?,
        budget: budget?,
        leaves: leaves?,
    })
}

/// `{ retry_throttling = { max_tokens = 10, token_ratio = 0.1 } }` or `{ share = 0.1 }`.
fn client_budget(item: &Item<'_>) -> Option<ClientBudget> {
    let kind = item
        .section("a table such as { share = 0.1 }, or \"none\"")?
        .single("budget", &["retry_throttling", "share"])?;
    if kind.key == "share" {
        return kind.probability().map(ClientBudget::Share);
    }
    let mut section = kind.section("a table such as { max_tokens = 10, token_ratio = 0.1 }")?;
    // What gRPC takes: `maxTokens` up to 1000, three digits of `tokenRatio`.
    let tokens = |item: Item<'_>| {
        let number = item.number_at_least(0.001)?;
        if number > 1_000.0 {
            item.error(format!("`{}` must be at most 1000, got {}", item.key, item.got()));
            return None;
        }
        Some(number)
    };
    let max_tokens = section.required("max_tokens", tokens);
    let token_ratio = section.required("token_ratio", tokens);
    section.finish();
    Some(ClientBudget::Tokens { max_tokens: max_tokens?, token_ratio: token_ratio? })
}

fn hold(item: &Item<'_>, default: Option<HoldPlan>) -> Option<HoldPlan> {
    let mut section = item.section("a table such as { time = \"30s\" }, or \"none\"")?;
    let s = &mut section;
    let time = match &default {
        Some(default) => s.optional("time", default.time.clone(), |item| item.distribution(Quantity::Time)),
        None => s.required("time", |item| item.distribution(Quantity::Time)),
    };
    let default = default.unwrap_or(presets::HOLD);
    let messages = s.optional("messages", default.messages, |item| {
        item.or_none(|item| {
            let law = item.distribution(Quantity::Time)?;
            if law.mean() == 0.0 {
                item.error(
                    "`messages` is the time between two, above 0s; without any, write \"none\"".into(),
                );
                return None;
            }
            Some(law)
        })
    });
    let message_cost = s.optional("message_cost", default.message_cost, |item| cost(&item));
    let reconnect =
        s.optional("reconnect", default.reconnect.clone(), |item| backoff(&item, default.reconnect));
    section.finish();
    Some(HoldPlan { time: time?, messages: messages?, message_cost: message_cost?, reconnect: reconnect? })
}

fn backoff(item: &Item<'_>, default: Backoff) -> Option<Backoff> {
    let mut section = item.section("a table such as { first = \"1s\", factor = 2.0, max = \"1min\" }")?;
    let s = &mut section;
    let first = s.optional("first", default.first, |item| item.distribution(Quantity::Time));
    let factor = s.optional("factor", default.factor, |item| {
        let factor = item.number_at_least(1.0)?;
        if factor > FACTOR_MAX {
            item.error(format!("`factor` must be at most {FACTOR_MAX}, got {}", item.got()));
            return None;
        }
        Some(factor)
    });
    let max = s.optional("max", default.max, |item| item.duration());
    section.finish();
    Some(Backoff { first: first?, factor: factor?, max: max? })
}
