//! Visits, arrivals and audiences in scenario files.

use evenkeel_sim::engine::{Distribution, SimDuration};
use evenkeel_sim::population::CountLaw;
use evenkeel_sim::population::arrivals::ArrivalPlan;
use evenkeel_sim::population::curve::DayShape;
use evenkeel_sim::scenario::{Overrides, Population, PresetKind, Traffic, canonical, parse, presets};

use super::mistakes::check;

const REST: &str = r#"
[cluster]
servers = [{ name = "a", address = "10.0.0.1:80" }]
capacity = { workers = 1, service = "1s" }
[[strategy]]
name = "s"
session = { local = {} }
balancer = "nginx.ip_hash"
"#;

/// The populations of a scenario, which must come out of its explanation as they went in.
fn populations(text: &str) -> Vec<Population> {
    let text = format!("title = \"t\"\nduration = \"1min\"\n{text}{REST}");
    let read = |text: &str| {
        parse("x.toml", text, &Overrides::NONE).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
    };
    let first = read(&text);
    let second = read(&first.resolved.to_string());
    let shown = |populations: &[Population]| format!("{populations:#?}");
    assert_eq!(shown(&second.scenario.populations), shown(&first.scenario.populations), "{}", first.resolved);
    assert_eq!(canonical(&second.resolved), canonical(&first.resolved));
    first.scenario.populations
}

fn population(rest: &str) -> Population {
    let text =
        format!("[[population]]\nname = \"p\"\nclients = 100\naddress = {{ preset = \"direct\" }}\n{rest}\n");
    populations(&text).remove(0)
}

#[test]
fn every_visit_of_a_preset_is_explained_in_full() {
    for preset in presets().filter(|preset| preset.kind == PresetKind::Visit) {
        population(&format!("visit = {{ preset = \"{}\" }}", preset.name));
    }
}

#[test]
fn every_process_of_arrivals_is_read_and_explained() {
    let plan = |arrivals: &str| {
        let population = population(&format!("arrivals = {{ {arrivals} }}"));
        population.traffic.arrivals().expect("arrivals").clone()
    };
    let minutes = |n: u64| SimDuration::from_secs(60 * n);
    assert_eq!(plan("poisson = { rate = 2.5 }"), ArrivalPlan::Poisson { rate: 2.5 });
    assert_eq!(
        plan("batches = { rate = 0.2, size = { constant = 30 } }"),
        ArrivalPlan::Batches { rate: 0.2, size: CountLaw::Constant(30) }
    );
    assert_eq!(
        plan("ramp = { from = 1, to = 9, over = \"5min\" }"),
        ArrivalPlan::Ramp { from: 1.0, to: 9.0, at: SimDuration::ZERO, over: minutes(5) }
    );
    assert_eq!(
        plan("bursts = { rate = 9, lasts = \"1min\", gap = { exponential = { mean = \"5min\" } } }"),
        ArrivalPlan::Bursts {
            rate: 9.0,
            rest_rate: 0.0,
            lasts: Distribution::Constant(60.0),
            gap: Distribution::Exponential { mean: 300.0 },
        }
    );
    let crowd =
        plan("flash_crowd = { rate = 1, peak = 9, at = \"1min\", rise = \"2min\", decay = \"3min\" }");
    assert!(
        matches!(crowd, ArrivalPlan::FlashCrowd { plateau: SimDuration::ZERO, peak: 9.0, .. }),
        "{crowd:?}"
    );
    let ArrivalPlan::Diurnal { day, .. } =
        plan("diurnal = { rate = 3, starts_at = \"8h\", peak_to_trough = 3, peak_at = \"20h\" }")
    else {
        panic!("a day")
    };
    assert_eq!(day.starts_at, minutes(8 * 60));
    let hours: Vec<String> = (0..24).map(|hour| format!("{hour}")).collect();
    let ArrivalPlan::Diurnal { day, .. } =
        plan(&format!("diurnal = {{ rate = 3, hours = [{}] }}", hours.join(", ")))
    else {
        panic!("a day")
    };
    assert!(matches!(day.shape, DayShape::Hours(hours) if hours[23] == 23.0));
}

