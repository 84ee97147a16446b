//! What comes: entries and facets, until they are handed over to be merged; and what follows from that.
//!
//! A head is merged with all its facets or not at all, so one whose facets are not here waits for them. Nothing
//! is handed over twice while it is being judged. No signature is checked here, but for a head that has to
//! wait: whoever made one up in another host's name could else keep that host's true ones out meanwhile. What
//! came of that goes with it, so that no signature is checked twice.

use super::{
    Effect, Machine, Part,
    account::Cost,
    feed::{half, newest},
    rows::{Half, prefix, unpack_halves},
    wants::{Key, Spot},
};
use crate::{
    identity::{EntryId, HostId, Kind, PublicKey, Signed, SignedError, Stream, peek},
    replica::{Arrived, Entry, FacetHalf, Head, Item, PACKED_BYTES_MAX, Packed, Replica},
    time::Timestamp,
    wire::Bytes,
};

/// Entries in one message that are looked at.
const ITEMS_MAX: usize = 4096;
/// Facets in one message that are looked at.
const FACETS_MAX: usize = 64;
/// Heads of one neighbour that wait for facets, and their bytes; above half of the number no more are asked for.
pub(super) const PARKED_MAX: usize = 256;
pub(super) const PARKED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Of these, heads of hosts that are not known: their certificates may be on their way.
const PARKED_STRANGERS_MAX: usize = 32;
/// The same of all neighbours, who may be hundreds.
const PARKED_BY_ALL_MAX: usize = 2048;
const PARKED_BY_ALL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// So many entries at a time are not news: somebody catches up.
const MANY: usize = 4;
/// So often what came shows that more is needed: a facet, then its base.
const ROUNDS_MAX: u8 = 3;
/// What counts among the unasked: facets that are not what was asked for, over and over.
const MISFIT_COST: u64 = 16;
/// How long a head waits.
const PARKED_FOR: std::time::Duration = std::time::Duration::from_secs(30);

/// Answers of one neighbour that brought none of the facets asked for, and of all, until they are judged.
const WITHHELD_MAX: usize = 8;
pub(super) const WITHHELD_BY_ALL_MAX: usize = 256;
/// After so long a head is held that replaced the one whose facets were not there, if there is such a head.
const REPLACED_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// An answer that brought none of the facets that it was asked for.
#[derive(Debug)]
pub(super) struct Withheld {
    peer: HostId,
    /// The heads that it had sent and that name them.
    heads: Vec<(Key, Spot)>,
    since: Timestamp,
}

/// A head that waits for facets.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) peer: HostId,
    key: Key,
    pub(super) arrived: Arrived,
    missing: Vec<FacetHalf>,
    since: Timestamp,
    rounds: u8,
    /// Whether its host was not known.
    stranger: bool,
}

/// What an entry says that it is, before anything is checked.
pub(super) struct What {
    pub(super) id: EntryId,
    pub(super) key: Key,
    pub(super) spot: Spot,
    /// Whose head it is, if it is one.
    pub(super) author: Option<HostId>,
    /// Kilobytes of all facets that it says it names.
    kilobytes: u64,
    is_known_kind: bool,
    is_order: bool,
}

/// Reads what an entry says that it is.
pub(super) fn what(item: &Item) -> Result<What, SignedError> {
    let header = peek(&item.entry.0)?;
    let is_known_kind = Kind::of(header.kind).is_some();
    if header.kind == Kind::Head as u16
        && let Some(signer) = header.signer
        && let Ok(head) = Signed::<Head>::own(&item.entry.0)
    {
        let author = HostId::of(&PublicKey::<Stream>::from_bytes(signer));
        let (key, spot) = (Key::Head(prefix(&author)), (head.epoch, head.sequence));
        let kilobytes = head.facets.iter().map(|facet| u64::from(facet.bytes / 1024 + 1)).sum();
        let (author, is_order) = (Some(author), false);
        return Ok(What { id: header.id, key, spot, author, kilobytes, is_known_kind, is_order });
    }
    let key = Key::Entry(half(&header.id));
    let is_order = header.kind == Kind::Order as u16;
    Ok(What {
        id: header.id,
        key,
        spot: Spot::default(),
        author: None,
        kilobytes: 0,
        is_known_kind,
        is_order,
    })
}

/// Whether this, or something newer in its place, is held.
fn is_held(what: &What, replica: &Replica) -> bool {
    replica.holds(&what.id)
        || what.author.and_then(|host| replica.head_place(&host)).is_some_and(|place| {
            // At one place there may be two, and the replica says which stands.
            (place.epoch, place.sequence) > what.spot
        })
}

