//! An operator's word about one host that waits: it is let in, or it is not.
//!
//! Decides what such words come to. Two kinds of hosts wait: those that joined with a token whose hosts are approved
//! one by one, and those whose token was redeemed more often than it allows. Always holds: the result is a function
//! of the set; a host is let in with the keys and the token that the operator was shown, and with no others. Who lets
//! in outweighs who does not: a no only answers a host that waits, and takes no membership away (that is what
//! suspending is for), so that nobody who may merely invite can put a member out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Certificate, Enrolled, HostKeys, Mark, Refusal, Verb, held::Certificates};
use crate::{
    identity::{EntryId, HostId, Kind, Operator, Payload, Signed, words},
    time::Timestamp,
    wire, wire_record,
};

/// Most words of one key about one host.
const ADMISSIONS_A_HOST_MAX: usize = 16;
/// Most words about hosts in all.
const ADMISSIONS_MAX: usize = 100_000;

/// One operator's word about one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The certificate it is written under, which may invite with the host's tags.
    pub certificate: EntryId,
    /// The host.
    pub host: HostId,
    /// The token that it redeemed.
    pub invitation: EntryId,
    /// All of its keys, as [`HostKeys::digest`] sums them up.
    pub keys: [u8; 32],
    /// Whether it is let in.
    pub admitted: bool,
    /// When it was signed.
    pub at: Timestamp,
}
wire_record!(Admission closed { certificate, host, invitation, keys, admitted, at });

impl Payload for Admission {
    const KIND: Kind = Kind::Admission;
    const BYTES_MAX: usize = 2 * 1024;
    type Signer = Operator;
}

impl Admission {
    /// A word about a host as it stands there.
    pub fn about(certificate: EntryId, enrolled: &Enrolled, admitted: bool, at: Timestamp) -> Self {
        Self {
            certificate,
            host: enrolled.host(),
            invitation: enrolled.invitation().id(),
            keys: enrolled.enrolment().keys.digest(),
            admitted,
            at,
        }
    }

    fn is_about(&self, enrolled: &Enrolled) -> bool {
        self.host == enrolled.host()
            && self.invitation == enrolled.invitation().id()
            && self.keys == enrolled.enrolment().keys.digest()
    }
}

impl HostKeys {
    /// All keys of a host in one hash.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("muster/host-keys/v1");
        *hasher.update(&wire::encode(self)).finalize().as_bytes()
    }

    /// All keys of a host in words that people can compare.
    pub fn words(&self) -> String {
        words(&self.digest())
    }
}

/// The words that are held.
#[derive(Clone, Debug, Default)]
pub(super) struct Admissions {
    held: BTreeMap<EntryId, Signed<Admission>>,
    by_host: BTreeMap<HostId, BTreeSet<EntryId>>,
    by_certificate: BTreeMap<EntryId, BTreeSet<HostId>>,
}

impl Admissions {
    /// Takes a word; true if it was new. It is kept if its signer could, on some branch, invite anybody.
    pub(super) fn absorb(
        &mut self,
        admission: Signed<Admission>,
        certificates: &Certificates,
    ) -> Result<bool, Refusal> {
        let (id, body) = (admission.id(), admission.body());
        if self.held.contains_key(&id) {
            return Ok(false);
        }
        check(certificates.ever(&body.certificate, admission.signer())?, body.at)?;
        if self.held.len() >= ADMISSIONS_MAX {
            return Err(Refusal::TooMany { what: "admissions", limit: ADMISSIONS_MAX });
        }
        // Whoever fills their room leaves others theirs.
        let theirs = self.about(&body.host).filter(|held| held.signer() == admission.signer());
        if theirs.count() >= ADMISSIONS_A_HOST_MAX {
            return Err(Refusal::TooMany {
                what: "admissions of one host by one key",
                limit: ADMISSIONS_A_HOST_MAX,
            });
        }
        self.by_host.entry(body.host).or_default().insert(id);
        self.by_certificate.entry(body.certificate).or_default().insert(body.host);
        self.held.insert(id, admission);
        Ok(true)
    }

    /// What they come to for a host: let in, not, or nothing said.
    pub(super) fn verdict(&self, enrolled: &Enrolled, certificates: &Certificates) -> Option<bool> {
        let about = self.by_host.get(&enrolled.host())?;
        let counts = |admission: &&Signed<Admission>| {
            let body = admission.body();
            let mark = Mark::Alone(admission.id());
            body.is_about(enrolled)
                && certificates.stands(&body.certificate, admission.signer(), mark).is_ok_and(|certificate| {
                    check(certificate, body.at).is_ok() && check_tags(certificate, enrolled).is_ok()
                })
        };
        let words = about.iter().filter_map(|id| self.held.get(id)).filter(counts);
        words.map(|admission| admission.body().admitted).max()
    }

    /// Whom the words under a certificate are about.
    pub(super) fn under(&self, certificate: &EntryId) -> impl Iterator<Item = HostId> {
        self.by_certificate.get(certificate).into_iter().flatten().copied()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Signed<Admission>> {
        self.held.values()
    }

    pub(super) fn get(&self, id: &EntryId) -> Option<&Signed<Admission>> {
        self.held.get(id)
    }

    pub(super) fn about(&self, host: &HostId) -> impl Iterator<Item = &Signed<Admission>> {
        self.by_host.get(host).into_iter().flatten().filter_map(|id| self.held.get(id))
    }
}

fn check(certificate: &Certificate, at: Timestamp) -> Result<(), Refusal> {
    let person = || certificate.person.clone();
    if !certificate.allows(Verb::Invite) {
        return Err(Refusal::VerbNotGranted { person: person(), verb: Verb::Invite.word() });
    }
    if !certificate.valid_at(at) {
        return Err(Refusal::CertificateExpired { person: person() });
    }
    Ok(())
}

/// Whether a certificate's holder may let a host in: invite one with its tags.
///
/// # Errors
/// [`Refusal`] names what is missing.
pub(super) fn may_admit(
    certificate: &Certificate,
    enrolled: &Enrolled,
    at: Timestamp,
) -> Result<(), Refusal> {
    check(certificate, at)?;
    check_tags(certificate, enrolled)
}

fn check_tags(certificate: &Certificate, enrolled: &Enrolled) -> Result<(), Refusal> {
    let tags = &enrolled.enrolment().tags;
    match tags.iter().find(|(key, value)| !certificate.may_tag(key, value)) {
        Some((key, value)) => Err(Refusal::TagNotGranted { tag: format!("{key}={value}") }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
