//! Results on their way back: straight to the issuer's host where that is a neighbour, else to the
//! neighbour that the order came from, hop by hop, until a keeper has them; straight to a keeper where
//! that way does not answer.
//!
//! Nobody on the way opens a result: its signature is for the issuer to check. A host holds its own
//! results until a keeper has said that they are on its disk; who only carries them holds the way back and, as
//! long as there is room and no receipt came by, what it handed on: when the link is gone that it took, it takes
//! the next way, which is another neighbour that delivered the order. So a parent that is lost costs latency, never
//! data, and no keeper is dialled for it: that is for when neighbours were tried. A keeper that is not the issuer's
//! host owes it what it keeps, and offers that when it meets it.
//!
//! Where the roster is large, results and words are gathered for a moment (`window`) and put together (`combine`).
//!
//! *Who may settle:* a keeper that the order names, by its signature over the very record. Whoever passes
//! that on can only lose it, and then the result is offered again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

use super::{
    Message, NoResults, Row,
    combine::{
        COMBINED_HOSTS_MAX, SMALL_ROSTER, fits, in_messages, mark, pack_places, unpack, unpack_places,
    },
    held::Held,
    window::{self, Leaving, Windows},
};
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
/// And so many moments later where results are gathered: a deep tree takes about as long, and its receipts.
const RETRY_FIRST_MOMENTS: u32 = 4;
/// Keepers are dialled over so long a time for each host of a large roster: fifty hosts a second.
const REACH_SPREAD: Duration = Duration::from_millis(20);
/// And no later than this after the first try.
const REACH_MOST: Duration = Duration::from_secs(600);
/// The wait doubles up to this while nobody answers.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// The same report is not passed on again within this, so that no circle of ways keeps it running.
const PASS_AGAIN_AFTER: Duration = Duration::from_millis(1500);
/// A result of an order that is not known here, or no longer, is held for so long.
const UNKNOWN_MAX: Duration = Duration::from_secs(2 * 3600);
/// How soon a keeper tries again to pass on what it owes; doubles up to the longest.
const OWED_EVERY: Duration = Duration::from_secs(2);
const OWED_EVERY_MAX: Duration = Duration::from_secs(960);
/// So often it tries; after that when it meets the issuer's host, or has more for one.
const OWED_TRIES_MAX: u32 = 12;
/// Keepers that one step asks to reach.
const REACH_MAX: usize = 8;
/// Orders whose way is remembered.
const WAYS_MAX: usize = 4096;
/// Hosts whose results or starts came by here and are remembered.
const CARRIED_MAX: usize = 65_536;
/// Results of this host that are held in memory until they are settled; the executor has all of them.
const OWN_MAX: usize = 8192;
/// Neighbours that one result came from and that are remembered.
const ENDS_MAX: usize = 3;
/// Neighbours that delivered an order and are remembered, the first one first.
const WAYS_A_ORDER: usize = 3;
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
    /// Send these, which this host keeps.
    Pass(HostId, Vec<(EntryId, HostId)>),
    /// Say in so long that it is time, see [`Returns::woken`].
    Wake(Duration),
}

/// A table that forgets what it took in first.
#[derive(Debug)]
struct Bounded<K, V> {
    rows: HashMap<K, V>,
    order: VecDeque<K>,
    limit: usize,
}

impl<K: Eq + Hash + Copy, V> Bounded<K, V> {
    fn new(limit: usize) -> Self {
        Self { rows: HashMap::new(), order: VecDeque::new(), limit }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.rows.get_mut(key)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.rows.insert(key, value).is_none() {
            self.order.push_back(key);
            if self.order.len() > self.limit
                && let Some(oldest) = self.order.pop_front()
            {
                self.rows.remove(&oldest);
            }
        }
    }
}

/// A few neighbours, the newest last.
#[derive(Clone, Debug, Default)]
struct Ends(Vec<HostId>);

impl Ends {
    fn add(&mut self, host: HostId) {
        self.0.retain(|other| *other != host);
        self.0.push(host);
        if self.0.len() > ENDS_MAX {
            self.0.remove(0);
        }
    }
}

