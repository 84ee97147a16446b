//! What this host lacks and has heard of: who has it, who is asked for it.
//!
//! Always holds: one element is asked of one neighbour at a time; a neighbour is asked one question at a time;
//! who goes away, does not answer or has it no longer makes room for the next who announced it. The table is
//! bounded for each neighbour and in all; what finds no room is remembered as the place in that neighbour's
//! feed from which it has to tell again.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use super::rows::{Half, Prefix};
use crate::{identity::HostId, time::Timestamp};

/// Elements that one neighbour announced first and that were not asked for yet.
const QUEUE_MAX: usize = 8192;
/// Elements in all.
pub(super) const WANTS_MAX: usize = 32_768;
/// Who else has it, remembered for one element.
const SOURCES_MAX: usize = 8;
/// Who is asked and says nothing for so long makes room for the next who has it.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Who says something else so long after the question has read it: it is not on its way any more.
const SPEAKS_AFTER: Duration = Duration::from_secs(1);
/// If nobody else has it, waiting is all there is to do for so long.
const ANSWER_WITHIN_MAX: Duration = Duration::from_secs(10);
/// So often it is asked for in vain.
const TRIES_MAX: u8 = 4;
/// What came is being judged for so long at most, then it counts as refused.
const JUDGED_WITHIN: Duration = Duration::from_secs(5);
/// A head that waits for its facets.
const PARKED_MAX: Duration = Duration::from_secs(30);

/// What may be wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// A host's newest head.
    Head(Prefix),
    /// Another entry.
    Entry(Half),
    /// A facet that a head names, or a base.
    Facet(Half),
}

/// Epoch and sequence of a head; zeros for everything else, of which there is only one.
pub(super) type Spot = (u32, u64);

#[derive(Clone, Copy, Debug)]
struct Source {
    peer: HostId,
    spot: Spot,
    /// How far its feed was known before it said so.
    base: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the queue of the first source.
    Queued,
    /// Of the first source.
    Asked,
    /// From the first source, at this place.
    Came { spot: Spot, until: Timestamp, pushed: bool },
}

#[derive(Debug)]
struct Want {
    sources: Vec<Source>,
    state: State,
    tries: u8,
    after: Timestamp,
    /// Whether it ever came: then there is such a thing, though it was not taken.
    exists: bool,
}

#[derive(Debug, Default)]
struct Peer {
    queue: VecDeque<Key>,
    asked: Vec<Key>,
    at: Timestamp,
    /// Whether anything that was asked for came since the question.
    delivered: bool,
    /// Whether the question was counted as unanswered.
    late: bool,
    floor: Option<u64>,
}

