//! Results on their way back: to the neighbour that the order came from, hop by hop, until a keeper
//! has them; straight to a keeper where that way does not answer.
//!
//! Nobody on the way opens a result: its signature is for the issuer to check. A host holds its own
//! results until a keeper that the order names has signed that they are on its disk; who only carries
//! them holds nothing, and who says so in a keeper's place is not believed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use super::Message;
use crate::{
    identity::{EntryId, HostId, Signed, SignedError},
    replica::{Receipt, Replica, Report},
    time::Timestamp,
    wire::Bytes,
};

/// How long a result may be on its way before it is offered again, another way.
pub const RETRY_AFTER: Duration = Duration::from_secs(10);
/// And before the first time: receipts come within a fraction of a second, and a link that was given up on
/// the way takes with it what it carried. Soon enough for who waits the five seconds that `run` does.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// Offers after which a result counts as settled that some keeper has, though not the issuer's own host,
/// which is the one that is asked for it.
const OFFERS_TO_THE_FIRST: usize = 4;
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
    /// The issuer's own host.
    first: Option<HostId>,
    /// Whether some other keeper has it.
    elsewhere: bool,
}

impl Own {
    fn is_settled(&self) -> bool {
        self.elsewhere && self.tries >= OFFERS_TO_THE_FIRST
    }
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
            let first = keepers(&order, replica).first().copied();
            if first == Some(self.me) {
                out.keep.push(report.clone());
            } else if let Some(stop) = self.next_stop(&order, replica, linked) {
                out.send.entry(stop).or_default().push(report.clone());
            }
            let again = now.after(RETRY_FIRST);
            self.own.insert(order, Own { report, again, tries: 0, first, elsewhere: false });
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

    /// Reports that this host keeps are on its disk: its receipt goes towards the hosts they are of.
    pub fn kept(&mut self, receipt: &Signed<Receipt>) -> Vec<Returned> {
        let mut returned = Vec::new();
        let mut ways = BTreeSet::new();
        let keeper = HostId::of(&receipt.signer());
        for kept in &receipt.body().kept {
            if kept.host != self.me {
                ways.extend(self.carried.get(&(kept.order, kept.host)));
                continue;
            }
            let own = self.own.get_mut(&kept.order).filter(|own| own.report.record_hash() == kept.record);
            let Some(own) = own else { continue };
            own.elsewhere |= own.first != Some(keeper);
            if own.first == Some(keeper) || own.is_settled() {
                self.own.remove(&kept.order);
                returned.push(Returned::Settle(kept.order));
            }
        }
        let settled = || Message::Settled { receipt: Bytes::from(receipt.bytes()) };
        returned.extend(ways.into_iter().map(|way| Returned::Send(way, settled())));
        returned
    }

    /// A receipt came from a neighbour: passed on, and believed, if all of it is by a keeper of the orders
    /// it names. One for orders that are not known here says nothing to anybody.
    ///
    /// # Errors
    /// When its signature does not match: no honest host passes that on.
    pub fn settled(
        &mut self,
        from: HostId,
        receipt: &[u8],
        replica: &Replica,
    ) -> Result<Vec<Returned>, SignedError> {
        let receipt = Signed::<Receipt>::verify(receipt, replica.fleet())?;
        let keeper = HostId::of(&receipt.signer());
        let kept = &receipt.body().kept;
        if !kept.iter().all(|kept| keepers(&kept.order, replica).contains(&keeper)) {
            return Ok(Vec::new());
        }
        let mut returned = self.kept(&receipt);
        returned.retain(|one| !matches!(one, Returned::Send(to, _) if *to == from));
        Ok(returned)
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
        let settled: Vec<EntryId> =
            self.own.iter().filter(|(_, own)| own.is_settled()).map(|(order, _)| *order).collect();
        for order in &settled {
            self.own.remove(order);
        }
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
        returned.extend(settled.into_iter().map(Returned::Settle));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authority::{
            AGENT_USER,
            sample::{Fleet, HOUR_MS, NOW, certificate, host_id, key, later},
        },
        identity::{Operator, Stream},
        replica::{Action, Entry, Kept, Limits, Order, Roster},
    };

    const ME: u8 = 1;
    const KEEPER: u8 = 2;
    const LIAR: u8 = 3;
    const SECOND: u8 = 4;

    struct Waiting {
        fleet: Fleet,
        replica: Replica,
        returns: Returns,
        report: Report,
    }

