//! How what is shipped with an order reaches the hosts that run it: each asks its neighbours, and who is asked
//! for what it lacks asks its own.
//!
//! Always holds: only what a live order names is asked for, given or passed on, and what came is kept only if it
//! has the hash that the order names. It does not know the way: the hosts between the entry host and the roster
//! fetch it because they were asked, so it goes wherever links lead, and over each link once.
//!
//! It is no secret among the members of the fleet, no more than the order itself is; it merely stands in no
//! argument list, no log and no replicated entry.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    message::{CHUNK_BYTES, ShipBlob, ShipReply, ShipRequest},
    shipped::Shipped,
};
use crate::{
    authority::Admitted,
    identity::{EntryId, HostId},
    net::{Arrival, Channel, Net, NetError, PeerKey, Standing},
    replica::{Blob, Order, Replica},
    store::Store,
    time::Timestamp,
    wire::Bytes,
};

/// Streams that are served at a time, those of who waits too.
const SERVED_MAX: usize = 64;
/// Blobs that are fetched at a time.
const FETCHES_MAX: usize = 4;
/// Neighbours that are asked for one at a time.
const ASKED_MAX: usize = 8;
/// Blobs that others asked for and that are not here.
const WISHES_MAX: usize = 64;
/// How long who is asked waits for what it lacks itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two rounds of asking for what nobody had.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long one message may take.
const PIECE_WITHIN: Duration = Duration::from_secs(30);
/// How often what nobody needs is swept out.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// A handle on what is shipped.
#[derive(Clone, Debug)]
pub struct Shipping(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    me: HostId,
    store: Store,
    net: Net,
    clock: fn() -> Timestamp,
    kept: Shipped,
    /// What others asked for, and for the sake of which order.
    wishes: Mutex<BTreeMap<Blob, EntryId>>,
    wanted: Notify,
    /// Grows with everything that comes.
    arrived: watch::Sender<u64>,
}

