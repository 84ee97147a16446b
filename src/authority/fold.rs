//! The fold: certificates from the root chain, hosts and tags from what those certificates signed.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Certificate, ChainError, Departure, Enrolled, INVITATION_VALID_MAX, Invitation, Op, OpAction, Refusal,
    RootChain, TagChange, Verb,
    groups::{self, Groups},
};
use crate::{
    identity::{EntryId, FleetId, HostId, Operator, PublicKey, Signed, Transport},
    selector::{self, Look, Path, Subject},
    time::{Hlc, Timestamp},
};

/// Most hosts in a fleet.
const HOSTS_MAX: usize = 50_000;
/// Most tag ops for one host.
const OPS_A_HOST_MAX: usize = 1_000;
/// Most changes, and most superseded writes, in one op.
const CHANGES_MAX: usize = 64;

/// What a tag is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagState {
    /// Set to this.
    Set(String),
    /// Written differently by operators who had not seen each other: unknown, and selects nothing, until
    /// a write names both.
    Conflict,
}

/// Whether a host counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A member.
    Member,
    /// It said that it left.
    Left,
    /// Its token was redeemed more often than it allows; none of its redeemers counts until an operator
    /// sorts it out.
    Quarantined,
    /// The certificate that invited it is no longer one of the fleet's.
    Disowned,
}

/// A host as the authority sees it.
#[derive(Clone, Debug)]
pub struct Host {
    enrolled: Enrolled,
    departure: Option<Signed<Departure>>,
    recognised: bool,
    over_used: bool,
    tags: BTreeMap<String, TagState>,
}

impl Host {
    /// Its id.
    pub fn id(&self) -> HostId {
        self.enrolled.host()
    }
    /// Its label.
    pub fn name(&self) -> &str {
        &self.enrolled.enrolment().name
    }
    /// The chain that admitted it.
    pub fn enrolled(&self) -> &Enrolled {
        &self.enrolled
    }
    /// Its last entry, if it left.
    pub fn departure(&self) -> Option<&Signed<Departure>> {
        self.departure.as_ref()
    }
    /// Whether it counts.
    pub fn standing(&self) -> Standing {
        if self.departure.is_some() {
            Standing::Left
        } else if !self.recognised {
            Standing::Disowned
        } else if self.over_used {
            Standing::Quarantined
        } else {
            Standing::Member
        }
    }
    /// Its signed tags.
    pub fn tags(&self) -> &BTreeMap<String, TagState> {
        &self.tags
    }
    /// The key it proves itself with on the wire.
    pub fn transport(&self) -> PublicKey<Transport> {
        self.enrolled.enrolment().keys.transport
    }
}

/// A host as the judge sees it: signed tags are what they are, and anything else is undecided.
impl Subject for Host {
    fn look(&self, path: &Path) -> Look<'_> {
        let Some(key) = path.tag() else { return Look::Undecided };
        match self.tags.get(key) {
            Some(TagState::Set(value)) => Look::Value(value.into()),
            Some(TagState::Conflict) => Look::Conflict,
            None => Look::Absent,
        }
    }
}

#[derive(Clone, Debug)]
struct Write {
    certificate: EntryId,
    signer: PublicKey<Operator>,
    at: Timestamp,
    changes: Vec<TagChange>,
    supersedes: Vec<EntryId>,
}

/// Who belongs and who may do what, as far as it is known.
#[derive(Clone, Debug)]
pub struct Authority {
    chain: RootChain,
    /// Those of the winning branch, which allow.
    certificates: BTreeMap<EntryId, Certificate>,
    /// Those of every branch, whose objects are kept: a host that saw a branch before it lost and one
    /// that never did must keep the same.
    certificates_ever: BTreeMap<EntryId, Certificate>,
    hosts: BTreeMap<HostId, Host>,
    by_transport: BTreeMap<PublicKey<Transport>, BTreeSet<HostId>>,
    redeemers: BTreeMap<EntryId, BTreeSet<HostId>>,
    writes: BTreeMap<HostId, BTreeMap<EntryId, Write>>,
    pub(super) groups: Groups,
}

