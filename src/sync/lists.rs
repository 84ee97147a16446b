//! Fetching the lists that live orders mark hosts of.
//!
//! An order spreads without the list that its roster is some of, and most hosts have that already: it is the fleet's
//! members, as they were when it was signed. Who lacks it asks the neighbour that the order came from, then another,
//! and gets what differs from a list that it has. Always holds: only what a live order names is asked for, and of one
//! neighbour at a time; what comes is believed by its name alone; what nobody asked for is of no use. Until the list
//! is here the order is kept and passed on, not run, and what is said of it has no place: it is said again.

use std::collections::BTreeMap;

use super::{Effect, Machine, Message, account::Cost};
use crate::{
    authority::{ListError, ListId, Listing, MemberList},
    identity::HostId,
    replica::Replica,
    time::Timestamp,
};

/// Lists that are asked for at a time.
const WANTED_MAX: usize = 8;
/// Lists that a question says the asker has.
const HAVE_MAX: usize = 64;
/// Of these, so many are looked at for what differs least.
const BASES_TRIED_MAX: usize = 4;
/// How long an answer may take before another neighbour is asked.
const ANSWER_WITHIN: std::time::Duration = std::time::Duration::from_secs(4);
/// How long after all neighbours were asked in vain they are asked again.
const AGAIN_AFTER: std::time::Duration = std::time::Duration::from_secs(5);
/// Neighbours that wait for one.
const ASKERS_MAX: usize = 64;
/// What a list or a question for one counts among the rows that are looked up.
const ROWS: u64 = 64;

/// A list that is lacking.
#[derive(Debug, Default)]
struct Want {
    /// Who was asked, and when.
    asked: Option<(HostId, Timestamp)>,
    /// Who was asked in this round.
    tried: Vec<HostId>,
    /// When the next round may begin.
    after: Option<Timestamp>,
    /// Neighbours that asked for it here, and what they have: they are answered when it comes. The news of an
    /// order is faster than its list.
    askers: BTreeMap<HostId, Vec<ListId>>,
}

/// The lists that are lacking.
#[derive(Debug, Default)]
pub(super) struct Lists(BTreeMap<ListId, Want>);

impl Machine {
    /// Asks for the lists that live orders name and that are not here.
    pub(super) fn seek_lists(&mut self, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        let lacking: Vec<ListId> = replica.lacking_lists().take(WANTED_MAX).collect();
        self.lists.0.retain(|list, _| lacking.contains(list));
        let linked = if lacking.is_empty() { Vec::new() } else { self.linked() };
        let mut effects = Vec::new();
        for list in lacking {
            let ways = replica.orders_of_list(list).filter_map(|order| self.came_from(&order));
            let next: Vec<HostId> =
                ways.chain(linked.iter().copied()).filter(|peer| linked.contains(peer)).collect();
            let want = self.lists.0.entry(list).or_default();
            let waits = want.asked.is_some_and(|(peer, at)| {
                linked.contains(&peer) && at <= now && now.since(at) < ANSWER_WITHIN
            });
            if waits || want.after.is_some_and(|after| now < after && after <= now.after(AGAIN_AFTER)) {
                continue;
            }
            (want.asked, want.after) = (None, None);
            let Some(peer) = next.into_iter().find(|peer| !want.tried.contains(peer)) else {
                // Where there is no neighbour the next one is asked at once.
                want.after = (!want.tried.is_empty()).then(|| now.after(AGAIN_AFTER));
                want.tried.clear();
                continue;
            };
            want.asked = Some((peer, now));
            want.tried.push(peer);
            let have = replica.recent_lists().take(HAVE_MAX).collect();
            effects.push(Effect::Send(peer, Message::WantList { list, have }));
        }
        effects
    }

    pub(super) fn on_want_list(
        &mut self,
        peer: HostId,
        list: ListId,
        mut have: Vec<ListId>,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        if self.accounts.take(peer, Cost::Asked, ROWS, now) < ROWS {
            self.accounts.throttle(ROWS);
            return self.bear(peer, ROWS, now).into_iter().collect();
        }
        have.truncate(HAVE_MAX);
        match (replica.list(&list), self.lists.0.get_mut(&list)) {
            (Some(held), _) => vec![self.list_for(peer, held, &have, now, replica)],
            (None, Some(want)) if want.askers.len() < ASKERS_MAX => {
                want.askers.insert(peer, have);
                Vec::new()
            }
            (None, _) => vec![Effect::Send(peer, Message::List { list, listing: Listing::Absent {} })],
        }
    }

    /// Says a list to a neighbour that has some others.
    fn list_for(
        &mut self,
        peer: HostId,
        held: &MemberList,
        have: &[ListId],
        now: Timestamp,
        replica: &Replica,
    ) -> Effect {
        let listing = if self.accounts.any(peer, Cost::Served, now) {
            let bases = have.iter().filter_map(|id| replica.list(id)).take(BASES_TRIED_MAX);
            let differences = bases.map(|base| held.listing(Some(base)));
            differences.min_by_key(Listing::weight).unwrap_or_else(|| held.listing(None))
        } else {
            self.accounts.throttle(ROWS);
            Listing::Absent {}
        };
        let kilobytes = (listing.weight() / 1024 + 1) as u64;
        self.accounts.take(peer, Cost::Served, kilobytes, now);
        Effect::Send(peer, Message::List { list: held.id(), listing })
    }

    pub(super) fn on_list(
        &mut self,
        peer: HostId,
        list: ListId,
        listing: &Listing,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        let want = self.lists.0.get_mut(&list);
        let Some(want) = want.filter(|want| want.tried.contains(&peer)) else {
            // An answer that came too late, once in a while.
            return self.bear(peer, ROWS, now).into_iter().collect();
        };
        if want.asked.is_some_and(|(asked, _)| asked == peer) {
            want.asked = None;
        }
        if matches!(listing, Listing::Absent {}) {
            return self.seek_lists(now, replica);
        }
        match MemberList::from_listing(list, listing, |base| replica.list(base).map(AsRef::as_ref)) {
            Ok(held) => {
                let askers = std::mem::take(&mut want.askers).into_iter();
                let mut effects: Vec<Effect> =
                    askers.map(|(asker, have)| self.list_for(asker, &held, &have, now, replica)).collect();
                effects.retain(|effect| match effect {
                    Effect::Send(asker, _) => self.neighbours.contains_key(asker),
                    _ => true,
                });
                effects.push(Effect::KeepList(held));
                effects
            }
            // What was here when it was asked may be gone.
            Err(ListError::Base) => {
                let mut effects: Vec<Effect> = self.bear(peer, ROWS, now).into_iter().collect();
                effects.extend(self.seek_lists(now, replica));
                effects
            }
            Err(_) => vec![Effect::Shun(peer, "it sent another list of hosts than it was asked for")],
        }
    }
}