impl Shipping {
    /// What is kept in `dir`.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(
        me: HostId,
        store: Store,
        net: Net,
        clock: fn() -> Timestamp,
        dir: &Path,
    ) -> io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            me,
            store,
            net,
            clock,
            kept: Shipped::open(dir)?,
            wishes: Mutex::default(),
            wanted: Notify::new(),
            arrived: watch::Sender::new(0),
        })))
    }

    /// Whether all that an order names is here. If not, it is fetched.
    pub(super) fn ready(&self, order: &Order) -> bool {
        let ready = order.action.blobs().all(|blob| self.0.kept.has(blob));
        if !ready {
            self.0.wanted.notify_one();
        }
        ready
    }

    /// Changes with everything that comes.
    pub(super) fn arrivals(&self) -> watch::Receiver<u64> {
        self.0.arrived.subscribe()
    }

    /// Takes a piece of what a command line is about to order with; true once all of it is here.
    ///
    /// # Errors
    /// In words.
    pub fn take(&self, blob: &Blob, at: u64, piece: &[u8]) -> Result<bool, String> {
        let whole = self.add(blob, at, piece)?;
        if whole {
            self.0.arrived.send_modify(|count| *count += 1);
        }
        Ok(whole)
    }

    fn add(&self, blob: &Blob, at: u64, piece: &[u8]) -> Result<bool, String> {
        let named = if at == 0 { self.named() } else { HashSet::new() };
        self.0.kept.add(blob, at, piece, &named).map_err(|error| error.to_string())
    }

    /// What live orders name.
    fn named(&self) -> HashSet<Blob> {
        let now = (self.0.clock)();
        let named = |replica: &Replica| {
            let orders = replica.orders().map(|order| order.signed().body());
            let live = orders.filter(|order| order.expires >= now);
            live.flat_map(|order| order.action.blobs().copied()).collect()
        };
        self.0.store.read(named)
    }

    /// What is not here: for this host's own orders, then for others.
    fn missing(&self) -> BTreeMap<Blob, EntryId> {
        let now = (self.0.clock)();
        let mut missing = self.0.store.read(|replica| {
            let live = |order: &EntryId| {
                let order = replica.order(order).map(|order| order.signed().body());
                order.is_some_and(|order| order.expires >= now)
            };
            self.wishes().retain(|blob, order| !self.0.kept.has(blob) && live(order));
            let mine = replica.orders().map(Admitted::signed).filter(|order| {
                let body = order.body();
                body.expires >= now
                    && replica.seats_of(body).is_some_and(|seats| seats.contains(&self.0.me))
                    && replica.cancellation(&order.id()).is_none()
            });
            mine.flat_map(|order| order.body().action.blobs().map(|blob| (*blob, order.id())))
                .collect::<BTreeMap<_, _>>()
        });
        missing.retain(|blob, _| !self.0.kept.has(blob));
        missing.extend(self.wishes().iter().map(|(blob, order)| (*blob, *order)));
        missing
    }

    fn wishes(&self) -> MutexGuard<'_, BTreeMap<Blob, EntryId>> {
        self.0.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches what is missing, until `stop`.
    pub async fn fetch(self, stop: CancellationToken) {
        let mut fetches = JoinSet::new();
        let mut under_way = HashSet::new();
        loop {
            for (blob, order) in self.missing() {
                if under_way.len() < FETCHES_MAX && under_way.insert(blob) {
                    let this = self.clone();
                    fetches.spawn(async move {
                        this.fetch_one(order, blob).await;
                        blob
                    });
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = fetches.join_next() => {
                    // One that failed in another way than those it can say takes its place for ever.
                    if let Ok(blob) = done {
                        under_way.remove(&blob);
                    }
                }
                () = self.0.wanted.notified() => {}
                () = sleep(TIDY_EVERY) => {
                    if let Err(error) = self.0.kept.tidy(&self.named(), (self.0.clock)()) {
                        warn!(%error, "what was shipped with orders cannot be swept");
                    }
                }
            }
        }
    }

    /// Asks neighbours until one of them had it, once round; then waits a little.
    async fn fetch_one(&self, order: EntryId, blob: Blob) {
        let net = &self.0.net;
        let peers: Vec<PeerKey> = net.links().borrow().keys().copied().collect();
        let members = peers.into_iter().filter(|peer| net.standing(*peer) == Standing::Member);
        let mut asked: FuturesUnordered<_> =
            members.take(ASKED_MAX).map(|peer| self.ask(peer, order, blob)).collect();
        while let Some(channel) = asked.next().await {
            let Some(mut channel) = channel else { continue };
            match self.receive(&mut channel, &blob).await {
                Ok(()) => {
                    self.0.arrived.send_modify(|count| *count += 1);
                    return;
                }
                Err(why) => debug!(%order, why, "what is shipped was not had from a neighbour"),
            }
        }
        sleep(AGAIN_AFTER).await;
    }

    /// A channel to a neighbour that has it.
    async fn ask(&self, peer: PeerKey, order: EntryId, blob: Blob) -> Option<Channel<ShipBlob>> {
        let mut channel = self.0.net.open::<ShipBlob>(peer, PIECE_WITHIN).await.ok()?;
        channel.send_request(&ShipRequest::Want { order, blob }, PIECE_WITHIN).await.ok()?;
        match channel.recv_reply(PATIENCE.saturating_mul(2)).await {
            Ok(Some(ShipReply::Here {})) => Some(channel),
            _ => None,
        }
    }

    async fn receive(&self, channel: &mut Channel<ShipBlob>, blob: &Blob) -> Result<(), String> {
        channel.send_request(&ShipRequest::Go {}, PIECE_WITHIN).await.map_err(|error| error.to_string())?;
        let mut at = 0;
        loop {
            match channel.recv_reply(PIECE_WITHIN).await {
                Ok(Some(ShipReply::Piece { bytes })) => {
                    if self.add(blob, at, &bytes.0)? {
                        return Ok(());
                    }
                    at += bytes.0.len() as u64;
                }
                Ok(_) => return Err("it was cut short".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Answers neighbours that ask, until `stop`.
    ///
    /// # Errors
    /// When the protocol is served already.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), NetError> {
        let mut incoming = self.0.net.accept::<ShipBlob>(SERVED_MAX)?;
        let mut tasks = JoinSet::new();
        loop {
            let arrival = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                arrival = incoming.next() => arrival,
            };
            while tasks.try_join_next().is_some() {}
            let Some(arrival) = arrival else { return Ok(()) };
            let this = self.clone();
            tasks.spawn(async move { this.give(arrival).await });
        }
    }

    /// Gives a neighbour what it wants; `None` when there is nothing more to say.
    async fn give(&self, mut arrival: Arrival<ShipBlob>) -> Option<()> {
        let channel = &mut arrival.channel;
        let Ok(Some(ShipRequest::Want { order, blob })) = channel.recv_request(PIECE_WITHIN).await else {
            return None;
        };
        let reply = if self.have(order, blob).await { ShipReply::Here {} } else { ShipReply::NotHere {} };
        channel.send_reply(&reply, PIECE_WITHIN).await.ok()?;
        if !matches!(channel.recv_request(PIECE_WITHIN).await, Ok(Some(ShipRequest::Go {}))) {
            return None;
        }
        let mut at = 0;
        loop {
            // A file of the page cache, read in small pieces between two sends: not worth a thread.
            let piece = self.0.kept.read(&blob, at, CHUNK_BYTES).ok()?;
            at += piece.len() as u64;
            let end = piece.is_empty() || at >= blob.bytes;
            channel.send_reply(&ShipReply::Piece { bytes: Bytes(piece) }, PIECE_WITHIN).await.ok()?;
            if end {
                return Some(());
            }
        }
    }

    /// Waits a while for what a live order names.
    async fn have(&self, order: EntryId, blob: Blob) -> bool {
        let mut arrivals = self.arrivals();
        let waiting = async {
            // The order may be on its way as well: then the next round finds it.
            let named = |replica: &Replica| {
                let order = replica.order(&order).map(|order| order.signed().body());
                order.is_some_and(|order| order.action.blobs().any(|named| *named == blob))
            };
            if !self.0.store.read(named) {
                return false;
            }
            while !self.0.kept.has(&blob) {
                {
                    let mut wishes = self.wishes();
                    if wishes.len() < WISHES_MAX {
                        wishes.insert(blob, order);
                    }
                }
                self.0.wanted.notify_one();
                if arrivals.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        timeout(PATIENCE, waiting).await.unwrap_or(false)
    }
}
