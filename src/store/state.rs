//! The one owner of the replica: readers look at it under a short lock, writers merge, a thread of its
//! own writes to disk in groups.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        mpsc::{self, TrySendError},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep},
};
use tracing::{debug, warn};

use super::backend::{Backend, Row};
use crate::{
    authority::Refusal,
    identity::{EntryId, HostId, Signed},
    replica::{Entry, Item, Kept, Merged, Output, Place, Replica, Report, ResultRecord},
    time::Timestamp,
    wire::{self, Bytes},
};

/// Changes that a slow reader may be behind before it has to compare instead.
const CHANGES_MAX: usize = 1024;
/// Rows on their way to the disk.
const WRITES_MAX: usize = 4096;
/// Rows that wait for a disk that refuses; over that they are in memory only.
const UNWRITTEN_MAX: usize = 65_536;
/// Rows are gathered for so long before they are written together, unless somebody waits for them: what was
/// acknowledged to nobody can be fetched again, and the disk is left to the executor while an order runs.
const GATHER: Duration = Duration::from_secs(1);
/// With so many rows they are written sooner.
const GATHERED_MAX: usize = 4096;
/// Between two tries to say that somebody waits, where the queue is full.
const TRY_AGAIN: Duration = Duration::from_millis(5);
/// Different reports on one order by one host that are kept: which one is true is for the issuer to say.
const REPORTS_A_HOST_MAX: usize = 4;
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
    /// Reports kept for issuers.
    kept: BTreeMap<EntryId, BTreeMap<HostId, Vec<Report>>>,
    refused: HashMap<&'static str, u64>,
}

enum Write {
    Rows(Vec<Row>),
    Mark(u64),
}

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    state: Arc<RwLock<State>>,
    changes: broadcast::Sender<Change>,
    writes: mpsc::SyncSender<Write>,
    marked: Arc<std::sync::atomic::AtomicU64>,
    flushed: watch::Receiver<Flushed>,
    problems: Arc<Vec<String>>,
}

#[derive(Clone, Debug, Default)]
struct Flushed {
    mark: u64,
    error: Option<String>,
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

fn id_key(id: &EntryId) -> Vec<u8> {
    [&b"e"[..], &id.0].concat()
}

fn report_key(report: &Report) -> Vec<u8> {
    let mut key = vec![b'r'];
    key.extend_from_slice(&report.order.0);
    key.extend_from_slice(&report.host.0);
    key.extend(blake3::hash(&report.record.0).as_bytes().iter().take(8));
    key
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
        let mut kept: BTreeMap<EntryId, BTreeMap<HostId, Vec<Report>>> = BTreeMap::new();
        let mut entries: Vec<(Entry, Vec<Bytes>)> = Vec::new();
        let mut fresh = Vec::new();
        for (key, value) in rows {
            match key.first() {
                Some(b'e' | b'h') => match read_item(&value, &replica) {
                    Some(entry) => entries.push(entry),
                    None => damaged += 1,
                },
                Some(b'r') => match wire::decode::<Report>(&value, ROW_BYTES_MAX) {
                    Ok(report) => {
                        kept.entry(report.order).or_default().entry(report.host).or_default().push(report);
                    }
                    Err(_) => damaged += 1,
                },
                _ => damaged += 1,
            }
        }
        for item in first {
            if let Ok(entry) = Entry::verify(&item.entry.0, replica.fleet()) {
                fresh.push((entry_key(&entry), Some(wire::encode(item))));
                entries.push((entry, item.facets.clone()));
            }
        }
        entries.sort_by_key(|(entry, _)| (entry.rank(), sequence(entry)));
        for (entry, facets) in entries {
            if let Err(refusal) = replica.merge(entry, &facets) {
                debug!(%refusal, "an entry of the store no longer holds");
            }
        }
        replica.sweep(now);
        if damaged > 0 {
            problems.push(format!("{damaged} rows of the store were damaged and are fetched again"));
        }
        let (writes, rows_to_write) = mpsc::sync_channel(WRITES_MAX);
        let (flushed_by, flushed) = watch::channel(Flushed::default());
        thread::Builder::new()
            .name("store".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || write_in_groups(backend, &rows_to_write, &flushed_by))?;
        let store = Self {
            state: Arc::new(RwLock::new(State { replica, kept, refused: HashMap::new() })),
            changes: broadcast::channel(CHANGES_MAX).0,
            writes,
            marked: Arc::default(),
            flushed,
            problems: Arc::new(problems),
        };
        store.write(fresh);
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
        for item in items {
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
                        rows.push((key, Some(wire::encode(&item))));
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
            for reason in refused {
                *state.refused.entry(reason).or_default() += 1;
            }
        }
        if !new.is_empty() {
            self.write(rows);
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
    pub fn keep(&self, reports: Vec<Report>) -> (Vec<Report>, Vec<Kept>) {
        let (mut new, mut holds, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let State { replica, kept, .. } = &mut *state;
            for report in reports {
                let held = kept.entry(report.order).or_default().entry(report.host).or_default();
                holds.push(report.kept());
                match held.iter().position(|other| other.record == report.record) {
                    // Output is outside of the signature and proves itself by its hash.
                    Some(at) if held.get(at).is_some_and(has_its_output) || !has_its_output(&report) => {
                        continue;
                    }
                    Some(at) => drop(held.swap_remove(at)),
                    None if held.is_empty() => {}
                    None => {
                        let forged = held.extract_if(.., |other| !verifies(replica, other));
                        rows.extend(forged.map(|report| (report_key(&report), None)));
                        if held.len() >= REPORTS_A_HOST_MAX || !verifies(replica, &report) {
                            holds.pop();
                            continue;
                        }
                    }
                }
                held.push(report.clone());
                rows.push((report_key(&report), Some(wire::encode(&report))));
                new.push(report);
            }
        }
        self.write(rows);
        (new, holds)
    }

    /// The reports kept for an order.
    pub fn kept(&self, order: &EntryId) -> Vec<Report> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.kept.get(order).map(|hosts| hosts.values().flatten().cloned().collect()).unwrap_or_default()
    }

    /// Forgets what expired long ago, on disk as well.
    pub fn sweep(&self, now: Timestamp) {
        let mut rows = Vec::new();
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for id in state.replica.sweep(now) {
                rows.push((id_key(&id), None));
                for report in state.kept.remove(&id).into_iter().flat_map(BTreeMap::into_values).flatten() {
                    rows.push((report_key(&report), None));
                }
            }
        }
        self.write(rows);
    }

