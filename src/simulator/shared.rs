//! Replicas that went the same way are one: a thousand hosts that merge the same entries hold one copy.
//!
//! Merging is a function of what is held and of the entry, so what it made of one copy is what it makes of
//! every other. Without this a thousand hosts would hold a million certificates.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    authority::Refusal,
    replica::{Entry, Item, Merged, Replica},
    wire,
};

/// Steps that are remembered.
const STEPS_MAX: usize = 128;

#[derive(Debug)]
struct Step {
    before: Arc<Replica>,
    item: [u8; 32],
    after: Arc<Replica>,
    merged: Merged,
}

/// What merging made of shared replicas lately.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) on: bool,
    steps: VecDeque<Step>,
}

impl Shared {
    pub(super) fn merge(
        &mut self,
        replica: &mut Arc<Replica>,
        entry: &Entry,
        item: &Item,
    ) -> Result<Merged, Refusal> {
        if !self.on {
            return Arc::make_mut(replica).merge(entry.clone(), &item.facets);
        }
        let hash = *blake3::hash(&wire::encode(item)).as_bytes();
        let known = self.steps.iter().find(|step| step.item == hash && Arc::ptr_eq(&step.before, replica));
        if let Some(step) = known {
            *replica = Arc::clone(&step.after);
            return Ok(step.merged);
        }
        let before = Arc::clone(replica);
        let merged = Arc::make_mut(replica).merge(entry.clone(), &item.facets)?;
        let after = Arc::clone(replica);
        self.steps.push_back(Step { before, item: hash, after, merged });
        if self.steps.len() > STEPS_MAX {
            self.steps.pop_front();
        }
        Ok(merged)
    }
}
