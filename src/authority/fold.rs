//! The fold: hosts and tags from what certificates signed; those have a layer of their own.
//!
//! A change below is carried up by what hangs on it, not by going over everything: of a certificate that is
//! stopped, only the tokens whose verdict turns and the ops behind the cut.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Admission, Certificate, ChainError, Departure, Enrolled, Grant, Halt, Halted, INVITATION_VALID_MAX,
    Invitation, Mark, Op, OpAction, Refusal, RootChain, Stop, Suspension, TagChange, Verb, Whom,
    admission::{self, Admissions},
    groups::{self, Groups},
    held::{Certificates, Changed},
    notices::{self, Notices},
    recovery::Seen,
};
use crate::{
    identity::{EntryId, FleetId, HostId, Operator, PublicKey, Signed, StreamId, Transport},
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
    /// It joined with a token whose hosts are approved one by one, and waits.
    Pending,
    /// It waited, and an operator said no.
    Denied,
    /// It said that it left.
    Left,
    /// An operator said that it is gone.
    Retired,
    /// Its token was redeemed more often than it allows; none of its redeemers counts until an operator
    /// sorts it out.
    Quarantined,
    /// Its key signs in two places: its state was copied and both copies run, or somebody has its key.
    Cloned,
    /// The certificate that invited it is no longer one of the fleet's, or no longer stands for it.
    Disowned,
    /// An admin suspended it, or its token.
    Suspended,
    /// The roots revoked it, or its token.
    Revoked,
}

impl Standing {
    /// The word that people and scripts get.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Pending => "pending",
            Self::Denied => "denied",
            Self::Left => "left",
            Self::Retired => "retired",
            Self::Quarantined => "quarantined",
            Self::Cloned => "cloned",
            Self::Disowned => "disowned",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }

    /// Whether an operator's word about the host is what it waits for.
    pub const fn waits(self) -> bool {
        matches!(self, Self::Pending | Self::Quarantined | Self::Denied)
    }
}

/// A host as the authority sees it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, of which several may hold")]
pub struct Host {
    enrolled: Enrolled,
    departure: Option<Signed<Departure>>,
    recognised: bool,
    over_used: bool,
    /// What operators said of it while it waited.
    admitted: Option<bool>,
    retired: bool,
    renamed: Option<String>,
    /// Its key signs in two places.
    copied: bool,
    /// Suspended or revoked, if it is.
    stopped: Option<Standing>,
    tags: BTreeMap<String, TagState>,
}

