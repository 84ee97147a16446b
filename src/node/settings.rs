//! An agent's settings: one file, unknown keys refused.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::wire_record;

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The directory of the package database that the host's packages are read from. Set where the system's is
    /// elsewhere: an agent in a container that is to tell of the machine around it (`/host/var/lib/dpkg`), an
    /// image that keeps it with `/usr`. It must be there, and readable for everyone, when the agent starts.
    /// Default: `/var/lib/dpkg`; where there is none, the host tells of no packages.
    pub dpkg: PathBuf,
    /// The user that the mesh process becomes when the agent runs as root. Default: the user `muster`
    /// if there is one, else a user id of its own.
    pub mesh_user: Option<String>,
    /// The group that may use the agent's socket when the agent runs as root. Default: the group
    /// `muster` if there is one, else root alone.
    pub socket_group: Option<String>,
    /// Memory that a command may write, in bytes: all of it together where the agent has a control group with
    /// that controller, else each of its processes. Set where a host must outlive whatever is ordered; too
    /// little ends what would have been well. Default: no bound.
    pub command_memory_bytes: Option<u64>,
    /// Processes and threads: of a command where the agent has a control group with that controller; else of
    /// its user, what runs already among them, and root is not bound. Less leaves more for others; too little
    /// keeps a command from starting. Default: 16,384.
    pub command_processes: u32,
    /// Files that each process of a command may have open, if the agent may give that many. Default: 65,536.
    pub command_descriptors: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            advertise: Vec::new(),
            lan: false,
            dpkg: PathBuf::from("/var/lib/dpkg"),
            mesh_user: None,
            socket_group: None,
            command_memory_bytes: None,
            command_processes: 16_384,
            command_descriptors: 65_536,
        }
    }
}

/// What the mesh process is told of the settings, through the executor, which does not read it.
#[derive(Clone, Debug)]
pub(super) struct MeshSettings {
    /// Where to listen, as text.
    pub(super) listen: Vec<String>,
    /// Where others reach this host, as text.
    pub(super) advertise: Vec<String>,
    /// Whether to look for members on the local network.
    pub(super) lan: bool,
    /// Where the package database is.
    pub(super) dpkg: String,
}
wire_record!(MeshSettings { listen, advertise, lan, dpkg });

impl MeshSettings {
    /// Longest, encoded, in bytes.
    pub(super) const BYTES_MAX: usize = 128 * 1024;

    pub(super) fn of(settings: &Settings, dpkg: &Path) -> Self {
        Self {
            listen: settings.listen.iter().map(ToString::to_string).collect(),
            advertise: settings.advertise.iter().map(ToString::to_string).collect(),
            lan: settings.lan,
            dpkg: dpkg.display().to_string(),
        }
    }
}

/// Reads a file, if nobody but this user and root could have written it.
fn read_own(path: &Path) -> io::Result<String> {
    let refused = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
    let file = fs::File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(refused("it is no file".to_owned()));
    }
    let (owner, mode) = (about.uid(), about.mode() & 0o7777);
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(refused(format!("it belongs to another user (uid {owner})")));
    }
    if mode & 0o022 != 0 {
        return Err(refused(format!("it can be written by others (mode {mode:04o})")));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

impl Settings {
    /// Reads the file; a missing one is the defaults. One that others could have written is refused.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = match read_own(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(SettingsError::Io { path: path.to_owned(), source }),
        };
        Self::parse(&text).map_err(|problem| SettingsError::Malformed { path: path.to_owned(), problem })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// In words for people, with the place.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// The same, with the keys that the file sets.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read_with_keys(path: &Path) -> Result<(Self, Vec<String>), SettingsError> {
        let settings = Self::read(path)?;
        // It was read a moment ago: whatever is wrong with it has been said.
        let table = read_own(path).ok().and_then(|text| text.parse::<toml::Table>().ok());
        Ok((settings, table.unwrap_or_default().keys().cloned().collect()))
    }

    /// Writes the file, with its directory.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn write(&self, path: &Path) -> Result<(), SettingsError> {
        let io = |source| SettingsError::Io { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            // It may be the state directory, which others may walk through and not look around in.
            fs::DirBuilder::new().recursive(true).mode(0o711).create(parent).map_err(io)?;
        }
        let text = toml::to_string(self).map_err(|error| SettingsError::Malformed {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(path).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn settings_come_back_and_what_is_not_understood_is_an_error_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/agent.toml");
        assert_eq!(Settings::read(&path).unwrap(), Settings::default());
        let listen = vec!["0.0.0.0:7946".parse().unwrap(), "[::1]:0".parse().unwrap()];
        let settings = Settings {
            listen,
            lan: true,
            dpkg: "/host/var/lib/dpkg".into(),
            command_memory_bytes: Some(1 << 30),
            command_processes: 64,
            ..Settings::default()
        };
        settings.write(&path).unwrap();
        assert_eq!(Settings::read(&path).unwrap(), settings);
        for (text, word) in [
            ("listen = [\"everywhere\"]", "listen"),
            ("listen = [\"1.2.3.4\"]", "listen"),
            ("advertise = [\"a.example:7946\"]", "advertise"),
            ("advertise = \"1.2.3.4:5\"", "advertise"),
            ("verify = false", "verify"),
            ("lan = true\nlan = false", "lan"),
            ("lan = \"yes\"", "lan"),
            ("dpkg = true", "dpkg"),
            ("command_memory_bytes = \"1 GiB\"", "command_memory_bytes"),
            ("command_processes = -1", "command_processes"),
        ] {
            fs::write(&path, text).unwrap();
            match Settings::read(&path) {
                Err(SettingsError::Malformed { problem, .. }) => {
                    assert!(problem.contains(word) && problem.contains("line"), "{problem}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn settings_that_others_could_have_written_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        fs::write(&path, "lan = true").unwrap();
        for mode in [0o666, 0o620, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let why = Settings::read(&path).unwrap_err().to_string();
            assert!(why.contains("written by others"), "{why}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Settings::read(&path).unwrap().lan);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            let why = Settings::read(&path).unwrap_err().to_string();
            assert!(why.contains("another user (uid 12345)"), "{why}");
        }
        assert!(Settings::read(dir.path()).is_err());
    }
}
