//! Servers that come and go as an autoscaler decides, and what the balancers are told of it.
//!
//! A server out of service has no processes and stands in no balancer; one that is to come boots for a time and is then put in, as
//! `scale_out` does; one that is to go is drained, then taken out and its processes end with its memory. Requests that are in it by
//! then are cut off.

use super::Cluster;
use super::autoscaler::{Autoscaler, Seen};
use super::event::Event;
use super::timetable::{Occurrence, Target};
use crate::backend::Discipline;
use crate::engine::queue::PendingEvents;
use crate::engine::{Sampler, Scheduler, SimTime};
use crate::ids::ServerId;
use crate::scenario::{Autoscaling, FaultKind, ScalingTarget, Scenario};
use crate::table::Column;

/// The autoscaler of a run.
#[derive(Debug)]
pub(super) struct Scaling<'a> {
    plan: &'a Autoscaling,
    /// Its place among the scenario's faults.
    fault: u32,
    scaler: Autoscaler,
    boot: Sampler,
    /// When servers were out, as an operator's doing; in order of the beginning.
    pub absences: Vec<Occurrence>,
    /// When it looked last.
    looked_at: SimTime,
    /// By server: what had been counted of it then, busy time or time of requests present \[ns\].
    counted: Column<ServerId, u64>,
}

/// Where a server stands in an autoscaled group; the inner number is the place of the act among the occurrences of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scaled {
    /// In service, or of no group.
    #[default]
    Serving,
    /// To come into service.
    Booting(u32),
    /// To go, and still there for those who are tied to it.
    Draining(u32),
    /// Out of service.
    Off,
}

impl Scaled {
    /// What follows for the server, in the words of faults.
    pub fn kinds(self) -> &'static [FaultKind] {
        match self {
            Self::Serving => &[],
            Self::Draining(_) => &[FaultKind::Drain { deadline: None }],
            Self::Booting(_) | Self::Off => &[FaultKind::Down, FaultKind::Restart],
        }
    }
}

impl<'a> Scaling<'a> {
    /// The autoscaler of a scenario, if it has one.
    pub fn of(scenario: &'a Scenario) -> Option<Box<Self>> {
        let plan = scenario.autoscaling.as_ref()?;
        let fault = scenario.faults.iter().position(|fault| fault.kind == FaultKind::Autoscaling)?;
        Some(Box::new(Self {
            plan,
            fault: fault as u32,
            scaler: Autoscaler::new(plan),
            boot: plan.boot.sampler(),
            absences: Vec::new(),
            looked_at: SimTime::ZERO,
            counted: Column::filled(0, scenario.servers.len()),
        }))
    }
}

