//! Visits and arrivals, as a scenario file says them.

use super::{Document, duration, list, on_unknown_id, or_none};
use crate::population::arrivals::ArrivalPlan;
use crate::population::curve::{DayPlan, DayShape};
use crate::scenario::address_lines::count_law;
use crate::scenario::quantity::{Quantity, show_distribution};
use crate::scenario::{Backoff, ClientBudget, HoldPlan, PagePlan, Patience, VisitPlan};

/// The value of `arrivals`.
pub(super) fn arrivals(plan: &ArrivalPlan) -> String {
    let parameters = match plan {
        ArrivalPlan::Poisson { rate } => format!("poisson = {{ rate = {rate:?} }}"),
        ArrivalPlan::Bursts { rate, rest_rate, lasts, gap } => format!(
            "bursts = {{ rate = {rate:?}, rest_rate = {rest_rate:?}, lasts = {}, gap = {} }}",
            show_distribution(lasts, Quantity::Time),
            show_distribution(gap, Quantity::Time)
        ),
        ArrivalPlan::Batches { rate, size } => {
            format!("batches = {{ rate = {rate:?}, size = {} }}", count_law(size))
        }
        ArrivalPlan::Diurnal { rate, day: plan } => {
            format!("diurnal = {{ rate = {rate:?}, {} }}", day(plan))
        }
        ArrivalPlan::FlashCrowd { rate, peak, at, rise, plateau, decay } => format!(
            "flash_crowd = {{ rate = {rate:?}, peak = {peak:?}, at = {}, rise = {}, plateau = {}, decay = {} }}",
            duration(*at),
            duration(*rise),
            duration(*plateau),
            duration(*decay)
        ),
        ArrivalPlan::Ramp { from, to, at, over } => format!(
            "ramp = {{ from = {from:?}, to = {to:?}, at = {}, over = {} }}",
            duration(*at),
            duration(*over)
        ),
    };
    format!("{{ {parameters} }}")
}

fn day(plan: &DayPlan) -> String {
    let shape = match &plan.shape {
        DayShape::Sine { peak_to_trough, peak_at } => {
            format!("peak_to_trough = {peak_to_trough:?}, peak_at = {}", duration(*peak_at))
        }
        DayShape::Hours(hours) => {
            format!("hours = {}", list(hours.iter().map(|hour| format!("{hour:?}"))))
        }
    };
    format!("starts_at = {}, {shape}", duration(plan.starts_at))
}

/// The keys of `visit`; `by_law` says that clicks and absences are drawn from its laws.
pub(super) fn show_visit(d: &mut Document, visit: &VisitPlan, by_law: bool) {
    if by_law {
        d.line("clicks", show_distribution(&visit.clicks, Quantity::Count));
    }
    d.line("think", show_distribution(&visit.think, Quantity::Time));
    if by_law {
        d.line("away", show_distribution(&visit.away, Quantity::Time));
    }
    d.line("diurnal", or_none(visit.diurnal.as_ref(), |plan| format!("{{ {} }}", day(plan))));
    d.line("login", visit.login);
    d.line("form_token", visit.form_token);
    d.line("logins_again", visit.logins_again);
    d.line("leave_on_loss", format!("{:?}", visit.leave_on_loss));
    d.line("retry_on_loss", format!("{:?}", visit.retry_on_loss));
    d.line("logout", format!("{:?}", visit.logout));
    d.line("returns", format!("{:?}", visit.returns));
    d.line("cookies", visit.cookies);
    d.line("session_idle_timeout", duration(visit.session_idle_timeout));
    d.line("on_unknown_id", on_unknown_id(visit.on_unknown_id));
    let browser = visit.browser.as_ref();
    d.line("page", or_none(browser.and_then(|browser| browser.page.as_ref()), page));
    d.line("patience", or_none(browser.and_then(|browser| browser.patience.as_ref()), patience));
    d.line("hold", or_none(browser.and_then(|browser| browser.hold.as_ref()), hold));
}

fn page(plan: &PagePlan) -> String {
    format!(
        "{{ objects = {}, static_share = {:?}, cost = {:?}, connections = {}, streams = {} }}",
        show_distribution(&plan.objects, Quantity::Count),
        plan.static_share,
        plan.cost,
        plan.connections,
        plan.streams
    )
}

fn patience(plan: &Patience) -> String {
    format!(
        "{{ timeout = {}, reloads = {}, backoff = {}, on_error = {}, budget = {}, leaves = {} }}",
        or_none(plan.timeout.as_ref(), |law| show_distribution(law, Quantity::Time)),
        plan.reloads,
        backoff(&plan.backoff),
        plan.on_error,
        or_none(plan.budget, client_budget),
        plan.leaves
    )
}

fn client_budget(budget: ClientBudget) -> String {
    match budget {
        ClientBudget::Tokens { max_tokens, token_ratio } => format!(
            "{{ retry_throttling = {{ max_tokens = {max_tokens:?}, token_ratio = {token_ratio:?} }} }}"
        ),
        ClientBudget::Share(share) => format!("{{ share = {share:?} }}"),
    }
}

fn hold(plan: &HoldPlan) -> String {
    format!(
        "{{ time = {}, messages = {}, message_cost = {:?}, reconnect = {} }}",
        show_distribution(&plan.time, Quantity::Time),
        or_none(plan.messages.as_ref(), |law| show_distribution(law, Quantity::Time)),
        plan.message_cost,
        backoff(&plan.reconnect)
    )
}

fn backoff(plan: &Backoff) -> String {
    format!(
        "{{ first = {}, factor = {:?}, max = {} }}",
        show_distribution(&plan.first, Quantity::Time),
        plan.factor,
        duration(plan.max)
    )
}
