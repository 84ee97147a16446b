//! Where this machine's facts are.

use std::path::PathBuf;

/// Where the system keeps what is collected: a directory of files is a machine as good as any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The directory that holds `proc`, `sys`, `etc` and `usr`.
    pub root: PathBuf,
    /// dpkg's database.
    pub dpkg: PathBuf,
}

impl Paths {
    /// This machine, with its package database at `dpkg`.
    pub fn with_dpkg(dpkg: impl Into<PathBuf>) -> Self {
        Self { root: PathBuf::from("/"), dpkg: dpkg.into() }
    }

    pub(super) fn etc(&self) -> PathBuf {
        self.root.join("etc")
    }
}
