//! Judging a request: recognised as a set function, acted on by the clock and the place.

use std::time::Duration;

use super::{Authority, ListPlace, Meant, Refusal, Verb};
use crate::{
    identity::{EntryId, HostId, Operator, Payload, Signed},
    selector::{Selector, Subject},
    time::{SKEW_MAX, Timestamp},
};

/// Longest validity of an order.
pub const ORDER_VALID_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What a signed request asks for, as the judge sees it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The certificate it is made under.
    pub certificate: EntryId,
    /// What it wants to do.
    pub verb: Verb,
    /// Which hosts, in the selector's text.
    pub selector: &'a str,
    /// Which hosts, by id or by place.
    pub roster: Meant<'a>,
    /// As whom, where that matters.
    pub run_as: Option<&'a str>,
    /// When it was made.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// A signed object that asks for something to be done on hosts.
pub trait Asks: Payload<Signer = Operator> {
    /// What it asks.
    fn ask(&self) -> Ask<'_>;
}

/// A request whose signature and certificate were checked against the authority. Only
/// [`Authority::admit`] makes one.
#[derive(Clone, Debug)]
pub struct Admitted<T: Payload> {
    signed: Signed<T>,
    selector: Selector,
    person: String,
}

impl<T: Payload> Admitted<T> {
    /// The request.
    pub fn signed(&self) -> &Signed<T> {
        &self.signed
    }
    /// The request's body.
    pub fn body(&self) -> &T {
        self.signed.body()
    }
    /// Who asks.
    pub fn person(&self) -> &str {
        &self.person
    }
    /// Its selector.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }
}

impl Authority {
    /// Recognises a request: its signer holds the certificate it names, which allows what it asks. A
    /// function of the set of objects; storing and relaying need no more.
    ///
    /// # Errors
    /// [`Refusal`] names what is missing.
    pub fn admit<T: Asks>(&self, signed: Signed<T>) -> Result<Admitted<T>, Refusal> {
        let ask = signed.body().ask();
        let certificate = self.certificate_of(&ask.certificate, signed.signer())?;
        let person = certificate.person.clone();
        if certificate.approvals > 0 {
            return Err(Refusal::NeedsApproval { person });
        }
        if !certificate.allows(ask.verb) {
            return Err(Refusal::VerbNotGranted { person, verb: ask.verb.word() });
        }
        if let Some(user) = ask.run_as.filter(|user| !certificate.may_run_as(user)) {
            return Err(Refusal::RunAsNotGranted { person, user: user.to_owned() });
        }
        ask.roster.check()?;
        let hosts = ask.roster.count();
        if let Some(limit) = certificate.hosts_max
            && u32::try_from(hosts).map_or(true, |hosts| hosts > limit)
        {
            return Err(Refusal::TooManyHosts { person, hosts, limit });
        }
        if ask.expires.since(ask.issued) > ORDER_VALID_MAX || ask.expires <= ask.issued {
            return Err(Refusal::ValidTooLong);
        }
        if !certificate.valid_at(ask.issued) {
            return Err(Refusal::CertificateExpired { person });
        }
        let selector =
            Selector::parse(ask.selector).map_err(|error| Refusal::BadSelector(error.to_string()))?;
        Ok(Admitted { signed, selector, person })
    }

    /// Judges whether `host`, whose signed tags are `tags`, acts on an admitted request at `now`. The
    /// subject takes what is not a signed tag as undecided, so a fact can only ever narrow elsewhere. Where
    /// the request is for some of a list, `place` proves where in it the host stands.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold here and now.
    pub fn judge<T: Asks>(
        &self,
        request: &Admitted<T>,
        host: HostId,
        place: Option<&ListPlace>,
        tags: &impl Subject,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        request.body().ask().roster.includes(&host, place)?;
        self.judge_meant(request, tags, now)
    }

    /// As [`Authority::judge`], for a host that is taken from the roster itself.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold here and now.
    pub fn judge_meant<T: Asks>(
        &self,
        request: &Admitted<T>,
        tags: &impl Subject,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let ask = request.body().ask();
        let certificate = self.certificate_of(&ask.certificate, request.signed.signer())?;
        if now > ask.expires {
            return Err(Refusal::Expired { at: ask.expires });
        }
        if ask.issued.before(SKEW_MAX) > now {
            return Err(Refusal::NotYet { issued: ask.issued });
        }
        if !certificate.valid_at(now.max(certificate.not_before)) {
            return Err(Refusal::CertificateExpired { person: certificate.person.clone() });
        }
        let covered = certificate.scope().is_some_and(|scope| scope.selects(tags));
        if !covered {
            return Err(Refusal::OutOfScope {
                person: certificate.person.clone(),
                scope: certificate.scope.clone(),
            });
        }
        if !request.selector.outcomes(tags).may_be_true() {
            return Err(Refusal::NotSelected { selector: ask.selector.to_owned() });
        }
        Ok(())
    }
}
