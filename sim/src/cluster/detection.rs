//! When the tiers' health rules noticed what befell servers and instances, when those were back, and who was taken out for nothing.
//!
//! Nothing of this is kept while the run goes on but the changes of mind of whoever judges health ([`Verdict`]); the rest is worked
//! out from them and the timetable of faults when the run has ended. `docs/model.md` defines the terms.

use super::Cluster;
use super::paths::FrontKind;
use super::timetable::{Occurrence, Target};
use crate::engine::{SimDuration, SimTime};
use crate::health::{Standing, Verdict};
use crate::ids::ServerId;
use crate::scenario::{FaultKind, Process, Program};
use crate::tier::Instance;

/// What became of a fault that a health rule could see, at one of its parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// The fault's place in the scenario.
    pub fault: u32,
    /// Its beginning.
    pub from: SimTime,
    /// Its end; [`SimTime::NEVER`] for good.
    pub until: SimTime,
    /// When all who balance had stopped choosing the part; `None` if they had not before it was over, or the run was.
    pub detected: Option<SimTime>,
    /// Of one that was detected: when all choose it again; `None` if the next trouble or the end of the run came first.
    pub back: Option<SimTime>,
}

/// A time during which health kept a server from new clients, of at least one of those who balance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Removal {
    /// The server.
    pub server: ServerId,
    /// Its start.
    pub from: SimTime,
    /// Its end, or that of the run.
    pub until: SimTime,
    /// Whether it was taken out though nothing ailed it.
    pub is_false: bool,
}

/// A server or instance that was taken out though nothing ailed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FalseAlarm {
    from: SimTime,
    /// How long it was out, in the mean over those who balance.
    out: SimDuration,
}

/// What health did in a run.
#[derive(Debug, Default)]
pub(super) struct Detection {
    pub sightings: Vec<Sighting>,
    pub removals: Vec<Removal>,
    alarms: Vec<FalseAlarm>,
}

