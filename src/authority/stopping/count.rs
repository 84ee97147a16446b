//! Suspensions and halts: which are kept, and which of those count.
//!
//! Always holds: what is kept, and what counts, is a function of the set. One counts if its signer's certificate is
//! one of the winning branch that the roots took from nobody on the way; whoever suspended the signer. Clocks do
//! not come into it, so *the time in a stop is its signer's word*: it keeps an honest command line from signing under
//! a certificate that is past, and no thief from writing an earlier one. Hence the seal:
//!
//! A checkpoint of the roots names a time, and the stops that stand of those under certificates that were past by
//! then; no other stop under such a certificate counts behind it. So the key of an old certificate suspends nobody
//! from the next checkpoint on, and nothing that stood is undone unless the roots leave it out. The price: between
//! two checkpoints a stolen key of a certificate that is past stops what it could stop while it was valid (never
//! does it give anything), and a stop that was signed in time, but had not reached who made the checkpoint, has to
//! be signed again by an admin of now.

use std::collections::BTreeSet;

use super::{
    Certificates, Changed, Halted, Held, Stop, View, refusal,
    share::{Of, Whose},
};
use crate::{
    authority::{Certificate, Checkpoint, Halt, Mark, Refusal, RootChain, Suspension, Verb, Whom, half},
    identity::{EntryId, Operator, PublicKey, Signed},
    selector::Selector,
    time::Timestamp,
};

/// What the roots wrote down last of stops under certificates that are past; see the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal(Option<Checkpoint>);

impl Seal {
    pub(super) fn of(chain: &RootChain) -> Self {
        Self(chain.checkpoint().cloned())
    }

    /// Whether a certificate was past when it was made.
    pub(super) fn is_past(&self, certificate: &Certificate) -> bool {
        self.0.as_ref().is_some_and(|seal| certificate.not_after < seal.at)
    }

    fn leaves(&self, certificate: &Certificate, id: &EntryId) -> bool {
        let named = |seal: &Checkpoint| seal.stands.binary_search(&half(id)).is_ok();
        !self.is_past(certificate) || self.0.as_ref().is_some_and(named)
    }
}

impl Certificates {
    /// Whether this stop counts, by the roots alone.
    fn may_stop(
        &self,
        certificate: &EntryId,
        signer: PublicKey<Operator>,
        at: Timestamp,
        id: EntryId,
    ) -> Result<&Held, Refusal> {
        let held = self.wins(certificate, signer)?;
        check_stopper(&held.certificate, at)?;
        if !self.seal.leaves(&held.certificate, &id) {
            return Err(Refusal::CertificateExpired { person: held.certificate.person.clone() });
        }
        match self.stop_of(certificate, Mark::Alone(id), View::ByRoots) {
            Some(stop) => Err(refusal(&held.certificate, stop)),
            None => Ok(held),
        }
    }

    fn counts(&self, id: &EntryId) -> bool {
        if self.lifted.contains_key(id) {
            return false;
        }
        let suspension = self.suspensions.get(id).map(|s| (s.body().certificate, s.signer(), s.body().at));
        let halt = || self.halts.get(id).map(|h| (h.body().certificate, h.signer(), h.body().at));
        suspension
            .or_else(halt)
            .is_some_and(|(certificate, signer, at)| self.may_stop(&certificate, signer, at, *id).is_ok())
    }

    /// True if it suspends.
    fn count_suspension(&mut self, id: EntryId, suspension: &Signed<Suspension>) -> bool {
        let body = suspension.body();
        let Ok(held) = self.may_stop(&body.certificate, suspension.signer(), body.at, id) else {
            return false;
        };
        let by = held.certificate.person.clone();
        if let Some(at) = self.lifted.get(&id) {
            self.refused_until.entry(body.whom.clone()).or_default().insert(id, *at);
            return false;
        }
        self.suspended.add(Stop {
            id,
            whom: body.whom.clone(),
            by: Some(by),
            effective: Some(body.effective),
            reason: body.reason.clone(),
            cut: body.cut.clone(),
        });
        true
    }

    fn count_halt(&mut self, id: EntryId, halt: &Signed<Halt>) {
        let body = halt.body();
        let Ok(held) = self.may_stop(&body.certificate, halt.signer(), body.at, id) else { return };
        let by = held.certificate.person.clone();
        let Some(selector) = body.selector().filter(|_| !self.lifted.contains_key(&id)) else { return };
        let Some(scopes) = self.scopes(&body.certificate) else { return };
        let (at, reason) = (body.at, body.reason.clone());
        self.halted.insert(id, Halted { id, by, at, reason, selector, scopes });
    }

