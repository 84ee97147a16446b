//! Hosts with real replicas and machines on one thread, in virtual time. Links are streams: in order
//! and whole while they last, each as slow as it likes, and cut without a word.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{
    authority::{
        AGENT_USER, Enrolled, MemberList,
        sample::{Fleet, HOUR_MS, NOW, certificate, hlc, host_id, key, later},
    },
    identity::{EntryId, HostId, Operator, Signed, Stream, peek},
    replica::{
        Action, Entry, FACET_NODE, FacetHash, FacetRef, Head, Item, Kept, Limits, Merged, NodeFacet, Order,
        Outcome, Output, Packed, RECEIPT_REPORTS_MAX, Receipt, Replica, Report, ResultRecord, Roster,
        Sections, TipForm,
    },
    sync::{Effect, Event, MESSAGE_BYTES_MAX, Machine, Message, in_messages},
    time::Timestamp,
    wire::{self, Bytes, FRAME_HEADER_BYTES},
};

/// A generator that a seed starts.
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
    pub(super) fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// The fleet: an operator, and as many hosts as asked for.
pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) ana: EntryId,
    verified: HashMap<EntryId, Entry>,
    hosts: Vec<Enrolled>,
}

impl World {
    pub(super) fn new(hosts: u8) -> Self {
        let ana = key::<Operator>(1);
        let (fleet, ids) = Fleet::with(&[certificate("ana", &ana)]);
        let invitation = fleet.invite(&ana, ids[0], 1, &[], 100);
        let hosts = (0..hosts).map(|host| fleet.enrol(&invitation, 1, host, &[])).collect();
        Self { fleet, ana: ids[0], verified: HashMap::new(), hosts }
    }

    pub(super) fn replica(&self) -> Replica {
        let mut replica = Replica::new(self.fleet.authority());
        for host in &self.hosts {
            replica.merge(Entry::Host(Box::new(host.clone())), &[]).unwrap();
        }
        replica
    }

    /// Signatures are checked once in the whole network: this is not about them.
    pub(super) fn verify(&mut self, item: &Item) -> Option<Entry> {
        let id = peek(&item.entry.0).unwrap().id;
        if let Some(entry) = self.verified.get(&id) {
            return Some(entry.clone());
        }
        let entry = Entry::verify(&item.entry.0, self.fleet.id()).ok()?;
        self.verified.insert(id, entry.clone());
        Some(entry)
    }

    pub(super) fn order(&self, nonce: u64, roster: &[usize], keepers: &[usize]) -> Item {
        let mut hosts: Vec<HostId> = roster.iter().map(|at| id(*at)).collect();
        hosts.sort();
        self.order_for(nonce, Roster::Inline { hosts }, keepers)
    }

    /// An order for all of a list.
    pub(super) fn order_of_list(&self, nonce: u64, list: &Arc<MemberList>, keepers: &[usize]) -> Item {
        let roster = Roster::of(list.hosts(), || Ok(Arc::clone(list))).unwrap();
        self.order_for(nonce, roster, keepers)
    }

