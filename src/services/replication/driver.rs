//! The loop around the machine.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot},
    task::{JoinSet, yield_now},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Sync;
pub use crate::sync::Event;
use crate::{
    authority::Host,
    identity::{EntryId, HostId, PublicKey},
    net::{Channel, Hints, Net, PeerKey, Receiver, Sender},
    replica::{Item, Replica, Report},
    routing::{Candidate, LINKS_MAX, Neighbours},
    store::Store,
    sync::{Effect, Machine, Message, in_reports},
    time::Timestamp,
};

/// Messages that wait for a slow neighbour before it is cut off.
const OUTBOX_MAX: usize = 1024;
/// Bytes that wait for one, likewise: more than one answer to its tips.
const OUTBOX_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Bytes that are written to a neighbour at a time.
const WRITE_BYTES: usize = 256 * 1024;
/// Bytes that wait above which a neighbour that takes some is alive, whatever it says.
const BACKLOG_BYTES: usize = 512 * 1024;
/// Messages from all neighbours that wait to be handled: at most one of each, since the next one is
/// read when that is done.
const INBOX_MAX: usize = 256;
/// Entries that are verified and merged before everything else has its turn.
const MERGED_A_TURN: usize = 32;
/// Events from this host's other services that wait.
const EVENTS_MAX: usize = 1024;
/// Entries that a neighbour may send and that are refused: so many at once, and one a second.
const UNFIT_MAX: usize = 512;
/// How long a member that misbehaved is shunned. Long enough that a flood is nothing, short enough that
/// a host that was only broken comes back by itself.
const SHUNNED_FOR: Duration = Duration::from_secs(600);
/// Streams of neighbours at a time. A host that alone has an address has all others as neighbours.
const STREAMS_MAX: usize = 512;
/// Streams that one member may open in a [`CALM`]; two hosts that dial each other need two.
const STREAMS_A_CALM: u32 = 6;
/// A stream that lasted so long proves that two hosts get on.
const CALM: Duration = Duration::from_secs(10);
/// A link without a stream is given up after so long.
const STREAMLESS_MAX: Duration = Duration::from_secs(60);
/// First wait before a stream is opened again that ended at once; doubles up to the longest.
const REOPEN_AFTER: Duration = Duration::from_millis(500);
const REOPEN_AFTER_MAX: Duration = Duration::from_secs(20);
/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a write to a neighbour may take.
const SEND_WITHIN: Duration = Duration::from_secs(20);
/// Neighbours are pinged every twenty seconds, so a read that takes longer than this will never end.
const RECV_WITHIN: Duration = Duration::from_secs(60);
/// How long opening a link or a stream may take.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// A link too many is given up only when nothing was on its way for so long: it would be lost with it, and
/// sent again only seconds later.
const QUIET: Duration = Duration::from_secs(3);
/// Unless they are so many.
const LINKS_AT_ALL_MAX: usize = 2 * LINKS_MAX;
/// How often what has expired is swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// What replication has for the service that runs orders.
#[derive(Debug)]
pub enum Mail {
    /// This host keeps these; say [`Event::Kept`] when they are on disk.
    Keep(Vec<Report>),
    /// A keeper holds this host's result.
    Settle(EntryId),
    /// These hosts work on the order.
    Running(EntryId, Vec<HostId>),
}

/// What others may ask the loop.
#[derive(Debug)]
enum Ask {
    Links(oneshot::Sender<Vec<LinkRow>>),
    WayTo(EntryId, HostId, oneshot::Sender<Option<HostId>>),
    Unsettled(oneshot::Sender<u64>),
}

/// One neighbour.
#[derive(Clone, Debug)]
pub struct LinkRow {
    /// Which host.
    pub host: HostId,
    /// Where it is.
    pub remote: SocketAddr,
    /// Whether this end dialled.
    pub dialled: bool,
    /// When the stream was opened.
    pub since: Timestamp,
    /// The last round trip.
    pub rtt: Option<Duration>,
}

