//! Package databases of the demo's own, one for each host: the machine's is read and never written.
//!
//! Decides what they start as (the machine's list, or a made-up one where there is none), which package is
//! upgraded, and writes an upgrade as dpkg does: a new file beside the old one, then renamed over it.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::super::failure::{ExitCode, Failure};

/// The machine's database.
pub(super) const MACHINES: &str = "/var/lib/dpkg/status";
/// The longest one that is copied; whoever has a longer one sees the made-up one.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Packages that a person has heard of, in order of preference: the first that is installed is upgraded.
const WELL_KNOWN: [&str; 4] = ["openssl", "bash", "dpkg", "libc6"];
/// What is there where there is no dpkg.
const MADE_UP: [(&str, &str); 6] = [
    MADE_UP_TO_UPGRADE,
    ("bash", "5.2.15-2"),
    ("libc6", "2.36-9"),
    ("libssl3", "3.0.17-1"),
    ("nginx", "1.22.1-9"),
    ("zlib1g", "1:1.2.13.dfsg-1"),
];
const MADE_UP_TO_UPGRADE: (&str, &str) = ("openssl", "3.0.17-1");
/// What is added to a version to make it a later one.
const LATER: &str = "+demo1";

/// What all databases start as, and the package that is upgraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packages {
    text: Vec<u8>,
    /// Whether it is the machine's own list.
    pub(super) is_the_machines: bool,
    /// The package that is upgraded.
    pub(super) name: String,
    /// Its version at first.
    pub(super) version: String,
}

impl Packages {
    /// The list at `status`; the made-up one if it cannot be read, or has no package that people know.
    pub(super) fn of(status: &Path) -> Self {
        read(status).ok().and_then(Self::of_machine).unwrap_or_else(|| {
            let stanza = |(name, version): &(&str, &str)| {
                format!(
                    "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\
                     Description: made up for a demo\n\n"
                )
            };
            let text: String = MADE_UP.iter().map(stanza).collect();
            let (name, version) = (MADE_UP_TO_UPGRADE.0.to_owned(), MADE_UP_TO_UPGRADE.1.to_owned());
            Self { text: text.into_bytes(), is_the_machines: false, name, version }
        })
    }

    fn of_machine(text: Vec<u8>) -> Option<Self> {
        let (name, version) =
            WELL_KNOWN.iter().find_map(|name| Some(((*name).to_owned(), installed(&text, name)?)))?;
        Some(Self { text, is_the_machines: true, name, version })
    }

    /// The version that it is upgraded to.
    pub(super) fn later(&self) -> String {
        format!("{}{LATER}", self.version)
    }