#[derive(Debug)]
struct Own {
    report: Report,
    /// When its order was last known here.
    known: Timestamp,
    again: Timestamp,
    tries: u32,
    /// Where it was sent last, along the way of its order.
    sent: Option<HostId>,
    /// From when on keepers may be dialled for it.
    reach: Timestamp,
}

impl Own {
    fn wait(&self) -> Duration {
        (RETRY_AFTER * (1_u32 << self.tries.saturating_sub(1).min(6))).min(RETRY_AFTER_MAX)
    }
}

#[derive(Debug, Default)]
struct Carried {
    from: Ends,
    mark: [u8; 32],
    passed: Timestamp,
    /// How often the same was passed on before that.
    turns: usize,
    /// Whose receipts were passed on since.
    told: Ends,
    /// Whether the issuer's host has it.
    settled: bool,
}

/// The ways of orders and results through this host.
#[derive(Debug)]
pub struct Returns {
    me: HostId,
    /// Which neighbours an order came from, the first one first.
    ways: Bounded<EntryId, Vec<HostId>>,
    /// Which neighbour a host's result came from.
    carried: Bounded<(EntryId, HostId), Carried>,
    /// When word that a host works on an order was last passed on.
    /// When a start was passed on last, and which neighbour it came from.
    started: Bounded<(EntryId, HostId), (Timestamp, Option<HostId>)>,
    own: BTreeMap<EntryId, Own>,
    windows: Windows,
    held: Held,
    /// What is kept here and the issuer's host may not have.
    owed: BTreeMap<EntryId, BTreeSet<HostId>>,
    owed_again: Timestamp,
    owed_tries: u32,
    offered_again: usize,
}

impl Returns {
    /// Nothing on its way.
    pub fn new(me: HostId) -> Self {
        Self {
            me,
            ways: Bounded::new(WAYS_MAX),
            carried: Bounded::new(CARRIED_MAX),
            started: Bounded::new(CARRIED_MAX),
            own: BTreeMap::new(),
            windows: Windows::default(),
            held: Held::default(),
            owed: BTreeMap::new(),
            owed_again: Timestamp(0),
            owed_tries: 0,
            offered_again: 0,
        }
    }

    /// How many results of this host no keeper has yet.
    pub fn unsettled(&self) -> usize {
        self.own.len()
    }

    /// Which neighbour leads to a host whose result, or word that it works on the order, came by here.
    pub fn way_to(&self, order: EntryId, host: HostId) -> Option<HostId> {
        let key = (order, host);
        let result = self.carried.get(&key).and_then(|carried| carried.from.0.last()).copied();
        result.or_else(|| self.started.get(&key).and_then(|(_, from)| *from))
    }

    /// How often results of this host were offered again since it was started.
    pub fn offered_again(&self) -> usize {
        self.offered_again
    }

    /// How many reports are held that were handed on.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// An order came from a neighbour and was taken: that is where results go.
    pub fn came(&mut self, order: EntryId, from: HostId) {
        match self.ways.get_mut(&order) {
            Some(ways) => {
                ways.retain(|way| *way != from);
                ways.insert(0, from);
                ways.truncate(WAYS_A_ORDER);
            }
            None => self.ways.insert(order, vec![from]),
        }
    }

    /// Another neighbour has an order that is here, or about to be: a way for when the first is gone.
    pub fn comes_again(&mut self, order: EntryId, from: HostId) {
        match self.ways.get_mut(&order) {
            Some(ways) if ways.len() < WAYS_A_ORDER && !ways.contains(&from) => ways.push(from),
            Some(_) => {}
            None => self.ways.insert(order, vec![from]),
        }
    }

    /// The neighbour that an order came from first.
    pub(super) fn came_from(&self, order: &EntryId) -> Option<HostId> {
        self.ways.get(order).and_then(|ways| ways.first()).copied()
    }

