//! Round robin, as `ip_vs_rr.c` in Linux 6.1 does it: weights other than 0 make no difference.

use super::{Destinations, SchedulerRequest};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// The scheduler `rr`.
///
/// The search goes on behind the server chosen last, so after new servers at the head have been added it first
/// finishes the round.
#[derive(Clone, Debug, Default)]
pub struct LvsRr {
    /// The server chosen last; `None` is the list's head, where a service starts.
    last: Option<ServerId>,
}

impl Balancer for LvsRr {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        request.reason = Reason::NoneUsable;
        // One round: what lies behind the last one, then the list from its head up to and with the last one.
        let rest = servers.after(self.last);
        let again = servers.iter().take(if self.last.is_some() { servers.len() } else { 0 });
        let (server, _) = rest.chain(again).find(|(_, record)| record.usable())?;
        self.last = Some(server);
        request.reason = Reason::Scheduled { tie: false };
        Some(server)
    }

    /// When the server chosen last is deleted, the pointer moves to the one before it (`ip_vs_rr_del_dest`).
    fn servers_changed(&mut self, servers: &Destinations) {
        if let Some(last) = self.last
            && !servers.get(last).is_some_and(|record| record.listed)
        {
            self.last = servers.before(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Destinations {
        let mut list = Destinations::new();
        for server in 0..3 {
            list.add(ServerId(server), 1, 0, 0);
        }
        list
    }

    fn picks(scheduler: &mut LvsRr, list: &mut Destinations, count: usize) -> Vec<u16> {
        let mut request = SchedulerRequest::new([10, 0, 0, 1].into(), 1024);
        (0..count).map(|_| scheduler.pick(list, &mut request).unwrap().0).collect()
    }

    #[test]
    fn it_starts_with_the_server_added_last() {
        assert_eq!(picks(&mut LvsRr::default(), &mut three(), 4), [2, 1, 0, 2]);
    }

    #[test]
    fn deleting_the_pointed_server_moves_the_pointer_back() {
        let (mut scheduler, mut list) = (LvsRr::default(), three());
        assert_eq!(picks(&mut scheduler, &mut list, 2), [2, 1]);
        list.remove(ServerId(1));
        scheduler.servers_changed(&list);
        assert_eq!(picks(&mut scheduler, &mut list, 2), [0, 2]);
    }

    #[test]
    fn deleting_the_pointed_head_starts_over() {
        let (mut scheduler, mut list) = (LvsRr::default(), three());
        assert_eq!(picks(&mut scheduler, &mut list, 1), [2]);
        list.remove(ServerId(2));
        scheduler.servers_changed(&list);
        assert_eq!(picks(&mut scheduler, &mut list, 2), [1, 0]);
    }

    #[test]
    fn a_server_added_waits_until_the_round_is_over() {
        let (mut scheduler, mut list) = (LvsRr::default(), three());
        assert_eq!(picks(&mut scheduler, &mut list, 1), [2]);
        list.add(ServerId(3), 1, 0, 0);
        scheduler.servers_changed(&list);
        assert_eq!(picks(&mut scheduler, &mut list, 4), [1, 0, 3, 2]);
    }

    #[test]
    fn the_only_usable_server_is_chosen_again() {
        let (mut scheduler, mut list) = (LvsRr::default(), three());
        list.set_weight(ServerId(0), 0);
        list.set_weight(ServerId(2), 0);
        assert_eq!(picks(&mut scheduler, &mut list, 2), [1, 1]);
        list.set_weight(ServerId(1), 0);
        let mut request = SchedulerRequest::new([10, 0, 0, 1].into(), 1024);
        assert_eq!(scheduler.pick(&mut list, &mut request), None);
    }
}
