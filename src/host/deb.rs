//! Installed packages, from dpkg's database and without dpkg.
//!
//! Reads `status`, then dpkg's journal over it (`updates/`, by number, as dpkg does when it was interrupted),
//! and `status.d/`, where images without dpkg have a file for each package. The later stanza of a package and
//! architecture stands. Too much of anything is refused whole: a list that is cut would say of the rest that it
//! is not installed.
//!
//! *Why a package that is on hold or to be removed counts as installed:* it is, and who asks for an old version
//! wants to hear of it. What is half there or left over is told in a table of its own.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    Collected, FACET_DEB, Progress,
    collector::table,
    stanzas::{Form, Package, Stanzas},
};
use crate::replica::{Table, Tables};

/// Longest database that is read, in bytes.
const DATABASE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Packages that are read.
const PACKAGES_MAX: usize = 50_000;
/// Files in `status.d` or `updates` that are read.
const FILES_MAX: usize = 10_000;
/// Digits in the name of a file of the journal (dpkg's `IMPORTANTMAXLEN`).
const JOURNAL_DIGITS_MAX: usize = 10;
/// Bytes that are read at a time.
const PIECE_BYTES: usize = 128 * 1024;

/// What was read so far.
#[derive(Debug, Default)]
struct Database {
    packages: Vec<Package>,
    skipped: usize,
    bytes: u64,
}

/// Why a database is not told of.
type Refused = String;

/// Looks into the package database at `dpkg`.
pub(super) fn collect(dpkg: &Path, progress: &Progress) -> Collected {
    match read(dpkg, progress) {
        Ok(None) => Collected { facet: FACET_DEB, tables: Ok(Tables::default()), problems: Vec::new() },
        Ok(Some(Database { packages, skipped, .. })) => {
            let note = || format!("{}: {skipped} stanzas cannot be read and were skipped", dpkg.display());
            let problems = (skipped > 0).then(note).into_iter().collect();
            Collected { facet: FACET_DEB, tables: Ok(Tables { tables: tables(packages) }), problems }
        }
        Err(problem) => Collected::failed(FACET_DEB, problem),
    }
}

/// Reads a database; nothing if there is none.
fn read(dpkg: &Path, progress: &Progress) -> Result<Option<Database>, Refused> {
    let mut database = Database::default();
    let mut found = database.file(&dpkg.join("status"), Form::Status, progress)?;
    for name in journal(names(&dpkg.join("updates"))?.unwrap_or_default(), dpkg)? {
        // dpkg may have been faster: then it is in the next status.
        database.file(&dpkg.join("updates").join(name), Form::Status, progress)?;
    }
    let single = names(&dpkg.join("status.d"))?;
    found |= single.is_some();
    for name in single.unwrap_or_default() {
        // Beside the package stand the hashes of its files.
        if Path::new(&name).extension() != Some(OsStr::new("md5sums")) {
            database.file(&dpkg.join("status.d").join(name), Form::Single, progress)?;
        }
    }
    Ok(found.then_some(database))
}

impl Database {
    /// Reads one file. False if there is none.
    fn file(&mut self, path: &Path, form: Form, progress: &Progress) -> Result<bool, Refused> {
        progress.at(path.display());
        let failed = |error: io::Error| format!("cannot read {}: {error}", path.display());
        let mut file = match open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let mut stanzas = Stanzas::new(form);
        stanzas.packages = std::mem::take(&mut self.packages);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = match file.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            stanzas.push(piece.get(..read).unwrap_or_default());
            self.bytes += read as u64;
            self.within(path, &stanzas)?;
        }
        stanzas.end();
        self.within(path, &stanzas)?;
        self.packages = stanzas.packages;
        self.skipped += stanzas.skipped;
        Ok(true)
    }

    fn within(&self, path: &Path, stanzas: &Stanzas) -> Result<(), Refused> {
        if self.bytes > DATABASE_BYTES_MAX {
            return Err(format!("{}: more than {DATABASE_BYTES_MAX} bytes", path.display()));
        }
        if stanzas.packages.len() > PACKAGES_MAX {
            return Err(format!("{}: more than {PACKAGES_MAX} packages", path.display()));
        }
        Ok(())
    }
}

/// Opens a file; not a pipe that somebody put there, which would hang.
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let file = File::from(rustix::fs::open(path, OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    Ok(file)
}

/// The names in a directory, in order; nothing if there is none.
fn names(dir: &Path) -> Result<Option<Vec<OsString>>, Refused> {
    let failed = |error: io::Error| format!("cannot read {}: {error}", dir.display());
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed)?.file_name());
        if names.len() > FILES_MAX {
            return Err(format!("{}: more than {FILES_MAX} files", dir.display()));
        }
    }
    names.sort_unstable();
    Ok(Some(names))
}

/// The files of the journal among these names, in the order in which they count. Others (`tmp.i`) are what dpkg
/// had not finished.
fn journal(names: Vec<OsString>, dpkg: &Path) -> Result<Vec<PathBuf>, Refused> {
    let numbers: Vec<OsString> = names
        .into_iter()
        .filter(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit) && !name.is_empty())
        .collect();
    let length = numbers.first().map_or(0, |name| name.len());
    if length > JOURNAL_DIGITS_MAX || numbers.iter().any(|name| name.len() != length) {
        // Nor would dpkg go on.
        return Err(format!("{}: names that are not dpkg's", dpkg.join("updates").display()));
    }
    Ok(numbers.into_iter().map(PathBuf::from).collect())
}

/// Installed packages; and the rest, if there is any.
fn tables(packages: Vec<Package>) -> Vec<Table> {
    let mut latest = BTreeMap::new();
    for Package { name, arch, version, status } in packages {
        latest.insert((name, arch), (version, status));
    }
    let (mut installed, mut unfinished) = (Vec::new(), Vec::new());
    for ((name, arch), (version, status)) in latest {
        let mut words = status.split_ascii_whitespace().skip(1);
        match (words.next(), words.next()) {
            // Without a status: the only package of its file.
            (None, _) | (Some("ok"), Some("installed")) => installed.push(vec![name, version, arch]),
            (_, Some("not-installed")) => {}
            _ => unfinished.push(vec![name, version, arch, status]),
        }
    }
    let mut tables = vec![table("deb_packages", &["name", "version", "arch"], installed)];
    if !unfinished.is_empty() {
        let columns = ["name", "version", "arch", "status"];
        tables.push(table("deb_packages_unfinished", &columns, unfinished));
    }
    tables
}
