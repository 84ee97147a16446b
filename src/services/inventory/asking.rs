//! The agent's side: answers from the replica, by way of an index.
//!
//! Why the index is made when somebody asks: a fleet that never asks pays nothing for it. From then on each
//! question brings it up to date first, which is a comparison of hashes and the work of what changed since; so
//! no task listens to changes that nobody may ever ask about. After ten minutes without a question it is
//! dropped: whoever looks at a fleet looks more than once, and the first answer costs about a second for a
//! million packages.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, interval},
};

use super::index::{Index, PACKAGES};
use crate::{
    authority::{Host, Standing},
    control::{FoundRow, HostRow, PickError, Reply, TablePart, TypeRow, host_named},
    identity::HostId,
    replica::{FACET_NODE, FacetHash, FacetRef, Head, Known, Replica, Tables},
    selector::{Cells, Look, Path, Root, Rows, Selector, SelectorError, Subject, Wanted},
    store::Store,
    time::Timestamp,
};

/// How long an index is kept that nobody asks.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// How often that is looked at.
const IDLE_EVERY: Duration = Duration::from_secs(60);
/// Columns in an answer.
const COLUMNS_MAX: usize = 32;
/// Values of one host at one path; more are left out.
const VALUES_MAX: usize = 64;
/// Longest value and cell, in bytes; the rest is cut.
const VALUE_BYTES_MAX: usize = 1024;
/// Hosts in an answer.
const HOSTS_MAX: usize = 100_000;
/// Bytes of rows in one reply.
const REPLY_BYTES_MAX: usize = 256 * 1024;
/// Rows of a table that is shown along with all others.
const SHORT_ROWS_MAX: usize = 64;

/// What is searched for.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// The expression, as a selector.
    pub(super) expression: String,
    /// Paths whose values are wanted too.
    pub(super) columns: Vec<String>,
    /// How many hosts at most.
    pub(super) limit: u32,
}

#[derive(Debug)]
struct Held {
    index: Index,
    asked: Instant,
}

/// Answers questions about the fleet; clones share the index.
#[derive(Clone, Debug)]
pub struct Inventory {
    store: Store,
    held: Arc<Mutex<Option<Held>>>,
    /// One question at a time: each is a matter of milliseconds, and the threads are few.
    turn: Arc<Semaphore>,
}

