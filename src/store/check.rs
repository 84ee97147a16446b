//! Whether what is on disk is whole: every row is read as at a start, and what comes of it is compared with
//! what is held.

use std::collections::BTreeMap;

use super::{
    backend::Loaded,
    keys::kind,
    restore::{Finding, Restored, restore},
};
use crate::{
    replica::{Replica, Roots},
    time::Timestamp,
};

/// What is on disk.
#[derive(Clone, Debug)]
pub struct Check {
    /// How many rows of each kind there are, and how many bytes they have.
    pub kinds: BTreeMap<&'static str, (u64, u64)>,
    /// Rows that are damaged.
    pub damaged: Vec<Finding>,
    /// Rows that are as they were written and cannot be used now.
    pub waiting: Vec<Finding>,
    /// Bytes that the store takes.
    pub disk_bytes: u64,
    /// Whether it is what the agent holds; nothing if that was not compared.
    pub as_held: Option<bool>,
}

impl Check {
    /// Whether nothing is wrong with it.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.as_held != Some(false)
    }

    /// Bytes of keys and values.
    pub fn live_bytes(&self) -> u64 {
        self.kinds.values().map(|(_, bytes)| bytes).sum()
    }
}

/// Checks rows against the root chain that `replica`, which holds nothing else, knows. The second part is what
/// an agent that starts now would hold.
pub fn check(replica: Replica, rows: Loaded, disk_bytes: u64, now: Timestamp) -> (Check, Roots) {
    let mut kinds: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    let sizes = rows.0.iter().map(|(key, value)| (key, value.len()));
    for (key, bytes) in sizes.chain(rows.1.iter().map(|key| (key, 0))) {
        let (count, sum) = kinds.entry(kind(key)).or_default();
        *count += 1;
        *sum += (key.len() + bytes) as u64;
    }
    let Restored { replica, damaged, waiting, .. } = restore(replica, rows, &[], now);
    let roots = replica.roots(crate::replica::first_hour(now));
    (Check { kinds, damaged, waiting, disk_bytes, as_held: None }, roots)
}
