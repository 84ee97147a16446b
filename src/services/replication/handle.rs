//! What others see of the loop: a handle to ask it, and the mail that it sends.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::stream::Received;
use crate::{
    identity::{EntryId, HostId},
    replica::Report,
    sync::{Event, Seen},
    time::Timestamp,
};

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
pub(super) enum Ask {
    Links(oneshot::Sender<Vec<LinkRow>>),
    WayTo(EntryId, HostId, oneshot::Sender<Option<HostId>>),
    Unsettled(oneshot::Sender<u64>),
    Presence(oneshot::Sender<BTreeMap<HostId, Seen>>),
    Misbehaved(oneshot::Sender<Vec<Misbehaved>>),
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

/// A member that was shunned or throttled lately.
#[derive(Clone, Copy, Debug)]
pub struct Misbehaved {
    /// Which host.
    pub host: HostId,
    /// What it did, as a sentence's end.
    pub why: &'static str,
    /// When last.
    pub at: Timestamp,
    /// Whether nothing is taken from it now.
    pub shunned: bool,
}

/// A handle on the loop.
#[derive(Clone, Debug)]
pub struct Replication {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) received: Arc<Received>,
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

    /// How the members show.
    pub async fn presence(&self) -> BTreeMap<HostId, Seen> {
        let (answer, answered) = oneshot::channel();
        if self.asks.send(Ask::Presence(answer)).await.is_err() {
            return BTreeMap::new();
        }
        answered.await.unwrap_or_default()
    }

    /// Who was shunned or throttled lately.
    pub async fn misbehaved(&self) -> Vec<Misbehaved> {
        let (answer, answered) = oneshot::channel();
        if self.asks.send(Ask::Misbehaved(answer)).await.is_err() {
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

    /// Named counters: bytes that neighbours sent on their streams, with frames, of entries and facets
    /// alone, and of what is said though nothing changed.
    pub fn counters(&self) -> [(&'static str, u64); 3] {
        [
            ("sync_bytes_received", self.received.all.load(Ordering::Relaxed)),
            ("sync_payload_bytes_received", self.received.payload.load(Ordering::Relaxed)),
            ("sync_upkeep_bytes_received", self.received.upkeep.load(Ordering::Relaxed)),
        ]
    }

    /// Where the service that runs orders says what happened.
    pub fn events(&self) -> mpsc::Sender<Event> {
        self.events.clone()
    }
}
