//! How the fields that every request touches are laid out: one aligned row a client, a column a field, or a box a
//! client. The hold model with the product's ladder and loop; each event reads and writes five fields of its client,
//! 26 bytes in all. `ahead` candidates load the rows of the bucket that comes next, the others do not. The last candidate is the
//! bare ladder with its prefetch instructions, which safe code does not have.

use evenkeel_benches::bare::BareLadder;
use evenkeel_benches::xoshiro::Xoshiro;
use evenkeel_benches::{Options, Round, compare, timed};
use evenkeel_sim::engine::{Ladder, Model, PendingEvents, Scheduler, SimDuration, SimTime, Simulation};
use rand::RngExt as _;
use rand_distr::Exp1;
use std::hint::black_box;

const MEAN_NS: f64 = 1e9;

/// What a request touches.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct Row {
    due: u64,
    session: u64,
    address: u32,
    click: u32,
    server: u16,
    /// Written ahead, never read.
    mark: u16,
}

const _: () = assert!(size_of::<Row>() == 32);

/// What is done with the bucket that comes next: nothing, loads, or stores.
const NO: u8 = 0;
const LOAD: u8 = 1;
const MARK: u8 = 2;

/// A layout of the clients' fields.
trait Clients {
    fn new(clients: usize) -> Self;
    /// Does to a client's fields what a request does.
    fn touch(&mut self, client: usize, now: u64) -> u64;
    /// Loads a client's fields for later.
    fn load(&self, client: usize) -> u64;
    /// Writes to a field that nothing reads. The processor fetches the line without waiting for it.
    fn mark(&mut self, _client: usize) {}
}

struct Rows(Vec<Row>);

impl Clients for Rows {
    fn new(clients: usize) -> Self {
        Self((0..clients).map(|client| Row { address: client as u32, ..Row::default() }).collect())
    }

    #[inline(always)]
    fn touch(&mut self, client: usize, now: u64) -> u64 {
        let row = &mut self.0[client];
        row.session = row.session.wrapping_add(now ^ row.due);
        row.due = now;
        row.click += 1;
        row.server = (row.address % 8) as u16;
        row.session
    }

    #[inline(always)]
    fn load(&self, client: usize) -> u64 {
        self.0.get(client).map_or(0, |row| row.due)
    }

    #[inline(always)]
    fn mark(&mut self, client: usize) {
        if let Some(row) = self.0.get_mut(client) {
            row.mark = 1;
        }
    }
}

struct Columns {
    due: Vec<u64>,
    session: Vec<u64>,
    address: Vec<u32>,
    click: Vec<u32>,
    server: Vec<u16>,
}

impl Clients for Columns {
    fn new(clients: usize) -> Self {
        Self {
            due: vec![0; clients],
            session: vec![0; clients],
            address: (0..clients as u32).collect(),
            click: vec![0; clients],
            server: vec![0; clients],
        }
    }

    #[inline(always)]
    fn touch(&mut self, client: usize, now: u64) -> u64 {
        self.session[client] = self.session[client].wrapping_add(now ^ self.due[client]);
        self.due[client] = now;
        self.click[client] += 1;
        self.server[client] = (self.address[client] % 8) as u16;
        self.session[client]
    }

    #[inline(always)]
    fn load(&self, client: usize) -> u64 {
        let of = |words: &Vec<u64>| words.get(client).copied().unwrap_or(0);
        let narrow = |words: &Vec<u32>| u64::from(words.get(client).copied().unwrap_or(0));
        let server = u64::from(self.server.get(client).copied().unwrap_or(0));
        of(&self.due) ^ of(&self.session) ^ narrow(&self.address) ^ narrow(&self.click) ^ server
    }
}

/// Boxes made in a shuffled order, as they are after a while of clients that come and go.
#[expect(clippy::vec_box, reason = "the layout that is to be measured")]
struct Boxes(Vec<Box<Row>>);

impl Clients for Boxes {
    fn new(clients: usize) -> Self {
        let mut rng = Xoshiro::new(9);
        let mut boxes: Vec<Box<Row>> = (0..clients).map(|_| Box::default()).collect();
        for at in (1..clients).rev() {
            boxes.swap(at, (rng.bits() % (at as u64 + 1)) as usize);
        }
        boxes.iter_mut().enumerate().for_each(|(client, row)| row.address = client as u32);
        Self(boxes)
    }

    #[inline(always)]
    fn touch(&mut self, client: usize, now: u64) -> u64 {
        let row = &mut self.0[client];
        row.session = row.session.wrapping_add(now ^ row.due);
        row.due = now;
        row.click += 1;
        row.server = (row.address % 8) as u16;
        row.session
    }

