//! The machine: one per host, all neighbours in it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use super::{Message, Returned, Returns, SYNC_VERSION};
use crate::{
    identity::{EntryId, Header, HostId, Kind, PublicKey, Signed, peek},
    replica::{Item, Receipt, Replica, Report},
    time::Timestamp,
};

/// How often the end with the lower id asks whether the other is there and holds the same. With what Yamux
/// adds when it is woken (a ping of its own from each end, at most every ten seconds) that is six small
/// segments a link: 8 links stay below 200 bytes sent a second.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A neighbour that was not heard for so long is cut off, so that another link can be made: two pings.
const SILENT_MAX: Duration = Duration::from_secs(45);
/// Digests that stay different lead to a new exchange at most this often.
const EXCHANGE_EVERY: Duration = Duration::from_secs(20);
/// Tips are answered at most this often: an honest neighbour sends them half as often.
const ANSWER_EVERY: Duration = Duration::from_secs(10);
/// Heads of one host that are taken at once, and how often one more. What is passed over is not lost: it
/// stands until the next exchange.
const HEADS_AT_ONCE: u32 = 30;
const HEAD_EVERY: Duration = Duration::from_secs(10);
/// Ids of entries that one neighbour is known to have; only spares a duplicate.
const HAS_MAX: usize = 512;
/// Bytes of entries in one message.
const ITEMS_BYTES_MAX: usize = 256 * 1024;
/// Entries in one message that are looked at.
const ITEMS_MAX: usize = 4096;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A stream to a neighbour is open.
    Up(HostId),
    /// It is gone.
    Down(HostId),
    /// A neighbour said something.
    Message(HostId, Message),
    /// Entries were merged and were new; from a neighbour, or made here.
    Merged {
        /// Who sent them.
        from: Option<HostId>,
        /// The entries, each with its id.
        items: Vec<(EntryId, Item)>,
    },
    /// The executor has results of this host.
    Results(Vec<Report>),
    /// The executor says that this host works on an order.
    Working(EntryId),
    /// Reports that this host keeps are on disk now, and this is its word for it.
    Kept(Signed<Receipt>),
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
}

#[derive(Debug)]
struct Neighbour {
    greeted: bool,
    heard: Timestamp,
    pinged: Timestamp,
    rtt: Option<Duration>,
    exchanged: Option<Timestamp>,
    answered: Option<Timestamp>,
    has: VecDeque<EntryId>,
    has_set: HashSet<EntryId>,
}

impl Neighbour {
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
}

/// A digest, and for which state of the replica it holds.
#[derive(Clone, Copy, Debug)]
struct Digest {
    version: u64,
    from: Timestamp,
    until: Option<Timestamp>,
    hash: [u8; 16],
}

/// Spreads, reconciles and carries results for one host.
#[derive(Debug)]
pub struct Machine {
    me: HostId,
    neighbours: BTreeMap<HostId, Neighbour>,
    heads: Heads,
    returns: Returns,
    /// The last one: it goes over all that is held, and is asked for far more often than that changes.
    digest: Option<Digest>,
}

/// How many heads each host may still say: one that says new ones without end reaches nobody but its
/// neighbours.
#[derive(Debug, Default)]
struct Heads(HashMap<[u8; 32], (u32, Timestamp)>);

impl Heads {
    /// Whether one more is taken. The first always is.
    fn take(&mut self, header: &Header, now: Timestamp, replica: &Replica) -> bool {
        let Some(signer) = header.signer else { return true };
        let host = HostId::of(&PublicKey::from_bytes(signer));
        if replica.holds(&header.id) || replica.head(&host).is_none() {
            return true;
        }
        let (left, at) = self.0.entry(signer).or_insert((HEADS_AT_ONCE, now));
        let more = now.since(*at).as_secs() / HEAD_EVERY.as_secs();
        if more > 0 {
            *at = now;
            *left = left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)).min(HEADS_AT_ONCE);
        }
        let taken = *left > 0;
        *left = left.saturating_sub(1);
        taken
    }
}

