//! An agent's settings: one file, unknown keys refused.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not settings.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        problem: String,
    },
}

/// What an agent can be told. Each has its story.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where to listen for other hosts, as `ADDRESS:PORT`; port 0 takes any free one. Empty: this host
    /// only dials out (behind a firewall it is a full member all the same). Set when founding or
    /// joining.
    pub listen: Vec<SocketAddr>,
    /// Where others reach this host, if that differs from where it listens (address translation, or
    /// listening on all addresses). Default: the addresses it listens on.
    pub advertise: Vec<SocketAddr>,
    /// Whether to find members on the local network by mDNS. Saves an address in the token at the price
    /// of telling the network that a fleet is there. Default: no.
    pub lan: bool,
    /// The user that the mesh process becomes when the agent runs as root. Default: the user `muster`
    /// if there is one, else a user id of its own.
    pub mesh_user: Option<String>,
    /// The group that may use the agent's socket when the agent runs as root. Default: the group
    /// `muster` if there is one, else root alone.
    pub socket_group: Option<String>,
}

impl Settings {
    /// Reads the file; a missing one is the defaults.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(SettingsError::Io { path: path.to_owned(), source }),
        };
        toml::from_str(&text)
            .map_err(|error| SettingsError::Malformed { path: path.to_owned(), problem: error.to_string() })
    }

    /// Writes the file, with its directory.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn write(&self, path: &Path) -> Result<(), SettingsError> {
        let io = |source| SettingsError::Io { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        let text = toml::to_string(self).map_err(|error| SettingsError::Malformed {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        fs::write(path, text).map_err(io)
    }
}
