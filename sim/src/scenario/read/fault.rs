//! What breaks, and what operators do.

use super::Names;
use super::cluster::WEIGHT_MAX;
use super::fault_part::{Parts, part};
use crate::engine::SimDuration;
use crate::scenario::quantity::Quantity;
use crate::scenario::section::{Item, Section};
use crate::scenario::{ErrorRule, Fault, FaultKind, Part, Process, Program, Recurs, Strategy, TierPlan};

/// How often a fault comes in a run at most, for each part: each time costs an event or two.
const TIMES_MAX: u64 = 100_000;
/// Largest factor of what is slow: far above it, nothing would ever be answered.
const FACTOR_MAX: f64 = 10_000.0;

/// What a fault may be.
const KINDS: [&str; 19] = [
    "crash",
    "kill",
    "restart",
    "hang",
    "partition",
    "delay",
    "slow",
    "errors",
    "loss",
    "brown_out",
    "flap",
    "drain",
    "down",
    "weight",
    "deploy",
    "scale_out",
    "scale_in",
    "reload",
    "store_crash",
];

/// One `[[fault]]`.
pub(super) fn fault(item: &Item<'_>, parts: &Parts<'_>) -> Option<Fault> {
    let mut section = item.section("a table")?;
    let s = &mut section;
    let at = s.required("at", |item| begins(&item, parts.end));
    let recurs = recurs(s, at, parts.end);
    let kinds: Vec<_> = KINDS.iter().filter_map(|kind| s.take(kind)).collect();
    let read = match kinds.as_slice() {
        [item] => kind(item, parts, recurs.as_ref()),
        [] => {
            let help =
                format!("add `crash = {{ server = …, lasts = … }}`, or another of {}", in_words(&KINDS));
            s.missing("crash", Some(&help));
            None
        }
        [first, second, ..] => {
            let message = format!("a fault is one of its kinds, got `{}` and `{}`", first.key, second.key);
            s.report().error_with_help(second.key_span, message, "write a `[[fault]]` for each");
            None
        }
    };
    section.finish();
    let (at, mut recurs, Read { part, kind, lasts, flaps }) = (at?, recurs?, read?);
    if let Some(flaps) = flaps {
        recurs = flaps;
    }
    let fault = Fault { at, recurs, lasts, part, kind };
    if let Recurs::Every { period, .. } = fault.recurs
        && period < fault.takes()
    {
        let help = "make `every` longer than one time lasts";
        let message = format!("the fault would come again after {period}, and lasts {}", fault.takes());
        item.error_with_help(message, help);
        return None;
    }
    Some(fault)
}

