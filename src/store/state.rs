//! The one owner of the replica: readers look at it under a short lock, writers merge, a thread of its
//! own writes to disk in groups.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::{broadcast, watch};

use super::{
    backend::{Backend, Row},
    check::{Check, check},
    kept::Kept,
    keys::{all_rows, entry_key, facet_rows, id_key, list_rows, seen_rows},
    restore::{Restored, restore},
    writer::Writer,
};
use crate::{
    authority::{Authority, ListId, MemberList, Refusal},
    identity::{EntryId, HostId, peek},
    replica::{self, Arrived, Entry, Item, Merged, Replica, Report, first_hour},
    time::Timestamp,
    wire::Bytes,
};

/// Changes that a slow reader may be behind before it has to compare instead.
const CHANGES_MAX: usize = 256;
/// How often a check begins again because something was merged in the middle of it.
const CHECK_TRIES: u32 = 8;

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
    lists: watch::Sender<u64>,
    writer: Arc<Writer>,
    problems: Arc<Vec<String>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Loads what `backend` holds into `replica`, which knows the root chain already, and starts the
    /// thread that writes. `first` is what else is known from the start (what the host was told when it
    /// joined). `aside` is where a damaged store went.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn start(
        replica: Replica,
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
        let Restored { replica, kept, damaged, writes, .. } = restore(replica, backend.load()?, first, now);
        if !damaged.is_empty() {
            problems.push(format!("{} rows of the store were damaged and are fetched again", damaged.len()));
        }
        let state = Arc::new(RwLock::new(State { replica, kept, refused: HashMap::new() }));
        let held = Arc::clone(&state);
        let all = move || {
            let state = held.read().unwrap_or_else(PoisonError::into_inner);
            all_rows(&state.replica).into_iter().chain(state.kept.rows()).collect()
        };
        let store = Self {
            state,
            changes: broadcast::channel(CHANGES_MAX).0,
            lists: watch::Sender::new(0),
            writer: Arc::new(Writer::start(backend, all)?),
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
        let items = items.into_iter().map(Arrived::from).collect();
        let merging = self.merge_judged(from, items, now);
        (merging.new, merging.refusal)
    }

    /// As [`Store::merge`], and says what to think of who sent them. Nothing after a forged entry is
    /// looked at.
    pub fn merge_judged(&self, from: Option<HostId>, items: Vec<Arrived>, now: Timestamp) -> Merging {
        let fleet = self.read(Replica::fleet);
        let mut refusal = None;
        let mut verified = Vec::new();
        let mut refused = Vec::new();
        let (mut forged, mut unfit) = (false, 0);
        // What several neighbours sent at once is held by the time that the second is looked at: a signature
        // is checked once.
        let held = |arrived: &Arrived| {
            peek(&arrived.item().entry.0).is_ok_and(|header| self.read(|replica| replica.holds(&header.id)))
        };
        for arrived in items.into_iter().filter(|arrived| !held(arrived)) {
            match arrived.verify(fleet) {
                Ok((entry, _)) if Replica::is_past(entry.expires(), now) => refused.push("expired"),
                Ok(verified_item) => verified.push(verified_item),
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
        let mut found = Vec::new();
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
            for proof in state.replica.take_proofs() {
                let (id, bytes) = (proof.id(), Bytes::from(proof.bytes()));
                let merged = state.replica.merge(Entry::Equivocation(Box::new(proof)), &[]);
                if matches!(merged, Ok(Merged::New)) {
                    rows.push((id_key(&id), Some(bytes.0.clone())));
                    found.push((id, Item { entry: bytes, facets: Vec::new() }));
                }
            }
            rows.extend(facet_rows(&mut state.replica));
            rows.extend(list_rows(&mut state.replica));
            for reason in refused {
                *state.refused.entry(reason).or_default() += 1;
            }
        }
        if !(new.is_empty() && found.is_empty()) {
            self.writer.write(rows);
            // Nobody listening is no error.
            let _listeners = self.changes.send(Change { from, items: Arc::new(new.clone()) });
        }
        if !found.is_empty() {
            // Found here, whoever sent what it was found in.
            let _listeners = self.changes.send(Change { from: None, items: Arc::new(found) });
        }
        Merging { new, refusal, forged, unfit }
    }

    /// Keeps a list of hosts that orders may mark some of, if there is room for it; who waits for one hears of it.
    pub fn keep_list(&self, list: MemberList) -> bool {
        let (kept, rows) = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let kept = state.replica.keep_list(Arc::new(list));
            (kept, list_rows(&mut state.replica).collect())
        };
        self.writer.write(rows);
        self.lists.send_if_modified(|lists| {
            *lists += u64::from(kept);
            kept
        });
        kept
    }

    /// Whether a list is held. That of the members as they are now is.
    pub fn has_list(&self, id: &ListId) -> bool {
        if self.read(|replica| replica.list(id).is_some()) {
            return true;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.replica.own_list().is_ok_and(|list| list.id() == *id)
    }

    /// Counts the lists that came by themselves: their orders may have been here before.
    pub fn lists(&self) -> watch::Receiver<u64> {
        self.lists.subscribe()
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
            let seen = replica.wait(now);
            let past = replica.sweep(now);
            let mut rows = kept.sweep(&past, replica, now);
            rows.extend(past.iter().map(|id| (id_key(id), None)));
            rows.extend(list_rows(replica));
            rows.extend(seen_rows(replica, &seen));
            rows
        };
        self.writer.write(rows);
    }

    /// Lets recoveries of the roots count that have waited long enough by this clock. Looks and no more where none
    /// waits.
    pub fn wait(&self, now: Timestamp) {
        if self.read(|replica| replica.authority().chain().recoveries().next().is_none()) {
            return;
        }
        let rows = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let seen = state.replica.wait(now);
            seen_rows(&state.replica, &seen)
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
        if let Some(aside) = self.writer.aside() {
            let name = aside.file_name().unwrap_or(aside.as_os_str()).display().to_string();
            problems.push(format!(
                "the store was damaged; it was moved to {name} beside it, and is written anew"
            ));
        }
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

    fn all_rows(&self) -> Vec<Row> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        all_rows(&state.replica).into_iter().chain(state.kept.rows()).collect()
    }

    /// Reads all that is on disk and compares it with what is held; writes that again if the disk is damaged.
    /// Safe to drop.
    ///
    /// # Errors
    /// When the disk cannot be written or read.
    pub async fn check(&self, now: Timestamp) -> Result<Check, String> {
        let mut tries = 0;
        loop {
            tries += 1;
            let before = self.read(Replica::version);
            let (rows, disk_bytes) = self.writer.read().await?;
            let chain = self.read(|replica| replica.authority().chain().clone());
            let checking = tokio::task::spawn_blocking(move || {
                check(Replica::new(Authority::new(chain)), rows, disk_bytes, now)
            });
            let (mut found, roots) = checking.await.map_err(|error| error.to_string())?;
            let (held, version) = self.read(|replica| (replica.roots(first_hour(now)), replica.version()));
            let same = held == roots;
            // What differs may be on its way to the disk.
            if same || tries >= CHECK_TRIES {
                found.as_held = (same || version == before).then_some(same);
                if !found.is_whole() {
                    let gone = found.damaged.iter().map(|finding| (finding.key.clone(), None));
                    self.writer.write(gone.chain(self.all_rows()).collect());
                }
                return Ok(found);
            }
        }
    }
}

fn reason(refusal: &Refusal) -> &'static str {
    if matches!(refusal, Refusal::Gap) { "gap" } else { "no_right" }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
