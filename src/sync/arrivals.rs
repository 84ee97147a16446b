//! What comes: entries and facets, until they are handed over to be merged; and what follows from that.
//!
//! A head is merged with all its facets or not at all, so one whose facets are not here waits for them. Nothing
//! is handed over twice while it is being judged, and no signature is checked here.

use super::{
    Effect, Machine, Part,
    account::Cost,
    feed::half,
    rows::{prefix, unpack_halves},
    wants::{Key, Spot},
};
use crate::{
    identity::{EntryId, HostId, Kind, PublicKey, Signed, SignedError, Stream, peek},
    replica::{FacetHalf, Head, Item, PACKED_BYTES_MAX, Packed, Replica},
    time::Timestamp,
    wire::Bytes,
};

/// Entries in one message that are looked at.
const ITEMS_MAX: usize = 4096;
/// Facets in one message that are looked at.
const FACETS_MAX: usize = 64;
/// Heads of one neighbour that wait for facets, and their bytes; above half of the number no more are asked for.
const PARKED_MAX: usize = 256;
const PARKED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// So many entries at a time are not news: somebody catches up.
const MANY: usize = 4;
/// So often what came shows that more is needed: a facet, then its base.
const ROUNDS_MAX: u8 = 3;
/// What counts among the unasked: facets that are not what was asked for, over and over.
const MISFIT_COST: u64 = 16;
/// How long a head waits.
const PARKED_FOR: std::time::Duration = std::time::Duration::from_secs(30);

/// A head that waits for facets.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) peer: HostId,
    key: Key,
    item: Item,
    missing: Vec<FacetHalf>,
    since: Timestamp,
    rounds: u8,
}

/// What an entry says that it is, before anything is checked.
pub(super) struct What {
    pub(super) id: EntryId,
    pub(super) key: Key,
    pub(super) spot: Spot,
    /// Whose head it is, if it is one.
    pub(super) author: Option<HostId>,
    is_known_kind: bool,
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
        return Ok(What { id: header.id, key, spot, author: Some(author), is_known_kind });
    }
    let key = Key::Entry(half(&header.id));
    Ok(What { id: header.id, key, spot: Spot::default(), author: None, is_known_kind })
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
        let (mut fresh, mut useless) = (Vec::new(), 0);
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
                useless += 1;
            }
        }
        let allowed = self.accounts.take(peer, Cost::Check, fresh.len() as u64, now);
        let allowed = usize::try_from(allowed).unwrap_or(fresh.len());
        let mut merge = Vec::new();
        for (at, (key, item)) in fresh.into_iter().enumerate() {
            if at >= allowed {
                self.accounts.throttle(1);
                self.wants.dropped(&key, now);
                continue;
            }
            let missing =
                if matches!(key, Key::Head(_)) { replica.missing_facets(&item) } else { Vec::new() };
            if missing.is_empty() {
                merge.push(item);
            } else {
                self.park(peer, key, item, missing, base, now);
            }
        }
        if part == Part::Last && self.wants.answered(&peer) {
            self.unanswered(peer, now);
        }
        let mut effects: Vec<Effect> =
            (!merge.is_empty()).then_some(Effect::Merge(peer, merge)).into_iter().collect();
        effects.extend(self.bear(peer, useless, now));
        effects.extend(self.ask(peer, now, replica));
        effects
    }

    /// Whether no more heads are to be asked for before those that wait got their facets.
    pub(super) fn has_many_parked(&self, peer: &HostId) -> bool {
        self.parked.iter().filter(|parked| parked.peer == *peer).count() > PARKED_MAX / 2
    }

    fn park(
        &mut self,
        peer: HostId,
        key: Key,
        item: Item,
        missing: Vec<FacetHalf>,
        base: u64,
        now: Timestamp,
    ) {
        let of_peer = self.parked.iter().filter(|parked| parked.peer == peer);
        let (count, bytes) = of_peer.fold((0, 0), |(n, bytes), parked| (n + 1, bytes + parked.item.weight()));
        if count >= PARKED_MAX || bytes + item.weight() > PARKED_BYTES_MAX {
            self.accounts.throttle(1);
            self.wants.dropped(&key, now);
            return;
        }
        self.wants.parked(&key, now);
        for half in &missing {
            self.wants.announced(peer, Key::Facet(half.0), Spot::default(), base, now, true);
        }
        self.parked.push_back(Parked { peer, key, item, missing, since: now, rounds: 0 });
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
        let mut unasked = 0;
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
                parked.item.facets.push(packed);
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

    /// Hands over the heads whose facets are here now, and asks for what the others still lack.
    pub(super) fn unpark(&mut self, now: Timestamp, replica: &Replica) -> Vec<Effect> {
        let mut effects = Vec::new();
        for mut parked in std::mem::take(&mut self.parked) {
            parked.since = parked.since.min(now);
            let (peer, key) = (parked.peer, parked.key);
            if now.since(parked.since) > PARKED_FOR {
                self.wants.dropped(&key, now);
                continue;
            }
            let complete = parked.missing.is_empty();
            let missing = replica.missing_facets(&parked.item);
            if missing.is_empty() {
                self.wants.unparked(&key, now);
                effects.push(Effect::Merge(peer, vec![parked.item]));
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
                }
            }
            if what.author.is_none() && (pushed || from.is_none()) {
                eager.push((*id, item.clone()));
            }
        }
        let mut effects = self.push(&eager, replica);
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
