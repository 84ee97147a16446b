//! What operators say of a host beside its tags: what it is called, and that it is gone.
//!
//! Both are ops in operators' streams, so that what a thief wrote with a stolen key is void from the cut on. A name
//! is a label: of several, the latest stands, and the greater op of two at one time. That a host is gone is final as
//! long as one such op stands; the machine may join anew, with new keys. Never looks at what a host is: the result
//! is a function of the set.

use std::collections::BTreeMap;

use super::{Certificate, Mark, Op, OpAction, Refusal, Verb, enrolment::check_name, held::Certificates};
use crate::{
    identity::{EntryId, HostId, Operator, PublicKey, Signed},
    time::{Hlc, Timestamp},
};

/// Most of them about one host.
const NOTICES_A_HOST_MAX: usize = 1_000;

/// What an op says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Name(String),
    Gone,
}

#[derive(Clone, Debug)]
struct Write {
    certificate: EntryId,
    signer: PublicKey<Operator>,
    mark: Mark,
    at: Hlc,
    notice: Notice,
}

/// All of them, by host.
#[derive(Clone, Debug, Default)]
pub(super) struct Notices(BTreeMap<HostId, BTreeMap<EntryId, Write>>);

/// What an action says of which host, if it does.
pub(super) fn about(action: &OpAction) -> Option<(HostId, Notice)> {
    match action {
        OpAction::Rename { host, name } => Some((*host, Notice::Name(name.clone()))),
        OpAction::Retire { host } => Some((*host, Notice::Gone)),
        OpAction::Tag { .. } | OpAction::Group { .. } | OpAction::Unknown { .. } => None,
    }
}

/// Whether a certificate allows it: who may invite hosts names them, who may suspend them may say that they are gone.
pub(super) fn check(certificate: &Certificate, at: Timestamp, notice: &Notice) -> Result<(), Refusal> {
    let person = || certificate.person.clone();
    let verb = match notice {
        Notice::Name(name) if !check_name(name) => return Err(Refusal::BadName),
        Notice::Name(_) => Verb::Invite,
        Notice::Gone => Verb::Suspend,
    };
    if !certificate.allows(verb) {
        return Err(Refusal::VerbNotGranted { person: person(), verb: verb.word() });
    }
    if !certificate.valid_at(at) {
        return Err(Refusal::CertificateExpired { person: person() });
    }
    Ok(())
}

impl Notices {
    /// Takes an op; true if it was new.
    pub(super) fn absorb(&mut self, op: &Signed<Op>, host: HostId, notice: Notice) -> Result<bool, Refusal> {
        let writes = self.0.entry(host).or_default();
        if writes.contains_key(&op.id()) {
            return Ok(false);
        }
        if writes.len() >= NOTICES_A_HOST_MAX {
            return Err(Refusal::TooMany { what: "ops about one host", limit: NOTICES_A_HOST_MAX });
        }
        let (body, signer, mark) = (op.body(), op.signer(), op.mark());
        let write = Write { certificate: body.certificate, signer, mark, at: body.at, notice };
        writes.insert(op.id(), write);
        Ok(true)
    }

    /// Takes back an op of a stream that turned out to be forked; true if it was held.
    pub(super) fn retract(&mut self, op: &Signed<Op>, host: &HostId) -> bool {
        self.0.get_mut(host).is_some_and(|writes| writes.remove(&op.id()).is_some())
    }

    /// Whether a host is gone, and what it is called if not as it came.
    pub(super) fn of(&self, host: &HostId, certificates: &Certificates) -> (bool, Option<String>) {
        let counts = |write: &&Write| {
            let certificate = certificates.stands(&write.certificate, write.signer, write.mark);
            certificate.is_ok_and(|held| check(held, Timestamp(write.at.0 >> 16), &write.notice).is_ok())
        };
        let (mut gone, mut name) = (false, None);
        for (id, write) in self.0.get(host).into_iter().flatten().filter(|(_, write)| counts(write)) {
            match &write.notice {
                Notice::Gone => gone = true,
                Notice::Name(new) => name = name.max(Some((write.at, *id, new))),
            }
        }
        (gone, name.map(|(.., name)| name.clone()))
    }
}