impl Inventory {
    /// Answers from `store`.
    pub fn new(store: Store) -> Self {
        Self { store, held: Arc::default(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Drops the index when nobody has asked for long. Never ends.
    pub async fn tidy(self) {
        let mut tick = interval(IDLE_EVERY);
        loop {
            tick.tick().await;
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.as_ref().is_some_and(|held| held.asked.elapsed() > IDLE_MAX) {
                *held = None;
            }
        }
    }

    /// The members for which an expression is true, by name, as [`Reply::Found`]s, `limit` at most, each with
    /// its values at the paths that the expression looks at and those of `columns`. `seen` is how this agent sees
    /// the hosts.
    pub async fn search(
        &self,
        expression: String,
        columns: Vec<String>,
        limit: u32,
        seen: Vec<HostRow>,
    ) -> Vec<Reply> {
        let question = Question { expression, columns, limit };
        let store = self.store.clone();
        let answer =
            self.with_index(move |index| store.read(|replica| found(replica, index, &question, seen)));
        answer.await.unwrap_or_else(|error| vec![error])
    }

    #[cfg(test)]
    pub(super) fn is_built(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> String {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(|held| held.index.size()).unwrap_or_default()
    }

    /// Gives `count` every member, with all that is known of it and whether that is not all that it says.
    pub(super) async fn each_member<R: Send + 'static>(
        &self,
        count: impl FnOnce(&dyn Fn(&mut dyn FnMut(Member<'_>, bool))) -> R + Send + 'static,
    ) -> Result<R, Reply> {
        let store = self.store.clone();
        let asking = move |index: &Index| {
            store.read(|replica| {
                count(&|take| {
                    for host in replica.authority().members() {
                        let (id, known) = (host.id(), replica.known(host));
                        take(Asked { id, known, index }, index.is_left_out(&id));
                    }
                })
            })
        };
        self.with_index(asking).await
    }

    /// Which tables there are in the fleet.
    pub async fn types(&self) -> Reply {
        let answer = self.with_index(|index| {
            let row = |(name, extent): (&str, super::index::Extent)| TypeRow {
                name: clipped(name),
                hosts: extent.hosts,
                rows: extent.rows,
            };
            Reply::Types { types: index.tables().into_iter().map(row).take(HOSTS_MAX).collect() }
        });
        answer.await.unwrap_or_else(|error| error)
    }

    /// What one host says of itself, as [`Reply::Tables`]s. Needs no index.
    pub fn show(&self, host: &str, table: Option<&str>, seen: &[HostRow]) -> Vec<Reply> {
        self.store.read(|replica| match host_named(replica, host) {
            Ok(host) => shown(replica, host, table, seen),
            Err(PickError::NoSuch { near, .. }) => {
                vec![Reply::NoSuchHost { near, candidates: Vec::new() }]
            }
            Err(PickError::Ambiguous { candidates, .. }) => {
                vec![Reply::NoSuchHost { near: None, candidates }]
            }
            Err(other) => vec![no(&other)],
        })
    }

    /// Asks the index, brought up to date, on a thread that may take its time.
    async fn with_index<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&Index) -> R + Send + 'static,
    ) -> Result<R, Reply> {
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|error| no(&error))?;
        let (store, held) = (self.store.clone(), Arc::clone(&self.held));
        let asking = move || {
            let _turn = turn;
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            let held = held.get_or_insert_with(|| Held { index: Index::default(), asked: Instant::now() });
            held.asked = Instant::now();
            catch_up(&mut held.index, &store);
            ask(&held.index)
        };
        tokio::task::spawn_blocking(asking).await.map_err(|error| no(&error))
    }
}

fn no(why: &dyn std::fmt::Display) -> Reply {
    Reply::Error { why: why.to_string(), refused: false }
}

/// The facets of a head that are tables.
fn tables_in(head: Option<&Head>) -> impl Iterator<Item = &FacetRef> {
    head.into_iter().flat_map(|head| &head.facets).filter(|facet| facet.name != FACET_NODE)
}

fn head<'a>(replica: &'a Replica, host: &HostId) -> Option<&'a Head> {
    replica.head(host).map(crate::identity::Signed::body)
}

/// Brings an index up to date. The store is locked for one host at a time.
fn catch_up(index: &mut Index, store: &Store) {
    let (stale, gone) = store.read(|replica| {
        let is_current =
            |id: &HostId| index.is_current(id, tables_in(head(replica, id)).map(|facet| facet.hash));
        let stale: Vec<HostId> =
            replica.authority().members().map(Host::id).filter(|id| !is_current(id)).collect();
        let is_gone = |id: &&HostId| {
            replica.authority().host(id).is_none_or(|host| host.standing() != Standing::Member)
        };
        (stale, index.hosts().filter(is_gone).copied().collect::<Vec<_>>())
    });
    for id in gone {
        index.remove(&id);
    }
    for id in stale {
        // Hashes and bytes under one lock: they are of one head.
        let facets: Vec<(FacetHash, Option<Vec<u8>>)> = store.read(|replica| {
            let facet = |facet: &FacetRef| {
                let known = index.has(&facet.hash);
                let bytes =
                    if known { None } else { replica.facet(&id, &facet.name).map(|(_, bytes)| bytes) };
                (facet.hash, bytes)
            };
            tables_in(head(replica, &id)).map(facet).collect()
        });
        let hashes: Vec<FacetHash> = facets.iter().map(|(hash, _)| *hash).collect();
        index.set(id, &hashes, |wanted| {
            let (_, bytes) = facets.iter().find(|(hash, _)| hash == wanted)?;
            Tables::read(bytes.as_ref()?).ok()
        });
    }
}

/// A path as it is written: what stands in a selector after `has`.
pub(super) fn path(text: &str) -> Result<Path, SelectorError> {
    const HAS: &str = "has ";
    let example = || Some("such as tag.role, deb.openssl or fact.os_version.name".to_owned());
    if text.trim().is_empty() {
        let position = crate::selector::Position { offset: 0, length: 1 };
        return Err(SelectorError {
            position,
            message: "a path is missing here".to_owned(),
            hint: example(),
        });
    }
    let selector = Selector::parse(&format!("{HAS}{text}")).map_err(|mut error| {
        error.position.offset = error.position.offset.saturating_sub(HAS.len());
        error
    })?;
    match selector.paths().as_slice() {
        [path] if selector.to_string() == format!("{HAS}{path}") => Ok((*path).clone()),
        _ => {
            let length = text.len();
            let position = crate::selector::Position { offset: 0, length };
            Err(SelectorError { position, message: "a column is one path".to_owned(), hint: example() })
        }
    }
}

/// A member with all that is known of it.
pub(super) type Member<'a> = Asked<'a, Known<'a>>;

/// A host with all that is known of it, its tables by the index.
pub(super) struct Asked<'a, S> {
    id: HostId,
    known: S,
    index: &'a Index,
}