    /// Hears of every change from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// What was wrong with the store when it was opened.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.to_vec();
        if let Some(error) = &self.flushed.borrow().error {
            problems.push(format!("the store cannot be written: {error}"));
        }
        problems
    }

    /// How many entries were not taken, by reason.
    pub fn refused(&self) -> Vec<(String, u64)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.refused.iter().map(|(reason, count)| (format!("entries_refused_{reason}"), *count)).collect()
    }

    fn write(&self, rows: Vec<Row>) {
        if !rows.is_empty() && self.writes.try_send(Write::Rows(rows)).is_err() {
            // The disk is too slow or gone. The rows are in memory and on the peers.
            warn!("the store does not keep up; some rows are in memory only");
        }
    }

    /// Waits until everything that was written before is on disk. Safe to drop.
    ///
    /// # Errors
    /// When the disk refused.
    pub async fn flushed(&self) -> Result<(), String> {
        let mark = self.marked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        while let Err(unsent) = self.writes.try_send(Write::Mark(mark)) {
            match unsent {
                TrySendError::Full(_) => sleep(TRY_AGAIN).await,
                TrySendError::Disconnected(_) => return Err("the store is closed".to_owned()),
            }
        }
        let mut flushed = self.flushed.clone();
        match flushed.wait_for(|flushed| flushed.mark >= mark).await {
            Ok(flushed) => flushed.error.clone().map_or(Ok(()), Err),
            Err(_) => Err("the store is closed".to_owned()),
        }
    }
}

/// Whether a report's record is signed by the executor of the host that it names.
fn verifies(replica: &Replica, report: &Report) -> bool {
    let executor =
        replica.authority().host(&report.host).map(|host| host.enrolled().enrolment().keys.executor);
    Signed::<ResultRecord>::verify(&report.record.0, replica.fleet()).is_ok_and(|record| {
        Some(record.signer()) == executor
            && record.body().host == report.host
            && record.body().order == report.order
    })
}

