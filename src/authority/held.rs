//! The layer of certificates: which are held, from the root chain and passed on, and what stops them.
//!
//! Decides whether what a certificate's holder signed stands, and whether it may be acted on now. Always holds:
//! the result is a function of the set of root updates, grants, suspensions and halts; more of them never give
//! anybody more, but for what the roots certify and lift. Two views:
//!
//! - *by the roots*: the winning branch, grants under it, less what is revoked. Who may suspend is judged by it
//!   alone, so that no suspension voids another one, and of two admins who suspend each other both are.
//! - *whole*: the same, less what is suspended. Everything else is judged by it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Certificate, Cut, Grant, Halt, Lift, Mark, Refusal, RootChain, Suspension, Whom};
use crate::{
    identity::{EntryId, Operator, PublicKey, Signed},
    selector::{Selector, Subject},
    time::Timestamp,
};

#[path = "stopping/against.rs"]
mod against;
#[path = "stopping/count.rs"]
mod count;
#[path = "stopping/share.rs"]
mod share;

use against::Stops;
use count::Seal;
use share::Shares;

/// Most certificates that are passed on.
const GRANTS_MAX: usize = 10_000;

/// Why something of somebody's does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The suspension, or the root update that revokes.
    pub id: EntryId,
    /// Whom it stops.
    pub whom: Whom,
    /// Who suspended; nobody if the roots revoked.
    pub by: Option<String>,
    /// Since when what they did is suspect; nothing if the roots revoked.
    pub effective: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// What stands.
    pub cut: Cut,
}

/// A halt that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halted {
    /// The halt.
    pub id: EntryId,
    /// Who halted.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// Where.
    pub selector: Selector,
    /// The scopes of the certificate that it was signed under.
    scopes: Vec<Selector>,
}

impl Halted {
    /// Whether it is meant for a host with these tags: those that an order with its selector would be for.
    pub fn covers(&self, host: &impl Subject) -> bool {
        self.selector.outcomes(host).may_be_true() && self.scopes.iter().all(|scope| scope.selects(host))
    }
}

/// A certificate, wherever it comes from.
#[derive(Clone, Debug)]
struct Held {
    certificate: Certificate,
    /// What could stop it.
    whoms: [Whom; 3],
    /// The certificate that it was passed on from; none on the root chain.
    from: Option<EntryId>,
    /// Whether it is on the winning branch; what was passed on is where that is from.
    wins: bool,
}

impl Held {
    fn new(id: EntryId, certificate: Certificate, from: Option<EntryId>, wins: bool) -> Self {
        let whoms = [
            Whom::Certificate { id },
            Whom::Key { key: certificate.key.name() },
            Whom::Person { name: certificate.person.clone() },
        ];
        Self { certificate, whoms, from, wins }
    }
}

/// How far a look goes; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    ByRoots,
    Whole,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Certificates {
    held: BTreeMap<EntryId, Held>,
    by_whom: BTreeMap<Whom, BTreeSet<EntryId>>,
    passed_on: BTreeMap<EntryId, BTreeSet<EntryId>>,
    grants: BTreeMap<EntryId, Signed<Grant>>,
    suspensions: BTreeMap<EntryId, Signed<Suspension>>,
    halts: BTreeMap<EntryId, Signed<Halt>>,
    /// The suspensions and halts under each certificate.
    under: BTreeMap<EntryId, BTreeSet<EntryId>>,
    shares: Shares,
    revoked: Stops,
    suspended: Stops,
    halted: BTreeMap<EntryId, Halted>,
    lifted: BTreeMap<EntryId, Timestamp>,
    /// Lifted suspensions of each, and up to when what they ordered stays refused though they are suspended no more.
    refused_until: BTreeMap<Whom, BTreeMap<EntryId, Timestamp>>,
    /// What the roots wrote down last of stops under certificates that were past by then.
    seal: Seal,
    /// Suspensions and halts that others of their share put out, and that whoever keeps entries has not heard of.
    put_out: Vec<EntryId>,
}

/// What a change of the layer may have changed above.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// Certificates.
    pub(super) certificates: BTreeSet<EntryId>,
    /// Hosts and tokens that are stopped, or not any more.
    pub(super) others: BTreeSet<Whom>,
}

