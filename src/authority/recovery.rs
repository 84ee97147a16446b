//! How long a recovery waits on one host: where acting looks at the time, and nothing else does.
//!
//! A host notes when it saw a recovery first, keeps that, and lets it count once the delay of the genesis has passed
//! since then and since the time in it: so who signs one gains nothing by an early time, and a late one only makes it
//! later. A host that comes back after weeks sees it late, and waits as long as the others did. Its clock decides; in
//! a fleet with witnesses that is no earlier than they say.

use std::{collections::BTreeMap, time::Duration};

use super::{Authority, RecoveryState};
use crate::{identity::EntryId, time::Timestamp};

/// Most recoveries that are waited for: each takes recovery keys, and what is beyond waits for the others to be denied.
const WAITING_MAX: usize = 64;

/// When recoveries were seen first.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(BTreeMap<EntryId, Timestamp>);

impl Authority {
    /// Looks at the time on behalf of recoveries: notes when they were seen first, and lets those count that waited
    /// long enough. The ids of those that are newly seen, and whether one counts now that did not.
    pub fn wait(&mut self, now: Timestamp) -> (Vec<EntryId>, bool) {
        let waits = self.chain().recoveries().filter(|recovery| recovery.state == RecoveryState::Waits);
        let waits: Vec<(EntryId, Timestamp)> =
            waits.map(|recovery| (recovery.id, recovery.recover.at)).take(WAITING_MAX).collect();
        if waits.is_empty() {
            return (Vec::new(), false);
        }
        let mut new = Vec::new();
        for (id, _) in &waits {
            self.seen.0.entry(*id).or_insert_with(|| {
                new.push(*id);
                now
            });
        }
        let due: Vec<EntryId> = waits
            .into_iter()
            .filter(|(id, _)| self.counts_from(id).is_some_and(|from| from <= now))
            .map(|(id, _)| id)
            .collect();
        let turned = self.mature(&due);
        (new, turned)
    }

    /// From when on a recovery counts here, if nobody denies it.
    pub fn counts_from(&self, recovery: &EntryId) -> Option<Timestamp> {
        let delay = Duration::from_millis(self.chain().genesis().recovery?.delay_ms);
        let said = self.chain().recoveries().find(|held| held.id == *recovery)?.recover.at;
        let seen = self.seen.0.get(recovery).copied().unwrap_or(said);
        Some(said.max(seen).after(delay))
    }

    /// The recoveries that count now.
    pub fn recoveries_that_count(&self) -> Vec<EntryId> {
        let counts = self.chain().recoveries().filter(|recovery| recovery.state == RecoveryState::Counts);
        counts.map(|recovery| recovery.id).collect()
    }

    /// When recoveries were seen first.
    pub fn recoveries_seen(&self) -> impl Iterator<Item = (EntryId, Timestamp)> {
        self.seen.0.iter().map(|(id, at)| (*id, *at))
    }

    /// Takes over what was noted before a restart.
    pub fn saw_recovery(&mut self, id: EntryId, at: Timestamp) {
        self.seen.0.insert(id, at);
    }
}
