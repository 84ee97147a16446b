//! The thread that writes to disk: what comes within a moment in one batch, and what could not be written
//! again until it can.
//!
//! Rows wait by key, so what waits is bounded by what is held, however long the disk refuses; nothing is
//! ever left out. (A queue of writes was rejected: it can run over, and then an acknowledgement that asks
//! only whether later rows were written is a lie.)

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::watch;
use tracing::{info, warn};

use super::backend::{Backend, Row};

/// Rows are gathered for so long before they are written together, unless somebody waits for them: what was
/// acknowledged to nobody can be fetched again, and the disk is left to the executor while an order runs.
const GATHER: Duration = Duration::from_secs(1);
/// How long after a disk refused it is asked again, unless somebody waits for it.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A handle on the thread; it ends when this is dropped, after it wrote what it had.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    flushed: watch::Receiver<Flushed>,
}

#[derive(Clone, Debug, Default)]
struct Flushed {
    mark: u64,
    error: Option<String>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// The highest mark that somebody waits for.
    asked: u64,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(backend: impl Backend + 'static) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (says, flushed) = watch::channel(Flushed::default());
        let theirs = Arc::clone(&queue);
        thread::Builder::new()
            .name("store".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || write_in_groups(backend, &theirs, &says))?;
        Ok(Self { queue, flushed })
    }

    /// Hands rows over. Of two under one key the newer is written.
    pub(super) fn write(&self, rows: Vec<Row>) {
        if !rows.is_empty() {
            self.queue.lock().rows.extend(rows);
            self.queue.wake.notify_all();
        }
    }

    /// Why the last write failed, if it did.
    pub(super) fn error(&self) -> Option<String> {
        self.flushed.borrow().error.clone()
    }

    /// Waits until all rows that were handed over before are on disk.
    pub(super) async fn flushed(&self) -> Result<(), String> {
        let mark = {
            let mut waiting = self.queue.lock();
            waiting.asked += 1;
            waiting.asked
        };
        self.queue.wake.notify_all();
        let mut flushed = self.flushed.clone();
        match flushed.wait_for(|flushed| flushed.mark >= mark).await {
            Ok(flushed) => flushed.error.clone().map_or(Ok(()), Err),
            Err(_) => Err("the store is closed".to_owned()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.wake.notify_all();
    }
}

fn write_in_groups(mut backend: impl Backend, queue: &Queue, says: &watch::Sender<Flushed>) {
    let mut done = 0;
    let mut failing = false;
    loop {
        let (rows, mark, closed) = {
            let waiting = queue.lock();
            let idle = |w: &mut Waiting| w.rows.is_empty() && w.asked <= done && !w.closed;
            let waiting = queue.wake.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
            // Somebody who waits for it, or the end, is reason enough not to gather more.
            let calm = |w: &mut Waiting| w.asked <= done && !w.closed;
            let gather = if failing { RETRY_AFTER } else { GATHER };
            let gathered = queue.wake.wait_timeout_while(waiting, gather, calm);
            let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut waiting.rows), waiting.asked, waiting.closed)
        };
        let batch: Vec<Row> = rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let error = if batch.is_empty() { None } else { backend.write(batch).err().map(|e| e.to_string()) };
        match &error {
            Some(error) if !failing => warn!(%error, "the store cannot be written"),
            None if failing => info!("the store can be written again"),
            _ => {}
        }
        failing = error.is_some();
        if failing {
            let mut waiting = queue.lock();
            for (key, value) in rows {
                waiting.rows.entry(key).or_insert(value);
            }
        }
        done = mark;
        says.send_replace(Flushed { mark, error });
        if closed && (failing || queue.lock().rows.is_empty()) {
            return;
        }
    }
}