impl Authority {
    /// What a chain alone says.
    pub fn new(chain: RootChain) -> Self {
        let (certificates, certificates_ever) = of_chain(&chain);
        Self {
            chain,
            certificates,
            certificates_ever,
            hosts: BTreeMap::new(),
            by_transport: BTreeMap::new(),
            redeemers: BTreeMap::new(),
            writes: BTreeMap::new(),
            groups: Groups::default(),
        }
    }

    /// The fleet.
    pub fn fleet(&self) -> FleetId {
        self.chain.fleet()
    }

    /// The root chain.
    pub fn chain(&self) -> &RootChain {
        &self.chain
    }

    /// The certificate with this id, if its holder is `key`.
    ///
    /// # Errors
    /// When there is none, or it is another's.
    pub fn certificate_of(&self, id: &EntryId, key: PublicKey<Operator>) -> Result<&Certificate, Refusal> {
        held_by(&self.certificates, id, key)
    }

    /// The certificates of the fleet.
    pub fn certificates(&self) -> impl Iterator<Item = (&EntryId, &Certificate)> {
        self.certificates.iter()
    }

    /// Every host that ever belonged.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// The hosts that count.
    pub fn members(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values().filter(|host| host.standing() == Standing::Member)
    }

    /// The hosts whose ids begin with these bytes.
    pub fn hosts_by_prefix(&self, prefix: &[u8]) -> impl Iterator<Item = &Host> {
        let bound = |fill: u8| {
            let mut id = [fill; 32];
            id.iter_mut().zip(prefix).for_each(|(byte, wanted)| *byte = *wanted);
            HostId(id)
        };
        self.hosts.range(bound(0)..=bound(u8::MAX)).map(|(_, host)| host)
    }

    /// One host.
    pub fn host(&self, id: &HostId) -> Option<&Host> {
        self.hosts.get(id)
    }

    /// The host that proves itself with this transport key. Of several that name one key, the member
    /// with the lowest id; without a member, the host with the lowest id.
    pub fn host_by_transport(&self, key: &PublicKey<Transport>) -> Option<&Host> {
        let claimants = self.by_transport.get(key)?.iter().filter_map(|id| self.hosts.get(id));
        claimants.min_by_key(|host| (host.standing() != Standing::Member, host.id()))
    }

    /// How many hosts have redeemed an invitation.
    pub fn redeemed(&self, invitation: &EntryId) -> usize {
        self.redeemers.get(invitation).map_or(0, BTreeSet::len)
    }

