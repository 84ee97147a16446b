//! What all hosts say of themselves, in memory, in a form that is quick to ask.
//!
//! A row (one package in one version, one disk) is kept once for the whole fleet, and a facet is the list of
//! the numbers of its rows, kept once for all hosts that have it. So a host costs about four bytes a package
//! and no text of its own, and a question about one package looks at the few rows of that name: is the row's
//! number in the host's sorted list?
//!
//! Always holds: it says what the facets say that were put in, and nothing stays of what was taken out. Knows
//! nothing of the replica, of selectors and of time.
//!
//! Why lists of rows by facet, not sets of hosts by row: both cost the same at a fleet's size (a million
//! memberships), but a facet that a host replaced is then its own old list, so that bringing the index up to
//! date is a walk over two lists instead of a search through all rows; and a fleet of equal machines is one list.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    identity::HostId,
    replica::{FacetHash, Table, Tables},
};

/// Bytes of rows in all. Facets for which there is no room are left out, and their hosts are named so: those of
/// the hosts that say most, wherever they came first.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a row costs beside its text, nearly.
const ROW_COSTS: usize = 64;
/// The packages of dpkg.
pub(super) const PACKAGES: &str = "deb_packages";
/// Tables whose rows are found by a name, and the column that it stands in.
const NAMED: [(&str, &str); 6] = [
    (PACKAGES, "name"),
    ("rpm_packages", "name"),
    ("apk_packages", "name"),
    ("python_packages", "name"),
    ("npm_packages", "name"),
    ("systemd_units", "id"),
];

/// The column by which rows of a table are found, if they are.
fn named_by(table: &str) -> Option<&'static str> {
    NAMED.iter().find(|(name, _)| *name == table).map(|(_, column)| *column)
}

/// A row by number. Numbers of rows that are gone are used again.
type RowId = u32;
/// A table with its columns, by number.
type LayoutId = u32;

/// A table as some hosts have it: another version of the agent may know more columns.
#[derive(Debug)]
struct Layout {
    table: String,
    columns: Vec<String>,
    /// How many facets have it.
    facets: u32,
}

impl Layout {
    fn weight(table: &str, columns: &[String]) -> usize {
        ROW_COSTS + table.len() + columns.iter().map(|column| ROW_COSTS + column.len()).sum::<usize>()
    }

    fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }
}

/// One row: the number of its layout, then each cell, its length before it.
#[derive(Debug)]
struct Row {
    bytes: Arc<[u8]>,
    /// How many facets have it.
    facets: u32,
}

/// One facet.
#[derive(Debug)]
struct Facet {
    /// How many hosts have it.
    hosts: u32,
    /// Its tables, each with its rows by number in order.
    tables: Box<[(LayoutId, Box<[RowId]>)]>,
    /// What it would take if no row of it were anybody else's; nothing if it is left out.
    weight: usize,
    /// Whether there was no room for it.
    left_out: bool,
}

impl Facet {
    /// What it takes for each host that has it.
    fn share(&self) -> usize {
        self.weight / self.hosts.max(1) as usize
    }
}

/// What tables take at most.
fn weight_of(tables: &Tables) -> usize {
    // A cell's length, before it, takes four bytes, as a row's layout does.
    let row = |row: &Vec<String>| ROW_COSTS + 4 + row.iter().map(|cell| cell.len() + 4).sum::<usize>();
    let table = |table: &Table| {
        Layout::weight(&table.name, &table.columns) + table.rows.iter().map(row).sum::<usize>()
    };
    tables.tables.iter().map(table).sum()
}