impl<S> Asked<'_, S> {
    /// Whether the host tells of a table. A machine without dpkg tells no packages of dpkg: it has none. Of
    /// other tables nothing is known until something is told.
    fn tells(&self, table: &str) -> bool {
        self.index.tells(&self.id, table)
            || (table == PACKAGES && self.index.tells_anything(&self.id) && !self.index.is_left_out(&self.id))
    }
}

impl<S: Subject> Subject for Asked<'_, S> {
    fn look(&self, path: &Path) -> Look<'_> {
        let (table, found) = match (path.deb(), path.fact()) {
            (Some(name), _) => {
                let mut versions: Vec<&str> =
                    self.index.package(&self.id, name).map(|(version, _)| version).collect();
                versions.sort_unstable();
                versions.dedup();
                (PACKAGES, Look::any(versions))
            }
            (_, Some((table, Some(column)))) => {
                (table, Look::any(self.index.column(&self.id, table, column)))
            }
            (_, Some((table, None))) => match self.index.rows(&self.id, table) {
                0 => (table, Look::Absent),
                rows => (table, Look::Value(rows.to_string().into())),
            },
            _ if path.tables().next().is_some() => return path.look_in(self),
            _ => return self.known.look(path),
        };
        // Who has said nothing of it has not said that nothing is there.
        if found == Look::Absent && !self.tells(table) { Look::Unknown } else { found }
    }

    fn rows(&self, wanted: &Wanted<'_>) -> Rows<'_> {
        let mut cells = Cells::of(wanted);
        self.index.cells(&self.id, wanted.table, wanted.columns, wanted.only, |row| cells.push(row));
        if !cells.is_empty() || self.tells(wanted.table) { Rows::Known(cells) } else { Rows::Unknown }
    }
}

/// Which facet says what stands at a path.
fn changed(head: &Head, index: &Index, host: &HostId, path: &Path) -> Option<Timestamp> {
    let at = |is: &dyn Fn(&FacetRef) -> bool| head.facets.iter().find(|facet| is(facet))?.at;
    if path.root() == Root::Agent {
        return at(&|facet| facet.name == FACET_NODE);
    }
    let facet = |table| index.facet_with(host, table);
    path.tables().filter_map(facet).filter_map(|hash| at(&|facet| facet.hash == hash)).max()
}

