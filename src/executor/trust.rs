//! What the executor judges by: its own copy of the root chain, its own host's certificate and the ops
//! on its own tags. Small, and on disk before it is acknowledged.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    authority::{Authority, OpAction},
    identity::{EntryId, FleetId, HostId, PublicKey, Stream, peek},
    journal::{Member, keyfile},
    replica::Entry,
    wire::{self, Bytes},
};

/// Most entries that are kept beyond the member file.
const ENTRIES_MAX: usize = 8192;
/// Longest trust file, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why the executor's trust cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file, or the member file, is damaged.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The executor's copy of the authority.
#[derive(Debug)]
pub struct Trust {
    path: PathBuf,
    authority: Authority,
    host: HostId,
    stream: PublicKey<Stream>,
    entries: Vec<Bytes>,
    ids: BTreeSet<EntryId>,
}

impl Trust {
    /// Loads what is on disk on top of what made the host a member.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn open(path: &Path, member: &Member) -> Result<Self, TrustError> {
        let damaged = |problem: String| TrustError::Damaged { path: path.to_owned(), problem };
        let chain = member.chain().map_err(damaged)?;
        let mut authority = Authority::new(chain);
        let enrolled = member.enrolled().map_err(|error| damaged(error.to_string()))?;
        let (host, stream) = (enrolled.host(), enrolled.certificate().signer());
        authority.absorb_host(enrolled).map_err(|error| damaged(error.to_string()))?;
        let mut trust = Self {
            path: path.to_owned(),
            authority,
            host,
            stream,
            entries: Vec::new(),
            ids: BTreeSet::new(),
        };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(trust),
            Err(source) => return Err(TrustError::Io { path: path.to_owned(), source }),
        };
        let entries: Vec<Bytes> =
            wire::decode(&bytes, FILE_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
        for entry in entries {
            if !trust.absorb(&entry) {
                return Err(damaged("an entry in it does not hold".to_owned()));
            }
        }
        Ok(trust)
    }

    /// The fleet.
    pub fn fleet(&self) -> FleetId {
        self.authority.fleet()
    }

    /// This host.
    pub fn host(&self) -> HostId {
        self.host
    }

    /// The key that signs this host's stream.
    pub fn stream(&self) -> PublicKey<Stream> {
        self.stream
    }

    /// The authority as far as the executor knows it.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Takes what the mesh process hands over, as far as it holds, and syncs it. Entries that do not hold,
    /// or do not concern this host, are passed over: withholding is all that they could achieve anyway.
    ///
    /// # Errors
    /// When it cannot be written; what could not be is forgotten at the next start and asked for again.
    pub fn learn(&mut self, entries: &[Bytes]) -> Result<u32, TrustError> {
        let before = self.entries.len();
        let taken = entries.iter().filter(|entry| self.absorb(entry)).count();
        if self.entries.len() > before {
            self.save()?;
        }
        Ok(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    /// True if the entry is held afterwards.
    fn absorb(&mut self, entry: &Bytes) -> bool {
        let Ok(header) = peek(&entry.0) else { return false };
        if self.ids.contains(&header.id) || self.authority.chain().holds(&header.id) {
            return true;
        }
        if self.entries.len() >= ENTRIES_MAX {
            return false;
        }
        let taken = match Entry::verify(&entry.0, self.fleet()) {
            Ok(Entry::Root(update)) => self.authority.absorb_root(update.bytes()).is_ok(),
            Ok(Entry::Op(op)) => {
                matches!(&op.body().action, OpAction::Tag { host, .. } if *host == self.host)
                    && self.authority.absorb_op(&op).is_ok()
            }
            _ => false,
        };
        if taken {
            self.entries.push(entry.clone());
            self.ids.insert(header.id);
        }
        taken
    }

    fn save(&self) -> Result<(), TrustError> {
        let io = |source| TrustError::Io { path: self.path.clone(), source };
        let new = self.path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(io)?;
        file.write_all(&wire::encode(&self.entries)).and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&new, &self.path).and_then(|()| keyfile::sync_parent(&self.path)).map_err(io)
    }
}