    /// Takes a root update; true if it was new.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub fn absorb_root(&mut self, bytes: &[u8]) -> Result<bool, ChainError> {
        if !self.chain.absorb(bytes)? {
            return Ok(false);
        }
        let (certificates, certificates_ever) = of_chain(&self.chain);
        self.certificates_ever = certificates_ever;
        if certificates != self.certificates {
            self.certificates = certificates;
            self.refold();
        }
        Ok(true)
    }

    /// Everything below the certificates again: a lost branch takes what it allowed with it.
    fn refold(&mut self) {
        let verdicts: Vec<_> =
            self.hosts.iter().map(|(id, host)| (*id, host.enrolled.recognise(self).is_ok())).collect();
        for (id, recognised) in verdicts {
            if let Some(host) = self.hosts.get_mut(&id) {
                host.recognised = recognised;
            }
            self.retag(id);
        }
    }

    /// Whether an invitation's signer could invite that; without the time.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold.
    pub fn recognise_invitation(&self, invitation: &Signed<Invitation>) -> Result<(), Refusal> {
        check_invitation(&self.certificates, invitation)
    }

    /// Whether an invitation is kept and relayed: its signer could, on some branch, invite that.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold.
    pub fn keeps_invitation(&self, invitation: &Signed<Invitation>) -> Result<(), Refusal> {
        check_invitation(&self.certificates_ever, invitation)
    }

    /// Takes a host's certificate; true if it was new. Of two for one host, the lower id stands: a function
    /// of the set. What allows it is judged on the winning branch; one that a lost branch allowed is kept
    /// as disowned.
    ///
    /// # Errors
    /// [`Refusal`] names the link that does not hold.
    pub fn absorb_host(&mut self, enrolled: Enrolled) -> Result<bool, Refusal> {
        let id = enrolled.host();
        let held = self.hosts.get(&id);
        if held.is_some_and(|held| held.enrolled.certificate().id() <= enrolled.certificate().id()) {
            return Ok(false);
        }
        self.keeps_invitation(enrolled.invitation())?;
        enrolled.check()?;
        if held.is_none() && self.hosts.len() >= HOSTS_MAX {
            return Err(Refusal::TooMany { what: "hosts", limit: HOSTS_MAX });
        }
        let departure = self.forget_host(&id);
        let (invitation, uses) = (enrolled.invitation().id(), enrolled.invitation().body().uses);
        let recognised = enrolled.recognise(self).is_ok();
        self.by_transport.entry(enrolled.enrolment().keys.transport).or_default().insert(id);
        self.redeemers.entry(invitation).or_default().insert(id);
        let host = Host { enrolled, departure, recognised, over_used: false, tags: BTreeMap::new() };
        self.hosts.insert(id, host);
        self.count_redeemers(&invitation, uses, Some(id));
        self.retag(id);
        Ok(true)
    }

    /// Takes out a host whose certificate is replaced; its departure stands, whatever it said else.
    fn forget_host(&mut self, id: &HostId) -> Option<Signed<Departure>> {
        let host = self.hosts.remove(id)?;
        if let Some(claimants) = self.by_transport.get_mut(&host.transport()) {
            claimants.remove(id);
        }
        let (invitation, uses) = (host.enrolled.invitation().id(), host.enrolled.invitation().body().uses);
        if let Some(redeemers) = self.redeemers.get_mut(&invitation) {
            redeemers.remove(id);
        }
        self.count_redeemers(&invitation, uses, None);
        host.departure
    }

    /// Quarantines all redeemers of an invitation that has more than it allows, and no one else; `joined` is one
    /// more, otherwise there is one less. The others change only where the bound itself is crossed, so that a
    /// token for ten thousand hosts does not cost the square of that.
    fn count_redeemers(&mut self, invitation: &EntryId, uses: u32, joined: Option<HostId>) {
        let Some(redeemers) = self.redeemers.get(invitation) else { return };
        let uses = usize::try_from(uses).unwrap_or(usize::MAX);
        let over = redeemers.len() > uses;
        let crossed = redeemers.len() == uses.saturating_add(usize::from(joined.is_some()));
        let others = if crossed { redeemers.len() } else { 0 };
        for id in redeemers.iter().take(others).chain(&joined) {
            if let Some(host) = self.hosts.get_mut(id) {
                host.over_used = over;
            }
        }
    }

    /// Takes a host's last entry; true if it was new.
    ///
    /// # Errors
    /// When the host is not known.
    pub fn absorb_departure(&mut self, departure: Signed<Departure>) -> Result<bool, Refusal> {
        let host = self.hosts.get_mut(&HostId::of(&departure.signer())).ok_or(Refusal::Gap)?;
        // Of two, the lower id stands: a function of the set.
        if host.departure.as_ref().is_some_and(|held| held.id() <= departure.id()) {
            return Ok(false);
        }
        host.departure = Some(departure);
        Ok(true)
    }

    /// Whether an op's signer could write that; without the time.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold.
    pub fn recognise_op(&self, op: &Signed<Op>) -> Result<(), Refusal> {
        check_op(&self.certificates, op)
    }

    /// Whether an op is kept and relayed: its signer could, on some branch, write that. One about a group needs
    /// no right to be kept, only to have an effect: versions that do not know groups keep it so.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold.
    pub fn keeps_op(&self, op: &Signed<Op>) -> Result<(), Refusal> {
        if groups::about(&op.body().action).is_some() {
            check_supersedes(op)?;
            return held_by(&self.certificates_ever, &op.body().certificate, op.signer()).map(|_| ());
        }
        check_op(&self.certificates_ever, op)
    }

    /// Takes an op; true if it changed anything. Kinds that are not known change nothing, and what only a
    /// lost branch allowed is kept without effect.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold.
    pub fn absorb_op(&mut self, op: &Signed<Op>) -> Result<bool, Refusal> {
        self.keeps_op(op)?;
        let body = op.body();
        if let Some((name, selector)) = groups::about(&body.action) {
            if check_op(&self.certificates_ever, op).is_err() {
                return Ok(false);
            }
            return self.groups.absorb(op, name, selector);
        }
        let OpAction::Tag { host, changes } = &body.action else { return Ok(false) };
        let writes = self.writes.entry(*host).or_default();
        if writes.contains_key(&op.id()) {
            return Ok(false);
        }
        if writes.len() >= OPS_A_HOST_MAX {
            return Err(Refusal::TooMany { what: "tag ops for one host", limit: OPS_A_HOST_MAX });
        }
        writes.insert(
            op.id(),
            Write {
                certificate: body.certificate,
                signer: op.signer(),
                at: time_of(body.at),
                changes: changes.clone(),
                supersedes: body.supersedes.clone(),
            },
        );
        let host = *host;
        self.retag(host);
        Ok(true)
    }

    /// Takes back an op of a stream that turned out to be forked.
    pub fn retract_op(&mut self, op: &Signed<Op>) {
        if let Some((name, _)) = groups::about(&op.body().action) {
            self.groups.retract(op, name);
        }
        let OpAction::Tag { host, .. } = &op.body().action else { return };
        if self.writes.get_mut(host).and_then(|writes| writes.remove(&op.id())).is_some() {
            self.retag(*host);
        }
    }

    /// The writes to one tag of one host that nothing has superseded: what a new write must name.
    pub fn live_writes(&self, host: &HostId, key: &str) -> Vec<EntryId> {
        self.live(host).remove(key).unwrap_or_default().into_iter().map(|(id, _)| id).collect()
    }

    fn live(&self, id: &HostId) -> BTreeMap<String, Vec<(EntryId, Option<String>)>> {
        let mut all: BTreeMap<String, Vec<(EntryId, Option<String>)>> = BTreeMap::new();
        let mut superseded: BTreeSet<(&str, EntryId)> = BTreeSet::new();
        for (write_id, write) in self.writes.get(id).into_iter().flatten() {
            let Write { certificate, signer, at, changes, supersedes } = write;
            if check_tag_changes(&self.certificates, certificate, *signer, *at, changes).is_err() {
                continue;
            }
            for change in changes {
                all.entry(change.key.clone()).or_default().push((*write_id, change.value.clone()));
                superseded.extend(supersedes.iter().map(|older| (change.key.as_str(), *older)));
            }
        }
        for (key, writes) in &mut all {
            writes.retain(|(write, _)| !superseded.contains(&(key.as_str(), *write)));
        }
        // What a host brought is older than every op about it, named or not: a host that signs its
        // certificate anew must not bring back a tag that an operator took away.
        if let Some(host) = self.hosts.get(id) {
            for (key, value) in &host.enrolled.enrolment().tags {
                all.entry(key.clone())
                    .or_insert_with(|| vec![(host.enrolled.certificate().id(), Some(value.clone()))]);
            }
        }
        all
    }

    fn retag(&mut self, id: HostId) {
        let mut tags = BTreeMap::new();
        for (key, writes) in self.live(&id) {
            let mut values = writes.into_iter().map(|(_, value)| value);
            let Some(first) = values.next() else { continue };
            if values.any(|other| other != first) {
                tags.insert(key, TagState::Conflict);
            } else if let Some(value) = first {
                tags.insert(key, TagState::Set(value));
            }
        }
        if let Some(host) = self.hosts.get_mut(&id) {
            host.tags = tags;
        }
    }
}

