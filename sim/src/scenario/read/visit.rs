//! What a population's clients do on a visit.

use super::arrivals::day;
use super::browser::browser;
use super::population::{optional_table, preset_name};
use crate::engine::Distribution;
use crate::population::UserTable;
use crate::scenario::VisitPlan;
use crate::scenario::presets::{self, PresetEntry, PresetKind};
use crate::scenario::quantity::Quantity;
use crate::scenario::section::{Item, Section};
use crate::session::OnUnknownId;

/// The `visit` of a population, and the preset it started from. Clicks and absences of `users` are their own.
pub(super) fn visit(
    item: &Item<'_>,
    users: Option<&UserTable>,
) -> Option<(VisitPlan, Option<&'static PresetEntry>)> {
    let mut section = item.section("a table such as { preset = \"login-site\" }")?;
    let s = &mut section;
    let name = preset_name(s, PresetKind::Visit);
    let base = name.flatten().map(presets::visit);
    // With a preset each key is optional; without one the shape of a visit must be said. A preset whose name is
    // wrong is taken for one, so that the mistake is not followed by others.
    let has_preset = name != Some(None);
    let mut defaults = base.unwrap_or_else(|| presets::visit("login-site"));
    if let Some(users) = users {
        let why = |key: &str| format!("`{key}` has no effect beside `users`");
        s.refuse(&["clicks", "away"], why, "the users' visits and absences are those of the file");
        defaults.clicks = Distribution::Constant(1.0);
        defaults.away = Distribution::Constant(1.0);
        defaults.diurnal = None;
        defaults.think = match users.think_mean() {
            0.0 => Distribution::Constant(0.0),
            mean => Distribution::Exponential { mean },
        };
    }
    let [clicks, think, away] = [
        ("clicks", &defaults.clicks, Quantity::Count),
        ("think", &defaults.think, Quantity::Time),
        ("away", &defaults.away, Quantity::Time),
    ]
    .map(|(key, default, quantity)| {
        if has_preset || users.is_some() {
            s.optional(key, default.clone(), |item| item.distribution(quantity))
        } else {
            s.required(key, |item| item.distribution(quantity))
        }
    });
    if let (Some(item), Some(law)) = (s.take("away"), &away)
        && law.mean() == 0.0
    {
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
    let leave_on_loss = s.optional("leave_on_loss", defaults.leave_on_loss, |item| item.probability());
    let retry_on_loss = s.optional("retry_on_loss", defaults.retry_on_loss, |item| {
        let retry = item.probability()?;
        let leave = leave_on_loss.unwrap_or(0.0);
        if retry + leave > 1.0 {
            item.error_with_help(
                format!("`retry_on_loss` and `leave_on_loss` are more than 1 together: {retry} and {leave}"),
                "the rest of the users log in again at once",
            );
            return None;
        }
        Some(retry)
    });
    let of_sessions = |key: &str, probability: f64, item: &Item<'_>| {
        if probability > 0.0 && login == Some(false) {
            let message = format!("`{key}` has no meaning without a login");
            item.error_with_help(message, "set `login = true`");
            return None;
        }
        Some(probability)
    };
    let [logout, returns] =
        [("logout", defaults.logout), ("returns", defaults.returns)].map(|(key, default)| {
            let default = if login == Some(true) { default } else { 0.0 };
            s.optional(key, default, |item| of_sessions(key, item.probability()?, &item))
        });
    let cookies = s.optional("cookies", defaults.cookies, |item| item.boolean());
    let diurnal = optional_table(s, "diurnal", defaults.diurnal, |item, _| {
        let mut section =
            item.section("a table such as { peak_to_trough = 3.0, peak_at = \"20h\" }, or \"none\"")?;
        let day = day(&mut section);
        section.finish();
        day
    });
    let browser = browser(s, if has_preset { defaults.browser } else { None });
    let session_idle_timeout =
        s.optional("session_idle_timeout", defaults.session_idle_timeout, |item| item.duration_above_zero());
    let on_unknown_id = on_unknown_id(s, defaults.on_unknown_id);
    section.finish();
    let preset = name?.and_then(|name| presets::preset(PresetKind::Visit, name));
    let plan = VisitPlan {
        clicks: clicks?,
        think: think?,
        away: away?,
        diurnal: diurnal?,
        login: login?,
        form_token: form_token?,
        logins_again: logins_again?,
        leave_on_loss: leave_on_loss?,
        retry_on_loss: retry_on_loss?,
        logout: logout?,
        returns: returns?,
        cookies: cookies?,
        session_idle_timeout: session_idle_timeout?,
        on_unknown_id: on_unknown_id?,
        browser: browser?,
    };
    Some((plan, preset))
}

/// What the application does with an id that it does not know.
pub(super) fn on_unknown_id(section: &mut Section<'_>, default: OnUnknownId) -> Option<OnUnknownId> {
    section.optional("on_unknown_id", default, |item| {
        item.one_of(&[("new_id", OnUnknownId::NewId), ("adopt_id", OnUnknownId::AdoptId)])
    })
}