    /// The neighbours that an order came from and that are linked, but for one.
    fn ways(&self, order: &EntryId, linked: &[HostId], but: Option<HostId>) -> Vec<HostId> {
        let ways = self.ways.get(order).into_iter().flatten();
        ways.copied().filter(|way| linked.contains(way) && Some(*way) != but).collect()
    }

    /// The next stop for what belongs to an order: the issuer's host if it is linked, a way it came (another one
    /// each turn), else another keeper that is linked.
    fn next_stop(
        &self,
        order: &EntryId,
        replica: &Replica,
        linked: &[HostId],
        from: Option<HostId>,
        turn: usize,
    ) -> Option<HostId> {
        let keepers = keepers(order, replica);
        let may = |host: &&HostId| linked.contains(host) && Some(**host) != from;
        let ways = self.ways(order, linked, from);
        keepers
            .first()
            .filter(may)
            .or_else(|| ways.get(turn % ways.len().max(1)))
            .or_else(|| keepers.iter().find(may))
            .copied()
    }

    /// Sends what was gathered by where it goes: what is of large rosters at its moment.
    fn send(&mut self, out: Out, now: Timestamp, replica: &Replica) -> Vec<Returned> {
        let mut returned = Vec::new();
        if !out.keep.is_empty() {
            returned.push(Returned::Keep(out.keep));
        }
        for (to, reports) in out.send {
            let mut by_order: BTreeMap<EntryId, Vec<Report>> = BTreeMap::new();
            for report in reports {
                by_order.entry(report.order).or_default().push(report);
            }
            let mut at_once = Vec::new();
            for (order, reports) in by_order {
                let length = window::length(size(&order, replica));
                let leaving = self.windows.offer(to, order, reports, length, now);
                at_once.extend(leaving.reports);
                returned.extend(self.words(to, order, &leaving.working, replica));
            }
            let messages = in_messages(at_once, replica);
            returned.extend(messages.into_iter().map(|message| Returned::Send(to, message)));
        }
        returned.extend(self.windows.wake(now).map(Returned::Wake));
        returned
    }

    /// Says who works on an order, but for those whose results went by.
    fn words(
        &self,
        to: HostId,
        order: EntryId,
        working: &BTreeSet<HostId>,
        replica: &Replica,
    ) -> Vec<Returned> {
        let Some(seats) = replica.seats(&order) else { return Vec::new() };
        let is_done = |host: &HostId| {
            let is_own = *host == self.me && self.own.contains_key(&order);
            is_own || self.carried.get(&(order, *host)).is_some()
        };
        let places = working.iter().filter(|host| !is_done(host)).filter_map(|host| seats.index_of(host));
        let places: Vec<u32> = places.collect();
        let word = |places: &[u32]| {
            let working = Some(pack_places(places.iter().copied()));
            Returned::Send(to, Message::Combined { order, rows: Vec::new(), working })
        };
        places.chunks(COMBINED_HOSTS_MAX).map(word).collect()
    }

    /// A moment may be over: sends what was gathered in it.
    pub fn woken(&mut self, now: Timestamp, replica: &Replica) -> Vec<Returned> {
        let mut returned = Vec::new();
        for (to, order, Leaving { reports, working }) in self.windows.ended(now) {
            let messages = in_messages(reports, replica);
            returned.extend(messages.into_iter().map(|message| Returned::Send(to, message)));
            returned.extend(self.words(to, order, &working, replica));
        }
        returned.extend(self.windows.wake(now).map(Returned::Wake));
        returned
    }

