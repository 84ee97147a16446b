//! Approvals: whether others agree to a request of somebody whose certificate demands that.
//!
//! Decides who may approve a request on a host, and whether enough do. Always holds:
//!
//! - *Persons count, not keys*: names that any certificate ties to one key are one person. Who asks never counts,
//!   with whatever key, and neither does whom they passed a certificate on to.
//! - The result is a function of the request, the set of approvals, the certificates and the time: in which order
//!   they came decides nothing. One refusal by somebody who may approve stands against any number of approvals, also
//!   their own: what is not to be done is not done.
//! - What is approved is named by the hash of what was signed, all of it; nothing carries over to another request.
//!
//! An approval is void from when it is known that its signer was suspended or revoked, and when either the request
//! or the signer's certificate is over. One signed before a suspension was lifted stays void: it is to be given anew.
//!
//! Why a host is handed approvals with each request, and they are no layer of the fold: they mean something for one
//! request and until it expires. So nothing of them is kept where nothing was agreed to yet, and what judges needs no
//! bound for them but that of one message.

use std::collections::BTreeSet;

use super::{Admitted, Asks, Authority, Certificate, ORDER_VALID_MAX, REASON_BYTES_MAX, Refusal, Verb};
use crate::{
    identity::{EntryId, Kind, Operator, Payload, Signed},
    selector::Subject,
    time::{SKEW_MAX, Timestamp},
    wire_record,
};

/// Somebody's word on somebody else's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The certificate it is written under.
    pub certificate: EntryId,
    /// The request: its id is a hash of all that was signed.
    pub order: EntryId,
    /// Given; else refused.
    pub given: bool,
    /// When.
    pub at: Timestamp,
    /// When the request expires, exactly; so long this is kept.
    pub expires: Timestamp,
    /// Why, for people.
    pub reason: String,
}
wire_record!(Approval closed { certificate, order, given, at, expires, reason });

impl Payload for Approval {
    const KIND: Kind = Kind::Approval;
    const BYTES_MAX: usize = 2 * 1024;
    type Signer = Operator;
}

impl Certificate {
    /// Whether its holder may have a say at all: whoever may approve, or do what can be asked for.
    fn has_a_say(&self) -> bool {
        self.verbs.iter().any(|verb| matches!(verb, Verb::Approve | Verb::Run | Verb::Session))
    }

    /// Whether its holder may approve that as far as no host matters: what they could ask for themselves, or
    /// anything, for as many hosts as they may reach.
    fn may_approve<T: Asks>(&self, request: &T) -> bool {
        let ask = request.ask();
        let could = self.verbs.contains(&ask.verb) && ask.run_as.is_none_or(|user| self.may_run_as(user));
        let hosts = u32::try_from(ask.roster.count()).unwrap_or(u32::MAX);
        (could || self.verbs.contains(&Verb::Approve)) && self.hosts_max.is_none_or(|most| hosts <= most)
    }
}

impl Authority {
    /// Whether an approval is kept and relayed: its signer could, on some branch, approve something.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold.
    pub fn keeps_approval(&self, approval: &Signed<Approval>) -> Result<(), Refusal> {
        let body = approval.body();
        let certificate = self.certificates.ever(&body.certificate, approval.signer())?;
        if !certificate.has_a_say() {
            let person = certificate.person.clone();
            return Err(Refusal::VerbNotGranted { person, verb: Verb::Approve.word() });
        }
        if body.expires <= body.at || body.expires.since(body.at) > ORDER_VALID_MAX {
            return Err(Refusal::ValidTooLong);
        }
        if body.reason.len() > REASON_BYTES_MAX {
            return Err(Refusal::Malformed("an approval whose reason is too long"));
        }
        Ok(())
    }

    /// How many persons have to approve a request.
    pub fn approvals_needed<T: Asks>(&self, request: &Admitted<T>) -> u8 {
        let (certificate, signer) = (request.body().ask().certificate, request.signed().signer());
        self.certificates.ever(&certificate, signer).map_or(0, |certificate| certificate.approvals)
    }

