//! The directory that all of a throw-away fleet is in: made fresh, locked while the fleet lives, removed with it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::Trouble;

/// Letters and digits that cannot be taken for another: 32 of them, 4 in a name.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Longest path of a socket, in bytes: 108 in `sockaddr_un`, the last of them 0 (unix(7)).
const SOCKET_BYTES_MAX: usize = 107;
/// The longest path of a socket below the directory.
const LONGEST_SOCKET: &str = "0123456789abcdef/agent.sock";
/// The file that a living fleet holds a lock on.
const LOCK: &str = "lock";
/// Names that are tried.
const TRIES: usize = 64;

/// A throw-away fleet's directory. Dropping it removes it, unless it is kept.
#[derive(Debug)]
pub struct Ground {
    dir: PathBuf,
    kept: bool,
    _lock: File,
}

impl Ground {
    /// Makes one in `base`, for what `verb` does: `demo`, `scenario`. Under `root` others may pass through it, as the
    /// mesh processes must.
    ///
    /// # Errors
    /// When there can be none, or no socket in it, or under `root` nobody else could get there.
    pub fn make(base: &Path, verb: &str, root: bool) -> Result<Self, Trouble> {
        let base = std::path::absolute(base).map_err(|error| unusable(base, &error))?;
        let name = name_of(verb);
        let longest = base.as_os_str().len() + 1 + name.len() + 4 + 1 + LONGEST_SOCKET.len();
        if longest > SOCKET_BYTES_MAX {
            return Err(Trouble::new(format!(
                "{} is too long a path: with it a socket's would have {longest} bytes, where {SOCKET_BYTES_MAX} may be",
                base.display()
            ))
            .hint("use a shorter one: export TMPDIR=/tmp"));
        }
        if root && let Some(closed) = closed_to_others(&base) {
            return Err(Trouble::new(format!(
                "{} is closed to other users, as one of whom the mesh processes run under root",
                closed.display()
            ))
            .hint("use a directory that is not: export TMPDIR=/tmp"));
        }
        let dir = fresh_dir(&base, &name, if root { 0o711 } else { 0o700 })?;
        let lock = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(dir.join(LOCK))
            .and_then(|file| Ok(flock(&file, FlockOperation::NonBlockingLockExclusive).map(|()| file)?));
        match lock {
            Ok(lock) => Ok(Self { dir, kept: false, _lock: lock }),
            Err(error) => {
                let _best_effort = fs::remove_dir_all(&dir);
                Err(unusable(&base, &error))
            }
        }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Leaves it where it is when it is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// Removes it, with all that is in it.
    ///
    /// # Errors
    /// When some of it cannot be removed.
    pub fn remove(&mut self) -> io::Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !self.kept {
            let _best_effort = self.remove();
        }
    }
}

/// Directories in `base` that what `verb` does left for this user, and no living one holds.
pub fn left_over(base: &Path, verb: &str) -> Vec<PathBuf> {
    let name = name_of(verb);
    let me = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&name))
        .filter(|entry| entry.metadata().is_ok_and(|about| about.is_dir() && about.uid() == me))
        .map(|entry| entry.path())
        .filter(|dir| {
            // Without a lock file it is just being made, or none of ours.
            let lock = OpenOptions::new().write(true).open(dir.join(LOCK));
            lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok())
        })
        .collect();
    found.sort();
    found
}

/// What the names of these directories begin with.
fn name_of(verb: &str) -> String {
    format!("muster-{verb}-")
}

fn fresh_dir(base: &Path, name: &str, mode: u32) -> Result<PathBuf, Trouble> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..TRIES {
        let mut drawn = [0; 4];
        getrandom::fill(&mut drawn)
            .map_err(|error| Trouble::new(format!("no randomness from the system: {error}")))?;
        let letters = drawn.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32)));
        let dir =
            base.join(letters.fold(name.to_owned(), |name, letter| name + &char::from(*letter).to_string()));
        let made = DirBuilder::new().mode(0o700).create(&dir);
        // Set apart from the making, which the umask has a say in.
        match made.and_then(|()| fs::set_permissions(&dir, Permissions::from_mode(mode))) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(unusable(base, &error)),
        }
    }
    Err(unusable(base, &last))
}

fn unusable(base: &Path, error: &io::Error) -> Trouble {
    Trouble::new(format!("cannot make a directory in {}: {error}", base.display()))
        .hint("name a directory that can be written: export TMPDIR=/var/tmp")
}

/// The first directory on the way to `base` that other users cannot pass through.
fn closed_to_others(base: &Path) -> Option<&Path> {
    base.ancestors().find(|dir| fs::metadata(dir).is_ok_and(|about| about.mode() & 0o001 == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_its_demo_and_one_that_nobody_holds_is_named() {
        let base = tempfile::tempdir().unwrap();
        let ground = Ground::make(base.path(), "demo", false).unwrap();
        let dir = ground.dir().to_owned();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(left_over(base.path(), "demo"), Vec::<PathBuf>::new(), "it is in use");
        drop(ground);
        assert!(!dir.exists());

        let mut ground = Ground::make(base.path(), "demo", false).unwrap();
        let dir = ground.dir().to_owned();
        ground.keep();
        drop(ground);
        assert_eq!(left_over(base.path(), "demo"), [dir]);
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_named_with_a_way_out() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(90)));
        let trouble = Ground::make(&long, "demo", false).unwrap_err();
        assert!(trouble.message.contains("too long a path"), "{trouble:?}");
        assert!(trouble.hints.last().unwrap().contains("TMPDIR=/tmp"), "{trouble:?}");
    }

    #[test]
    fn a_place_that_is_not_there_is_named() {
        let trouble = Ground::make(Path::new("/nonexistent"), "demo", false).unwrap_err();
        assert!(trouble.message.contains("/nonexistent: No such file"), "{trouble:?}");
    }

    #[test]
    fn under_root_a_way_that_is_closed_to_others_is_named() {
        let base = tempfile::tempdir().unwrap();
        let closed = base.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(base.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        let trouble = Ground::make(&closed, "demo", true).unwrap_err();
        assert!(trouble.message.contains("closed to other users"), "{trouble:?}");
    }
}