    /// Counts these from the beginning.
    pub(super) fn count_again(&mut self, stops: &BTreeSet<EntryId>, changed: &mut Changed) {
        let mut shares: BTreeSet<Whose> = BTreeSet::new();
        for id in stops {
            if let Some(suspension) = self.suspensions.get(id).cloned() {
                let whom = &suspension.body().whom;
                let did = self.uncount_suspension(id, whom);
                if did != self.count_suspension(*id, &suspension) {
                    changed.add(self, whom);
                }
                shares.extend(self.whose(&suspension.body().certificate, Of::Suspensions));
            } else if let Some(halt) = self.halts.get(id).cloned() {
                self.halted.remove(id);
                self.count_halt(*id, &halt);
                shares.extend(self.whose(&halt.body().certificate, Of::Halts));
            }
        }
        for whose in shares {
            let lifted = &self.lifted;
            let beyond = self.shares.trim(whose, |id| lifted.contains_key(id));
            self.put_out(whose, beyond, changed);
        }
    }

    /// True if it suspended.
    fn uncount_suspension(&mut self, id: &EntryId, whom: &Whom) -> bool {
        if let Some(lifted) = self.refused_until.get_mut(whom) {
            lifted.remove(id);
            if lifted.is_empty() {
                self.refused_until.remove(whom);
            }
        }
        self.suspended.remove(whom, id)
    }

    fn whose(&self, certificate: &EntryId, of: Of) -> Option<Whose> {
        let from = self.held.get(certificate)?.from;
        Some(Whose { root: from.unwrap_or(*certificate), passed_on: from.is_some(), of })
    }

    /// Forgets what is beyond a share, and sees whether that runs over.
    fn put_out(&mut self, whose: Whose, beyond: Vec<EntryId>, changed: &mut Changed) {
        for id in beyond {
            let certificate = if let Some(suspension) = self.suspensions.remove(&id) {
                if self.uncount_suspension(&id, &suspension.body().whom) {
                    changed.add(self, &suspension.body().whom);
                }
                suspension.body().certificate
            } else if let Some(halt) = self.halts.remove(&id) {
                self.halted.remove(&id);
                halt.body().certificate
            } else {
                continue;
            };
            if let Some(under) = self.under.get_mut(&certificate) {
                under.remove(&id);
            }
            self.put_out.push(id);
        }
        let over = self.shares.runs_over(whose, |id| self.counts(id));
        let Some(share) = self.shares.get_mut(whose) else { return };
        let before = std::mem::replace(&mut share.ran_over, over);
        if let Some(before) = before.filter(|before| Some(*before) != over) {
            self.halted.remove(&before);
            if let Some(halt) = self.halts.get(&before).cloned() {
                self.count_halt(before, &halt);
            }
        }
        let halts = over.and_then(|id| self.run_over(whose, id));
        self.halted.extend(halts.map(|halt| (halt.id, halt)));
    }

    /// The halt that a share comes to where this is the last stop of too many.
    fn run_over(&self, whose: Whose, id: EntryId) -> Option<Halted> {
        let suspension = self.suspensions.get(&id).map(|s| (s.body().certificate, s.body().at));
        let (certificate, at) =
            suspension.or_else(|| self.halts.get(&id).map(|h| (h.body().certificate, h.body().at)))?;
        Some(Halted {
            id,
            by: self.held.get(&certificate)?.certificate.person.clone(),
            at,
            reason: "more suspensions or halts under one certificate than there may be".to_owned(),
            selector: Selector::parse("all").ok()?,
            scopes: vec![self.held.get(&whose.root)?.certificate.scope()?],
        })
    }

    /// Whether a suspension may be kept and relayed: its signer could, on some branch, suspend.
    pub(in crate::authority) fn keeps_suspension(
        &self,
        suspension: &Signed<Suspension>,
    ) -> Result<(), Refusal> {
        let body = suspension.body();
        if !body.is_well_formed() {
            return Err(Refusal::Malformed(
                "a suspension whose cut is not in order or whose reason is too long",
            ));
        }
        check_stopper(self.ever(&body.certificate, suspension.signer())?, body.at)
    }

    /// Whether a halt may be kept and relayed.
    pub(in crate::authority) fn keeps_halt(&self, halt: &Signed<Halt>) -> Result<(), Refusal> {
        let body = halt.body();
        if body.selector().is_none() {
            return Err(Refusal::BadSelector("a halt's selector is one over tags only".to_owned()));
        }
        check_stopper(self.ever(&body.certificate, halt.signer())?, body.at)
    }

