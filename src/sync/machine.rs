//! The machine: one per host, all neighbours in it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use super::{
    Message, Returned, Returns, SYNC_VERSION,
    bucket::{Bucket, Rate},
};
use crate::{
    identity::{EntryId, HostId, Kind, PublicKey, Signed, Stream, peek},
    replica::{Item, Receipt, Replica, Report, Sections, Tip, TipForm},
    time::Timestamp,
};

/// How often the end with the lower id asks whether the other is there and holds the same. With what Yamux
/// adds when it is woken (a ping of its own from each end, at most every ten seconds) that is six small
/// segments a link: 8 links stay below 200 bytes sent a second.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A neighbour that was not heard for so long is cut off, so that another link can be made: two pings.
const SILENT_MAX: Duration = Duration::from_secs(45);
/// Between two ticks lies about a second. After more than this the host slept or its clock was set, and
/// nobody's silence means anything.
const SLEPT: Duration = Duration::from_secs(10);
/// Digests that stay different lead to a new exchange at most this often, and more and more rarely while
/// that brings nothing: one of the two holds what the other refuses.
const EXCHANGE_EVERY: Duration = Duration::from_secs(20);
const EXCHANGE_EVERY_MAX: Duration = Duration::from_secs(160);
/// Ids of entries that one neighbour is known to have; only spares a duplicate.
const HAS_MAX: usize = 512;
/// How long what a neighbour's tips said is remembered, so that catching up with one neighbour is not
/// passed on to others that hold it all.
const TOLD_FOR: Duration = Duration::from_secs(30);
/// Bytes of entries in one message.
const ITEMS_BYTES_MAX: usize = 256 * 1024;
/// Entries in one message that are looked at.
const ITEMS_MAX: usize = 4096;
/// Reports in one message that are looked at.
const REPORTS_MAX: usize = 64;
/// Bytes of entries sent in answer to one message of tips; the rest follows the next one.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

// What one member may cost. Each bucket outlives its stream, or a new stream would fill it.

/// Tips that are answered, which can take all that is held: an honest neighbour sends them on a new
/// stream and then every [`EXCHANGE_EVERY`].
const TIPS: Rate = Rate { burst: 4, every_ms: 8_000 };
/// Entries whose signature is checked. What turns out new is given back, so catching up is not slowed: this
/// is for what is not verified or not taken (at 50 a second about 1 % of a core).
const CHECKS: Rate = Rate { burst: 4_096, every_ms: 20 };
/// New heads of one host, from whomever. Those above it are not lost: the next exchange brings the newest.
const HEADS: Rate = Rate { burst: 30, every_ms: 5_000 };
/// Reports and words about orders: rosters of 512, several at once.
const REPORTS: Rate = Rate { burst: 8_192, every_ms: 5 };
/// What is of no use: entries that are held, heads over their number, kinds that nobody knows, tips too soon.
/// An honest neighbour says each entry about once; who floods so is shunned.
const USELESS: Rate = Rate { burst: 20_000, every_ms: 5 };
/// What a receipt counts among them: it is verified.
const RECEIPT_COST: u64 = 4;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A stream to a neighbour is open.
    Up(HostId),
    /// It is gone.
    Down(HostId),
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
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this to a neighbour.
    Send(HostId, Message),
    /// Verify these, merge them, and say [`Event::Merged`] of those that were new.
    Merge(HostId, Vec<Item>),
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
}

#[derive(Debug)]
struct Neighbour {
    greeted: bool,
    heard: Timestamp,
    pinged: Timestamp,
    rtt: Option<Duration>,
    exchanged: Option<Timestamp>,
    wait: Duration,
    /// Whether anything new came from it since the exchange.
    fruitful: bool,
    has: VecDeque<EntryId>,
    has_set: HashSet<EntryId>,
    /// The first halves of the ids in its last tips, and when those came.
    told: Option<(Timestamp, HashSet<[u8; 16]>)>,
}

impl Neighbour {
    fn new(now: Timestamp) -> Self {
        Self {
            greeted: false,
            heard: now,
            pinged: now,
            rtt: None,
            exchanged: None,
            wait: EXCHANGE_EVERY,
            fruitful: false,
            has: VecDeque::new(),
            has_set: HashSet::new(),
            told: None,
        }
    }

    fn note(&mut self, id: EntryId) {
        if self.has_set.insert(id) {
            self.has.push_back(id);
            if self.has.len() > HAS_MAX
                && let Some(oldest) = self.has.pop_front()
            {
                self.has_set.remove(&oldest);
            }
        }
    }

