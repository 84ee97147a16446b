//! The one owner of the replica: readers look at it under a short lock, writers merge, a thread of its
//! own writes to disk in groups.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::broadcast;
use tracing::debug;

use super::{
    backend::{Backend, Row},
    kept::Kept,
    writer::Writer,
};
use crate::{
    authority::Refusal,
    identity::{EntryId, HostId, peek},
    replica::{self, Entry, FacetHash, Item, Merged, Packed, Place, Replica, Report},
    time::Timestamp,
    wire,
};

/// Changes that a slow reader may be behind before it has to compare instead.
const CHANGES_MAX: usize = 256;
/// Longest row, in bytes.
const ROW_BYTES_MAX: usize = 1024 * 1024;

/// Entries that were merged and were new.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which neighbour they came from; none if they were made or handed over here.
    pub from: Option<HostId>,
    /// The entries.
    pub items: Arc<Vec<(EntryId, Item)>>,
}

/// What came of merging what a neighbour sent.
#[derive(Debug)]
pub struct Merging {
    /// What was new.
    pub new: Vec<(EntryId, Item)>,
    /// Why the last of those that were not taken was not.
    pub refusal: Option<String>,
    /// Whether one had a signature that does not match: nobody who verifies what it takes sends that.
    pub forged: bool,
    /// How many were not taken that the sender should not have taken either, as far as is known here.
    pub unfit: usize,
}

#[derive(Debug)]
struct State {
    replica: Replica,
    kept: Kept,
    refused: HashMap<&'static str, u64>,
}

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    state: Arc<RwLock<State>>,
    changes: broadcast::Sender<Change>,
    writer: Arc<Writer>,
    problems: Arc<Vec<String>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// A head's row is its host's, so that a new one replaces the old; the others have one each.
fn entry_key(entry: &Entry) -> Vec<u8> {
    match entry.place() {
        Place::Head { host, .. } => [&b"h"[..], &host.0].concat(),
        Place::Set(_) | Place::Op { .. } => id_key(&entry.id()),
    }
}

fn facet_key(hash: &FacetHash) -> Vec<u8> {
    [&b"f"[..], &hash.0].concat()
}

fn facet_rows(replica: &mut Replica) -> impl Iterator<Item = Row> {
    let changes = replica.take_facet_changes().into_iter();
    changes.map(|(hash, packed)| (facet_key(&hash), packed.map(|packed| wire::encode(&packed))))
}

fn id_key(id: &EntryId) -> Vec<u8> {
    [&b"e"[..], &id.0].concat()
}

