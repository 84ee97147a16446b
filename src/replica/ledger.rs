//! The ledger: where each entry stands, in which order they came, and their sums.
//!
//! One place that everything held goes through on its way in and out, so that the index, the feed and the roots
//! cannot disagree. The feed lives in memory only: one row an element, its newest; a number in it means
//! something only to who knows this process's feed.

use std::collections::BTreeMap;

use super::roots::{Section, Sums};
use crate::{
    identity::{EntryId, FleetId, HostId, StreamId},
    time::Timestamp,
};

/// One row of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// An entry that is not a head.
    Entry(EntryId),
    /// A host's head, whichever it is now.
    Head(HostId),
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    Root,
    Grant,
    Suspension,
    Halt,
    Invitation,
    Host(HostId),
    Admission,
    Departure(HostId),
    Op {
        stream: StreamId,
        sequence: u64,
    },
    /// One of the two that ended a stream.
    Fork(StreamId),
    Head(HostId),
    Order,
    /// Of this order.
    Cancellation(EntryId),
}

impl Spot {
    fn section(&self) -> Section {
        match self {
            Self::Root
            | Self::Grant
            | Self::Suspension
            | Self::Halt
            | Self::Invitation
            | Self::Order
            | Self::Cancellation(_) => Section::Set,
            Self::Host(_) | Self::Admission | Self::Departure(_) => Section::Members,
            Self::Op { .. } | Self::Fork(_) => Section::Ops,
            Self::Head(_) => Section::Heads,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Root => 0,
            Self::Invitation => 1,
            Self::Host(_) => 2,
            Self::Departure(_) => 3,
            Self::Op { .. } => 4,
            Self::Fork(_) => 5,
            Self::Head(_) => 6,
            Self::Order => 7,
            Self::Cancellation(_) => 8,
            Self::Grant => 9,
            Self::Suspension => 10,
            Self::Halt => 11,
            Self::Admission => 12,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Row {
    spot: Spot,
    expires: Option<Timestamp>,
    /// Its number in the feed; 0 if it is not there.
    lsn: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    rows: BTreeMap<EntryId, Row>,
    feed: BTreeMap<u64, EntryId>,
    lsn: u64,
    sums: Sums,
}

impl Ledger {
    /// A ledger of a fleet whose genesis this is; everyone holds that, so it is neither fed nor summed.
    pub(super) fn new(fleet: FleetId) -> Self {
        let genesis = Row { spot: Spot::Root, expires: None, lsn: 0 };
        let rows = BTreeMap::from([(EntryId(fleet.0), genesis)]);
        Self { rows, feed: BTreeMap::new(), lsn: 0, sums: Sums::new(fleet) }
    }

    /// Writes an entry in. What stands there under the same id is replaced.
    pub(super) fn enter(&mut self, id: EntryId, spot: Spot, expires: Option<Timestamp>) {
        self.strike(&id);
        self.lsn += 1;
        self.rows.insert(id, Row { spot, expires, lsn: self.lsn });
        self.feed.insert(self.lsn, id);
        self.sums.add(spot.section(), spot.kind(), &id, expires);
    }

    /// Strikes an entry out.
    pub(super) fn strike(&mut self, id: &EntryId) {
        let Some(row) = self.rows.get(id).filter(|row| row.lsn > 0).copied() else { return };
        self.rows.remove(id);
        self.feed.remove(&row.lsn);
        self.sums.remove(row.spot.section(), row.spot.kind(), id, row.expires);
    }

    pub(super) fn holds(&self, id: &EntryId) -> bool {
        self.rows.contains_key(id)
    }

    pub(super) fn spot(&self, id: &EntryId) -> Option<Spot> {
        self.rows.get(id).map(|row| row.spot)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    #[cfg(test)]
    pub(super) fn ids(&self) -> impl Iterator<Item = &EntryId> {
        self.rows.keys()
    }

    pub(super) fn sums(&self) -> &Sums {
        &self.sums
    }

    /// The highest number of the feed.
    pub(super) fn lsn(&self) -> u64 {
        self.lsn
    }

    /// What came after `lsn`, in order.
    pub(super) fn since(&self, lsn: u64) -> impl Iterator<Item = (u64, Element)> {
        let rows = lsn.checked_add(1).map(|first| self.feed.range(first..));
        rows.into_iter().flatten().map(|(lsn, id)| {
            let element = match self.spot(id) {
                Some(Spot::Head(host)) => Element::Head(host),
                _ => Element::Entry(*id),
            };
            (*lsn, element)
        })
    }

    /// The entry, not a head, whose id begins so.
    pub(super) fn find(&self, half: &[u8; 16]) -> Option<EntryId> {
        let bound = |fill: u8| {
            let mut id = [fill; 32];
            id.split_at_mut(16).0.copy_from_slice(half);
            EntryId(id)
        };
        let mut found = self.rows.range(bound(0)..=bound(u8::MAX));
        found.find(|(_, row)| !matches!(row.spot, Spot::Head(_))).map(|(id, _)| *id)
    }

    /// Those that expired before this hour.
    pub(super) fn expired(&self, hour: u64) -> Vec<EntryId> {
        if !self.sums.expires_before(hour) {
            return Vec::new();
        }
        let past = |row: &Row| row.expires.is_some_and(|expires| super::roots::expiry_hour(expires) < hour);
        self.rows.iter().filter(|(_, row)| past(row)).map(|(id, _)| *id).collect()
    }
}
