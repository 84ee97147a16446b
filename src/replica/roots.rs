//! Roots: a short hash of all that is held, kept up to date by addition.
//!
//! Each element is hashed with the fleet's key, and the hashes are added as numbers of 256 bits; a root is the
//! hash of the sum and of how many were added. Adding and taking away cost one hash each, in any order. What
//! expires is summed by the hour in which it does, so that two clocks that differ can be compared at the later
//! of both hours. (`AdHash`, Bellare and Micciancio 1997. A member who searches long enough could make two sets
//! with one root; it would hide its own entries from those that it tells so, and nothing else.)

use std::collections::BTreeMap;

use crate::{
    identity::{EntryId, FleetId},
    time::Timestamp,
    wire_record,
};

/// Milliseconds in an hour.
const HOUR_MS: u64 = 3_600_000;

/// How many hours ago a thing may have expired and still be held, so that hosts whose clocks differ agree.
const HELD_AFTER_EXPIRY_HOURS: u64 = 1;

/// The first hour whose expiring entries still count at `now`.
pub fn first_hour(now: Timestamp) -> u64 {
    (now.0 / HOUR_MS).saturating_sub(HELD_AFTER_EXPIRY_HOURS)
}

/// The hour in which something expires.
pub(super) fn expiry_hour(expires: Timestamp) -> u64 {
    expires.0 / HOUR_MS
}

/// What the roots tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Hosts' certificates and departures.
    Members,
    /// Root updates, certificates passed on, suspensions, halts, invitations, orders, cancellations.
    Set,
    /// Operators' ops, and those that ended a forked stream.
    Ops,
    /// Hosts' heads.
    Heads,
}

/// A root for each section. Equal on two hosts exactly if they hold the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// Of hosts' certificates and departures.
    pub members: [u8; 16],
    /// Of what else stands alone: root updates, certificates passed on, suspensions, halts, invitations, orders,
    /// cancellations.
    pub set: [u8; 16],
    /// Of operators' ops.
    pub ops: [u8; 16],
    /// Of heads.
    pub heads: [u8; 16],
}
wire_record!(Roots { members, set, ops, heads });

impl Roots {
    /// One root over all.
    pub fn root(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("muster/replica-root/v1");
        for part in [&self.members, &self.set, &self.ops, &self.heads] {
            hasher.update(part);
        }
        first_half(hasher.finalize().as_bytes())
    }
}

/// The first half of a hash.
pub(super) fn first_half(bytes: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(bytes.split_at(16).0);
    half
}

/// A sum of hashes, and of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    limbs: [u64; 4],
    count: u64,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, more) in self.limbs.iter_mut().zip(other.limbs) {
            let (one, over) = limb.overflowing_add(more);
            let (two, over_too) = one.overflowing_add(u64::from(carry));
            (*limb, carry) = (two, over || over_too);
        }
        self.count = self.count.wrapping_add(other.count);
    }

    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (limb, less) in self.limbs.iter_mut().zip(other.limbs) {
            let (one, under) = limb.overflowing_sub(less);
            let (two, under_too) = one.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (two, under || under_too);
        }
        self.count = self.count.wrapping_sub(other.count);
    }
}

/// The sums of all sections.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    key: [u8; 32],
    members: Sum,
    set: Sum,
    ops: Sum,
    heads: Sum,
    /// Of the set, what expires, by hour; none is empty.
    expiring: BTreeMap<u64, Sum>,
}

impl Sums {
    pub(super) fn new(fleet: FleetId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("muster/replica-sums/v1");
        hasher.update(&fleet.0);
        let (none, expiring) = (Sum::default(), BTreeMap::new());
        let key = *hasher.finalize().as_bytes();
        Self { key, members: none, set: none, ops: none, heads: none, expiring }
    }

    /// What one element adds. `kind` tells apart what one id may be at different times.
    fn term(&self, kind: u8, id: &EntryId) -> Sum {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[kind]).update(&id.0);
        let hash = hasher.finalize();
        let mut sum = Sum { limbs: [0; 4], count: 1 };
        for (limb, bytes) in sum.limbs.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(bytes);
            *limb = u64::from_le_bytes(eight);
        }
        sum
    }

    fn of(&mut self, section: Section) -> &mut Sum {
        match section {
            Section::Members => &mut self.members,
            Section::Set => &mut self.set,
            Section::Ops => &mut self.ops,
            Section::Heads => &mut self.heads,
        }
    }

    pub(super) fn add(&mut self, section: Section, kind: u8, id: &EntryId, expires: Option<Timestamp>) {
        let term = self.term(kind, id);
        match expires {
            Some(expires) => self.expiring.entry(expiry_hour(expires)).or_default().add(&term),
            None => self.of(section).add(&term),
        }
    }

    pub(super) fn remove(&mut self, section: Section, kind: u8, id: &EntryId, expires: Option<Timestamp>) {
        let term = self.term(kind, id);
        let Some(expires) = expires else { return self.of(section).subtract(&term) };
        let hour = expiry_hour(expires);
        if let Some(sum) = self.expiring.get_mut(&hour) {
            sum.subtract(&term);
            if sum.count == 0 {
                self.expiring.remove(&hour);
            }
        }
    }

    /// Whether anything expired before this hour.
    pub(super) fn expires_before(&self, hour: u64) -> bool {
        self.expiring.first_key_value().is_some_and(|(first, _)| *first < hour)
    }

    /// The roots of what counts from `hour` on.
    pub(super) fn roots(&self, hour: u64) -> Roots {
        let mut set = self.set;
        for (_, sum) in self.expiring.range(hour..) {
            set.add(sum);
        }
        let root = |sum: &Sum| {
            let mut hasher = blake3::Hasher::new_keyed(&self.key);
            for limb in sum.limbs {
                hasher.update(&limb.to_le_bytes());
            }
            first_half(hasher.update(&sum.count.to_le_bytes()).finalize().as_bytes())
        };
        Roots {
            members: root(&self.members),
            set: root(&set),
            ops: root(&self.ops),
            heads: root(&self.heads),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_comes_back_to_what_it_was_through_all_carries() {
        let most = Sum { limbs: [u64::MAX; 4], count: 1 };
        let one = Sum { limbs: [1, 0, 0, 0], count: 1 };
        let mut sum = most;
        sum.add(&one);
        assert_eq!(sum, Sum { limbs: [0; 4], count: 2 });
        sum.subtract(&one);
        assert_eq!(sum, most);
        sum.subtract(&most);
        assert_eq!(sum, Sum::default());
    }

    #[test]
    fn what_expires_counts_until_its_hour_is_over_at_both_ends() {
        let mut sums = Sums::new(FleetId([1; 32]));
        let before = sums.roots(0);
        sums.add(Section::Set, 1, &EntryId([7; 32]), Some(Timestamp(10 * HOUR_MS + 5)));
        assert_ne!(sums.roots(10), before);
        assert_eq!(sums.roots(11), before);
        // The entry counts for the rest of its hour and all of the next.
        assert_eq!(first_hour(Timestamp(12 * HOUR_MS - 1)), 10);
        assert_eq!(first_hour(Timestamp(12 * HOUR_MS)), 11);
        sums.remove(Section::Set, 1, &EntryId([7; 32]), Some(Timestamp(10 * HOUR_MS + 5)));
        assert_eq!(sums.roots(0), before);
        assert!(sums.expiring.is_empty());
    }
}
