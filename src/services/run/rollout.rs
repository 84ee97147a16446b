//! A job as the orders that it is made of: one, or one a wave.
//!
//! Decides which host stands in which wave, which order is for it, and why nobody ordered it where none is. Values
//! alone; `verb` signs and waits.
//!
//! # Why an order for each wave, signed when its turn comes
//!
//! The waves are paced by the command line that ordered them, since nothing else may: hosts could count failures
//! for themselves, but a partition would let each half go on by its own count; and an agent that holds signed orders
//! back for a later wave could just as well let all of them go at once, which is what waves are to prevent. So
//! what has not been signed cannot run, whoever is lost:
//!
//! - The command line is killed, or its machine goes away: the wave under way ends on the hosts, the later
//!   ones do not start. They are accounted as not started, and `job resume ID` takes them up.
//! - Ctrl-C once, a hang-up or SIGTERM: the same. Nobody is left who would look at failures before going on.
//! - `job pause`: the command line stays, and signs no other wave until `job resume`.
//! - Ctrl-C twice, or `job cancel`: the wave under way is cancelled too.
//!
//! What it costs: an operator stays until the last wave has begun. The operator's own directory knows which waves
//! are to come; the job's id is that of the first order.
//!
//! # Why other operators need not be told which orders are one job
//!
//! The nonce of a later wave follows from the first one's ([`wave_nonce`](super::draft::wave_nonce)), so whoever
//! holds the orders finds the waves of one job by themselves ([`Rollout::grouped`]), also those that were signed
//! before anybody looked for that. A field in the order would say the same once more, and a host that does not
//! know it would refuse to run the order. What they do not see is the waves to come, nor a job whose first order
//! is held no longer.

use std::collections::{BTreeMap, BTreeSet};

use super::{Tally, Withheld, draft::wave_nonce, sealing::Opening};
use crate::{
    identity::{EntryId, HostId, Signed},
    journal::{Stop, Waves},
    replica::{Action, Order, Roster},
};

/// Whether two orders are for the same. What is sealed is sealed anew in each.
fn is_alike(one: &Action, other: &Action) -> bool {
    match (one, other) {
        (Action::Private { private: one }, Action::Private { private: other }) => {
            (one.hash, one.reader) == (other.hash, other.reader)
        }
        (one, other) => one == other,
    }
}

/// Waves in a row that may be missing among the orders of a job before no other is looked for.
const WAVES_MISSED_MAX: usize = 4;

/// The orders of one job.
#[derive(Clone, Debug)]
pub(super) struct Rollout {
    /// The orders that were signed, one a wave; the first one's id is the job's.
    orders: Vec<Signed<Order>>,
    /// Every host, in order of ids.
    roster: Vec<HostId>,
    /// How many hosts each wave has.
    sizes: Vec<usize>,
    /// Why no more orders are signed.
    stop: Option<Withheld>,
}

impl Rollout {
    /// A job of one order, for these hosts.
    pub(super) fn of(order: Signed<Order>, roster: Vec<HostId>) -> Self {
        Self { sizes: vec![roster.len()], roster, orders: vec![order], stop: None }
    }

    /// The jobs that orders make up, as far as the orders tell it: those of one signer whose nonces follow from
    /// the first one's, and whose rosters follow each other in order of ids.
    pub(super) fn grouped(orders: &[(Signed<Order>, Vec<HostId>)]) -> Vec<Self> {
        let at: BTreeMap<[u8; 16], usize> =
            orders.iter().enumerate().map(|(at, (order, _))| (order.body().nonce, at)).collect();
        let mut later = BTreeSet::new();
        let mut jobs = Vec::new();
        for (place, (first, hosts)) in orders.iter().enumerate() {
            let mut job = Self::of(first.clone(), hosts.clone());
            let (mut wave, mut missed) = (1, 0);
            while missed < WAVES_MISSED_MAX {
                let next = at.get(&wave_nonce(&first.body().nonce, wave)).filter(|next| **next != place);
                match next.and_then(|next| orders.get(*next).map(|order| (*next, order))) {
                    Some((next, (order, hosts))) if job.follows(order, hosts) => {
                        later.insert(next);
                        job.add(order.clone(), hosts);
                        missed = 0;
                    }
                    _ => missed += 1,
                }
                wave += 1;
            }
            jobs.push(job);
        }
        jobs.into_iter().enumerate().filter(|(place, _)| !later.contains(place)).map(|(_, job)| job).collect()
    }

    /// Whether an order can be that of the next wave.
    fn follows(&self, order: &Signed<Order>, hosts: &[HostId]) -> bool {
        let is_same = |first: &Signed<Order>| {
            first.signer() == order.signer() && is_alike(&first.body().action, &order.body().action)
        };
        self.orders.first().is_some_and(is_same) && self.roster.last() < hosts.first()
    }

    /// Takes the order of a wave that nobody announced.
    fn add(&mut self, order: Signed<Order>, hosts: &[HostId]) {
        self.sizes.push(hosts.len());
        self.roster.extend(hosts);
        self.orders.push(order);
    }