impl Host {
    /// Its id.
    pub fn id(&self) -> HostId {
        self.enrolled.host()
    }
    /// Its label: what an operator called it last, else as it came.
    pub fn name(&self) -> &str {
        self.renamed.as_ref().unwrap_or(&self.enrolled.enrolment().name)
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
        } else if let Some(stopped) = self.stopped {
            stopped
        } else if !self.recognised {
            Standing::Disowned
        } else if self.retired {
            Standing::Retired
        } else if self.copied {
            Standing::Cloned
        } else {
            let approved = self.enrolled.invitation().body().approve;
            match self.admitted {
                Some(true) => Standing::Member,
                Some(false) if approved || self.over_used => Standing::Denied,
                _ if approved => Standing::Pending,
                _ if self.over_used => Standing::Quarantined,
                _ => Standing::Member,
            }
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
    mark: Mark,
    at: Timestamp,
    changes: Vec<TagChange>,
    supersedes: Vec<EntryId>,
}

/// A token that somebody redeemed.
#[derive(Clone, Debug)]
struct Token {
    invitation: Signed<Invitation>,
    recognised: bool,
    redeemers: BTreeSet<HostId>,
}

/// What hangs on a certificate.
#[derive(Clone, Debug, Default)]
struct Users {
    tokens: BTreeSet<EntryId>,
    streams: BTreeMap<StreamId, Written>,
}

/// The tag ops of one stream under one certificate.
#[derive(Clone, Debug, Default)]
struct Written {
    /// The last sequence that stood when their hosts' tags were made out.
    last: Option<u64>,
    ops: BTreeMap<u64, HostId>,
}

/// Who belongs and who may do what, as far as it is known.
#[derive(Clone, Debug)]
pub struct Authority {
    chain: RootChain,
    pub(super) certificates: Certificates,
    hosts: BTreeMap<HostId, Host>,
    by_transport: BTreeMap<PublicKey<Transport>, BTreeSet<HostId>>,
    tokens: BTreeMap<EntryId, Token>,
    writes: BTreeMap<HostId, BTreeMap<EntryId, Write>>,
    users: BTreeMap<EntryId, Users>,
    pub(super) groups: Groups,
    admissions: Admissions,
    notices: Notices,
    /// Hosts whose key signs in two places, by proofs that whoever folds has checked.
    copied: BTreeSet<HostId>,
    pub(super) seen: Seen,
}

impl Authority {
    /// What a chain alone says.
    pub fn new(chain: RootChain) -> Self {
        let certificates = Certificates::new(&chain);
        Self {
            chain,
            certificates,
            hosts: BTreeMap::new(),
            by_transport: BTreeMap::new(),
            tokens: BTreeMap::new(),
            writes: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: Groups::default(),
            admissions: Admissions::default(),
            notices: Notices::default(),
            copied: BTreeSet::new(),
            seen: Seen::default(),
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

    /// The certificate with this id, if its holder is `key` and nothing stops either.
    ///
    /// # Errors
    /// When there is none, it is another's, or it is suspended or revoked.
    pub fn certificate_of(&self, id: &EntryId, key: PublicKey<Operator>) -> Result<&Certificate, Refusal> {
        self.certificates.stands(id, key, Mark::Now)
    }

    /// The certificates that may be acted under: of the root chain and passed on, that nothing stops.
    pub fn certificates(&self) -> impl Iterator<Item = (&EntryId, &Certificate)> {
        self.certificates.all()
    }

    /// The same with those that are stopped, and what stops them.
    pub fn certificates_and_stops(&self) -> impl Iterator<Item = (&EntryId, &Certificate, Option<&Stop>)> {
        self.certificates.all_ever()
    }

    /// The certificate that this one was passed on from; none if the roots gave it.
    pub fn passed_on_from(&self, id: &EntryId) -> Option<EntryId> {
        self.certificates.from(id)
    }

    /// The suspensions that count, and the revocations.
    pub fn stops(&self) -> impl Iterator<Item = &Stop> {
        self.certificates.stops()
    }

    /// The halts that count.
    pub fn halts(&self) -> impl Iterator<Item = &Halted> {
        self.certificates.halted()
    }

    /// What halts a host with these tags, if anything does.
    pub fn halted(&self, host: &impl Subject) -> Option<&Halted> {
        self.certificates.halted().find(|halt| halt.covers(host))
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
        self.tokens.get(invitation).map_or(0, |token| token.redeemers.len())
    }

    /// Takes a root update; true if it was new.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub fn absorb_root(&mut self, bytes: &[u8]) -> Result<bool, ChainError> {
        if !self.chain.absorb(bytes)? {
            return Ok(false);
        }
        let changed = self.certificates.follow(&self.chain);
        self.rejudge(&changed);
        Ok(true)
    }

    /// Lets recoveries count that have waited long enough; true if that changed anything.
    pub fn mature(&mut self, recoveries: &[EntryId]) -> bool {
        if !self.chain.mature(recoveries) {
            return false;
        }
        let changed = self.certificates.follow(&self.chain);
        self.rejudge(&changed);
        true
    }

    /// Takes a certificate that is passed on; true if it was new.
    ///
    /// # Errors
    /// [`Refusal`] names what its signer may not give.
    pub fn absorb_grant(&mut self, grant: Signed<Grant>) -> Result<bool, Refusal> {
        self.certificates.absorb_grant(grant)
    }

    /// Takes a suspension; true if it was new. Whether it counts is another question: its signer may have been
    /// an admin on a lost branch only.
    ///
    /// # Errors
    /// [`Refusal`] names what its signer may not do.
    pub fn absorb_suspension(&mut self, suspension: Signed<Suspension>) -> Result<bool, Refusal> {
        let Some(changed) = self.certificates.absorb_suspension(suspension)? else { return Ok(false) };
        self.rejudge(&changed);
        Ok(true)
    }

    /// Takes a halt; true if it was new.
    ///
    /// # Errors
    /// [`Refusal`] names what its signer may not do.
    pub fn absorb_halt(&mut self, halt: Signed<Halt>) -> Result<bool, Refusal> {
        let Some(changed) = self.certificates.absorb_halt(halt)? else { return Ok(false) };
        self.rejudge(&changed);
        Ok(true)
    }

    /// The ids of suspensions and halts that were held and are not any more since this was last asked: others of
    /// their share put them out.
    pub fn take_put_out(&mut self) -> Vec<EntryId> {
        self.certificates.take_put_out()
    }

    /// The suspensions and halts that a checkpoint of the roots would have to name so that they stand.
    pub fn stops_of_the_past(&self, at: Timestamp) -> Vec<EntryId> {
        self.certificates.stops_of_the_past(at)
    }

    /// The certificates that are past and could still suspend and halt, until the next checkpoint.
    pub fn unsealed(&self, at: Timestamp) -> impl Iterator<Item = (&EntryId, &Certificate)> {
        self.certificates.unsealed(at)
    }

    /// Bounds of shares of stops that a test can reach.
    #[cfg(test)]
    pub(crate) fn bound_stops(&mut self, suspensions: usize, halts: usize) {
        self.certificates.bound(suspensions, halts);
    }

    /// The certificates passed on that are held.
    pub fn grants(&self) -> impl Iterator<Item = &Signed<Grant>> {
        self.certificates.grants()
    }

    /// One of them.
    pub fn grant(&self, id: &EntryId) -> Option<&Signed<Grant>> {
        self.certificates.grant(id)
    }

    /// The suspensions that are held, whether they count or not.
    pub fn suspensions(&self) -> impl Iterator<Item = &Signed<Suspension>> {
        self.certificates.suspensions()
    }

    /// One of them.
    pub fn suspension(&self, id: &EntryId) -> Option<&Signed<Suspension>> {
        self.certificates.suspension(id)
    }

    /// The halts that are held, whether they count or not.
    pub fn signed_halts(&self) -> impl Iterator<Item = &Signed<Halt>> {
        self.certificates.halts()
    }

    /// One of them.
    pub fn signed_halt(&self, id: &EntryId) -> Option<&Signed<Halt>> {
        self.certificates.halt(id)
    }

    /// Carries up what changed among certificates.
    fn rejudge(&mut self, changed: &Changed) {
        let mut turned: BTreeSet<HostId> = BTreeSet::new();
        for id in &changed.certificates {
            let Some(users) = self.users.get_mut(id) else { continue };
            for (stream, written) in &mut users.streams {
                let last = self.certificates.last(id, stream);
                if last != written.last {
                    let bounds = (last.min(written.last), last.max(written.last));
                    let above = bounds.0.map_or(0, |low| low.saturating_add(1));
                    let through = bounds.1.unwrap_or_default();
                    turned.extend(
                        written.ops.range(above..).take_while(|(at, _)| **at <= through).map(|(_, h)| *h),
                    );
                    written.last = last;
                }
            }
            for token in users.tokens.clone() {
                self.rejudge_token(&token);
            }
        }
        for id in &changed.certificates {
            self.admissions.under(id).collect::<Vec<_>>().into_iter().for_each(|host| self.readmit(host));
        }
        for whom in &changed.others {
            match whom {
                Whom::Host { id } => self.restop(*id),
                Whom::Token { id } => {
                    let redeemers = self.tokens.get(id).map(|token| token.redeemers.clone());
                    redeemers.into_iter().flatten().for_each(|host| self.restop(host));
                }
                Whom::Person { .. } | Whom::Key { .. } | Whom::Certificate { .. } => {}
            }
        }
        for host in turned {
            self.retag(host);
        }
    }

    fn rejudge_token(&mut self, id: &EntryId) {
        let Some(token) = self.tokens.get(id) else { return };
        let recognised = self.recognise_invitation(&token.invitation).is_ok();
        let Some(token) = self.tokens.get_mut(id).filter(|token| token.recognised != recognised) else {
            return;
        };
        token.recognised = recognised;
        for id in &token.redeemers {
            if let Some(host) = self.hosts.get_mut(id) {
                host.recognised = recognised;
            }
        }
    }

    /// Suspends or revokes a host, or takes that back, by what is known.
    fn restop(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let token = Whom::Token { id: host.enrolled.invitation().id() };
        let stops = [Whom::Host { id }, token].map(|whom| self.certificates.stop(&whom));
        let standing = |stop: &Stop| if stop.by.is_some() { Standing::Suspended } else { Standing::Revoked };
        let standings = || stops.into_iter().flatten().map(standing);
        host.stopped = standings().find(|stop| *stop == Standing::Revoked).or_else(|| standings().next());
    }

    /// Whether an invitation's signer could invite that; without the time.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold.
    pub fn recognise_invitation(&self, invitation: &Signed<Invitation>) -> Result<(), Refusal> {
        let body = invitation.body();
        let mark = Mark::Alone(invitation.id());
        check_invitation(self.certificates.stands(&body.certificate, invitation.signer(), mark)?, body)
    }

    /// Whether an invitation is kept and relayed: its signer could, on some branch, invite that.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold.
    pub fn keeps_invitation(&self, invitation: &Signed<Invitation>) -> Result<(), Refusal> {
        let body = invitation.body();
        check_invitation(self.certificates.ever(&body.certificate, invitation.signer())?, body)
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
        self.by_transport.entry(enrolled.enrolment().keys.transport).or_default().insert(id);
        if !self.tokens.contains_key(&invitation) {
            let recognised = self.recognise_invitation(enrolled.invitation()).is_ok();
            let (signed, redeemers) = (enrolled.invitation().clone(), BTreeSet::new());
            self.users.entry(signed.body().certificate).or_default().tokens.insert(invitation);
            self.tokens.insert(invitation, Token { invitation: signed, recognised, redeemers });
        }
        let Some(token) = self.tokens.get_mut(&invitation) else { return Ok(false) };
        token.redeemers.insert(id);
        let (recognised, tags) = (token.recognised, BTreeMap::new());
        let host = Host {
            enrolled,
            departure,
            recognised,
            over_used: false,
            admitted: None,
            retired: false,
            renamed: None,
            copied: self.copied.contains(&id),
            stopped: None,
            tags,
        };
        self.hosts.insert(id, host);
        self.count_redeemers(&invitation, uses, Some(id));
        self.restop(id);
        self.readmit(id);
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
        if let Some(token) = self.tokens.get_mut(&invitation) {
            token.redeemers.remove(id);
        }
        self.count_redeemers(&invitation, uses, None);
        host.departure
    }

    /// Quarantines all redeemers of an invitation that has more than it allows, and no one else; `joined` is one
    /// more, otherwise there is one less. The others change only where the bound itself is crossed, so that a
    /// token for ten thousand hosts does not cost the square of that.
    fn count_redeemers(&mut self, invitation: &EntryId, uses: u32, joined: Option<HostId>) {
        let Some(Token { redeemers, .. }) = self.tokens.get(invitation) else { return };
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

    /// Takes a host out that was proved to sign in two places. The proof is checked by whoever calls.
    pub fn quarantine_copied(&mut self, host: HostId) {
        self.copied.insert(host);
        if let Some(host) = self.hosts.get_mut(&host) {
            host.copied = true;
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

    /// Takes an operator's word about a host; true if it was new. It counts if its signer may invite with the
    /// host's tags.
    ///
    /// # Errors
    /// [`Refusal`] names what its signer may not do.
    pub fn absorb_admission(&mut self, admission: Signed<Admission>) -> Result<bool, Refusal> {
        let host = admission.body().host;
        let new = self.admissions.absorb(admission, &self.certificates)?;
        if new {
            self.readmit(host);
        }
        Ok(new)
    }

    /// Whether `signer` may let this host in, or turn it away, at `at`.
    ///
    /// # Errors
    /// [`Refusal`] names what is missing.
    pub fn may_admit(
        &self,
        certificate: &EntryId,
        signer: PublicKey<Operator>,
        host: &Host,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        admission::may_admit(self.certificate_of(certificate, signer)?, &host.enrolled, at)
    }

    /// The operators' words about hosts that are held, whether they count or not.
    pub fn admissions(&self) -> impl Iterator<Item = &Signed<Admission>> {
        self.admissions.all()
    }

    /// Those about one host.
    pub fn admissions_of(&self, host: &HostId) -> impl Iterator<Item = &Signed<Admission>> {
        self.admissions.about(host)
    }

    /// One of them.
    pub fn admission(&self, id: &EntryId) -> Option<&Signed<Admission>> {
        self.admissions.get(id)
    }

    fn readmit(&mut self, id: HostId) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.admitted = self.admissions.verdict(&host.enrolled, &self.certificates);
        }
    }

    /// Whether an op's signer could write that; without the time.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold.
    pub fn recognise_op(&self, op: &Signed<Op>) -> Result<(), Refusal> {
        check_op(self.certificates.stands(&op.body().certificate, op.signer(), op.mark())?, op)
    }

    /// Whether an op is kept and relayed: its signer could, on some branch, write that. One about a group needs
    /// no right to be kept, only to have an effect: versions that do not know groups keep it so.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold.
    pub fn keeps_op(&self, op: &Signed<Op>) -> Result<(), Refusal> {
        let certificate = self.certificates.ever(&op.body().certificate, op.signer())?;
        if groups::about(&op.body().action).is_some() {
            return check_supersedes(op);
        }
        check_op(certificate, op)
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
            let certificate = self.certificates.ever(&body.certificate, op.signer())?;
            if check_op(certificate, op).is_err() {
                return Ok(false);
            }
            return self.groups.absorb(op, name, selector);
        }
        if let Some((host, notice)) = notices::about(&body.action) {
            if !self.notices.absorb(op, host, notice)? {
                return Ok(false);
            }
            self.follow_op(op, host);
            return Ok(true);
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
                mark: op.mark(),
                at: time_of(body.at),
                changes: changes.clone(),
                supersedes: body.supersedes.clone(),
            },
        );
        self.follow_op(op, *host);
        Ok(true)
    }