    fn has(&self, id: &EntryId) -> bool {
        let half = id.0.first_chunk::<16>();
        self.has_set.contains(id)
            || self.told.as_ref().zip(half).is_some_and(|((_, told), half)| told.contains(half))
    }
}

/// What one member has used of what it may.
#[derive(Debug)]
struct Account {
    tips: Bucket,
    checks: Bucket,
    reports: Bucket,
    useless: Bucket,
}

impl Account {
    fn new(now: Timestamp) -> Self {
        Self {
            tips: Bucket::full(TIPS, now),
            checks: Bucket::full(CHECKS, now),
            reports: Bucket::full(REPORTS, now),
            useless: Bucket::full(USELESS, now),
        }
    }

    fn is_new(&mut self, now: Timestamp) -> bool {
        self.tips.is_full(TIPS, now)
            && self.checks.is_full(CHECKS, now)
            && self.reports.is_full(REPORTS, now)
            && self.useless.is_full(USELESS, now)
    }
}

/// Spreads, reconciles and carries results for one host.
#[derive(Debug)]
pub struct Machine {
    me: HostId,
    neighbours: BTreeMap<HostId, Neighbour>,
    returns: Returns,
    /// Of members that used some of it lately.
    accounts: HashMap<HostId, Account>,
    /// Of hosts that published lately.
    heads: HashMap<HostId, Bucket>,
    ticked: Option<Timestamp>,
    throttled: u64,
}

impl Machine {
    /// A machine without neighbours.
    pub fn new(me: HostId) -> Self {
        Self {
            me,
            neighbours: BTreeMap::new(),
            returns: Returns::new(me),
            accounts: HashMap::new(),
            heads: HashMap::new(),
            ticked: None,
            throttled: 0,
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

    /// Entries, reports and tips of neighbours that were dropped because there were too many.
    pub fn throttled(&self) -> u64 {
        self.throttled
    }

    /// Takes what happened, says what is to be done. `replica` is what is held at this moment.
    pub fn handle(&mut self, event: Event, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        match event {
            Event::Up(peer) => {
                self.neighbours.insert(peer, Neighbour::new(now));
                let digest = replica.digest(now);
                vec![Effect::Send(peer, Message::Hello { version: SYNC_VERSION, digest })]
            }
            Event::Down(peer) => {
                self.neighbours.remove(&peer);
                Vec::new()
            }
            Event::Moves(peer) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.heard = now;
                }
                Vec::new()
            }
            Event::Message(peer, message) => self.on_message(peer, message, now, replica),
            Event::Merged { from, items } => self.on_merged(from, &items, now, replica),
            Event::Missed => {
                for neighbour in self.neighbours.values_mut() {
                    (neighbour.exchanged, neighbour.wait) = (None, EXCHANGE_EVERY);
                }
                Vec::new()
            }
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
            Event::Tick => self.tick(now, replica),
        }
    }

    fn linked(&self) -> Vec<HostId> {
        self.neighbours.iter().filter(|(_, n)| n.greeted).map(|(id, _)| *id).collect()
    }

    fn account(&mut self, peer: HostId, now: Timestamp) -> &mut Account {
        self.accounts.entry(peer).or_insert_with(|| Account::new(now))
    }

