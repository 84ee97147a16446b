//! From rows to a replica: what of them holds, and what is wrong with the others.

use std::collections::HashSet;

use tracing::debug;

use super::{
    backend::{Loaded, Row},
    kept::Kept,
    keys::{entry_key, facet_key, facet_rows, id_key, list_key, list_rows, seen_rows},
};
use crate::{
    authority::MemberList,
    identity::{EntryId, peek},
    replica::{Entry, FacetHash, Item, Packed, Replica, Report},
    time::Timestamp,
    wire,
};

/// Longest row, in bytes.
const ROW_BYTES_MAX: usize = 1024 * 1024;

/// A row that is not as it was written, or of no use as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its key.
    pub key: Vec<u8>,
    /// What is wrong with it.
    pub what: String,
}

/// What rows came to.
pub(super) struct Restored {
    pub(super) replica: Replica,
    pub(super) kept: Kept,
    /// Rows that were damaged.
    pub(super) damaged: Vec<Finding>,
    /// Rows that are as they were written and cannot be used: what they need is not there, or a newer version
    /// wrote them.
    pub(super) waiting: Vec<Finding>,
    /// What the disk should hold otherwise.
    pub(super) writes: Vec<Row>,
}

fn read_facet(key: &[u8], value: &[u8]) -> Option<(FacetHash, Packed)> {
    let hash = key.get(1..)?.try_into().ok()?;
    Some((FacetHash(hash), wire::decode(value, ROW_BYTES_MAX).ok()?))
}

fn sequence(entry: &Entry) -> u64 {
    match entry {
        Entry::Op(op) => op.body().sequence,
        Entry::Root(update) => u64::from(update.body().sequence),
        _ => 0,
    }
}

/// Takes all that holds into `replica`, which knows the root chain. `first` is known beside the rows.
pub(super) fn restore(
    mut replica: Replica,
    (rows, broken): Loaded,
    first: &[Item],
    now: Timestamp,
) -> Restored {
    let finding = |key: &[u8], what: &str| Finding { key: key.to_vec(), what: what.to_owned() };
    let mut damaged: Vec<Finding> =
        broken.iter().map(|key| finding(key, "its value does not match its hash")).collect();
    let mut waiting = Vec::new();
    let mut kept = Kept::default();
    let mut entries: Vec<(Option<Vec<u8>>, Entry, Vec<Packed>)> = Vec::new();
    let mut facets: Vec<(FacetHash, Packed)> = Vec::new();
    let mut lists: Vec<MemberList> = Vec::new();
    for (key, value) in rows {
        match key.first() {
            Some(b'e' | b'h') => match Entry::verify(&value, replica.fleet()) {
                Ok(entry) if entry_key(&entry) == key => entries.push((Some(key), entry, Vec::new())),
                Ok(_) => damaged.push(finding(&key, "it holds another's entry")),
                Err(error) if error.is_newer() => waiting.push(finding(&key, &error.to_string())),
                Err(error) => damaged.push(finding(&key, &error.to_string())),
            },
            Some(b'f') => match read_facet(&key, &value) {
                Some(facet) => facets.push(facet),
                None => damaged.push(finding(&key, "it cannot be decoded")),
            },
            Some(b'l') => match MemberList::read(&value) {
                Ok(list) if list_key(&list.id()) == key => lists.push(list),
                Ok(_) => damaged.push(finding(&key, "it holds another list")),
                Err(error) => damaged.push(finding(&key, &error.to_string())),
            },
            Some(b'r') => match wire::decode::<Report>(&value, ROW_BYTES_MAX) {
                Ok(report) => kept.load(report),
                Err(_) => damaged.push(finding(&key, "it cannot be decoded")),
            },
            Some(b's') => match (key.get(1..).and_then(|id| id.try_into().ok()), value.as_slice().try_into())
            {
                (Some(id), Ok(at)) => {
                    replica.saw_recovery(EntryId(id), Timestamp(u64::from_be_bytes(at)));
                }
                _ => damaged.push(finding(&key, "it cannot be decoded")),
            },
            _ => damaged.push(finding(&key, "there is no such kind of row")),
        }
    }
    let mut writes: Vec<Row> = Vec::new();
    // Only what no row has: a head that is known beside them is older than theirs.
    let held: HashSet<Vec<u8>> = entries.iter().filter_map(|(key, ..)| key.clone()).collect();
    for item in first {
        let held_by_id = |id: &EntryId| held.contains(&id_key(id));
        if peek(&item.entry.0).is_ok_and(|header| held_by_id(&header.id)) {
            continue;
        }
        if let Ok(entry) = Entry::verify(&item.entry.0, replica.fleet())
            && !held.contains(&entry_key(&entry))
        {
            writes.push((entry_key(&entry), Some(item.entry.0.clone())));
            entries.push((None, entry, item.facets.clone()));
        }
    }
    let unreadable = replica.restore_facets(facets);
    damaged.extend(unreadable.iter().map(|hash| {
        finding(
            &facet_key(hash),
            "it does not unpack to what it is named for, or what it builds on is not there",
        )
    }));
    // What is of no use has no row any more, so that it is not found again.
    writes.extend(damaged.iter().map(|finding| (finding.key.clone(), None)));
    entries.sort_by_key(|(_, entry, _)| (entry.rank(), sequence(entry)));
    let mut ends = Vec::new();
    for (key, entry, facets) in entries {
        let id = entry.id();
        match replica.merge(entry, &facets) {
            Ok(_) => ends.extend(key.map(|key| (key, id))),
            // Its row stays: what it needs may be among those that were damaged, and comes again.
            Err(refusal) => {
                debug!(%refusal, "an entry of the store does not hold now");
                waiting.extend(key.map(|key| Finding { key, what: refusal.to_string() }));
            }
        }
    }
    // A head that lacks a facet now was not taken, and is fetched again.
    replica.drop_unnamed_facets();
    writes.extend(facet_rows(&mut replica));
    let seen = replica.wait(now);
    writes.extend(seen_rows(&replica, &seen));
    let past = replica.sweep(now);
    let unused = replica.restore_lists(lists);
    writes.extend(unused.iter().map(|id| (list_key(id), None)));
    writes.extend(list_rows(&mut replica));
    writes.extend(kept.sweep(&past, &replica, now));
    // What was superseded or is past has no row any more.
    let superseded = ends.into_iter().filter(|(_, id)| !replica.holds(id));
    writes.extend(superseded.map(|(key, _)| (key, None)));
    Restored { replica, kept, damaged, waiting, writes }
}