impl Store {
    /// Loads what `backend` holds into `replica`, which knows the root chain already, and starts the
    /// thread that writes. `first` is what else is known from the start (what the host was told when it
    /// joined). `aside` is where a damaged store went.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn start(
        mut replica: Replica,
        mut backend: impl Backend + 'static,
        first: &[Item],
        aside: Option<PathBuf>,
        now: Timestamp,
    ) -> Result<Self, super::StoreError> {
        let mut problems = Vec::new();
        if let Some(aside) = aside {
            problems.push(format!(
                "the store was damaged; it was moved to {} and is fetched again",
                aside.display()
            ));
        }
        let (rows, mut damaged) = backend.load()?;
        let mut kept = Kept::default();
        let mut entries: Vec<(Option<Vec<u8>>, Entry, Vec<Packed>)> = Vec::new();
        let mut facets: Vec<(FacetHash, Packed)> = Vec::new();
        let mut writes: Vec<Row> = Vec::new();
        for (key, value) in rows {
            match key.first() {
                Some(b'e' | b'h') => match Entry::verify(&value, replica.fleet()) {
                    Ok(entry) => entries.push((Some(key), entry, Vec::new())),
                    Err(_) => damaged += 1,
                },
                Some(b'f') => match read_facet(&key, &value) {
                    Some(facet) => facets.push(facet),
                    None => damaged += 1,
                },
                Some(b'r') => match wire::decode::<Report>(&value, ROW_BYTES_MAX) {
                    Ok(report) => kept.load(report),
                    Err(_) => damaged += 1,
                },
                _ => damaged += 1,
            }
        }
        for item in first {
            if let Ok(entry) = Entry::verify(&item.entry.0, replica.fleet()) {
                writes.push((entry_key(&entry), Some(item.entry.0.clone())));
                entries.push((None, entry, item.facets.clone()));
            }
        }
        let unreadable = replica.restore_facets(facets);
        damaged += unreadable.len();
        writes.extend(unreadable.iter().map(|hash| (facet_key(hash), None)));
        entries.sort_by_key(|(_, entry, _)| (entry.rank(), sequence(entry)));
        let mut ends = Vec::new();
        for (key, entry, facets) in entries {
            let id = entry.id();
            match replica.merge(entry, &facets) {
                Ok(_) => ends.extend(key.map(|key| (key, id))),
                // Its row stays: what it needs may be among those that were damaged, and comes again.
                Err(refusal) => debug!(%refusal, "an entry of the store does not hold now"),
            }
        }
        // A head that lacks a facet now was not taken, and is fetched again.
        replica.drop_unnamed_facets();
        writes.extend(facet_rows(&mut replica));
        let past = replica.sweep(now);
        writes.extend(kept.sweep(&past, &replica, now));
        // What was superseded or is past has no row any more.
        let superseded = ends.into_iter().filter(|(_, id)| !replica.holds(id));
        writes.extend(superseded.map(|(key, _)| (key, None)));
        if damaged > 0 {
            problems.push(format!("{damaged} rows of the store were damaged and are fetched again"));
        }
        let store = Self {
            state: Arc::new(RwLock::new(State { replica, kept, refused: HashMap::new() })),
            changes: broadcast::channel(CHANGES_MAX).0,
            writer: Arc::new(Writer::start(backend)?),
            problems: Arc::new(problems),
        };
        store.writer.write(writes);
        Ok(store)
    }

    /// Looks at the replica. The closure must be short: writers wait.
    pub fn read<R>(&self, look: impl FnOnce(&Replica) -> R) -> R {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner).replica)
    }

    /// Verifies entries, merges them, and announces those that were new. What is not taken is counted by
    /// its reason; the last refusal is returned beside.
    pub fn merge(
        &self,
        from: Option<HostId>,
        items: Vec<Item>,
        now: Timestamp,
    ) -> (Vec<(EntryId, Item)>, Option<String>) {
        let merging = self.merge_judged(from, items, now);
        (merging.new, merging.refusal)
    }

    /// As [`Store::merge`], and says what to think of who sent them. Nothing after a forged entry is
    /// looked at.
    pub fn merge_judged(&self, from: Option<HostId>, items: Vec<Item>, now: Timestamp) -> Merging {
        let fleet = self.read(Replica::fleet);
        let mut refusal = None;
        let mut verified = Vec::new();
        let mut refused = Vec::new();
        let (mut forged, mut unfit) = (false, 0);
        // What several neighbours sent at once is held by the time that the second is looked at: a signature
        // is checked once.
        let held = |item: &Item| {
            peek(&item.entry.0).is_ok_and(|header| self.read(|replica| replica.holds(&header.id)))
        };
        for item in items.into_iter().filter(|item| !held(item)) {
            match Entry::verify(&item.entry.0, fleet) {
                Ok(entry) if Replica::is_past(entry.expires(), now) => refused.push("expired"),
                Ok(entry) => verified.push((entry, item)),
                Err(error) => {
                    unfit += usize::from(!error.is_newer());
                    forged = error.is_forged();
                    refused.push(if forged { "forged" } else { "not_verified" });
                    refusal = Some(error.to_string());
                    if forged {
                        break;
                    }
                }
            }
        }
        let mut new = Vec::new();
        let mut rows = Vec::new();
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for (entry, item) in verified {
                let key = entry_key(&entry);
                let (id, order) = (entry.id(), matches!(entry, Entry::Order(_)));
                match state.replica.merge(entry, &item.facets) {
                    Ok(Merged::New | Merged::Forked) => {
                        rows.push((key, Some(item.entry.0.clone())));
                        new.push((id, item));
                    }
                    Ok(Merged::Known) => {}
                    Err(error) => {
                        // Full tables are nobody's fault.
                        unfit += usize::from(!matches!(error, Refusal::TooMany { .. }));
                        refused.push(if order { "order_refused" } else { reason(&error) });
                        refusal = Some(error.to_string());
                    }
                }
            }
            rows.extend(facet_rows(&mut state.replica));
            for reason in refused {
                *state.refused.entry(reason).or_default() += 1;
            }
        }
        if !new.is_empty() {
            self.writer.write(rows);
            // Nobody listening is no error.
            let _listeners = self.changes.send(Change { from, items: Arc::new(new.clone()) });
        }
        Merging { new, refusal, forged, unfit }
    }

    /// Keeps reports for their issuer; returns those that were not held already, and what is held of
    /// those that came.
    ///
    /// The first report on an order by a host is kept as it comes. Where a second one differs, one of
    /// them may be forged: then both are verified, and what does not verify makes room.
    pub fn keep(&self, reports: Vec<Report>) -> (Vec<Report>, Vec<replica::Kept>) {
        let (mut new, mut holds, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let State { replica, kept, refused } = &mut *state;
            for report in reports {
                match kept.keep(&report, replica, &mut rows) {
                    Ok(is_new) => {
                        holds.push(report.kept());
                        if is_new {
                            new.push(report);
                        }
                    }
                    Err(reason) => *refused.entry(reason).or_default() += 1,
                }
            }
        }
        self.writer.write(rows);
        (new, holds)
    }

    /// The reports kept for an order.
    pub fn kept(&self, order: &EntryId) -> Vec<Report> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).kept.of(order)
    }

    /// Which hosts' reports on which orders are kept.
    pub fn kept_keys(&self) -> Vec<(EntryId, HostId)> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).kept.keys()
    }

    /// Forgets what expired long ago, on disk as well.
    pub fn sweep(&self, now: Timestamp) {
        let rows = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let State { replica, kept, .. } = &mut *state;
            let past = replica.sweep(now);
            let mut rows = kept.sweep(&past, replica, now);
            rows.extend(past.iter().map(|id| (id_key(id), None)));
            rows
        };
        self.writer.write(rows);
    }

    /// Hears of every change from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// What was wrong with the store when it was opened.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.to_vec();
        if let Some(error) = self.writer.error() {
            problems.push(format!("the store cannot be written: {error}"));
        }
        problems
    }

    /// How many entries were not taken, by reason.
    pub fn refused(&self) -> Vec<(String, u64)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.refused.iter().map(|(reason, count)| (format!("entries_refused_{reason}"), *count)).collect()
    }

    /// Waits until everything that was written before is on disk. Safe to drop.
    ///
    /// # Errors
    /// When the disk refused. It is tried again, but what asked must not count on it.
    pub async fn flushed(&self) -> Result<(), String> {
        self.writer.flushed().await
    }
}

fn sequence(entry: &Entry) -> u64 {
    match entry {
        Entry::Op(op) => op.body().sequence,
        Entry::Root(update) => u64::from(update.body().sequence),
        _ => 0,
    }
}

fn reason(refusal: &Refusal) -> &'static str {
    if matches!(refusal, Refusal::Gap) { "gap" } else { "no_right" }
}

fn read_facet(key: &[u8], value: &[u8]) -> Option<(FacetHash, Packed)> {
    let hash = key.get(1..)?.try_into().ok()?;
    Some((FacetHash(hash), wire::decode(value, ROW_BYTES_MAX).ok()?))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