    fn order_for(&self, nonce: u64, roster: Roster, keepers: &[usize]) -> Item {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&nonce.to_le_bytes());
        let body = Order {
            nonce: bytes,
            certificate: self.ana,
            issued: NOW,
            expires: later(24 * HOUR_MS),
            selector: "all".to_owned(),
            roster,
            action: Action::Argv { argv: vec![Bytes::from(&b"true"[..])] },
            run_as: AGENT_USER.to_owned(),
            limits: Limits { timeout_ms: 1000, output_bytes_max: 1000 },
            keepers: keepers.iter().map(|at| id(*at)).collect(),
            reason: None,
        };
        Item::bare(Signed::sign(self.fleet.id(), &key::<Operator>(1), body).bytes())
    }

    pub(super) fn head(&self, host: usize, sequence: u64) -> Item {
        let node = NodeFacet { agent: format!("{host}.{sequence}"), ..NodeFacet::default() };
        let facet = wire::encode(&node);
        let body = Head {
            epoch: 0,
            sequence,
            previous: None,
            at: hlc(later(sequence)),
            facets: vec![FacetRef {
                name: FACET_NODE.to_owned(),
                hash: FacetHash::of(&facet),
                bytes: u32::try_from(facet.len()).unwrap(),
                at: None,
            }],
            audit: None,
        };
        let signed = Signed::sign(self.fleet.id(), &key(u8::try_from(host).unwrap()), body);
        Item { entry: Bytes::from(signed.bytes()), facets: vec![Packed::alone(&facet)] }
    }

    /// A head that names these facets too.
    pub(super) fn head_with(&self, host: usize, sequence: u64, facets: &[(&str, Vec<u8>, Packed)]) -> Item {
        self.head_by(host, sequence, 0, facets)
    }

    /// Another head at the same place for every `variant`.
    pub(super) fn head_by(
        &self,
        host: usize,
        sequence: u64,
        variant: u64,
        facets: &[(&str, Vec<u8>, Packed)],
    ) -> Item {
        let named = facets.iter().map(|(name, bytes, _)| FacetRef {
            name: (*name).to_owned(),
            hash: FacetHash::of(bytes),
            bytes: u32::try_from(bytes.len()).unwrap(),
            at: Some(NOW),
        });
        let body = Head {
            epoch: 0,
            sequence,
            previous: None,
            at: hlc(later(variant)),
            facets: named.collect(),
            audit: None,
        };
        let signed = Signed::sign(self.fleet.id(), &key(u8::try_from(host).unwrap()), body);
        let facets = facets.iter().map(|(.., packed)| packed.clone()).collect();
        Item { entry: Bytes::from(signed.bytes()), facets }
    }

    pub(super) fn receipt(&self, keeper: usize, kept: &[Kept]) -> Signed<Receipt> {
        let key = key::<Stream>(u8::try_from(keeper).unwrap());
        Signed::sign(self.fleet.id(), &key, Receipt { kept: kept.to_vec() })
    }

    pub(super) fn report(&self, order: EntryId, host: usize) -> Report {
        let record = ResultRecord {
            order,
            host: id(host),
            outcome: Outcome::Exited { code: 0 },
            started: NOW,
            took_ms: 1,
            stdout: Output::default(),
            stderr: Output::default(),
            left_behind: 0,
        };
        let signed = Signed::sign(self.fleet.id(), &key(u8::try_from(host).unwrap()), record);
        Report { order, host: id(host), record: Bytes::from(signed.bytes()), stdout: None, stderr: None }
    }
}

/// Computed once: it takes longer than all else that a message costs.
pub(super) fn id(host: usize) -> HostId {
    static IDS: OnceLock<Vec<HostId>> = OnceLock::new();
    IDS.get_or_init(|| (0..128).map(host_id).collect())[host]
}

pub(super) fn item_id(item: &Item) -> EntryId {
    peek(&item.entry.0).unwrap().id
}

/// One host: what survives a restart, and the machine, which does not.
pub(super) struct Node {
    pub(super) machine: Machine,
    pub(super) replica: Replica,
    pub(super) alive: bool,
    /// The executor: results that it has not heard to be settled, and those that it has.
    pub(super) unsettled: BTreeMap<EntryId, Report>,
    pub(super) settled: BTreeSet<EntryId>,
    pub(super) kept: BTreeMap<(EntryId, HostId), Report>,
    pub(super) seen_running: BTreeSet<(EntryId, HostId)>,
    /// Entries that it refuses whatever comes.
    pub(super) refuses: BTreeSet<EntryId>,
    /// Has no address.
    pub(super) dials_only: bool,
}

struct Link {
    queues: [VecDeque<(Timestamp, Message)>; 2],
}

