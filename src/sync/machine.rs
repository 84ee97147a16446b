//! The machine: one per host, all neighbours in it. Here is who is connected and what is done about it; the
//! other files add to it, each one thing that neighbours do together.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    Ended, Message, Presence, Returned, Returns, Row,
    account::{Accounts, Cost},
    arrivals::{Parked, Withheld},
    lists::Lists,
    neighbour::{Cursors, Neighbour},
    wants::Wants,
};
use crate::{
    authority::MemberList,
    identity::{EntryId, HostId, Signed},
    replica::{Arrived, Item, Receipt, Replica, Report, first_hour},
    time::Timestamp,
    wire::Bytes,
};

/// How often the end with the lower id asks whether the other is there and holds the same. Ping and pong
/// have about 65 bytes together.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A neighbour that was not heard for so long is cut off, so that another link can be made: two pings.
const SILENT_MAX: Duration = Duration::from_secs(25);
/// How long lies between two ticks of a host that gets to run.
const TICK: Duration = Duration::from_secs(1);
/// Between two ticks lies about a second. After more than this the host slept or its clock was set, and
/// nobody's silence means anything.
const SLEPT: Duration = Duration::from_secs(10);
/// Reports in one message that are looked at.
const REPORTS_MAX: usize = 64;
/// What it counts among the unanswered questions that a neighbour speaks for a minute and answers none.
const MUTE_COST: u32 = 3;
/// What a receipt counts among them: it is verified.
const RECEIPT_COST: u64 = 4;
/// So many neighbours are told at once what came many at a time: the next of the ring and another.
const TOLD_FIRST: usize = 2;
/// So often within a second it is announced at once what is new; more is gathered until the tick.
const FLUSHES_A_SECOND: u32 = 4;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A stream to a neighbour is open.
    Up(HostId),
    /// It is gone, closed by this end or replaced by another.
    Down(HostId),
    /// It is gone, and this end did not close it.
    Broken(HostId),
    /// A link to it is about to be closed that is only one too many.
    GivesUp(HostId),
    /// A host could not be dialled.
    Unreached(HostId),
    /// A neighbour takes what waits for it, though it says nothing.
    Moves(HostId),
    /// A neighbour said something.
    Message(HostId, Message),
    /// Entries were merged and were new; from a neighbour, or made here.
    Merged {
        /// Who sent them.
        from: Option<HostId>,
        /// The entries, each with its id.
        items: Vec<(EntryId, Item)>,
    },
    /// Some merged entries were not announced: the neighbours may lack them.
    Missed,
    /// The executor has results of this host.
    Results(Vec<Report>),
    /// The executor says that this host works on an order.
    Working(EntryId),
    /// Reports that this host keeps are on disk now, and this is its word for it.
    Kept(Signed<Receipt>),
    /// Reports that were kept before this host was started: the issuers' hosts may not have them.
    Owed(Vec<(EntryId, HostId)>),
    /// The time of [`Effect::Wake`] is over.
    Woken,
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this to a neighbour.
    Send(HostId, Message),
    /// Verify those of these that are not, merge them, and say [`Event::Merged`] of those that were new.
    Merge(HostId, Vec<Arrived>),
    /// Cut a neighbour off.
    Close(HostId, &'static str),
    /// Cut a neighbour off that did what no honest one does, and keep it off for a while.
    Shun(HostId, &'static str),
    /// Keep these reports for the issuer, and say [`Event::Kept`] when they are on disk.
    Keep(Vec<Report>),
    /// Tell the executor that a keeper holds its result.
    Settle(EntryId),
    /// Tell who watches that these hosts work on an order.
    Running(EntryId, Vec<HostId>),
    /// No neighbour leads there: connect to this keeper, so that results can go straight to it.
    Reach(HostId),
    /// Send a neighbour these results, which this host keeps.
    Pass(HostId, Vec<(EntryId, HostId)>),
    /// Say [`Event::Woken`] in so long; when exactly does not matter, and once more does no harm.
    Wake(Duration),
    /// Keep this list, which live orders mark hosts of, and hand those over that waited for it.
    KeepList(MemberList),
}

/// Spreads, reconciles and carries results for one host.
#[derive(Debug)]
pub struct Machine {
    pub(super) me: HostId,
    /// Which feed the replica's numbers are of: another one after every start.
    pub(super) feed: [u8; 8],
    pub(super) neighbours: BTreeMap<HostId, Neighbour>,
    pub(super) cursors: Cursors,
    pub(super) wants: Wants,
    /// Heads that wait for facets.
    pub(super) parked: VecDeque<Parked>,
    /// Answers without the facets that were asked for, oldest first.
    pub(super) withheld: VecDeque<Withheld>,
    pub(super) accounts: Accounts,
    /// Since when an exchange has to wait for what is on its way.
    pub(super) held_up: Option<Timestamp>,
    returns: Returns,
    /// Lists that live orders mark hosts of and that are not here.
    pub(super) lists: Lists,
    pub(super) presence: Presence,
    /// Which version of the authority presence was told the members of.
    pub(super) members_told: Option<u64>,
    /// How often since the tick it was announced what is new, and whether there is more.
    flushes: u32,
    unflushed: bool,
    /// Whether many came at a time since the tick, and a few neighbours were told.
    pub(super) few_know: bool,
    ticked: Option<Timestamp>,
}

impl Machine {
    /// A machine without neighbours. `feed` is random, and another one at every start: who knows how far it
    /// read the feed of a replica must not take another replica's for it.
    pub fn new(me: HostId, feed: [u8; 8]) -> Self {
        Self {
            me,
            feed,
            neighbours: BTreeMap::new(),
            cursors: Cursors::default(),
            wants: Wants::default(),
            parked: VecDeque::new(),
            withheld: VecDeque::new(),
            accounts: Accounts::default(),
            held_up: None,
            returns: Returns::new(me),
            lists: Lists::default(),
            presence: Presence::new(me),
            members_told: None,
            flushes: 0,
            unflushed: false,
            few_know: false,
            ticked: None,
        }
    }

    /// Who is connected.
    pub fn neighbours(&self) -> impl Iterator<Item = HostId> + '_ {
        self.neighbours.keys().copied()
    }

    /// The last round trip to a neighbour.
    pub fn rtt(&self, peer: &HostId) -> Option<Duration> {
        self.neighbours.get(peer).and_then(|neighbour| neighbour.rtt)
    }

    /// Results on their way.
    pub fn returns(&self) -> &Returns {
        &self.returns
    }

    /// Entries, reports, rows and tips of neighbours that were dropped because there were too many.
    pub fn throttled(&self) -> u64 {
        self.accounts.throttled()
    }

    /// Who was shunned or throttled lately, why, and when last.
    pub fn misbehaved(&self) -> impl Iterator<Item = (HostId, &'static str, Timestamp)> + '_ {
        self.accounts.blamed()
    }

    /// A member misbehaved in a way that shows only outside of this machine.
    pub fn blame(&mut self, peer: HostId, why: &'static str, now: Timestamp) {
        self.accounts.blame(peer, why, now);
    }

    /// Takes what happened, says what is to be done. `replica` is what is held at this moment.
    pub fn handle(&mut self, event: Event, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        self.tell_members(replica);
        match event {
            Event::Up(peer) => vec![self.on_up(peer, now, replica)],
            Event::Down(peer) => self.on_down(peer, Ended::Closed, now, replica),
            Event::Broken(peer) => self.on_down(peer, Ended::Broken, now, replica),
            Event::GivesUp(peer) => {
                vec![Effect::Send(peer, Message::Notes { notes: self.presence.bye() })]
            }
            Event::Unreached(host) => self.unreached(host, now, replica),
            Event::Moves(peer) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.heard = now;
                }
                self.hears(peer, now, replica)
            }
            Event::Message(peer, message) => {
                let effects = self.on_message(peer, message, now, replica);
                for effect in &effects {
                    if let Effect::Shun(peer, why) = effect {
                        self.accounts.blame(*peer, why, now);
                    }
                }
                effects
            }
            Event::Merged { from, items } => self.on_merged(from, &items, now, replica),
            Event::Missed => self.flush(replica),
            Event::Results(reports) => {
                let returned = self.returns.own(reports, now, replica, &self.linked());
                self.perform(returned)
            }
            Event::Working(order) => {
                let linked = self.linked();
                let returned = self.returns.running(None, order, vec![self.me], now, replica, &linked);
                self.perform(returned)
            }
            Event::Kept(receipt) => {
                let returned = self.returns.kept(&receipt, replica);
                self.perform(returned)
            }
            Event::Owed(kept) => {
                self.returns.owed(kept, replica);
                Vec::new()
            }
            Event::Woken => {
                let returned = self.returns.woken(now, replica);
                self.perform(returned)
            }
            Event::Tick => self.tick(now, replica),
        }
    }

    pub(super) fn linked(&self) -> Vec<HostId> {
        self.neighbours.iter().filter(|(_, n)| n.greeted).map(|(id, _)| *id).collect()
    }

    fn perform(&self, returned: Vec<Returned>) -> Vec<Effect> {
        returned
            .into_iter()
            .filter_map(|one| match one {
                Returned::Send(peer, message) => {
                    self.neighbours.contains_key(&peer).then_some(Effect::Send(peer, message))
                }
                Returned::Keep(reports) => Some(Effect::Keep(reports)),
                Returned::Settle(order) => Some(Effect::Settle(order)),
                Returned::Running(order, hosts) => Some(Effect::Running(order, hosts)),
                Returned::Reach(keeper) => Some(Effect::Reach(keeper)),
                Returned::Pass(peer, kept) => {
                    self.neighbours.contains_key(&peer).then_some(Effect::Pass(peer, kept))
                }
                Returned::Wake(within) => Some(Effect::Wake(within)),
            })
            .collect()
    }

    fn on_down(&mut self, peer: HostId, why: Ended, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        self.neighbour_is_gone(peer);
        let mut effects = self.misses(peer, why, now, replica);
        let returned = self.returns.unlinked(peer, now, replica, &self.linked());
        effects.extend(self.perform(returned));
        effects.extend(self.ask_all(now, replica));
        effects
    }

    fn on_message(
        &mut self,
        peer: HostId,
        message: Message,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Vec::new() };
        neighbour.heard = now;
        if neighbour.greeted == matches!(message, Message::Hello { .. }) {
            return vec![Effect::Close(peer, "it did not say hello first, and once")];
        }
        let mut effects = self.hears(peer, now, replica);
        effects.extend(self.on_word(peer, message, now, replica));
        effects
    }

    fn on_word(&mut self, peer: HostId, message: Message, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        match message {
            Message::Hello { version, here, since, sum } => {
                match self.on_hello(peer, version, here, since, sum, now, replica) {
                    Ok(mut effects) => {
                        let returned = self.returns.linked(peer, now, replica);
                        effects.extend(self.perform(returned));
                        effects.extend(self.meets(peer, now, replica));
                        effects.extend(self.seek_lists(now, replica));
                        effects
                    }
                    Err(why) => vec![Effect::Close(peer, why)],
                }
            }
            Message::Tips { tip } => self.on_tips(peer, &tip, now, replica),
            Message::Items { items, part } => self.on_items(peer, items, part, now, replica),
            Message::Ping { nonce, lsn, hour, root } => {
                self.on_ping(peer, nonce, lsn, hour, root, now, replica)
            }
            Message::Pong { nonce, lsn, sum } => self.on_pong(peer, nonce, lsn, sum, now, replica),
            Message::Told { lsn, heads, entries } => self.on_told(peer, lsn, &heads, &entries, now, replica),
            Message::Want { heads, entries, facets } => {
                self.on_want(peer, &heads, &entries, &facets, now, replica)
            }
            Message::Facets { halves, facets } => self.on_facets(peer, &halves, facets, now, replica),
            Message::Reports { mut reports } => {
                reports.truncate(REPORTS_MAX);
                self.accounts.allow(peer, Cost::Report, &mut reports, now);
                if reports.is_empty() {
                    return self.bear(peer, 1, now).into_iter().collect();
                }
                let linked = self.linked();
                let returned = self.returns.reports(peer, reports, now, replica, &linked);
                self.perform(returned)
            }
            Message::Settled { receipt } => {
                if self.accounts.take(peer, Cost::Report, RECEIPT_COST, now) < RECEIPT_COST {
                    self.accounts.throttle(1);
                    return self.bear(peer, 1, now).into_iter().collect();
                }
                match self.returns.settled(peer, &receipt.0, replica) {
                    Ok(returned) => self.perform(returned),
                    Err(_) => vec![Effect::Shun(peer, "it passed on a forged receipt")],
                }
            }
            Message::Running { order, mut hosts } => {
                self.accounts.allow(peer, Cost::Report, &mut hosts, now);
                if hosts.is_empty() {
                    return self.bear(peer, 1, now).into_iter().collect();
                }
                let linked = self.linked();
                let returned = self.returns.running(Some(peer), order, hosts, now, replica, &linked);
                self.perform(returned)
            }
            Message::Combined { order, rows, working } => {
                self.on_combined(peer, order, &rows, working.as_ref(), now, replica)
            }
            Message::Notes { notes } => self.on_notes(peer, notes, now, replica),
            Message::WantList { list, have } => self.on_want_list(peer, list, have, now, replica),
            Message::List { list, listing } => self.on_list(peer, list, &listing, now, replica),
        }
    }

    fn on_combined(
        &mut self,
        peer: HostId,
        order: EntryId,
        rows: &[Row],
        working: Option<&Bytes>,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        // Taking it apart is the cost, so not for who used up what it may.
        if !self.accounts.any(peer, Cost::Report, now) {
            self.accounts.throttle(1);
            return self.bear(peer, 1, now).into_iter().collect();
        }
        let Ok((mut reports, mut hosts)) = self.returns.combined(order, rows, working, replica) else {
            return vec![Effect::Close(peer, "it sent what are no results of an order")];
        };
        self.accounts.allow(peer, Cost::Report, &mut reports, now);
        self.accounts.allow(peer, Cost::Report, &mut hosts, now);
        if reports.is_empty() && hosts.is_empty() {
            return self.bear(peer, 1, now).into_iter().collect();
        }
        let linked = self.linked();
        let mut returned = self.returns.reports(peer, reports, now, replica, &linked);
        returned.extend(self.returns.running(Some(peer), order, hosts, now, replica, &linked));
        self.perform(returned)
    }

    #[cfg(test)]
    pub(super) fn asked_of(&self) -> Option<HostId> {
        self.neighbours.keys().copied().find(|peer| self.wants.asks(peer))
    }

    /// Counts what a neighbour said that was of no use; a flood of it ends the friendship.
    pub(super) fn bear(&mut self, peer: HostId, useless: u64, now: Timestamp) -> Option<Effect> {
        let bears = self.accounts.take(peer, Cost::Useless, useless, now) == useless;
        (!bears).then_some(Effect::Shun(peer, "it floods with what is held or of no use"))
    }

    pub(super) fn came(&mut self, order: EntryId, from: HostId) {
        self.returns.came(order, from);
    }

    pub(super) fn comes_again(&mut self, order: EntryId, from: HostId) {
        self.returns.comes_again(order, from);
    }

    /// The neighbour that an order came from.
    pub(super) fn came_from(&self, order: &EntryId) -> Option<HostId> {
        self.returns.came_from(order)
    }

    /// Announces what is new now, or soon if that happened often lately: many changes that come one after the
    /// other take one announcement.
    pub(super) fn flush_soon(&mut self, replica: &Replica) -> Vec<Effect> {
        if self.flushes >= FLUSHES_A_SECOND {
            self.unflushed = true;
            return Vec::new();
        }
        self.flushes += 1;
        self.flush(replica)
    }

    /// Announces what came many at a time to a few neighbours that did not say that they have it, at once and
    /// at the next tick again. That reaches all, since the next of the ring is always one of them; with the
    /// others, which have it from elsewhere by then, the next ping compares.
    pub(super) fn flush_to_few(&mut self, replica: &Replica) -> Vec<Effect> {
        let (before, after): (Vec<_>, Vec<_>) = self.linked().into_iter().partition(|peer| *peer < self.me);
        let (mut effects, mut few) = (Vec::new(), 0);
        for peer in after.into_iter().chain(before) {
            let told = self.tell(peer, replica);
            few += usize::from(!told.is_empty());
            effects.extend(told);
            if few == TOLD_FIRST {
                break;
            }
        }
        effects
    }

    /// There is more to announce at the next tick.
    pub(super) fn flush_later(&mut self) {
        self.unflushed = true;
    }

    fn flush(&mut self, replica: &Replica) -> Vec<Effect> {
        self.unflushed = false;
        let linked = self.linked();
        linked.into_iter().flat_map(|peer| self.tell(peer, replica)).collect()
    }

    fn tick(&mut self, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        let mut effects = Vec::new();
        let slept = self.ticked.is_none_or(|last| now < last || now.since(last) > SLEPT);
        let late = self.ticked.map_or(Duration::ZERO, |last| now.since(last).saturating_sub(TICK));
        self.ticked = Some(now);
        if slept {
            for neighbour in self.neighbours.values_mut() {
                neighbour.heard = now;
                neighbour.pinged = neighbour.pinged.min(now);
                neighbour.exchange.set_back(now);
            }
        }
        self.flushes = 0;
        let few = std::mem::take(&mut self.few_know);
        if self.unflushed {
            effects.extend(self.flush(replica));
        } else if few {
            effects.extend(self.flush_to_few(replica));
        }
        let mut due = Vec::new();
        for (peer, neighbour) in &mut self.neighbours {
            if now.since(neighbour.heard) > SILENT_MAX {
                effects.push(Effect::Close(*peer, "it was silent for too long"));
            } else if self.me < *peer && neighbour.greeted && now.since(neighbour.pinged) >= PING_EVERY {
                due.push(*peer);
            }
        }
        if !due.is_empty() {
            let hour = first_hour(now);
            let root = replica.roots(hour).root();
            effects.extend(due.into_iter().filter_map(|peer| self.ping(peer, hour, root, now, replica)));
        }
        effects.extend(self.watch(late, now, replica));
        let neighbours = &self.neighbours;
        let heard = |peer: &HostId| neighbours.get(peer).map(|neighbour| neighbour.heard);
        let overdue = self.wants.tick(heard, now);
        if !overdue.probe.is_empty() {
            let hour = first_hour(now);
            let root = replica.roots(hour).root();
            let pings =
                overdue.probe.into_iter().filter_map(|peer| self.ping(peer, hour, root, now, replica));
            effects.extend(pings);
        }
        for peer in overdue.mute {
            for _ in 0..MUTE_COST {
                self.unanswered(peer, now);
            }
        }
        effects.extend(self.seek_lists(now, replica));
        self.judge_withheld(now, replica);
        effects.extend(self.unpark(now, replica));
        effects.extend(self.ask_all(now, replica));
        effects.extend(self.exchange(now, replica));
        let neighbours = &self.neighbours;
        self.accounts.tick(|peer| neighbours.contains_key(peer), now);
        let returned = self.returns.tick(now, replica, &self.linked());
        effects.extend(self.perform(returned));
        effects
    }

    /// A neighbour did not deliver what it said it has.
    pub(super) fn unanswered(&mut self, peer: HostId, now: Timestamp) {
        self.accounts.take(peer, Cost::Unanswered, 1, now);
        if !self.accounts.any(peer, Cost::Unanswered, now) {
            self.accounts.blame(peer, "it announces what it does not deliver", now);
        }
    }
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