impl Machine {
    /// A machine without neighbours.
    pub fn new(me: HostId) -> Self {
        let (heads, returns) = (Heads::default(), Returns::new(me));
        Self { me, neighbours: BTreeMap::new(), heads, returns, digest: None }
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

    /// These were merged and were new, and `peer` sent them: results go that way. Said at once, before
    /// another neighbour sends them too; [`Event::Merged`] follows.
    pub fn came(&mut self, peer: HostId, ids: impl IntoIterator<Item = EntryId>) {
        for id in ids {
            self.returns.came(id, peer);
        }
    }

    /// Takes what happened, says what is to be done. `replica` is what is held at this moment.
    pub fn handle(&mut self, event: Event, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        match event {
            Event::Up(peer) => {
                let neighbour = Neighbour {
                    greeted: false,
                    heard: now,
                    pinged: now,
                    rtt: None,
                    exchanged: None,
                    answered: None,
                    has: VecDeque::new(),
                    has_set: HashSet::new(),
                };
                self.neighbours.insert(peer, neighbour);
                let digest = self.digest(now, replica);
                vec![Effect::Send(peer, Message::Hello { version: SYNC_VERSION, digest })]
            }
            Event::Down(peer) => {
                self.neighbours.remove(&peer);
                Vec::new()
            }
            Event::Message(peer, message) => self.on_message(peer, message, now, replica),
            Event::Merged { from, items } => self.spread(from, &items, replica),
            Event::Results(reports) => {
                let returned = self.returns.own(reports, now, replica, &self.linked());
                self.perform(returned)
            }
            Event::Working(order) => {
                let returned = self.returns.running(None, order, vec![self.me], replica, &self.linked());
                self.perform(returned)
            }
            Event::Kept(receipt) => {
                let returned = self.returns.kept(&receipt);
                self.perform(returned)
            }
            Event::Tick => self.tick(now, replica),
        }
    }

    fn digest(&mut self, now: Timestamp, replica: &Replica) -> [u8; 16] {
        let version = replica.version();
        if let Some(last) = &self.digest
            && last.version == version
            && last.from <= now
            && last.until.is_none_or(|until| now <= until)
        {
            return last.hash;
        }
        let hash = replica.digest(now);
        self.digest = Some(Digest { version, from: now, until: replica.digest_until(now), hash });
        hash
    }

    fn linked(&self) -> Vec<HostId> {
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
        if !neighbour.greeted && !matches!(message, Message::Hello { .. }) {
            return vec![Effect::Close(peer, "it did not say hello first")];
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
            Message::Tips { tip } => {
                if neighbour.answered.is_some_and(|last| now.since(last) < ANSWER_EVERY) {
                    return Vec::new();
                }
                neighbour.answered = Some(now);
                let lacking = replica.lacking(&tip, now);
                in_messages(lacking).map(|items| Effect::Send(peer, Message::Items { items })).collect()
            }
            Message::Items { items } => {
                let mut fresh = Vec::new();
                for item in items.into_iter().take(ITEMS_MAX) {
                    let Ok(header) = peek(&item.entry.0) else {
                        return vec![Effect::Close(peer, "it sent what is no entry")];
                    };
                    if header.kind == Kind::Head as u16 && !self.heads.take(&header, now, replica) {
                        continue;
                    }
                    neighbour.note(header.id);
                    // What is held is true; what is not may be anything, and must not push out ways.
                    if replica.holds(&header.id) {
                        self.returns.came(header.id, peer);
                    } else {
                        fresh.push(item);
                    }
                }
                if fresh.is_empty() { Vec::new() } else { vec![Effect::Merge(peer, fresh)] }
            }
            Message::Ping { nonce, digest } => {
                let ours = self.digest(now, replica);
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
            Message::Reports { reports } => {
                let linked = self.linked();
                let returned = self.returns.reports(peer, reports, replica, &linked);
                self.perform(returned)
            }
            Message::Settled { receipt } => match self.returns.settled(peer, &receipt.0, replica) {
                Ok(returned) => self.perform(returned),
                Err(_) => vec![Effect::Shun(peer, "it passed on a forged receipt")],
            },
            Message::Running { order, hosts } => {
                let linked = self.linked();
                let returned = self.returns.running(Some(peer), order, hosts, replica, &linked);
                self.perform(returned)
            }
        }
    }

    /// Sends the tips if the neighbour holds something else, but not over and over.
    fn compare(&mut self, peer: HostId, theirs: [u8; 16], now: Timestamp, replica: &Replica) -> Vec<Effect> {
        if theirs == self.digest(now, replica) {
            return Vec::new();
        }
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Vec::new() };
        if neighbour.exchanged.is_some_and(|last| now.since(last) < EXCHANGE_EVERY) {
            return Vec::new();
        }
        neighbour.exchanged = Some(now);
        vec![Effect::Send(peer, Message::Tips { tip: replica.tip(now) })]
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
                if !neighbour.has_set.contains(id) && replica.holds(id) {
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
        let digest = self.digest(now, replica);
        for (peer, neighbour) in &mut self.neighbours {
            if now.since(neighbour.heard) > SILENT_MAX {
                effects.push(Effect::Close(*peer, "it was silent for too long"));
            } else if self.me < *peer && now.since(neighbour.pinged) >= PING_EVERY {
                neighbour.pinged = now;
                effects.push(Effect::Send(*peer, Message::Ping { nonce: now.0, digest }));
            }
        }
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