type Certificates = BTreeMap<EntryId, Certificate>;

fn of_chain(chain: &RootChain) -> (Certificates, Certificates) {
    let owned = |(id, certificate): (EntryId, &Certificate)| (id, certificate.clone());
    (chain.certificates().map(owned).collect(), chain.certificates_ever().map(owned).collect())
}

fn held_by<'a>(
    certificates: &'a Certificates,
    id: &EntryId,
    key: PublicKey<Operator>,
) -> Result<&'a Certificate, Refusal> {
    let certificate = certificates.get(id).ok_or(Refusal::UnknownCertificate)?;
    if certificate.key.name() == key { Ok(certificate) } else { Err(Refusal::NotTheHolder) }
}

fn check_invitation(certificates: &Certificates, invitation: &Signed<Invitation>) -> Result<(), Refusal> {
    let body = invitation.body();
    let certificate = held_by(certificates, &body.certificate, invitation.signer())?;
    let person = certificate.person.clone();
    if !certificate.allows(Verb::Invite) {
        return Err(Refusal::VerbNotGranted { person, verb: Verb::Invite.word() });
    }
    if !certificate.valid_at(body.issued) {
        return Err(Refusal::CertificateExpired { person });
    }
    if body.expires.since(body.issued) > INVITATION_VALID_MAX {
        return Err(Refusal::ValidTooLong);
    }
    if let Some((key, value)) = body
        .tags
        .iter()
        .find(|(key, value)| !certificate.may_tag(key, value) || selector::check_tag(key, value).is_err())
    {
        return Err(Refusal::TagNotGranted { tag: format!("{key}={value}") });
    }
    Ok(())
}