    /// Makes a database in each of `dirs`. They share one file until one of them changes, which it does by a
    /// new one: a hundred copies would be as many times 600 KiB.
    pub(super) fn write<'a>(&self, dirs: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
        let mut first: Option<PathBuf> = None;
        for dir in dirs {
            let status = dir.join("status");
            let made = make(dir).and_then(|()| match &first {
                Some(first) if fs::hard_link(first, &status).is_ok() => Ok(()),
                _ => replace(dir, &self.text),
            });
            made.map_err(|error| unwritable(&status, &error))?;
            first.get_or_insert(status);
        }
        Ok(())
    }

    /// Upgrades the package in the database in `dir`.
    pub(super) fn upgrade(&self, dir: &Path) -> Result<(), Failure> {
        let text = upgraded(&self.text, &self.name, &self.later());
        replace(dir, &text).map_err(|error| unwritable(&dir.join("status"), &error))
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(ExitCode::Internal, format!("cannot write {}: {error}", path.display()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// A directory for a database, which the mesh process can read as another user, whatever the umask.
fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    for dir in [dir.parent(), Some(dir)].into_iter().flatten() {
        fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// As dpkg does: the new file is whole before it has the name.
fn replace(dir: &Path, text: &[u8]) -> io::Result<()> {
    let beside = dir.join("status-new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&beside)?;
    file.write_all(text)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()?;
    fs::rename(beside, dir.join("status"))
}

/// The lines of each stanza.
fn stanzas(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let mut lines = text.split(|byte| *byte == b'\n').peekable();
    std::iter::from_fn(move || {
        lines.peek()?;
        Some(lines.by_ref().take_while(|line| !line.is_empty()).collect())
    })
}

fn is_installed(stanza: &[&[u8]], name: &str) -> bool {
    let package = format!("Package: {name}");
    stanza.contains(&package.as_bytes()) && stanza.contains(&b"Status: install ok installed".as_slice())
}

const VERSION: &[u8] = b"Version: ";

/// The version in which a package is installed.
fn installed(text: &[u8], name: &str) -> Option<String> {
    let stanza = stanzas(text).find(|stanza| is_installed(stanza, name))?;
    let version = stanza.iter().find_map(|line| line.strip_prefix(VERSION))?;
    // What goes into a command that a person is to paste.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".+-~:".contains(byte);
    let plain = !version.is_empty() && version.iter().all(plain);
    plain.then(|| String::from_utf8_lossy(version).into_owned())
}

/// The list with another version of a package, for all architectures in which it is installed.
fn upgraded(text: &[u8], name: &str, version: &str) -> Vec<u8> {
    let mut upgraded = Vec::with_capacity(text.len() + version.len());
    for stanza in stanzas(text) {
        let ours = is_installed(&stanza, name);
        for line in &stanza {
            if ours && line.starts_with(VERSION) {
                upgraded.extend_from_slice(VERSION);
                upgraded.extend_from_slice(version.as_bytes());
            } else {
                upgraded.extend_from_slice(line);
            }
            upgraded.push(b'\n');
        }
        if !stanza.is_empty() {
            upgraded.push(b'\n');
        }
    }
    upgraded
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"Package: bash\nStatus: deinstall ok config-files\nVersion: 1\n\n\
        Package: openssl\nStatus: install ok installed\nVersion: 3.0.1-1\nDescription: caf\xe9\n Version: 9\n\n\
        Package: openssl-doc\nStatus: install ok installed\nVersion: 3.0.1-1\n";

    #[test]
    fn an_upgrade_changes_one_version_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let status = base.path().join("status");
        fs::write(&status, LIST).unwrap();
        let packages = Packages::of(&status);
        assert_eq!((packages.name.as_str(), packages.version.as_str()), ("openssl", "3.0.1-1"));
        assert!(packages.is_the_machines);

        let dirs = ["a", "b"].map(|name| base.path().join("dpkg").join(name));
        packages.write(dirs.iter().map(PathBuf::as_path)).unwrap();
        packages.upgrade(&dirs[1]).unwrap();
        assert_eq!(fs::read(dirs[0].join("status")).unwrap(), LIST, "the other host's is as it was");
        let mut wanted = LIST.to_vec();
        let place = wanted.windows(7).position(|bytes| bytes == b"3.0.1-1").unwrap();
        wanted.splice(place..place + 7, *b"3.0.1-1+demo1");
        wanted.push(b'\n');
        assert_eq!(fs::read(dirs[1].join("status")).unwrap(), wanted);
        assert_eq!(fs::read(&status).unwrap(), LIST, "so is the machine's");
    }

    #[test]
    fn a_machine_without_dpkg_or_with_nothing_known_gets_a_made_up_list() {
        let base = tempfile::tempdir().unwrap();
        let absent = Packages::of(&base.path().join("status"));
        assert!(!absent.is_the_machines);
        assert_eq!((absent.name.as_str(), absent.later().as_str()), ("openssl", "3.0.17-1+demo1"));
        let odd = base.path().join("odd");
        fs::write(&odd, "Package: bash\nStatus: install ok installed\nVersion: 1'; rm -r /\n").unwrap();
        assert_eq!(Packages::of(&odd), absent);
    }
}
