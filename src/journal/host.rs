//! A host's state directory: what makes it this host of this fleet.
//!
//! ```text
//! STATE/            0700 (0711 under root, so that the mesh user can reach its own part)
//!   format          the layout's version
//!   lock            held by the running agent
//!   waiting         only while an operator has to let the host in
//!   member          fleet, shield, root chain, own certificate: written last when joining
//!   executor/       0700: the executor's alone (spool/ may be read by the mesh process)
//!     executor.key  seal.key  trust  claims  spool/  shipped/
//!   mesh/           0700, the mesh user's: transport.key  stream.key  epoch  said  first  store/  shipped/
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    JournalError, Slots,
    keyfile::{self, KeyFileError},
};
use crate::{
    authority::{Enrolled, Grant, HostKeys, RootChain},
    identity::{
        Executor, FleetId, HostId, Kind, Purpose, SealSecret, SecretKey, Signed, SignedError, Stream,
        Transport, peek,
    },
    replica::Item,
    wire::{self, Bytes, WireError},
    wire_record,
};

/// The layout that this version writes and reads.
const FORMAT: &str = "muster state 1";
/// The file of the mesh process with where members listen, none of whom knows of the host yet.
const UNANNOUNCED: &str = "unannounced";
/// The file with where the members that know of it may be met.
const UNMET: &str = "unmet";
/// The file of a candidate that waits for an operator; empty.
const WAITING: &str = "waiting";
/// Longest file of this directory that is read whole, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a state directory cannot be used. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum HostHomeError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no host in this directory.
    #[error("{path} holds no host: it has not been founded or joined")]
    NoHost {
        /// The directory.
        path: PathBuf,
    },
    /// There is a host in this directory already.
    #[error("{path} already holds a host of fleet {fleet}")]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// Its fleet's label.
        fleet: String,
    },
    /// The directory belongs to another user.
    #[error("{path} belongs to another user (uid {uid})")]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Others could change what is in the directory.
    #[error("{path} can be written by others (mode {mode:04o})")]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Written by a newer version.
    #[error("{path} was written by a newer muster ({found})")]
    Newer {
        /// The directory.
        path: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// Another agent runs on it.
    #[error("another agent is running on {path}")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A key file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A file of the journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file's content is damaged.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl HostHomeError {
    /// Whether there was no room for what had to be written.
    pub fn is_full_disk(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_full_disk(source),
            Self::Journal(error) => matches!(error, JournalError::DiskFull { .. }),
            _ => false,
        }
    }
}

/// Whether this is what the system says where a disk, or the part of it that a user may take, is full.
pub fn is_full_disk(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The place of the last head that this directory knows was signed: who holds a later one has seen what became of
/// this directory after it was copied.
#[derive(Debug)]
pub struct Said(Slots<(u32, u64)>);

impl Said {
    /// Notes a place before a head is signed for it; it is on disk then.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(&mut self, epoch: u32, sequence: u64) -> Result<(), HostHomeError> {
        Ok(self.0.store(&(epoch, sequence))?)
    }
}

/// What makes a host a member.
#[derive(Clone, Debug)]
pub struct Member {
    /// The fleet.
    pub fleet: FleetId,
    /// Its transport's pre-shared key.
    pub shield: [u8; 32],
    /// The root chain as it was when the host joined, genesis first, and the certificates that were passed on under
    /// it which the host's own hangs on.
    pub updates: Vec<Bytes>,
    /// The host's certificate: entry 0 of its stream.
    pub certificate: Bytes,
}
wire_record!(Member { fleet, shield, updates, certificate });

impl Member {
    /// The root chain in it.
    ///
    /// # Errors
    /// When it does not chain to the fleet.
    pub fn chain(&self) -> Result<RootChain, String> {
        let mut updates = self.updates.iter();
        let genesis = updates.next().ok_or("no genesis")?;
        let mut chain = RootChain::open(&genesis.0, self.fleet).map_err(|error| error.to_string())?;
        for update in updates.filter(|update| !is_grant(update)) {
            chain.absorb(&update.0).map_err(|error| error.to_string())?;
        }
        Ok(chain)
    }