impl Peer {
    fn lower(&mut self, base: u64) {
        self.floor = Some(self.floor.map_or(base, |floor| floor.min(base)));
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Wants {
    rows: HashMap<Key, Want>,
    peers: BTreeMap<HostId, Peer>,
}

impl Wants {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The longest queue of a neighbour.
    pub(super) fn queued(&self) -> usize {
        self.peers.values().map(|of_peer| of_peer.queue.len()).max().unwrap_or(0)
    }

    /// A neighbour has something that is lacking here. Not asked for before `after`. `first` puts it
    /// before everything else that this neighbour is to be asked for.
    pub(super) fn announced(
        &mut self,
        peer: HostId,
        key: Key,
        spot: Spot,
        base: u64,
        after: Timestamp,
        first: bool,
    ) {
        let full = self.rows.len() >= WANTS_MAX;
        let of_peer = self.peers.entry(peer).or_default();
        match self.rows.get_mut(&key) {
            Some(want) => {
                if let Some(source) = want.sources.iter_mut().find(|source| source.peer == peer) {
                    source.spot = source.spot.max(spot);
                } else if want.sources.len() < SOURCES_MAX {
                    want.sources.push(Source { peer, spot, base });
                }
            }
            None if full || of_peer.queue.len() >= QUEUE_MAX => of_peer.lower(base),
            None => {
                let sources = vec![Source { peer, spot, base }];
                self.rows.insert(key, Want { sources, state: State::Queued, tries: 0, after, exists: false });
                if first {
                    of_peer.queue.push_front(key);
                } else {
                    of_peer.queue.push_back(key);
                }
            }
        }
    }

    /// What to ask this neighbour for now, if it is asked nothing. `limit` says how much each costs of the
    /// room for one question; `lacks` whether it is still lacking.
    pub(super) fn question(
        &mut self,
        peer: HostId,
        room: usize,
        cost: impl Fn(&Key) -> usize,
        lacks: impl Fn(&Key, Spot) -> bool,
        now: Timestamp,
    ) -> Vec<Key> {
        let Some(queue) = self.peers.get_mut(&peer).filter(|of_peer| of_peer.asked.is_empty()) else {
            return Vec::new();
        };
        let mut queue = std::mem::take(&mut queue.queue);
        let (mut asked, mut later, mut room_left) = (Vec::new(), VecDeque::new(), room);
        while let Some(key) = queue.pop_front() {
            let Some(want) = self.rows.get_mut(&key) else { continue };
            let first = want.sources.first().copied();
            if want.state != State::Queued || first.is_none_or(|first| first.peer != peer) {
                continue;
            }
            want.sources.retain(|source| lacks(&key, source.spot));
            match want.sources.first() {
                None => {
                    self.rows.remove(&key);
                }
                Some(source) if source.peer != peer => {
                    let next = source.peer;
                    self.peers.entry(next).or_default().queue.push_back(key);
                }
                // A clock that was set back.
                Some(_) if want.after > now && want.after < now.after(ANSWER_WITHIN_MAX) => {
                    later.push_back(key);
                }
                Some(_) if cost(&key) > room_left => {
                    queue.push_front(key);
                    break;
                }
                Some(_) => {
                    room_left -= cost(&key);
                    want.state = State::Asked;
                    asked.push(key);
                }
            }
        }
        later.append(&mut queue);
        if let Some(of_peer) = self.peers.get_mut(&peer) {
            // What was queued meanwhile stands behind.
            later.append(&mut of_peer.queue);
            of_peer.queue = later;
            if !asked.is_empty() {
                (of_peer.at, of_peer.delivered, of_peer.late) = (now, false, false);
                of_peer.asked.clone_from(&asked);
            }
        }
        asked
    }

    #[cfg(test)]
    pub(super) fn asks(&self, peer: &HostId) -> bool {
        self.peers.get(peer).is_some_and(|of_peer| !of_peer.asked.is_empty())
    }

    /// Whether this very thing is asked of this neighbour.
    pub(super) fn is_asked(&self, peer: &HostId, key: &Key) -> bool {
        self.peers.get(peer).is_some_and(|of_peer| of_peer.asked.contains(key))
    }

    /// It came. Returns whether it is to be judged: not when the same is being judged already.
    pub(super) fn came(
        &mut self,
        peer: HostId,
        key: Key,
        spot: Spot,
        base: u64,
        pushed: bool,
        now: Timestamp,
    ) -> bool {
        let full = self.rows.len() >= WANTS_MAX;
        let of_peer = self.peers.entry(peer).or_default();
        of_peer.at = now;
        if let Some(at) = of_peer.asked.iter().position(|asked| *asked == key) {
            of_peer.asked.remove(at);
            of_peer.delivered = true;
        }
        let state = State::Came { spot, until: now.after(JUDGED_WITHIN), pushed };
        let Some(want) = self.rows.get_mut(&key) else {
            if full {
                of_peer.lower(base);
            } else {
                let sources = vec![Source { peer, spot, base }];
                self.rows.insert(key, Want { sources, state, tries: 0, after: now, exists: true });
            }
            return true;
        };
        want.exists = true;
        let known = want.sources.iter().position(|source| source.peer == peer);
        if let State::Came { spot: judged, .. } = want.state
            && judged >= spot
        {
            if known.is_none() && want.sources.len() < SOURCES_MAX {
                want.sources.push(Source { peer, spot, base });
            }
            return false;
        }
        let mut source = known.map_or(Source { peer, spot, base }, |at| want.sources.remove(at));
        source.spot = source.spot.max(spot);
        want.sources.insert(0, source);
        want.sources.truncate(SOURCES_MAX);
        want.state = state;
        true
    }

    /// What came waits for more before it can be judged.
    pub(super) fn parked(&mut self, key: &Key, now: Timestamp) {
        if let Some(Want { state: State::Came { until, .. }, .. }) = self.rows.get_mut(key) {
            *until = now.after(PARKED_MAX);
        }
    }

    /// It waited for long enough and is judged.
    pub(super) fn unparked(&mut self, key: &Key, now: Timestamp) {
        if let Some(Want { state: State::Came { until, .. }, .. }) = self.rows.get_mut(key) {
            *until = now.after(JUDGED_WITHIN);
        }
    }

    /// Whether there is anything to ask this neighbour for.
    pub(super) fn has_queue(&self, peer: &HostId) -> bool {
        self.peers.get(peer).is_some_and(|of_peer| !of_peer.queue.is_empty())
    }

    /// It is held now. Returns whether it had come as something new in the fleet.
    pub(super) fn held(&mut self, key: &Key, spot: Spot) -> bool {
        let Some(want) = self.rows.get_mut(key) else { return false };
        let mut was_pushed = false;
        if let State::Came { spot: came, pushed, .. } = want.state {
            was_pushed = pushed;
            if came <= spot {
                want.state = State::Queued;
                // It announced more than it delivered: the next one's turn, or nobody else would ever be asked.
                if want.sources.first().is_some_and(|source| source.spot > came.max(spot)) {
                    want.tries += 1;
                    if want.tries < TRIES_MAX {
                        want.sources.rotate_left(1);
                    } else {
                        let liar = want.sources.remove(0);
                        self.peers.entry(liar.peer).or_default().lower(liar.base);
                        want.tries = 0;
                    }
                }
            }
        }
        let first = want.sources.first().map(|source| source.peer);
        want.sources.retain(|source| source.spot > spot);
        match want.sources.first() {
            None => {
                self.rows.remove(key);
            }
            Some(source) if want.state == State::Queued || first != Some(source.peer) => {
                want.state = State::Queued;
                self.peers.entry(source.peer).or_default().queue.push_back(*key);
            }
            Some(_) => {}
        }
        was_pushed
    }

    /// It was dropped before it was judged: from the next who has it, later.
    pub(super) fn dropped(&mut self, key: &Key, now: Timestamp) {
        if let Some(want) = self.rows.get_mut(key) {
            want.after = now.after(JUDGED_WITHIN);
            self.next(*key);
        }
    }

    /// A message of an answer came that brought nothing that was asked for.
    pub(super) fn moves(&mut self, peer: &HostId, now: Timestamp) {
        if let Some(of_peer) = self.peers.get_mut(peer) {
            of_peer.at = now;
        }
    }

    /// The answer is over. What it left out is asked for again if it brought something, else of others.
    /// Returns whether it brought nothing of what it was asked for and is lacking still.
    pub(super) fn answered(&mut self, peer: &HostId) -> bool {
        let Some(of_peer) = self.peers.get_mut(peer) else { return false };
        let (left, delivered) = (std::mem::take(&mut of_peer.asked), of_peer.delivered);
        let mut empty = false;
        for key in left.into_iter().rev() {
            let Some(want) = self.rows.get_mut(&key) else { continue };
            if want.state != State::Asked || want.sources.first().is_none_or(|first| first.peer != *peer) {
                continue;
            }
            if delivered {
                want.state = State::Queued;
                if let Some(of_peer) = self.peers.get_mut(peer) {
                    of_peer.queue.push_front(key);
                }
            } else {
                // What was refused here may have been replaced there since.
                empty |= !want.exists;
                self.next(key);
            }
        }
        empty
    }

    /// The first source does not have it: the next one is asked.
    fn next(&mut self, key: Key) {
        let Some(want) = self.rows.get_mut(&key) else { return };
        if !want.sources.is_empty() {
            want.sources.remove(0);
        }
        want.tries += 1;
        want.state = State::Queued;
        match want.sources.first() {
            Some(source) if want.tries < TRIES_MAX => {
                self.peers.entry(source.peer).or_default().queue.push_back(key);
            }
            _ => {
                self.rows.remove(&key);
            }
        }
    }

    /// A neighbour is gone. Returns from where on its feed has to be read again, if not from where it was.
    pub(super) fn down(&mut self, peer: &HostId) -> Option<u64> {
        let mut floor = self.peers.remove(peer).and_then(|of_peer| of_peer.floor);
        let peers = &mut self.peers;
        self.rows.retain(|key, want| {
            let Some(at) = want.sources.iter().position(|source| source.peer == *peer) else { return true };
            let gone = want.sources.remove(at);
            floor = Some(floor.map_or(gone.base, |floor: u64| floor.min(gone.base)));
            if at == 0
                && let Some(source) = want.sources.first()
            {
                want.state = State::Queued;
                peers.entry(source.peer).or_default().queue.push_back(*key);
            }
            !want.sources.is_empty()
        });
        floor
    }

    /// Time passed. Returns who was asked and did not answer though it said something meanwhile, each question
    /// once: who is cut off, or stopped, says nothing at all, and lies no more than a cable does.
    pub(super) fn tick(
        &mut self,
        heard: impl Fn(&HostId) -> Option<Timestamp>,
        now: Timestamp,
    ) -> Vec<HostId> {
        let mut late = Vec::new();
        let mut waited = Vec::new();
        for (peer, of_peer) in &mut self.peers {
            // A clock that was set back.
            of_peer.at = of_peer.at.min(now);
            if of_peer.asked.is_empty() || now.since(of_peer.at) < ANSWER_WITHIN {
                continue;
            }
            let open = |key: &&Key| {
                self.rows.get(key).is_some_and(|want| {
                    want.state == State::Asked && want.sources.first().is_some_and(|s| s.peer == *peer)
                })
            };
            let over = now.since(of_peer.at) >= ANSWER_WITHIN_MAX;
            let keys: Vec<Key> = of_peer.asked.iter().filter(open).copied().collect();
            let speaks = heard(peer).is_some_and(|heard| heard.since(of_peer.at.min(heard)) >= SPEAKS_AFTER);
            if !keys.is_empty() && speaks && !std::mem::replace(&mut of_peer.late, true) {
                late.push(*peer);
            }
            if keys.is_empty() || over {
                of_peer.asked.clear();
            }
            waited.extend(keys.into_iter().map(|key| (*peer, key, over)));
        }
        for (peer, key, over) in waited {
            let Some(want) = self.rows.get_mut(&key) else { continue };
            if want.sources.len() > 1 {
                // It may still come from there, and is asked for there again in the end.
                want.sources.rotate_left(1);
                want.state = State::Queued;
                want.tries += 1;
                if let Some(source) = want.sources.first().filter(|_| want.tries < TRIES_MAX) {
                    self.peers.entry(source.peer).or_default().queue.push_back(key);
                    continue;
                }
            } else if !over {
                continue;
            } else if want.tries + 1 < TRIES_MAX {
                (want.state, want.tries) = (State::Queued, want.tries + 1);
                self.peers.entry(peer).or_default().queue.push_back(key);
                continue;
            }
            if let Some(want) = self.rows.remove(&key) {
                for source in want.sources {
                    self.peers.entry(source.peer).or_default().lower(source.base);
                }
            }
        }
        let refused: Vec<Key> = self
            .rows
            .iter()
            .filter(|(_, want)| match want.state {
                State::Came { until, .. } => now > until || until > now.after(2 * PARKED_MAX),
                State::Queued | State::Asked => false,
            })
            .map(|(key, _)| *key)
            .collect();
        for key in refused {
            self.next(key);
        }
        late
    }
}

#[cfg(test)]
#[path = "tests/wants.rs"]
mod tests;