/// A handle on the loop.
#[derive(Clone, Debug)]
pub struct Replication {
    asks: mpsc::Sender<Ask>,
    events: mpsc::Sender<Event>,
}

impl Replication {
    /// The neighbours.
    pub async fn links(&self) -> Vec<LinkRow> {
        let (answer, answered) = oneshot::channel();
        if self.asks.send(Ask::Links(answer)).await.is_err() {
            return Vec::new();
        }
        answered.await.unwrap_or_default()
    }

    /// How many results of this host no keeper has yet.
    pub async fn unsettled(&self) -> u64 {
        let (answer, answered) = oneshot::channel();
        if self.asks.send(Ask::Unsettled(answer)).await.is_err() {
            return 0;
        }
        answered.await.unwrap_or_default()
    }

    /// The neighbour that leads to a host whose result on this order came by here.
    pub async fn way_to(&self, order: EntryId, host: HostId) -> Option<HostId> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::WayTo(order, host, answer)).await.ok()?;
        answered.await.ok().flatten()
    }

    /// Where the service that runs orders says what happened.
    pub fn events(&self) -> mpsc::Sender<Event> {
        self.events.clone()
    }
}

struct Stream {
    outbox: mpsc::Sender<Message>,
    flow: Arc<Flow>,
    moved: u64,
    since: Timestamp,
    serial: u64,
    proved: bool,
}

/// What goes through an outbox, in bytes.
#[derive(Debug, Default)]
struct Flow {
    waiting: AtomicUsize,
    written: AtomicU64,
}

enum Inbound {
    /// The permit is for the next message: it comes when this one is done.
    Message(Message, OwnedSemaphorePermit),
    Ended,
}