    /// The certificates in it that were passed on.
    ///
    /// # Errors
    /// When a signature does not match.
    pub fn grants(&self) -> Result<Vec<Signed<Grant>>, SignedError> {
        let grants = self.updates.iter().filter(|update| is_grant(update));
        grants.map(|grant| Signed::verify(&grant.0, self.fleet)).collect()
    }

    /// The certificate in it.
    ///
    /// # Errors
    /// When its signatures do not match.
    pub fn enrolled(&self) -> Result<Enrolled, SignedError> {
        Enrolled::verify(&self.certificate.0, self.fleet)
    }
}

/// Whether an entry is a certificate that was passed on.
fn is_grant(entry: &Bytes) -> bool {
    peek(&entry.0).is_ok_and(|header| header.kind == Kind::Grant as u16)
}

/// A directory with keys and not yet a member.
#[derive(Debug)]
pub struct Candidate {
    dir: PathBuf,
    keys: HostKeys,
    stream: SecretKey<Stream>,
    transport: SecretKey<Transport>,
}

/// A host's state directory.
#[derive(Debug)]
pub struct HostHome {
    dir: PathBuf,
    /// What makes it a member.
    pub member: Member,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> HostHomeError + '_ {
    move |source| HostHomeError::Io { path: path.to_owned(), source }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), HostHomeError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn key<P: Purpose>(path: &Path, fresh: impl FnOnce() -> [u8; 32]) -> Result<SecretKey<P>, HostHomeError> {
    if path.exists() {
        return Ok(keyfile::read(path)?);
    }
    let key = SecretKey::from_seed(&Zeroizing::new(fresh()));
    keyfile::write_new(path, &key, "")?;
    Ok(key)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), HostHomeError> {
    keyfile::replace_file(path, bytes).map_err(at(path))
}

/// Refuses a directory that another user owns or could write.
fn check_owner(dir: &Path) -> Result<(), HostHomeError> {
    let about = fs::metadata(dir).map_err(at(dir))?;
    let me = rustix::process::geteuid().as_raw();
    if about.uid() != me {
        return Err(HostHomeError::NotOurs { path: dir.to_owned(), uid: about.uid() });
    }
    let mode = about.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(HostHomeError::Exposed { path: dir.to_owned(), mode });
    }
    Ok(())
}

fn check_format(dir: &Path) -> Result<(), HostHomeError> {
    let path = dir.join("format");
    let found = fs::read_to_string(&path).map_err(at(&path))?;
    if found.trim() == FORMAT {
        return Ok(());
    }
    let shown = found.trim().chars().filter(|c| !c.is_control()).take(40).collect::<String>();
    if shown.starts_with("muster state ") {
        Err(HostHomeError::Newer { path: dir.to_owned(), found: shown })
    } else {
        Err(HostHomeError::Damaged { path, problem: "not a muster format file".to_owned() })
    }
}

