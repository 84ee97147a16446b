//! Secret keys in files: text, one key a file, mode 0600, written once and never over another.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    authority::Roots,
    identity::{PublicKey, Purpose, SecretKey},
};

/// Longest key file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// Why a key file cannot be used. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("cannot use the key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it.
    #[error("the key file {path} can be read by others (mode {mode:04o})")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to another user.
    #[error("the key file {path} belongs to another user (uid {uid})")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// It is not a key file for this purpose.
    #[error("{path} is not a muster {purpose} key")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What was wanted.
        purpose: &'static str,
    },
}

fn marker<P: Purpose>() -> String {
    format!("muster {} key 1: ", P::NAME)
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    use std::fmt::Write as _;
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        let _always = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn unhex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(seed)
}

/// Writes `key` to a new file, with `preamble` (each line of which should start with `#`) before it, and
/// syncs it. A file that is there is left alone.
///
/// # Errors
/// [`KeyFileError::Io`], also when the file exists.
pub fn write_new<P: Purpose>(path: &Path, key: &SecretKey<P>, preamble: &str) -> Result<(), KeyFileError> {
    write_text(path, &Zeroizing::new(format!("{preamble}{}{}\n", marker::<P>(), *hex(&*key.seed()))))
}

/// Writes a new key file, and syncs it. A file that is there is left alone.
///
/// # Errors
/// [`KeyFileError::Io`], also when the file exists.
pub(super) fn write_text(path: &Path, text: &str) -> Result<(), KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(source) = written {
        let _best_effort = fs::remove_file(path);
        return Err(io(source));
    }
    sync_parent(path).map_err(io)
}

/// Reads a key, refusing a file that others could have read or put there. A person's key may be in a file of
/// OpenSSH without a passphrase.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read<P: Purpose>(path: &Path) -> Result<SecretKey<P>, KeyFileError> {
    let text = read_text(path)?;
    of_text(&text).ok_or(KeyFileError::NotAKey { path: path.to_owned(), purpose: P::NAME })
}

/// The key in a file's text, if it is one for this purpose.
pub fn of_text<P: Purpose>(text: &str) -> Option<SecretKey<P>> {
    #[cfg(feature = "agent")]
    if P::SIGNS_BY_SSH && super::openssh::is_openssh(text) {
        let file = super::openssh::OpensshFile::read(text).ok().filter(|file| !file.is_locked())?;
        return file.unlock(b"").ok();
    }
    text.lines()
        .find_map(|line| unhex(line.strip_prefix(&marker::<P>())?.trim()))
        .map(|seed| SecretKey::from_seed(&seed))
}

/// Reads the text of a key file, refusing one that others could have read or put there.
///
/// # Errors
/// See [`KeyFileError`].
pub(super) fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let me = rustix::process::geteuid().as_raw();
    if about.uid() != me && me != 0 {
        return Err(KeyFileError::NotOurs { path: path.to_owned(), uid: about.uid() });
    }
    // All at once, so that no copy is left behind when it grows.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(FILE_BYTES_MAX).unwrap_or_default()));
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

/// How the line begins that says which recovery keys belong together: none of them alone tells their hash.
const RECOVERY: &str = "# muster recovery keys 1: ";

/// The line of a recovery key's file that says which keys belong to it.
pub fn recovery_line(keys: &Roots) -> String {
    let each: Vec<String> = keys.keys.iter().map(|key| hex(&key.bytes()).to_string()).collect();
    format!("{RECOVERY}{} of {}", keys.threshold, each.join(" "))
}

/// What such a line says in a recovery key's file. It is nobody's word: the genesis has their hash.
///
/// # Errors
/// When the file cannot be read, or says nothing of the kind.
pub fn recovery_keys(path: &Path) -> Result<Roots, KeyFileError> {
    let text = read_text(path)?;
    let not = || KeyFileError::NotAKey { path: path.to_owned(), purpose: "recovery" };
    let line = text.lines().find_map(|line| line.strip_prefix(RECOVERY)).ok_or_else(not)?;
    let (threshold, keys) = line.split_once(" of ").ok_or_else(not)?;
    let keys: Option<Vec<_>> =
        keys.split_whitespace().map(|key| PublicKey::import(*unhex(key)?).ok()).collect();
    Ok(Roots { keys: keys.ok_or_else(not)?, threshold: threshold.parse().map_err(|_| not())? })
}

/// Replaces a file in one step and makes it durable; only its owner can read it.
///
/// # Errors
/// When it cannot be written; the old one then stands, unless only the last sync failed.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_parent(path)
}

/// Makes the directory entry of `path` durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Operator, Root};

    #[test]
    fn a_key_comes_back_and_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator.key");
        let key = SecretKey::<Operator>::from_seed(&[5; 32]);
        write_new(&path, &key, "# mine\n").unwrap();
        assert_eq!(read::<Operator>(&path).unwrap().public(), key.public());
        assert!(matches!(read::<Root>(&path), Err(KeyFileError::NotAKey { purpose: "root", .. })));
        let other = SecretKey::<Operator>::from_seed(&[6; 32]);
        assert!(matches!(write_new(&path, &other, ""), Err(KeyFileError::Io { .. })));
        assert_eq!(read::<Operator>(&path).unwrap().public(), key.public());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_new(&path, &SecretKey::<Operator>::from_seed(&[5; 32]), "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read::<Operator>(&path), Err(KeyFileError::Exposed { mode: 0o640, .. })));
    }
}