/// Entries of one message, on their way into the store.
struct Merging {
    peer: HostId,
    items: VecDeque<Item>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A link that has no stream.
#[derive(Clone, Copy)]
struct Streamless {
    since: Timestamp,
    tries: u32,
    again: Timestamp,
}

struct Driver {
    me: HostId,
    net: Net,
    store: Store,
    clock: fn() -> Timestamp,
    machine: Machine,
    neighbours: Neighbours,
    streams: BTreeMap<HostId, Stream>,
    inbox: mpsc::Sender<(HostId, u64, Inbound)>,
    mail: mpsc::Sender<Mail>,
    tasks: JoinSet<Done>,
    merging: VecDeque<Merging>,
    dialling: HashSet<HostId>,
    opening: HashSet<HostId>,
    streamless: BTreeMap<HostId, Streamless>,
    /// Streams that members opened since `calmed`.
    arrivals: HashMap<HostId, u32>,
    calmed: Timestamp,
    serial: u64,
    swept: Timestamp,
    /// Whom a link could be made to, and what this is from: going over all members each second would cost
    /// more than all else that an idle host does.
    candidates: Option<(u64, Hints, Vec<Candidate>)>,
    /// Members that misbehaved, and until when nothing is taken from them.
    shunned: HashMap<HostId, Timestamp>,
    patience: HashMap<HostId, Patience>,
    /// When something other than a look whether all is well was sent.
    busy: Timestamp,
    /// The authority's version that the gate was told.
    gate_told: Option<u64>,
}

/// How much a neighbour may still send that is refused: an honest one sends next to nothing of that kind,
/// and each costs up to three signature checks.
#[derive(Debug)]
struct Patience {
    left: usize,
    at: Timestamp,
}

impl Default for Patience {
    fn default() -> Self {
        Self { left: UNFIT_MAX, at: Timestamp(0) }
    }
}

impl Patience {
    /// Counts `unfit` entries; false once there were too many.
    fn bears(&mut self, unfit: usize, now: Timestamp) -> bool {
        // A clock that was set back.
        self.at = self.at.min(now);
        let seconds = now.since(self.at).as_secs();
        if seconds > 0 {
            self.at = now;
            self.left =
                self.left.saturating_add(usize::try_from(seconds).unwrap_or(UNFIT_MAX)).min(UNFIT_MAX);
        }
        let bears = unfit <= self.left;
        self.left = self.left.saturating_sub(unfit);
        bears
    }
}

enum Done {
    Dialled(HostId, bool),
    Opened(HostId, Option<Box<Channel<Sync>>>),
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
    let now = clock();
    let driver = Driver {
        me,
        net,
        store,
        clock,
        machine: Machine::new(me),
        neighbours: Neighbours::new(me, now),
        streams: BTreeMap::new(),
        inbox,
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
    Ok((Replication { asks, events }, running))
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the choice of neighbours is merely the same each time.
    let _unlucky = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn peer_key(replica: &Replica, host: &HostId) -> Option<PeerKey> {
    replica.authority().host(host).map(|host| PeerKey(host.transport().bytes()))
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
                    // Too many changes at once: the neighbours compare themselves at the next ping.
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

    fn host_of(&self, peer: PeerKey) -> Option<HostId> {
        let key = PublicKey::from_bytes(peer.0);
        self.store.read(|replica| replica.authority().host_by_transport(&key).map(Host::id))
    }

    /// The host of a peer that a stream may be shared with.
    fn welcome(&self, peer: PeerKey) -> Option<HostId> {
        self.host_of(peer).filter(|host| !self.shunned.contains_key(host))
    }

    fn tell_gate(&mut self) {
        let (version, members) = self.store.read(|replica| {
            let members = replica.authority().members();
            let welcome = members.filter(|host| !self.shunned.contains_key(&host.id()));
            let members = welcome.map(|host| PeerKey(host.transport().bytes())).collect();
            (replica.authority_version(), members)
        });
        self.gate_told = Some(version);
        self.candidates = None;
        self.net.set_members(members);
    }

    /// Cuts a member off that did what no honest one does, and does not let it back for a while: as a
    /// stranger it may only join, which it has no token for.
    fn shun(&mut self, peer: HostId, why: &'static str) {
        warn!(%peer, why, "a member is shunned");
        self.shunned.insert(peer, (self.clock)().after(SHUNNED_FOR));
        self.cut(peer);
        self.tell_gate();
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

    /// Whether a member may open one more stream now.
    fn may_arrive(&mut self, host: HostId) -> bool {
        let arrivals = self.arrivals.entry(host).or_default();
        *arrivals += 1;
        let may = *arrivals <= STREAMS_A_CALM;
        if !may {
            debug!(%host, "opens too many streams");
        }
        may
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
                self.down(peer);
                self.neighbours.lost((self.clock)());
                self.on_links();
            }
        }
    }

    fn down(&mut self, peer: HostId) {
        let Some(stream) = self.streams.remove(&peer) else { return };
        let now = (self.clock)();
        if !stream.proved {
            self.neighbours.dialled(peer, false, now, &mut random);
            self.failed_to_open(peer, now);
        }
        self.merging.retain(|merging| merging.peer != peer);
        self.handle(Event::Down(peer));
    }

    fn failed_to_open(&mut self, peer: HostId, now: Timestamp) {
        let row = self.streamless.entry(peer).or_insert(Streamless { since: now, tries: 0, again: now });
        let wait = REOPEN_AFTER * (1 << row.tries.min(6));
        row.tries += 1;
        row.again = now.after(wait.min(REOPEN_AFTER_MAX));
    }

    /// A stream to a neighbour is open; it takes the place of an older one.
    fn on_stream(&mut self, peer: HostId, sender: Sender<Message>, receiver: Receiver<Message>) {
        if self.streams.remove(&peer).is_some() {
            self.merging.retain(|merging| merging.peer != peer);
            self.handle(Event::Down(peer));
        }
        self.serial += 1;
        let serial = self.serial;
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MAX);
        let flow = Arc::new(Flow::default());
        self.tasks.spawn(write(sender, outgoing, Arc::clone(&flow)));
        self.tasks.spawn(read(receiver, peer, serial, self.inbox.clone()));
        let stream = Stream { outbox, flow, moved: 0, since: (self.clock)(), serial, proved: false };
        self.streams.insert(peer, stream);
        self.handle(Event::Up(peer));
    }

