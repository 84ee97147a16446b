//! The side of the host that asks.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    ASK_WITHIN,
    message::{AskPast, ORDERS_MAX, PastReply, PastRequest},
};
use crate::{
    authority::Host,
    executor::message::ToExecutor,
    identity::{EntryId, FleetId, HostId, Signed, peek},
    net::{Net, PeerKey, Standing},
    replica::{Head, Item, Order, Replica},
    store::Store,
    time::{SKEW_MAX, Timestamp},
    wire::Bytes,
};

/// How long one neighbour may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// So many answers are enough.
const ENOUGH: usize = 2;
/// After the first answer, how long for more neighbours.
const MORE_WITHIN: Duration = Duration::from_millis(300);
/// How often is looked whether a link is up.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Neighbours that are asked.
const ASKED_MAX: usize = 8;
/// How long dialling a keeper may take.
const DIAL_WITHIN: Duration = Duration::from_secs(2);

/// What the service is started with.
#[derive(Debug)]
pub struct Parts {
    /// This host.
    pub me: HostId,
    /// The fleet.
    pub fleet: FleetId,
    /// The network.
    pub net: Net,
    /// The store.
    pub store: Store,
    /// To the executor.
    pub executor: mpsc::Sender<ToExecutor>,
    /// Epoch and sequence of the last head that this directory knows it signed.
    pub mark: Option<(u32, u64)>,
    /// What time it is.
    pub clock: fn() -> Timestamp,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// It was asked, or there is nobody to ask, or nobody answered in time.
    pub settled: bool,
    /// How many neighbours answered.
    pub answers: usize,
    /// A head of this host that is later than all that its directory knows of.
    pub ahead: Option<Arc<Signed<Head>>>,
    /// Orders that were issued before the start and about which was asked.
    cleared: Arc<HashSet<EntryId>>,
}

/// A handle: what was found so far.
#[derive(Clone, Debug)]
pub struct Past {
    started: Timestamp,
    clock: fn() -> Timestamp,
    executor: mpsc::Sender<ToExecutor>,
    tell: watch::Sender<Found>,
    found: watch::Receiver<Found>,
    rounds: watch::Receiver<u64>,
}

impl Past {
    /// Changes when more orders may be handed over.
    pub fn cleared(&self) -> watch::Receiver<u64> {
        self.rounds.clone()
    }

    /// Waits until something may be signed; then what was found.
    pub async fn settled(&self) -> Found {
        let mut found = self.found.clone();
        let settled = found.wait_for(|found| found.settled).await.map(|found| found.clone()).ok();
        match settled {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }

    /// Whether an order may be handed to the executor.
    pub fn clears(&self, id: &EntryId, order: &Order) -> bool {
        let found = self.found.borrow();
        found.settled && (order.issued >= self.started || found.cleared.contains(id))
    }

    /// A later head of this host came after it had gone on without an answer: its state is an older copy.
    pub async fn overtaken(&self, head: &Signed<Head>) {
        let Head { epoch, sequence, .. } = head.body();
        warn!(epoch, sequence, "this host's state is an older copy: peers hold a later head of it");
        let _gone = self.executor.send(ToExecutor::Restored { before: (self.clock)() }).await;
        self.tell.send_modify(|found| found.ahead = Some(Arc::new(head.clone())));
    }

    /// What an operator should know of it.
    pub fn problem(&self) -> Option<String> {
        let found = self.found.borrow();
        let head = found.ahead.as_ref()?.body();
        Some(format!(
            "this host's state is an older copy: peers hold its head {}.{}. It went on after that, and runs nothing \
             that was ordered before it started",
            head.epoch, head.sequence
        ))
    }
}

/// Makes the handle and the task.
pub fn start(parts: Parts, stop: CancellationToken) -> (Past, impl Future<Output = ()>) {
    let (tell, found) = watch::channel(Found::default());
    let started = (parts.clock)();
    let (round, rounds) = watch::channel(0);
    let (clock, executor) = (parts.clock, parts.executor.clone());
    let asking = Asking { parts, started, tell: tell.clone(), round };
    let task = async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = asking.run() => {}
        }
    };
    (Past { started, clock, executor, tell, found, rounds }, task)
}

struct Asking {
    parts: Parts,
    started: Timestamp,
    tell: watch::Sender<Found>,
    round: watch::Sender<u64>,
}

impl Asking {
    async fn run(self) {
        self.settle().await;
        let mut changes = self.parts.store.changes();
        let mut links = self.parts.net.links();
        let mut seen = links.borrow_and_update().values().map(|link| link.serial).max();
        loop {
            self.clear().await;
            tokio::select! {
                // Lagging behind or not: what is there is gone over.
                _ = changes.recv() => {}
                Ok(()) = links.changed() => {
                    // Who was taken out meanwhile is let in by nobody, and hears of it only so.
                    let fresh: Vec<PeerKey> = {
                        let links = links.borrow_and_update();
                        let fresh = links.iter().filter(|(_, link)| Some(link.serial) > seen);
                        let fresh = fresh.filter(|(_, link)| link.dialled_by_us).map(|(peer, _)| *peer).collect();
                        seen = seen.max(links.values().map(|link| link.serial).max());
                        fresh
                    };
                    if !fresh.is_empty() && !self.store_knows() {
                        let _heads = self.ask_heads(&fresh).await;
                    }
                }
            }
        }
    }