#[test]
fn users_who_arrive_for_a_visit_have_both() {
    let population = population(
        "visit = { preset = \"shop\", patience = \"none\" }\narrivals = { poisson = { rate = 2 } }",
    );
    let Traffic::Visits { plan, .. } = &population.traffic else { panic!("{:?}", population.traffic) };
    let browser = plan.browser.as_ref().expect("a shop's pages have objects");
    assert!(browser.page.is_some() && browser.patience.is_none());
}

#[test]
fn an_audience_becomes_populations_with_its_shares() {
    let text = "[[population]]\nname = \"site\"\nclients = 10_000\npreset = \"mix-2026\"\nvisit = { preset = \"shop\" }\n\
                arrivals = { poisson = { rate = 200 } }\n";
    let parts = populations(text);
    let clients: Vec<(&str, u32)> = parts.iter().map(|part| (part.name.as_str(), part.clients)).collect();
    assert_eq!(clients[0], ("site home-nat", 2_600));
    assert_eq!(clients.iter().map(|(_, clients)| clients).sum::<u32>(), 10_000);
    let rate = |part: &Population| match part.traffic.arrivals() {
        Some(ArrivalPlan::Poisson { rate }) => *rate,
        _ => 0.0,
    };
    assert_eq!(rate(&parts[0]), 52.0);
    let bots = parts.last().expect("crawlers");
    assert!(bots.traffic.visit().is_some_and(|visit| !visit.cookies) && rate(bots) == 0.0, "{bots:?}");
    assert_eq!(populations("[[population]]\nname = \"s\"\nclients = 3\npreset = \"mix-2026\"\n").len(), 1);
}

#[test]
fn mistakes_of_visits_and_arrivals_are_named() {
    let arrivals = |to: &str, marked: &str, message: &str, help: &str| {
        check(
            "arrivals = { poisson = { rate = 2 } }",
            &format!("arrivals = {{ {to} }}"),
            marked,
            message,
            help,
        );
    };
    arrivals("poison = { rate = 2 }", "poison", "unknown process `poison`", "`poisson`");
    arrivals(
        "bursts = { rate = 2, lasts = \"0s\", gap = \"1s\" }",
        "\"0s\"",
        "`lasts` must be above 0s, got \"0s\"",
        "",
    );
    arrivals(
        "flash_crowd = { rate = 5, peak = 2, at = \"1s\", rise = \"1s\", decay = \"1s\" }",
        "2, at",
        "`peak` must be at least `rate`, got 2",
        "",
    );
    arrivals("ramp = { from = 0, to = 0, over = \"1s\" }", "0, over", "a ramp from 0 to 0 brings nobody", "");
    arrivals(
        "diurnal = { rate = 1, peak_to_trough = 2, peak_at = \"25h\" }",
        "\"25h\"",
        "`peak_at` must be within a day, got \"25h\"",
        "from midnight",
    );
    arrivals("diurnal = { rate = 1, hours = [1, 2] }", "[1", "`hours` must be 24 numbers, got 2", "");
    let visit = |to: &str, marked: &str, message: &str, help: &str| {
        check(
            "visit = { preset = \"login-site\", ",
            &format!("visit = {{ {to}, preset = \"login-site\", "),
            marked,
            message,
            help,
        );
    };
    visit(
        "page = { objects = 3 }, hold = { time = \"1s\" }",
        "{ page",
        "a visit has `page` or `hold`, got both",
        "another",
    );
    visit("page = { connections = 9 }", "9", "`connections` must be at most 8, got 9", "");
    visit(
        "patience = { timeout = \"0s\" }",
        "\"0s\"",
        "`timeout` must be above 0s; to wait for good, write \"none\"",
        "",
    );
    visit("patience = { backoff = { factor = 0.5 } }", "0.5", "`factor` must be at least 1, got 0.5", "");
    visit("returns = 1.5", "1.5", "`returns` is a probability from 0 to 1, got 1.5", "");
    visit("login = false, logout = 0.5", "0.5", "`logout` has no meaning without a login", "`login = true`");
}
