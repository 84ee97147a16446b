//! The lists of hosts that are held, by name: those that live orders mark hosts of, and the last ones beside.
//!
//! Always holds: every one has the name that it is held by; there are at most [`LISTS_MAX`]; one that a live order
//! names stays as long as that order. Which are held is no part of what replicas agree on: an order is taken, kept
//! and passed on without its list, and only not acted on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{Order, Replica, Seats};
use crate::{
    authority::{Admitted, Host, ListError, ListId, MemberList},
    identity::EntryId,
};

/// Lists that are kept though no live order names them: the next one is told as a difference to one of these.
const RECENT_MAX: usize = 64;
/// Lists in all: 40 MB of a fleet of 10,000. A list beyond that is not kept, and its orders wait.
const LISTS_MAX: usize = 128;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    held: BTreeMap<ListId, Arc<MemberList>>,
    /// The last ones, the newest last.
    recent: VecDeque<ListId>,
    /// How many live orders name one.
    named: BTreeMap<ListId, usize>,
    /// Those that are on disk, as far as was told: see [`Lists::take_changes`].
    written: BTreeSet<ListId>,
    /// This fleet's members as of a version of the authority.
    own: Option<(u64, ListId)>,
}

impl Lists {
    fn get(&self, id: &ListId) -> Option<&Arc<MemberList>> {
        self.held.get(id)
    }

    /// The last ones, the newest first.
    fn recent(&self) -> impl Iterator<Item = ListId> {
        self.recent.iter().rev().copied()
    }

    /// Those that live orders name and that could be kept if they came.
    fn lacking(&self) -> impl Iterator<Item = ListId> {
        let has_room = self.has_room();
        self.named.keys().filter(move |id| has_room && !self.held.contains_key(id)).copied()
    }

    fn has_room(&self) -> bool {
        self.held.len() < LISTS_MAX || self.recent.iter().any(|id| !self.named.contains_key(id))
    }

    /// Keeps one; false if it is held already or there is no room.
    fn keep(&mut self, list: Arc<MemberList>) -> bool {
        let id = list.id();
        if self.held.contains_key(&id) || !self.has_room() {
            return false;
        }
        self.held.insert(id, list);
        self.recent.push_back(id);
        let full = self.held.len() > LISTS_MAX;
        while self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
        if full && let Some(at) = self.recent.iter().position(|id| !self.named.contains_key(id)) {
            self.recent.remove(at);
        }
        self.tidy();
        true
    }

    /// A live order names one.
    fn name(&mut self, id: ListId) {
        *self.named.entry(id).or_default() += 1;
    }

    /// A live order is gone.
    pub(super) fn forget(&mut self, order: &Order) {
        let Some(id) = order.roster.list() else { return };
        if let Some(orders) = self.named.get_mut(&id) {
            *orders -= 1;
            if *orders == 0 {
                self.named.remove(&id);
                self.tidy();
            }
        }
    }

    fn tidy(&mut self) {
        let Self { held, recent, named, .. } = self;
        held.retain(|id, _| named.contains_key(id) || recent.contains(id));
    }

    fn is_named(&self, id: &ListId) -> bool {
        self.named.contains_key(id)
    }

    fn is_written(&mut self, id: ListId) {
        self.written.insert(id);
    }

    /// The list of this fleet's members as of `version`, if it was made.
    fn own(&self, version: u64) -> Option<&Arc<MemberList>> {
        self.own.filter(|(at, _)| *at == version).and_then(|(_, id)| self.held.get(&id))
    }

    /// Takes which list this fleet's members are as of `version`.
    fn keep_own(&mut self, version: u64, list: Arc<MemberList>) {
        self.own = Some((version, list.id()));
        self.keep(list);
    }

    /// Those that live orders name.
    fn in_use(&self) -> impl Iterator<Item = &Arc<MemberList>> {
        self.held.iter().filter(|(id, _)| self.named.contains_key(id)).map(|(_, list)| list)
    }