impl Changed {
    fn add(&mut self, layer: &Certificates, whom: &Whom) {
        for id in layer.by_whom.get(whom).into_iter().flatten() {
            self.certificates.insert(*id);
            self.certificates.extend(layer.passed_on.get(id).into_iter().flatten());
        }
        if matches!(whom, Whom::Host { .. } | Whom::Token { .. }) {
            self.others.insert(whom.clone());
        }
    }
}

impl Certificates {
    /// What a chain alone says.
    pub(super) fn new(chain: &RootChain) -> Self {
        let mut layer = Self::default();
        layer.follow(chain);
        layer
    }

    /// Takes over where the chain stands now.
    pub(super) fn follow(&mut self, chain: &RootChain) -> Changed {
        let mut changed = Changed::default();
        for (id, certificate) in chain.certificates_ever() {
            let wins = chain.wins(&id);
            match self.held.get_mut(&id) {
                Some(held) if held.wins == wins => {}
                Some(held) => {
                    held.wins = wins;
                    changed.certificates.insert(id);
                    changed.certificates.extend(self.passed_on.get(&id).into_iter().flatten());
                }
                None => {
                    self.hold(id, Held::new(id, certificate.clone(), None, wins));
                    changed.certificates.insert(id);
                }
            }
        }
        let lifted: BTreeMap<EntryId, Timestamp> = chain
            .lifts()
            .flat_map(|(_, Lift { stops, at, .. })| stops.iter().map(|stop| (*stop, *at)))
            .collect();
        let mut revoked = Stops::default();
        for (id, revocation) in chain.revocations() {
            revoked.add(Stop {
                id,
                whom: revocation.whom.clone(),
                by: None,
                effective: None,
                reason: revocation.reason.clone(),
                cut: revocation.cut.clone(),
            });
        }
        for whom in self.revoked.differing(&revoked) {
            changed.add(self, &whom);
        }
        self.revoked = revoked;
        // What hangs on that alone is counted again: stops that are lifted, or not any more, and those under
        // certificates of which the roots think otherwise now.
        let mut again: BTreeSet<EntryId> = differing(&self.lifted, &lifted).collect();
        self.lifted = lifted;
        let seal = Seal::of(chain);
        if seal != self.seal {
            let old = std::mem::replace(&mut self.seal, seal);
            let touched = self.held.iter().filter(|(_, held)| {
                let is_past = |seal: &Seal| seal.is_past(&held.certificate);
                is_past(&old) || is_past(&self.seal)
            });
            again.extend(touched.filter_map(|(id, _)| self.under.get(id)).flatten());
        }
        again.extend(changed.certificates.iter().filter_map(|id| self.under.get(id)).flatten());
        self.count_again(&again, &mut changed);
        changed
    }

    fn hold(&mut self, id: EntryId, held: Held) {
        for whom in &held.whoms {
            self.by_whom.entry(whom.clone()).or_default().insert(id);
        }
        if let Some(from) = held.from {
            self.passed_on.entry(from).or_default().insert(id);
        }
        self.held.insert(id, held);
    }

    /// The certificate with this id on some branch, if its holder is `key`: whose objects are kept.
    pub(super) fn ever(&self, id: &EntryId, key: PublicKey<Operator>) -> Result<&Certificate, Refusal> {
        let held = self.held.get(id).ok_or(Refusal::UnknownCertificate)?;
        if held.certificate.key.name() == key { Ok(&held.certificate) } else { Err(Refusal::NotTheHolder) }
    }

    /// The same on the winning branch.
    fn wins(&self, id: &EntryId, key: PublicKey<Operator>) -> Result<&Held, Refusal> {
        let held = self.held.get(id).ok_or(Refusal::UnknownCertificate)?;
        let root = held.from.map_or(Some(held), |from| self.held.get(&from));
        if !root.is_some_and(|root| root.wins) {
            return Err(Refusal::UnknownCertificate);
        }
        if held.certificate.key.name() == key { Ok(held) } else { Err(Refusal::NotTheHolder) }
    }

    /// The certificate with this id, if its holder is `key` and what stands at `mark` counts.
    pub(super) fn stands(
        &self,
        id: &EntryId,
        key: PublicKey<Operator>,
        mark: Mark,
    ) -> Result<&Certificate, Refusal> {
        let held = self.wins(id, key)?;
        match self.stop_of(id, mark, View::Whole) {
            Some(stop) => Err(refusal(&held.certificate, stop)),
            None => Ok(&held.certificate),
        }
    }

