//! Where the output of commands is kept: a file for each stream that has any, readable by the mesh process,
//! bounded.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    identity::EntryId,
    replica::{INLINE_OUTPUT_BYTES_MAX, Output},
    time::Timestamp,
    wire::Bytes,
};

/// How long outputs are kept.
const KEPT_FOR: Duration = Duration::from_secs(7 * 86_400);
/// How much is kept in all, in bytes; the oldest go first.
const SPOOL_BYTES_MAX: u64 = 4 << 30;

/// The files of one order: standard output, standard error. An empty stream has none.
pub fn paths(spool: &Path, order: &EntryId) -> (PathBuf, PathBuf) {
    (spool.join(format!("{order}.out")), spool.join(format!("{order}.err")))
}

/// Both outputs, if together they are short enough to travel with the result.
pub fn inline(
    spool: &Path,
    order: &EntryId,
    stdout: &Output,
    stderr: &Output,
) -> (Option<Bytes>, Option<Bytes>) {
    if stdout.kept.saturating_add(stderr.kept) > INLINE_OUTPUT_BYTES_MAX {
        return (None, None);
    }
    let (out, err) = paths(spool, order);
    let read = |path: &Path, about: &Output| match about.kept {
        0 => Some(Bytes::default()),
        _ => fs::read(path).ok().filter(|bytes| bytes.len() as u64 == about.kept).map(Bytes),
    };
    (read(&out, stdout), read(&err, stderr))
}

/// Removes what is too old at `now`, a time that was signed, or too much. A file that cannot be removed keeps
/// no other from going.
///
/// # Errors
/// When the directory cannot be read.
pub fn sweep(spool: &Path, now: Timestamp) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(spool)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if !about.is_file() {
            continue;
        }
        let written = about
            .modified()?
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(Timestamp(0), |since| Timestamp(0).after(since));
        files.push((written, about.len(), entry.path()));
    }
    files.sort();
    let mut failed = Ok(());
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (written, bytes, path) in files {
        if now.since(written) <= KEPT_FOR && total <= SPOOL_BYTES_MAX {
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => total -= bytes,
            Err(error) => failed = Err(error),
        }
    }
    failed
}
