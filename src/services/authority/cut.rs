//! What of somebody's stands when they are stopped. Decides only.
//!
//! What they signed up to a moment, as far as it is held here: each stream up to the last op before the first that
//! says it is later. The time in an op is its signer's word, but an op that is held here and names a stream's place
//! cannot be added to behind it; so a thief gains nothing by writing an early time into what comes next.

use crate::{
    authority::{Authority, Certificate, Cut, Whom, half},
    identity::{EntryId, Operator, PublicKey},
    replica::Replica,
    time::Timestamp,
};

/// The cut that leaves what `whom` signed up to `effective`. A revocation also says which of their suspensions and
/// halts stand; a suspension voids none.
pub(super) fn cut(replica: &Replica, whom: &Whom, effective: Timestamp, revokes: bool) -> Cut {
    let authority = replica.authority();
    let covered = |id: &EntryId, signer: PublicKey<Operator>| {
        authority.certificates_and_stops().any(|(held, certificate, _)| {
            held == id && certificate.key.name() == signer && is_of(whom, id, certificate)
        })
    };
    let mut streams = Vec::new();
    for (stream, ops) in replica.operator_streams() {
        let before = ops.iter().take_while(|op| Timestamp(op.body().at.0 >> 16) <= effective);
        let theirs = before.filter(|op| covered(&op.body().certificate, op.signer()));
        streams.extend(theirs.last().map(|op| (stream, op.body().sequence)));
    }
    let mut alone = Vec::new();
    for host in authority.hosts() {
        let invitation = host.enrolled().invitation();
        if invitation.body().issued <= effective
            && covered(&invitation.body().certificate, invitation.signer())
        {
            alone.push(half(&invitation.id()));
        }
    }
    for word in authority.admissions() {
        if word.body().at <= effective && covered(&word.body().certificate, word.signer()) {
            alone.push(half(&word.id()));
        }
    }
    for grant in authority.grants() {
        if grant.body().at <= effective && covered(&grant.body().certificate, grant.signer()) {
            alone.push(half(&grant.id()));
        }
    }
    if revokes {
        alone.extend(stops(authority, effective, &covered));
    }
    streams.sort_unstable();
    alone.sort_unstable();
    alone.dedup();
    Cut { streams, alone }
}

fn stops<'a>(
    authority: &'a Authority,
    effective: Timestamp,
    covered: &'a dyn Fn(&EntryId, PublicKey<Operator>) -> bool,
) -> impl Iterator<Item = [u8; 16]> + 'a {
    let suspensions =
        authority.suspensions().map(|s| (s.id(), s.body().at, s.body().certificate, s.signer()));
    let halts = authority.signed_halts().map(|h| (h.id(), h.body().at, h.body().certificate, h.signer()));
    suspensions
        .chain(halts)
        .filter(move |(_, at, certificate, signer)| *at <= effective && covered(certificate, *signer))
        .map(|(id, ..)| half(&id))
}

/// Whether a certificate is one that `whom` is about.
pub(super) fn is_of(whom: &Whom, id: &EntryId, certificate: &Certificate) -> bool {
    match whom {
        Whom::Person { name } => certificate.person == *name,
        Whom::Key { key } => certificate.key.name() == *key,
        Whom::Certificate { id: of } => id == of,
        Whom::Host { .. } | Whom::Token { .. } => false,
    }
}
