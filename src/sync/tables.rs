//! How much a machine remembers, so that it can be shown that this is bounded.

use super::{
    Machine,
    account::BLAMED_MAX,
    arrivals::{PARKED_BYTES_MAX, PARKED_MAX, WITHHELD_BY_ALL_MAX},
    held::HELD_MAX,
    neighbour::{HAS_MAX, Neighbour},
    wants::WANTS_MAX,
};

/// How many rows a machine's tables have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Elements that are lacking here and somebody has.
    pub wants: usize,
    /// Elements that one neighbour is to be asked for: the longest of these queues.
    pub queued: usize,
    /// Heads that wait for facets.
    pub parked: usize,
    /// Their bytes.
    pub parked_bytes: usize,
    /// Answers without the facets that were asked for.
    pub withheld: usize,
    /// Elements that one neighbour is known to have: of that neighbour of whom most is known.
    pub known_of_neighbours: usize,
    /// Members whose use is counted.
    pub accounts: usize,
    /// Members who misbehaved.
    pub blamed: usize,
    /// Reports that were handed on and are not settled.
    pub held: usize,
}

impl Tables {
    /// The most that each can have, with so many neighbours and members.
    pub fn most(neighbours: usize, members: usize) -> Self {
        Self {
            wants: WANTS_MAX,
            // What moves from another neighbour's queue is counted there until it is looked at.
            queued: WANTS_MAX,
            parked: neighbours * PARKED_MAX,
            parked_bytes: neighbours * PARKED_BYTES_MAX,
            withheld: WITHHELD_BY_ALL_MAX,
            known_of_neighbours: HAS_MAX,
            accounts: 2 * members,
            blamed: BLAMED_MAX,
            held: HELD_MAX,
        }
    }

    /// The first that has more rows than `most` says, by name, with its rows.
    pub fn beyond(&self, most: &Self) -> Option<(&'static str, usize)> {
        let rows = [
            ("wants", self.wants, most.wants),
            ("queued", self.queued, most.queued),
            ("parked", self.parked, most.parked),
            ("parked bytes", self.parked_bytes, most.parked_bytes),
            ("withheld", self.withheld, most.withheld),
            ("known of a neighbour", self.known_of_neighbours, most.known_of_neighbours),
            ("accounts", self.accounts, most.accounts),
            ("blamed", self.blamed, most.blamed),
            ("held", self.held, most.held),
        ];
        rows.into_iter().find(|(_, rows, most)| rows > most).map(|(name, rows, _)| (name, rows))
    }
}

impl Machine {
    /// How much is remembered, for who watches that it is bounded.
    pub fn tables(&self) -> Tables {
        Tables {
            wants: self.wants.len(),
            queued: self.wants.queued(),
            parked: self.parked.len(),
            parked_bytes: self.parked.iter().map(|parked| parked.arrived.weight()).sum(),
            withheld: self.withheld.len(),
            known_of_neighbours: self.neighbours.values().map(Neighbour::knows_of_it).max().unwrap_or(0),
            accounts: self.accounts.len(),
            blamed: self.accounts.blamed().count(),
            held: self.returns().held(),
        }
    }
}
