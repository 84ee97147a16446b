//! Under which key a row stands.

use std::collections::BTreeSet;

use super::backend::Row;
use crate::{
    authority::ListId,
    identity::EntryId,
    replica::{Element, Entry, FacetHash, Place, Replica},
    wire,
};

/// A head's row is its host's, so that a new one replaces the old; the others have one each.
pub(super) fn entry_key(entry: &Entry) -> Vec<u8> {
    match entry.place() {
        Place::Head { host, .. } => [&b"h"[..], &host.0].concat(),
        Place::Set(_) | Place::Op { .. } => id_key(&entry.id()),
    }
}

pub(super) fn id_key(id: &EntryId) -> Vec<u8> {
    [&b"e"[..], &id.0].concat()
}

pub(super) fn facet_key(hash: &FacetHash) -> Vec<u8> {
    [&b"f"[..], &hash.0].concat()
}

/// The rows of facets that came or went.
pub(super) fn facet_rows(replica: &mut Replica) -> impl Iterator<Item = Row> {
    let changes = replica.take_facet_changes().into_iter();
    changes.map(|(hash, packed)| (facet_key(&hash), packed.map(|packed| wire::encode(&packed))))
}

pub(super) fn list_key(id: &ListId) -> Vec<u8> {
    [&b"l"[..], &id.0].concat()
}

/// The rows of lists that live orders began or ceased to name.
pub(super) fn list_rows(replica: &mut Replica) -> impl Iterator<Item = Row> {
    let changes = replica.take_list_changes().into_iter();
    changes.map(|(id, list)| (list_key(&id), list.map(|list| list.bytes().0)))
}

/// The rows of recoveries of the roots: when they were seen first.
pub(super) fn seen_rows(replica: &Replica, new: &[EntryId]) -> Vec<Row> {
    let seen = replica.authority().recoveries_seen().filter(|(id, _)| new.contains(id));
    seen.map(|(id, at)| ([&b"s"[..], &id.0].concat(), Some(at.0.to_be_bytes().to_vec()))).collect()
}

/// The rows of all that a replica holds.
pub(super) fn all_rows(replica: &Replica) -> Vec<Row> {
    let mut rows = Vec::new();
    for (_, element) in replica.since(0) {
        if let Element::Entry(id) = element
            && let Some(item) = replica.entry_item(&id)
        {
            rows.push((id_key(&id), Some(item.entry.0)));
        }
    }
    let mut facets: BTreeSet<FacetHash> = replica.bases().copied().collect();
    for (host, head) in replica.heads() {
        facets.extend(head.body().facets.iter().map(|facet| facet.hash));
        rows.push(([&b"h"[..], &host.0].concat(), Some(head.bytes().to_vec())));
    }
    for hash in facets {
        if let Some(packed) = replica.packed(&hash.half()) {
            rows.push((facet_key(&hash), Some(wire::encode(packed))));
        }
    }
    let seen: Vec<EntryId> = replica.authority().recoveries_seen().map(|(id, _)| id).collect();
    rows.extend(seen_rows(replica, &seen));
    rows.extend(replica.lists_in_use().map(|list| (list_key(&list.id()), Some(list.bytes().0))));
    rows
}

/// What a row is, by its key: `entry`, `facet`, `head`, `list`, `report`, `recovery`, or `unknown`.
pub fn kind(key: &[u8]) -> &'static str {
    match key.first() {
        Some(b'e') => "entry",
        Some(b'f') => "facet",
        Some(b'h') => "head",
        Some(b'l') => "list",
        Some(b'r') => "report",
        Some(b's') => "recovery",
        _ => "unknown",
    }
}