/// Whether the output that its record names came along, whole. Checks no signature.
fn has_its_output(report: &Report) -> bool {
    let is = |bytes: &Option<Bytes>, output: &Output| {
        bytes.as_ref().is_some_and(|bytes| {
            bytes.0.len() as u64 == output.kept && *blake3::hash(&bytes.0).as_bytes() == output.hash
        })
    };
    Signed::<ResultRecord>::own(&report.record.0)
        .is_ok_and(|record| is(&report.stdout, &record.stdout) && is(&report.stderr, &record.stderr))
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

fn read_item(value: &[u8], replica: &Replica) -> Option<(Entry, Vec<Bytes>)> {
    let item: Item = wire::decode(value, ROW_BYTES_MAX).ok()?;
    let entry = Entry::verify(&item.entry.0, replica.fleet()).ok()?;
    Some((entry, item.facets))
}

/// Gathers what comes within a moment, writes it in one batch, and says how far it is.
fn write_in_groups(
    mut backend: impl Backend,
    writes: &mpsc::Receiver<Write>,
    flushed: &watch::Sender<Flushed>,
) {
    // What could not be written is tried again with the next group.
    let mut rows: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    while let Ok(first) = writes.recv() {
        let due = Instant::now() + GATHER;
        let mut mark = None;
        let mut next = Some(first);
        while let Some(write) = next {
            match write {
                Write::Rows(more) => rows.extend(more),
                Write::Mark(asked) => mark = mark.max(Some(asked)),
            }
            // Where somebody waits, only what is there already still joins the group.
            let within = if mark.is_some() || rows.len() >= GATHERED_MAX {
                Duration::ZERO
            } else {
                due.saturating_duration_since(Instant::now())
            };
            next = writes.recv_timeout(within).ok();
        }
        let batch: Vec<Row> = rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let error = if batch.is_empty() { None } else { backend.write(batch).err().map(|e| e.to_string()) };
        match &error {
            None => rows.clear(),
            Some(error) => {
                warn!(%error, "the store cannot be written");
                if rows.len() > UNWRITTEN_MAX {
                    rows.clear();
                }
            }
        }
        flushed.send_modify(|flushed| {
            if let Some(mark) = mark {
                flushed.mark = flushed.mark.max(mark);
            }
            flushed.error = error;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authority::sample::{Fleet, NOW, certificate, host_id, key},
        identity::{Executor, Operator},
        replica::Outcome,
        store::Memory,
    };

    fn output(bytes: &[u8]) -> Output {
        let length = bytes.len() as u64;
        Output { hash: *blake3::hash(bytes).as_bytes(), kept: length, produced: length }
    }

    fn report(fleet: &Fleet, by: u8, took_ms: u64) -> Report {
        let record = ResultRecord {
            order: EntryId([5; 32]),
            host: host_id(1),
            outcome: Outcome::Exited { code: 0 },
            started: NOW,
            took_ms,
            stdout: output(b"hello"),
            stderr: output(b""),
            left_behind: 0,
        };
        let record = Signed::sign(fleet.id(), &key::<Executor>(by), record);
        Report {
            order: EntryId([5; 32]),
            host: host_id(1),
            record: Bytes::from(record.bytes()),
            stdout: Some(Bytes::from(&b"hello"[..])),
            stderr: Some(Bytes::default()),
        }
    }

    fn store() -> (Fleet, Store) {
        let ana = key::<Operator>(1);
        let (fleet, certificates) = Fleet::with(&[certificate("ana", &ana)]);
        let mut replica = Replica::new(fleet.authority());
        let invitation = fleet.invite(&ana, certificates[0], 1, &[], 1);
        replica.merge(Entry::Host(Box::new(fleet.enrol(&invitation, 1, 1, &[]))), &[]).unwrap();
        let store = Store::start(replica, Memory::default(), &[], None, NOW).unwrap();
        (fleet, store)
    }

    #[test]
    fn forged_reports_that_come_first_do_not_keep_the_true_one_out_and_are_not_acknowledged() {
        let (fleet, store) = store();
        let order = EntryId([5; 32]);
        let forged: Vec<Report> = (0..20).map(|took| report(&fleet, 9, took)).collect();
        store.keep(forged.clone());
        let truth = report(&fleet, 1, 1);
        let (new, held) = store.keep(vec![truth.clone()]);
        assert_eq!((new, held), (vec![truth.clone()], vec![truth.kept()]));
        assert_eq!(store.keep(forged), (Vec::new(), Vec::new()));
        assert_eq!(store.kept(&order), [truth]);
    }

    #[test]
    fn a_true_record_with_anothers_output_is_replaced_by_the_whole_report() {
        let (fleet, store) = store();
        let truth = report(&fleet, 1, 1);
        let altered = Report { stdout: Some(Bytes::from(&b"jello"[..])), ..truth.clone() };
        let stripped = Report { stdout: None, stderr: None, ..truth.clone() };
        store.keep(vec![altered.clone()]);
        let (new, _) = store.keep(vec![truth.clone()]);
        assert_eq!(new, std::slice::from_ref(&truth));
        assert_eq!(store.keep(vec![altered, stripped]).0, []);
        assert_eq!(store.kept(&EntryId([5; 32])), [truth]);
    }
}