impl Cluster<'_> {
    /// Ends the run for health: finds out what was noticed by `end`, and counts it.
    pub(super) fn close_health(&mut self, end: SimTime) -> Detection {
        let mut found = Detection::default();
        let servers = (0..self.servers.len()).map(ServerId::from_index);
        let judges = self.judges_of_servers(end);
        for server in servers {
            let trouble = Trouble::of(self.occurrences(end, |target| target == Target::Server(server)));
            let uses = |instance: usize| self.tier.instances[instance].uses(server);
            let history = judges.history(server, uses, &trouble, end);
            history.tell(Some(server), &trouble, end, &mut found);
        }
        for place in 0..self.paths.as_ref().map_or(0, |paths| paths.last()) {
            self.notice_instances(place, end, &mut found);
        }
        found.sightings.sort_by_key(|sighting| sighting.from);
        found.removals.sort_by_key(|removal| removal.from);
        for sighting in &found.sightings {
            if let Some(counts) = self.recorder.at(sighting.from) {
                let taken = |since: SimTime, until: Option<SimTime>| until.map(|until| until.since(since));
                let detected = taken(sighting.from, sighting.detected);
                counts.health.fault(detected, taken(sighting.until, sighting.back));
            }
        }
        for alarm in &found.alarms {
            if let Some(counts) = self.recorder.at(alarm.from) {
                counts.health.false_alarm(alarm.out);
            }
        }
        found
    }

    /// What befalls a part in the run, in order of its beginning.
    fn occurrences(&self, end: SimTime, is_part: impl Fn(Target) -> bool) -> Vec<Occurrence> {
        let planned = &self.faults.timetable[..self.faults.planned];
        let absences = self.scaling.iter().flat_map(|scaling| &scaling.absences);
        let begun = planned.iter().chain(absences).filter(|one| one.from < end && is_part(one.target));
        let mut begun: Vec<_> = begun.copied().collect();
        begun.sort_by_key(|one| one.from);
        begun
    }

    /// Those who balance among the servers.
    fn judges_of_servers(&mut self, end: SimTime) -> Judges {
        let views: Vec<u16> = self.tier.instances.iter().map(Instance::views).collect();
        let place = self.paths.as_ref().map_or(0, |paths| paths.last());
        let mut serves = self.times_of_death(place, end);
        if let Some(pair) = self.paths.as_ref().and_then(|paths| paths.reach[place].pair.as_ref()) {
            for (at, holder) in &pair.held {
                let holds = |instance: u16| *holder == Some(instance);
                serves.extend((0..views.len() as u16).map(|it| (*at, it, Serves::HasAddress(holds(it)))));
            }
        }
        Judges { views, verdicts: self.tier.take_verdicts(), serves }
    }

    /// When the instances of a tier die and come back.
    fn times_of_death(&self, place: usize, end: SimTime) -> Vec<(SimTime, u16, Serves)> {
        let mut changes = Vec::new();
        for (instance, one) in self.deaths(place, end) {
            changes.push((one.from, instance, Serves::Dies));
            changes.push((one.until, instance, Serves::Returns));
        }
        changes
    }

    /// What kills instances of a tier.
    fn deaths(&self, place: usize, end: SimTime) -> Vec<(u16, Occurrence)> {
        let plan = self.strategy.programs().find(|&(at, _)| at == place).map(|(_, plan)| plan);
        let has_process = plan.is_some_and(|plan| !matches!(plan.program, Program::Lvs(_)));
        let kills = |kind| match kind {
            FaultKind::Crash => true,
            FaultKind::Kill { process: Process::Balancer } => has_process,
            _ => false,
        };
        let all = self.occurrences(end, |target| matches!(target, Target::Instance(_)));
        let here = all.into_iter().filter(|one| kills(one.kind)).filter_map(|one| match one.target {
            Target::Instance(faulty) => {
                let (_, instance) = self.find_instance(faulty).filter(|&(at, _)| at == place)?;
                Some((instance, one))
            }
            _ => None,
        });
        here.collect()
    }

    /// What a tier in front noticed of the next one's instances. A pair is one part to it, and sees to itself.
    fn notice_instances(&mut self, place: usize, end: SimTime, found: &mut Detection) {
        let deaths = self.deaths(place + 1, end);
        let serves = self.times_of_death(place, end);
        let Some(paths) = self.paths.as_deref_mut() else { return };
        if paths.reach[place + 1].pair.is_some() {
            return;
        }
        let targets = paths.reach[place + 1].targets();
        let front = &mut paths.fronts[place];
        let (views, verdicts) = match &mut front.kind {
            FrontKind::Tier(tier) => (vec![1; tier.instances.len()], tier.take_verdicts()),
            FrontKind::Dns(_) | FrontKind::Ecmp(_) => {
                (vec![1], front.verdicts.drain(..).map(|verdict| (0, verdict)).collect())
            }
        };
        let judges = Judges { views, verdicts, serves };
        for target in 0..targets {
            let of_target = deaths.iter().filter(|&&(instance, _)| instance == target);
            let trouble = Trouble::of(of_target.map(|&(_, one)| one).collect());
            let history = judges.history(ServerId(target), |_| true, &trouble, end);
            history.tell(None, &trouble, end, found);
        }
    }
}

/// Whether a health rule could see a fault of a server.
fn is_visible(kind: &FaultKind) -> bool {
    match kind {
        FaultKind::Crash
        | FaultKind::Kill { .. }
        | FaultKind::Restart
        | FaultKind::Hang
        | FaultKind::Partition
        | FaultKind::Delay { .. }
        | FaultKind::Slow { .. }
        | FaultKind::Errors(_)
        | FaultKind::Loss { .. }
        | FaultKind::BrownOut { .. } => true,
        FaultKind::StoreCrash { .. }
        | FaultKind::Drain { .. }
        | FaultKind::Down
        | FaultKind::Weight { .. }
        | FaultKind::Reload
        | FaultKind::Deploy { .. }
        | FaultKind::ScaleOut
        | FaultKind::ScaleIn { .. }
        | FaultKind::Autoscaling => false,
    }
}

/// What changes whether an instance serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Serves {
    Dies,
    Returns,
    /// It is one of a pair, and has the virtual address or not.
    HasAddress(bool),
}