    fn perform(&self, returned: Vec<Returned>) -> Vec<Effect> {
        returned
            .into_iter()
            .filter_map(|one| match one {
                Returned::Send(peer, message) => {
                    self.neighbours.contains_key(&peer).then_some(Effect::Send(peer, message))
                }
                Returned::Pass(peer, kept) => {
                    self.neighbours.contains_key(&peer).then_some(Effect::Pass(peer, kept))
                }
                Returned::Keep(reports) => Some(Effect::Keep(reports)),
                Returned::Settle(order) => Some(Effect::Settle(order)),
                Returned::Running(order, hosts) => Some(Effect::Running(order, hosts)),
                Returned::Reach(keeper) => Some(Effect::Reach(keeper)),
            })
            .collect()
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
        match message {
            Message::Hello { version, digest } => {
                if version != SYNC_VERSION {
                    return vec![Effect::Close(peer, "it speaks another version")];
                }
                neighbour.greeted = true;
                let mut effects = self.compare(peer, digest, now, replica);
                let returned = self.returns.linked(peer, now, replica);
                effects.extend(self.perform(returned));
                effects
            }
            Message::Tips { tip } => self.on_tips(peer, &tip, now, replica),
            Message::Items { items } => self.on_items(peer, items, now, replica),
            Message::Ping { nonce, digest } => {
                let ours = replica.digest(now);
                let mut effects = vec![Effect::Send(peer, Message::Pong { nonce, digest: ours })];
                effects.extend(self.compare(peer, digest, now, replica));
                effects
            }
            Message::Pong { nonce, digest } => {
                if nonce == neighbour.pinged.0 {
                    neighbour.rtt = Some(now.since(neighbour.pinged));
                }
                self.compare(peer, digest, now, replica)
            }
            Message::Reports { mut reports } => {
                reports.truncate(REPORTS_MAX);
                self.allow(peer, &mut reports, now);
                let linked = self.linked();
                let returned = self.returns.reports(peer, reports, now, replica, &linked);
                self.perform(returned)
            }
            Message::Settled { receipt } => {
                if self.account(peer, now).reports.take(REPORTS, RECEIPT_COST, now) < RECEIPT_COST {
                    self.throttled += 1;
                    return Vec::new();
                }
                match self.returns.settled(peer, &receipt.0, replica) {
                    Ok(returned) => self.perform(returned),
                    Err(_) => vec![Effect::Shun(peer, "it passed on a forged receipt")],
                }
            }
            Message::Running { order, mut hosts } => {
                self.allow(peer, &mut hosts, now);
                let linked = self.linked();
                let returned = self.returns.running(Some(peer), order, hosts, now, replica, &linked);
                self.perform(returned)
            }
        }
    }

    /// Leaves as many of them as the neighbour may send now. Results that are dropped come again.
    fn allow<T>(&mut self, peer: HostId, words: &mut Vec<T>, now: Timestamp) {
        let wanted = words.len();
        let allowed = self.account(peer, now).reports.take(REPORTS, wanted as u64, now);
        words.truncate(usize::try_from(allowed).unwrap_or(wanted));
        self.throttled += (wanted - words.len()) as u64;
    }

