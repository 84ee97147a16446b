//! Orders that wait for room on their host, and cancellations that wait for their order. Both have a bound, and neither
//! is believed: an order is judged when its turn comes, by what is known and what time it is then.

use std::collections::{BTreeMap, VecDeque};

use super::APPROVALS_AN_ORDER_MAX;
use crate::{
    authority::ListPlace,
    identity::{EntryId, Operator, PublicKey},
    wire::Bytes,
    wire_record,
};

/// Orders that wait.
pub const WAITING_MAX: usize = 1024;
/// Cancellations of one operator that wait for their orders; the oldest go first. A mesh process hands each
/// over just before its order, so that as many are needed as orders may wait.
const CANCELLED_MAX: usize = 2 * WAITING_MAX;

/// An order as it is handed over to be judged and run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// The signed order, as received.
    pub order: Bytes,
    /// Where the host stands in the list of its roster, if that is one of a list.
    pub place: Option<ListPlace>,
    /// What was said on it by those whose approval it needs, as received; none where it needs none.
    pub approvals: Vec<Bytes>,
}
wire_record!(Handed { order, place, approvals });

impl Handed {
    /// An order whose roster says itself which hosts it is for.
    pub fn bare(order: &[u8]) -> Self {
        Self { order: Bytes::from(order), ..Self::default() }
    }
}

/// Orders on their way to be judged, the first to come first.
#[derive(Debug, Default)]
pub struct Waiting(VecDeque<(EntryId, Handed)>);

impl Waiting {
    /// Puts an order at the end, unless it waits already: then it waits on with the approvals that came with either.
    /// False if there is no room.
    pub fn push(&mut self, id: EntryId, order: Handed) -> bool {
        if let Some((_, held)) = self.0.iter_mut().find(|(held, _)| *held == id) {
            for approval in order.approvals {
                if held.approvals.len() < APPROVALS_AN_ORDER_MAX && !held.approvals.contains(&approval) {
                    held.approvals.push(approval);
                }
            }
            return true;
        }
        if self.0.len() >= WAITING_MAX {
            return false;
        }
        self.0.push_back((id, order));
        true
    }

    /// Takes the first one out.
    pub fn pop(&mut self) -> Option<Handed> {
        self.0.pop_front().map(|(_, order)| order)
    }

    /// Forgets all; nothing was promised to any of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Cancellations whose order has not come yet, by who signed them: who did not issue the order cancels
/// nothing, and cannot push out what its issuer said.
#[derive(Debug, Default)]
pub struct Cancelled(BTreeMap<PublicKey<Operator>, VecDeque<EntryId>>);

impl Cancelled {
    /// Remembers that `signer` cancelled `order`.
    pub fn note(&mut self, order: EntryId, signer: PublicKey<Operator>) {
        let orders = self.0.entry(signer).or_default();
        if orders.contains(&order) {
            return;
        }
        if orders.len() >= CANCELLED_MAX {
            orders.pop_front();
        }
        orders.push_back(order);
    }

    /// Whether `signer` cancelled `order`; it is forgotten with that.
    pub fn take(&mut self, order: EntryId, signer: PublicKey<Operator>) -> bool {
        let Some(orders) = self.0.get_mut(&signer) else { return false };
        let Some(at) = orders.iter().position(|held| *held == order) else { return false };
        orders.remove(at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SecretKey;

    fn id(number: usize) -> EntryId {
        EntryId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    #[test]
    fn orders_leave_as_they_came_and_a_repeat_takes_no_second_place() {
        let handed = |bytes: &[u8]| Handed::bare(bytes);
        let mut waiting = Waiting::default();
        for number in 0..WAITING_MAX {
            assert!(waiting.push(id(number), handed(&number.to_le_bytes())));
            assert!(waiting.push(id(0), handed(b"a forged copy")));
        }
        assert!(!waiting.push(id(WAITING_MAX), Handed::default()), "there is a bound");
        for number in 0..WAITING_MAX {
            assert_eq!(waiting.pop(), Some(handed(&number.to_le_bytes())));
        }
        assert_eq!(waiting.pop(), None);
    }

    #[test]
    fn nobody_pushes_out_what_another_cancelled() {
        let [ana, eve] = [1, 2].map(|seed| SecretKey::<Operator>::from_seed(&[seed; 32]).public());
        let mut cancelled = Cancelled::default();
        cancelled.note(id(0), ana);
        for number in 0..3 * CANCELLED_MAX {
            cancelled.note(id(number), eve);
        }
        assert_eq!(cancelled.0[&eve].len(), CANCELLED_MAX);
        assert!(cancelled.take(id(0), ana));
        assert!(!cancelled.take(id(0), ana), "once");
        assert!(!cancelled.take(id(0), eve), "the oldest went");
        assert!(cancelled.take(id(3 * CANCELLED_MAX - 1), eve));
    }
}
