//! Requests of a script: clients, and which requests overlap.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dice::Dice;
use crate::script::{Ask, Mode, Step};

/// Clients whose requests a case is made of.
pub(crate) fn clients(dice: &mut Dice) -> Vec<IpAddr> {
    let count = *dice.pick(&[1, 3, 20, 200]);
    let sixes = dice.percent(20);
    (0..count)
        .map(|_| {
            let bits = dice.below(u64::MAX);
            if sixes && dice.percent(50) {
                let [a, b, c, d] = [0, 16, 32, 48].map(|shift| (bits >> shift) as u16);
                return Ipv6Addr::new(0x2001, 0xdb8, 0, 0, a, b, c, d).into();
            }
            // Some share a /24, which `ip_hash` takes for one client.
            let [a, b, c, d] = (bits as u32).to_be_bytes();
            let c = if dice.percent(30) { 7 } else { c };
            Ipv4Addr::new(11 + a % 80, b, c, d).into()
        })
        .collect()
}

/// A request's part that does not depend on the program.
pub(crate) fn ask(id: u32, client: IpAddr) -> Ask {
    Ask {
        id,
        client,
        post: false,
        path: "/".into(),
        headers: Vec::new(),
        key: String::new(),
        samples: Default::default(),
        hold: false,
    }
}

/// Makes some of the requests overlap: of the `asks`, each with the chance `percent` is held, at most `open_max` at a
/// time, and released, or now and then given up if `aborts`, at a random later place.
pub(crate) fn overlap(
    dice: &mut Dice,
    asks: Vec<Ask>,
    percent: u64,
    open_max: usize,
    aborts: bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut open: Vec<u32> = Vec::new();
    for mut ask in asks {
        while open.len() >= open_max || (!open.is_empty() && dice.percent(40)) {
            let id = open.swap_remove(dice.below(open.len() as u64) as usize);
            let gives_up = aborts && dice.percent(5);
            steps.push(if gives_up { Step::Abort(id) } else { Step::Release(id) });
        }
        ask.hold = dice.percent(percent);
        if ask.hold {
            open.push(ask.id);
        }
        steps.push(Step::Ask(ask));
    }
    steps
}

/// Puts failures and pauses among the requests of `script`: now and then one of the servers with these numbers fails in one of these ways
/// or recovers, and time passes, in all about `pauses_ms` of it.
pub(crate) fn fail(
    dice: &mut Dice,
    script: Vec<Step>,
    servers: &[u16],
    modes: &[Mode],
    pauses_ms: u64,
) -> Vec<Step> {
    /// Requests between two changes.
    const BETWEEN: [u64; 2] = [3, 20];
    let mut steps = Vec::new();
    let mut failing: Vec<u16> = Vec::new();
    let mut left = dice.within(BETWEEN[0], BETWEEN[1]);
    let count = script.len() as u64;
    for step in script {
        if left == 0 {
            left = dice.within(BETWEEN[0], BETWEEN[1]);
            let recovers = !failing.is_empty() && dice.percent(45);
            if recovers {
                let number = failing.swap_remove(dice.below(failing.len() as u64) as usize);
                steps.push(Step::Behave(number, Mode::Up));
            } else {
                let number = *dice.pick(servers);
                if !failing.contains(&number) {
                    failing.push(number);
                }
                steps.push(Step::Behave(number, *dice.pick(modes)));
            }
        }
        left -= 1;
        // Half of the time in many short pauses, half in a few long ones.
        let mean = pauses_ms / (2 * count).max(1);
        if dice.percent(60) {
            steps.push(Step::Wait(dice.within(0, 3 * mean) as u32));
        }
        if dice.below(count) < 4 {
            steps.push(Step::Wait(dice.within(1, pauses_ms / 4 + 1) as u32));
        }
        steps.push(step);
    }
    steps
}

/// Puts `step` before a request somewhere in the middle.
pub(crate) fn insert(dice: &mut Dice, steps: &mut Vec<Step>, step: Step) {
    let place = steps.len() / 5 + dice.below((steps.len() as u64 * 3 / 5).max(1)) as usize;
    steps.insert(place.min(steps.len()), step);
}
