//! What stops whom. What stands of what somebody did is the lowest of all cuts against them, made out once when a
//! stop comes and not for every op that is looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Stop;
use crate::{
    authority::{Cut, Mark, Whom},
    identity::{EntryId, StreamId},
};

/// Stops, by whom they are against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stops(BTreeMap<Whom, Against>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Against {
    stops: BTreeMap<EntryId, Arc<Stop>>,
    lowest: Cut,
}

impl Stops {
    pub(super) fn add(&mut self, stop: Stop) {
        let (id, whom) = (stop.id, stop.whom.clone());
        if let Some(against) = self.0.get_mut(&whom) {
            against.lowest.lower(&stop.cut);
            against.stops.insert(id, Arc::new(stop));
        } else {
            let lowest = stop.cut.clone();
            self.0.insert(whom, Against { stops: BTreeMap::from([(id, Arc::new(stop))]), lowest });
        }
    }

    /// True if it was there.
    pub(super) fn remove(&mut self, whom: &Whom, id: &EntryId) -> bool {
        let Some(against) = self.0.get_mut(whom) else { return false };
        let was_there = against.stops.remove(id).is_some();
        let mut left = against.stops.values();
        let Some(first) = left.next() else {
            self.0.remove(whom);
            return was_there;
        };
        let mut lowest = first.cut.clone();
        left.for_each(|stop| lowest.lower(&stop.cut));
        against.lowest = lowest;
        was_there
    }

    /// The first that makes void what stands at `mark`.
    pub(super) fn against(&self, whom: &Whom, mark: Mark) -> Option<&Stop> {
        let against = self.0.get(whom)?;
        if against.lowest.stands(mark) {
            return None;
        }
        against.stops.values().find(|stop| !stop.cut.stands(mark)).map(AsRef::as_ref)
    }

    /// The last sequence of a stream that stands; all if that is the highest number, none if nothing does.
    pub(super) fn last(&self, whom: &Whom, stream: &StreamId) -> Option<u64> {
        self.0.get(whom).map_or(Some(u64::MAX), |against| against.lowest.last(stream))
    }

    pub(super) fn first(&self, whom: &Whom) -> Option<&Stop> {
        self.0.get(whom)?.stops.values().next().map(AsRef::as_ref)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Stop> {
        self.0.values().flat_map(|against| against.stops.values()).map(AsRef::as_ref)
    }

    /// Whom these two say different things of.
    pub(super) fn differing(&self, other: &Self) -> BTreeSet<Whom> {
        let whoms = self.0.keys().chain(other.0.keys());
        whoms.filter(|whom| self.0.get(whom) != other.0.get(whom)).cloned().collect()
    }
}