    /// The certificate with this id, if its holder is `key` and the roots took it from nobody on the way.
    pub(super) fn stands_by_roots(
        &self,
        id: &EntryId,
        key: PublicKey<Operator>,
    ) -> Result<&Certificate, Refusal> {
        let held = self.wins(id, key)?;
        match self.stop_of(id, Mark::Now, View::ByRoots) {
            Some(stop) => Err(refusal(&held.certificate, stop)),
            None => Ok(&held.certificate),
        }
    }

    /// What makes void what was signed under a certificate at `mark`.
    fn stop_of(&self, id: &EntryId, mark: Mark, view: View) -> Option<&Stop> {
        let held = self.held.get(id)?;
        for whom in &held.whoms {
            let suspended = (view == View::Whole).then_some(&self.suspended);
            let mut tables = [Some(&self.revoked), suspended].into_iter().flatten();
            if let Some(stop) = tables.find_map(|stops| stops.against(whom, mark)) {
                return Some(stop);
            }
        }
        // That it was passed on has to stand; the certificate that it is from may have been stopped since.
        self.stop_of(&held.from?, Mark::Alone(*id), view)
    }

    /// The last sequence of a stream of a certificate's holder that stands; all if that is the highest number.
    pub(super) fn last(&self, id: &EntryId, stream: &crate::identity::StreamId) -> Option<u64> {
        let held = self.held.get(id)?;
        let key = held.certificate.key.name();
        self.wins(id, key).ok()?;
        if let Some(from) = held.from
            && self.stop_of(&from, Mark::Alone(*id), View::Whole).is_some()
        {
            return None;
        }
        let mut last = u64::MAX;
        for whom in &held.whoms {
            for stops in [&self.revoked, &self.suspended] {
                last = last.min(stops.last(whom, stream)?);
            }
        }
        Some(last)
    }

    /// What stops a host or a token.
    pub(super) fn stop(&self, whom: &Whom) -> Option<&Stop> {
        self.revoked.first(whom).or_else(|| self.suspended.first(whom))
    }

    /// The scopes that have to hold where a certificate's holder does something; none if one cannot be read.
    pub(super) fn scopes(&self, id: &EntryId) -> Option<Vec<Selector>> {
        let held = self.held.get(id)?;
        let mut scopes = vec![held.certificate.scope()?];
        if let Some(from) = held.from {
            scopes.push(self.held.get(&from)?.certificate.scope()?);
        }
        Some(scopes)
    }

    /// The certificate that this one was passed on from.
    pub(super) fn from(&self, id: &EntryId) -> Option<EntryId> {
        self.held.get(id)?.from
    }

    /// Whose a certificate is, wherever it stands.
    pub(super) fn person(&self, id: &EntryId) -> Option<&str> {
        Some(self.held.get(id)?.certificate.person.as_str())
    }

    /// The names that belong to one person: those that any certificate, also one that was stopped, ties to a key
    /// that another ties to one of them.
    pub(super) fn same_person<'a>(&'a self, person: &'a str) -> BTreeSet<&'a str> {
        let of =
            |whom: &Whom| self.by_whom.get(whom).into_iter().flatten().filter_map(|id| self.held.get(id));
        let (mut names, mut ahead) = (BTreeSet::from([person]), vec![person]);
        while let Some(name) = ahead.pop() {
            for held in of(&Whom::Person { name: name.to_owned() }) {
                let key = Whom::Key { key: held.certificate.key.name() };
                let others = of(&key).map(|other| other.certificate.person.as_str());
                ahead.extend(others.filter(|other| names.insert(other)));
            }
        }
        names
    }

    /// Until when what was ordered under a certificate stays refused.
    pub(super) fn refused_until(&self, id: &EntryId) -> Option<Timestamp> {
        if self.refused_until.is_empty() {
            return None;
        }
        let whoms = &self.held.get(id)?.whoms;
        whoms.iter().filter_map(|whom| self.refused_until.get(whom)?.values().max()).max().copied()
    }

    /// The certificates of the winning branch and those passed on under it that no stop ended.
    pub(super) fn all(&self) -> impl Iterator<Item = (&EntryId, &Certificate)> {
        self.held
            .iter()
            .filter(|(id, held)| self.stands(id, held.certificate.key.name(), Mark::Now).is_ok())
            .map(|(id, held)| (id, &held.certificate))
    }