impl Candidate {
    /// Makes a directory with fresh keys, or goes on with one in which joining was not finished. `fresh`
    /// gives 32 random bytes at each call.
    ///
    /// # Errors
    /// [`HostHomeError::Occupied`] when there is a member already; others as they are named.
    pub fn prepare(dir: &Path, mut fresh: impl FnMut() -> [u8; 32]) -> Result<Self, HostHomeError> {
        if let Some(parent) = dir.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(at(parent))?;
        }
        let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
        make_dir(dir, mode)?;
        check_owner(dir)?;
        let format = dir.join("format");
        if format.exists() {
            check_format(dir)?;
        } else {
            replace(&format, format!("{FORMAT}\n").as_bytes())?;
        }
        if dir.join("member").exists() {
            let fleet = HostHome::open(dir)
                .ok()
                .and_then(|home| home.member.chain().ok())
                .map_or_else(|| "?".to_owned(), |chain| chain.genesis().name.clone());
            return Err(HostHomeError::Occupied { path: dir.to_owned(), fleet });
        }
        let (executor, mesh) = (dir.join("executor"), dir.join("mesh"));
        make_dir(&executor, mode)?;
        make_dir(&mesh, 0o700)?;
        let stream = key::<Stream>(&mesh.join("stream.key"), &mut fresh)?;
        let transport = key::<Transport>(&mesh.join("transport.key"), &mut fresh)?;
        let executor_key = key::<Executor>(&executor.join("executor.key"), &mut fresh)?;
        let seal = key::<Seal>(&executor.join("seal.key"), &mut fresh)?;
        let keys = HostKeys {
            stream: stream.public(),
            transport: transport.public(),
            executor: executor_key.public(),
            seal: SealSecret::from_seed(&seal.seed()).public(),
        };
        Ok(Self { dir: dir.to_owned(), keys, stream, transport })
    }

    /// The public keys.
    pub fn keys(&self) -> HostKeys {
        self.keys
    }

    /// The key that signs the host's certificate.
    pub fn stream(&self) -> &SecretKey<Stream> {
        &self.stream
    }

    /// The key that proves the host on the wire.
    pub fn transport(&self) -> &SecretKey<Transport> {
        &self.transport
    }

    /// Whether it was told that an operator has to let it in.
    pub fn waits(&self) -> bool {
        Self::waits_in(&self.dir)
    }

    /// Whether the candidate in this directory, if there is one, was told that an operator has to let it in.
    pub fn waits_in(dir: &Path) -> bool {
        dir.join(WAITING).exists()
    }

    /// Notes that it was told so: it may wait longer than its token works.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_waiting(&self) -> Result<(), HostHomeError> {
        if self.waits() { Ok(()) } else { replace(&self.dir.join(WAITING), b"") }
    }

    /// Notes that no member knows it yet, and where members are said to listen.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_unannounced(&self, addresses: &[String]) -> Result<(), HostHomeError> {
        replace(&self.dir.join("mesh").join(UNANNOUNCED), &wire::encode(&addresses.to_vec()))
    }

    /// Notes where the member that let it in may be met, until its agent has met one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_unmet(&self, addresses: &[String]) -> Result<(), HostHomeError> {
        replace(&self.dir.join("mesh").join(UNMET), &wire::encode(&addresses.to_vec()))
    }

    /// Makes it a member. `first` is what the host was told when it joined; its store starts with that.
    ///
    /// # Errors
    /// When a file cannot be written; it is then still a candidate.
    pub fn admit(self, member: &Member, first: &[Item]) -> Result<HostHome, HostHomeError> {
        replace(&self.dir.join("mesh").join("first"), &wire::encode(&first.to_vec()))?;
        replace(&self.dir.join("member"), &wire::encode(member))?;
        let _not_there = fs::remove_file(self.dir.join(WAITING));
        HostHome::open(&self.dir)
    }
}

/// The purpose of the X25519 key in `seal.key`, which signs nothing.
#[derive(Clone, Copy)]
struct Seal;
impl Purpose for Seal {
    const NAME: &'static str = "seal";
}

