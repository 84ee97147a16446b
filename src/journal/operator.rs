//! An operator's own directory for one fleet: the key, the trust anchor, the writer's place in its
//! stream, and the jobs that were ordered from here.
//!
//! ```text
//! NAME/
//!   operator.key   secret key in OpenSSH's format, 0600, or a link to one; in older directories a line of hex
//!   operator.pub   instead of it: the public half, if the secret one is in an SSH agent
//!   fleet          the signed genesis and root updates: what everything else must chain to
//!   certificates   certificates of this key that were passed on, as they were last known; a cache
//!   writer         this directory's writer id and its place in the stream; locked while signing
//!   jobs/ID/       order and reports, as received; what else there is of a job stands in `jobs`
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    keyfile::{self, KeyFileError},
    openssh::{self, OpensshFile},
    signer::{Choice, OperatorSigner, SignError, Ways, ways},
};
use crate::{
    authority::{Authority, Certificate, ChainError, Grant, RootChain, Want, Whom},
    identity::{
        EntryId, FleetId, Operator, Payload, PublicKey, SecretKey, Signed, WriterId,
        ssh::{FormatError, OperatorKey},
    },
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
    /// The key cannot be asked to sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Nobody has given this key a certificate, as far as is known here.
    #[error("the key of this user has no certificate in fleet {fleet} yet")]
    NoCertificate {
        /// The fleet's label.
        fleet: String,
        /// The public key, as a request has it.
        key: String,
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
    /// The operator's key, where it is.
    pub signer: Arc<OperatorSigner>,
    /// The root chain, as far as it was known here when this was opened.
    pub chain: RootChain,
    /// The certificate that this key went by when this was opened, [`NO_CERTIFICATE`] where there was none. What is
    /// signed names the one that [`OperatorHome::under`] finds.
    pub certificate: EntryId,
    /// What is known of this key's certificates: the root chain, those that were passed on to it, and what stops them.
    own: Mutex<Arc<Authority>>,
}

/// Stands for a certificate where there is none, or it is not known which; agents take it for that of the key.
pub const NO_CERTIFICATE: EntryId = EntryId([0; 32]);

impl OperatorHome {
    /// Makes the directory of a new operator with a new key. The key is written before anything names it.
    ///
    /// # Errors
    /// When the directory exists already or cannot be written.
    pub fn create(dir: &Path, key: &SecretKey<Operator>, chain: &RootChain) -> Result<Self, OperatorError> {
        Self::create_with(dir, KeySource::New(key), chain)
    }

    /// Makes the directory of a new operator.
    ///
    /// # Errors
    /// When the directory exists already or cannot be written.
    pub fn create_with(dir: &Path, key: KeySource<'_>, chain: &RootChain) -> Result<Self, OperatorError> {
        let io = |source| OperatorError::Io { path: dir.to_owned(), source };
        if let Some(parent) = dir.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io)?;
        }
        fs::DirBuilder::new().mode(0o700).create(dir).map_err(io)?;
        fs::DirBuilder::new().mode(0o700).create(dir.join("jobs")).map_err(io)?;
        let (secret, public) = (dir.join("operator.key"), dir.join("operator.pub"));
        match key {
            KeySource::New(key) => {
                let comment = format!("muster operator of {}", chain.genesis().name);
                let [a, b, c, d, ..] = *blake3::hash(&key.public().bytes()).as_bytes();
                let check = u32::from_be_bytes([a, b, c, d]);
                keyfile::write_text(&secret, &openssh::write(key, &comment, check))?;
            }
            KeySource::There(Choice::File(_, path)) => {
                std::os::unix::fs::symlink(path, &secret).map_err(io)?;
            }
            KeySource::There(Choice::Agent(key, comment)) => {
                let comment: String = comment.chars().filter(|c| !c.is_control()).collect();
                keyfile::write_text(&public, &format!("{} {comment}\n", key.line()))?;
            }
        }
        write_chain(dir, chain)?;
        Self::open(dir)
    }

    /// Opens an operator's directory. A passphrase is asked for, and an agent looked for, once something is to be
    /// signed.
    ///
    /// # Errors
    /// See [`OperatorError`].
    pub fn open(dir: &Path) -> Result<Self, OperatorError> {
        Self::open_with(dir, ways())
    }

    /// The same with other surroundings than the process has.
    ///
    /// # Errors
    /// See [`OperatorError`].
    pub fn open_with(dir: &Path, ways: Ways) -> Result<Self, OperatorError> {
        let signer = Arc::new(signer_in(dir, ways)?);
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
        let mut own = Authority::new(chain.clone());
        // A cache: what of it cannot be read, or does not hold, is learned again.
        let grants = read_file::<Vec<Bytes>>(&dir.join("certificates")).ok().flatten().unwrap_or_default();
        for grant in grants {
            if let Ok(grant) = Signed::<Grant>::verify(&grant.0, chain.fleet()) {
                let _does_not_hold = own.absorb_grant(grant);
            }
        }
        let certificate = own.goes_by(signer.name()).map_or(NO_CERTIFICATE, |(id, _)| id);
        Ok(Self { dir: dir.to_owned(), signer, chain, certificate, own: Mutex::new(Arc::new(own)) })
    }

    /// What is known of this key's certificates, and nothing else of the fleet.
    pub fn own(&self) -> Arc<Authority> {
        Arc::clone(&self.own.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what a fleet that was verified under this anchor says of this key, for what comes later in this
    /// process, and for the next one.
    ///
    /// # Errors
    /// When it cannot be written; it counts in this process all the same.
    pub fn learn(&self, fleet: &Authority) -> Result<(), OperatorError> {
        let (key, before) = (self.name(), self.own());
        let longer = fleet.chain().updates().len() > before.chain().updates().len();
        let mut own = Authority::new(if longer { fleet.chain() } else { before.chain() }.clone());
        let mut grants: Vec<&Signed<Grant>> =
            fleet.grants().filter(|grant| grant.body().grant.key.name() == key).collect();
        grants.sort_unstable_by_key(|grant| grant.id());
        for grant in &grants {
            let _does_not_hold = own.absorb_grant((*grant).clone());
        }
        // What stops one of theirs stops it, or the one that it was passed on from.
        let passed_on_by = |id: &EntryId| grants.iter().any(|grant| grant.body().certificate == *id);
        let held: Vec<(EntryId, Certificate)> = own
            .certificates()
            .filter(|(id, certificate)| certificate.key.name() == key || passed_on_by(id))
            .map(|(id, certificate)| (*id, certificate.clone()))
            .collect();
        let matters = |whom: &Whom| {
            held.iter().any(|(id, certificate)| match whom {
                Whom::Key { key } => certificate.key.name() == *key,
                Whom::Person { name } => certificate.person == *name,
                Whom::Certificate { id: stopped } => id == stopped,
                Whom::Host { .. } | Whom::Token { .. } => false,
            })
        };
        for suspension in fleet.suspensions().filter(|suspension| matters(&suspension.body().whom)) {
            let _does_not_hold = own.absorb_suspension(suspension.clone());
        }
        let grants: Vec<Bytes> = grants.into_iter().map(|grant| Bytes::from(grant.bytes())).collect();
        let known: Vec<Bytes> = before
            .grants()
            .filter(|grant| grant.body().grant.key.name() == key)
            .map(|grant| Bytes::from(grant.bytes()))
            .collect();
        let chain = own.chain().clone();
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(own);
        if longer {
            write_chain(&self.dir, &chain)?;
        }
        if grants == known { Ok(()) } else { write_file(&self.dir.join("certificates"), &grants, false) }
    }

    /// The certificate to sign under, by what was learned.
    ///
    /// # Errors
    /// [`OperatorError::NoCertificate`]. One that does not allow what is wanted is found all the same, if there is no
    /// other: what is missing is then said where it is judged.
    pub fn under(&self, want: &Want<'_>) -> Result<EntryId, OperatorError> {
        let own = self.own();
        own.suited(self.name(), want).ok_or_else(|| OperatorError::NoCertificate {
            fleet: own.chain().genesis().name.clone(),
            key: self.signer.key().line(),
        })
    }

    /// The certificate that this key goes by, as far as was learned.
    pub fn certified(&self) -> Option<(EntryId, Certificate)> {
        self.own().goes_by(self.name()).map(|(id, certificate)| (id, certificate.clone()))
    }

    /// A directory for another fleet among those in `operators`, which is not there yet.
    pub fn free(operators: &Path, name: &str) -> PathBuf {
        let mut dir = operators.join(name);
        let mut number = 2_u32;
        while dir.exists() {
            dir = operators.join(format!("{name}-{number}"));
            number = number.saturating_add(1);
        }
        dir
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

    /// The 32 bytes that the key goes by.
    pub fn name(&self) -> PublicKey<Operator> {
        self.signer.name()
    }

    /// Signs `body` for the fleet; see [`OperatorSigner::sign`].
    ///
    /// # Errors
    /// [`OperatorError::Sign`].
    pub fn sign<T: Payload<Signer = Operator>>(&self, body: T) -> Result<Signed<T>, OperatorError> {
        Ok(self.signer.sign(self.chain.fleet(), body)?)
    }

    /// `body` as it will be once it is signed: to look ahead. Its bytes verify nowhere.
    pub(crate) fn foreseen<T: Payload<Signer = Operator>>(&self, body: T) -> Signed<T> {
        Signed::foreseen(self.chain.fleet(), self.name(), body)
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

/// The key of a new operator.
#[derive(Clone, Copy, Debug)]
pub enum KeySource<'a> {
    /// A new one, to be written.
    New(&'a SecretKey<Operator>),
    /// One that is there, and stays where it is.
    There(&'a Choice),
}

/// The key of a directory, where it is.
fn signer_in(dir: &Path, ways: Ways) -> Result<OperatorSigner, OperatorError> {
    let (secret, public) = (dir.join("operator.key"), dir.join("operator.pub"));
    if secret.symlink_metadata().is_err()
        && let Ok(line) = fs::read_to_string(&public)
    {
        let damaged =
            |error: FormatError| OperatorError::Damaged { path: public.clone(), problem: error.to_string() };
        let (key, _) = OperatorKey::from_line(&line)
            .map_err(damaged)?
            .ok_or_else(|| damaged(FormatError("not an ed25519 key")))?;
        return Ok(OperatorSigner::agent(key, ways));
    }
    signer_of_file(&secret, ways)
}

/// The key of a file.
pub(super) fn signer_of_file(secret: &Path, ways: Ways) -> Result<OperatorSigner, OperatorError> {
    let text = keyfile::read_text(secret)?;
    if openssh::is_openssh(&text) {
        let unread = |source| SignError::File { path: secret.to_owned(), source };
        let file = OpensshFile::read(&text).map_err(unread)?;
        if file.is_locked() {
            return Ok(OperatorSigner::locked(file, secret, ways));
        }
        return Ok(OperatorSigner::open(file.unlock(b"").map_err(unread)?));
    }
    let key = keyfile::of_text::<Operator>(&text);
    let not = KeyFileError::NotAKey { path: secret.to_owned(), purpose: "operator" };
    Ok(OperatorSigner::open(key.ok_or(not)?))
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