fn check_op(certificates: &Certificates, op: &Signed<Op>) -> Result<(), Refusal> {
    let body = op.body();
    check_supersedes(op)?;
    if let Some((name, selector)) = groups::about(&body.action) {
        let certificate = held_by(certificates, &body.certificate, op.signer())?;
        return groups::check(certificate, body.at, name, selector);
    }
    let OpAction::Tag { changes, .. } = &body.action else {
        // What it does is not known, so nothing is granted; but only an operator's stream is kept.
        return held_by(certificates, &body.certificate, op.signer()).map(|_| ());
    };
    if changes.len() > CHANGES_MAX {
        return Err(Refusal::TooMany { what: "changes in an op", limit: CHANGES_MAX });
    }
    check_tag_changes(certificates, &body.certificate, op.signer(), time_of(body.at), changes)
}

fn check_supersedes(op: &Signed<Op>) -> Result<(), Refusal> {
    if op.body().supersedes.len() > CHANGES_MAX {
        return Err(Refusal::TooMany { what: "superseded writes", limit: CHANGES_MAX });
    }
    Ok(())
}

fn time_of(at: Hlc) -> Timestamp {
    Timestamp(at.0 >> 16)
}

fn check_tag_changes(
    certificates: &Certificates,
    certificate: &EntryId,
    signer: PublicKey<Operator>,
    at: Timestamp,
    changes: &[TagChange],
) -> Result<(), Refusal> {
    let certificate = held_by(certificates, certificate, signer)?;
    let person = certificate.person.clone();
    if !certificate.allows(Verb::Tag) {
        return Err(Refusal::VerbNotGranted { person, verb: Verb::Tag.word() });
    }
    if !certificate.valid_at(at) {
        return Err(Refusal::CertificateExpired { person });
    }
    for TagChange { key, value } in changes {
        let granted = match value {
            Some(value) => selector::check_tag(key, value).is_ok() && certificate.may_tag(key, value),
            None => certificate.may_untag(key),
        };
        if !granted {
            let value = value.as_deref().unwrap_or_default();
            return Err(Refusal::TagNotGranted { tag: format!("{key}={value}") });
        }
    }
    Ok(())
}
