//! Every balancer of the catalogue: ns a pick beside a bare loop, and what of that an algorithm's rule makes necessary.
//!
//! A pick is all that a request costs the algorithm and its table: the hash of address or key, the choice, counting the request
//! in, and counting another one out. As many requests are open all the time as there are servers. The bare loop
//! does the same with a hash, an array of servers and an array of counts.
//!
//! With `--templates N` an LVS director holds N persistence templates: ns to make one, and ns to open a connection that
//! finds one, beside a bare load of a 32-byte row at random.

use std::net::{IpAddr, Ipv4Addr};

use evenkeel_benches::{Candidate, Options, Round, compare, timed};
use evenkeel_sim::balancer::lvs::{LvsScheduler, SchedulerFlags};
use evenkeel_sim::balancer::modern::hash::mix;
use evenkeel_sim::balancer::properties::Cost;
use evenkeel_sim::balancer::trial::{Caller, TrialServer, trial};
use evenkeel_sim::balancer::{CatalogueEntry, entries};
use evenkeel_sim::engine::{SimDuration, SimTime};
use evenkeel_sim::tier::lvs::{
    Forwarding, KernelClock, LvsConfig, LvsServer, LvsService, LvsSysctl, LvsTimeouts, TemplateScope,
};
use evenkeel_sim::tier::{Lvs, Method, Open, Segment, Ties};

/// Callers in turn: few enough that they themselves stay in the cache.
const CALLERS: u64 = 1 << 12;

fn main() -> Result<(), String> {
    let options = Options::from_args()?;
    if let Some(templates) = options.templates {
        hold_templates(templates, &options);
        return Ok(());
    }
    let sizes = if options.sizes.is_empty() { vec![16, 1_000] } else { options.sizes.clone() };
    for size in sizes {
        for (what, weights) in [("equal weights", 1), ("weights 1 to 4", 4)] {
            balancers(&format!("{size} servers, {what}"), size, weights, &options);
        }
    }
    Ok(())
}

/// All balancers among so many servers.
fn balancers(title: &str, servers: usize, weights: u32, options: &Options) {
    let callers: Vec<_> = (0..CALLERS).map(Caller::new).collect();
    let lines: Vec<_> =
        (0..servers).map(|name| TrialServer::new(name as u16, 1 + name as u32 % weights)).collect();
    let picks = |cost: Cost| match cost {
        Cost::Scan(_) => (4e7 * options.scale / (20 + servers) as f64) as u64,
        _ => (1e6 * options.scale) as u64,
    };
    let mut candidates: Vec<Candidate<'_>> =
        vec![("bare", Box::new(|| bare(&callers, servers, picks(Cost::Table))))];
    for entry in entries() {
        let mut trial = trial(entry, &lines);
        let (callers, picks) = (&callers, picks(entry.properties.cost));
        let run = move || timed(picks, || trial.turn_over(callers, picks, servers));
        candidates.push((entry.scenario_name, Box::new(run)));
    }
    let medians = compare(title, options, &mut candidates);
    let ran = |name: &str| entries().find(|entry| entry.scenario_name == name);
    let of_catalogue: Vec<(&CatalogueEntry, f64)> =
        medians.into_iter().filter_map(|(name, median)| Some((ran(name)?, median))).collect();
    for (entry, median) in &of_catalogue {
        if let Some(budget) = entry.properties.budget_ns(servers).filter(|budget| median > budget) {
            println!("over {budget} ns: {}, {median:.1}", entry.scenario_name);
        }
    }
    for (entry, _) in &of_catalogue {
        if let Cost::Scan(why) = entry.properties.cost {
            println!("a scan: {}: {why}", entry.scenario_name);
        }
    }
}

/// What the loop costs without an algorithm: a hash, the array of servers, two counts.
fn bare(callers: &[Caller], servers: usize, picks: u64) -> Round {
    let table: Vec<u16> = (0..1 << 12).map(|slot| (mix(slot) % servers as u64) as u16).collect();
    let mut counts = vec![0_u32; servers];
    let mut open = vec![0_u16; servers];
    let mut slot = 0;
    timed(picks, || {
        let mut sum = 0_u64;
        for number in 0..picks {
            let caller = &callers[number as usize % callers.len()];
            let server = table[mix(caller.address.to_bits().into()) as usize % table.len()];
            counts[usize::from(server)] += 1;
            sum = sum.wrapping_mul(31).wrapping_add(server.into());
            let ended = std::mem::replace(&mut open[slot], server);
            counts[usize::from(ended)] = counts[usize::from(ended)].wrapping_sub(1);
            slot = if slot + 1 == servers { 0 } else { slot + 1 };
        }
        sum.wrapping_add(counts.iter().map(|&count| u64::from(count)).sum())
    })
}

