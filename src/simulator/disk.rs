//! A host's store: what is written comes to the disk a little later, in order, or not at all.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    identity::{EntryId, HostId},
    replica::{Entry, Item, Kept, Place, Replica, Report},
};

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Head(HostId),
    Entry(EntryId),
}

/// What is on its way to the disk.
#[derive(Clone, Debug)]
enum Write {
    Put(Key, Box<Item>),
    Keep(Box<Report>),
    /// Somebody waits to hear that all before is on disk.
    Acknowledge(EntryId, Place),
}

/// What can be said now that it is on disk.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    /// Entries that were handed over here, with their places.
    pub(super) acknowledged: Vec<(EntryId, Place)>,
    /// Reports that this host keeps.
    pub(super) kept: Vec<Kept>,
}

/// Rows that a crash leaves, and those that it may take.
#[derive(Debug, Default)]
pub(super) struct Disk {
    rows: BTreeMap<Key, (u8, u64, Box<Item>)>,
    reports: BTreeMap<(EntryId, HostId), Report>,
    waiting: VecDeque<Write>,
}

fn order_of(entry: &Entry) -> (u8, u64) {
    let sequence = match entry {
        Entry::Op(op) => op.body().sequence,
        Entry::Root(update) => u64::from(update.body().sequence),
        _ => 0,
    };
    (entry.rank(), sequence)
}

impl Disk {
    pub(super) fn put(&mut self, entry: &Entry, item: Item) {
        let key = match entry.place() {
            Place::Head { host, .. } => Key::Head(host),
            Place::Set(_) | Place::Op { .. } => Key::Entry(entry.id()),
        };
        self.waiting.push_back(Write::Put(key, Box::new(item)));
    }

    pub(super) fn keep(&mut self, report: Report) {
        self.waiting.push_back(Write::Keep(Box::new(report)));
    }

    pub(super) fn acknowledge(&mut self, entry: EntryId, place: Place) {
        self.waiting.push_back(Write::Acknowledge(entry, place));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Writes the first `count` of what waits.
    pub(super) fn flush(&mut self, count: usize, verify: &mut impl FnMut(&Item) -> Option<Entry>) -> Flushed {
        let mut flushed = Flushed::default();
        for _ in 0..count {
            match self.waiting.pop_front() {
                Some(Write::Put(key, item)) => {
                    if let Some(entry) = verify(&item) {
                        let (rank, sequence) = order_of(&entry);
                        self.rows.insert(key, (rank, sequence, item));
                    }
                }
                Some(Write::Keep(report)) => {
                    flushed.kept.push(report.kept());
                    self.reports.insert((report.order, report.host), *report);
                }
                Some(Write::Acknowledge(entry, place)) => flushed.acknowledged.push((entry, place)),
                None => break,
            }
        }
        flushed
    }

    /// How much waits.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The power goes: what waits is lost.
    pub(super) fn lose(&mut self) {
        self.waiting.clear();
    }

    /// Merges the rows into a replica that knows what was there from the start.
    pub(super) fn load(&self, replica: &mut Replica, verify: &mut impl FnMut(&Item) -> Option<Entry>) {
        let mut rows: Vec<_> = self.rows.values().collect();
        rows.sort_by_key(|(rank, sequence, _)| (*rank, *sequence));
        for (.., item) in rows {
            if let Some(entry) = verify(item) {
                // What does not hold alone stays a row: what it needs comes again.
                let _merged = replica.merge(entry, &item.facets);
            }
        }
    }

    /// The reports on disk.
    pub(super) fn reports(&self) -> impl Iterator<Item = &Report> {
        self.reports.values()
    }
}
