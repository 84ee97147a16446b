//! Signatures: each is checked once in the whole simulation, and counted at every host that asks.

use std::collections::HashMap;

use crate::{
    identity::FleetId,
    replica::{Arrived, Entry, Item},
};

/// Remembers what came of checking. By all bytes, signatures too: a forged copy is not the entry.
#[derive(Debug)]
pub(super) struct Verifier {
    fleet: FleetId,
    seen: HashMap<[u8; 32], Option<Entry>>,
}

impl Verifier {
    pub(super) fn new(fleet: FleetId) -> Self {
        Self { fleet, seen: HashMap::new() }
    }

    pub(super) fn verify(&mut self, item: &Item) -> Option<Entry> {
        let fleet = self.fleet;
        let bytes = &item.entry.0;
        let seen = self.seen.entry(*blake3::hash(bytes).as_bytes());
        seen.or_insert_with(|| Entry::verify(bytes, fleet).ok()).clone()
    }

    /// As [`Self::verify`], for what a host may have checked while it waited.
    pub(super) fn judge(&mut self, arrived: Arrived) -> Option<(Entry, Item)> {
        if arrived.is_checked() {
            return arrived.verify(self.fleet).ok();
        }
        let entry = self.verify(arrived.item())?;
        Some((entry, arrived.item().clone()))
    }
}