    /// Who approves a request on a host with these tags: nobody where nobody has to. Everything else that the request
    /// needs is judged elsewhere.
    ///
    /// # Errors
    /// [`Refusal::NeedsApproval`] as long as they are too few, [`Refusal::NotApproved`] where somebody refused.
    pub fn approved<T: Asks>(
        &self,
        request: &Admitted<T>,
        tags: &impl Subject,
        approvals: &[Signed<Approval>],
        now: Timestamp,
    ) -> Result<Vec<String>, Refusal> {
        let ask = request.body().ask();
        let needed = self.certificate_of(&ask.certificate, request.signed().signer())?.approvals;
        if needed == 0 {
            return Ok(Vec::new());
        }
        let mut given: BTreeSet<&str> = BTreeSet::new();
        let mut refused: Option<(&str, EntryId, &str)> = None;
        for approval in approvals {
            let Some(person) = self.voice(request, approval, tags, now) else { continue };
            let body = approval.body();
            if body.given {
                given.insert(person);
            } else {
                let one = (person, approval.id(), body.reason.as_str());
                refused = Some(refused.map_or(one, |other| other.min(one)));
            }
        }
        if let Some((by, _, reason)) = refused {
            return Err(Refusal::NotApproved { by: by.to_owned(), reason: reason.to_owned() });
        }
        let mut by = Vec::new();
        while let Some(person) = given.pop_first() {
            let same = self.certificates.same_person(person);
            given.retain(|other| !same.contains(other));
            by.push(person.to_owned());
        }
        if by.len() < usize::from(needed) {
            let person = request.person().to_owned();
            return Err(Refusal::NeedsApproval { person, given: by.len(), needed });
        }
        Ok(by)
    }

    /// The persons who may approve a request on a host with these tags, now, whether they did or not.
    pub fn approvers<T: Asks>(
        &self,
        request: &Admitted<T>,
        tags: &impl Subject,
        now: Timestamp,
    ) -> BTreeSet<&str> {
        self.certificates()
            .filter(|(id, certificate)| self.may_approve_on(request, id, certificate, tags, now))
            .map(|(_, certificate)| certificate.person.as_str())
            .collect()
    }

    /// Whose word on a request this is, if it counts on a host with these tags.
    pub fn voice<T: Asks>(
        &self,
        request: &Admitted<T>,
        approval: &Signed<Approval>,
        tags: &impl Subject,
        now: Timestamp,
    ) -> Option<&str> {
        let (body, expires) = (approval.body(), request.body().ask().expires);
        let about = body.order == request.signed().id() && body.expires == expires;
        if !about || body.at > expires || now > expires || body.at.before(SKEW_MAX) > now {
            return None;
        }
        let certificate = self.certificate_of(&body.certificate, approval.signer()).ok()?;
        let void = self.certificates.refused_until(&body.certificate).is_some_and(|until| body.at <= until);
        let may = self.may_approve_on(request, &body.certificate, certificate, tags, now);
        (may && !void && certificate.valid_at(body.at)).then_some(certificate.person.as_str())
    }

    /// Whether a certificate that stands allows that.
    fn may_approve_on<T: Asks>(
        &self,
        request: &Admitted<T>,
        id: &EntryId,
        certificate: &Certificate,
        tags: &impl Subject,
        now: Timestamp,
    ) -> bool {
        let asker = self.certificates.same_person(request.person());
        let is_asker = |person: &str| asker.contains(person);
        let passed_on_by = self.certificates.from(id).and_then(|from| self.certificates.person(&from));
        let scopes = self.certificates.scopes(id);
        certificate.may_approve(request.body())
            && certificate.valid_at(now.max(certificate.not_before))
            && !is_asker(&certificate.person)
            && !passed_on_by.is_some_and(is_asker)
            && scopes.is_some_and(|all| all.iter().all(|scope| scope.selects(tags)))
    }
}

#[cfg(test)]
#[path = "approval_tests.rs"]
mod tests;