pub(super) struct Network {
    pub(super) world: World,
    pub(super) nodes: Vec<Node>,
    links: BTreeMap<(usize, usize), Link>,
    /// Which island a host is on; messages and dials stay on it.
    pub(super) island: Vec<usize>,
    pub(super) now: Timestamp,
    pub(super) dice: Dice,
    /// Messages sent, by kind.
    pub(super) sent: BTreeMap<&'static str, usize>,
    /// Bytes that came to each host, with the headers of frames, by kind of message.
    pub(super) received: BTreeMap<(usize, &'static str), usize>,
    /// How often an entry was handed over to be merged.
    pub(super) judged: BTreeMap<(usize, EntryId), usize>,
    /// The last messages of tips.
    pub(super) tips: Vec<crate::replica::Tip>,
    /// Who is to be woken, and when.
    woken: BTreeSet<(Timestamp, usize)>,
    /// Drops messages that it says yes to.
    pub(super) loses: fn(&Message) -> bool,
}

pub(super) fn kind(message: &Message) -> &'static str {
    match message {
        Message::Hello { .. } => "hello",
        Message::Tips { .. } => "tips",
        Message::Items { .. } => "items",
        Message::Ping { .. } => "ping",
        Message::Pong { .. } => "pong",
        Message::Reports { .. } => "reports",
        Message::Settled { .. } => "settled",
        Message::Running { .. } => "running",
        Message::Told { .. } => "told",
        Message::Want { .. } => "want",
        Message::Facets { .. } => "facets",
        Message::Notes { .. } => "notes",
        Message::Combined { .. } => "combined",
        Message::WantList { .. } => "want list",
        Message::List { .. } => "list",
    }
}

impl Network {
    pub(super) fn new(hosts: u8, seed: u64) -> Self {
        let world = World::new(hosts);
        let replica = world.replica();
        let node = |at: u8| Node {
            machine: Machine::new(id(usize::from(at)), [at; 8]),
            replica: replica.clone(),
            alive: true,
            unsettled: BTreeMap::new(),
            settled: BTreeSet::new(),
            kept: BTreeMap::new(),
            seen_running: BTreeSet::new(),
            refuses: BTreeSet::new(),
            dials_only: false,
        };
        Self {
            nodes: (0..hosts).map(node).collect(),
            world,
            links: BTreeMap::new(),
            island: vec![0; usize::from(hosts)],
            now: NOW,
            dice: Dice::new(seed),
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            judged: BTreeMap::new(),
            tips: Vec::new(),
            woken: BTreeSet::new(),
            loses: |_| false,
        }
    }

    fn at(&self, host: &HostId) -> usize {
        (0..self.nodes.len()).find(|at| id(*at) == *host).unwrap()
    }

    pub(super) fn linked(&self, a: usize, b: usize) -> bool {
        self.links.contains_key(&(a.min(b), a.max(b)))
    }

    pub(super) fn degree(&self, a: usize) -> usize {
        self.links.keys().filter(|(one, other)| *one == a || *other == a).count()
    }

    pub(super) fn links(&self) -> Vec<(usize, usize)> {
        self.links.keys().copied().collect()
    }