    /// The same with those that were stopped, and what stopped them.
    pub(super) fn all_ever(&self) -> impl Iterator<Item = (&EntryId, &Certificate, Option<&Stop>)> {
        self.held
            .iter()
            .filter(|(id, held)| self.wins(id, held.certificate.key.name()).is_ok())
            .map(|(id, held)| (id, &held.certificate, self.stop_of(id, Mark::Now, View::Whole)))
    }

    /// One of them on the winning branch, and whether it is stopped.
    pub(super) fn held(&self, id: &EntryId) -> Option<(EntryId, &Certificate, bool)> {
        let held = self.held.get(id)?;
        self.wins(id, held.certificate.key.name()).ok()?;
        Some((*id, &held.certificate, self.stop_of(id, Mark::Now, View::Whole).is_some()))
    }

    /// Those of one key, and whether they are stopped.
    pub(super) fn of_key(
        &self,
        key: PublicKey<Operator>,
    ) -> impl Iterator<Item = (&EntryId, &Certificate, bool)> {
        let ids = self.by_whom.get(&Whom::Key { key }).into_iter().flatten();
        ids.filter_map(move |id| {
            let held = self.wins(id, key).ok()?;
            Some((id, &held.certificate, self.stop_of(id, Mark::Now, View::Whole).is_some()))
        })
    }

    // ---- what stands alone

    /// Whether a grant is kept and relayed.
    pub(super) fn keeps_grant(&self, grant: &Signed<Grant>) -> Result<(), Refusal> {
        let body = grant.body();
        let from = self.ever(&body.certificate, grant.signer())?;
        if self.from(&body.certificate).is_some() {
            return Err(Refusal::Wider { person: from.person.clone(), what: "it cannot be passed on again" });
        }
        body.check(from)
    }

    /// Takes a grant; true if it was new.
    pub(super) fn absorb_grant(&mut self, grant: Signed<Grant>) -> Result<bool, Refusal> {
        let id = grant.id();
        if self.grants.contains_key(&id) {
            return Ok(false);
        }
        self.keeps_grant(&grant)?;
        if self.grants.len() >= GRANTS_MAX {
            return Err(Refusal::TooMany { what: "certificates passed on", limit: GRANTS_MAX });
        }
        let body = grant.body();
        self.hold(id, Held::new(id, body.grant.clone(), Some(body.certificate), false));
        self.grants.insert(id, grant);
        Ok(true)
    }

    /// The grants that are held.
    pub(super) fn grants(&self) -> impl Iterator<Item = &Signed<Grant>> {
        self.grants.values()
    }

    /// One of them.
    pub(super) fn grant(&self, id: &EntryId) -> Option<&Signed<Grant>> {
        self.grants.get(id)
    }

    /// The suspensions that are held, whether they count or not.
    pub(super) fn suspensions(&self) -> impl Iterator<Item = &Signed<Suspension>> {
        self.suspensions.values()
    }

    /// One of them.
    pub(super) fn suspension(&self, id: &EntryId) -> Option<&Signed<Suspension>> {
        self.suspensions.get(id)
    }

    /// The halts that are held, whether they count or not.
    pub(super) fn halts(&self) -> impl Iterator<Item = &Signed<Halt>> {
        self.halts.values()
    }

    /// One of them.
    pub(super) fn halt(&self, id: &EntryId) -> Option<&Signed<Halt>> {
        self.halts.get(id)
    }

    /// The halts that count.
    pub(super) fn halted(&self) -> impl Iterator<Item = &Halted> {
        self.halted.values()
    }

    /// What is stopped now: suspensions that count, and revocations.
    pub(super) fn stops(&self) -> impl Iterator<Item = &Stop> {
        self.revoked.all().chain(self.suspended.all())
    }
}

/// The keys of which two maps say different things.
fn differing<'a, K: Ord + Copy, V: PartialEq>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = K> + 'a {
    let keys = one.keys().chain(other.keys());
    keys.filter(|key| one.get(key) != other.get(key)).copied()
}

fn refusal(certificate: &Certificate, stop: &Stop) -> Refusal {
    let person = certificate.person.clone();
    match &stop.by {
        Some(by) => Refusal::Suspended { person, by: by.clone(), reason: stop.reason.clone() },
        None => Refusal::Revoked { person, reason: stop.reason.clone() },
    }
}
