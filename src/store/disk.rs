//! sled on a disk that may be damaged in any way.
//!
//! sled 0.34 panics, hangs or asks for all memory there is when its files are not what it wrote. So whatever
//! it does runs where a panic is caught, is read in full before anybody relies on it, and has a time limit;
//! a process that it ends all the same is started again, and stops trying (see `place.rs`). What can be read
//! of a damaged store is written to the new one.

use std::{
    collections::BTreeMap,
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use tracing::{info, warn};

use super::{
    backend::{Backend, Loaded, Row, StoreError},
    place::{Site, disk_bytes},
};

/// Bytes that sled may keep in memory; everything is in the replica anyway.
const CACHE_BYTES: u64 = 1024 * 1024;
/// Bytes of hash before each value.
const CHECK_BYTES: usize = 16;
/// How long it may take until all is read, and how much longer for each MiB on disk: forty times what a slow
/// disk takes. (What it is for was seen: pages that lead in a circle keep sled for ever.)
const OPEN_WITHIN: Duration = Duration::from_secs(10);
const OPEN_A_MIB: Duration = Duration::from_secs(1);

/// A store is copied into a new one at the start when it takes so many times the bytes that are in it...
const COPY_FACTOR: u64 = 4;
/// ... and so many on top: what sled takes for a few rows is not worth it.
const COPY_BYTES_MIN: u64 = 8 * 1024 * 1024;
/// Rows that are copied at once.
const COPY_ROWS: usize = 512;

fn checked(value: &[u8]) -> Vec<u8> {
    let hash = blake3::hash(value);
    let mut row = Vec::with_capacity(CHECK_BYTES + value.len());
    row.extend(hash.as_bytes().iter().take(CHECK_BYTES));
    row.extend_from_slice(value);
    row
}

fn unchecked(row: &[u8]) -> Option<&[u8]> {
    let (check, value) = row.split_at_checked(CHECK_BYTES)?;
    blake3::hash(value).as_bytes().starts_with(check).then_some(value)
}

/// sled in one tree, batches in the order of keys.
#[derive(Debug)]
pub struct Sled {
    dir: PathBuf,
    /// None after a write that failed: sled 0.34 then refuses all others for good, also when the disk has
    /// room again, so it is opened anew for the next.
    db: Option<sled::Db>,
    /// What was read when it was opened, for the first who asks.
    read: Option<Loaded>,
}

/// Removes snapshots of sled's that were cut short, by a full disk or a crash: it renames one when it is
/// whole, but reads one that is not as well, and takes the store for corrupt.
fn remove_unfinished(dir: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A panic of sled's is a store that cannot be used.
fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(StoreError::Panicked))
}

fn open_db(dir: &Path) -> Result<sled::Db, StoreError> {
    remove_unfinished(dir)?;
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace);
    guarded(|| Ok(config.open()?))
}

/// Reads rows from one end on, as far as they can be read.
fn read_from(
    rows: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
    follows: impl Fn(&[u8], &[u8]) -> bool,
    found: &mut BTreeMap<Vec<u8>, Option<Vec<u8>>>,
) -> Result<(), StoreError> {
    guarded(|| {
        let mut last: Option<sled::IVec> = None;
        for row in rows {
            let (key, value) = row?;
            // Pages that lead back to where it was before have no end.
            if last.as_ref().is_some_and(|last| !follows(last, &key)) {
                return Err(StoreError::Io(io::Error::other("its keys are not in order")));
            }
            found.insert(key.to_vec(), unchecked(&value).map(<[u8]>::to_vec));
            last = Some(key);
        }
        Ok(())
    })
}

/// All that can be read, and why that is not everything.
fn read_all(db: &sled::Db) -> (Loaded, Option<StoreError>) {
    let mut found = BTreeMap::new();
    let forward = read_from(db.iter(), |last, next| last < next, &mut found);
    if forward.is_err() {
        let _as_far_as_it_goes = read_from(db.iter().rev(), |last, next| last > next, &mut found);
    }
    let (mut rows, mut damaged) = (Vec::new(), Vec::new());
    for (key, value) in found {
        match value {
            Some(value) => rows.push((key, value)),
            None => damaged.push(key),
        }
    }
    ((rows, damaged), forward.err())
}

fn write_rows(db: &sled::Db, mut rows: Vec<Row>) -> Result<(), StoreError> {
    rows.sort();
    guarded(|| {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(key, checked(&value)),
                None => batch.remove(key),
            }
        }
        db.apply_batch(batch)?;
        db.flush()?;
        Ok(())
    })
}