    pub(super) fn link(&mut self, a: usize, b: usize) {
        let possible = a != b
            && self.nodes[a].alive
            && self.nodes[b].alive
            && self.island[a] == self.island[b]
            && !self.linked(a, b);
        if possible {
            self.links.insert((a.min(b), a.max(b)), Link { queues: Default::default() });
            self.handle(a, Event::Up(id(b)));
            self.handle(b, Event::Up(id(a)));
        }
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))).is_some() {
            self.handle(a, Event::Broken(id(b)));
            self.handle(b, Event::Broken(id(a)));
        }
    }

    pub(super) fn stop(&mut self, a: usize) {
        for (one, other) in self.links() {
            if one == a || other == a {
                self.cut(one, other);
            }
        }
        self.nodes[a].alive = false;
    }

    /// Comes back with what was on disk.
    pub(super) fn start(&mut self, a: usize) {
        let feed = self.dice.next().to_le_bytes();
        let node = &mut self.nodes[a];
        node.machine = Machine::new(id(a), feed);
        node.alive = true;
        let kept = node.kept.keys().copied().collect();
        let unsettled = node.unsettled.values().cloned().collect();
        self.handle(a, Event::Owed(kept));
        self.handle(a, Event::Results(unsettled));
    }

    /// Something is handed over at a host.
    pub(super) fn submit(&mut self, at: usize, item: Item) -> EntryId {
        let id = item_id(&item);
        self.merge(at, None, vec![item]);
        id
    }

    fn merge(&mut self, at: usize, from: Option<HostId>, items: Vec<Item>) {
        let mut new = Vec::new();
        for item in items {
            let id = item_id(&item);
            *self.judged.entry((at, id)).or_default() += 1;
            let Some(entry) = self.world.verify(&item) else { continue };
            let node = &mut self.nodes[at];
            if node.refuses.contains(&id) {
                continue;
            }
            if matches!(node.replica.merge(entry, &item.facets), Ok(Merged::New | Merged::Forked)) {
                new.push((id, item));
            }
        }
        if new.is_empty() {
            return;
        }
        let orders: Vec<EntryId> = new.iter().map(|(id, _)| *id).collect();
        self.handle(at, Event::Merged { from, items: new });
        for order in orders {
            self.execute(at, order);
        }
    }

    fn execute(&mut self, at: usize, order: EntryId) {
        let mine = self.nodes[at].replica.seats(&order).is_some_and(|seats| seats.contains(&id(at)));
        if mine && !self.nodes[at].settled.contains(&order) && !self.nodes[at].unsettled.contains_key(&order)
        {
            let report = self.world.report(order, at);
            self.nodes[at].unsettled.insert(order, report.clone());
            self.handle(at, Event::Working(order));
            self.handle(at, Event::Results(vec![report]));
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, message: Message) {
        let bytes = wire::encode(&message).len();
        assert!(bytes <= MESSAGE_BYTES_MAX, "{} has {bytes} bytes", kind(&message));
        *self.sent.entry(kind(&message)).or_default() += 1;
        *self.received.entry((to, kind(&message))).or_default() += FRAME_HEADER_BYTES + bytes;
        if let Message::Tips { tip } = &message {
            self.tips.push(tip.clone());
        }
        let delay = Duration::from_millis(1 + self.dice.next() % 80);
        let Some(link) = self.links.get_mut(&(from.min(to), from.max(to))) else { return };
        if (self.loses)(&message) {
            return;
        }
        let queue = &mut link.queues[usize::from(from > to)];
        let after = queue.back().map_or(self.now, |(due, _)| *due);
        queue.push_back((after.max(self.now.after(delay)), message));
    }

    pub(super) fn handle(&mut self, at: usize, event: Event) {
        let node = &mut self.nodes[at];
        let effects = node.machine.handle(event, self.now, &node.replica);
        for effect in effects {
            match effect {
                Effect::Send(peer, message) => {
                    let to = self.at(&peer);
                    self.send(at, to, message);
                }
                Effect::Merge(peer, items) => {
                    self.merge(at, Some(peer), items.iter().map(|arrived| arrived.item().clone()).collect());
                }
                Effect::Shun(peer, why) => panic!("{peer} is shunned: {why}"),
                Effect::Close(peer, _) => {
                    let peer = self.at(&peer);
                    self.cut(at, peer);
                }
                Effect::Keep(reports) => {
                    let mut kept = Vec::new();
                    for report in reports {
                        kept.push(report.kept());
                        self.nodes[at].kept.insert((report.order, report.host), report);
                    }
                    for kept in kept.chunks(RECEIPT_REPORTS_MAX) {
                        let receipt = self.world.receipt(at, kept);
                        self.handle(at, Event::Kept(receipt));
                    }
                }
                Effect::Settle(order) => {
                    self.nodes[at].unsettled.remove(&order);
                    self.nodes[at].settled.insert(order);
                }
                Effect::Running(order, hosts) => {
                    self.nodes[at].seen_running.extend(hosts.into_iter().map(|host| (order, host)));
                }
                Effect::Reach(keeper) => {
                    let keeper = self.at(&keeper);
                    if !self.nodes[keeper].dials_only {
                        self.link(at, keeper);
                    }
                }
                Effect::Wake(within) => {
                    self.woken.insert((self.now.after(within), at));
                }
                Effect::KeepList(list) => {
                    let list_id = list.id();
                    let replica = &mut self.nodes[at].replica;
                    replica.keep_list(Arc::new(list));
                    for order in replica.orders_of_list(list_id).collect::<Vec<_>>() {
                        self.execute(at, order);
                    }
                }
                Effect::Pass(peer, kept) => {
                    let to = self.at(&peer);
                    let reports = kept.iter().filter_map(|key| self.nodes[at].kept.get(key).cloned());
                    let reports = reports.collect();
                    for message in in_messages(reports, &self.nodes[at].replica) {
                        self.send(at, to, message);
                    }
                }
            }
        }
    }

    /// Delivers what is due until nothing is left that is; one message of a link after the other, the
    /// links in any order.
    fn deliver(&mut self) {
        loop {
            while self.woken.first().is_some_and(|(due, _)| *due <= self.now) {
                let Some((_, at)) = self.woken.pop_first() else { break };
                self.handle(at, Event::Woken);
            }
            let ready: Vec<((usize, usize), usize)> = self
                .links
                .iter()
                .flat_map(|(ends, link)| [(ends, link, 0), (ends, link, 1)])
                .filter(|(_, link, way)| link.queues[*way].front().is_some_and(|(due, _)| *due <= self.now))
                .map(|(ends, _, way)| (*ends, way))
                .collect();
            if ready.is_empty() {
                return;
            }
            let (ends, way) = ready[self.dice.below(ready.len())];
            let link = self.links.get_mut(&ends).unwrap();
            let (_, message) = link.queues[way].pop_front().unwrap();
            let (from, to) = if way == 0 { ends } else { (ends.1, ends.0) };
            self.handle(to, Event::Message(id(from), message));
        }
    }

    /// Lets time pass; each host ticks once a second.
    pub(super) fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            // Nothing under way: nothing to see within the second.
            let busy = self.links.values().any(|link| link.queues.iter().any(|queue| !queue.is_empty()))
                || !self.woken.is_empty();
            let steps = if busy { 20 } else { 1 };
            for _ in 0..steps {
                self.now = self.now.after(Duration::from_millis(1000 / steps));
                self.deliver();
            }
            for at in 0..self.nodes.len() {
                if self.nodes[at].alive {
                    self.handle(at, Event::Tick);
                }
            }
        }
    }

    /// Lets time pass until it holds, at most so long.
    pub(super) fn until(&mut self, seconds: u64, holds: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..seconds {
            if holds(self) {
                return true;
            }
            self.run(1);
        }
        holds(self)
    }

    pub(super) fn digests(&self) -> BTreeSet<[u8; 16]> {
        self.nodes.iter().filter(|node| node.alive).map(|node| node.replica.digest(self.now)).collect()
    }

    pub(super) fn digests_of(&self, hosts: &[usize]) -> BTreeSet<[u8; 16]> {
        hosts.iter().map(|at| self.nodes[*at].replica.digest(self.now)).collect()
    }

    /// Delivers what is under way, within a second and without a tick.
    pub(super) fn step(&mut self) {
        for _ in 0..9 {
            self.now = self.now.after(Duration::from_millis(100));
            self.deliver();
        }
    }

    /// Whom a host asked for something that did not come.
    pub(super) fn wanted_from(&self, host: usize) -> usize {
        let asked = self.nodes[host].machine.asked_of();
        self.at(&asked.expect("it asks somebody"))
    }

    /// What each host lacks of the others.
    pub(super) fn differences(&self) -> String {
        let mut words = Vec::new();
        for (a, node) in self.nodes.iter().enumerate() {
            let tip = node.replica.tip(&Sections::ALL, TipForm::Full, self.now);
            for (b, other) in self.nodes.iter().enumerate() {
                let lacks = other.replica.lacking(&tip, self.now).len();
                if lacks > 0 {
                    let linked = if self.linked(a, b) { ", its neighbour" } else { "" };
                    words.push(format!("{a} lacks {lacks} of {b}{linked}"));
                }
            }
        }
        words.join("; ")
    }

    pub(super) fn settled(&self, order: EntryId, hosts: &[usize]) -> bool {
        hosts.iter().all(|host| self.nodes[*host].settled.contains(&order))
    }

    pub(super) fn kept(&self, keeper: usize, order: EntryId, hosts: &[usize]) -> bool {
        hosts.iter().all(|host| self.nodes[keeper].kept.contains_key(&(order, id(*host))))
    }

    /// Whether these hosts' results are with the first keeper, and they know that a keeper has them.
    pub(super) fn is_home(&self, order: EntryId, first: usize, hosts: &[usize]) -> bool {
        self.kept(first, order, hosts) && self.settled(order, hosts)
    }

    /// Bytes that came to a host in all.
    pub(super) fn received(&self, at: usize) -> usize {
        self.received.iter().filter(|((host, _), _)| *host == at).map(|(_, bytes)| bytes).sum()
    }

    pub(super) fn sent(&self, kind: &str) -> usize {
        self.sent.get(kind).copied().unwrap_or(0)
    }
}
