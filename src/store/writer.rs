//! The thread that writes to disk: what comes within a moment in one batch, and what could not be written
//! again until it can.
//!
//! Rows wait by key, so what waits is bounded by what is held, however long the disk refuses; nothing is
//! ever left out. (A queue of writes was rejected: it can run over, and then an acknowledgement that asks
//! only whether later rows were written is a lie.)

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::backend::{Backend, Loaded, Row, StoreError};

/// All rows, and the bytes that they take on disk; or why they cannot be read.
type Read = Result<(Loaded, u64), String>;

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
    /// Where the last store went that was found to be damaged while it was written.
    aside: Option<PathBuf>,
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
    /// Who wants to see the rows after that.
    readers: Vec<oneshot::Sender<Read>>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Starts the thread. `all` makes the rows of all that is held, for a store that must be begun anew.
    pub(super) fn start(
        backend: impl Backend + 'static,
        all: impl Fn() -> Vec<Row> + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (says, flushed) = watch::channel(Flushed::default());
        let theirs = Arc::clone(&queue);
        thread::Builder::new()
            .name("store".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || write_in_groups(backend, &theirs, &says, &all))?;
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

    /// Where a damaged store went while it was written.
    pub(super) fn aside(&self) -> Option<PathBuf> {
        self.flushed.borrow().aside.clone()
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

impl Writer {
    /// Writes all rows that were handed over before, and reads all that are on disk then.
    pub(super) async fn read(&self) -> Read {
        let (reader, read) = oneshot::channel();
        {
            let mut waiting = self.queue.lock();
            waiting.asked += 1;
            waiting.readers.push(reader);
        }
        self.queue.wake.notify_all();
        read.await.map_err(|_| "the store is closed".to_owned())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.wake.notify_all();
    }
}

/// Writes all that is held into a new store in the place of a damaged one.
fn begin_anew(
    backend: &mut impl Backend,
    all: &impl Fn() -> Vec<Row>,
    why: &StoreError,
) -> Result<PathBuf, StoreError> {
    let aside = backend.renew()?;
    warn!(error = %why, aside = %aside.display(), "the store is damaged, is moved aside and written anew");
    backend.write(all())?;
    Ok(aside)
}

fn write_in_groups(
    mut backend: impl Backend,
    queue: &Queue,
    says: &watch::Sender<Flushed>,
    all: &impl Fn() -> Vec<Row>,
) {
    let mut done = 0;
    let mut aside = None;
    let mut failing = false;
    loop {
        let (rows, mark, readers, closed) = {
            let waiting = queue.lock();
            let idle = |w: &mut Waiting| w.rows.is_empty() && w.asked <= done && !w.closed;
            let waiting = queue.wake.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
            // Somebody who waits for it, or the end, is reason enough not to gather more.
            let calm = |w: &mut Waiting| w.asked <= done && !w.closed;
            let gather = if failing { RETRY_AFTER } else { GATHER };
            let gathered = queue.wake.wait_timeout_while(waiting, gather, calm);
            let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
            let readers = std::mem::take(&mut waiting.readers);
            (std::mem::take(&mut waiting.rows), waiting.asked, readers, waiting.closed)
        };
        let batch: Vec<Row> = rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut written = if batch.is_empty() { Ok(()) } else { backend.write(batch) };
        let mut read = None;
        if written.is_ok() && !readers.is_empty() {
            match backend.load() {
                Ok(rows) => read = Some((rows, backend.disk_bytes())),
                Err(error) => written = Err(error),
            }
        }
        if let Err(error) = &written
            && error.is_damage()
        {
            // What was in it is held, and so are the rows that could not be written.
            match begin_anew(&mut backend, all, error) {
                Ok(path) => {
                    aside = Some(path);
                    written = Ok(());
                }
                Err(error) => written = Err(error),
            }
        }
        let error = written.err().map(|error| error.to_string());
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
        for reader in readers {
            let read = match (&read, &error) {
                (Some(read), _) => Ok(read.clone()),
                (None, Some(error)) => Err(error.clone()),
                (None, None) => Err("the store was damaged, and was written anew".to_owned()),
            };
            let _nobody_waits_any_more = reader.send(read);
        }
        says.send_replace(Flushed { mark, error, aside: aside.clone() });
        if closed && (failing || queue.lock().rows.is_empty()) {
            return;
        }
    }
}