    fn on_tips(&mut self, peer: HostId, tip: &Tip, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        if self.account(peer, now).tips.take(TIPS, 1, now) == 0 {
            self.throttled += 1;
            return self.bear(peer, 1, now).into_iter().collect();
        }
        let mut lacking = replica.lacking(tip, now);
        let mut bytes = 0;
        lacking.retain(|item| {
            bytes += item.weight();
            bytes <= ANSWER_BYTES_MAX
        });
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.told = Some((now, tip.halves()));
        }
        in_messages(lacking).map(|items| Effect::Send(peer, Message::Items { items })).collect()
    }

    fn on_items(&mut self, peer: HostId, items: Vec<Item>, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        let (mut fresh, mut useless) = (Vec::new(), 0);
        for item in items.into_iter().take(ITEMS_MAX) {
            let Ok(header) = peek(&item.entry.0) else {
                return vec![Effect::Close(peer, "it sent what is no entry")];
            };
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.note(header.id);
            }
            if replica.holds(&header.id) {
                useless += 1;
                continue;
            }
            let spent = header.kind == Kind::Head as u16
                && header.signer.is_some_and(|signer| {
                    let author = HostId::of(&PublicKey::<Stream>::from_bytes(signer));
                    self.heads.get_mut(&author).is_some_and(|bucket| !bucket.any(HEADS, now))
                });
            if spent || Kind::of(header.kind).is_none() {
                self.throttled += u64::from(spent);
                useless += 1;
            } else {
                fresh.push(item);
            }
        }
        let wanted = fresh.len();
        let allowed = self.account(peer, now).checks.take(CHECKS, wanted as u64, now);
        fresh.truncate(usize::try_from(allowed).unwrap_or(wanted));
        self.throttled += (wanted - fresh.len()) as u64;
        let merge = (!fresh.is_empty()).then_some(Effect::Merge(peer, fresh));
        merge.into_iter().chain(self.bear(peer, useless, now)).collect()
    }

    /// Counts what a neighbour said that was of no use; a flood of it ends the friendship.
    fn bear(&mut self, peer: HostId, useless: u64, now: Timestamp) -> Option<Effect> {
        let bears = self.account(peer, now).useless.take(USELESS, useless, now) == useless;
        (!bears).then_some(Effect::Shun(peer, "it floods with what is held or of no use"))
    }

    /// Sends the tips if the neighbour holds something else, but not over and over.
    fn compare(&mut self, peer: HostId, theirs: [u8; 16], now: Timestamp, replica: &Replica) -> Vec<Effect> {
        let same = theirs == replica.digest(now);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Vec::new() };
        if same {
            neighbour.wait = EXCHANGE_EVERY;
            return Vec::new();
        }
        if let Some(last) = neighbour.exchanged {
            if neighbour.fruitful {
                neighbour.wait = EXCHANGE_EVERY;
            }
            if now.since(last) < neighbour.wait {
                return Vec::new();
            }
            neighbour.wait = (neighbour.wait * 2).min(EXCHANGE_EVERY_MAX);
        }
        (neighbour.exchanged, neighbour.fruitful) = (Some(now), false);
        vec![Effect::Send(peer, Message::Tips { tip: replica.tip(&Sections::ALL, TipForm::Full, now) })]
    }

    fn on_merged(
        &mut self,
        from: Option<HostId>,
        items: &[(EntryId, Item)],
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        if let Some(from) = from {
            self.account(from, now).checks.give(CHECKS, items.len() as u64);
            if let Some(neighbour) = self.neighbours.get_mut(&from) {
                neighbour.fruitful |= !items.is_empty();
            }
            for (id, item) in items {
                if replica.order(id).is_some() {
                    self.returns.came(*id, from);
                }
                if let Ok(header) = peek(&item.entry.0)
                    && header.kind == Kind::Head as u16
                    && let Some(signer) = header.signer
                {
                    let author = HostId::of(&PublicKey::<Stream>::from_bytes(signer));
                    let bucket = self.heads.entry(author).or_insert_with(|| Bucket::full(HEADS, now));
                    bucket.take(HEADS, 1, now);
                }
            }
        }
        self.spread(from, items, replica)
    }

    fn spread(&mut self, from: Option<HostId>, items: &[(EntryId, Item)], replica: &Replica) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (peer, neighbour) in &mut self.neighbours {
            if !neighbour.greeted || Some(*peer) == from {
                continue;
            }
            let mut wanted = Vec::new();
            for (id, item) in items {
                // A head that was superseded in the meantime goes no further.
                if !neighbour.has(id) && replica.holds(id) {
                    neighbour.note(*id);
                    wanted.push(item.clone());
                }
            }
            let peer = *peer;
            effects.extend(in_messages(wanted).map(|items| Effect::Send(peer, Message::Items { items })));
        }
        effects
    }

    fn tick(&mut self, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        let mut effects = Vec::new();
        let slept = self.ticked.is_none_or(|last| now < last || now.since(last) > SLEPT);
        self.ticked = Some(now);
        if slept {
            for neighbour in self.neighbours.values_mut() {
                neighbour.heard = now;
                neighbour.pinged = neighbour.pinged.min(now);
                neighbour.exchanged = neighbour.exchanged.map(|last| last.min(now));
            }
        }
        let mut due = Vec::new();
        for (peer, neighbour) in &mut self.neighbours {
            if neighbour.told.as_ref().is_some_and(|(at, _)| now < *at || now.since(*at) > TOLD_FOR) {
                neighbour.told = None;
            }
            if now.since(neighbour.heard) > SILENT_MAX {
                effects.push(Effect::Close(*peer, "it was silent for too long"));
            } else if self.me < *peer && neighbour.greeted && now.since(neighbour.pinged) >= PING_EVERY {
                neighbour.pinged = now;
                due.push(*peer);
            }
        }
        if !due.is_empty() {
            let digest = replica.digest(now);
            let ping = |peer| Effect::Send(peer, Message::Ping { nonce: now.0, digest });
            effects.extend(due.into_iter().map(ping));
        }
        let neighbours = &self.neighbours;
        self.accounts.retain(|peer, account| neighbours.contains_key(peer) || !account.is_new(now));
        self.heads.retain(|_, bucket| !bucket.is_full(HEADS, now));
        let returned = self.returns.tick(now, replica, &self.linked());
        effects.extend(self.perform(returned));
        effects
    }
}

/// Cuts entries into messages of a bounded size.
fn in_messages(items: Vec<Item>) -> impl Iterator<Item = Vec<Item>> {
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(item) =
            items.next_if(|item| batch.is_empty() || bytes + item.weight() <= ITEMS_BYTES_MAX)
        {
            bytes += item.weight();
            batch.push(item);
        }
        (!batch.is_empty()).then_some(batch)
    })
}

/// Cuts the reports that a host keeps into messages of a bounded size.
pub fn in_reports(reports: &[Report]) -> Vec<Message> {
    let chunks = reports.chunks(super::returns::REPORTS_A_MESSAGE);
    chunks.map(|reports| Message::Reports { reports: reports.to_vec() }).collect()
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
