//! How many suspensions and halts are kept, as a function of the set of them.
//!
//! What is signed under a certificate that the roots gave has a share, and what is signed under those that were
//! passed on from it has another; each kind of stop is counted by itself, so that a full share of suspensions leaves
//! room for halts. Of a share those with the lowest ids are kept, one more than it may have: so every host that was
//! given the same keeps the same, in whatever order they came, and whoever gets only what is kept still sees that
//! it is too many.
//!
//! *Why a share that runs over halts*: room is bounded, so some that come put others out; and who holds the key
//! makes low ids as they like (an order by time would help them more: they write the time). To put out what stops
//! an accomplice would lift it, which takes the roots. So more than a share counts as a halt wherever the
//! certificate that the roots gave reaches. That gives the flood's signer nothing: one signed halt does the same.
//! The price: whom the flooded key alone had suspended gets back what is no order (tags, invitations) until another
//! admin suspends them, and a flood under what was passed on halts where the certificate that it is from does. The
//! roots end it by revoking the certificate, or the person.
//!
//! What the roots lifted does not count towards the share; as many of those are kept beside it, for they say from
//! when on their person may order again.

use std::collections::BTreeMap;

use crate::identity::EntryId;

/// Most stops of one kind in a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::authority) struct Limits {
    pub(in crate::authority) stops: usize,
    pub(in crate::authority) bytes: usize,
}

/// Which kind of stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    Suspensions,
    Halts,
}

/// Whose share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Whose {
    /// The certificate that the roots gave.
    pub(super) root: EntryId,
    /// Whether it is that of those which were passed on from it.
    pub(super) passed_on: bool,
    pub(super) of: Of,
}

/// All shares.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    of: BTreeMap<Whose, Share>,
    pub(super) suspensions: Limits,
    pub(super) halts: Limits,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            of: BTreeMap::new(),
            suspensions: Limits { stops: 1_000, bytes: 4 * 1024 * 1024 },
            halts: Limits { stops: 100, bytes: 256 * 1024 },
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Share {
    sizes: BTreeMap<EntryId, usize>,
    bytes: usize,
    /// The stop that stands for the halt which it comes to by running over.
    pub(super) ran_over: Option<EntryId>,
}

impl Shares {
    fn limits(&self, whose: Whose) -> Limits {
        match whose.of {
            Of::Suspensions => self.suspensions,
            Of::Halts => self.halts,
        }
    }

    /// Puts one in; the ids of those that are not kept then, itself perhaps among them.
    pub(super) fn put(
        &mut self,
        whose: Whose,
        id: EntryId,
        bytes: usize,
        lifted: impl Fn(&EntryId) -> bool,
    ) -> Vec<EntryId> {
        let share = self.of.entry(whose).or_default();
        share.sizes.insert(id, bytes);
        share.bytes = share.bytes.saturating_add(bytes);
        self.trim(whose, lifted)
    }

    /// Takes out those that are beyond the share, and returns them.
    pub(super) fn trim(&mut self, whose: Whose, lifted: impl Fn(&EntryId) -> bool) -> Vec<EntryId> {
        let limits = self.limits(whose);
        let Some(share) = self.of.get_mut(&whose) else { return Vec::new() };
        if !share.is_over(limits) {
            return Vec::new();
        }
        let mut beyond = Vec::new();
        let (mut standing, mut past) = (Run::default(), Run::default());
        for (id, size) in &share.sizes {
            let run = if lifted(id) { &mut past } else { &mut standing };
            if run.exceeds(limits) {
                beyond.push(*id);
            }
            run.add(*size);
        }
        for id in &beyond {
            share.bytes -= share.sizes.remove(id).unwrap_or_default();
        }
        beyond
    }

    /// The last of those that count, where they are more than a share may have.
    pub(super) fn runs_over(&self, whose: Whose, counts: impl Fn(&EntryId) -> bool) -> Option<EntryId> {
        let (share, limits) = (self.of.get(&whose)?, self.limits(whose));
        if !share.is_over(limits) {
            return None;
        }
        let mut run = Run::default();
        let mut last = None;
        for (id, size) in share.sizes.iter().filter(|(id, _)| counts(id)) {
            run.add(*size);
            last = Some(*id);
        }
        last.filter(|_| run.exceeds(limits))
    }

    pub(super) fn get_mut(&mut self, whose: Whose) -> Option<&mut Share> {
        self.of.get_mut(&whose)
    }
}

impl Share {
    fn is_over(&self, limits: Limits) -> bool {
        self.sizes.len() > limits.stops || self.bytes > limits.bytes
    }
}

/// So many stops, one after the other.
#[derive(Debug, Default)]
struct Run {
    stops: usize,
    bytes: usize,
}

impl Run {
    fn add(&mut self, bytes: usize) {
        self.stops += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn exceeds(&self, limits: Limits) -> bool {
        self.stops > limits.stops || self.bytes > limits.bytes
    }
}
