//! What operators do to servers: drain them, take them out, change their weight, reload nginx.
//!
//! Each program is told in its own way what follows from all operations that go on at a time.

use super::Cluster;
use super::scaling::Scaled;
use crate::balancer::haproxy::Admin;
use crate::engine::SimTime;
use crate::ids::ServerId;
use crate::metrics::LossCause;
use crate::scenario::{FaultKind, Program};
use crate::session::sessions::Session;
use crate::tier::{Instance, Reason};

impl Cluster<'_> {
    /// Tells the balancer what is to be done with a server.
    pub(super) fn operate(&mut self, now: SimTime, server: ServerId) {
        self.operated_at = Some(now);
        let has = |wanted: fn(&FaultKind) -> bool| self.faults.of(server).any(wanted);
        let down = has(|kind| *kind == FaultKind::Down);
        let drained = has(|kind| matches!(kind, FaultKind::Drain { .. }));
        let weight = self.faults.of(server).rev().find_map(|kind| match kind {
            FaultKind::Weight { to } => Some(*to),
            _ => None,
        });
        let place = server.index();
        let scaled = self.faults.servers[server].scaled;
        let plan = &self.strategy.tier.program;
        // A server that a check has taken out comes back by the check.
        let lists: Vec<_> =
            (0..self.tier.instances.len()).map(|instance| self.tier.lists(instance, server)).collect();
        let configured = self.tier.weights.get(place).copied().unwrap_or(1);
        for (instance, listed) in self.tier.instances.iter_mut().zip(lists) {
            match (instance, plan) {
                (Instance::Nginx(nginx), Program::Nginx(plan)) => {
                    let mut config = nginx.config().clone();
                    let (line, configured) = (&mut config.servers[place], &plan.servers[place]);
                    let to = weight.unwrap_or(configured.weight);
                    line.weight = if to == 0 { configured.weight } else { to };
                    line.down = configured.down || down || to == 0;
                    line.drain = !line.down && (configured.drain || drained);
                    line.absent = matches!(scaled, Scaled::Booting(_) | Scaled::Off);
                    if config.check().is_err() {
                        // A version or method without `drain`.
                        let line = &mut config.servers[place];
                        let drains = std::mem::take(&mut line.drain);
                        line.absent |= drains && scaled != Scaled::Serving;
                        line.down |= drains;
                    }
                    // An nginx that refuses a new configuration goes on with the old one.
                    if config.check().is_ok() {
                        nginx.reload(now, config);
                    }
                }
                (Instance::HaProxy(haproxy), Program::HaProxy(plan)) => {
                    let configured = &plan.servers[place].server;
                    let admin = match (down || configured.disabled, drained) {
                        (true, _) => Admin::Maint,
                        (false, true) => Admin::Drain,
                        (false, false) => Admin::Ready,
                    };
                    haproxy.set_weight(now, server, weight.unwrap_or(configured.weight));
                    haproxy.set_admin(now, server, admin);
                }
                (instance @ (Instance::Lvs(_) | Instance::Proxy(_)), _) => {
                    let weight = if drained { 0 } else { weight.unwrap_or(configured) };
                    if down {
                        instance.remove_server(now, server);
                    } else if listed && instance.uses(server) {
                        instance.add_server(now, server, weight);
                        instance.set_weight(now, server, weight);
                    }
                }
                (Instance::Nginx(_) | Instance::HaProxy(_), _) => {}
            }
        }
    }

    /// nginx is reloaded with the configuration that it has.
    pub(super) fn reload(&mut self, now: SimTime) {
        for instance in &mut self.tier.instances {
            if let Instance::Nginx(nginx) = instance {
                self.operated_at = Some(now);
                nginx.reload(now, nginx.config().clone());
            }
        }
    }

    /// What operations make of the cause of a departure from a session's home.
    #[inline]
    pub(super) fn planned_cause(&self, session: &Session, reason: Reason, cause: LossCause) -> LossCause {
        let Some(operated_at) = self.operated_at else { return cause };
        // A template that ran out would have done so anyway, unless the director drops those of such servers.
        let down = self.faults.of(session.home).any(|kind| *kind == FaultKind::Down);
        let drops_templates = match &self.strategy.tier.program {
            Program::Lvs(config) if down => config.sysctl.expire_nodest_conn,
            Program::Lvs(config) => config.sysctl.expire_quiescent_template,
            Program::Nginx(_) | Program::HaProxy(_) | Program::Proxy(_) => false,
        };
        if cause == LossCause::NoAffinity || cause == LossCause::AffinityExpired && !drops_templates {
            return cause;
        }
        let kept_away = |kind: &FaultKind| kind.is_planned() && kind.keeps_clients_away();
        if self.faults.of(session.home).any(kept_away) {
            LossCause::Drained
        } else if reason == Reason::Hashed && session.routed_home_at < operated_at {
            LossCause::Remapped
        } else {
            cause
        }
    }
}
