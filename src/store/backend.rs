//! Where rows are kept: sled, or memory for tests.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::warn;

/// Bytes that sled may keep in memory; everything is in the replica anyway.
const CACHE_BYTES: u64 = 1024 * 1024;
/// Bytes of hash before each value.
const CHECK_BYTES: usize = 16;

/// Why rows could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled says so.
    #[error("the store on disk: {0}")]
    Sled(#[from] sled::Error),
    /// The directory cannot be used.
    #[error("the store on disk: {0}")]
    Io(#[from] io::Error),
}

/// A row: a key, and its value or its absence.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// What was read: the rows, and how many were damaged.
pub type Loaded = (Vec<(Vec<u8>, Vec<u8>)>, usize);

/// Keeps rows.
pub trait Backend: Send {
    /// All rows, in the order of their keys. Those whose value does not match its hash are left out and
    /// counted.
    ///
    /// # Errors
    /// When they cannot be read at all.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Writes rows, all or none, and makes them durable.
    ///
    /// # Errors
    /// When they could not be written; the old rows stand.
    fn write(&mut self, rows: Vec<Row>) -> Result<(), StoreError>;
}

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

impl Sled {
    fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self { dir: dir.to_owned(), db: Some(Self::open_db(dir)?) })
    }

    fn open_db(dir: &Path) -> Result<sled::Db, StoreError> {
        remove_unfinished(dir)?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .mode(sled::Mode::LowSpace);
        // sled 0.34 can panic on a damaged snapshot; that is a store that cannot be opened.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open()));
        match opened {
            Ok(db) => Ok(db?),
            Err(_) => Err(StoreError::Io(io::Error::other("sled panicked while it opened the store"))),
        }
    }
}

impl Sled {
    fn db(&mut self) -> Result<&sled::Db, StoreError> {
        let db = match self.db.take() {
            Some(db) => db,
            None => Self::open_db(&self.dir)?,
        };
        Ok(self.db.insert(db))
    }
}

impl Backend for Sled {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let mut rows = Vec::new();
        let mut damaged = 0;
        for row in self.db()?.iter() {
            let (key, value) = row?;
            match unchecked(&value) {
                Some(value) => rows.push((key.to_vec(), value.to_vec())),
                None => damaged += 1,
            }
        }
        Ok((rows, damaged))
    }

    fn write(&mut self, mut rows: Vec<Row>) -> Result<(), StoreError> {
        rows.sort();
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(key, checked(&value)),
                None => batch.remove(key),
            }
        }
        let db = self.db()?;
        let written = db.apply_batch(batch).and_then(|()| db.flush());
        if written.is_err() {
            self.db = None;
        }
        written?;
        Ok(())
    }
}

/// Rows in memory, shared by all clones, so that a test can look at them and "restart".
#[derive(Clone, Debug, Default)]
pub struct Memory {
    rows: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
}

impl Backend for Memory {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect(), 0))
    }

    fn write(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        let mut held = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in rows {
            match value {
                Some(value) => held.insert(key, value),
                None => held.remove(&key),
            };
        }
        Ok(())
    }
}

/// Whether the files themselves are bad. One that this process may not open, or has no room for, is as
/// good as it was.
fn is_damage(error: &StoreError) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let (StoreError::Io(source) | StoreError::Sled(sled::Error::Io(source))) = error else { return true };
    ![PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull].contains(&source.kind())
}

/// Opens the store at `dir`. A damaged one is moved aside, and an empty one takes its place; then the
/// second part says where it went.
///
/// # Errors
/// When it may not be opened, or not even an empty one can be made.
pub fn open(dir: &Path) -> Result<(Sled, Option<PathBuf>), StoreError> {
    match Sled::open(dir) {
        Ok(store) => Ok((store, None)),
        Err(error) => {
            if !dir.exists() || !is_damage(&error) {
                return Err(error);
            }
            let aside = (0..1000)
                .map(|number: u32| dir.with_extension(format!("damaged-{number}")))
                .find(|path| !path.exists())
                .unwrap_or_else(|| dir.with_extension("damaged"));
            warn!(%error, aside = %aside.display(), "the store cannot be opened and is moved aside");
            fs::rename(dir, &aside)?;
            Ok((Sled::open(dir)?, Some(aside)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_after_a_restart_and_a_damaged_one_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let (mut store, aside) = open(&path).unwrap();
        assert!(aside.is_none());
        store
            .write(vec![(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), Some(b"2".to_vec()))])
            .unwrap();
        store.write(vec![(b"a".to_vec(), None)]).unwrap();
        store.db().unwrap().insert(b"c", b"no hash stands before this").unwrap();
        drop(store);
        let (mut store, _) = open(&path).unwrap();
        assert_eq!(store.load().unwrap(), (vec![(b"b".to_vec(), b"2".to_vec())], 1));
    }

    #[test]
    fn a_snapshot_that_was_cut_short_is_not_taken_for_a_damaged_store() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let (mut store, _) = open(&path).unwrap();
        store.write(vec![(b"a".to_vec(), Some(b"1".to_vec()))]).unwrap();
        drop(store);
        fs::write(path.join("snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
        let (mut store, aside) = open(&path).unwrap();
        assert_eq!(aside, None);
        assert_eq!(store.load().unwrap(), (vec![(b"a".to_vec(), b"1".to_vec())], 0));
    }

    #[test]
    fn a_store_that_cannot_be_opened_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        fs::write(&path, b"this is no directory").unwrap();
        let (mut store, aside) = open(&path).unwrap();
        assert_eq!(fs::read(aside.unwrap()).unwrap(), b"this is no directory");
        assert_eq!(store.load().unwrap(), (vec![], 0));
    }
}