    /// Which lists belong on disk now and did not when this was asked last, and which no longer do.
    fn take_changes(&mut self) -> Vec<(ListId, Option<Arc<MemberList>>)> {
        let new = self.in_use().filter(|list| !self.written.contains(&list.id()));
        let mut changes: Vec<_> = new.map(|list| (list.id(), Some(Arc::clone(list)))).collect();
        let gone = self.written.iter().filter(|id| !self.named.contains_key(id));
        changes.extend(gone.map(|id| (*id, None)));
        for (id, list) in &changes {
            match list {
                Some(_) => self.written.insert(*id),
                None => self.written.remove(id),
            };
        }
        changes
    }
}

impl Replica {
    /// The hosts of a live order, if it is one and they are known here.
    pub fn seats(&self, order: &EntryId) -> Option<Seats<'_>> {
        self.seats_of(self.orders.get(order)?.body())
    }

    /// The hosts of any order, if they are known here.
    pub fn seats_of<'a>(&'a self, order: &'a Order) -> Option<Seats<'a>> {
        let list = order.roster.list().and_then(|id| self.lists.get(&id));
        Seats::of(&order.roster, list.map(Arc::as_ref))
    }

    /// A list that is held.
    pub fn list(&self, id: &ListId) -> Option<&Arc<MemberList>> {
        self.lists.get(id)
    }

    /// The lists that came last, the newest first; at most 64.
    pub fn recent_lists(&self) -> impl Iterator<Item = ListId> {
        self.lists.recent()
    }

    /// The lists that live orders mark hosts of and that are not here, as far as there is room for them.
    pub fn lacking_lists(&self) -> impl Iterator<Item = ListId> {
        self.lists.lacking()
    }

    /// The live orders that mark hosts of a list.
    pub fn orders_of_list(&self, id: ListId) -> impl Iterator<Item = EntryId> {
        let marks = move |order: &Admitted<Order>| order.body().roster.list() == Some(id);
        self.orders.iter().filter(move |(_, order)| marks(order)).map(|(id, _)| *id)
    }

    /// Keeps a list, if there is room; true if it was not here.
    pub fn keep_list(&mut self, list: Arc<MemberList>) -> bool {
        let new = self.lists.keep(list);
        self.version += u64::from(new);
        new
    }

    /// The list of this fleet's members as they are now; made once, until that changes.
    ///
    /// # Errors
    /// When there are more members than a list has.
    pub fn own_list(&mut self) -> Result<Arc<MemberList>, ListError> {
        let version = self.authority_version();
        if let Some(list) = self.lists.own(version) {
            return Ok(Arc::clone(list));
        }
        let list = Arc::new(MemberList::of(self.authority.members().map(Host::id))?);
        self.lists.keep_own(version, Arc::clone(&list));
        Ok(list)
    }

    /// A live order marks hosts of this list. If it is of the members as they are now, it is here.
    pub(super) fn name_list(&mut self, id: ListId) {
        self.lists.name(id);
        if self.lists.get(&id).is_none() {
            // A fleet of more than a list may have has none of its own.
            let _too_many = self.own_list();
        }
    }

    /// Takes the lists that were on disk and live orders name, after those were merged; returns the others.
    pub fn restore_lists(&mut self, lists: Vec<MemberList>) -> Vec<ListId> {
        let mut unused = Vec::new();
        for list in lists {
            let id = list.id();
            if self.lists.is_named(&id) {
                self.lists.keep(Arc::new(list));
                self.lists.is_written(id);
            } else {
                unused.push(id);
            }
        }
        unused
    }

    /// The lists that live orders name: what belongs on disk.
    pub fn lists_in_use(&self) -> impl Iterator<Item = &Arc<MemberList>> {
        self.lists.in_use()
    }

    /// Which lists belong on disk since the last call, and (without one) which no longer do.
    pub fn take_list_changes(&mut self) -> Vec<(ListId, Option<Arc<MemberList>>)> {
        self.lists.take_changes()
    }
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;
