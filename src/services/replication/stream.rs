//! One neighbour's stream: a task that writes what waits, and one that reads a message at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::debug;

use super::driver::Done;
use crate::{
    identity::HostId,
    net::{Receiver, Sender},
    sync::Message,
    time::Timestamp,
};

/// Bytes that are written to a neighbour at a time.
const WRITE_BYTES: usize = 256 * 1024;
/// How long a write to a neighbour may take.
const SEND_WITHIN: Duration = Duration::from_secs(20);
/// Neighbours are pinged every ten seconds, so a read that takes longer than this will never end.
const RECV_WITHIN: Duration = Duration::from_secs(40);

/// A neighbour's stream as the loop sees it.
pub(super) struct Stream {
    pub(super) outbox: mpsc::Sender<Message>,
    pub(super) flow: Arc<Flow>,
    pub(super) moved: u64,
    pub(super) since: Timestamp,
    pub(super) serial: u64,
    pub(super) proved: bool,
}

/// What goes through an outbox, in bytes.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) waiting: AtomicUsize,
    pub(super) written: AtomicU64,
}

/// What came from all neighbours so far, in bytes.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Whole messages, with their frames.
    pub(super) all: AtomicU64,
    /// The entries and facets in them.
    pub(super) payload: AtomicU64,
    /// Of whole messages, those that are sent though nothing changed.
    pub(super) upkeep: AtomicU64,
}

/// What came from a neighbour.
pub(super) enum Inbound {
    /// The permit is for the next message: it comes when this one is done.
    Message(Message, OwnedSemaphorePermit),
    Ended,
}

/// Writes what waits until the outbox is closed.
pub(super) async fn write(
    mut sender: Sender<Message>,
    mut outgoing: mpsc::Receiver<Message>,
    flow: Arc<Flow>,
) -> Done {
    while let Some(first) = outgoing.recv().await {
        let mut bytes = first.weight();
        let mut batch = vec![first];
        while bytes < WRITE_BYTES
            && let Ok(next) = outgoing.try_recv()
        {
            bytes += next.weight();
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

/// Reads until the stream ends.
pub(super) async fn read(
    mut receiver: Receiver<Message>,
    peer: HostId,
    serial: u64,
    inbox: mpsc::Sender<(HostId, u64, Inbound)>,
    received: Arc<Received>,
) -> Done {
    let mut counted = 0;
    // One message at a time: the rest stays with the sender until this one is done.
    let turn = Arc::new(Semaphore::new(1));
    loop {
        let Ok(permit) = Arc::clone(&turn).acquire_owned().await else { return Done::Other };
        let message = receiver.recv(RECV_WITHIN).await;
        let framed = receiver.received() - counted;
        counted += framed;
        received.all.fetch_add(framed, Ordering::Relaxed);
        let message = match message {
            Ok(Some(message)) => {
                received.payload.fetch_add(message.payload() as u64, Ordering::Relaxed);
                if message.is_upkeep() {
                    received.upkeep.fetch_add(framed, Ordering::Relaxed);
                }
                Inbound::Message(message, permit)
            }
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