impl Cluster<'_> {
    /// Takes the servers of a group that are not in service at first out of it, and begins to look.
    pub(super) fn begin_autoscaling<Q: PendingEvents>(&mut self, pending: &mut Scheduler<Q>) {
        let Some(plan) = self.scaling.as_ref().map(|scaling| scaling.plan) else { return };
        for &server in plan.servers.iter().skip(plan.initial as usize) {
            self.faults.servers[server].scaled = Scaled::Off;
            self.note_absence(SimTime::ZERO, server);
            self.server_changes(SimTime::ZERO, server, true, pending);
        }
        self.recorder.runs(SimTime::ZERO, i64::from(plan.initial));
        let phase = self.streams.clock.below(plan.period.0, 6 << 58, 0);
        pending.at(SimTime(phase) + plan.period, Event::Autoscale.word());
    }

    /// An autoscaler looks at its servers and decides.
    pub(super) fn autoscale<Q: PendingEvents>(&mut self, now: SimTime, pending: &mut Scheduler<Q>) {
        let Some(scaling) = self.scaling.as_deref_mut() else { return };
        let plan = scaling.plan;
        let mut seen = Seen { elapsed: now.since(scaling.looked_at), ..Seen::default() };
        scaling.looked_at = now;
        for &server in &plan.servers {
            let total = self.recorder.totals(now, server);
            let total = match plan.target {
                ScalingTarget::Utilisation(_) => total.busy_ns,
                ScalingTarget::InFlight(_) => total.present_ns,
            };
            let before = std::mem::replace(&mut scaling.counted[server], total);
            let workers = match self.scenario.servers[server.index()].capacity.discipline {
                Discipline::Fcfs { workers: width, .. }
                | Discipline::ProcessorSharing { cores: width, .. } => u64::from(width),
            };
            match self.faults.servers[server].scaled {
                Scaled::Serving if self.servers.answers(server) => {
                    seen.ready += 1;
                    seen.workers += workers;
                    seen.load_ns += u128::from(total.wrapping_sub(before));
                }
                Scaled::Serving | Scaled::Booting(_) => {
                    seen.unready += 1;
                    seen.unready_workers += workers;
                }
                Scaled::Draining(_) | Scaled::Off => {}
            }
        }
        let current = seen.ready + seen.unready;
        let wanted = scaling.scaler.decide(now, &seen);
        pending.at(now + plan.period, Event::Autoscale.word());
        for _ in current..wanted {
            self.scale_out(now, plan, pending);
        }
        for _ in wanted..current {
            self.scale_in(now, plan, pending);
        }
    }

    /// Has the first server that is out of service boot, if there is one.
    fn scale_out<Q: PendingEvents>(&mut self, now: SimTime, plan: &Autoscaling, pending: &mut Scheduler<Q>) {
        let is_off = |server: &&ServerId| self.faults.servers[**server].scaled == Scaled::Off;
        let Some(&server) = plan.servers.iter().find(is_off) else { return };
        let Some(scaling) = &self.scaling else { return };
        // A boot is named by its server and its time.
        let boot = scaling.boot.duration(&self.streams.boot, u64::from(server.0), now.0);
        self.recorder.runs(now, 1);
        self.act(now, server, FaultKind::ScaleOut, now + boot, pending);
    }

    /// Lets the last server go: of those that boot, if there are any, else of those in service.
    fn scale_in<Q: PendingEvents>(&mut self, now: SimTime, plan: &Autoscaling, pending: &mut Scheduler<Q>) {
        let scaled = |server: &ServerId| self.faults.servers[*server].scaled;
        let boots = |server: &ServerId| matches!(scaled(server), Scaled::Booting(_));
        let mut from_last = plan.servers.iter().copied().rev();
        if let Some(server) = from_last.clone().find(boots) {
            if let Scaled::Booting(place) = scaled(&server) {
                self.faults.servers[server].scaled = Scaled::Off;
                self.faults.cut_short(place, now);
                self.end_occurrence(now, place, pending);
            }
        } else if let Some(server) = from_last.find(|server| scaled(server) == Scaled::Serving) {
            self.act(now, server, FaultKind::ScaleIn { drain: plan.drain }, now + plan.drain, pending);
        }
    }

    /// An act begins; it is done at `until`.
    fn act<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        kind: FaultKind,
        until: SimTime,
        pending: &mut Scheduler<Q>,
    ) {
        let Some(fault) = self.scaling.as_ref().map(|scaling| scaling.fault) else { return };
        let target = Target::Server(server);
        let place = self.faults.add_act(Occurrence { fault, kind, target, from: now, until });
        let scale_out = kind == FaultKind::ScaleOut;
        self.faults.servers[server].scaled =
            if scale_out { Scaled::Booting(place) } else { Scaled::Draining(place) };
        if let Some(counts) = self.recorder.at(now) {
            *(if scale_out { &mut counts.scale_outs } else { &mut counts.scale_ins }) += 1;
        }
        if !scale_out {
            self.note_absence(now, server);
        }
        self.begin_occurrence(now, place, pending);
    }

    /// A server goes out of service now.
    fn note_absence(&mut self, now: SimTime, server: ServerId) {
        if let Some(scaling) = &mut self.scaling {
            scaling.absences.push(Occurrence {
                fault: scaling.fault,
                kind: FaultKind::Down,
                target: Target::Server(server),
                from: now,
                until: SimTime::NEVER,
            });
        }
    }

    /// What was begun with a server is done.
    pub(super) fn act_is_done(&mut self, now: SimTime, place: u32, server: ServerId) {
        let scaled = &mut self.faults.servers[server].scaled;
        match *scaled {
            Scaled::Booting(act) if act == place => {
                *scaled = Scaled::Serving;
                let absences = self.scaling.iter_mut().flat_map(|scaling| &mut scaling.absences);
                let mut of_server = absences.rev().filter(|one| one.target == Target::Server(server));
                if let Some(last) = of_server.next() {
                    last.until = now;
                }
            }
            Scaled::Draining(act) if act == place => {
                *scaled = Scaled::Off;
                self.recorder.runs(now, -1);
            }
            // One that was to come is no longer wanted.
            Scaled::Off => self.recorder.runs(now, -1),
            Scaled::Serving | Scaled::Booting(_) | Scaled::Draining(_) => {}
        }
    }
}
