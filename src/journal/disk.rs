//! What the journal's files have in common: errors, checksums, and how a file comes to its name.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The part of a BLAKE3 hash that stands before a record.
pub(super) const CHECK_BYTES: usize = 8;

/// Why the journal could not do what was asked. Unless a variant says otherwise, what was acknowledged
/// before still stands, and what was asked for did not happen.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Bytes in the file are not what was written. Nothing was changed, nothing was dropped.
    #[error("{path} is damaged at byte {offset}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the first bad record or slot starts.
        offset: u64,
    },
    /// The file was written by a newer version of this program. It was not touched.
    #[error("{path} has format {version}, which is newer than this version knows")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// Another process has the file open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// No space is left for the file.
    #[error("no space left for {path}")]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The file, its directory or the file system does not allow writing.
    #[error("{path} cannot be written")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Any other error of the system.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier sync failed, so what is on disk is not known. Nothing more is accepted until the file
    /// is opened again.
    #[error("{path} is not used any more: an earlier write to it was not confirmed by the disk")]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
    /// So many orders are claimed that no more is accepted before some expire.
    #[error("{claims} orders are claimed, which is the most that is kept")]
    TooMany {
        /// How many there are.
        claims: usize,
    },
    /// The value is longer than a record or slot may be.
    #[error("{bytes} bytes is over the limit of {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The order was never claimed, or was dropped since.
    #[error("the order is not claimed")]
    NotClaimed,
    /// The order has a result already; the first one stands.
    #[error("the order has a result already")]
    AlreadyFinished,
}

/// Names an error of the system for `path`.
pub(super) fn failed(doing: &'static str, path: &Path, source: io::Error) -> JournalError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            JournalError::DiskFull { path }
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            JournalError::Unwritable { path, source }
        }
        _ => JournalError::Io { doing, path, source },
    }
}

/// Hashes `parts`, each with its length, bound to the place where they stand.
pub(super) fn check(place: u64, parts: &[&[u8]]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&place.to_be_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut check = [0; CHECK_BYTES];
    hasher.finalize_xof().fill(&mut check);
    check
}

/// Opens an existing file for reading and writing, takes its lock, and follows no symbolic link.
/// `None` if there is no such file.
pub(super) fn open(path: &Path) -> Result<Option<Locked>, JournalError> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Ok(file) => lock(file, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("open", path, error)),
    }
}

/// An open file that no other process has open.
#[derive(Debug)]
pub(super) struct Locked(File);

impl std::ops::Deref for Locked {
    type Target = File;
    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Said aloud: a child that was forked a moment ago may still have its copy of the descriptor.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

fn lock(file: File, path: &Path) -> Result<Locked, JournalError> {
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Locked(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::InUse { path: path.to_path_buf() }),
        Err(error) => Err(failed("lock", path, error.into())),
    }
}

/// Puts a file with these bytes in the place of `path`: written aside, synced, locked, renamed, and the
/// directory synced. `renamed` is set once the new file stands under the name, whatever happens then.
pub(super) fn replace(path: &Path, bytes: &[u8], renamed: &mut bool) -> Result<Locked, JournalError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    // One that is there was left by a crash; only its owner, who holds the lock of `path`, is here.
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &aside, error)),
        _ => {}
    }
    let written = write_aside(path, &aside, bytes);
    if written.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    let file = written?;
    *renamed = true;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| failed("sync the directory of", path, error))?;
    Ok(file)
}

fn write_aside(path: &Path, aside: &Path, bytes: &[u8]) -> Result<Locked, JournalError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(aside)
        .map_err(|error| failed("create", aside, error))?;
    let file = lock(file, path)?;
    (&*file)
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| failed("write", aside, error))?;
    std::fs::rename(aside, path).map_err(|error| failed("rename to", path, error))?;
    Ok(file)
}

/// How often tests cut the power: `MUSTER_CUTS=10000 cargo test --lib power_cut` does so more often.
#[cfg(test)]
pub(super) fn power_cuts(usual: u32) -> u32 {
    std::env::var("MUSTER_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(usual)
}
