//! The collector that looks at this machine.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::{
    Collected, Collector, FACET_DEB, FACET_NETWORK, FACET_STORAGE, FACET_SYSTEM, Progress, deb, network,
    storage, system,
};
use crate::replica::{FACET_BYTES_MAX, Tables};

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

    pub(super) fn proc(&self, below: &str) -> PathBuf {
        self.root.join("proc").join(below)
    }

    pub(super) fn sys(&self, below: &str) -> PathBuf {
        self.root.join("sys").join(below)
    }
}

/// Looks at the machine at some [`Paths`]; IPv4 addresses are this machine's own in any case.
#[derive(Debug)]
pub struct Machine {
    paths: Paths,
    boot: Mutex<Option<system::Boot>>,
}

impl Machine {
    /// Looks at `paths`.
    pub fn new(paths: Paths) -> Self {
        Self { paths, boot: Mutex::new(None) }
    }

    /// Takes from what was told of the system earlier, before the agent started again, what must not change
    /// without cause: the time of the boot.
    pub fn remember(&self, told: &Tables) {
        *self.boot.lock().unwrap_or_else(PoisonError::into_inner) = system::Boot::of(told);
    }
}

impl Collector for Machine {
    fn collect(&self, facet: &'static str, progress: &Progress) -> Collected {
        let paths = &self.paths;
        let collected = match facet {
            FACET_DEB => deb::collect(&paths.dpkg, progress),
            FACET_NETWORK => network::collect(paths, network::ipv4(), progress),
            FACET_STORAGE => storage::collect(paths, progress),
            FACET_SYSTEM => {
                let mut boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner);
                system::collect(paths, &mut boot, progress)
            }
            _ => Collected::failed(facet, format!("{facet}: nobody collects that")),
        };
        fits(collected)
    }
}

/// Puts the tables in order, and refuses what is longer than a facet may be. Nothing is cut off: what is absent
/// would count as gone.
fn fits(mut collected: Collected) -> Collected {
    let Ok(tables) = &mut collected.tables else { return collected };
    tables.tables.sort_by(|a, b| a.name.cmp(&b.name));
    // A text takes at most five bytes beside its own, and so does the length of a row.
    let text = |text: &String| text.len() + 5;
    let row = |row: &Vec<String>| row.iter().map(text).sum::<usize>() + 5;
    let names = 64;
    let at_most: usize = tables
        .tables
        .iter()
        .map(|table| {
            table.rows.iter().map(row).sum::<usize>() + row(&table.columns) + text(&table.name) + names
        })
        .sum();
    if at_most + names <= FACET_BYTES_MAX {
        return collected;
    }
    let bytes = tables.clone().canonical().len();
    if bytes <= FACET_BYTES_MAX {
        return collected;
    }
    let facet = collected.facet;
    Collected::failed(
        facet,
        format!("{facet}: {bytes} bytes, and no more than {FACET_BYTES_MAX} can be told"),
    )
}