    /// A host whose result is on its way by a liar to a keeper.
    fn waiting() -> Waiting {
        let ana = key::<Operator>(1);
        let (fleet, certificates) = Fleet::with(&[certificate("ana", &ana)]);
        let mut replica = Replica::new(fleet.authority());
        let order = Order {
            nonce: [1; 16],
            certificate: certificates[0],
            issued: NOW,
            expires: later(HOUR_MS),
            selector: "all".to_owned(),
            roster: Roster::Inline { hosts: vec![host_id(ME)] },
            action: Action::Argv { argv: vec![Bytes::from(&b"true"[..])] },
            run_as: AGENT_USER.to_owned(),
            limits: Limits { timeout_ms: 1000, output_bytes_max: 1000 },
            keepers: vec![host_id(KEEPER), host_id(SECOND)],
            reason: None,
        };
        let order = Signed::sign(fleet.id(), &ana, order);
        let id = order.id();
        replica.merge(Entry::Order(order), &[]).unwrap();
        let mut returns = Returns::new(host_id(ME));
        returns.came(id, host_id(LIAR));
        let record = Bytes(vec![7; 100]);
        let report = Report { order: id, host: host_id(ME), record, stdout: None, stderr: None };
        let sent = returns.own(vec![report.clone()], NOW, &replica, &[host_id(LIAR)]);
        assert_eq!(sent, [Returned::Send(host_id(LIAR), Message::Reports { reports: vec![report.clone()] })]);
        Waiting { fleet, replica, returns, report }
    }

    impl Waiting {
        fn told(&mut self, by: u8, kept: Kept) -> Vec<Returned> {
            let receipt = Signed::sign(self.fleet.id(), &key::<Stream>(by), Receipt { kept: vec![kept] });
            self.returns.settled(host_id(LIAR), receipt.bytes(), &self.replica).unwrap()
        }
    }

    #[test]
    fn only_a_keeper_that_the_order_names_settles_a_result_and_only_the_one_it_keeps() {
        let mut waiting = waiting();
        let kept = waiting.report.kept();
        assert_eq!(waiting.told(LIAR, kept), []);
        assert_eq!(waiting.told(KEEPER, Kept { record: [0; 32], ..kept }), []);
        let honest = Signed::sign(waiting.fleet.id(), &key::<Stream>(KEEPER), Receipt { kept: vec![kept] });
        let mut altered = honest.bytes().to_vec();
        *altered.last_mut().unwrap() ^= 1;
        let forged = waiting.returns.settled(host_id(LIAR), &altered, &waiting.replica);
        assert_eq!(forged, Err(SignedError::BadSignature));
        assert_eq!(waiting.returns.unsettled(), 1);
        assert_eq!(waiting.told(KEEPER, kept), [Returned::Settle(kept.order)]);
        assert_eq!(waiting.returns.unsettled(), 0);
    }

    #[test]
    fn a_result_that_only_another_keeper_has_is_offered_again_before_it_counts_as_settled() {
        let mut waiting = waiting();
        let kept = waiting.report.kept();
        assert_eq!(waiting.told(SECOND, kept), []);
        let (mut now, mut offers) = (NOW, 0);
        let linked = [host_id(LIAR), host_id(KEEPER)];
        let settled = loop {
            now = now.after(RETRY_AFTER);
            let returned = waiting.returns.tick(now, &waiting.replica, &linked);
            if returned == [Returned::Settle(kept.order)] {
                break waiting.returns.unsettled();
            }
            let reports = Message::Reports { reports: vec![waiting.report.clone()] };
            assert_eq!(returned, [Returned::Send(host_id(KEEPER), reports)]);
            offers += 1;
        };
        assert_eq!((settled, offers), (0, OFFERS_TO_THE_FIRST));
    }

    #[test]
    fn the_first_keeper_settles_what_another_has_already() {
        let mut waiting = waiting();
        let kept = waiting.report.kept();
        assert_eq!(waiting.told(SECOND, kept), []);
        assert_eq!(waiting.told(KEEPER, kept), [Returned::Settle(kept.order)]);
        assert_eq!(waiting.returns.unsettled(), 0);
    }

    #[test]
    fn a_result_without_a_receipt_is_offered_again_within_two_seconds() {
        let mut waiting = waiting();
        let linked = [host_id(KEEPER)];
        assert_eq!(waiting.returns.tick(NOW.after(RETRY_FIRST / 2), &waiting.replica, &linked), []);
        let again = waiting.returns.tick(NOW.after(RETRY_FIRST), &waiting.replica, &linked);
        let reports = Message::Reports { reports: vec![waiting.report.clone()] };
        assert_eq!(again, [Returned::Send(host_id(KEEPER), reports)]);
    }

    #[test]
    fn a_receipt_goes_on_towards_the_host_and_never_back() {
        let Waiting { fleet, replica, report, .. } = waiting();
        let kept = report.kept();
        let mut relay = Returns::new(host_id(LIAR));
        relay.reports(host_id(ME), vec![report], &replica, &[host_id(ME), host_id(KEEPER)]);
        let receipt = Signed::sign(fleet.id(), &key::<Stream>(KEEPER), Receipt { kept: vec![kept] });
        let on = Message::Settled { receipt: Bytes::from(receipt.bytes()) };
        let from_keeper = relay.settled(host_id(KEEPER), receipt.bytes(), &replica).unwrap();
        assert_eq!(from_keeper, [Returned::Send(host_id(ME), on)]);
        assert_eq!(relay.settled(host_id(ME), receipt.bytes(), &replica), Ok(Vec::new()));
    }
}
