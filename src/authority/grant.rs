//! A certificate that is passed on, narrowed.
//!
//! The holder of a certificate of the root chain that allows it signs another one, for another key, which may
//! say less and never more. It cannot be passed on again: the depth is fixed, so a chain is the root update and
//! at most one of these.
//!
//! *Why it stands alone, and is no op of its signer's stream*: what its holder signs (invitations, hosts that
//! redeem them, tags) hangs on it. A stream freezes at a fork and takes back what is behind; a certificate in
//! there would leave behind entries that a host which never saw it cannot keep, and two hosts would differ for
//! ever. Standing alone, it is kept for ever, like the root updates that it hangs on.
//!
//! *Why scopes are not compared*: whether one selector implies another is a hard question with easy mistakes.
//! Both have to hold where something is done, which is the same and needs no answer.

use super::{Certificate, Refusal, Verb};
use crate::{
    identity::{EntryId, Kind, Operator, Payload},
    time::Timestamp,
    wire_record,
};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The certificate that it is passed on from.
    pub certificate: EntryId,
    /// When it was signed.
    pub at: Timestamp,
    /// What its holder may do.
    pub grant: Certificate,
}
wire_record!(Grant closed { certificate, at, grant });

impl Payload for Grant {
    const KIND: Kind = Kind::Grant;
    const BYTES_MAX: usize = 16 * 1024;
    type Signer = Operator;
}

impl Grant {
    /// Whether a holder of `from` may pass this on.
    ///
    /// # Errors
    /// [`Refusal`] names what would be more than `from` allows.
    pub(super) fn check(&self, from: &Certificate) -> Result<(), Refusal> {
        let person = || from.person.clone();
        if !from.allows(Verb::Grant) {
            return Err(Refusal::VerbNotGranted { person: person(), verb: Verb::Grant.word() });
        }
        if !from.valid_at(self.at) {
            return Err(Refusal::CertificateExpired { person: person() });
        }
        let Certificate {
            person: holder,
            key: _,
            verbs,
            scope: _,
            tags,
            run_as,
            hosts_max,
            not_before,
            not_after,
            approvals,
        } = &self.grant;
        let wider = |what| Err(Refusal::Wider { person: person(), what });
        if holder.is_empty() {
            return Err(Refusal::Malformed("a certificate for nobody"));
        }
        if self.grant.scope().is_none() {
            return Err(Refusal::BadSelector("a scope is a selector over tags only".to_owned()));
        }
        if verbs.contains(&Verb::Grant) {
            return wider("it cannot be passed on again");
        }
        if !verbs.iter().all(|verb| from.verbs.contains(verb)) {
            return wider("a verb");
        }
        if !tags.iter().all(|(key, value)| from.may_tag(key, value)) {
            return wider("a tag");
        }
        if !run_as.iter().all(|user| from.may_run_as(user)) {
            return wider("a user to run as");
        }
        if from.hosts_max.is_some_and(|most| hosts_max.is_none_or(|hosts| hosts > most)) {
            return wider("the hosts in one order");
        }
        if *not_before < from.not_before || *not_after > from.not_after {
            return wider("its validity");
        }
        if *approvals < from.approvals {
            return wider("the approvals that it needs");
        }
        Ok(())
    }
}
