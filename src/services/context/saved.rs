//! Contexts in files: where a fleet is found, and which is in use.
//!
//! ```text
//! contexts/
//!   current        the name of the one in use
//!   NAME/
//!     context.toml the fleet, its shield, addresses; 0600: the shield is a secret of the fleet
//!     replica      what was last fetched and verified, with when
//!     hosts        the same as rows, for lists
//!     words        the same as words, for completion
//! ```

use std::{
    fs,
    io::{self, Read as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{authority::check_name, identity::FleetId, journal::keyfile};

/// Longest context file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Addresses of a context.
const ADDRESSES_MAX: usize = 16;
/// Contexts that are listed.
const CONTEXTS_MAX: usize = 256;

/// Why a context cannot be used. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not as it was written.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Others could have read or written the file.
    #[error("{path} is not this user's alone")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// There is no such context.
    #[error("there is no context {name:?}")]
    NoSuch {
        /// The name.
        name: String,
        /// Those that there are.
        others: Vec<String>,
    },
    /// The name is taken.
    #[error("there is a context {0} already")]
    Taken(String),
    /// The name cannot be one.
    #[error("{0:?} cannot be a context's name: lower-case letters, digits, inner hyphens and dots")]
    BadName(String),
}

/// Where a fleet is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The fleet.
    pub fleet: FleetId,
    /// Its pre-shared transport key.
    pub shield: [u8; 32],
    /// Where members listen, as a person or a token said.
    pub addresses: Vec<SocketAddr>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    fleet: String,
    shield: String,
    addresses: Vec<SocketAddr>,
}

/// The directory of this user's contexts.
#[derive(Clone, Debug)]
pub struct Contexts {
    dir: PathBuf,
}

impl Contexts {
    /// Those in `dir`, which need not be there.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The directory of one.
    pub fn dir_of(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The names, in order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>, SavedError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(SavedError::Io { path: self.dir.clone(), source }),
        };
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().join("context.toml").exists())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| check_name(name))
            .take(CONTEXTS_MAX)
            .collect();
        names.sort();
        Ok(names)
    }

    /// The one that is in use, if one is.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn current(&self) -> Result<Option<String>, SavedError> {
        let path = self.dir.join("current");
        match fs::read_to_string(&path) {
            Ok(name) => Ok(Some(name.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SavedError::Io { path, source }),
        }
    }

    /// Takes a context into use, or none.
    ///
    /// # Errors
    /// When there is none of that name, or the file cannot be written.
    pub fn use_one(&self, name: Option<&str>) -> Result<(), SavedError> {
        let path = self.dir.join("current");
        let io = |source| SavedError::Io { path: path.clone(), source };
        match name {
            Some(name) => {
                self.open(name)?;
                keyfile::replace_file(&path, format!("{name}\n").as_bytes()).map_err(io)
            }
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io(error)),
                _ => Ok(()),
            },
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// See [`SavedError`].
    pub fn open(&self, name: &str) -> Result<Saved, SavedError> {
        if !check_name(name) {
            return Err(SavedError::BadName(name.chars().take(64).collect()));
        }
        let path = self.dir_of(name).join("context.toml");
        let text = match read_own(&path) {
            Ok(text) => text,
            Err(SavedError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(SavedError::NoSuch { name: name.to_owned(), others: self.names()? });
            }
            Err(error) => return Err(error),
        };
        let damaged = |problem: String| SavedError::Damaged { path: path.clone(), problem };
        let file: File = toml::from_str(&text).map_err(|error| damaged(error.message().to_owned()))?;
        let fleet =
            FleetId::from_text(&file.fleet).ok_or_else(|| damaged("fleet is no fleet's id".into()))?;
        let shield =
            unhex(&file.shield).ok_or_else(|| damaged("shield is not 64 hexadecimal digits".into()))?;
        if file.addresses.is_empty() || file.addresses.len() > ADDRESSES_MAX {
            return Err(damaged(format!("1 to {ADDRESSES_MAX} addresses may be")));
        }
        Ok(Saved { fleet, shield, addresses: file.addresses })
    }

    /// Whether a name is free and can be one.
    ///
    /// # Errors
    /// [`SavedError::BadName`] or [`SavedError::Taken`].
    pub fn check_new(&self, name: &str) -> Result<(), SavedError> {
        if !check_name(name) || name == "current" {
            return Err(SavedError::BadName(name.chars().take(64).collect()));
        }
        if self.dir_of(name).join("context.toml").exists() {
            return Err(SavedError::Taken(name.to_owned()));
        }
        Ok(())
    }

    /// Writes a new one, in one step.
    ///
    /// # Errors
    /// See [`SavedError`].
    pub fn add(&self, name: &str, saved: &Saved) -> Result<(), SavedError> {
        self.check_new(name)?;
        let path = self.dir_of(name).join("context.toml");
        let io = |source| SavedError::Io { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.dir_of(name)).map_err(io)?;
        let file = File {
            fleet: saved.fleet.to_string(),
            shield: hex(&saved.shield),
            addresses: saved.addresses.clone(),
        };
        let text = toml::to_string(&file)
            .map_err(|error| SavedError::Damaged { path: path.clone(), problem: error.to_string() })?;
        let text = format!(
            "# Where a muster fleet is found. The shield keeps strangers from its ports: keep it to yourself.\n{text}"
        );
        keyfile::replace_file(&path, text.as_bytes()).map_err(io)
    }

    /// Removes one and all that was kept for it; the operator's key stays where it is.
    ///
    /// # Errors
    /// See [`SavedError`].
    pub fn remove(&self, name: &str) -> Result<(), SavedError> {
        let dir = self.dir_of(name);
        if !check_name(name) || !dir.join("context.toml").exists() {
            return Err(SavedError::NoSuch { name: name.chars().take(64).collect(), others: self.names()? });
        }
        if self.current()?.as_deref() == Some(name) {
            self.use_one(None)?;
        }
        fs::remove_dir_all(&dir).map_err(|source| SavedError::Io { path: dir.clone(), source })
    }
}

/// Reads a fleet's shield from a file that is this user's alone.
///
/// # Errors
/// When it cannot be read, is not this user's alone, or holds something else.
pub fn read_shield(path: &Path) -> Result<[u8; 32], SavedError> {
    let text = read_own(path)?;
    unhex(&text).ok_or_else(|| SavedError::Damaged {
        path: path.to_owned(),
        problem: "a shield is 64 hexadecimal digits".to_owned(),
    })
}

/// Reads a text file that is this user's alone.
fn read_own(path: &Path) -> Result<String, SavedError> {
    let io = |source| SavedError::Io { path: path.to_owned(), source };
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    let me = rustix::process::geteuid().as_raw();
    if !about.is_file() || about.mode() & 0o077 != 0 || (about.uid() != me && me != 0) {
        return Err(SavedError::Exposed { path: path.to_owned() });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

/// The 32 bytes that 64 hexadecimal digits stand for.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _always = write!(text, "{byte:02x}");
    }
    text
}
