//! Who checks a tier's servers: the keepalived of each director, or one prober for all proxies of a tier.
//!
//! keepalived runs beside the director that it configures, so each of a pair finds out for itself, dies with its host, and begins
//! anew with it: with all servers in the table, or none of them yet (`alpha`), until its first checks.

use super::tier::Tier;
use crate::engine::{SimTime, Stream};
use crate::health::keepalived::{CheckKind, CheckRule, Checker, Pool, PoolChange, Sight};
use crate::health::{Standing, Verdict};
use crate::ids::ServerId;
use crate::scenario::{PoolConfig, Program, TierPlan};
use crate::tier::Instance;

/// One keepalived, or prober, at work.
#[derive(Debug)]
pub(super) struct Watch {
    rule: CheckRule,
    config: PoolConfig,
    checkers: Vec<Checker>,
    pool: Pool,
    /// What is to be done to the table; empty between inputs.
    changes: Vec<PoolChange>,
    runs: bool,
    /// Whom its checks took out and who came back, in order.
    pub verdicts: Vec<Verdict>,
}

impl Watch {
    /// Those of a tier: one for each director, one for all proxies, none without checks.
    pub fn of(plan: &TierPlan, weights: &[u32]) -> Vec<Self> {
        let Some(rule) = plan.tcp_check else { return Vec::new() };
        let count = if matches!(plan.program, Program::Lvs(_)) { plan.instances.len() } else { 1 };
        (0..count).map(|_| Self::new(rule, plan.pool.config, weights)).collect()
    }

    /// One that has run for long and finds everybody well.
    fn new(rule: CheckRule, config: PoolConfig, weights: &[u32]) -> Self {
        let mut changes = Vec::new();
        let pool = Pool::new(config, Self::in_pool(config, weights), true, &mut changes);
        // The table is as configured, but for the sorry server, who waits outside.
        changes.clear();
        changes.extend(config.sorry_server.map(PoolChange::Remove));
        let checkers = vec![Checker::new(rule, true, SimTime::ZERO); weights.len()];
        Self { rule, config, checkers, pool, changes, runs: true, verdicts: Vec::new() }
    }

    fn in_pool(config: PoolConfig, weights: &[u32]) -> Vec<Option<u32>> {
        let servers = (0..).map(ServerId).zip(weights);
        servers.map(|(server, &weight)| (config.sorry_server != Some(server)).then_some(weight)).collect()
    }

    /// Servers that it checks: keepalived does not check a sorry server.
    pub fn checked(&self) -> impl Iterator<Item = ServerId> + use<> {
        let sorry = self.config.sorry_server;
        (0..self.checkers.len()).map(ServerId::from_index).filter(move |server| sorry != Some(*server))
    }

    /// When the next step of a server's check is due; [`SimTime::NEVER`] if the watch does not run.
    pub fn due(&self, server: ServerId) -> SimTime {
        if self.runs { self.checkers[server.index()].due() } else { SimTime::NEVER }
    }

    /// The first check of a server comes at `first`.
    pub fn begin(&mut self, server: ServerId, first: SimTime) {
        self.checkers[server.index()] = Checker::new(self.rule, true, first);
    }

    /// Whether a try of a server's check is under way that waits for something.
    pub fn is_trying(&self, server: ServerId) -> bool {
        self.runs && self.checkers[server.index()].is_trying()
    }

    /// What it checks.
    pub fn kind(&self) -> CheckKind {
        self.rule.kind
    }

    /// Whether it has put a server into the table.
    pub fn lists(&self, server: ServerId) -> bool {
        self.pool.lists(server)
    }
}

impl Tier<'_> {
    /// Whether the checks leave a server in an instance's table; `true` without checks.
    pub fn lists(&self, instance: usize, server: ServerId) -> bool {
        let watch = self.watches.get(instance).or(self.watches.first());
        watch.is_none_or(|watch| watch.lists(server))
    }

    /// A step of a server's check, which looks as `sight` says, by the watch `number`; `out` says whom an operator keeps out.
    pub fn check(
        &mut self,
        now: SimTime,
        number: usize,
        server: ServerId,
        sight: Sight,
        out: impl Fn(ServerId) -> bool,
    ) {
        let watch = &mut self.watches[number];
        if let Some(up) = watch.checkers[server.index()].tick(now, sight) {
            watch.pool.set_alive(server, up, &mut watch.changes);
            watch.verdicts.push(Verdict::new(now, 0, server, !up));
            self.carry_out(now, number, out);
        }
    }

    /// The keepalived of a director stops: its host dies, or it is killed. The table stays as it is.
    pub fn watch_stops(&mut self, number: usize) {
        if let Some(watch) = self.watches.get_mut(number) {
            watch.runs = false;
        }
    }

    /// The keepalived of a director starts. `phases` gives the share of the warm-up after which each server is checked first.
    pub fn watch_starts(
        &mut self,
        now: SimTime,
        number: usize,
        phases: impl Fn(ServerId) -> f64,
        out: impl Fn(ServerId) -> bool,
    ) {
        let Some(watch) = self.watches.get_mut(number) else { return };
        watch.runs = true;
        // It flushes what another left in the table.
        let all = (0..watch.checkers.len()).map(ServerId::from_index);
        watch.changes.extend(all.map(PoolChange::Remove));
        let weights = Watch::in_pool(watch.config, &self.weights);
        watch.pool = Pool::new(watch.config, weights, !watch.rule.alpha, &mut watch.changes);
        for (place, checker) in watch.checkers.iter_mut().enumerate() {
            let server = ServerId::from_index(place);
            *checker = Checker::starting(watch.rule, now + watch.rule.first_check(phases(server)));
            let standing = if watch.rule.alpha { Standing::Untried } else { Standing::In };
            watch.verdicts.push(Verdict { at: now, view: 0, server, standing });
        }
        self.carry_out(now, number, out);
    }

    /// Does to the tables what a pool wants.
    pub fn carry_out(&mut self, now: SimTime, number: usize, out: impl Fn(ServerId) -> bool) {
        let mut changes = std::mem::take(&mut self.watches[number].changes);
        let alone = matches!(self.instances[0], Instance::Lvs(_));
        for (place, instance) in self.instances.iter_mut().enumerate() {
            if alone && place != number {
                continue;
            }
            for &change in &changes {
                match change {
                    PoolChange::Add(server, weight) if !out(server) && instance.uses(server) => {
                        instance.add_server(now, server, weight);
                    }
                    PoolChange::Weight(server, weight) if !out(server) && instance.uses(server) => {
                        instance.set_weight(now, server, weight);
                    }
                    PoolChange::Add(..) | PoolChange::Weight(..) => {}
                    PoolChange::Remove(server) => instance.remove_server(now, server),
                }
            }
        }
        changes.clear();
        self.watches[number].changes = changes;
    }
}

/// The share of the warm-up after which a keepalived that starts at `now` checks a server first: a draw of `clock` for the tier at
/// `place`, its instance and the server.
pub(super) fn warm_up_share(
    clock: &Stream,
    now: SimTime,
    place: usize,
    instance: u16,
    server: ServerId,
) -> f64 {
    let entity = 5 << 58 | (place as u64) << 32 | u64::from(instance) << 16 | u64::from(server.0);
    clock.uniform(entity, now.0)
}