fn in_words(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn begins(item: &Item<'_>, end: Option<SimDuration>) -> Option<SimDuration> {
    let at = item.duration()?;
    if at.is_zero() {
        let help = "`at` counts from the end of the warm-up";
        item.error_with_help("the warm-up must end before the first fault, got \"0s\"".into(), help);
        return None;
    }
    if let Some(end) = end
        && at >= end
    {
        let help = format!("`at` must be before the end at {end}");
        item.error_with_help(format!("the fault comes after the run has ended, got {}", item.got()), help);
        return None;
    }
    Some(at)
}

/// `every` and `times`, or `mtbf` and `mttr`.
fn recurs(s: &mut Section<'_>, at: Option<SimDuration>, end: Option<SimDuration>) -> Option<Recurs> {
    let (every, mtbf) = (s.take("every"), s.take("mtbf"));
    if let (Some(_), Some(mtbf)) = (&every, &mtbf) {
        let help = "leave out one of the two";
        mtbf.error_with_help("a fault comes `every` so often or at random, got both".into(), help);
        return None;
    }
    if let Some(mtbf) = mtbf {
        let law = mtbf.distribution(Quantity::Time);
        let mttr = s.required("mttr", |item| item.distribution(Quantity::Time));
        let (law, mttr) = (law?, mttr?);
        let cycle = law.mean() + mttr.mean();
        let most = end.map_or(0.0, |end| end.as_secs_f64() / cycle);
        if cycle.is_nan() || cycle < 0.001 || most > TIMES_MAX as f64 {
            let help = format!("a part fails at most {TIMES_MAX} times in a run, and once in a millisecond");
            mtbf.error_with_help("`mtbf` and `mttr` are too short".into(), help);
            return None;
        }
        return Some(Recurs::Random { mtbf: law, mttr });
    }
    let Some(every) = every else {
        s.refuse(&["times"], |key| format!("`{key}` belongs to `every`"), "add `every = \"10min\"`");
        s.refuse(&["mttr"], |key| format!("`{key}` belongs to `mtbf`"), "add `mtbf = \"1h\"`");
        return Some(Recurs::Never);
    };
    let period = every.duration_above_zero();
    let times = s.optional("times", None, |item| item.integer(1, TIMES_MAX).map(|times| Some(times as u32)));
    let (period, times) = (period?, times?);
    let rest = end.unwrap_or_default().0.saturating_sub(at.unwrap_or_default().0);
    if times.is_none() && rest / period.0.max(1) > TIMES_MAX {
        every.error(format!("a fault comes at most {TIMES_MAX} times in a run, got {}", every.got()));
        return None;
    }
    Some(Recurs::Every { period, times })
}

/// A fault but for when it comes.
struct Read {
    part: Part,
    kind: FaultKind,
    lasts: SimDuration,
    /// When it comes again, if its kind says so.
    flaps: Option<Recurs>,
}

fn kind(item: &Item<'_>, parts: &Parts<'_>, recurs: Option<&Recurs>) -> Option<Read> {
    let mut section = item.section("a table with what it is about, and `lasts`")?;
    let s = &mut section;
    let part = part(item.key, s, parts);
    let mut flaps = None;
    let read = match item.key {
        "crash" => Some(FaultKind::Crash),
        "kill" => {
            let processes = [Process::Balancer, Process::Keepalived].map(|process| (process.name(), process));
            s.required("process", |item| item.one_of(&processes)).map(|process| FaultKind::Kill { process })
        }
        "restart" => Some(FaultKind::Restart),
        "hang" => Some(FaultKind::Hang),
        "partition" => Some(FaultKind::Partition),
        "delay" => s
            .required("each_way", |item| item.duration_above_zero())
            .map(|each_way| FaultKind::Delay { each_way }),
        "slow" => s.required("factor", |item| factor(&item)).map(|factor| FaultKind::Slow { factor }),
        "errors" => errors(s, matches!(part, Some(Part::StoreNode(_)))),
        "loss" => s.required("share", |item| lossy(&item)).map(|share| FaultKind::Loss { share }),
        "brown_out" => {
            let above = s.required("above", |item| item.probability());
            let factor = s.required("factor", |item| factor(&item));
            above.zip(factor).map(|(above, factor)| FaultKind::BrownOut { above, factor })
        }
        "flap" => flap(s, recurs, &mut flaps).map(|()| FaultKind::Partition),
        "drain" => s
            .optional("deadline", None, |item| item.duration_above_zero().map(Some))
            .map(|deadline| FaultKind::Drain { deadline }),
        "down" => Some(FaultKind::Down),
        "weight" => {
            s.required("to", |item| item.integer(0, WEIGHT_MAX)).map(|to| FaultKind::Weight { to: to as u32 })
        }
        "deploy" => {
            let batch = s.optional("batch", 1, |item| item.u32_at_least(1));
            let drain = s.optional("drain", SimDuration::ZERO, |item| item.duration());
            let pause = s.optional("pause", SimDuration::ZERO, |item| item.duration());
            (|| Some(FaultKind::Deploy { batch: batch?, drain: drain?, pause: pause? }))()
        }
        "scale_out" => Some(FaultKind::ScaleOut),
        "scale_in" => s
            .optional("drain", SimDuration::ZERO, |item| item.duration())
            .map(|drain| FaultKind::ScaleIn { drain }),
        "reload" => Some(FaultKind::Reload),
        _ => s
            .optional("power_loss", false, |item| item.boolean())
            .map(|power_loss| FaultKind::StoreCrash { power_loss }),
    };
    let for_good = matches!(item.key, "reload" | "scale_out" | "scale_in");
    let drawn = matches!(recurs, Some(Recurs::Random { .. }));
    let lasts = if flaps.is_some() {
        s.required("down", |item| item.duration_above_zero())
    } else if for_good {
        Some(SimDuration::ZERO)
    } else if drawn {
        s.refuse(&["lasts"], |_| "how long it lasts is drawn".into(), "leave it out, or `mtbf` and `mttr`");
        Some(SimDuration::ZERO)
    } else {
        s.required("lasts", |item| item.duration_above_zero())
    };
    if (drawn && (for_good || matches!(item.key, "deploy" | "flap")))
        || (matches!(item.key, "scale_out" | "scale_in") && !matches!(recurs, None | Some(Recurs::Never)))
    {
        let help = "write a `[[fault]]` with an `at` for each time";
        let message = format!("`{}` cannot come {}", item.key, if drawn { "at random" } else { "again" });
        s.report().error_with_help(item.key_span, message, help);
    }
    section.finish();
    Some(Read { part: part?, kind: read?, lasts: lasts?, flaps })
}

/// Connections to servers come and go: partitions of `down`, `up` apart, for as long as all of it `lasts`.
fn flap(s: &mut Section<'_>, recurs: Option<&Recurs>, flaps: &mut Option<Recurs>) -> Option<()> {
    let down = s.required("down", |item| item.duration_above_zero());
    let up = s.required("up", |item| item.duration_above_zero());
    let lasts = s.take("lasts");
    let whole = match &lasts {
        Some(item) => item.duration_above_zero(),
        None => {
            s.missing("lasts", Some("how long the link goes on to flap"));
            None
        }
    };
    let (period, whole) = (down? + up?, whole?);
    let times = whole.0.div_ceil(period.0);
    if times > TIMES_MAX {
        s.report().error(s.span(), format!("a link flaps at most {TIMES_MAX} times, got {times}"));
    }
    if let (Some(Recurs::Every { .. }), Some(item)) = (recurs, lasts) {
        let help = "leave out `every`";
        item.error_with_help("`flap` comes again by itself".into(), help);
    }
    *flaps = Some(Recurs::Every { period, times: Some(times.min(TIMES_MAX) as u32) });
    Some(())
}

fn factor(item: &Item<'_>) -> Option<f64> {
    let factor = item.number_above_zero()?;
    if factor > FACTOR_MAX {
        item.error(format!("`factor` must be at most {FACTOR_MAX}, got {}", item.got()));
        return None;
    }
    Some(factor)
}

fn lossy(item: &Item<'_>) -> Option<f64> {
    let share = item.probability()?;
    if share <= 0.0 || share >= 1.0 {
        let help = "where all packets are lost, write `partition`";
        item.error_with_help(format!("`share` must be above 0 and below 1, got {}", item.got()), help);
        return None;
    }
    Some(share)
}

/// What of an answer `is_of_node` is not said, since a store answers with an error of its own at once.
fn errors(s: &mut Section<'_>, is_of_node: bool) -> Option<FaultKind> {
    let share = s.optional("share", 1.0, |item| {
        let share = item.probability()?;
        if share <= 0.0 {
            item.error_with_help(
                format!("`share` must be above 0, got {}", item.got()),
                "leave out the fault",
            );
            return None;
        }
        Some(share)
    });
    if is_of_node {
        let why = |key: &str| format!("a node of the session store has no `{key}`");
        s.refuse(&["status", "latency"], why, "leave it out: the application answers with a 500");
    }
    let status = s.optional("status", 500, |item| item.integer(400, 599).map(|status| status as u16));
    let latency = s.optional("latency", SimDuration::from_millis(1), |item| item.duration());
    Some(FaultKind::Errors(ErrorRule { share: share?, status: status?, latency: latency? }))
}

/// The last node of the session store that a part has to do with.
fn node_of(part: &Part) -> Option<u32> {
    match part {
        Part::StoreNode(node) | Part::Replication(node) => Some(*node),
        Part::StoreLinks { node, .. } => Some(node.unwrap_or(0)),
        Part::Disk { nodes, .. } => nodes.last().copied(),
        Part::Site | Part::Servers { .. } | Part::Instance(_) | Part::Clients => None,
    }
}

/// Whether a strategy has an instance of this name in a tier as wanted.
fn has_instance(strategy: &Strategy, name: &str, wanted: impl Fn(&TierPlan) -> bool) -> bool {
    let mut tiers = strategy.programs().filter(|(_, plan)| wanted(plan));
    tiers.any(|(_, plan)| plan.instances.iter().any(|instance| instance.name == name))
}

/// Whether such a process is on the machines of a tier's instances.
fn has_process(plan: &TierPlan, process: Process) -> bool {
    let is_lvs = matches!(plan.program, Program::Lvs(_));
    match process {
        Process::Balancer => !is_lvs,
        Process::Keepalived => plan.director.is_some() || is_lvs && plan.tcp_check.is_some(),
    }
}

/// Reports faults of parts that no strategy has.
pub(super) fn check_faults(
    section: &mut Section<'_>,
    faults: Option<&[Fault]>,
    instances: &Names,
    strategies: Option<&[Strategy]>,
) {
    let (Some(faults), Some(item), Some(strategies)) = (faults, section.take("fault"), strategies) else {
        return;
    };
    let Some(elements) = item.elements("an array") else { return };
    let is_nginx = |strategy: &Strategy| matches!(strategy.tier.program, Program::Nginx(_));
    let nodes = strategies.iter().map(|strategy| strategy.session.store_nodes()).max().unwrap_or(0);
    for (fault, element) in faults.iter().zip(elements) {
        match (&fault.part, fault.kind) {
            (Part::Instance(instance), FaultKind::Partition) => {
                if let Some(name) = instances.names.get(usize::from(*instance))
                    && !strategies
                        .iter()
                        .any(|strategy| has_instance(strategy, name, |plan| plan.director.is_some()))
                {
                    let help = "add `director = { vrrp = {} }` to its tier";
                    element.error_with_help(format!("`{name}` is not of a pair that could part"), help);
                }
            }
            (Part::Instance(instance), FaultKind::Kill { process }) => {
                if let Some(name) = instances.names.get(usize::from(*instance))
                    && !strategies
                        .iter()
                        .any(|strategy| has_instance(strategy, name, |plan| has_process(plan, process)))
                {
                    let (message, help) = match process {
                        Process::Balancer => (
                            format!("`{name}` has no process to kill: LVS is part of the kernel"),
                            "write `crash` for its machine, or kill its `keepalived`",
                        ),
                        Process::Keepalived => (
                            format!("no keepalived runs on `{name}`"),
                            "add `director = { vrrp = {} }` to its tier, or `health` if it is an LVS",
                        ),
                    };
                    element.error_with_help(message, help);
                }
            }
            (_, FaultKind::Reload) if !strategies.iter().any(is_nginx) => {
                let help = "leave it out, or add a strategy whose `balancer` is an nginx";
                element.error_with_help("`reload` is of nginx, which no strategy has".into(), help);
            }
            (part, _) if node_of(part).is_some_and(|node| node as usize >= nodes) => {
                let node = node_of(part).unwrap_or(0);
                let (message, help) = match nodes {
                    0 => (
                        "no strategy has a session store with nodes".to_owned(),
                        "add a strategy such as `session = { redis = {} }`".to_owned(),
                    ),
                    _ => (
                        format!("no strategy's session store has a node {node}"),
                        format!("nodes count from 0, so the last one is {}", nodes - 1),
                    ),
                };
                element.error_with_help(message, help);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Overrides, parse};

    fn read(fault: &str) -> Result<super::Fault, String> {
        let text = format!(
            r#"title = "t"
duration = "1h"
warmup = "1min"
[[population]]
name = "p"
clients = 1
address = {{ preset = "direct" }}
visit = {{ preset = "login-site" }}
[cluster]
capacity = {{ workers = 1, service = "1ms" }}
servers = [
  {{ name = "a", address = "10.0.0.1:80", zone = "east" }},
  {{ name = "b", address = "10.0.0.2:80", zone = "east" }},
  {{ name = "c", address = "10.0.0.3:80" }},
]
[[strategy]]
name = "s"
balancer = {{ nginx.round_robin = {{}} }}
session = {{ local = {{}} }}
[[fault]]
at = "10min"
{fault}
"#
        );
        let loaded = parse("t.toml", &text, &Overrides::NONE).map_err(|mistakes| mistakes.to_string())?;
        let again = parse("t.toml", &loaded.resolved.to_string(), &Overrides::NONE);
        let again = again.unwrap_or_else(|mistakes| panic!("{mistakes}\n{}", loaded.resolved));
        assert_eq!(again.scenario.faults, loaded.scenario.faults, "what is explained means the same");
        Ok(loaded.scenario.faults[0].clone())
    }

    #[test]
    fn every_kind_is_read_and_explained() {
        for (fault, words) in [
            ("crash = { server = \"a\", lasts = \"1min\" }", "crash of a"),
            ("restart = { servers = [\"c\", \"a\"], lasts = \"1min\" }", "restart of a, c"),
            ("hang = { zone = \"east\", lasts = \"1min\" }", "hang of zone east"),
            ("partition = { servers = \"all\", lasts = \"1min\" }", "partition of all servers"),
            ("slow = { server = \"a\", factor = 2.5, lasts = \"1min\" }", "slow of a"),
            (
                "errors = { server = \"a\", share = 0.5, status = 503, latency = \"3ms\", lasts = \"1min\" }",
                "errors of a",
            ),
            ("loss = { server = \"a\", share = 0.02, lasts = \"1min\" }", "loss of a"),
            ("loss = { link = \"clients\", share = 0.02, lasts = \"1min\" }", "loss on the clients' link"),
            ("partition = { link = \"clients\", lasts = \"1min\" }", "partition on the clients' link"),
            ("delay = { server = \"a\", each_way = \"20ms\", lasts = \"1min\" }", "delay of a"),
            (
                "slow = { disk = { servers = \"all\" }, factor = 9, lasts = \"1min\" }",
                "slow of the disk of all servers",
            ),
            (
                "brown_out = { servers = \"all\", above = 0.8, factor = 3, lasts = \"1min\" }",
                "brown_out of all servers",
            ),
            (
                "flap = { server = \"a\", down = \"2s\", up = \"8s\", lasts = \"1min\" }",
                "partition of a, again and again",
            ),
            ("drain = { server = \"a\", deadline = \"30s\", lasts = \"1min\" }", "drain of a"),
            ("down = { server = \"a\", lasts = \"1min\" }", "down of a"),
            ("weight = { server = \"a\", to = 3, lasts = \"1min\" }", "weight of a"),
            (
                "deploy = { servers = \"all\", batch = 2, drain = \"30s\", pause = \"10s\", lasts = \"20s\" }",
                "deploy of all servers",
            ),
            ("scale_out = { servers = [\"c\"] }", "scale_out of c"),
            ("scale_in = { server = \"c\", drain = \"1min\" }", "scale_in of c"),
            ("reload = {}", "reload"),
            (
                "every = \"5min\"\ntimes = 3\ncrash = { server = \"a\", lasts = \"1min\" }",
                "crash of a, again and again",
            ),
            (
                "mtbf = { exponential = { mean = \"1h\" } }\nmttr = \"5min\"\ncrash = { zone = \"east\" }",
                "crash of zone east, at random",
            ),
        ] {
            let read = read(fault).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            let names = ["a", "b", "c"].map(|name| crate::scenario::Server {
                name: name.to_owned(),
                address: String::new(),
                weight: 1,
                zone: None,
                capacity: crate::backend::Capacity {
                    discipline: crate::backend::Discipline::Fcfs { workers: 1, queue_limit: None },
                    service: crate::engine::Distribution::Constant(1.0),
                },
            });
            assert_eq!(read.in_words(&names, &[]), words);
        }
    }

    #[test]
    fn mistakes_name_the_place_the_cause_and_the_remedy() {
        for (fault, message) in [
            ("crash = { zone = \"west\", lasts = \"1min\" }", "unknown zone `west`"),
            (
                "crash = { server = \"a\", zone = \"east\", lasts = \"1min\" }",
                "about one part, got `server` and `zone`",
            ),
            ("crash = { lasts = \"1min\" }", "missing key `server`"),
            ("loss = { server = \"a\", share = 1.0, lasts = \"1min\" }", "above 0 and below 1"),
            ("errors = { server = \"a\", status = 200, lasts = \"1min\" }", "`status`"),
            (
                "every = \"10s\"\ncrash = { server = \"a\", lasts = \"1min\" }",
                "come again after 10s, and lasts 1min",
            ),
            ("times = 2\ncrash = { server = \"a\", lasts = \"1min\" }", "`times` belongs to `every`"),
            ("mtbf = \"1h\"\nmttr = \"1min\"\ncrash = { server = \"a\", lasts = \"1min\" }", "is drawn"),
            ("mtbf = \"1h\"\nmttr = \"1min\"\nreload = {}", "`reload` cannot come at random"),
            ("every = \"1h\"\nscale_in = { server = \"a\" }", "`scale_in` cannot come again"),
            ("every = \"1us\"\nreload = {}", "at most 100000 times"),
            ("slow = { server = \"a\", factor = 0, lasts = \"1min\" }", "`factor`"),
            ("store_crash = { node = 0, lasts = \"1min\" }", "no strategy has a session store with nodes"),
            (
                "partition = { link = \"store\", lasts = \"1min\" }",
                "no strategy has a session store with nodes",
            ),
            ("hang = { node = 0, lasts = \"1min\" }", "no strategy has a session store with nodes"),
            ("partition = { link = \"moon\", lasts = \"1min\" }", "`link`"),
            ("delay = { link = \"replication\", each_way = \"1s\", lasts = \"1min\" }", "missing key `node`"),
            ("slow = { disk = {}, factor = 2, lasts = \"1min\" }", "nothing is on the `disk`"),
            ("errors = { node = 0, status = 503, lasts = \"1min\" }", "has no `status`"),
        ] {
            let mistakes = read(fault).expect_err(fault);
            assert!(mistakes.contains(message), "{fault}:\n{mistakes}");
            assert!(mistakes.contains("t.toml:2") || mistakes.contains("t.toml:1"), "{mistakes}");
        }
    }
}
