//! Results on their way back: to the neighbour that the order came from, hop by hop, until a keeper
//! has them; straight to a keeper where that way does not answer.
//!
//! Nobody on the way opens a result: its signature is for the issuer to check. A host holds its own
//! results until a keeper has said that they are on its disk; who only carries them holds nothing.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use super::Message;
use crate::{
    identity::{EntryId, HostId},
    replica::{Replica, Report},
    time::Timestamp,
};

/// How long a result may be on its way before it is offered again, another way.
pub const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Orders whose way is remembered.
const WAYS_MAX: usize = 4096;
/// Hosts whose results came by here and are not settled yet.
const CARRIED_MAX: usize = 65_536;
/// Reports in one message.
const REPORTS_A_MESSAGE: usize = 32;

/// What is to be done about results.
#[derive(Debug, PartialEq, Eq)]
pub enum Returned {
    /// Send this.
    Send(HostId, Message),
    /// This host is a keeper: keep these.
    Keep(Vec<Report>),
    /// This host's own result is with a keeper.
    Settle(EntryId),
    /// This host is a keeper: these hosts work on the order.
    Running(EntryId, Vec<HostId>),
    /// Connect to this keeper.
    Reach(HostId),
}

#[derive(Debug)]
struct Own {
    report: Report,
    again: Timestamp,
    tries: usize,
}

/// The ways of orders and results through this host.
#[derive(Debug)]
pub struct Returns {
    me: HostId,
    /// Which neighbour an order came from first.
    ways: HashMap<EntryId, HostId>,
    ways_order: VecDeque<EntryId>,
    /// Which neighbour a host's result came from.
    carried: HashMap<(EntryId, HostId), HostId>,
    carried_order: VecDeque<(EntryId, HostId)>,
    own: BTreeMap<EntryId, Own>,
}

impl Returns {
    /// Nothing on its way.
    pub fn new(me: HostId) -> Self {
        Self {
            me,
            ways: HashMap::new(),
            ways_order: VecDeque::new(),
            carried: HashMap::new(),
            carried_order: VecDeque::new(),
            own: BTreeMap::new(),
        }
    }

    /// How many results of this host no keeper has yet.
    pub fn unsettled(&self) -> usize {
        self.own.len()
    }

    /// Which neighbour leads to a host whose result came by here.
    pub fn way_to(&self, order: EntryId, host: HostId) -> Option<HostId> {
        self.carried.get(&(order, host)).copied()
    }

    /// An entry came from a neighbour: if it is an order, that is where results go. The first stays.
    pub fn came(&mut self, order: EntryId, from: HostId) {
        if self.ways.contains_key(&order) {
            return;
        }
        self.ways.insert(order, from);
        self.ways_order.push_back(order);
        if self.ways_order.len() > WAYS_MAX
            && let Some(oldest) = self.ways_order.pop_front()
        {
            self.ways.remove(&oldest);
        }
    }

    /// The next stop for what belongs to an order: the way it came, else a keeper that is linked.
    fn next_stop(&self, order: &EntryId, replica: &Replica, linked: &[HostId]) -> Option<HostId> {
        if let Some(way) = self.ways.get(order)
            && linked.contains(way)
        {
            return Some(*way);
        }
        keepers(order, replica).into_iter().find(|keeper| linked.contains(keeper))
    }

    /// Results of this host.
    pub fn own(
        &mut self,
        reports: Vec<Report>,
        now: Timestamp,
        replica: &Replica,
        linked: &[HostId],
    ) -> Vec<Returned> {
        let mut out = Out::default();
        for report in reports {
            let order = report.order;
            if keepers(&order, replica).first() == Some(&self.me) {
                out.keep.push(report.clone());
            } else if let Some(stop) = self.next_stop(&order, replica, linked) {
                out.send.entry(stop).or_default().push(report.clone());
            }
            self.own.insert(order, Own { report, again: now.after(RETRY_AFTER), tries: 0 });
        }
        out.done()
    }

    /// Reports came from a neighbour.
    pub fn reports(
        &mut self,
        from: HostId,
        reports: Vec<Report>,
        replica: &Replica,
        linked: &[HostId],
    ) -> Vec<Returned> {
        let mut out = Out::default();
        for report in reports {
            // Only for orders that are known, and hosts that they name.
            let known = replica
                .order(&report.order)
                .is_some_and(|order| order.body().roster.index_of(&report.host).is_some());
            if !known || report.host == self.me {
                continue;
            }
            self.carry((report.order, report.host), from);
            let keepers = keepers(&report.order, replica);
            if keepers.contains(&self.me) {
                out.keep.push(report.clone());
                if keepers.first() == Some(&self.me) {
                    continue;
                }
            }
            // A keeper that is not the issuer's own host passes it on as well, if there is a way.
            if let Some(stop) = self.next_stop(&report.order, replica, linked)
                && stop != from
            {
                out.send.entry(stop).or_default().push(report);
            }
        }
        out.done()
    }

