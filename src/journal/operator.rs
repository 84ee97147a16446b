//! An operator's own directory for one fleet: the key, the trust anchor, the writer's place in its
//! stream, and the jobs that were ordered from here.
//!
//! ```text
//! NAME/
//!   operator.key   secret key, 0600
//!   fleet          the signed genesis and root updates: what everything else must chain to
//!   writer         this directory's writer id and its place in the stream; locked while signing
//!   jobs/ID/       order and reports, as received; what else there is of a job stands in `jobs`
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::keyfile::{self, KeyFileError};
use crate::{
    authority::{ChainError, RootChain},
    identity::{EntryId, FleetId, Operator, SecretKey, WriterId},
    replica::Report,
    wire::{self, Bytes, WireError},
    wire_record,
};

/// Longest file of this directory that is read, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why an operator's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A file's content is damaged.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is no certificate for this key in the root chain.
    #[error("no certificate for the key in {path}")]
    NoCertificate {
        /// The directory.
        path: PathBuf,
    },
}

struct FleetFile {
    fleet: FleetId,
    updates: Vec<Bytes>,
}
wire_record!(FleetFile { fleet, updates });

/// The writer's place in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterState {
    /// The writer id of this directory.
    pub writer: WriterId,
    /// How many ops it has signed.
    pub next: u64,
    /// The last of them.
    pub previous: Option<EntryId>,
}
wire_record!(WriterState { writer, next, previous });

/// An operator's directory, opened.
#[derive(Debug)]
pub struct OperatorHome {
    dir: PathBuf,
    /// The operator's key.
    pub key: SecretKey<Operator>,
    /// The root chain, as far as it was known here.
    pub chain: RootChain,
    /// The certificate that this key acts under.
    pub certificate: EntryId,
}

impl OperatorHome {
    /// Makes the directory of a new operator. The key is written before anything names it.
    ///
    /// # Errors
    /// When the directory exists already or cannot be written.
    pub fn create(dir: &Path, key: &SecretKey<Operator>, chain: &RootChain) -> Result<Self, OperatorError> {
        let io = |source| OperatorError::Io { path: dir.to_owned(), source };
        if let Some(parent) = dir.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io)?;
        }
        fs::DirBuilder::new().mode(0o700).create(dir).map_err(io)?;
        fs::DirBuilder::new().mode(0o700).create(dir.join("jobs")).map_err(io)?;
        let preamble = "# An operator's secret key. Whoever has it can order what its certificate allows.\n";
        keyfile::write_new(&dir.join("operator.key"), key, preamble)?;
        write_chain(dir, chain)?;
        Self::open(dir)
    }

    /// Opens an operator's directory.
    ///
    /// # Errors
    /// See [`OperatorError`].
    pub fn open(dir: &Path) -> Result<Self, OperatorError> {
        let key = keyfile::read::<Operator>(&dir.join("operator.key"))?;
        let path = dir.join("fleet");
        let damaged = |problem: String| OperatorError::Damaged { path: path.clone(), problem };
        let file: FleetFile = read_file(&path)?.ok_or_else(|| damaged("missing".to_owned()))?;
        let mut updates = file.updates.iter();
        let genesis = updates.next().ok_or_else(|| damaged("it has no genesis".to_owned()))?;
        let to_damaged = |error: ChainError| damaged(error.to_string());
        let mut chain = RootChain::open(&genesis.0, file.fleet).map_err(to_damaged)?;
        for update in updates {
            chain.absorb(&update.0).map_err(to_damaged)?;
        }
        let public = key.public();
        let certificate = chain
            .certificates()
            .filter(|(_, certificate)| certificate.key.name() == public)
            .map(|(id, _)| id)
            .last()
            .ok_or(OperatorError::NoCertificate { path: dir.to_owned() })?;
        Ok(Self { dir: dir.to_owned(), key, chain, certificate })
    }

    /// Finds, among the directories in `operators`, the one for `fleet`. Others are not opened, so that
    /// a damaged one does not stand in the way.
    ///
    /// # Errors
    /// When the directory for `fleet` cannot be used.
    pub fn find(operators: &Path, fleet: FleetId) -> Result<Option<Self>, OperatorError> {
        let io = |source| OperatorError::Io { path: operators.to_owned(), source };
        let entries = match fs::read_dir(operators) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io(source)),
        };
        let mut dirs = Vec::new();
        for entry in entries {
            dirs.push(entry.map_err(io)?.path());
        }
        dirs.sort();
        for dir in dirs {
            let file = read_file::<FleetFile>(&dir.join("fleet"));
            if matches!(file, Ok(Some(file)) if file.fleet == fleet) {
                return Self::open(&dir).map(Some);
            }
        }
        Ok(None)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file in which the command line notes what it has verified: a cache, which nothing needs.
    pub fn verified_path(&self) -> PathBuf {
        self.dir.join("verified")
    }

    /// Locks this directory's place in its stream for as long as the result lives. Another command line
    /// that signs waits.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn lock_writer(&self) -> Result<Writer, OperatorError> {
        let path = self.dir.join("writer.lock");
        let io = |source| OperatorError::Io { path: path.clone(), source };
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| io(error.into()))?;
        let path = self.dir.join("writer");
        let state = read_file(&path)?;
        Ok(Writer { path, state, _lock: lock })
    }

    /// Remembers an order that was signed here, before it is handed to any agent.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_order(&self, id: &EntryId, bytes: &[u8]) -> Result<(), OperatorError> {
        let dir = self.job_dir(id);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|source| OperatorError::Io { path: dir.clone(), source })?;
        write_file(&dir.join("order"), &Bytes::from(bytes), false)
    }

    /// Remembers the verified reports of an order.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_reports(&self, id: &EntryId, reports: &[Report]) -> Result<(), OperatorError> {
        write_file(&self.job_dir(id).join("reports"), &reports.to_vec(), false)
    }

    /// The order with this id, as signed bytes.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn order(&self, id: &EntryId) -> Result<Option<Bytes>, OperatorError> {
        read_file(&self.job_dir(id).join("order"))
    }

    /// The reports that were remembered.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn reports(&self, id: &EntryId) -> Result<Vec<Report>, OperatorError> {
        Ok(read_file(&self.job_dir(id).join("reports"))?.unwrap_or_default())
    }

    /// The orders that were signed here, as signed bytes, in no order.
    ///
    /// # Errors
    /// When the directory cannot be read; a damaged order is passed over.
    pub fn orders(&self) -> Result<Vec<Bytes>, OperatorError> {
        let jobs = self.dir.join("jobs");
        let io = |source| OperatorError::Io { path: jobs.clone(), source };
        let mut orders = Vec::new();
        for entry in fs::read_dir(&jobs).map_err(io)? {
            let path = entry.map_err(io)?.path().join("order");
            if let Ok(Some(order)) = read_file(&path) {
                orders.push(order);
            }
        }
        Ok(orders)
    }

    pub(super) fn job_dir(&self, id: &EntryId) -> PathBuf {
        self.dir.join("jobs").join(id.to_string())
    }
}