    fn handle(&mut self, event: Event) {
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
        if !matches!(message, Message::Hello { .. } | Message::Ping { .. } | Message::Pong { .. }) {
            self.busy = (self.clock)();
        }
        let weight = weight(&message);
        let waiting = stream.flow.waiting.fetch_add(weight, Ordering::Relaxed);
        if waiting + weight > OUTBOX_BYTES_MAX || stream.outbox.try_send(message).is_err() {
            debug!(%peer, "does not keep up and is cut off");
            self.cut(peer);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send(peer, message) => self.send(peer, message),
            // Only a message brings entries; see above.
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
                    for message in in_reports(&reports) {
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
        }
    }

    fn post(&self, mail: Mail) {
        if self.mail.try_send(mail).is_err() {
            // Results are offered again until they are settled.
            debug!("the service that runs orders does not keep up");
        }
    }

    fn cut(&mut self, peer: HostId) {
        self.down(peer);
        if let Some(key) = self.store.read(|replica| peer_key(replica, &peer)) {
            let net = self.net.clone();
            self.tasks.spawn(async move {
                let _stopped = net.disconnect(key).await;
                Done::Other
            });
        }
    }

    fn dial(&mut self, host: HostId) {
        let found = self.store.read(|replica| {
            let addresses = replica.node_facet(&host).map(|node| node.listen()).unwrap_or_default();
            peer_key(replica, &host).map(|key| (key, addresses))
        });
        let (key, mut addresses) = match found {
            Some(found) if host != self.me => found,
            _ => return self.neighbours.dialled(host, false, (self.clock)(), &mut random),
        };
        if let Some(seen) = self.net.hints().borrow().get(&key) {
            addresses.extend(seen.iter().copied());
        }
        if addresses.is_empty() {
            return self.neighbours.dialled(host, false, (self.clock)(), &mut random);
        }
        if !self.dialling.insert(host) {
            return;
        }
        let net = self.net.clone();
        self.tasks.spawn(async move {
            let dialled = net.dial(key, addresses, OPEN_WITHIN).await;
            if let Err(error) = &dialled {
                debug!(%host, %error, "not reached");
            }
            Done::Dialled(host, dialled.is_ok())
        });
    }

    /// Opens the stream on links that this end dialled and that have none, and gives up links on which
    /// neither end gets one.
    fn on_links(&mut self) {
        let now = (self.clock)();
        let links = self.net.links().borrow().clone();
        let mut linked = HashSet::new();
        let mut given_up = Vec::new();
        for (peer, link) in links {
            let Some(host) = self.welcome(peer) else { continue };
            linked.insert(host);
            if self.streams.contains_key(&host) {
                continue;
            }
            let row = self.streamless.entry(host).or_insert(Streamless { since: now, tries: 0, again: now });
            // A clock that was set back.
            row.since = row.since.min(now);
            row.again = row.again.min(now.after(REOPEN_AFTER_MAX));
            if now.since(row.since) > STREAMLESS_MAX {
                given_up.push(host);
            } else if link.dialled_by_us && row.again <= now && self.opening.insert(host) {
                let net = self.net.clone();
                self.tasks.spawn(async move {
                    match net.open::<Sync>(peer, OPEN_WITHIN).await {
                        Ok(channel) => Done::Opened(host, Some(Box::new(channel))),
                        Err(error) => {
                            debug!(%host, %error, "no sync stream");
                            Done::Opened(host, None)
                        }
                    }
                });
            }
        }
        for host in given_up {
            debug!(%host, "a link without a stream is given up");
            self.neighbours.dialled(host, false, now, &mut random);
            self.cut(host);
        }
        let streams = &self.streams;
        self.streamless.retain(|host, _| linked.contains(host) || streams.contains_key(host));
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Dialled(host, reached) => {
                self.dialling.remove(&host);
                self.neighbours.dialled(host, reached, (self.clock)(), &mut random);
                self.on_links();
            }
            Done::Opened(host, channel) => {
                self.opening.remove(&host);
                if let Some(channel) = channel {
                    let (sender, receiver) = channel.split_opener();
                    self.on_stream(host, sender, receiver);
                } else {
                    self.failed_to_open(host, (self.clock)());
                }
            }
            Done::Other => {}
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
            self.cut(host);
        }
        if now < self.swept || now.since(self.swept) > SWEEP_EVERY {
            self.swept = now;
            self.store.sweep(now);
        }
    }

