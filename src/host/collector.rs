//! What a collector is, and one that looks at nothing.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::replica::{Table, Tables};

/// Installed packages, from dpkg's database.
pub const FACET_DEB: &str = "deb";
/// Interfaces and their addresses.
pub const FACET_NETWORK: &str = "network";
/// Disks and what is mounted.
pub const FACET_STORAGE: &str = "storage";
/// The operating system, kernel, processors, memory, model and boot.
pub const FACET_SYSTEM: &str = "system";
/// Every facet that is collected here, in order.
pub const FACETS: [&str; 4] = [FACET_DEB, FACET_NETWORK, FACET_STORAGE, FACET_SYSTEM];

/// What one look brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// The facet, one of [`FACETS`].
    pub facet: &'static str,
    /// The tables; none at all where the machine has nothing of the kind (no dpkg: no facet `deb`). An error is
    /// a sentence for people: what was known before still stands then.
    pub tables: Result<Tables, String>,
    /// What is wrong though tables could be made, as sentences for people: what was skipped, say.
    pub problems: Vec<String>,
}

impl Collected {
    /// A look that brought nothing.
    pub fn failed(facet: &'static str, problem: String) -> Self {
        Self { facet, tables: Err(problem), problems: Vec::new() }
    }
}

/// Where a look is, for those who wait for it.
#[derive(Clone, Default)]
pub struct Progress(Arc<Mutex<String>>);

impl Progress {
    /// Notes what is looked at next.
    pub fn at(&self, place: impl fmt::Display) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = place.to_string();
    }

    /// What was looked at last.
    pub fn last(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Progress").field(&self.last()).finish()
    }
}

/// Who can look at a machine.
pub trait Collector: Send + Sync + 'static {
    /// Looks once at what `facet` is about. Blocks; says in `progress` where it is.
    fn collect(&self, facet: &'static str, progress: &Progress) -> Collected;
}

/// A machine that is made up.
#[derive(Clone, Debug, Default)]
pub struct Fake(Arc<Mutex<BTreeMap<&'static str, Result<Tables, String>>>>);

impl Fake {
    /// Says from now on that `facet` is this.
    pub fn set(&self, facet: &'static str, tables: Result<Tables, String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(facet, tables);
    }

    /// Says from now on that these packages are installed: name and version of each, for `amd64`.
    pub fn packages(&self, packages: &[(&str, &str)]) {
        let row = |(name, version): &(&str, &str)| [name, version, "amd64"].map(str::to_owned).to_vec();
        let table = table("deb_packages", &["name", "version", "arch"], packages.iter().map(row).collect());
        self.set(FACET_DEB, Ok(Tables { tables: vec![table] }));
    }
}

impl Collector for Fake {
    fn collect(&self, facet: &'static str, _progress: &Progress) -> Collected {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(facet).cloned();
        Collected { facet, tables: tables.unwrap_or_else(|| Ok(Tables::default())), problems: Vec::new() }
    }
}

/// A table with its rows in order.
pub(super) fn table(name: &str, columns: &[&str], mut rows: Vec<Vec<String>>) -> Table {
    rows.sort_unstable();
    Table {
        name: name.to_owned(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        rows,
    }
}