/// Those who balance among some parts, and what they held of them.
struct Judges {
    /// By instance: how many judge in it, each for itself.
    views: Vec<u16>,
    /// By instance, of one judge in order.
    verdicts: Vec<(u16, Verdict)>,
    /// When instances began and ceased to serve.
    serves: Vec<(SimTime, u16, Serves)>,
}

/// What befalls a part, in order of its beginning.
struct Trouble {
    all: Vec<Occurrence>,
    /// The latest end of all up to each.
    until: Vec<SimTime>,
    /// The same of those by which an operator keeps new clients away.
    kept_until: Vec<SimTime>,
}

impl Trouble {
    fn of(all: Vec<Occurrence>) -> Self {
        let latest = |counts: fn(&FaultKind) -> bool| {
            let ends = all.iter().map(move |one| if counts(&one.kind) { one.until } else { SimTime::ZERO });
            ends.scan(SimTime::ZERO, |latest, end| {
                *latest = end.max(*latest);
                Some(*latest)
            })
        };
        let until = latest(|_| true).collect();
        let kept_until = latest(|kind| kind.is_operation() && kind.keeps_clients_away()).collect();
        Self { until, kept_until, all }
    }

    /// Whether anything befalls the part at a time.
    fn lasts_at(&self, at: SimTime) -> bool {
        let begun = self.all.partition_point(|one| one.from <= at);
        begun > 0 && self.until[begun - 1] > at
    }

    /// When the next begins after a time.
    fn next_after(&self, at: SimTime) -> SimTime {
        let begun = self.all.partition_point(|one| one.from <= at);
        self.all.get(begun).map_or(SimTime::NEVER, |one| one.from)
    }

    /// Whether an operator keeps new clients away at a time.
    fn keeps_clients_away(&self, at: SimTime) -> bool {
        let begun = self.all.partition_point(|one| one.from <= at);
        begun > 0 && self.kept_until[begun - 1] > at
    }
}

/// How a part stands from a time on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    at: SimTime,
    /// Those who serve and could choose it.
    judges: u32,
    /// Of these, those who do not for its health.
    out: u32,
    /// Of these, those who have taken it out though nothing ailed it.
    wrong: u32,
}

/// How a part stands over the run, in order of time.
struct History {
    marks: Vec<Mark>,
}

#[derive(Clone, Copy)]
struct Judge {
    instance: u16,
    view: u16,
    standing: Standing,
    is_wrong: bool,
}

impl Judges {
    /// How all hold a part; `uses` says which instances could choose it.
    fn history(
        &self,
        part: ServerId,
        uses: impl Fn(usize) -> bool,
        trouble: &Trouble,
        end: SimTime,
    ) -> History {
        enum Change {
            Befalls,
            Serves(u16, Serves),
            Says(u16, Verdict),
        }
        let mut changes: Vec<(SimTime, Change)> =
            trouble.all.iter().map(|one| (one.from, Change::Befalls)).collect();
        changes.extend(self.serves.iter().map(|&(at, instance, how)| (at, Change::Serves(instance, how))));
        let own = self.verdicts.iter().filter(|(_, verdict)| verdict.server == part);
        changes.extend(own.map(|&(instance, verdict)| (verdict.at, Change::Says(instance, verdict))));
        changes.sort_by_key(|&(at, _)| at);

        let usable = (0..).zip(&self.views).filter(|&(instance, _)| uses(usize::from(instance)));
        let mut judges: Vec<Judge> = usable
            .flat_map(|(instance, &views)| (0..views).map(move |view| (instance, view)))
            .map(|(instance, view)| Judge { instance, view, standing: Standing::In, is_wrong: false })
            .collect();
        let mut deaths = vec![0_u32; self.views.len()];
        let mut has_address = vec![true; self.views.len()];
        let serves = |deaths: &[u32], has_address: &[bool], instance: u16| {
            deaths[usize::from(instance)] == 0 && has_address[usize::from(instance)]
        };
        let mut marks = vec![Mark { at: SimTime::ZERO, judges: judges.len() as u32, out: 0, wrong: 0 }];
        let mut changes = changes.into_iter().take_while(|&(at, _)| at < end).peekable();
        while let Some((at, change)) = changes.next() {
            match change {
                Change::Befalls => judges.iter_mut().for_each(|judge| judge.is_wrong = false),
                Change::Serves(instance, how) => {
                    let (dead, has) =
                        (&mut deaths[usize::from(instance)], &mut has_address[usize::from(instance)]);
                    match how {
                        Serves::Dies => *dead += 1,
                        Serves::Returns => *dead = dead.saturating_sub(1),
                        Serves::HasAddress(it) => *has = it,
                    }
                }
                Change::Says(instance, verdict) => {
                    let serves = serves(&deaths, &has_address, instance);
                    let its = judges.iter_mut().find(|it| (it.instance, it.view) == (instance, verdict.view));
                    if let Some(judge) = its {
                        let goes_out = judge.standing == Standing::In && verdict.standing == Standing::Out;
                        judge.is_wrong = verdict.standing == Standing::Out
                            && (judge.is_wrong || goes_out && serves && !trouble.lasts_at(at));
                        judge.standing = verdict.standing;
                    }
                }
            }
            // Only what holds when all that happens at a time has happened.
            if changes.peek().is_some_and(|&(next, _)| next == at) {
                continue;
            }
            let mut mark = Mark { at, judges: 0, out: 0, wrong: 0 };
            for judge in judges.iter().filter(|judge| serves(&deaths, &has_address, judge.instance)) {
                mark.judges += 1;
                mark.out += u32::from(judge.standing != Standing::In);
                mark.wrong += u32::from(judge.is_wrong);
            }
            marks.push(mark);
        }
        History { marks }
    }
}

