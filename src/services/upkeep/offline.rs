//! A check of a store that no agent has open.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::report;
use crate::{
    authority::Authority,
    control::StoreCheck,
    journal::{HostHome, HostHomeError, MeshHome},
    replica::Replica,
    store::{self, StoreError},
    time::Timestamp,
};

/// How deep directories of a store may lie in one another.
const DEPTH_MAX: usize = 3;

/// Why a store was not checked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The state directory.
    #[error(transparent)]
    Home(#[from] HostHomeError),
    /// It may not be read, or there is no room for a copy.
    #[error("cannot read {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not even a part of it can be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies files and directories, and nothing else. Whose directory it is may put there what it likes.
fn copy(from: &Path, to: &Path, depth: usize) -> Result<(), OfflineError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OfflineError::Io { path, source }
    };
    DirBuilder::new().mode(0o700).create(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(at(&path))?;
        if kind.is_dir() && depth < DEPTH_MAX {
            copy(&path, &to, depth + 1)?;
        } else if kind.is_file() {
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
            let mut source = OpenOptions::new()
                .read(true)
                .custom_flags(flags.cast_signed())
                .open(&path)
                .map_err(at(&path))?;
            let mut copy =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to).map_err(at(&to))?;
            io::copy(&mut source, &mut copy).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// A directory that is gone again afterwards.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

/// Reads all of the store in the state directory `state`. An agent that starts meanwhile is told that somebody
/// has it.
///
/// # Errors
/// See [`OfflineError`].
pub fn check_offline(state: &Path, now: Timestamp) -> Result<StoreCheck, OfflineError> {
    let home = HostHome::open(state)?;
    let _lock = home.lock()?;
    let damaged = |problem: String| HostHomeError::Damaged { path: state.join("member"), problem };
    let chain = home.member.chain().map_err(damaged)?;
    let mut replica = Replica::new(Authority::new(chain));
    let enrolled = home.member.enrolled().map_err(|error| damaged(error.to_string()))?;
    // As the agent does, whose own certificate is in its member file.
    let _known = replica.merge(crate::replica::Entry::Host(Box::new(enrolled)), &[]);
    let dir = MeshHome::at(&home.mesh_dir()).store_dir();
    let scratch = Scratch(std::env::temp_dir().join(format!("muster-store-check-{}", std::process::id())));
    copy(&dir, &scratch.0, 0)?;
    let own = [&b"h"[..], &home.host()?.0].concat();
    let began = home.mesh_dir().join("epoch").exists();
    match store::read(&scratch.0) {
        Ok((rows, unread)) => {
            // sled takes files that it knows nothing of for an empty store.
            let lost = began && rows.0.iter().all(|(key, _)| *key != own);
            let unread = unread.map(|error| error.to_string());
            let unread =
                unread.or_else(|| lost.then(|| "what this host said of itself is not in it".to_owned()));
            let (check, _) = store::check(replica, rows, store::disk_bytes(&dir), now);
            Ok(report(&check, unread))
        }
        Err(error) if error.is_damage() => {
            let (check, _) = store::check(replica, <_>::default(), store::disk_bytes(&dir), now);
            Ok(report(&check, Some(error.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}
