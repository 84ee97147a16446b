//! What keeps rows, and memory in its place for tests. What is on disk is in `disk.rs`.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// Why rows could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled says so.
    #[error("the store on disk: {0}")]
    Sled(#[from] sled::Error),
    /// The directory cannot be used.
    #[error("the store on disk: {0}")]
    Io(#[from] io::Error),
    /// sled panicked; the files are damaged.
    #[error("the store on disk is damaged: sled panicked")]
    Panicked,
    /// sled did not come to an end; the files are damaged, and this process cannot go on with them.
    #[error("the store on disk is damaged: reading it does not end")]
    Stalled,
}

impl StoreError {
    /// Whether the files themselves are bad. Those that this process may not open, or has no room for, are as
    /// good as they were.
    pub fn is_damage(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let (Self::Io(source) | Self::Sled(sled::Error::Io(source))) = self else { return true };
        // The only word for it that there is.
        !source.to_string().starts_with("could not acquire lock")
            && ![PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull].contains(&source.kind())
    }
}

/// A row: a key, and its value or its absence.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// What was read: the rows, and the keys of those that were damaged.
pub type Loaded = (Vec<(Vec<u8>, Vec<u8>)>, Vec<Vec<u8>>);

/// Keeps rows.
pub trait Backend: Send {
    /// All rows, in the order of their keys. Those whose value does not match its hash are left out and
    /// named.
    ///
    /// # Errors
    /// When they cannot be read at all.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Writes rows, all or none, and makes them durable.
    ///
    /// # Errors
    /// When they could not be written; the old rows stand.
    fn write(&mut self, rows: Vec<Row>) -> Result<(), StoreError>;

    /// Moves what is there aside, since it is damaged, and begins with nothing; returns where it went.
    ///
    /// # Errors
    /// When that cannot be done.
    fn renew(&mut self) -> Result<PathBuf, StoreError> {
        Err(StoreError::Io(io::ErrorKind::Unsupported.into()))
    }

    /// Bytes that it takes on disk.
    fn disk_bytes(&self) -> u64 {
        0
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
        Ok((rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect(), Vec::new()))
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