/// A locked place in an operator's stream.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    state: Option<WriterState>,
    _lock: File,
}

impl Writer {
    /// What was last stored.
    pub fn state(&self) -> Option<WriterState> {
        self.state
    }

    /// Stores a new place, synced, before what it allows is handed out.
    ///
    /// # Errors
    /// When the file cannot be written; the old place stands.
    pub fn advance(&mut self, state: WriterState) -> Result<(), OperatorError> {
        write_file(&self.path, &state, true)?;
        self.state = Some(state);
        Ok(())
    }
}

/// Stores a root chain.
fn write_chain(dir: &Path, chain: &RootChain) -> Result<(), OperatorError> {
    let updates = chain.updates().iter().map(|update| Bytes::from(update.bytes())).collect();
    write_file(&dir.join("fleet"), &FleetFile { fleet: chain.fleet(), updates }, true)
}

pub(super) fn read_file<T: wire::Wire>(path: &Path) -> Result<Option<T>, OperatorError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OperatorError::Io { path: path.to_owned(), source }),
    };
    wire::decode(&bytes, FILE_BYTES_MAX).map(Some).map_err(|error: WireError| OperatorError::Damaged {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

/// Replaces a file in one step, so that a reader or a crash sees the old one or the new one.
pub(super) fn write_file<T: wire::Wire>(path: &Path, value: &T, sync: bool) -> Result<(), OperatorError> {
    let io = |source| OperatorError::Io { path: path.to_owned(), source };
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(io)?;
    file.write_all(&wire::encode(value)).map_err(io)?;
    if sync {
        file.sync_all().map_err(io)?;
    }
    fs::rename(&new, path).map_err(io)?;
    if sync { keyfile::sync_parent(path).map_err(io) } else { Ok(()) }
}
