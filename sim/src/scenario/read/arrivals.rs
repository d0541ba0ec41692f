//! Arrivals that wait for nobody, and the course of a day.

use super::address::mean_or_law;
use crate::engine::SimDuration;
use crate::population::arrivals::ArrivalPlan;
use crate::population::curve::{DayPlan, DayShape};
use crate::scenario::quantity::Quantity;
use crate::scenario::section::{Item, Section};

/// Arrivals a second, at most.
const RATE_MAX: f64 = 1e9;
/// Peak over trough of a day, at most.
const PEAK_TO_TROUGH_MAX: f64 = 1_000.0;

const PROCESSES: [&str; 6] = ["poisson", "bursts", "batches", "diurnal", "flash_crowd", "ramp"];
/// Arrivals of a batch at most, on average.
const BATCH_MEAN_MAX: f64 = 1e5;

/// A rate from `min` up.
fn rate(item: &Item<'_>, above_zero: bool) -> Option<f64> {
    let rate = if above_zero { item.number_above_zero()? } else { item.number_at_least(0.0)? };
    if rate > RATE_MAX {
        item.error(format!("`{}` must be at most {RATE_MAX} a second, got {}", item.key, item.got()));
        return None;
    }
    Some(rate)
}

/// The `arrivals` of a population.
pub(super) fn arrivals(item: &Item<'_>) -> Option<ArrivalPlan> {
    let law = item.section("a table such as { poisson = { rate = 70.0 } }")?.single("process", &PROCESSES)?;
    let mut section = law.section("a table of the process's parameters")?;
    let s = &mut section;
    let plan = match law.key {
        "poisson" => s.required("rate", |item| rate(&item, true)).map(|rate| ArrivalPlan::Poisson { rate }),
        "bursts" => bursts(s),
        "batches" => {
            let batches = s.required("rate", |item| rate(&item, true));
            let size = s.required("size", |item| mean_or_law(&item, BATCH_MEAN_MAX));
            batches.zip(size).map(|(rate, size)| ArrivalPlan::Batches { rate, size })
        }
        "diurnal" => {
            let mean = s.required("rate", |item| rate(&item, true));
            let day = day(s);
            mean.zip(day).map(|(rate, day)| ArrivalPlan::Diurnal { rate, day })
        }
        "flash_crowd" => flash_crowd(s),
        _ => ramp(s),
    };
    section.finish();
    plan
}

fn bursts(s: &mut Section<'_>) -> Option<ArrivalPlan> {
    let burst_rate = s.required("rate", |item| rate(&item, true));
    let rest_rate = s.optional("rest_rate", 0.0, |item| rate(&item, false));
    let [lasts, gap] = ["lasts", "gap"].map(|key| {
        s.required(key, |item| {
            let law = item.distribution(Quantity::Time)?;
            if law.mean() == 0.0 {
                item.error(format!("`{key}` must be above 0s, got {}", item.got()));
                return None;
            }
            Some(law)
        })
    });
    Some(ArrivalPlan::Bursts { rate: burst_rate?, rest_rate: rest_rate?, lasts: lasts?, gap: gap? })
}

fn flash_crowd(s: &mut Section<'_>) -> Option<ArrivalPlan> {
    let base = s.required("rate", |item| rate(&item, false));
    let peak = s.required("peak", |item| {
        let peak = rate(&item, true)?;
        if base.is_some_and(|base| peak < base) {
            item.error(format!("`peak` must be at least `rate`, got {}", item.got()));
            return None;
        }
        Some(peak)
    });
    let at = s.required("at", |item| item.duration());
    let rise = s.required("rise", |item| item.duration());
    let plateau = s.optional("plateau", SimDuration::ZERO, |item| item.duration());
    let decay = s.required("decay", |item| item.duration());
    Some(ArrivalPlan::FlashCrowd {
        rate: base?,
        peak: peak?,
        at: at?,
        rise: rise?,
        plateau: plateau?,
        decay: decay?,
    })
}

fn ramp(s: &mut Section<'_>) -> Option<ArrivalPlan> {
    let from = s.required("from", |item| rate(&item, false));
    let to = s.required("to", |item| {
        let to = rate(&item, false)?;
        if (from, to) == (Some(0.0), 0.0) {
            item.error("a ramp from 0 to 0 brings nobody".into());
            return None;
        }
        Some(to)
    });
    let at = s.optional("at", SimDuration::ZERO, |item| item.duration());
    let over = s.required("over", |item| item.duration());
    Some(ArrivalPlan::Ramp { from: from?, to: to?, at: at?, over: over? })
}

/// The course of a day in the keys of a table.
pub(super) fn day(s: &mut Section<'_>) -> Option<DayPlan> {
    let starts_at = s.optional("starts_at", SimDuration::ZERO, |item| time_of_day(&item));
    let shape = match s.take("hours") {
        Some(item) => {
            let why = |_: &str| "a day has `hours`, or `peak_to_trough` and `peak_at`, got both".into();
            s.refuse(&["peak_to_trough", "peak_at"], why, "leave one of them out");
            hours(&item).map(DayShape::Hours)
        }
        None => {
            let peak_to_trough = s.required("peak_to_trough", |item| {
                let ratio = item.number_at_least(1.0)?;
                if ratio > PEAK_TO_TROUGH_MAX {
                    let got = item.got();
                    item.error(format!("`peak_to_trough` must be at most {PEAK_TO_TROUGH_MAX}, got {got}"));
                    return None;
                }
                Some(ratio)
            });
            let peak_at = s.required("peak_at", |item| time_of_day(&item));
            peak_to_trough
                .zip(peak_at)
                .map(|(peak_to_trough, peak_at)| DayShape::Sine { peak_to_trough, peak_at })
        }
    };
    Some(DayPlan { starts_at: starts_at?, shape: shape? })
}

fn time_of_day(item: &Item<'_>) -> Option<SimDuration> {
    let at = item.duration()?;
    if at >= SimDuration::from_secs(86_400) {
        let help = "it counts from midnight, such as \"20h30min\"";
        item.error_with_help(format!("`{}` must be within a day, got {}", item.key, item.got()), help);
        return None;
    }
    Some(at)
}

fn hours(item: &Item<'_>) -> Option<Box<[f64; 24]>> {
    let elements = item.elements("24 numbers, one for each hour from midnight on")?;
    let values: Vec<f64> = elements.iter().map(|hour| hour.number_at_least(0.0)).collect::<Option<_>>()?;
    let Ok(hours) = <Box<[f64; 24]>>::try_from(values.into_boxed_slice()) else {
        item.error(format!("`hours` must be 24 numbers, got {}", elements.len()));
        return None;
    };
    if hours.iter().all(|hour| *hour == 0.0) {
        item.error("`hours` must not all be 0".into());
        return None;
    }
    Some(hours)
}
