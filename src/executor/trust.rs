//! What the executor judges by: its own copy of the root chain, its own host's certificate, the ops on its
//! own tags, certificates that were passed on, what admins suspended and halted, and what takes its membership away (its own departure, and the certificates of those who
//! redeemed its token too). Small, and on disk before it is acknowledged.
//!
//! It does not follow operators' streams: an op that was signed with the right to it counts here even if its
//! stream turns out to be forked, which the replica takes back. That needs a misused operator key, and what
//! such a key can do with a tag it can do without the fork.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    authority::{Authority, Refusal},
    identity::{EntryId, Executor, FleetId, HostId, Kind, Operator, PublicKey, Stream, peek},
    journal::{Member, keyfile},
    replica::Entry,
    wire::{self, Bytes},
};

/// Most entries that are kept beyond the member file.
const ENTRIES_MAX: usize = 8192;
/// Most of them where what comes only takes away: whoever filled the room for the others cannot keep that out.
const STOPS_TOO_MAX: usize = 4 * ENTRIES_MAX;
/// Longest trust file, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of entries that are kept, so that the file stays below its bound.
const ENTRY_BYTES_MAX: usize = FILE_BYTES_MAX / 2;

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
    /// The file, or what makes the host a member, is damaged.
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
    invitation: EntryId,
    entries: Vec<Bytes>,
    bytes: usize,
    ids: BTreeSet<EntryId>,
    /// Whether there are entries that are not on disk.
    unsaved: bool,
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
        let invitation = enrolled.invitation().id();
        authority.absorb_host(enrolled).map_err(|error| damaged(error.to_string()))?;
        let mut trust = Self {
            path: path.to_owned(),
            authority,
            host,
            stream,
            invitation,
            entries: Vec::new(),
            bytes: 0,
            ids: BTreeSet::new(),
            unsaved: false,
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
        trust.unsaved = false;
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

    /// Whether this key signs this host's results, by its certificate.
    pub fn names(&self, key: PublicKey<Executor>) -> bool {
        self.authority.host(&self.host).is_some_and(|host| host.enrolled().enrolment().keys.executor == key)
    }

    /// Whether this key holds a certificate.
    pub fn is_operator(&self, key: PublicKey<Operator>) -> bool {
        self.authority.certificates().any(|(_, certificate)| certificate.key.name() == key)
    }

    /// Why what this issuer ordered under this certificate may not go on, if it may not: somebody was stopped
    /// since, or the host was.
    pub fn stopped(&self, certificate: &EntryId, issuer: PublicKey<Operator>) -> Option<Refusal> {
        if let Err(refusal) = self.authority.certificate_of(certificate, issuer) {
            return Some(refusal);
        }
        self.authority.host(&self.host).and_then(|host| self.authority.halt_of(host).err())
    }

    /// The authority as far as the executor knows it.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Takes what the mesh process hands over, as far as it holds, and syncs it. Entries that do not hold,
    /// or do not concern this host, are passed over: withholding is all that they could achieve anyway.
    ///
    /// # Errors
    /// When it cannot be written. It counts all the same, and is written with what comes next.
    pub fn learn(&mut self, entries: &[Bytes]) -> Result<u32, TrustError> {
        let taken = entries.iter().filter(|entry| self.absorb(entry)).count();
        if self.unsaved {
            self.save()?;
            self.unsaved = false;
        }
        Ok(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    /// True if the entry is held afterwards.
    fn absorb(&mut self, entry: &Bytes) -> bool {
        let Ok(header) = peek(&entry.0) else { return false };
        if self.ids.contains(&header.id) || self.authority.chain().holds(&header.id) {
            return true;
        }
        let bytes = self.bytes.saturating_add(entry.0.len());
        let stops = [Kind::Root, Kind::Suspension, Kind::Halt].map(|kind| kind as u16).contains(&header.kind);
        let (entries_max, bytes_max) =
            if stops { (STOPS_TOO_MAX, FILE_BYTES_MAX) } else { (ENTRIES_MAX, ENTRY_BYTES_MAX) };
        if self.entries.len() >= entries_max || bytes > bytes_max {
            return false;
        }
        let taken = match Entry::verify(&entry.0, self.fleet()) {
            Ok(Entry::Root(update)) => self.authority.absorb_root(update.bytes()).is_ok(),
            Ok(Entry::Grant(grant)) => self.authority.absorb_grant(grant).is_ok(),
            Ok(Entry::Suspension(suspension)) => self.authority.absorb_suspension(suspension).is_ok(),
            Ok(Entry::Halt(halt)) => self.authority.absorb_halt(halt).is_ok(),
            Ok(Entry::Op(op)) => {
                op.body().action.host() == Some(self.host) && self.authority.absorb_op(&op).is_ok()
            }
            Ok(Entry::Admission(word)) => {
                word.body().host == self.host && self.authority.absorb_admission(word).is_ok()
            }
            Ok(Entry::Departure(departure)) => {
                departure.signer() == self.stream && self.authority.absorb_departure(departure).is_ok()
            }
            // Not its own: what made it a member is in the member file.
            Ok(Entry::Host(other)) => {
                other.host() != self.host
                    && other.invitation().id() == self.invitation
                    && self.authority.absorb_host(*other).is_ok()
            }
            _ => false,
        };
        if taken {
            self.unsaved = true;
            self.bytes = bytes;
            self.entries.push(entry.clone());
            self.ids.insert(header.id);
        }
        taken
    }

    fn save(&self) -> Result<(), TrustError> {
        keyfile::replace_file(&self.path, &wire::encode(&self.entries))
            .map_err(|source| TrustError::Io { path: self.path.clone(), source })
    }
}