    /// A job whose first wave is to be signed.
    pub(super) fn begin(roster: Vec<HostId>, sizes: Vec<usize>) -> Self {
        Self { orders: Vec::new(), roster, sizes, stop: None }
    }

    /// A job as an operator's directory remembers it. `find` finds its orders; without all of them, or where
    /// they are not for the hosts of their waves, there is no such job. (Of what marks hosts of a list, which may
    /// be gone, only their number is looked at.)
    pub(super) fn remembered(
        waves: &Waves,
        is_paced: bool,
        is_paused: bool,
        find: impl Fn(&EntryId) -> Option<Signed<Order>>,
    ) -> Option<Self> {
        let sizes = waves.sizes.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<_>>>()?;
        let orders = waves.orders.iter().map(find).collect::<Option<Vec<_>>>()?;
        let stop = match &waves.stop {
            Some(Stop::Budget {}) => Withheld::Budget,
            Some(Stop::Cancelled {}) => Withheld::Cancelled,
            Some(Stop::Broken { .. }) => Withheld::Broken,
            None if is_paced && is_paused => Withheld::Paused,
            None if is_paced => Withheld::Later,
            Some(Stop::Detached {}) | None => Withheld::Left,
        };
        let rollout = Self { orders, roster: waves.roster.clone(), sizes, stop: Some(stop) };
        let fits = rollout.sizes.iter().sum::<usize>() == rollout.roster.len()
            && !rollout.orders.is_empty()
            && rollout.signed().all(|(order, hosts)| match &order.body().roster {
                Roster::Inline { hosts: named } => named == hosts,
                roster @ Roster::Bitmap { .. } => roster.count() == hosts.len(),
            });
        fits.then_some(rollout)
    }

    /// What is to be remembered of it.
    pub(super) fn waves(&self, errors_max: Option<usize>, stop: Option<Stop>) -> Waves {
        Waves {
            roster: self.roster.clone(),
            sizes: self.sizes.iter().map(|size| u32::try_from(*size).unwrap_or(u32::MAX)).collect(),
            orders: self.orders.iter().map(Signed::id).collect(),
            errors_max: errors_max.map(|errors| errors as u64),
            stop,
        }
    }

    /// The hosts of a wave, counted from 0; nobody beyond the last.
    pub(super) fn wave(&self, wave: usize) -> &[HostId] {
        let start = self.sizes.iter().take(wave).sum::<usize>();
        let end = start + self.sizes.get(wave).copied().unwrap_or(0);
        self.roster.get(start..end).unwrap_or_default()
    }

    /// The hosts of the waves that no order was signed for.
    pub(super) fn rest(&self) -> &[HostId] {
        let start = self.sizes.iter().take(self.orders.len()).sum::<usize>();
        self.roster.get(start..).unwrap_or_default()
    }

    /// How many waves there are.
    pub(super) fn waves_total(&self) -> usize {
        self.sizes.len()
    }

    /// Takes the order of the next wave.
    pub(super) fn push(&mut self, order: Signed<Order>) {
        self.orders.push(order);
    }

    /// Its id, once an order was signed.
    pub(super) fn id(&self) -> Option<EntryId> {
        self.orders.first().map(Signed::id)
    }

    /// The orders that were signed.
    pub(super) fn orders(&self) -> &[Signed<Order>] {
        &self.orders
    }

    /// The orders that were signed, each with its hosts.
    pub(super) fn signed(&self) -> impl DoubleEndedIterator<Item = (&Signed<Order>, &[HostId])> {
        self.orders.iter().enumerate().map(|(wave, order)| (order, self.wave(wave)))
    }

    /// Every host, in order of ids.
    pub(super) fn roster(&self) -> &[HostId] {
        &self.roster
    }

    /// Whether an order is one of its.
    pub(super) fn has(&self, order: &EntryId) -> bool {
        self.orders.iter().any(|signed| signed.id() == *order)
    }

    /// Takes that no other wave is signed, since it was cancelled.
    pub(super) fn cancel(&mut self) {
        self.stop = Some(Withheld::Cancelled);
    }

    /// Takes that this process signs the waves that are left.
    pub(super) fn take_up(&mut self) {
        self.stop = None;
    }

    /// The waves that are left, as if they were all.
    pub(super) fn remainder(&self) -> Self {
        Self::begin(self.rest().to_vec(), self.sizes.iter().skip(self.orders.len()).copied().collect())
    }

    /// Whether another wave may still be signed by somebody.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.stop, Some(Withheld::Later | Withheld::Paused)) && !self.rest().is_empty()
    }

    /// Why the hosts of the waves that were not signed are not started.
    pub(super) fn withheld(&self) -> Withheld {
        self.stop.unwrap_or(Withheld::Later)
    }

    /// An accounting in which nobody has answered.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::new(&self.roster);
        tally.withhold(self.rest(), self.withheld());
        if let Some(first) = self.orders.first() {
            tally.read_by(Opening::unknown(first.body()));
        }
        tally
    }
}
