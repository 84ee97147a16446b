//! What an update of the root chain does, in words for who signs it.

use super::verb::{count, named, with_reason};
use crate::{
    authority::{Authority, Certificate, Recover, RootChange, Roots, Whom},
    identity::{EntryId, PublicKey, Root, short},
    terminal::{escape, time},
};

/// A root key as people tell it from others.
pub(super) fn key(key: &PublicKey<Root>) -> String {
    short(&key.bytes(), 8)
}

/// `2 of 3`.
pub(super) fn of(roots: &Roots) -> String {
    format!("{} of {}", roots.threshold, roots.keys.len())
}

/// What a change does, as one line.
pub(super) fn line(change: &RootChange, authority: &Authority) -> String {
    match change {
        RootChange::Found(genesis) => format!("found the fleet {}", escape::cell(&genesis.name)),
        RootChange::Certify(certificate) => format!("certify {}", certified(certificate)),
        RootChange::Roots(roots) => format!("let {} root keys govern the fleet", of(roots)),
        RootChange::Revoke(revocation) => {
            let cut = &revocation.cut;
            let what = format!(
                "revoke {} for ever; what they signed in {} and {} before stand",
                whom(&revocation.whom, authority),
                count(cut.streams.len(), "stream"),
                count(cut.alone.len(), "other thing"),
            );
            with_reason(what, &revocation.reason)
        }
        RootChange::Lift(lift) => {
            with_reason(format!("end {}", count(lift.stops.len(), "suspension or halt")), &lift.reason)
        }
        RootChange::Checkpoint(checkpoint) => format!(
            "write a checkpoint at {}: nothing counts that branched off before, and of stops under certificates that \
             were past then only {}",
            time::rfc3339(checkpoint.at),
            checkpoint.stands.len(),
        ),
        RootChange::Recover(recover) => {
            let what = format!(
                "recover: let {} root keys govern the fleet, if nobody denies it",
                of(&recover.roots)
            );
            with_reason(what, &recover.reason)
        }
        RootChange::Deny(denial) => {
            with_reason(format!("deny the recovery {} for ever", denial.recovery.short()), &denial.reason)
        }
        RootChange::Unknown { tag } => format!("something that this version does not know (kind {tag})"),
    }
}

/// The same with what it means in detail, a line each.
pub(super) fn details(change: &RootChange, authority: &Authority) -> Vec<String> {
    match change {
        RootChange::Roots(roots) | RootChange::Recover(Recover { roots, .. }) => {
            let now = authority.chain().roots();
            let gone = now.keys.iter().filter(|key| !roots.keys.contains(key));
            let mut lines = vec![format!("now {} govern", of(&now))];
            for held in &roots.keys {
                let is = if now.keys.contains(held) { "stays" } else { "is new" };
                lines.push(format!("root key {} {is}", key(held)));
            }
            lines.extend(gone.map(|held| format!("root key {} governs no more", key(held))));
            lines
        }
        RootChange::Lift(lift) => lift.stops.iter().map(|id| stop(id, authority)).collect(),
        RootChange::Checkpoint(checkpoint) => {
            let named = |id: &EntryId| checkpoint.stands.binary_search(&crate::authority::half(id)).is_ok();
            let past = authority.stops_of_the_past(checkpoint.at);
            past.iter().filter(|id| named(id)).map(|id| format!("{} stands", stop(id, authority))).collect()
        }
        RootChange::Certify(certificate) => vec![
            format!("key {}", certificate.key.fingerprint()),
            format!("where {}", escape::line(&certificate.scope)),
            format!("as {}", escape::line(&certificate.run_as.join(", "))),
            format!("until {}", time::rfc3339(certificate.not_after)),
        ],
        _ => Vec::new(),
    }
}

fn certified(certificate: &Certificate) -> String {
    let verbs: Vec<&str> = certificate.verbs.iter().map(|verb| verb.word()).collect();
    format!("{} to {}", escape::cell(&certificate.person), verbs.join(", "))
}

fn whom(whom: &Whom, authority: &Authority) -> String {
    let Whom::Certificate { id } = whom else { return named(authority, whom) };
    let mut all = authority.certificates_and_stops();
    let person = all.find(|(held, ..)| *held == id).map(|(_, certificate, _)| certificate.person.clone());
    person.map_or_else(
        || named(authority, whom),
        |person| format!("{} of {}", named(authority, whom), escape::cell(&person)),
    )
}

fn stop(id: &EntryId, authority: &Authority) -> String {
    let by = |certificate: &EntryId| {
        let mut all = authority.certificates_and_stops();
        let found = all.find(|(held, ..)| *held == certificate);
        found.map_or_else(|| "somebody".to_owned(), |(_, held, _)| escape::cell(&held.person))
    };
    if let Some(suspension) = authority.suspension(id) {
        let body = suspension.body();
        let what = format!(
            "suspension {} of {} by {} at {}",
            id.short(),
            whom(&body.whom, authority),
            by(&body.certificate),
            time::rfc3339(body.at)
        );
        return with_reason(what, &body.reason);
    }
    if let Some(halt) = authority.signed_halt(id) {
        let body = halt.body();
        let what = format!(
            "halt {} of {} by {} at {}",
            id.short(),
            escape::line(&body.selector),
            by(&body.certificate),
            time::rfc3339(body.at)
        );
        return with_reason(what, &body.reason);
    }
    format!("{}, which is not known here", id.short())
}