impl HostHome {
    /// Opens a member's directory.
    ///
    /// # Errors
    /// See [`HostHomeError`].
    pub fn open(dir: &Path) -> Result<Self, HostHomeError> {
        if !dir.join("member").exists() && !dir.join("format").exists() {
            return Err(HostHomeError::NoHost { path: dir.to_owned() });
        }
        check_owner(dir)?;
        check_format(dir)?;
        if dir.join("executor").exists() {
            check_owner(&dir.join("executor"))?;
        }
        let path = dir.join("member");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(HostHomeError::NoHost { path: dir.to_owned() });
            }
            Err(source) => return Err(HostHomeError::Io { path, source }),
        };
        let damaged = |problem: String| HostHomeError::Damaged { path: path.clone(), problem };
        let member: Member =
            wire::decode(&bytes, FILE_BYTES_MAX).map_err(|error: WireError| damaged(error.to_string()))?;
        member.chain().map_err(damaged)?;
        member.enrolled().map_err(|error| damaged(error.to_string()))?;
        Ok(Self { dir: dir.to_owned(), member })
    }

    /// Takes the directory for one running agent; it is free again when the result is dropped.
    ///
    /// # Errors
    /// [`HostHomeError::Locked`] when another agent has it.
    pub fn lock(&self) -> Result<File, HostHomeError> {
        let path = self.dir.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(at(&path))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            match error {
                rustix::io::Errno::WOULDBLOCK => HostHomeError::Locked { path: self.dir.clone() },
                error => HostHomeError::Io { path, source: error.into() },
            }
        })?;
        Ok(lock)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The executor's part.
    pub fn executor_dir(&self) -> PathBuf {
        self.dir.join("executor")
    }

    /// The mesh process's part.
    pub fn mesh_dir(&self) -> PathBuf {
        self.dir.join("mesh")
    }

    /// The executor's secret key.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn executor_key(&self) -> Result<SecretKey<Executor>, HostHomeError> {
        Ok(keyfile::read(&self.executor_dir().join("executor.key"))?)
    }

    /// The key that private orders are sealed to.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn seal_key(&self) -> Result<SealSecret, HostHomeError> {
        let key: SecretKey<Seal> = keyfile::read(&self.executor_dir().join("seal.key"))?;
        Ok(SealSecret::from_seed(&key.seed()))
    }

    /// The host's id.
    ///
    /// # Errors
    /// When the certificate is damaged.
    pub fn host(&self) -> Result<HostId, HostHomeError> {
        let enrolled = self.member.enrolled().map_err(|error| HostHomeError::Damaged {
            path: self.dir.join("member"),
            problem: error.to_string(),
        })?;
        Ok(enrolled.host())
    }

    /// Forgets the host: the keys go first, so that what is left is no host even if this is cut short. What
    /// is gone already is no error.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn erase(&self) -> Result<(), HostHomeError> {
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
        for path in
            ["mesh/stream.key", "mesh/transport.key", "executor/executor.key", "executor/seal.key", "member"]
        {
            let path = self.dir.join(path);
            gone(fs::remove_file(&path)).map_err(at(&path))?;
        }
        for path in ["executor", "mesh", "format"] {
            let path = self.dir.join(path);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone(removed).map_err(at(&path))?;
        }
        Ok(())
    }
}

/// The mesh process's view of its part of the directory, which is all that it may write.
#[derive(Clone, Debug)]
pub struct MeshHome {
    dir: PathBuf,
}

