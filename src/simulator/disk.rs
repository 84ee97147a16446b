//! A host's store: what is written comes to the disk a little later, in order, or not at all.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    identity::{EntryId, HostId},
    replica::{Entry, FacetHash, Kept, Packed, Place, Replica, Report},
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
    /// An entry and what became of facets with it: one batch, all or nothing.
    Put(Option<(Key, Box<Entry>)>, Vec<(FacetHash, Option<Packed>)>),
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
    rows: BTreeMap<Key, Entry>,
    facets: BTreeMap<FacetHash, Packed>,
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
    pub(super) fn put(&mut self, entry: &Entry, facets: Vec<(FacetHash, Option<Packed>)>) {
        let key = match entry.place() {
            Place::Head { host, .. } => Key::Head(host),
            Place::Set(_) | Place::Op { .. } => Key::Entry(entry.id()),
        };
        self.waiting.push_back(Write::Put(Some((key, Box::new(entry.clone()))), facets));
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
    pub(super) fn flush(&mut self, count: usize) -> Flushed {
        let mut flushed = Flushed::default();
        for _ in 0..count {
            match self.waiting.pop_front() {
                Some(Write::Put(row, facets)) => {
                    if let Some((key, entry)) = row {
                        self.rows.insert(key, *entry);
                    }
                    for (hash, packed) in facets {
                        match packed {
                            Some(packed) => self.facets.insert(hash, packed),
                            None => self.facets.remove(&hash),
                        };
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

    /// The power goes: what waits is lost. Returns how many entries that are.
    pub(super) fn lose(&mut self) -> u64 {
        let lost = self.waiting.iter().filter(|write| matches!(write, Write::Put(Some(_), _))).count();
        self.waiting.clear();
        lost as u64
    }

    /// Merges the rows into a replica that knows what was there from the start.
    pub(super) fn load(&mut self, replica: &mut Replica) {
        let facets = self.facets.iter().map(|(hash, packed)| (*hash, packed.clone())).collect();
        for damaged in replica.restore_facets(facets) {
            self.facets.remove(&damaged);
        }
        let mut rows: Vec<&Entry> = self.rows.values().collect();
        rows.sort_by_key(|entry| order_of(entry));
        for entry in rows {
            // What does not hold alone stays a row: what it needs comes again.
            let _merged = replica.merge(entry.clone(), &[]);
        }
        replica.drop_unnamed_facets();
        self.waiting.push_back(Write::Put(None, replica.take_facet_changes()));
    }

    /// The reports on disk.
    pub(super) fn reports(&self) -> impl Iterator<Item = &Report> {
        self.reports.values()
    }
}
