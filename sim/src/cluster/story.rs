//! What becomes of lost sessions, and some losses told as short stories.

use super::request::Request;
use super::timetable::{Occurrence, Target};
use super::{Cluster, evidence};
use crate::engine::{SimDuration, SimTime};
use crate::ids::{ClientId, ServerId};
use crate::metrics::LossCause;
use crate::session::sessions::{Cut, Lookup};
use crate::session::{OnUnknownId, SessionPlan};

/// The first losses of a run, told.
#[derive(Debug, Default)]
pub(super) struct Stories {
    /// How many to tell.
    pub wanted: usize,
    /// Told so far.
    pub told: Vec<String>,
}

impl Cluster<'_> {
    /// A request looks for its session where it was served, under the application's `rules`; counts what it finds. `cookies`
    /// says whether the client keeps them.
    pub(super) fn find_session(
        &mut self,
        now: SimTime,
        slot: u32,
        route: &Cut,
        rules: (SimDuration, OnUnknownId),
        cookies: bool,
    ) -> Lookup {
        let (idle_timeout, on_unknown_id) = rules;
        let mut found = match self.strategy.session {
            SessionPlan::Shared { .. } => self.sessions.look_up_shared(now, slot, route, idle_timeout),
            SessionPlan::Local | SessionPlan::Store(_) => {
                self.find_stored(now, slot, route, idle_timeout).unwrap_or_else(|| {
                    self.sessions.look_up(now, slot, route, &self.servers, idle_timeout, on_unknown_id)
                })
            }
        };
        if let Some(counts) = self.recorder.at(now) {
            counts.session_needed += 1;
            counts.expired += u64::from(found == Lookup::Expired);
            if let Lookup::Resumed { fell_back } = found {
                counts.resumed += 1;
                counts.lost_writes += u64::from(fell_back);
            }
        }
        if let Lookup::Lost { cause, destroyed_at } = &mut found {
            let untied = matches!(cause, LossCause::NoAffinity | LossCause::AffinityExpired);
            if untied && !cookies && self.tier.cookies.is_some() {
                *cause = LossCause::AffinityRefused;
            }
            let home = self.sessions.get(slot).home;
            if *cause == LossCause::ServerLost
                && let Some(destroyer) = destroyed_at.and_then(|at| self.faults.destroyer(home, at))
                && destroyer.kind.is_planned()
            {
                *cause = LossCause::Drained;
            }
            let (cause, destroyed_at) = (*cause, *destroyed_at);
            let again = self.sessions.miss(slot);
            let ledger = &mut self.recorder.ledger;
            ledger.session_misses += 1;
            ledger.misses_again += u64::from(again);
            ledger.losses += u64::from(!again);
            ledger.losses_by_cause[cause as usize] += u64::from(!again);
            if let Some(counts) = self.recorder.at(now) {
                counts.session_missed += 1;
                counts.lost[cause as usize] += u64::from(!again);
            }
            if !again {
                self.blame_fault(slot, cause, destroyed_at, route);
            }
        }
        found
    }

    /// Counts a loss against the crash that destroyed the session's memory, or the operation that sent it elsewhere.
    fn blame_fault(&mut self, slot: u32, cause: LossCause, destroyed_at: Option<SimTime>, route: &Cut) {
        let session = self.sessions.get(slot);
        let left_at = session.first_cut.as_ref().unwrap_or(route).at;
        let faults = &self.faults;
        let at_home = destroyed_at.and_then(|at| faults.destroyer(session.home, at));
        let of_instance = || faults.last_before(left_at, |one| matches!(one.target, Target::Instance(_)));
        let may_be_in_front = self.paths.is_some();
        let fault = match cause {
            LossCause::ServerLost => at_home,
            LossCause::Drained => at_home.or_else(|| faults.last_operation(session.home, left_at)),
            LossCause::Remapped => faults
                .last_before(left_at, |one| one.kind.is_planned())
                .or_else(|| if may_be_in_front { of_instance() } else { None }),
            LossCause::DirectorLost | LossCause::InstanceSplit => of_instance(),
            LossCause::StoreLost => destroyed_at.and_then(|at| {
                let nodes = self.strategy.session.store_nodes();
                let of_store = |one: &Occurrence| match one.target {
                    Target::StoreNode(node) | Target::Replication(node) => (node as usize) < nodes,
                    _ => false,
                };
                faults.last_before(at, |one| one.from < at || of_store(one)).filter(|one| one.from == at)
            }),
            _ => None,
        };
        if let Some(fault) = fault.map(|one| one.fault) {
            self.faults.logged_out(fault);
        }
    }

    /// After a loss: an application that hands out new ids has no more use for the old session, and `None` is returned; one
    /// that adopts ids keeps it.
    pub(super) fn settle_lost_session(&mut self, slot: u32, on_unknown_id: OnUnknownId) -> Option<u32> {
        match on_unknown_id {
            OnUnknownId::NewId => {
                self.end_session(slot);
                None
            }
            OnUnknownId::AdoptId => Some(slot),
        }
    }

    pub(super) fn tell_story(
        &mut self,
        now: SimTime,
        client: ClientId,
        slot: u32,
        request: &Request,
        found: &Lookup,
    ) {
        if self.stories.told.len() < self.stories.wanted {
            let address = request.from;
            let row = self.clients.row(client);
            let who = format!(
                "client {} ({address}, visit {}, click {} of {})",
                client.0,
                row.visit,
                row.click + 1,
                row.clicks
            );
            self.tell(now, &who, slot, request, found);
        }
    }

    pub(super) fn tell_log_story(
        &mut self,
        now: SimTime,
        user: u32,
        slot: u32,
        request: &Request,
        found: &Lookup,
    ) {
        if self.stories.told.len() < self.stories.wanted {
            let address = request.from;
            self.tell(now, &format!("log user {user} ({address})"), slot, request, found);
        }
    }

    /// The node of the session store that died then.
    fn store_node_lost_at(&self, at: SimTime) -> Option<u32> {
        let last =
            self.faults.last_before(at, |one| one.from < at || matches!(one.target, Target::StoreNode(_)));
        match last?.target {
            Target::StoreNode(node) => Some(node),
            _ => None,
        }
    }

    fn tell(&mut self, now: SimTime, who: &str, slot: u32, request: &Request, found: &Lookup) {
        let Lookup::Lost { cause, destroyed_at } = *found else { return };
        let start = self.recorder.calendar().measured_from;
        let clock = |at: SimTime| {
            let sign = if at < start { "-" } else { "" };
            let away = if at < start { start.since(at) } else { at.since(start) };
            format!("{sign}{:.3} s", away.as_secs_f64())
        };
        let session = self.sessions.get(slot);
        let name = |server: ServerId| &self.scenario.servers[server.index()].name;
        let home = name(session.home);
        let mut story = format!(
            "{who} logged in at {}, was last known at {home} at {}",
            clock(session.created),
            clock(session.last_hit)
        );
        // Where all servers reach the store, going to another one is no departure.
        let shared = match &self.strategy.session {
            SessionPlan::Local => false,
            SessionPlan::Shared { .. } => true,
            SessionPlan::Store(plan) => plan.rule.is_none() && !plan.store.is_on_servers(),
        };
        let in_store = shared || matches!(cause, LossCause::StoreLost | LossCause::StoreSwitched);
        let destroyed = destroyed_at.map(|at| {
            let what = match cause {
                LossCause::StoreLost if at == now => "the session store could not be asked".to_owned(),
                LossCause::StoreLost => match self.store_node_lost_at(at) {
                    Some(node) => format!(
                        "node {node} of the session store died, and what was left of it did not have the session"
                    ),
                    None => "a server died whose copy was the only one".to_owned(),
                },
                LossCause::StoreEvicted => "the session made room for others".to_owned(),
                LossCause::StoreStale => {
                    "the session was written, and copies of it were on their way".to_owned()
                }
                LossCause::StoreSwitched => "the site began to keep sessions in another place".to_owned(),
                LossCause::Remapped => {
                    "the store's nodes changed, and the session is looked for on another".to_owned()
                }
                _ => format!("{home} lost its memory"),
            };
            (at, format!("at {} {what}", clock(at)))
        });
        let cut = session.first_cut.filter(|_| !in_store).map(|cut| {
            let why = evidence::in_words(cut.reason);
            let from = match cut.cause {
                LossCause::AddressChanged => {
                    format!(" from {}, no longer {},", cut.from, session.last_address)
                }
                _ => String::new(),
            };
            (cut.at, format!("at {} a request{from} went to {} instead ({why})", clock(cut.at), name(cut.to)))
        });
        let mut chain: Vec<_> = destroyed.into_iter().chain(cut).collect();
        chain.sort_by_key(|(at, _)| *at);
        for (_, step) in chain {
            story.push_str("; ");
            story.push_str(&step);
        }
        story.push_str(&format!(
            "; at {} {} did not find the session: {}",
            clock(now),
            name(request.server),
            cause.name()
        ));
        self.stories.told.push(story);
    }
}