impl MeshHome {
    /// The part at `dir`.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The key that signs the host's stream.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn stream_key(&self) -> Result<SecretKey<Stream>, HostHomeError> {
        Ok(keyfile::read(&self.dir.join("stream.key"))?)
    }

    /// The key that proves the host on the wire.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn transport_key(&self) -> Result<SecretKey<Transport>, HostHomeError> {
        Ok(keyfile::read(&self.dir.join("transport.key"))?)
    }

    /// Begins a new epoch of the host's stream: higher than any before it, on disk before it is used. The file has
    /// its full length from the first on and is written in place, so that a full disk keeps no agent from it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn next_epoch(&self) -> Result<u32, HostHomeError> {
        let path = self.dir.join("epoch");
        let (mut slots, last) = match Slots::<u32>::open(&path) {
            Ok(opened) => opened,
            // The number in digits, as it once was; one that cannot be read is made up for by the newest head.
            Err(JournalError::Corrupt { .. }) => {
                let digits = fs::read_to_string(&path).ok();
                (Slots::anew(&path), digits.and_then(|digits| digits.trim().parse().ok()))
            }
            Err(error) => return Err(error.into()),
        };
        let next = last.map_or(0, |last| last.saturating_add(1));
        slots.store(&next)?;
        Ok(next)
    }

    /// Epoch and sequence of the last head that was signed here, as they were noted, and what notes the next.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn said(&self) -> Result<(Said, Option<(u32, u64)>), HostHomeError> {
        let path = self.dir.join("said");
        let (slots, last) = match Slots::open(&path) {
            Ok(opened) => opened,
            // As without it: what peers say is compared with the newest head of the store.
            Err(JournalError::Corrupt { .. }) => (Slots::anew(&path), None),
            Err(error) => return Err(error.into()),
        };
        Ok((Said(slots), last))
    }

    /// Where the store is.
    pub fn store_dir(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Where what is shipped with orders is.
    pub fn shipped_dir(&self) -> PathBuf {
        self.dir.join("shipped")
    }

    /// Where members are said to listen, while none of them knows of this host: it joined by files.
    pub fn unannounced(&self) -> Option<Vec<String>> {
        let bytes = fs::read(self.dir.join(UNANNOUNCED)).ok()?;
        wire::decode(&bytes, FILE_BYTES_MAX).ok()
    }

    /// Where the members that know of this host may be met, while its agent has met none of them.
    pub fn unmet(&self) -> Option<Vec<String>> {
        let bytes = fs::read(self.dir.join(UNMET)).ok()?;
        wire::decode(&bytes, FILE_BYTES_MAX).ok()
    }

    /// Notes that a member knows of this host, and that it has met one.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn announced(&self) -> Result<(), HostHomeError> {
        for name in [UNANNOUNCED, UNMET] {
            let path = self.dir.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps what it takes to find the fleet again where the store is lost; replaces what was kept so.
    ///
    /// # Errors
    /// When it cannot be written; what was kept stands.
    pub fn remember(&self, items: &[Item]) -> Result<(), HostHomeError> {
        replace(&self.dir.join("first"), &wire::encode(&items.to_vec()))
    }

    /// What the host was told when it joined, or what was kept since; empty once that file is gone or cannot be read, since the
    /// mesh has it all.
    pub fn first(&self) -> Vec<Item> {
        let bytes = fs::read(self.dir.join("first")).unwrap_or_default();
        wire::decode(&bytes, FILE_BYTES_MAX).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_is_written_into_the_room_that_the_first_one_took() {
        let dir = tempfile::tempdir().unwrap();
        let (home, path) = (MeshHome::at(dir.path()), dir.path().join("epoch"));
        assert_eq!(home.next_epoch().unwrap(), 0);
        let room = |about: fs::Metadata| (about.ino(), about.len(), about.blocks());
        let first = room(fs::metadata(&path).unwrap());
        for epoch in 1..5 {
            assert_eq!(home.next_epoch().unwrap(), epoch);
            assert_eq!(room(fs::metadata(&path).unwrap()), first);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_epoch_in_digits_goes_on_and_one_that_cannot_be_read_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (home, path) = (MeshHome::at(dir.path()), dir.path().join("epoch"));
        for (kept, next) in [("41\n", 42), ("", 0), ("?", 0)] {
            fs::write(&path, kept).unwrap();
            assert_eq!(home.next_epoch().unwrap(), next, "{kept:?}");
            assert_eq!(home.next_epoch().unwrap(), next + 1, "{kept:?}");
        }
    }

    #[test]
    fn no_room_is_told_from_other_reasons() {
        let at = |kind: io::ErrorKind| at(Path::new("first"))(kind.into());
        assert!(at(io::ErrorKind::StorageFull).is_full_disk());
        assert!(at(io::ErrorKind::QuotaExceeded).is_full_disk());
        assert!(!at(io::ErrorKind::PermissionDenied).is_full_disk());
        assert!(HostHomeError::from(JournalError::DiskFull { path: "epoch".into() }).is_full_disk());
    }
}