impl History {
    /// When something holds for the first time from `from` on, before `until`.
    fn first(&self, from: SimTime, until: SimTime, holds: impl Fn(&Mark) -> bool) -> Option<SimTime> {
        let present = self.marks.partition_point(|mark| mark.at <= from).saturating_sub(1);
        let mut later = self.marks[present..].iter().take_while(|mark| mark.at < until);
        later.find(|mark| holds(mark)).map(|mark| mark.at.max(from))
    }

    /// Adds what became of the faults of the part, and when it was out; `server` is `None` for an instance.
    fn tell(&self, server: Option<ServerId>, trouble: &Trouble, end: SimTime, found: &mut Detection) {
        for one in trouble.all.iter().filter(|one| is_visible(&one.kind)) {
            if trouble.keeps_clients_away(one.from) {
                continue;
            }
            let is_out = |mark: &Mark| mark.judges > 0 && mark.out == mark.judges;
            let detected = self.first(one.from, one.until.min(end), is_out);
            let is_over = one.until < end && !trouble.lasts_at(one.until);
            let back = detected.filter(|_| is_over).and_then(|_| {
                let limit = trouble.next_after(one.until).min(end);
                self.first(one.until, limit, |mark| mark.judges > 0 && mark.out == 0)
            });
            found.sightings.push(Sighting {
                fault: one.fault,
                from: one.from,
                until: one.until,
                detected,
                back,
            });
        }
        let mut alarm: Option<FalseAlarm> = None;
        let mut removal: Option<Removal> = None;
        for (place, mark) in self.marks.iter().enumerate() {
            let until = self.marks.get(place + 1).map_or(end, |next| next.at);
            if mark.wrong > 0 {
                let share = until.since(mark.at).0 / u64::from(mark.judges) * u64::from(mark.wrong);
                let lasting = alarm.get_or_insert(FalseAlarm { from: mark.at, out: SimDuration::ZERO });
                lasting.out += SimDuration(share);
            } else {
                found.alarms.extend(alarm.take());
            }
            let Some(server) = server else { continue };
            let is_false = mark.wrong > 0;
            match &mut removal {
                Some(lasting) if mark.out > 0 && lasting.is_false == is_false => lasting.until = until,
                _ => {
                    found.removals.extend(removal.take());
                    let begins = Removal { server, from: mark.at, until, is_false };
                    removal = (mark.out > 0).then_some(begins);
                }
            }
        }
        found.alarms.extend(alarm);
        found.removals.extend(removal);
    }
}