/// A director with 16 servers, and clients that come again before their template runs out.
fn director() -> Lvs {
    let server = |index: u8| LvsServer {
        address: ([192, 0, 2, index + 1], 80).into(),
        weight: 1,
        upper_threshold: 0,
        lower_threshold: 0,
    };
    Lvs::new(LvsConfig {
        services: vec![LvsService {
            scheduler: LvsScheduler::by_name("wlc").expect("in the catalogue"),
            scheduler_flags: SchedulerFlags::default(),
            persistence_timeout: Some(SimDuration::from_secs(86_400)),
            persistence_prefix_v4: 32,
            persistence_prefix_v6: 128,
            template_scope: TemplateScope::Port,
            servers: (0..16).map(server).collect(),
        }],
        forwarding: Forwarding::Dr,
        timeouts: LvsTimeouts::default(),
        sysctl: LvsSysctl::default(),
        clock: KernelClock { hz: 250, jiffies_at_zero: 0, tick_phase: SimDuration::ZERO },
    })
}

/// A connection opens, is established and reset, so that its entry goes after the ten seconds of CLOSE; the server.
fn connect(director: &mut Lvs, now: SimTime, client: u32, port: u16) -> u64 {
    let address = IpAddr::V4(Ipv4Addr::from_bits(client));
    let (key, method, ties) = (&[][..], Method::Get, Ties::NONE);
    let opened = director.open(now, &Open { address, port, key, method, worker: 0, service: 0, ties });
    director.segment(now, opened.flow, Segment::Established);
    director.segment(now, opened.flow, Segment::ClientReset);
    opened.decision.server.map_or(0, |server| server.0.into())
}

/// Fills a director with templates and lets their clients come again; a connection comes every 100 µs of its time.
fn hold_templates(templates: usize, options: &Options) {
    const GAP: SimDuration = SimDuration(100_000);
    // An odd factor makes each number another address.
    let client = |number: u64| (number as u32).wrapping_mul(0x9E37_79B1);
    let connections = (2e6 * options.scale) as u64;
    let mut director = director();
    let mut now = SimTime::ZERO;
    let filled = timed(templates as u64, || {
        (0..templates as u64).fold(0, |sum: u64, number| {
            now = now + GAP;
            sum.wrapping_add(connect(&mut director, now, client(number), 1_024))
        })
    });
    let sizes = director.table_sizes();
    println!(
        "{} templates, made in {:.0} ns each; {} connections beside them; {:.0} MB, {:.1} bytes a template",
        sizes.affinity_entries,
        filled.seconds / templates as f64 * 1e9,
        sizes.flows,
        sizes.bytes as f64 / 1e6,
        sizes.bytes as f64 / sizes.affinity_entries as f64,
    );
    let rows: Vec<[u64; 4]> = (0..templates as u64).map(|number| [number; 4]).collect();
    let mut round = 0;
    let again = |round: &mut u64| {
        *round += 1;
        let first = *round * connections;
        (first..first + connections).map(move |number| mix(number) % templates as u64)
    };
    let (mut bare_round, templates_held) = (0, rows.len());
    let mut candidates: Vec<Candidate<'_>> = vec![
        (
            "bare",
            Box::new(|| {
                let numbers = again(&mut bare_round);
                timed(connections, || {
                    numbers.fold(0, |sum: u64, number| sum.wrapping_add(rows[number as usize][0]))
                })
            }),
        ),
        (
            "lvs.wlc, template found",
            Box::new(|| {
                let numbers = again(&mut round);
                timed(connections, || {
                    numbers.fold(0, |sum: u64, number| {
                        now = now + GAP;
                        sum.wrapping_add(connect(
                            &mut director,
                            now,
                            client(number),
                            1_024 + number as u16 / 2,
                        ))
                    })
                })
            }),
        ),
    ];
    compare(&format!("{templates_held} templates"), options, &mut candidates);
}