    /// Who could be linked: looked up again only when an entry or an announcement came.
    fn look_for_candidates(&mut self) {
        let hints = self.net.hints().borrow().clone();
        let version = self.store.read(Replica::version);
        if self.candidates.as_ref().is_some_and(|(at, seen, _)| *at == version && *seen == hints) {
            return;
        }
        let members = self.store.read(|replica| {
            let candidate = |host: &Host| Candidate {
                host: host.id(),
                reachable: replica.node_facet(&host.id()).is_some_and(|node| !node.listen().is_empty())
                    || hints.contains_key(&PeerKey(host.transport().bytes())),
            };
            let members = replica.authority().members();
            members.filter(|host| !self.shunned.contains_key(&host.id())).map(candidate).collect()
        });
        self.candidates = Some((version, hints, members));
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
            Ask::WayTo(order, host, answer) => {
                let _gone = answer.send(self.machine.returns().way_to(order, host));
            }
        }
    }
}

/// About how long a message is, in bytes.
fn weight(message: &Message) -> usize {
    32 + match message {
        Message::Hello { .. } | Message::Ping { .. } | Message::Pong { .. } => 0,
        Message::Tips { tip } => tip.weight(),
        Message::Items { items } => items.iter().map(Item::weight).sum(),
        Message::Reports { reports } => reports.iter().map(report_weight).sum(),
        Message::Settled { receipt } => receipt.0.len(),
        Message::Running { hosts, .. } => hosts.len() * 35,
    }
}

fn report_weight(report: &Report) -> usize {
    let output = [&report.stdout, &report.stderr].into_iter().flatten().map(|out| out.0.len());
    96 + report.record.0.len() + output.sum::<usize>()
}

async fn write(mut sender: Sender<Message>, mut outgoing: mpsc::Receiver<Message>, flow: Arc<Flow>) -> Done {
    while let Some(first) = outgoing.recv().await {
        let mut bytes = weight(&first);
        let mut batch = vec![first];
        while bytes < WRITE_BYTES
            && let Ok(next) = outgoing.try_recv()
        {
            bytes += weight(&next);
            batch.push(next);
        }
        if let Err(error) = sender.send_all(&batch, SEND_WITHIN).await {
            debug!(%error, "neighbour not written to");
            return Done::Other;
        }
        flow.waiting.fetch_sub(bytes, Ordering::Relaxed);
        flow.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    let _gone = sender.close(SEND_WITHIN).await;
    Done::Other
}

async fn read(
    mut receiver: Receiver<Message>,
    peer: HostId,
    serial: u64,
    inbox: mpsc::Sender<(HostId, u64, Inbound)>,
) -> Done {
    // One message at a time: the rest stays with the sender until this one is done.
    let turn = Arc::new(Semaphore::new(1));
    loop {
        let Ok(permit) = Arc::clone(&turn).acquire_owned().await else { return Done::Other };
        let message = match receiver.recv(RECV_WITHIN).await {
            Ok(Some(message)) => Inbound::Message(message, permit),
            Ok(None) => Inbound::Ended,
            Err(error) => {
                debug!(%error, "neighbour not read");
                Inbound::Ended
            }
        };
        let ended = matches!(message, Inbound::Ended);
        if inbox.send((peer, serial, message)).await.is_err() || ended {
            return Done::Other;
        }
    }
}