    fn store_knows(&self) -> bool {
        self.parts.store.read(|replica| replica.equivocation(&self.parts.me).is_some())
    }

    /// The members that are linked.
    fn neighbours(&self) -> Vec<PeerKey> {
        let links = self.parts.net.links().borrow().clone();
        let member = |peer: &PeerKey| self.parts.net.standing(*peer) == Standing::Member;
        links.into_keys().filter(member).take(ASKED_MAX).collect()
    }

    /// Asks neighbours for this host's own head until some have answered, nobody is there to be asked, or the time
    /// is over.
    async fn settle(&self) {
        let place = |head: &Signed<Head>| (head.body().epoch, head.body().sequence);
        let here = self.parts.store.read(|replica| replica.head(&self.parts.me).map(place));
        let others = self.parts.store.read(|replica| {
            replica.authority().members().map(Host::id).filter(|id| *id != self.parts.me).count()
        });
        // A directory that never said anything has no past. Should it be an older copy of one that has, a later head of
        // it tells.
        let new = self.parts.mark.is_none() && here.is_none();
        let (alone, enough) = (others == 0 || new, others.min(ENOUGH));
        let mut links = self.parts.net.links();
        let begun = Instant::now();
        let mut asked: BTreeSet<PeerKey> = BTreeSet::new();
        let mut heads = Vec::new();
        let mut answers = 0;
        let mut first_answer: Option<Instant> = None;
        while !alone && begun.elapsed() < ASK_WITHIN {
            let fresh: Vec<PeerKey> =
                self.neighbours().into_iter().filter(|peer| !asked.contains(peer)).collect();
            if !fresh.is_empty() {
                let (count, found) = self.ask_heads(&fresh).await;
                asked.extend(fresh);
                answers += count;
                heads.extend(found);
                if count > 0 {
                    first_answer.get_or_insert_with(Instant::now);
                }
            }
            if answers >= enough || first_answer.is_some_and(|first| first.elapsed() >= MORE_WITHIN) {
                break;
            }
            let _changed = timeout(LOOK_EVERY, links.changed()).await;
        }
        // A neighbour's word on its stream may have come before its answer.
        heads.extend(self.parts.store.read(|replica| replica.head(&self.parts.me).cloned()));
        let newest = heads.into_iter().max_by_key(|head| (place(head), head.id()));
        // A directory without a mark: what its store holds is what it knows.
        let mark = self.parts.mark.or(here);
        let ahead = newest.filter(|head| mark.is_none_or(|mark| place(head) > mark));
        if let Some(head) = &ahead {
            let (epoch, sequence) = place(head);
            warn!(epoch, sequence, "this host's state is an older copy: peers hold a later head of it");
            let before = self.parts.store.read(|replica| self.latest_order(replica));
            let _gone = self.parts.executor.send(ToExecutor::Restored { before }).await;
        }
        if answers == 0 && !alone {
            warn!("no neighbour could be asked for this host's own past: it goes on without");
        }
        self.clear().await;
        self.tell.send_modify(|found| {
            found.settled = true;
            found.answers = answers;
            found.ahead = ahead.map(Arc::new);
        });
        self.round.send_modify(|round| *round += 1);
    }

    /// Up to when orders were issued that are known here now; not before now.
    fn latest_order(&self, replica: &Replica) -> Timestamp {
        let now = (self.parts.clock)();
        let issued = replica.orders().map(|order| order.body().issued);
        issued.filter(|issued| *issued <= now.after(SKEW_MAX)).max().unwrap_or(now).max(now)
    }

    /// How many answered, and the heads of this host that they hold. Proofs are merged.
    async fn ask_heads(&self, peers: &[PeerKey]) -> (usize, Vec<Signed<Head>>) {
        let mut asking = JoinSet::new();
        for peer in peers {
            let (net, peer) = (self.parts.net.clone(), *peer);
            asking.spawn(async move { timeout(ANSWER_WITHIN, ask_head(&net, peer)).await.ok().flatten() });
        }
        let (mut answers, mut heads) = (0, Vec::new());
        for (head, proof) in asking.join_all().await.into_iter().flatten() {
            answers += 1;
            let head = head.and_then(|head| Signed::<Head>::verify(&head.0, self.parts.fleet).ok());
            heads.extend(head.filter(|head| HostId::of(&head.signer()) == self.parts.me));
            if let Some(proof) = proof {
                let item = Item { entry: proof, facets: Vec::new() };
                let (_, refusal) = self.parts.store.merge(None, vec![item], (self.parts.clock)());
                if let Some(refusal) = refusal {
                    debug!(%refusal, "a proof was not taken");
                }
            }
        }
        (answers, heads)
    }