    /// A link is gone: what was handed over it and is not settled takes the next way.
    pub fn unlinked(
        &mut self,
        peer: HostId,
        now: Timestamp,
        replica: &Replica,
        linked: &[HostId],
    ) -> Vec<Returned> {
        let mut out = Out::default();
        let mut returned = Vec::new();
        // Its reports are among those that are held, or this host's own.
        for (order, leaving) in self.windows.gone(&peer) {
            let working: Vec<HostId> = leaving.working.iter().copied().collect();
            if let Some(stop) = self.next_stop(&order, replica, linked, None, 0)
                && !self.windows.works(stop, order, &working, window::length(size(&order, replica)), now)
            {
                returned.extend(self.words(stop, order, &leaving.working, replica));
            }
        }
        let lost = |own: &&Own| own.sent == Some(peer);
        let own: Vec<Report> = self.own.values().filter(lost).map(|own| own.report.clone()).collect();
        for report in own.into_iter().chain(self.held.gone(&peer)) {
            let key = (report.order, report.host);
            let from = self.carried.get(&key).and_then(|carried| carried.from.0.last()).copied();
            let any = || {
                let others: Vec<HostId> =
                    linked.iter().copied().filter(|other| Some(*other) != from).collect();
                others.get(usize::from(mark(&report)[0]) % others.len().max(1)).copied()
            };
            let Some(stop) = self.next_stop(&report.order, replica, linked, from, 0).or_else(any) else {
                continue;
            };
            match self.own.get_mut(&report.order).filter(|_| report.host == self.me) {
                Some(own) => own.sent = Some(stop),
                None => self.held.add(stop, report.clone()),
            }
            out.send.entry(stop).or_default().push(report);
        }
        returned.extend(self.send(out, now, replica));
        returned
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
            let mut sent = None;
            if keepers(&order, replica).first() == Some(&self.me) {
                out.keep.push(report.clone());
            } else if let Some(stop) = self.next_stop(&order, replica, linked, None, 0) {
                out.send.entry(stop).or_default().push(report.clone());
                sent = Some(stop);
            }
            let size = size(&order, replica);
            let again = now.after(RETRY_FIRST + window::length(size) * RETRY_FIRST_MOMENTS);
            let reach = again.after(spread(&self.me, size));
            self.own.insert(order, Own { report, known: now, again, tries: 0, sent, reach });
            if self.own.len() > OWN_MAX {
                let oldest = self.own.iter().min_by_key(|(_, own)| own.known).map(|(order, _)| *order);
                oldest.and_then(|order| self.own.remove(&order));
            }
        }
        self.send(out, now, replica)
    }

    /// Combined results of an order came from a neighbour.
    ///
    /// # Errors
    /// When they are none of that order: no honest host passes that on.
    pub fn combined(
        &mut self,
        order: EntryId,
        rows: &[Row],
        working: Option<&Bytes>,
        replica: &Replica,
    ) -> Result<(Vec<Report>, Vec<HostId>), NoResults> {
        let Some(seats) = replica.seats(&order) else { return Ok((Vec::new(), Vec::new())) };
        let working = working.map(|places| unpack_places(places, &seats)).transpose()?;
        Ok((unpack(order, rows, &seats, replica)?, working.unwrap_or_default()))
    }

    /// Reports came from a neighbour.
    pub fn reports(
        &mut self,
        from: HostId,
        reports: Vec<Report>,
        now: Timestamp,
        replica: &Replica,
        linked: &[HostId],
    ) -> Vec<Returned> {
        let mut out = Out::default();
        for report in reports.into_iter().filter(fits) {
            // Only for orders that are known, and hosts that they name.
            let Some(order) = replica.order(&report.order) else { continue };
            if !replica.seats_of(order.body()).is_some_and(|seats| seats.contains(&report.host)) {
                continue;
            }
            let key = (report.order, report.host);
            let keepers = &order.body().keepers;
            let mark = mark(&report);
            if self.carried.get(&key).is_none() {
                self.carried.insert(key, Carried::default());
            }
            let turn = self.carried.get(&key).filter(|carried| carried.mark == mark);
            let turn = turn.map_or(0, |carried| carried.turns + 1);
            let stop = self.next_stop(&report.order, replica, linked, Some(from), turn);
            let Some(carried) = self.carried.get_mut(&key) else { continue };
            carried.from.add(from);
            (carried.settled, carried.told) = (false, Ends::default());
            if keepers.contains(&self.me) {
                // What others say of this host is passed on like anything, but is not its own word.
                if report.host != self.me {
                    out.keep.push(report.clone());
                }
                if keepers.first() == Some(&self.me) {
                    continue;
                }
            }
            let again =
                carried.mark == mark && carried.passed <= now && now.since(carried.passed) < PASS_AGAIN_AFTER;
            // A keeper that is not the issuer's own host passes it on as well. Where no way is known, or it
            // would go back, any neighbour may know one; nobody passes it on twice in a moment.
            let others: Vec<HostId> = linked.iter().copied().filter(|peer| *peer != from).collect();
            let chance = usize::from(mark[0]) + usize::try_from(now.0 / 10_000).unwrap_or(0);
            let any = others.get(chance % others.len().max(1)).copied();
            if let Some(stop) = stop.or(any).filter(|_| !again) {
                (carried.mark, carried.passed, carried.turns) = (mark, now, turn);
                self.held.add(stop, report.clone());
                out.send.entry(stop).or_default().push(report);
            }
        }
        self.send(out, now, replica)
    }

    /// Reports that this host keeps are on its disk: its receipt goes towards the hosts they are of.
    pub fn kept(&mut self, receipt: &Signed<Receipt>, replica: &Replica) -> Vec<Returned> {
        let kept = &receipt.body().kept;
        self.owed(kept.iter().map(|kept| (kept.order, kept.host)).collect(), replica);
        let mut returned = self.settle(receipt);
        let mut ways = BTreeSet::new();
        for kept in kept {
            ways.extend(self.carried.get(&(kept.order, kept.host)).iter().flat_map(|c| &c.from.0));
        }
        returned.extend(towards(&ways, receipt));
        returned
    }

    /// This host keeps these, and where it is not the issuer's it owes them.
    pub fn owed(&mut self, kept: Vec<(EntryId, HostId)>, replica: &Replica) {
        for (order, host) in kept {
            let keepers = keepers(&order, replica);
            let settled = self.carried.get(&(order, host)).is_some_and(|carried| carried.settled);
            if keepers.contains(&self.me)
                && keepers.first() != Some(&self.me)
                && !settled
                && self.owed.entry(order).or_default().insert(host)
            {
                self.owed_tries = 0;
            }
        }
    }

    /// Forgets what is this host's own and said to be kept.
    fn settle(&mut self, receipt: &Signed<Receipt>) -> Vec<Returned> {
        let mut returned = Vec::new();
        for kept in receipt.body().kept.iter().filter(|kept| kept.host == self.me) {
            if self.own.get(&kept.order).is_some_and(|own| own.report.record_hash() == kept.record) {
                self.own.remove(&kept.order);
                returned.push(Returned::Settle(kept.order));
            }
        }
        returned
    }

    /// A receipt came from a neighbour: passed on once, and believed, if all of it is by a keeper of the
    /// orders it names. One for orders that are not known here says nothing to anybody.
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
        if keeper == self.me || !kept.iter().all(|kept| keepers(&kept.order, replica).contains(&keeper)) {
            return Ok(Vec::new());
        }
        let mut returned = self.settle(&receipt);
        let mut ways = BTreeSet::new();
        for kept in kept {
            self.held.settled(kept);
            let first = keepers(&kept.order, replica).first() == Some(&keeper);
            if first {
                pay(&mut self.owed, kept.order, kept.host);
            }
            let Some(carried) = self.carried.get_mut(&(kept.order, kept.host)) else { continue };
            // Of each keeper once, or it could run in a circle.
            if !carried.settled && !carried.told.0.contains(&keeper) {
                carried.settled = first;
                carried.told.add(keeper);
                ways.extend(carried.from.0.iter().copied().filter(|way| *way != from));
            }
        }
        returned.extend(towards(&ways, &receipt));
        Ok(returned)
    }

    /// Hosts work on an order.
    pub fn running(
        &mut self,
        from: Option<HostId>,
        order: EntryId,
        hosts: Vec<HostId>,
        now: Timestamp,
        replica: &Replica,
        linked: &[HostId],
    ) -> Vec<Returned> {
        let Some(seats) = replica.seats(&order) else { return Vec::new() };
        let mut fresh = Vec::new();
        for host in hosts {
            let passed = self.started.get(&(order, host)).map(|(at, _)| *at);
            let again = passed.is_some_and(|at| at <= now && now.since(at) < PASS_AGAIN_AFTER);
            if !again && seats.contains(&host) {
                self.started.insert((order, host), (now, from));
                fresh.push(host);
            }
        }
        let keepers = keepers(&order, replica);
        let mut returned = Vec::new();
        if fresh.is_empty() {
            return returned;
        }
        if keepers.contains(&self.me) {
            returned.push(Returned::Running(order, fresh.clone()));
        }
        if keepers.first() != Some(&self.me)
            && let Some(stop) = self.next_stop(&order, replica, linked, from, 0)
        {
            if self.windows.works(stop, order, &fresh, window::length(seats.len()), now) {
                returned.extend(self.windows.wake(now).map(Returned::Wake));
            } else {
                returned.push(Returned::Send(stop, Message::Running { order, hosts: fresh }));
            }
        }
        returned
    }

    /// A new link: what is unsettled goes there at once if that is a keeper. The issuer's host gets what is
    /// owed to it.
    pub fn linked(&mut self, peer: HostId, now: Timestamp, replica: &Replica) -> Vec<Returned> {
        let mut out = Out::default();
        for (order, own) in &mut self.own {
            // What this host keeps itself as the first keeper is settled by its own disk alone: settled by
            // another's, it would be gone with a crash, and nobody's word for it is taken later.
            let keepers = keepers(order, replica);
            if keepers.first() != Some(&self.me) && keepers.contains(&peer) {
                own.again = now.after(RETRY_AFTER);
                out.send.entry(peer).or_default().push(own.report.clone());
            }
        }
        let mut returned = self.send(out, now, replica);
        let owed: Vec<_> = self
            .owed
            .iter()
            .filter(|(order, _)| keepers(order, replica).first() == Some(&peer))
            .flat_map(|(order, hosts)| hosts.iter().map(|host| (*order, *host)))
            .collect();
        if !owed.is_empty() {
            returned.push(Returned::Pass(peer, owed));
        }
        returned
    }

    /// Offers again what is due: to the next keeper in turn, linked or to be reached.
    pub fn tick(&mut self, now: Timestamp, replica: &Replica, linked: &[HostId]) -> Vec<Returned> {
        let mut out = Out::default();
        let mut reach = BTreeSet::new();
        let me = self.me;
        let mut returned = self.woken(now, replica);
        self.own.retain(|order, own| {
            if replica.order(order).is_some() {
                own.known = now;
            }
            now.since(own.known) < UNKNOWN_MAX
        });
        for (order, own) in &mut self.own {
            // A clock that was set back must not keep a result here.
            own.again = own.again.min(now.after(own.wait() * 2));
            if own.again > now {
                continue;
            }
            own.tries += 1;
            self.offered_again += 1;
            own.again = now.after(own.wait());
            let Some(admitted) = replica.order(order) else { continue };
            let small = replica.seats_of(admitted.body()).is_none_or(|seats| seats.len() <= SMALL_ROSTER);
            let keepers = &admitted.body().keepers;
            if keepers.first() == Some(&me) {
                out.keep.push(own.report.clone());
                continue;
            }
            // This host holds its own result anyway; as a keeper it counts for others alone.
            let keepers: Vec<HostId> = keepers.iter().copied().filter(|keeper| *keeper != me).collect();
            let mut offered = false;
            for keeper in keepers.iter().filter(|keeper| linked.contains(keeper)) {
                out.send.entry(*keeper).or_default().push(own.report.clone());
                offered = true;
            }
            if offered {
                continue;
            }
            // Another that delivered the order, then any neighbour may lead to a keeper; the keepers themselves
            // are tried in turn, after neighbours were where there may be many who try.
            let turn = own.tries as usize - 1;
            let ways = self.ways.get(order).into_iter().flatten();
            let mut others = ways.filter(|way| linked.contains(way) && Some(**way) != own.sent);
            let other = others.next().filter(|_| turn == 0);
            if let Some(neighbour) = other.or_else(|| linked.get(turn % linked.len().max(1))) {
                own.sent = Some(*neighbour);
                out.send.entry(*neighbour).or_default().push(own.report.clone());
            }
            own.reach = own.reach.min(now.after(REACH_MOST));
            let may_reach = small || (own.reach <= now && (turn > 0 || linked.is_empty()));
            if may_reach
                && reach.len() < REACH_MAX
                && let Some(keeper) = keepers.get(turn % keepers.len().max(1))
            {
                reach.insert(*keeper);
            }
        }
        returned.extend(self.send(out, now, replica));
        returned.extend(self.pay_back(now, replica, linked, &mut reach));
        returned.extend(reach.into_iter().map(Returned::Reach));
        returned
    }

    /// Offers the issuers' hosts what is owed to them.
    fn pay_back(
        &mut self,
        now: Timestamp,
        replica: &Replica,
        linked: &[HostId],
        reach: &mut BTreeSet<HostId>,
    ) -> Vec<Returned> {
        let wait = (OWED_EVERY * (1 << self.owed_tries.min(6))).min(OWED_EVERY_MAX);
        self.owed_again = self.owed_again.min(now.after(wait));
        if self.owed_again > now || self.owed_tries >= OWED_TRIES_MAX || self.owed.is_empty() {
            return Vec::new();
        }
        self.owed_again = now.after(wait);
        self.owed_tries += 1;
        self.owed.retain(|order, _| replica.order(order).is_some());
        let mut by_stop: BTreeMap<HostId, Vec<(EntryId, HostId)>> = BTreeMap::new();
        for (order, hosts) in &self.owed {
            let Some(first) = keepers(order, replica).first().copied() else { continue };
            // Of a large roster there are many results, and neighbours are tried first.
            let small = size(order, replica) <= SMALL_ROSTER;
            if !linked.contains(&first) && reach.len() < REACH_MAX && (small || self.owed_tries > 1) {
                reach.insert(first);
            }
            // Links come and go, and with them ways: after the first time, any neighbour may know another.
            let any = linked.get(self.owed_tries as usize % linked.len().max(1)).copied();
            let known = self.next_stop(order, replica, linked, None, usize::from(!small));
            let stop = if self.owed_tries == 1 || known == Some(first) { known.or(any) } else { any };
            if let Some(stop) = stop {
                by_stop.entry(stop).or_default().extend(hosts.iter().map(|host| (*order, *host)));
            }
        }
        by_stop.into_iter().map(|(stop, owed)| Returned::Pass(stop, owed)).collect()
    }
}