/// One table of the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// How many hosts have it.
    pub(super) hosts: u32,
    /// How many rows they have in all.
    pub(super) rows: u64,
}

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    layouts: Vec<Option<Layout>>,
    rows: Vec<Option<Row>>,
    free: Vec<RowId>,
    by_bytes: HashMap<Arc<[u8]>, RowId>,
    /// The rows of each name, of whichever tables have names.
    named: HashMap<Box<str>, Vec<RowId>>,
    facets: HashMap<FacetHash, Facet>,
    hosts: HashMap<HostId, Box<[FacetHash]>>,
    bytes: usize,
    bytes_max: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self::bounded(BYTES_MAX)
    }
}

impl Index {
    fn bounded(bytes_max: usize) -> Self {
        Self {
            layouts: Vec::new(),
            rows: Vec::new(),
            free: Vec::new(),
            by_bytes: HashMap::new(),
            named: HashMap::new(),
            facets: HashMap::new(),
            hosts: HashMap::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Whether it knows that `host` has just these facets.
    pub(super) fn is_current(&self, host: &HostId, facets: impl Iterator<Item = FacetHash>) -> bool {
        self.hosts.get(host).is_some_and(|held| held.iter().copied().eq(facets))
    }

    /// Whether some host has this facet.
    pub(super) fn has(&self, facet: &FacetHash) -> bool {
        self.facets.contains_key(facet)
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> String {
        let lists =
            self.facets.values().flat_map(|facet| &facet.tables).map(|(_, rows)| rows.len()).sum::<usize>();
        format!("{} rows, {} bytes of them, {lists} numbers in lists", self.by_bytes.len(), self.bytes)
    }

    /// Which hosts it knows.
    pub(super) fn hosts(&self) -> impl ExactSizeIterator<Item = &HostId> {
        self.hosts.keys()
    }

    /// Sets what `host` has. `read` gives the tables of a facet, and is asked only for those that no host had
    /// so far; one that it cannot give has no rows.
    pub(super) fn set(
        &mut self,
        host: HostId,
        facets: &[FacetHash],
        mut read: impl FnMut(&FacetHash) -> Option<Tables>,
    ) {
        // The new ones first: rows that stay are not made anew.
        let mut claim = 0;
        for hash in facets {
            if !self.facets.contains_key(hash) {
                let tables = read(hash).unwrap_or_default();
                let weight = weight_of(&tables);
                if !self.has_room(weight) {
                    let old = self.hosts.remove(&host);
                    self.release(old);
                    self.make_room(weight, claim + weight);
                }
                self.insert(*hash, tables, weight);
            }
            if let Some(facet) = self.facets.get_mut(hash) {
                facet.hosts += 1;
                claim += facet.share();
            }
        }
        let old = self.hosts.insert(host, facets.into());
        self.release(old);
    }

    fn has_room(&self, weight: usize) -> bool {
        self.bytes + weight <= self.bytes_max
    }

    /// Leaves out what the hosts said that say most, as long as they say more than one that says `claim`: so
    /// nobody is kept out by others who say more than it does. What many hosts say counts for each of them by
    /// its part.
    fn make_room(&mut self, weight: usize, claim: usize) {
        if self.has_room(weight) || weight > self.bytes_max {
            return;
        }
        let mut claims: Vec<(usize, HostId)> = self
            .hosts
            .keys()
            .map(|host| (self.facets_of(host).map(|(_, facet)| facet.share()).sum(), *host))
            .filter(|(said, _)| *said > claim)
            .collect();
        claims.sort_unstable();
        while !self.has_room(weight)
            && let Some((_, host)) = claims.pop()
        {
            // What the ones before it had in common with it may be gone.
            let said: usize = self.facets_of(&host).map(|(_, facet)| facet.share()).sum();
            let largest = self.facets_of(&host).max_by_key(|(_, facet)| facet.share());
            let Some((hash, _)) = largest.filter(|_| said > claim) else { continue };
            self.leave_out(&hash);
            let left = self.facets_of(&host).map(|(_, facet)| facet.share()).sum();
            let at = claims.partition_point(|other| *other < (left, host));
            claims.insert(at, (left, host));
        }
    }

    /// Gives up the rows of a facet that hosts have.
    fn leave_out(&mut self, hash: &FacetHash) {
        let Some(facet) = self.facets.get_mut(hash) else { return };
        (facet.left_out, facet.weight) = (true, 0);
        let tables = std::mem::take(&mut facet.tables);
        self.release_tables(tables);
    }

    /// Forgets a host.
    pub(super) fn remove(&mut self, host: &HostId) {
        let old = self.hosts.remove(host);
        self.release(old);
    }

    /// Whether something that `host` says had no room.
    pub(super) fn is_left_out(&self, host: &HostId) -> bool {
        self.facets_of(host).any(|(_, facet)| facet.left_out)
    }

    /// The versions of a package on a host, each with its architecture.
    pub(super) fn package<'a>(
        &'a self,
        host: &HostId,
        name: &str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let rows = self.named.get(name).map_or(&[][..], Vec::as_slice);
        let lists: Vec<&'a [RowId]> = if rows.is_empty() {
            Vec::new()
        } else {
            self.tables_of(host, PACKAGES).map(|(_, rows)| rows).collect()
        };
        rows.iter()
            .filter(move |row| lists.iter().any(|list| list.binary_search(row).is_ok()))
            .map(|row| (self.cell(*row, "version").unwrap_or(""), self.cell(*row, "arch").unwrap_or("")))
    }

    /// The values that a column of a table has on a host, each once, in order; nothing if the host has no
    /// such table or column.
    pub(super) fn column<'a>(&'a self, host: &HostId, table: &str, column: &str) -> Vec<&'a str> {
        let mut values = Vec::new();
        for (layout, rows) in self.tables_of(host, table) {
            if let Some(place) = layout.place(column) {
                values.extend(rows.iter().filter_map(|row| cell(self.row(*row)?, place)));
            }
        }
        values.sort_unstable();
        values.dedup();
        values
    }

    /// Calls `each` with cells of every row of a table that a host has, in the order of `columns`: none where
    /// the table has no such column. With `only`, a place in `columns` and a text, rows that have another text
    /// there may be left out.
    pub(super) fn cells<'a>(
        &'a self,
        host: &HostId,
        table: &str,
        columns: &[String],
        only: Option<(usize, &str)>,
        mut each: impl FnMut(&[Option<&'a str>]),
    ) {
        let named = only.filter(|(at, _)| {
            named_by(table).is_some_and(|name| columns.get(*at).is_some_and(|column| column == name))
        });
        let called = |name: &str| self.named.get(name).map_or(&[][..], Vec::as_slice);
        let named = named.map(|(_, name)| called(name).iter().chain(called("")));
        let (mut cells, mut places) = (Vec::new(), Vec::new());
        for (layout, rows) in self.tables_of(host, table) {
            places.clear();
            places.extend(columns.iter().map(|column| layout.place(column)));
            let mut visit = |row: RowId| {
                let Some(row) = self.row(row) else { return };
                cells.clear();
                cells.extend(places.iter().map(|place| cell(row, (*place)?)));
                each(&cells);
            };
            match named.clone() {
                Some(named) => {
                    named.filter(|row| rows.binary_search(row).is_ok()).for_each(|row| visit(*row));
                }
                None => rows.iter().for_each(|row| visit(*row)),
            }
        }
    }

    /// Whether a host tells of a table, be it without rows.
    pub(super) fn tells(&self, host: &HostId, table: &str) -> bool {
        self.tables_of(host, table).next().is_some()
    }

    /// Whether a host tells of any table.
    pub(super) fn tells_anything(&self, host: &HostId) -> bool {
        self.facets_of(host).next().is_some()
    }

    /// How many rows of a table a host has.
    pub(super) fn rows(&self, host: &HostId, table: &str) -> usize {
        self.tables_of(host, table).map(|(_, rows)| rows.len()).sum()
    }

    /// Which of a host's facets has this table.
    pub(super) fn facet_with(&self, host: &HostId, table: &str) -> Option<FacetHash> {
        let has = |facet: &Facet| facet.tables.iter().any(|(id, _)| self.is_table(*id, table));
        self.facets_of(host).find(|(_, facet)| has(facet)).map(|(hash, _)| hash)
    }

    /// The tables that there are, by name.
    pub(super) fn tables(&self) -> BTreeMap<&str, Extent> {
        let mut tables: BTreeMap<&str, Extent> = BTreeMap::new();
        for facet in self.facets.values() {
            for (id, rows) in &facet.tables {
                let Some(layout) = self.known(*id) else { continue };
                let extent = tables.entry(&layout.table).or_default();
                extent.hosts += facet.hosts;
                extent.rows += u64::from(facet.hosts) * rows.len() as u64;
            }
        }
        tables
    }

    fn facets_of(&self, host: &HostId) -> impl Iterator<Item = (FacetHash, &Facet)> {
        let hashes = self.hosts.get(host).into_iter().flatten();
        hashes.filter_map(|hash| Some((*hash, self.facets.get(hash)?)))
    }

    fn tables_of<'a>(
        &'a self,
        host: &HostId,
        table: &str,
    ) -> impl Iterator<Item = (&'a Layout, &'a [RowId])> {
        let tables = self.facets_of(host).flat_map(|(_, facet)| &facet.tables);
        tables.filter_map(move |(id, rows)| {
            let layout = self.known(*id)?;
            (layout.table == table).then_some((layout, &**rows))
        })
    }

    fn is_table(&self, id: LayoutId, table: &str) -> bool {
        self.known(id).is_some_and(|layout| layout.table == table)
    }

    fn known(&self, id: LayoutId) -> Option<&Layout> {
        self.layouts.get(id as usize)?.as_ref()
    }

    fn row(&self, id: RowId) -> Option<&[u8]> {
        self.rows.get(id as usize)?.as_ref().map(|row| &*row.bytes)
    }

    fn cell(&self, id: RowId, column: &str) -> Option<&str> {
        let row = self.row(id)?;
        let place = self.known(layout_of(row)?)?.place(column)?;
        cell(row, place)
    }

    fn insert(&mut self, hash: FacetHash, tables: Tables, weight: usize) {
        if !self.has_room(weight) {
            let left_out = Facet { hosts: 0, tables: Box::default(), weight: 0, left_out: true };
            self.facets.insert(hash, left_out);
            return;
        }
        let mut lists = Vec::new();
        for table in tables.tables {
            let name_at =
                named_by(&table.name).and_then(|name| table.columns.iter().position(|column| column == name));
            let layout = self.layout(table.name, table.columns);
            let mut list = Vec::with_capacity(table.rows.len());
            for row in &table.rows {
                let (id, new) = self.intern(layout, row);
                if new && let Some(name) = name_at.and_then(|at| row.get(at)) {
                    match self.named.get_mut(name.as_str()) {
                        Some(rows) => rows.push(id),
                        None => drop(self.named.insert(name.as_str().into(), vec![id])),
                    }
                }
                list.push(id);
            }
            list.sort_unstable();
            list.dedup();
            for id in &list {
                if let Some(Some(row)) = self.rows.get_mut(*id as usize) {
                    row.facets += 1;
                }
            }
            lists.push((layout, list.into_boxed_slice()));
        }
        self.facets.insert(hash, Facet { hosts: 0, tables: lists.into(), weight, left_out: false });
    }

    /// The number of a layout, for one more facet. There are few: a table has as many as there are versions
    /// of it.
    fn layout(&mut self, table: String, columns: Vec<String>) -> LayoutId {
        let same = |known: &Layout| known.table == table && known.columns == columns;
        let found = self.layouts.iter().position(|known| known.as_ref().is_some_and(same));
        let at = found.unwrap_or_else(|| {
            let free = self.layouts.iter().position(Option::is_none).unwrap_or_else(|| {
                self.layouts.push(None);
                self.layouts.len() - 1
            });
            self.bytes += Layout::weight(&table, &columns);
            if let Some(slot) = self.layouts.get_mut(free) {
                *slot = Some(Layout { table, columns, facets: 0 });
            }
            free
        });
        if let Some(Some(layout)) = self.layouts.get_mut(at) {
            layout.facets += 1;
        }
        LayoutId::try_from(at).unwrap_or(LayoutId::MAX)
    }

    fn release_layout(&mut self, id: LayoutId) {
        let Some(slot) = self.layouts.get_mut(id as usize) else { return };
        let Some(layout) = slot else { return };
        layout.facets = layout.facets.saturating_sub(1);
        if layout.facets == 0 {
            self.bytes -= Layout::weight(&layout.table, &layout.columns);
            *slot = None;
        }
    }

    /// The number of a row, and whether it is new.
    fn intern(&mut self, layout: LayoutId, cells: &[String]) -> (RowId, bool) {
        let mut bytes = layout.to_le_bytes().to_vec();
        for cell in cells {
            bytes.extend(u32::try_from(cell.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(cell.as_bytes());
        }
        if let Some(id) = self.by_bytes.get(bytes.as_slice()) {
            return (*id, false);
        }
        let bytes: Arc<[u8]> = bytes.into();
        self.bytes += bytes.len() + ROW_COSTS;
        let row = Some(Row { bytes: Arc::clone(&bytes), facets: 0 });
        let id = self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            RowId::try_from(self.rows.len() - 1).unwrap_or(RowId::MAX)
        });
        if let Some(slot) = self.rows.get_mut(id as usize) {
            *slot = row;
        }
        self.by_bytes.insert(bytes, id);
        (id, true)
    }

    fn release(&mut self, facets: Option<Box<[FacetHash]>>) {
        for hash in facets.into_iter().flatten() {
            let Some(facet) = self.facets.get_mut(&hash) else { continue };
            facet.hosts = facet.hosts.saturating_sub(1);
            if facet.hosts == 0
                && let Some(facet) = self.facets.remove(&hash)
            {
                self.release_tables(facet.tables);
            }
        }
    }

    fn release_tables(&mut self, tables: Box<[(LayoutId, Box<[RowId]>)]>) {
        for (layout, rows) in tables {
            rows.into_iter().for_each(|id| self.release_row(id));
            self.release_layout(layout);
        }
    }

    fn release_row(&mut self, id: RowId) {
        let Some(slot) = self.rows.get_mut(id as usize) else { return };
        let Some(row) = slot else { return };
        row.facets = row.facets.saturating_sub(1);
        if row.facets > 0 {
            return;
        }
        let bytes = Arc::clone(&row.bytes);
        *slot = None;
        self.free.push(id);
        self.bytes -= bytes.len() + ROW_COSTS;
        self.by_bytes.remove(&bytes);
        let name = layout_of(&bytes)
            .and_then(|layout| self.known(layout))
            .and_then(|layout| layout.place(named_by(&layout.table)?))
            .and_then(|place| cell(&bytes, place));
        if let Some(name) = name
            && let Some(rows) = self.named.get_mut(name)
        {
            rows.retain(|row| *row != id);
            if rows.is_empty() {
                self.named.remove(name);
            }
        }
    }
}

/// The layout that a row begins with.
fn layout_of(row: &[u8]) -> Option<LayoutId> {
    row.first_chunk::<4>().map(|bytes| LayoutId::from_le_bytes(*bytes))
}

/// A row's cell in that place.
fn cell(row: &[u8], place: usize) -> Option<&str> {
    let mut rest = row.get(4..)?;
    for at in 0.. {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (cell, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        if at == place {
            return std::str::from_utf8(cell).ok();
        }
        rest = after;
    }
    None
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
