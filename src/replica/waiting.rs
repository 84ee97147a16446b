//! Orders that wait for room on their host, and cancellations that wait for their order. Both have a bound, and neither
//! is believed: an order is judged when its turn comes, by what is known and what time it is then.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    identity::{EntryId, Operator, PublicKey},
    wire::Bytes,
};

/// Orders that wait.
pub const WAITING_MAX: usize = 1024;
/// Cancellations of one operator that wait for their orders; the oldest go first. A mesh process hands each
/// over just before its order, so that as many are needed as orders may wait.
const CANCELLED_MAX: usize = 2 * WAITING_MAX;

/// Orders on their way to be judged, the first to come first.
#[derive(Debug, Default)]
pub struct Waiting(VecDeque<(EntryId, Bytes)>);

impl Waiting {
    /// Puts an order at the end, unless it waits already; false if there is no room.
    pub fn push(&mut self, id: EntryId, order: Bytes) -> bool {
        if self.0.iter().any(|(held, _)| *held == id) {
            return true;
        }
        if self.0.len() >= WAITING_MAX {
            return false;
        }
        self.0.push_back((id, order));
        true
    }

    /// Takes the first one out.
    pub fn pop(&mut self) -> Option<Bytes> {
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
        let mut waiting = Waiting::default();
        for number in 0..WAITING_MAX {
            assert!(waiting.push(id(number), Bytes(number.to_le_bytes().to_vec())));
            assert!(waiting.push(id(0), Bytes(b"a forged copy".to_vec())));
        }
        assert!(!waiting.push(id(WAITING_MAX), Bytes::default()), "there is a bound");
        for number in 0..WAITING_MAX {
            assert_eq!(waiting.pop(), Some(Bytes(number.to_le_bytes().to_vec())));
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
