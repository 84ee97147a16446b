//! What was said on orders that need approvals, kept until the orders expire, whether they are here or not.
//!
//! Of what one certificate's holder said on one order the newest approval and the newest refusal stand, by the time in
//! them and then by id: a function of the set. It does not know whether any of it counts; who acts on the order
//! judges that.

use std::collections::BTreeMap;

use super::state::bounded;
use crate::{
    authority::{Approval, Refusal},
    identity::{EntryId, Operator, PublicKey, Signed},
};

/// Most that is kept on one order: what the executor is handed with it has to fit into one message.
pub const APPROVALS_AN_ORDER_MAX: usize = 64;
/// Most that one key signs: whoever steals it fills no more than its own share.
const APPROVALS_A_KEY_MAX: usize = 1_000;
/// Most in all.
const APPROVALS_MAX: usize = 20_000;

/// Under which certificate, and whether it was given.
type Voice = (EntryId, bool);

/// What keeping one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A newer one, or itself, stands in its place.
    Older,
    /// Nothing stood there.
    New,
    /// This one stood there.
    Instead(EntryId),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Approvals {
    by_order: BTreeMap<EntryId, BTreeMap<Voice, Signed<Approval>>>,
    by_key: BTreeMap<PublicKey<Operator>, usize>,
    count: usize,
}

impl Approvals {
    /// Keeps one, unless a newer one stands in its place.
    pub(super) fn keep(&mut self, approval: Signed<Approval>) -> Result<Said, Refusal> {
        let body = approval.body();
        let (order, voice) = (body.order, (body.certificate, body.given));
        let newness = |approval: &Signed<Approval>| (approval.body().at, approval.id());
        let held = self.by_order.get(&order);
        if let Some(old) = held.and_then(|held| held.get(&voice)) {
            if newness(old) >= newness(&approval) {
                return Ok(Said::Older);
            }
        } else {
            let of_key = self.by_key.get(&approval.signer()).copied().unwrap_or_default();
            bounded(held.map_or(0, BTreeMap::len), APPROVALS_AN_ORDER_MAX, "approvals of one order")?;
            bounded(of_key, APPROVALS_A_KEY_MAX, "approvals by one key")?;
            bounded(self.count, APPROVALS_MAX, "approvals")?;
            self.count += 1;
            *self.by_key.entry(approval.signer()).or_default() += 1;
        }
        let old = self.by_order.entry(order).or_default().insert(voice, approval);
        Ok(old.map_or(Said::New, |old| Said::Instead(old.id())))
    }

    /// Forgets one that is past.
    pub(super) fn forget(&mut self, order: &EntryId, id: &EntryId) {
        let Some(held) = self.by_order.get_mut(order) else { return };
        let of = held.iter().find(|(_, approval)| approval.id() == *id).map(|(voice, _)| *voice);
        if let Some(gone) = of.and_then(|voice| held.remove(&voice)) {
            self.count -= 1;
            if let Some(count) = self.by_key.get_mut(&gone.signer()) {
                *count -= 1;
                if *count == 0 {
                    self.by_key.remove(&gone.signer());
                }
            }
        }
        if held.is_empty() {
            self.by_order.remove(order);
        }
    }

    /// One of them.
    pub(super) fn get(&self, order: &EntryId, id: &EntryId) -> Option<&Signed<Approval>> {
        self.of(order).find(|approval| approval.id() == *id)
    }

    /// All on one order.
    pub(super) fn of(&self, order: &EntryId) -> impl Iterator<Item = &Signed<Approval>> {
        self.by_order.get(order).into_iter().flat_map(BTreeMap::values)
    }

    /// All.
    pub(super) fn all(&self) -> impl Iterator<Item = &Signed<Approval>> {
        self.by_order.values().flat_map(BTreeMap::values)
    }
}
