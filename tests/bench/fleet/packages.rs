//! A package database of a host's own, which changes as dpkg changes one: written beside, then renamed over.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

/// This machine's list is taken if it is about as long as usual.
const USUAL: std::ops::RangeInclusive<usize> = 700..=1_000;

/// What a database has at first.
pub(crate) fn initial() -> String {
    let own = fs::read("/var/lib/dpkg/status").unwrap_or_default();
    let own = String::from_utf8_lossy(&own).into_owned();
    let count = own.lines().filter(|line| *line == "Status: install ok installed").count();
    if USUAL.contains(&count) {
        return own;
    }
    (0..900).map(|number| stanza(&format!("package-{}", number * 7_919 % 900), "1.0-1")).collect()
}

fn stanza(name: &str, version: &str) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nPriority: optional\nSection: utils\n\
         Installed-Size: 1234\nMaintainer: Nobody <nobody@example.org>\nArchitecture: amd64\n\
         Version: {version}\nDepends: libc6 (>= 2.34)\nDescription: a package\n of which nothing is known.\n\n"
    )
}

pub(crate) struct Database(PathBuf);

impl Database {
    pub(crate) fn create(dir: PathBuf, text: &str) -> Self {
        fs::create_dir_all(dir.join("info")).unwrap();
        fs::write(dir.join("status"), text).unwrap();
        Self(dir)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    pub(crate) fn install(&self, name: &str, version: &str) {
        let mut text = fs::read(self.0.join("status")).unwrap();
        text.extend_from_slice(stanza(name, version).as_bytes());
        let beside = self.0.join("status-new");
        let mut file = fs::File::create(&beside).unwrap();
        file.write_all(&text).unwrap();
        file.sync_all().unwrap();
        fs::rename(beside, self.0.join("status")).unwrap();
    }
}