fn pay(owed: &mut BTreeMap<EntryId, BTreeSet<HostId>>, order: EntryId, host: HostId) {
    if let Some(hosts) = owed.get_mut(&order) {
        hosts.remove(&host);
        if hosts.is_empty() {
            owed.remove(&order);
        }
    }
}

/// How many hosts an order is for.
fn size(order: &EntryId, replica: &Replica) -> usize {
    replica.seats(order).map_or(0, |seats| seats.len())
}

/// How much later than others a host dials keepers: not at all where the roster is small.
fn spread(me: &HostId, size: usize) -> Duration {
    if size <= SMALL_ROSTER {
        return Duration::ZERO;
    }
    let share = me.0.first_chunk::<2>().map_or(0, |bytes| u32::from(u16::from_be_bytes(*bytes)));
    let whole = REACH_SPREAD.saturating_mul(u32::try_from(size).unwrap_or(u32::MAX)).min(REACH_MOST);
    whole * share / 65_536
}

fn keepers<'a>(order: &EntryId, replica: &'a Replica) -> &'a [HostId] {
    replica.order(order).map_or(&[], |order| order.body().keepers.as_slice())
}

fn towards(ways: &BTreeSet<HostId>, receipt: &Signed<Receipt>) -> Vec<Returned> {
    let settled = || Message::Settled { receipt: Bytes::from(receipt.bytes()) };
    ways.iter().map(|way| Returned::Send(*way, settled())).collect()
}

/// Reports gathered by where they go.
#[derive(Default)]
struct Out {
    send: BTreeMap<HostId, Vec<Report>>,
    keep: Vec<Report>,
}