impl Machine {
    pub(super) fn on_items(
        &mut self,
        peer: HostId,
        items: Vec<Item>,
        part: Part,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Vec::new() };
        let base = neighbour.read.unwrap_or(0);
        neighbour.exchange.goes_on(now);
        self.wants.moves(&peer, now);
        let pushed = part == Part::Pushed;
        // A message without anything in it is the end of an answer at most.
        let (mut fresh, mut useless) = (Vec::new(), u64::from(items.is_empty()));
        for item in items.into_iter().take(ITEMS_MAX) {
            let Ok(what) = what(&item) else {
                return vec![Effect::Close(peer, "it sent what is no entry")];
            };
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.note(what.key, what.spot);
            }
            if is_held(&what, replica) {
                let held = what.author.and_then(|host| replica.head_place(&host));
                self.wants.came(peer, what.key, what.spot, base, pushed, now);
                if what.is_order {
                    self.comes_again(what.id, peer);
                }
                self.wants.held(&what.key, held.map_or(what.spot, |place| (place.epoch, place.sequence)));
                useless += 1;
                continue;
            }
            let spent = what.author.is_some_and(|author| !self.accounts.takes_head_of(&author, now));
            if spent || !what.is_known_kind {
                self.accounts.throttle(u64::from(spent));
                useless += 1;
                self.wants.came(peer, what.key, what.spot, base, pushed, now);
                self.wants.dropped(&what.key, now);
            } else if self.wants.came(peer, what.key, what.spot, base, pushed, now) {
                fresh.push((what.key, item));
            } else {
                // Another neighbour was a moment earlier.
                if what.is_order {
                    self.comes_again(what.id, peer);
                }
                useless += 1;
            }
        }
        let allowed = self.accounts.take(peer, Cost::Check, fresh.len() as u64, now);
        let allowed = usize::try_from(allowed).unwrap_or(fresh.len());
        let (mut merge, mut effects) = (Vec::new(), Vec::new());
        for (at, (key, item)) in fresh.into_iter().enumerate() {
            if at >= allowed {
                self.accounts.throttle(1);
                self.wants.dropped(&key, now);
                continue;
            }
            let mut arrived = Arrived::from(item);
            if !matches!(key, Key::Head(_)) {
                merge.push(arrived);
                continue;
            }
            let Some(missing) = self.missing(peer, arrived.item(), now, replica) else {
                self.wants.dropped(&key, now);
                continue;
            };
            // Another neighbour's copy may wait.
            for parked in self.parked.iter().filter(|parked| parked.key == key) {
                arrived.check_as(&parked.arrived);
            }
            if missing.is_empty() {
                merge.push(arrived);
            } else {
                effects.extend(self.park(peer, key, arrived, missing, base, now, replica));
            }
        }
        if part == Part::Last {
            let nothing = self.wants.answered(&peer);
            if nothing.empty {
                self.unanswered(peer, now);
            }
            self.lacks_facets(peer, &nothing.facets, now);
        }
        effects.extend((!merge.is_empty()).then_some(Effect::Merge(peer, merge)));
        effects.extend(self.bear(peer, useless, now));
        // It may be the next one's turn with what this one did not deliver.
        effects.extend(self.ask_all(now, replica));
        effects
    }

    /// Whether no more heads are to be asked for before those that wait got their facets.
    pub(super) fn has_many_parked(&self, peer: &HostId) -> bool {
        self.parked.iter().filter(|parked| parked.peer == *peer).count() > PARKED_MAX / 2
    }

    /// What a head lacks; nothing if this neighbour's heads took too much work already. A few hundred bytes can
    /// unpack to megabytes.
    fn missing(
        &mut self,
        peer: HostId,
        item: &Item,
        now: Timestamp,
        replica: &Replica,
    ) -> Option<Vec<FacetHalf>> {
        if !item.facets.is_empty() && !self.accounts.any(peer, Cost::Opened, now) {
            self.accounts.throttle(1);
            self.accounts.blame(peer, "what it sends unpacks to too much", now);
            return None;
        }
        let missing = replica.missing_facets(item);
        self.accounts.take(peer, Cost::Opened, missing.work.div_ceil(1024) as u64, now);
        Some(missing.facets)
    }

    #[expect(clippy::too_many_arguments, reason = "what waits, and for what")]
    fn park(
        &mut self,
        peer: HostId,
        key: Key,
        mut arrived: Arrived,
        missing: Vec<FacetHalf>,
        base: u64,
        now: Timestamp,
        replica: &Replica,
    ) -> Option<Effect> {
        let stranger = match arrived.check(replica.fleet()) {
            Ok(Entry::Head(head)) => replica.authority().host(&HostId::of(&head.signer())).is_none(),
            Err(error) if error.is_forged() => return Some(Effect::Shun(peer, "it sent a forged entry")),
            Ok(_) | Err(_) => {
                self.wants.dropped(&key, now);
                return None;
            }
        };
        // A newer one of the same host takes the place of what it sent before.
        self.parked.retain(|parked| parked.peer != peer || parked.key != key);
        let (count, bytes) = self.parked_by(Some(&peer));
        let (all, all_bytes) = self.parked_by(None);
        let strangers = self.parked.iter().filter(|parked| parked.peer == peer && parked.stranger).count();
        if count >= PARKED_MAX
            || all >= PARKED_BY_ALL_MAX
            || bytes + arrived.weight() > PARKED_BYTES_MAX
            || all_bytes + arrived.weight() > PARKED_BY_ALL_BYTES_MAX
            || (stranger && strangers >= PARKED_STRANGERS_MAX)
        {
            self.accounts.throttle(1);
            self.wants.dropped(&key, now);
            return None;
        }
        self.wants.parked(&key, now);
        for half in &missing {
            self.wants.announced(peer, Key::Facet(half.0), Spot::default(), base, now, true);
        }
        self.parked.push_back(Parked { peer, key, arrived, missing, since: now, rounds: 0, stranger });
        None
    }

    /// How many heads wait, and their bytes: of one neighbour or of all.
    pub(super) fn parked_by(&self, peer: Option<&HostId>) -> (usize, usize) {
        let of = self.parked.iter().filter(|parked| peer.is_none_or(|peer| parked.peer == *peer));
        of.fold((0, 0), |(count, bytes), parked| (count + 1, bytes + parked.arrived.weight()))
    }

    pub(super) fn on_facets(
        &mut self,
        peer: HostId,
        halves: &Bytes,
        facets: Vec<Packed>,
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        let halves = unpack_halves(halves).unwrap_or_default();
        if halves.len() != facets.len() || facets.len() > FACETS_MAX * 2 {
            return vec![Effect::Close(peer, "it sent what are no facets")];
        }
        self.wants.moves(&peer, now);
        self.wants.answers(&peer);
        let mut unasked = u64::from(facets.is_empty());
        let (mut bytes, mut all_bytes) = (self.parked_by(Some(&peer)).1, self.parked_by(None).1);
        for (half, packed) in halves.into_iter().zip(facets) {
            let key = Key::Facet(half);
            if !self.wants.is_asked(&peer, &key) || packed.weight() > PACKED_BYTES_MAX {
                unasked += 1;
                continue;
            }
            self.wants.came(peer, key, Spot::default(), 0, false, now);
            self.wants.held(&key, Spot::default());
            // The first that waits for it; the others find it in the replica.
            let half = FacetHalf(half);
            let mut waiting = self.parked.iter_mut().filter(|parked| parked.peer == peer);
            if let Some(parked) = waiting.find(|parked| parked.missing.contains(&half)) {
                parked.missing.retain(|missing| *missing != half);
                let weight = packed.weight();
                if bytes + weight > PARKED_BYTES_MAX || all_bytes + weight > PARKED_BY_ALL_BYTES_MAX {
                    // It is asked for again when there is room; the head waits, or is dropped in the end.
                    self.accounts.throttle(1);
                    continue;
                }
                (bytes, all_bytes) = (bytes + weight, all_bytes + weight);
                parked.arrived.add_facet(packed);
            }
        }
        let mut effects = self.unpark(now, replica);
        effects.extend(self.scold(peer, unasked, now));
        effects.extend(self.ask(peer, now, replica));
        effects
    }

    /// Counts what nobody asked for.
    fn scold(&mut self, peer: HostId, unasked: u64, now: Timestamp) -> Option<Effect> {
        let bears = self.accounts.take(peer, Cost::Unasked, unasked, now) == unasked;
        (!bears).then_some(Effect::Shun(peer, "it sends facets that nobody asked for or that are none"))
    }

    /// A neighbour has no more the facets of heads that it sent. A host that says something new every second
    /// is enough for that: with its next head the facets go of which that one is in need no longer. Whether it
    /// was so shows when that next head is here.
    fn lacks_facets(&mut self, peer: HostId, facets: &[Half], now: Timestamp) {
        let lacks = |parked: &Parked| {
            parked.peer == peer && parked.missing.iter().any(|missing| facets.contains(&missing.0))
        };
        let heads: Vec<(Key, Spot)> = self
            .parked
            .iter()
            .filter(|parked| lacks(parked))
            .filter_map(|parked| Some((parked.key, what(parked.arrived.item()).ok()?.spot)))
            .collect();
        if heads.is_empty() {
            return;
        }
        self.parked.retain(|parked| !lacks(parked));
        for (key, _) in &heads {
            self.wants.incomplete(&peer, key, now);
        }
        if self.withheld.iter().filter(|withheld| withheld.peer == peer).count() >= WITHHELD_MAX {
            self.unanswered(peer, now);
            return;
        }
        self.withheld.push_back(Withheld { peer, heads, since: now });
        if self.withheld.len() > WITHHELD_BY_ALL_MAX {
            self.withheld.pop_front();
        }
    }

    /// Whose heads were not replaced withheld their facets.
    pub(super) fn judge_withheld(&mut self, now: Timestamp, replica: &Replica) {
        while let Some(oldest) = self.withheld.front_mut() {
            oldest.since = oldest.since.min(now);
            if now.since(oldest.since) < REPLACED_WITHIN {
                return;
            }
            let Some(withheld) = self.withheld.pop_front() else { return };
            let is_replaced = |(key, spot): &(Key, Spot)| match key {
                Key::Head(host) => newest(*host, replica).is_some_and(|held| held > *spot),
                Key::Entry(_) | Key::Facet(_) => true,
            };
            if !withheld.heads.iter().all(is_replaced) {
                self.unanswered(withheld.peer, now);
            }
        }
    }

    /// Hands over the heads whose facets are here now, and asks for what the others still lack.
    pub(super) fn unpark(&mut self, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        let mut effects = Vec::new();
        for mut parked in std::mem::take(&mut self.parked) {
            parked.since = parked.since.min(now);
            let (peer, key) = (parked.peer, parked.key);
            // It, or a newer one, came from another neighbour with all that it needs.
            if what(parked.arrived.item()).is_ok_and(|what| is_held(&what, replica)) {
                continue;
            }
            if now.since(parked.since) > PARKED_FOR {
                self.wants.dropped(&key, now);
                continue;
            }
            let complete = parked.missing.is_empty();
            let came = |half: &FacetHalf| replica.packed(half).is_some();
            if !complete && !parked.missing.iter().any(came) {
                self.parked.push_back(parked);
                continue;
            }
            let Some(missing) = self.missing(peer, parked.arrived.item(), now, replica) else {
                self.parked.push_back(parked);
                continue;
            };
            if missing.is_empty() {
                self.wants.unparked(&key, now);
                effects.push(Effect::Merge(peer, vec![parked.arrived]));
                continue;
            }
            if complete {
                parked.rounds += 1;
                if parked.rounds > ROUNDS_MAX {
                    self.wants.dropped(&key, now);
                    effects.extend(self.scold(peer, MISFIT_COST, now));
                    continue;
                }
            }
            let base = self.neighbours.get(&peer).and_then(|neighbour| neighbour.read).unwrap_or(0);
            for half in &missing {
                self.wants.announced(peer, Key::Facet(half.0), Spot::default(), base, now, true);
            }
            parked.missing = missing;
            self.parked.push_back(parked);
        }
        effects
    }

    pub(super) fn on_merged(
        &mut self,
        from: Option<HostId>,
        items: &[(EntryId, Item)],
        now: Timestamp,
        replica: &Replica,
    ) -> Vec<Effect> {
        if let Some(from) = from {
            self.accounts.give(from, Cost::Check, items.len() as u64, now);
            if let Some(neighbour) = self.neighbours.get_mut(&from) {
                neighbour.exchange.fruitful |= !items.is_empty();
            }
        }
        let mut eager = Vec::new();
        for (id, item) in items {
            let Ok(what) = what(item) else { continue };
            let pushed = self.wants.held(&what.key, what.spot);
            if let Some(from) = from {
                if let Some(neighbour) = self.neighbours.get_mut(&from) {
                    neighbour.note(what.key, what.spot);
                }
                if replica.order(id).is_some() {
                    self.came(*id, from);
                }
                if let Some(author) = what.author {
                    self.accounts.had_head_of(author, now);
                    // What was new may have been opened twice, with bases.
                    self.accounts.give(from, Cost::Opened, what.kilobytes.saturating_mul(4), now);
                }
            }
            if what.author.is_none() && (pushed || from.is_none()) {
                eager.push((*id, item.clone()));
            }
        }
        let mut effects = self.push(&eager, replica);
        effects.extend(self.seek_lists(now, replica));
        if !self.parked.is_empty() {
            effects.extend(self.unpark(now, replica));
        }
        if from.is_some() && items.len() >= MANY {
            self.few_know = true;
            effects.extend(self.flush_to_few(replica));
        } else {
            effects.extend(self.flush_soon(replica));
        }
        effects.extend(self.ask_all(now, replica));
        effects.extend(self.exchange(now, replica));
        effects
    }
}