    #[inline(always)]
    fn load(&self, client: usize) -> u64 {
        self.0.get(client).map_or(0, |row| row.due)
    }
}

/// No client fields at all: the cost of the loop and the queue.
struct Nothing;

impl Clients for Nothing {
    fn new(_: usize) -> Self {
        Self
    }

    #[inline(always)]
    fn touch(&mut self, _: usize, now: u64) -> u64 {
        now
    }

    fn load(&self, _: usize) -> u64 {
        0
    }
}

struct Hold<C, const AHEAD: u8> {
    clients: C,
    rng: Xoshiro,
    sum: u64,
}

impl<C: Clients, const AHEAD: u8> Model for Hold<C, AHEAD> {
    #[inline(always)]
    fn handle<Q: PendingEvents>(&mut self, now: SimTime, word: u32, pending: &mut Scheduler<Q>) {
        self.sum = self.sum.wrapping_add(self.clients.touch(word as usize, now.0));
        let delay = (self.rng.sample::<f64, _>(Exp1) * MEAN_NS) as u64;
        pending.at(now + SimDuration(delay), word);
    }

    #[inline(always)]
    fn read_ahead(&mut self, upcoming: &[u64]) {
        if AHEAD == MARK {
            upcoming.iter().for_each(|&entry| self.clients.mark(entry as u32 as usize));
        }
        if AHEAD == LOAD {
            // The loads do not depend on each other, so their misses overlap.
            black_box(upcoming.iter().fold(0, |sum, &entry| sum ^ self.clients.load(entry as u32 as usize)));
        }
    }
}

fn run<C: Clients, const AHEAD: u8>(clients: usize, events: u64) -> Round {
    let model: Hold<C, AHEAD> = Hold { clients: C::new(clients), rng: Xoshiro::new(1), sum: 0 };
    run_model(Simulation::new(model, Ladder::default()), clients, events)
}

fn run_with_prefetch(clients: usize, events: u64) -> Round {
    let model: Hold<Rows, NO> = Hold { clients: Rows::new(clients), rng: Xoshiro::new(1), sum: 0 };
    let mut ladder = BareLadder::new(clients, MEAN_NS / clients as f64, MEAN_NS * 32.0);
    ladder.prefetch_rows(&model.clients.0);
    run_model(Simulation::new(model, ladder), clients, events)
}

fn run_model<C: Clients, const AHEAD: u8, Q: PendingEvents>(
    mut simulation: Simulation<Hold<C, AHEAD>, Q>,
    clients: usize,
    events: u64,
) -> Round {
    for word in 0..clients {
        let delay = (simulation.model.rng.sample::<f64, _>(Exp1) * MEAN_NS) as u64;
        simulation.pending.at(SimTime(delay), word as u32);
    }
    // Two mean delays warm up; the timed part is as long as it takes for `events` on average.
    let start = 2 * MEAN_NS as u64;
    simulation.run_until(SimTime(start));
    let before = simulation.handled();
    let horizon = start + (events as f64 / clients as f64 * MEAN_NS) as u64;
    let mut round = timed(1, || {
        simulation.run_until(SimTime(horizon));
        simulation.model.sum
    });
    round.operations = simulation.handled() - before;
    round
}

fn main() -> Result<(), String> {
    let options = Options::from_args()?;
    let sizes = if options.sizes.is_empty() {
        vec![1_000, 100_000, 1_000_000, 10_000_000]
    } else {
        options.sizes.clone()
    };
    for size in sizes {
        let events = (1e7 * options.scale) as u64;
        compare(
            &format!("hold with client fields, {size} clients, about {events} events"),
            &options,
            &mut [
                ("no fields", Box::new(|| run::<Nothing, NO>(size, events))),
                ("rows, ahead", Box::new(|| run::<Rows, LOAD>(size, events))),
                ("rows, marked ahead", Box::new(|| run::<Rows, MARK>(size, events))),
                ("rows", Box::new(|| run::<Rows, NO>(size, events))),
                ("columns, ahead", Box::new(|| run::<Columns, LOAD>(size, events))),
                ("columns", Box::new(|| run::<Columns, NO>(size, events))),
                ("boxes, ahead", Box::new(|| run::<Boxes, LOAD>(size, events))),
                ("boxes", Box::new(|| run::<Boxes, NO>(size, events))),
                ("rows, bare ladder and prefetch", Box::new(|| run_with_prefetch(size, events))),
            ],
        );
    }
    Ok(())
}
