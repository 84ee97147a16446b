//! The loop around the machine.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Sync;
pub use crate::sync::Event;
use crate::{
    authority::Host,
    identity::{EntryId, HostId, PublicKey},
    net::{Channel, Net, PeerKey, Receiver, Sender},
    replica::{Item, Replica, Report},
    routing::{Candidate, Neighbours},
    store::Store,
    sync::{Effect, Machine, Message},
    time::Timestamp,
};

/// Messages that wait for a slow neighbour before it is cut off.
const OUTBOX_MAX: usize = 512;
/// Messages from all neighbours that wait to be handled.
const INBOX_MAX: usize = 256;
/// Events from this host's other services that wait.
const EVENTS_MAX: usize = 1024;
/// Of these, messages of one neighbour: who floods waits, and nobody else does.
const INBOX_A_NEIGHBOUR_MAX: usize = 2;
/// Entries that are merged at a time; what comes after the first bad ones is not looked at.
const MERGED_AT_ONCE_MAX: usize = 128;
/// Entries that a neighbour may send and that are refused: so many at once, and one a second.
const UNFIT_MAX: usize = 512;
/// How long a member that misbehaved is shunned. Long enough that a flood is nothing, short enough that
/// a host that was only broken comes back by itself.
const SHUNNED_FOR: Duration = Duration::from_secs(600);
/// Streams of neighbours at a time.
const STREAMS_MAX: usize = 128;
/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a write to a neighbour may take.
const SEND_WITHIN: Duration = Duration::from_secs(20);
/// Neighbours are pinged every twenty seconds, so a read that takes longer than this will never end.
const RECV_WITHIN: Duration = Duration::from_secs(60);
/// How long opening a link or a stream may take.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
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
    since: Timestamp,
    serial: u64,
}

enum Inbound {
    Message(Message),
    Ended,
}

/// Something from a neighbour's stream, with that stream's number and the neighbour's place in the inbox.
struct Received {
    peer: HostId,
    serial: u64,
    inbound: Inbound,
    _place: OwnedSemaphorePermit,
}