    /// Makes room for a stop in its share; what is beyond it then.
    fn put(
        &mut self,
        certificate: &EntryId,
        of: Of,
        id: EntryId,
        bytes: usize,
    ) -> Result<(Whose, Vec<EntryId>), Refusal> {
        let whose = self.whose(certificate, of).ok_or(Refusal::UnknownCertificate)?;
        let lifted = &self.lifted;
        let beyond = self.shares.put(whose, id, bytes, |id| lifted.contains_key(id));
        if beyond.contains(&id) {
            let (what, limit) = match of {
                Of::Suspensions => ("suspensions under one certificate", self.shares.suspensions.stops),
                Of::Halts => ("halts under one certificate", self.shares.halts.stops),
            };
            return Err(Refusal::TooMany { what, limit });
        }
        self.under.entry(*certificate).or_default().insert(id);
        Ok((whose, beyond))
    }

    /// Takes a suspension; what it changed, if it was new.
    pub(in crate::authority) fn absorb_suspension(
        &mut self,
        suspension: Signed<Suspension>,
    ) -> Result<Option<Changed>, Refusal> {
        let id = suspension.id();
        if self.suspensions.contains_key(&id) {
            return Ok(None);
        }
        self.keeps_suspension(&suspension)?;
        let body = suspension.body();
        let (whose, beyond) = self.put(&body.certificate, Of::Suspensions, id, suspension.bytes().len())?;
        let mut changed = Changed::default();
        if self.count_suspension(id, &suspension) {
            changed.add(self, &body.whom);
        }
        self.suspensions.insert(id, suspension);
        self.put_out(whose, beyond, &mut changed);
        Ok(Some(changed))
    }

    /// Takes a halt; what it changed, if it was new.
    pub(in crate::authority) fn absorb_halt(
        &mut self,
        halt: Signed<Halt>,
    ) -> Result<Option<Changed>, Refusal> {
        let id = halt.id();
        if self.halts.contains_key(&id) {
            return Ok(None);
        }
        self.keeps_halt(&halt)?;
        let (whose, beyond) = self.put(&halt.body().certificate, Of::Halts, id, halt.bytes().len())?;
        self.count_halt(id, &halt);
        self.halts.insert(id, halt);
        let mut changed = Changed::default();
        self.put_out(whose, beyond, &mut changed);
        Ok(Some(changed))
    }

    /// The ids of suspensions and halts that are not held any more since this was last asked.
    pub(in crate::authority) fn take_put_out(&mut self) -> Vec<EntryId> {
        std::mem::take(&mut self.put_out)
    }

    /// The stops under certificates that are past at `at` which count: what a checkpoint of then leaves standing.
    pub(in crate::authority) fn stops_of_the_past(&self, at: Timestamp) -> Vec<EntryId> {
        let past = self.held.iter().filter(|(_, held)| held.certificate.not_after < at);
        let under = past.filter_map(|(id, _)| self.under.get(id)).flatten();
        under.filter(|id| self.counts(id)).copied().collect()
    }

    /// The certificates that are past at `at`, which could still stop something: the next checkpoint ends that.
    pub(in crate::authority) fn unsealed(
        &self,
        at: Timestamp,
    ) -> impl Iterator<Item = (&EntryId, &Certificate)> {
        let is_open = move |(id, held): &(&EntryId, &Held)| {
            let Held { certificate, .. } = held;
            certificate.not_after < at
                && certificate.verbs.contains(&Verb::Suspend)
                && !self.seal.is_past(certificate)
                && self.wins(id, certificate.key.name()).is_ok()
                && self.stop_of(id, Mark::Now, View::ByRoots).is_none()
        };
        self.held.iter().filter(is_open).map(|(id, held)| (id, &held.certificate))
    }

    /// Bounds that a test can reach.
    #[cfg(test)]
    pub(in crate::authority) fn bound(&mut self, suspensions: usize, halts: usize) {
        self.shares.suspensions.stops = suspensions;
        self.shares.halts.stops = halts;
    }
}

fn check_stopper(certificate: &Certificate, at: Timestamp) -> Result<(), Refusal> {
    let person = || certificate.person.clone();
    // Approvals are for doing something; to stop needs nobody else.
    if !certificate.verbs.contains(&Verb::Suspend) {
        return Err(Refusal::VerbNotGranted { person: person(), verb: Verb::Suspend.word() });
    }
    if !certificate.valid_at(at) {
        return Err(Refusal::CertificateExpired { person: person() });
    }
    Ok(())
}