fn found(replica: &Replica, index: &Index, question: &Question, seen: Vec<HostRow>) -> Vec<Reply> {
    let selector = match Selector::parse(&question.expression) {
        Ok(selector) => selector,
        Err(error) => return vec![no(&error)],
    };
    let mut paths: Vec<Path> = selector.paths().into_iter().cloned().collect();
    for column in question.columns.iter().take(COLUMNS_MAX) {
        match path(column) {
            Ok(path) if paths.contains(&path) => {}
            Ok(path) => paths.push(path),
            Err(error) => return vec![no(&error)],
        }
    }
    paths.retain(|path| !matches!(path.root(), Root::Name | Root::Id));
    paths.truncate(COLUMNS_MAX);

    let mut seen: HashMap<HostId, HostRow> = seen.into_iter().map(|row| (row.host, row)).collect();
    let mut hosts: Vec<&Host> = replica.authority().members().collect();
    hosts.sort_by(|a, b| a.name().cmp(b.name()).then(a.id().cmp(&b.id())));
    let limit = usize::try_from(question.limit).unwrap_or(usize::MAX).min(HOSTS_MAX);
    let (mut rows, mut left_out, mut cut) = (Vec::new(), 0, false);
    for host in hosts {
        let id = host.id();
        left_out += u32::from(index.is_left_out(&id));
        let asked = Asked { id, known: replica.known(host), index };
        if !selector.selects(&asked) {
            continue;
        }
        if rows.len() == limit {
            cut = true;
            break;
        }
        let head = head(replica, &id);
        let ages = paths.iter().filter_map(|path| changed(head?, index, &id, path));
        rows.push(FoundRow {
            about: seen.remove(&id).unwrap_or_else(|| unseen(id)),
            name: host.name().to_owned(),
            values: paths.iter().map(|path| values(asked.look(path))).collect(),
            changed: ages.max(),
        });
    }
    let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
    let parts =
        in_parts(rows, |row| 128 + row.values.iter().flatten().map(|value| value.len() + 8).sum::<usize>());
    let last = parts.len() - 1;
    let reply = |(at, rows): (usize, Vec<FoundRow>)| Reply::Found {
        paths: paths.clone(),
        rows,
        left_out,
        cut,
        more: at < last,
    };
    parts.into_iter().enumerate().map(reply).collect()
}

fn unseen(host: HostId) -> HostRow {
    HostRow { host, state: "unknown".to_owned(), seen: None, since: None, witnesses: None }
}

fn values(look: Look<'_>) -> Vec<String> {
    match look {
        Look::Value(value) => vec![clipped(&value)],
        Look::Values(values) => values.iter().take(VALUES_MAX).map(|value| clipped(value)).collect(),
        Look::Conflict => vec!["<conflict>".to_owned()],
        Look::Absent | Look::Unknown | Look::Undecided => Vec::new(),
    }
}

fn clipped(text: &str) -> String {
    let end = (0..=VALUE_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// Cuts rows into parts of bounded size; there is at least one part.
fn in_parts<T>(rows: Vec<T>, weight: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for row in rows {
        let more = weight(&row);
        if bytes + more > REPLY_BYTES_MAX && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += more;
        part.push(row);
    }
    parts.push(part);
    parts
}

fn shown(replica: &Replica, host: &Host, only: Option<&str>, seen: &[HostRow]) -> Vec<Reply> {
    let id = host.id();
    let about = seen.iter().find(|row| row.host == id).cloned().unwrap_or_else(|| unseen(id));
    let mut parts = Vec::new();
    for facet in tables_in(head(replica, &id)) {
        let read = replica.facet(&id, &facet.name).and_then(|(_, bytes)| Tables::read(&bytes).ok());
        for table in read.unwrap_or_default().tables {
            if only.is_some_and(|name| name != table.name) {
                continue;
            }
            let all = u32::try_from(table.rows.len()).unwrap_or(u32::MAX);
            let whole = only.is_some() || table.rows.len() <= SHORT_ROWS_MAX;
            let clip = |row: Vec<String>| row.iter().map(|cell| clipped(cell)).collect::<Vec<_>>();
            let rows = if whole { table.rows.into_iter().map(clip).collect() } else { Vec::new() };
            let (name, columns) = (clipped(&table.name), clip(table.columns));
            for rows in in_parts(rows, |row| row.iter().map(|cell| cell.len() + 8).sum()) {
                let (name, columns) = (name.clone(), columns.clone());
                parts.push(TablePart { name, columns, rows, all, changed: facet.at });
            }
        }
    }
    let weigh = |part: &TablePart| {
        let rows = part.rows.iter().flatten().chain(&part.columns);
        128 + rows.map(|cell| cell.len() + 8).sum::<usize>()
    };
    let replies = in_parts(parts, weigh);
    let last = replies.len() - 1;
    let reply = |(at, tables): (usize, Vec<TablePart>)| Reply::Tables {
        about: about.clone(),
        name: host.name().to_owned(),
        tables,
        more: at < last,
    };
    replies.into_iter().enumerate().map(reply).collect()
}