fn write_all(db: &sled::Db, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError> {
    for rows in rows.chunks(COPY_ROWS) {
        write_rows(db, rows.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect())?;
    }
    Ok(())
}

fn live_bytes(rows: &[(Vec<u8>, Vec<u8>)]) -> u64 {
    rows.iter().map(|(key, value)| (key.len() + CHECK_BYTES + value.len()) as u64).sum()
}

/// What came of opening.
enum Opened {
    /// A store of which everything was read.
    Whole(Sled),
    /// What could be read of one that is damaged.
    Part(Vec<(Vec<u8>, Vec<u8>)>, StoreError),
}

impl Sled {
    fn open(dir: &Path) -> Result<Opened, StoreError> {
        let site = Site::of(dir);
        let db = open_db(dir)?;
        let (read, error) = read_all(&db);
        if let Some(error) = error {
            // Its end would write, and may panic or hang.
            std::mem::forget(db);
            return Ok(Opened::Part(read.0, error));
        }
        let (live, disk) = (live_bytes(&read.0), disk_bytes(dir));
        if read.1.is_empty() && disk > COPY_BYTES_MIN && disk > COPY_FACTOR * live + COPY_BYTES_MIN {
            let copied = guarded(|| write_all(&open_db(&site.copy())?, &read.0));
            match copied {
                Ok(()) => {
                    drop(db);
                    site.swap()?;
                    info!(disk, live, after = disk_bytes(dir), "the store was copied into a smaller one");
                    return Ok(Opened::Whole(Self {
                        dir: dir.to_owned(),
                        db: Some(open_db(dir)?),
                        read: Some(read),
                    }));
                }
                Err(error) => {
                    warn!(%error, "the store cannot be copied into a smaller one, and stays as it is");
                    site.tidy()?;
                }
            }
        }
        Ok(Opened::Whole(Self { dir: dir.to_owned(), db: Some(db), read: Some(read) }))
    }

    fn db(&mut self) -> Result<&sled::Db, StoreError> {
        let db = match self.db.take() {
            Some(db) => db,
            None => open_db(&self.dir)?,
        };
        Ok(self.db.insert(db))
    }
}

impl Backend for Sled {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        if let Some(read) = self.read.take() {
            return Ok(read);
        }
        match read_all(self.db()?) {
            (read, None) => Ok(read),
            (_, Some(error)) => Err(error),
        }
    }

    fn write(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        self.read = None;
        let written = write_rows(self.db()?, rows);
        if let Err(error) = &written {
            let db = self.db.take();
            if error.is_damage() {
                std::mem::forget(db);
            }
        }
        written
    }

    fn renew(&mut self) -> Result<PathBuf, StoreError> {
        std::mem::forget(self.db.take());
        self.read = None;
        let aside = Site::of(&self.dir).move_aside()?;
        self.db = Some(open_db(&self.dir)?);
        Ok(aside)
    }

    fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.dir)
    }
}

/// Does it in a thread of its own, since what hangs cannot be ended.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let (says, result) = mpsc::channel();
    thread::Builder::new().name("store-open".to_owned()).spawn(move || {
        let _nobody_waits_any_more = says.send(guarded(work));
    })?;
    match result.recv_timeout(limit) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(StoreError::Stalled),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(StoreError::Panicked),
    }
}

fn open_within(dir: &Path) -> Duration {
    OPEN_WITHIN + OPEN_A_MIB * u32::try_from(disk_bytes(dir) >> 20).unwrap_or(u32::MAX >> 8)
}

/// Opens the store at `dir` and reads all of it. A damaged one is moved aside, and a new one with what could
/// be read of it takes its place; then the second part says where it went. One that takes many times what is
/// in it is copied into a smaller one.
///
/// # Errors
/// When it may not be opened, or not even an empty one can be made; [`StoreError::Stalled`] once when it
/// does not end: the process must end then, and the next one moves it aside.
pub fn open(dir: &Path) -> Result<(Sled, Option<PathBuf>), StoreError> {
    let site = Site::of(dir);
    site.tidy()?;
    let mut saved = Vec::new();
    let error = if site.try_open() || !dir.exists() {
        let theirs = dir.to_owned();
        match within(open_within(dir), move || Sled::open(&theirs)) {
            Ok(Opened::Whole(store)) => {
                site.opened();
                return Ok((store, None));
            }
            Ok(Opened::Part(rows, error)) => {
                saved = rows;
                error
            }
            Err(StoreError::Stalled) => {
                site.give_up();
                return Err(StoreError::Stalled);
            }
            Err(error) if !dir.exists() || !error.is_damage() => {
                site.opened();
                return Err(error);
            }
            Err(error) => error,
        }
    } else {
        StoreError::Io(io::Error::other("opening it did not end several times"))
    };
    let aside = site.move_aside()?;
    warn!(%error, aside = %aside.display(), rows = saved.len(), "the store cannot be read and is moved aside");
    let db = open_db(dir)?;
    if let Err(error) = write_all(&db, &saved) {
        warn!(%error, "what could be read of the damaged store cannot be written");
    }
    site.opened();
    Ok((Sled { dir: dir.to_owned(), db: Some(db), read: Some((saved, Vec::new())) }, Some(aside)))
}

/// Reads the store at `dir`, of which nobody else must be making use: the rows, and what is damaged. Changes
/// what is there (sled ends what it finds begun), so it is for a copy.
///
/// # Errors
/// When it cannot be opened, or not be read to its end.
pub fn read(dir: &Path) -> Result<(Loaded, Option<StoreError>), StoreError> {
    let (limit, dir) = (open_within(dir), dir.to_owned());
    within(limit, move || {
        let db = open_db(&dir)?;
        let (read, error) = read_all(&db);
        if error.is_some() {
            std::mem::forget(db);
        }
        Ok((read, error))
    })
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