    /// The orders for this host that were issued before it started and are not cleared, as they came.
    fn old_orders(&self) -> BTreeMap<EntryId, (Bytes, Vec<HostId>)> {
        let cleared = Arc::clone(&self.tell.borrow().cleared);
        self.parts.store.read(|replica| {
            let orders = replica.orders().map(crate::authority::Admitted::signed);
            orders
                .filter(|order| order.body().issued < self.started && !cleared.contains(&order.id()))
                .filter(|order| {
                    replica.seats_of(order.body()).is_some_and(|seats| seats.contains(&self.parts.me))
                })
                .map(|order| (order.id(), (Bytes::from(order.bytes()), order.body().keepers.clone())))
                .collect()
        })
    }

    /// Asks neighbours and keepers for this host's results of old orders, hands those to the executor, and clears
    /// the orders. Without a neighbour there is nobody to ask, and who went on alone has said so.
    async fn clear(&self) {
        let orders = self.old_orders();
        if orders.is_empty() {
            return;
        }
        let mut peers: BTreeSet<PeerKey> = self.neighbours().into_iter().collect();
        if !peers.is_empty() {
            peers.extend(self.reach_keepers(&orders, &peers).await);
        }
        let ids: Vec<EntryId> = orders.keys().copied().collect();
        let mut asking = JoinSet::new();
        for peer in peers {
            for some in ids.chunks(ORDERS_MAX) {
                let (net, orders) = (self.parts.net.clone(), some.to_vec());
                asking.spawn(async move { timeout(ANSWER_WITHIN, ask_results(&net, peer, orders)).await });
            }
        }
        let mut adopted: HashSet<EntryId> = HashSet::new();
        for record in asking.join_all().await.into_iter().flatten().flatten() {
            let Some(of) = order_of(&record) else { continue };
            let Some((order, _)) = orders.get(&of) else { continue };
            if adopted.insert(of) {
                let message = ToExecutor::Adopt { order: order.clone(), record };
                let _gone = self.parts.executor.send(message).await;
            }
        }
        self.tell.send_modify(|found| {
            let cleared = Arc::make_mut(&mut found.cleared);
            cleared.extend(ids);
            let held = self.parts.store.read(|replica| {
                cleared.iter().filter(|id| replica.holds(id)).copied().collect::<HashSet<_>>()
            });
            *cleared = held;
        });
        self.round.send_modify(|round| *round += 1);
    }

    /// Links to the keepers of these orders that are no neighbours; who cannot be reached is left out.
    async fn reach_keepers(
        &self,
        orders: &BTreeMap<EntryId, (Bytes, Vec<HostId>)>,
        linked: &BTreeSet<PeerKey>,
    ) -> Vec<PeerKey> {
        let keepers: BTreeSet<HostId> = orders
            .values()
            .flat_map(|(_, keepers)| keepers)
            .copied()
            .filter(|id| *id != self.parts.me)
            .collect();
        let mut dialling = JoinSet::new();
        for keeper in keepers.into_iter().take(ASKED_MAX) {
            let found = self.parts.store.read(|replica| {
                let key = PeerKey(replica.authority().host(&keeper)?.transport().bytes());
                Some((key, replica.node_facet(&keeper)?.listen()))
            });
            let Some((key, addresses)) = found.filter(|(key, at)| !linked.contains(key) && !at.is_empty())
            else {
                continue;
            };
            let net = self.parts.net.clone();
            dialling.spawn(async move { net.dial(key, addresses, DIAL_WITHIN).await.ok().map(|()| key) });
        }
        dialling.join_all().await.into_iter().flatten().collect()
    }
}

/// The order that a result is of, by what it says itself.
fn order_of(record: &Bytes) -> Option<EntryId> {
    peek(&record.0).ok()?;
    Signed::<crate::replica::ResultRecord>::own(&record.0).ok().map(|record| record.order)
}

async fn ask_head(net: &Net, peer: PeerKey) -> Option<(Option<Bytes>, Option<Bytes>)> {
    let mut channel = net.open::<AskPast>(peer, ANSWER_WITHIN).await.ok()?;
    channel.send_request(&PastRequest::Head {}, ANSWER_WITHIN).await.ok()?;
    match channel.recv_reply(ANSWER_WITHIN).await {
        Ok(Some(PastReply::Head { head, proof })) => Some((head, proof)),
        _ => None,
    }
}

async fn ask_results(net: &Net, peer: PeerKey, orders: Vec<EntryId>) -> Vec<Bytes> {
    let mut records = Vec::new();
    let bound = orders.len();
    let Ok(mut channel) = net.open::<AskPast>(peer, ANSWER_WITHIN).await else { return records };
    if channel.send_request(&PastRequest::Results { orders }, ANSWER_WITHIN).await.is_err() {
        return records;
    }
    // Of one order several may be kept, of which at most one verifies.
    while records.len() <= 2 * bound {
        match channel.recv_reply(ANSWER_WITHIN).await {
            Ok(Some(PastReply::Result { record })) => records.push(record),
            _ => break,
        }
    }
    records
}
