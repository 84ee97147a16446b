//! Decides how a peer stands. Holds what callers said, and forgets cards when they run out.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use super::PeerKey;

/// Cards admitted at the same time; a fleet's operators at work are far fewer.
const CARDS_MAX: usize = 1024;

/// How a peer stands with this host; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Holds the pre-shared key, or it could not talk at all, and nothing else is known of it.
    Stranger,
    /// Has shown a card that the caller found good, until it runs out.
    Card,
    /// Is one of the hosts that the caller named.
    Member,
}

/// What callers said about peers, shared by everything that asks.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    /// Told whenever somebody's standing may have changed.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    members: HashSet<PeerKey>,
    cards: HashMap<PeerKey, Instant>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_members(&self, members: HashSet<PeerKey>) {
        self.lock().members = members;
        self.changed.notify_one();
    }

    /// Admits a card; `false` when there are too many already.
    pub(super) fn admit_card(&self, peer: PeerKey, until: Instant) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        state.cards.retain(|_, until| *until > now);
        if state.cards.len() >= CARDS_MAX && !state.cards.contains_key(&peer) {
            return false;
        }
        state.cards.insert(peer, until);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Forgets a card before it runs out.
    pub(super) fn dismiss_card(&self, peer: PeerKey) {
        if self.lock().cards.remove(&peer).is_some() {
            self.changed.notify_one();
        }
    }

    pub(super) fn standing(&self, peer: PeerKey) -> Standing {
        let state = self.lock();
        if state.members.contains(&peer) {
            return Standing::Member;
        }
        match state.cards.get(&peer) {
            Some(until) if *until > Instant::now() => Standing::Card,
            _ => Standing::Stranger,
        }
    }

    /// When the next card runs out.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let mut state = self.lock();
        let now = Instant::now();
        state.cards.retain(|_, until| *until > now);
        state.cards.values().min().copied()
    }
}