struct Driver {
    me: HostId,
    net: Net,
    store: Store,
    clock: fn() -> Timestamp,
    machine: Machine,
    neighbours: Neighbours,
    streams: BTreeMap<HostId, Stream>,
    inbox: mpsc::Sender<Received>,
    mail: mpsc::Sender<Mail>,
    tasks: JoinSet<Done>,
    opening: HashSet<HostId>,
    serial: u64,
    linked: HashSet<HostId>,
    swept: Timestamp,
    /// Members that misbehaved, and until when nothing is taken from them.
    shunned: HashMap<HostId, Timestamp>,
    patience: HashMap<HostId, Patience>,
    /// The authority's version that the gate was told.
    gate_told: Option<u64>,
    /// Whom a link could be made to, and the replica's version that this is from: going over all members
    /// each second would cost more than all else that an idle host does.
    candidates: (Option<u64>, Vec<Candidate>),
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
        opening: HashSet::new(),
        serial: 0,
        linked: HashSet::new(),
        swept: now,
        shunned: HashMap::new(),
        patience: HashMap::new(),
        gate_told: None,
        candidates: (None, Vec::new()),
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
        mut inbound: mpsc::Receiver<Received>,
        stop: CancellationToken,
    ) {
        let mut changes = self.store.changes();
        let mut links = self.net.links();
        let mut hints = self.net.hints();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.tell_gate();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(received) = inbound.recv() => self.on_inbound(received),
                change = changes.recv() => match change {
                    Ok(change) => {
                        self.on_change(&change);
                    }
                    // Too many changes at once: the neighbours compare themselves at the next ping.
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        debug!(missed, "behind the store");
                        self.tell_gate();
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Some(event) = happened.recv() => self.handle(event),
                Some(ask) = asked.recv() => self.on_ask(ask),
                Some(arrival) = incoming.next() => {
                    if let Some(host) = self.welcome(arrival.peer) {
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
                _ = tick.tick() => {
                    if hints.has_changed().unwrap_or_default() {
                        hints.mark_unchanged();
                        self.candidates.0 = None;
                    }
                    self.on_tick();
                }
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
        self.candidates.0 = None;
        self.net.set_members(members);
    }

    fn on_change(&mut self, change: &crate::store::Change) {
        // Where membership may have changed, the gate is told before anything is sent.
        if self.gate_told != Some(self.store.read(Replica::authority_version)) {
            self.tell_gate();
        }
        self.handle(Event::Merged { from: change.from, items: change.items.to_vec() });
    }

    fn on_inbound(&mut self, received: Received) {
        let Received { peer, serial, inbound, _place } = received;
        if self.streams.get(&peer).is_none_or(|stream| stream.serial != serial) {
            return;
        }
        match inbound {
            Inbound::Message(message) => self.handle(Event::Message(peer, message)),
            Inbound::Ended => self.down(peer),
        }
    }

    fn down(&mut self, peer: HostId) {
        if self.streams.remove(&peer).is_some() {
            self.neighbours.lost((self.clock)());
            self.handle(Event::Down(peer));
        }
    }

    /// A stream to a neighbour is open; it takes the place of an older one.
    fn on_stream(&mut self, peer: HostId, sender: Sender<Message>, receiver: Receiver<Message>) {
        if self.streams.remove(&peer).is_some() {
            self.handle(Event::Down(peer));
        }
        self.serial += 1;
        let serial = self.serial;
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MAX);
        self.tasks.spawn(write(sender, outgoing));
        self.tasks.spawn(read(receiver, peer, serial, self.inbox.clone()));
        self.streams.insert(peer, Stream { outbox, since: (self.clock)(), serial });
        self.handle(Event::Up(peer));
    }

    fn handle(&mut self, event: Event) {
        let now = (self.clock)();
        let store = self.store.clone();
        let effects = store.read(|replica| self.machine.handle(event, now, replica));
        for effect in effects {
            self.perform(effect, now);
        }
    }

    fn perform(&mut self, effect: Effect, now: Timestamp) {
        match effect {
            Effect::Send(peer, message) => {
                let full = self.streams.get(&peer).is_some_and(|s| s.outbox.try_send(message).is_err());
                if full {
                    debug!(%peer, "does not keep up and is cut off");
                    self.cut(peer);
                }
            }
            Effect::Merge(peer, items) => {
                // What is new is announced by the store, and spread from there.
                self.merge(peer, items, now);
            }
            Effect::Close(peer, why) => {
                debug!(%peer, why, "neighbour closed");
                self.cut(peer);
            }
            Effect::Shun(peer, why) => self.shun(peer, why),
            Effect::Keep(reports) => self.post(Mail::Keep(reports)),
            Effect::Settle(order) => self.post(Mail::Settle(order)),
            Effect::Running(order, hosts) => self.post(Mail::Running(order, hosts)),
            Effect::Reach(keeper) => self.dial(keeper),
        }
    }

    fn merge(&mut self, peer: HostId, mut items: Vec<Item>, now: Timestamp) {
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(MERGED_AT_ONCE_MAX));
            let merging = self.store.merge_judged(Some(peer), items, now);
            self.machine.came(peer, merging.new.into_iter().map(|(id, _)| id));
            if let Some(refusal) = merging.refusal {
                debug!(%peer, %refusal, "an entry was not taken");
            }
            if merging.forged {
                return self.shun(peer, "it sent a forged entry");
            }
            if !self.patience.entry(peer).or_default().bears(merging.unfit, now) {
                return self.shun(peer, "it sent too much that nobody had the right to write");
            }
            items = rest;
        }
    }

    /// Cuts a member off that did what no honest one does, and does not let it back for a while: as a
    /// stranger it may only join, which it has no token for.
    fn shun(&mut self, peer: HostId, why: &'static str) {
        warn!(%peer, why, "a member is shunned");
        self.shunned.insert(peer, (self.clock)().after(SHUNNED_FOR));
        self.cut(peer);
        self.tell_gate();
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
        let Some((key, mut addresses)) = found else { return };
        if let Some(seen) = self.net.hints().borrow().get(&key) {
            addresses.extend(seen.iter().copied());
        }
        if addresses.is_empty() || host == self.me {
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

    /// Opens the stream on links that this end dialled and that have none.
    fn on_links(&mut self) {
        let links = self.net.links().borrow().clone();
        let mut linked = HashSet::new();
        for (peer, link) in links {
            let Some(host) = self.welcome(peer) else { continue };
            linked.insert(host);
            if link.dialled_by_us && !self.streams.contains_key(&host) && self.opening.insert(host) {
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
        self.linked = linked;
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Dialled(host, reached) => {
                self.neighbours.dialled(host, reached, (self.clock)(), &mut random);
                self.on_links();
            }
            Done::Opened(host, channel) => {
                self.opening.remove(&host);
                if let Some(channel) = channel {
                    let (sender, receiver) = channel.split_opener();
                    self.on_stream(host, sender, receiver);
                }
            }
            Done::Other => {}
        }
    }

    fn on_tick(&mut self) {
        let now = (self.clock)();
        if self.shunned.values().any(|until| *until <= now) {
            self.shunned.retain(|_, until| *until > now);
            self.tell_gate();
        }
        self.handle(Event::Tick);
        self.on_links();
        self.review_candidates();
        let links = self.net.links().borrow().clone();
        let linked: BTreeMap<HostId, bool> = links
            .iter()
            .filter_map(|(peer, link)| self.welcome(*peer).map(|host| (host, link.dialled_by_us)))
            .collect();
        let plan = self.neighbours.step(&self.candidates.1, &linked, now, &mut random);
        for host in plan.dial {
            self.dial(host);
        }
        for host in plan.drop {
            info!(%host, "one link too many, given up");
            self.cut(host);
        }
        if now.since(self.swept) > SWEEP_EVERY {
            self.swept = now;
            self.store.sweep(now);
        }
    }

    fn review_candidates(&mut self) {
        let Self { store, net, shunned, candidates: (held, candidates), .. } = self;
        store.read(|replica| {
            if *held == Some(replica.version()) {
                return;
            }
            let hints = net.hints();
            let hints = hints.borrow();
            let members = replica.authority().members().filter(|host| !shunned.contains_key(&host.id()));
            let candidate = |host: &Host| Candidate {
                host: host.id(),
                reachable: replica.node_facet(&host.id()).is_some_and(|node| !node.addresses.is_empty())
                    || hints.contains_key(&PeerKey(host.transport().bytes())),
            };
            *candidates = members.map(candidate).collect();
            *held = Some(replica.version());
        });
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
            Ask::WayTo(order, host, answer) => {
                let _gone = answer.send(self.machine.returns().way_to(order, host));
            }
        }
    }
}

async fn write(mut sender: Sender<Message>, mut outgoing: mpsc::Receiver<Message>) -> Done {
    let mut batch = Vec::new();
    while outgoing.recv_many(&mut batch, 64).await > 0 {
        if let Err(error) = sender.send_all(&batch, SEND_WITHIN).await {
            debug!(%error, "neighbour not written to");
            return Done::Other;
        }
        batch.clear();
    }
    let _gone = sender.close(SEND_WITHIN).await;
    Done::Other
}

async fn read(
    mut receiver: Receiver<Message>,
    peer: HostId,
    serial: u64,
    inbox: mpsc::Sender<Received>,
) -> Done {
    let places = Arc::new(Semaphore::new(INBOX_A_NEIGHBOUR_MAX));
    loop {
        // Never closed, so a place is only ever waited for.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Done::Other };
        let inbound = match receiver.recv(RECV_WITHIN).await {
            Ok(Some(message)) => Inbound::Message(message),
            Ok(None) => Inbound::Ended,
            Err(error) => {
                debug!(%error, "neighbour not read");
                Inbound::Ended
            }
        };
        let ended = matches!(inbound, Inbound::Ended);
        let received = Received { peer, serial, inbound, _place: place };
        if inbox.send(received).await.is_err() || ended {
            return Done::Other;
        }
    }
}
