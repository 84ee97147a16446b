//! Judging a request: recognised as a set function, acted on by the clock and the place.

use std::time::Duration;

use super::{Approval, Authority, Certificate, ListPlace, Meant, Refusal, Verb};
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
    /// Recognises a request: its signer holds the certificate it names, which allows what it asks, and nobody
    /// stopped either. A function of the set of objects.
    ///
    /// # Errors
    /// [`Refusal`] names what is missing.
    pub fn admit<T: Asks>(&self, signed: Signed<T>) -> Result<Admitted<T>, Refusal> {
        let ask = signed.body().ask();
        let certificate = self.certificate_of(&ask.certificate, signed.signer())?;
        let until = self.certificates.refused_until(&ask.certificate);
        if until.is_some_and(|until| ask.issued <= until) {
            return Err(Refusal::BeforeLift { person: certificate.person.clone() });
        }
        Self::recognised(signed, certificate)
    }

    /// Recognises a request for storing and relaying: as [`Authority::admit`], whoever suspended its signer since.
    /// Hosts refuse it, and their answers find the way back to who waits for them.
    ///
    /// # Errors
    /// [`Refusal`] names what is missing.
    pub fn admit_to_keep<T: Asks>(&self, signed: Signed<T>) -> Result<Admitted<T>, Refusal> {
        let certificate =
            self.certificates.stands_by_roots(&signed.body().ask().certificate, signed.signer())?;
        Self::recognised(signed, certificate)
    }

    /// Whether what was admitted to be kept would be now: the roots took nothing since.
    pub fn still_keeps<T: Asks>(&self, signed: &Signed<T>) -> bool {
        self.certificates.stands_by_roots(&signed.body().ask().certificate, signed.signer()).is_ok()
    }

    fn recognised<T: Asks>(signed: Signed<T>, certificate: &Certificate) -> Result<Admitted<T>, Refusal> {
        let ask = signed.body().ask();
        let person = certificate.person.clone();
        // Whether others approve it where that is demanded is for who acts.
        if !certificate.verbs.contains(&ask.verb) {
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
    /// the request is for some of a list, `place` proves where in it the host stands. Returns who approved it,
    /// where somebody had to.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold here and now: [`Refusal::NeedsApproval`] only if that is all.
    pub fn judge<T: Asks>(
        &self,
        request: &Admitted<T>,
        host: HostId,
        place: Option<&ListPlace>,
        tags: &impl Subject,
        approvals: &[Signed<Approval>],
        now: Timestamp,
    ) -> Result<Vec<String>, Refusal> {
        request.body().ask().roster.includes(&host, place)?;
        self.judge_meant(request, tags, approvals, now)
    }

    /// As [`Authority::judge`], for a host that is taken from the roster itself.
    ///
    /// # Errors
    /// As there.
    pub fn judge_meant<T: Asks>(
        &self,
        request: &Admitted<T>,
        tags: &impl Subject,
        approvals: &[Signed<Approval>],
        now: Timestamp,
    ) -> Result<Vec<String>, Refusal> {
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
        // Each on the way from the roots has to cover this host, not only the last.
        let scopes = self.certificates.scopes(&ask.certificate);
        let scope = scopes.as_ref().map(|all| all.iter().find(|scope| !scope.selects(tags)));
        if !matches!(scope, Some(None)) {
            return Err(Refusal::OutOfScope {
                person: certificate.person.clone(),
                scope: scope
                    .flatten()
                    .map_or_else(|| certificate.scope.clone(), |scope| scope.text().to_owned()),
            });
        }
        if !request.selector.outcomes(tags).may_be_true() {
            return Err(Refusal::NotSelected { selector: ask.selector.to_owned() });
        }
        self.halt_of(tags)?;
        self.approved(request, tags, approvals, now)
    }

    /// Refuses where a halt covers a host with these tags.
    ///
    /// # Errors
    /// [`Refusal::Halted`].
    pub fn halt_of(&self, tags: &impl Subject) -> Result<(), Refusal> {
        match self.halted(tags) {
            Some(halt) => Err(Refusal::Halted { by: halt.by.clone(), reason: halt.reason.clone() }),
            None => Ok(()),
        }
    }
}
