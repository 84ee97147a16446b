//! The loop around the machine.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, broadcast, mpsc},
    task::{JoinSet, yield_now},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{
    Sync,
    dial::{SHUNNED_FOR, Streamless, peer_key},
    handle::{Ask, LinkRow, Mail, Misbehaved, Replication},
    patience::Patience,
    stream::{Flow, Inbound, Received, Stream, read, write},
};
use crate::{
    authority::Host,
    identity::{EntryId, HostId},
    net::{Channel, Hints, Net, Receiver, Sender},
    replica::{Arrived, Item, Replica},
    routing::{Candidate, LINKS_MAX, Neighbours},
    store::Store,
    sync::{Effect, Event, Machine, Message, in_messages},
    time::Timestamp,
};

/// Messages that wait for a slow neighbour before it is cut off.
const OUTBOX_MAX: usize = 1024;
/// Bytes that wait for one, likewise: more than one answer to its tips.
const OUTBOX_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Bytes that wait above which a neighbour that takes some is alive, whatever it says.
const BACKLOG_BYTES: usize = 512 * 1024;
/// Messages from all neighbours that wait to be handled: at most one of each, since the next one is
/// read when that is done.
const INBOX_MAX: usize = 256;
/// Entries that are verified and merged before everything else has its turn.
const MERGED_A_TURN: usize = 32;
/// Events from this host's other services that wait.
const EVENTS_MAX: usize = 1024;
/// Streams of neighbours at a time. A host that alone has an address has all others as neighbours.
const STREAMS_MAX: usize = 512;
/// A stream that lasted so long proves that two hosts get on.
const CALM: Duration = Duration::from_secs(10);
/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// A link too many is given up only when nothing was on its way for so long: it would be lost with it, and
/// sent again only seconds later.
const QUIET: Duration = Duration::from_secs(3);
/// Unless they are so many.
const LINKS_AT_ALL_MAX: usize = 2 * LINKS_MAX;
/// How often what has expired is swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Entries of one message, on their way into the store.
struct Merging {
    peer: HostId,
    items: VecDeque<Arrived>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// The loop's state.
pub(super) struct Driver {
    pub(super) me: HostId,
    pub(super) net: Net,
    pub(super) store: Store,
    pub(super) clock: fn() -> Timestamp,
    pub(super) machine: Machine,
    pub(super) neighbours: Neighbours,
    pub(super) streams: BTreeMap<HostId, Stream>,
    pub(super) inbox: mpsc::Sender<(HostId, u64, Inbound)>,
    pub(super) received: Arc<Received>,
    pub(super) mail: mpsc::Sender<Mail>,
    pub(super) tasks: JoinSet<Done>,
    merging: VecDeque<Merging>,
    pub(super) dialling: HashSet<HostId>,
    pub(super) opening: HashSet<HostId>,
    pub(super) streamless: BTreeMap<HostId, Streamless>,
    /// Streams that members opened since `calmed`.
    pub(super) arrivals: HashMap<HostId, u32>,
    pub(super) calmed: Timestamp,
    pub(super) serial: u64,
    pub(super) swept: Timestamp,
    /// Whom a link could be made to, and what this is from: going over all members each second would cost
    /// more than all else that an idle host does.
    pub(super) candidates: Option<(u64, Hints, Vec<Candidate>)>,
    /// Members that misbehaved, and until when nothing is taken from them.
    pub(super) shunned: HashMap<HostId, Timestamp>,
    pub(super) patience: HashMap<HostId, Patience>,
    /// When something other than a look whether all is well was sent.
    pub(super) busy: Timestamp,
    /// The authority's version that the gate was told.
    pub(super) gate_told: Option<u64>,
}

/// What came of a task.
pub(super) enum Done {
    Dialled(HostId, bool),
    Opened(HostId, Option<Box<Channel<Sync>>>),
    /// What the machine gathers may be due.
    Slept,
    Other,
}

/// Makes the handle and the loop's future. `mail` is where results that this host keeps, and words about
/// orders, go.
///
/// # Errors
/// When the protocol is served already.
pub fn start(
    me: HostId,
    net: Net,
    store: Store,
    clock: fn() -> Timestamp,
    mail: mpsc::Sender<Mail>,
    stop: CancellationToken,
) -> Result<(Replication, impl Future<Output = ()>), crate::net::NetError> {
    let incoming = net.accept::<Sync>(STREAMS_MAX)?;
    let (asks, asked) = mpsc::channel(EVENTS_MAX);
    let (events, happened) = mpsc::channel(EVENTS_MAX);
    let (inbox, inbound) = mpsc::channel(INBOX_MAX);
    let (now, received) = (clock(), Arc::<Received>::default());
    let driver = Driver {
        me,
        net,
        store,
        clock,
        machine: Machine::new(me, (random() ^ now.0).to_le_bytes()),
        neighbours: Neighbours::new(me, now),
        streams: BTreeMap::new(),
        inbox,
        received: Arc::clone(&received),
        mail,
        tasks: JoinSet::new(),
        merging: VecDeque::new(),
        dialling: HashSet::new(),
        opening: HashSet::new(),
        streamless: BTreeMap::new(),
        arrivals: HashMap::new(),
        calmed: now,
        serial: 0,
        swept: now,
        candidates: None,
        shunned: HashMap::new(),
        patience: HashMap::new(),
        busy: now,
        gate_told: None,
    };
    let running = driver.run(incoming, asked, happened, inbound, stop);
    Ok((Replication { asks, events, received }, running))
}

/// Randomness for the choice of neighbours.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the choice of neighbours is merely the same each time.
    let _unlucky = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

impl Driver {
    async fn run(
        mut self,
        mut incoming: crate::net::Incoming<Sync>,
        mut asked: mpsc::Receiver<Ask>,
        mut happened: mpsc::Receiver<Event>,
        mut inbound: mpsc::Receiver<(HostId, u64, Inbound)>,
        stop: CancellationToken,
    ) {
        let mut changes = self.store.changes();
        let mut links = self.net.links();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.tell_gate();
        // What was kept before a restart may still be owed to the issuers' hosts.
        let kept = self.store.kept_keys();
        self.handle(Event::Owed(kept));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // Verifying takes long: a few entries, then everybody else.
                () = yield_now(), if !self.merging.is_empty() => self.merge_some(),
                Some((peer, serial, message)) = inbound.recv() => self.on_inbound(peer, serial, message),
                change = changes.recv() => match change {
                    Ok(change) => {
                        self.on_change(&change);
                    }
                    // Too many changes at once: the neighbours are told by the feed.
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        debug!(missed, "behind the store");
                        self.tell_gate();
                        self.handle(Event::Missed);
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Some(event) = happened.recv() => self.handle(event),
                Some(ask) = asked.recv() => self.on_ask(ask),
                Some(arrival) = incoming.next() => {
                    if let Some(host) = self.welcome(arrival.peer)
                        && self.may_arrive(host)
                    {
                        let (sender, receiver) = arrival.channel.split_acceptor();
                        self.on_stream(host, sender, receiver);
                    }
                }
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Ok(done) = done {
                        self.on_done(done);
                    }
                }
                other = links.changed() => {
                    if other.is_err() {
                        return;
                    }
                    self.on_links();
                }
                _ = tick.tick() => self.on_tick(),
            }
        }
    }

    /// What came from a neighbour was merged here, and is spread already.
    fn on_change(&mut self, change: &crate::store::Change) {
        if change.from.is_none() {
            self.on_merged(None, change.items.to_vec());
        }
    }

    fn on_merged(&mut self, from: Option<HostId>, items: Vec<(EntryId, Item)>) {
        // Where membership may have changed, the gate is told before anything is sent.
        if self.gate_told != Some(self.store.read(Replica::authority_version)) {
            self.tell_gate();
        }
        self.handle(Event::Merged { from, items });
    }

    /// Merges the next few entries of whoever waits longest.
    fn merge_some(&mut self) {
        let Some(mut merging) = self.merging.pop_front() else { return };
        let turn = merging.items.len().min(MERGED_A_TURN);
        let items = merging.items.drain(..turn).collect();
        let now = (self.clock)();
        // What is new is announced by the store, and spread from here.
        let merged = self.store.merge_judged(Some(merging.peer), items, now);
        if let Some(refusal) = merged.refusal {
            debug!(peer = %merging.peer, %refusal, "an entry was not taken");
        }
        let peer = merging.peer;
        if !merging.items.is_empty() {
            self.merging.push_back(merging);
        }
        if !merged.new.is_empty() {
            self.on_merged(Some(peer), merged.new);
        }
        if merged.forged {
            self.shun(peer, "it sent a forged entry");
        } else if !self.patience.entry(peer).or_default().bears(merged.unfit, now) {
            self.shun(peer, "it sent too much that nobody had the right to write");
        }
    }

    fn on_inbound(&mut self, peer: HostId, serial: u64, inbound: Inbound) {
        if self.streams.get(&peer).is_none_or(|stream| stream.serial != serial) {
            return;
        }
        match inbound {
            Inbound::Message(message, permit) => {
                self.handle_with(Event::Message(peer, message), Some(permit));
            }
            Inbound::Ended => {
                self.down(peer, Event::Broken(peer));
                self.neighbours.lost((self.clock)());
                self.on_links();
            }
        }
    }

    /// `event` says which end closed the stream.
    pub(super) fn down(&mut self, peer: HostId, event: Event) {
        let Some(stream) = self.streams.remove(&peer) else { return };
        let now = (self.clock)();
        if !stream.proved {
            self.neighbours.dialled(peer, false, now, &mut random);
            self.failed_to_open(peer, now);
        }
        self.merging.retain(|merging| merging.peer != peer);
        self.handle(event);
    }

    /// A stream to a neighbour is open; it takes the place of an older one.
    pub(super) fn on_stream(&mut self, peer: HostId, sender: Sender<Message>, receiver: Receiver<Message>) {
        if self.streams.remove(&peer).is_some() {
            self.merging.retain(|merging| merging.peer != peer);
            self.handle(Event::Down(peer));
        }
        self.serial += 1;
        let serial = self.serial;
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MAX);
        let flow = Arc::new(Flow::default());
        self.tasks.spawn(write(sender, outgoing, Arc::clone(&flow)));
        let received = Arc::clone(&self.received);
        self.tasks.spawn(read(receiver, peer, serial, self.inbox.clone(), received));
        let stream = Stream { outbox, flow, moved: 0, since: (self.clock)(), serial, proved: false };
        self.streams.insert(peer, stream);
        self.handle(Event::Up(peer));
    }

    pub(super) fn handle(&mut self, event: Event) {
        self.handle_with(event, None);
    }

    /// Does what the machine says. The permit is given back when all of it is done.
    fn handle_with(&mut self, event: Event, mut permit: Option<OwnedSemaphorePermit>) {
        let now = (self.clock)();
        let store = self.store.clone();
        let effects = store.read(|replica| self.machine.handle(event, now, replica));
        for effect in effects {
            match effect {
                Effect::Merge(peer, items) => {
                    let merging = Merging { peer, items: items.into(), _permit: permit.take() };
                    self.merging.push_back(merging);
                }
                effect => self.perform(effect),
            }
        }
    }

    fn send(&mut self, peer: HostId, message: Message) {
        let Some(stream) = self.streams.get(&peer) else { return };
        if !message.is_upkeep() {
            self.busy = (self.clock)();
        }
        let weight = message.weight();
        let waiting = stream.flow.waiting.fetch_add(weight, Ordering::Relaxed);
        if waiting + weight > OUTBOX_BYTES_MAX || stream.outbox.try_send(message).is_err() {
            debug!(%peer, "does not keep up and is cut off");
            self.cut(peer);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send(peer, message) => self.send(peer, message),
            // See above.
            Effect::Merge(..) => {}
            Effect::Pass(peer, kept) => {
                let orders: BTreeMap<EntryId, HashSet<HostId>> =
                    kept.into_iter().fold(BTreeMap::new(), |mut orders, (order, host)| {
                        orders.entry(order).or_insert_with(HashSet::new).insert(host);
                        orders
                    });
                for (order, hosts) in orders {
                    let mut reports = self.store.kept(&order);
                    reports.retain(|report| hosts.contains(&report.host));
                    for message in self.store.read(|replica| in_messages(reports, replica)) {
                        self.send(peer, message);
                    }
                }
            }
            Effect::Close(peer, why) => {
                debug!(%peer, why, "neighbour closed");
                self.neighbours.lost((self.clock)());
                self.cut(peer);
            }
            Effect::Shun(peer, why) => self.shun(peer, why),
            Effect::Keep(reports) => self.post(Mail::Keep(reports)),
            Effect::Settle(order) => self.post(Mail::Settle(order)),
            Effect::Running(order, hosts) => self.post(Mail::Running(order, hosts)),
            Effect::Reach(keeper) => self.dial(keeper),
            Effect::Wake(within) => {
                self.tasks.spawn(async move {
                    sleep(within).await;
                    Done::Slept
                });
            }
            // Who hands orders over hears of it from the store.
            Effect::KeepList(list) => drop(self.store.keep_list(list)),
        }
    }

    fn post(&self, mail: Mail) {
        if self.mail.try_send(mail).is_err() {
            // Results are offered again until they are settled.
            debug!("the service that runs orders does not keep up");
        }
    }

    fn on_tick(&mut self) {
        let now = (self.clock)();
        let mut alive = Vec::new();
        for (host, stream) in &mut self.streams {
            let written = stream.flow.written.load(Ordering::Relaxed);
            let moves = std::mem::replace(&mut stream.moved, written) != written;
            if moves && stream.flow.waiting.load(Ordering::Relaxed) > BACKLOG_BYTES {
                alive.push(*host);
            }
            stream.since = stream.since.min(now);
            if !stream.proved && now.since(stream.since) > CALM {
                stream.proved = true;
                self.streamless.remove(host);
                self.neighbours.proved(host);
            }
        }
        for host in alive {
            self.handle(Event::Moves(host));
        }
        // A clock that was set back must not shun for longer.
        let latest = now.after(SHUNNED_FOR);
        if self.shunned.values().any(|until| *until <= now || *until > latest) {
            self.shunned.retain(|_, until| *until > now && *until <= latest);
            self.tell_gate();
        }
        if now < self.calmed || now.since(self.calmed) > CALM {
            self.calmed = now;
            self.arrivals.clear();
        }
        self.handle(Event::Tick);
        self.on_links();
        let links = self.net.links().borrow().clone();
        let linked: BTreeMap<HostId, bool> = links
            .iter()
            .filter_map(|(peer, link)| self.welcome(*peer).map(|host| (host, link.dialled_by_us)))
            .collect();
        self.look_for_candidates();
        let members = self.candidates.as_ref().map_or(&[][..], |(_, _, members)| members.as_slice());
        let plan = self.neighbours.step(members, &linked, now, &mut random);
        for host in plan.dial {
            self.dial(host);
        }
        let gives_up = now < self.busy || now.since(self.busy) >= QUIET || linked.len() > LINKS_AT_ALL_MAX;
        for host in plan.drop.into_iter().filter(|_| gives_up) {
            info!(%host, "one link too many, given up");
            self.give_up(host);
        }
        self.store.wait(now);
        if now < self.swept || now.since(self.swept) > SWEEP_EVERY {
            self.swept = now;
            self.store.sweep(now);
        }
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Links(answer) => {
                let links = self.net.links().borrow().clone();
                let rows = self
                    .streams
                    .iter()
                    .filter_map(|(host, stream)| {
                        let key = self.store.read(|replica| peer_key(replica, host))?;
                        let link = links.get(&key)?;
                        Some(LinkRow {
                            host: *host,
                            remote: link.remote,
                            dialled: link.dialled_by_us,
                            since: stream.since,
                            rtt: self.machine.rtt(host),
                        })
                    })
                    .collect();
                let _gone = answer.send(rows);
            }
            Ask::Unsettled(answer) => {
                let _gone = answer.send(self.machine.returns().unsettled() as u64);
            }
            Ask::Presence(answer) => {
                let now = (self.clock)();
                let seen = self.store.read(|replica| {
                    let members = replica.authority().members().map(Host::id);
                    members.map(|host| (host, self.machine.presence(&host, now))).collect()
                });
                let _gone = answer.send(seen);
            }
            Ask::Misbehaved(answer) => {
                let shunned = |host| self.shunned.contains_key(&host);
                let row = |(host, why, at)| Misbehaved { host, why, at, shunned: shunned(host) };
                let _gone = answer.send(self.machine.misbehaved().map(row).collect());
            }
            Ask::WayTo(order, host, answer) => {
                let _gone = answer.send(self.machine.returns().way_to(order, host));
            }
        }
    }
}