    /// Notes whom an op is about, so that a stop of its signer finds them, and makes out what it changes.
    fn follow_op(&mut self, op: &Signed<Op>, host: HostId) {
        let (body, stream) = (op.body(), op.stream());
        let last = self.certificates.last(&body.certificate, &stream);
        let written = self.users.entry(body.certificate).or_default().streams.entry(stream).or_default();
        written.last = last;
        written.ops.insert(body.sequence, host);
        self.retag(host);
    }

    /// Takes back an op of a stream that turned out to be forked.
    pub fn retract_op(&mut self, op: &Signed<Op>) {
        if let Some((name, _)) = groups::about(&op.body().action) {
            self.groups.retract(op, name);
        }
        let Some(host) = op.body().action.host() else { return };
        let tagged = self.writes.get_mut(&host).and_then(|writes| writes.remove(&op.id())).is_some();
        if tagged || self.notices.retract(op, &host) {
            let users = self.users.get_mut(&op.body().certificate);
            if let Some(written) = users.and_then(|users| users.streams.get_mut(&op.stream())) {
                written.ops.remove(&op.body().sequence);
            }
            self.retag(host);
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
            let Write { certificate, signer, mark, at, changes, supersedes } = write;
            let Ok(certificate) = self.certificates.stands(certificate, *signer, *mark) else { continue };
            if check_tag_changes(certificate, *at, changes).is_err() {
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
        let (retired, renamed) = self.notices.of(&id, &self.certificates);
        if let Some(host) = self.hosts.get_mut(&id) {
            // Nobody selects what is gone by what it was.
            host.tags = if retired { BTreeMap::new() } else { tags };
            (host.retired, host.renamed) = (retired, renamed);
        }
    }
}

fn check_invitation(certificate: &Certificate, body: &Invitation) -> Result<(), Refusal> {
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

fn check_op(certificate: &Certificate, op: &Signed<Op>) -> Result<(), Refusal> {
    let body = op.body();
    check_supersedes(op)?;
    if let Some((name, selector)) = groups::about(&body.action) {
        return groups::check(certificate, body.at, name, selector);
    }
    if let Some((_, notice)) = notices::about(&body.action) {
        return notices::check(certificate, time_of(body.at), &notice);
    }
    let OpAction::Tag { changes, .. } = &body.action else {
        // What it does is not known, so nothing is granted; but only an operator's stream is kept.
        return Ok(());
    };
    if changes.len() > CHANGES_MAX {
        return Err(Refusal::TooMany { what: "changes in an op", limit: CHANGES_MAX });
    }
    check_tag_changes(certificate, time_of(body.at), changes)
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

fn check_tag_changes(certificate: &Certificate, at: Timestamp, changes: &[TagChange]) -> Result<(), Refusal> {
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