    fn carry(&mut self, key: (EntryId, HostId), from: HostId) {
        if self.carried.insert(key, from).is_none() {
            self.carried_order.push_back(key);
            if self.carried_order.len() > CARRIED_MAX
                && let Some(oldest) = self.carried_order.pop_front()
            {
                self.carried.remove(&oldest);
            }
        }
    }

    /// Reports that this host keeps are on its disk: say so, towards the hosts they are of.
    pub fn kept(&mut self, kept: Vec<(EntryId, HostId)>) -> Vec<Returned> {
        let mut returned = Vec::new();
        let mut settled: BTreeMap<HostId, Vec<(EntryId, HostId)>> = BTreeMap::new();
        for (order, host) in kept {
            if host == self.me {
                if self.own.remove(&order).is_some() {
                    returned.push(Returned::Settle(order));
                }
            } else if let Some(way) = self.carried.get(&(order, host)) {
                settled.entry(*way).or_default().push((order, host));
            }
        }
        returned.extend(
            settled.into_iter().map(|(to, settled)| Returned::Send(to, Message::Settled { settled })),
        );
        returned
    }

    /// A keeper holds these; the word came from a neighbour.
    pub fn settled(&mut self, from: HostId, settled: Vec<(EntryId, HostId)>) -> Vec<Returned> {
        let not_back = settled.into_iter().filter(|key| self.carried.get(key) != Some(&from)).collect();
        self.kept(not_back)
    }

    /// Hosts work on an order.
    pub fn running(
        &mut self,
        from: Option<HostId>,
        order: EntryId,
        hosts: Vec<HostId>,
        replica: &Replica,
        linked: &[HostId],
    ) -> Vec<Returned> {
        let Some(admitted) = replica.order(&order) else { return Vec::new() };
        let hosts: Vec<_> =
            hosts.into_iter().filter(|host| admitted.body().roster.index_of(host).is_some()).collect();
        let keepers = keepers(&order, replica);
        let mut returned = Vec::new();
        if keepers.contains(&self.me) {
            returned.push(Returned::Running(order, hosts.clone()));
        }
        if keepers.first() != Some(&self.me)
            && let Some(stop) = self.next_stop(&order, replica, linked)
            && Some(stop) != from
        {
            returned.push(Returned::Send(stop, Message::Running { order, hosts }));
        }
        returned
    }

    /// A new link: what is unsettled goes there at once if that is a keeper, and by it if nothing else
    /// leads anywhere.
    pub fn linked(&mut self, peer: HostId, now: Timestamp, replica: &Replica) -> Vec<Returned> {
        let mut out = Out::default();
        for (order, own) in &mut self.own {
            if keepers(order, replica).contains(&peer) {
                own.again = now.after(RETRY_AFTER);
                out.send.entry(peer).or_default().push(own.report.clone());
            }
        }
        out.done()
    }

    /// Offers again what is due: to the next keeper in turn, linked or to be reached.
    pub fn tick(&mut self, now: Timestamp, replica: &Replica, linked: &[HostId]) -> Vec<Returned> {
        let mut out = Out::default();
        let mut reach = HashSet::new();
        let me = self.me;
        for (order, own) in &mut self.own {
            if own.again > now {
                continue;
            }
            own.again = now.after(RETRY_AFTER);
            let keepers: Vec<_> = keepers(order, replica);
            if keepers.first() == Some(&me) {
                out.keep.push(own.report.clone());
                continue;
            }
            // This host holds its own result anyway; as a keeper it counts for others alone.
            let keepers: Vec<_> = keepers.into_iter().filter(|keeper| *keeper != me).collect();
            let mut offered = false;
            for keeper in keepers.iter().filter(|keeper| linked.contains(keeper)) {
                out.send.entry(*keeper).or_default().push(own.report.clone());
                offered = true;
            }
            if !offered {
                // Any neighbour may lead to a keeper; the keepers themselves are tried in turn.
                if let Some(neighbour) = linked.get(own.tries % linked.len().max(1)) {
                    out.send.entry(*neighbour).or_default().push(own.report.clone());
                }
                if let Some(keeper) = keepers.get(own.tries % keepers.len().max(1)) {
                    reach.insert(*keeper);
                }
            }
            own.tries += 1;
        }
        let mut returned = out.done();
        returned.extend(reach.into_iter().map(Returned::Reach));
        returned
    }
}

fn keepers(order: &EntryId, replica: &Replica) -> Vec<HostId> {
    replica.order(order).map(|order| order.body().keepers.clone()).unwrap_or_default()
}

/// Reports gathered by where they go.
#[derive(Default)]
struct Out {
    send: BTreeMap<HostId, Vec<Report>>,
    keep: Vec<Report>,
}

impl Out {
    fn done(self) -> Vec<Returned> {
        let mut returned = Vec::new();
        if !self.keep.is_empty() {
            returned.push(Returned::Keep(self.keep));
        }
        for (to, reports) in self.send {
            for reports in reports.chunks(REPORTS_A_MESSAGE) {
                returned.push(Returned::Send(to, Message::Reports { reports: reports.to_vec() }));
            }
        }
        returned
    }
}
