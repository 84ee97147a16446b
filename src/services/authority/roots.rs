//! What takes root keys: signed by as many as are at hand, handed over once they are enough.
//!
//! The keys of an M-of-N fleet are seldom in one place. Then the update waits in a file, which goes from one holder
//! to the next; each runs the same command with their key, or signs the file where no agent is, and sees what they
//! sign.

use std::path::Path;

use super::{AuthorityError, Rooted, errand::Errand};
use crate::{
    authority::{Certificate, RootChain, RootChange},
    identity::Cosigned,
    journal::signer::{RootSigner, ways},
    replica::Replica,
};

/// The update that is to be signed: the one in the file, if there is one, which must be of the same meaning.
///
/// # Errors
/// When the file cannot be read, or holds something else.
pub(super) fn drafted(
    replica: &Replica,
    change: RootChange,
    rooted: &Rooted<'_>,
) -> Result<Errand, AuthorityError> {
    let chain = replica.authority().chain();
    let next = chain.next(change);
    let held = rooted.update.map(Errand::read).transpose()?.flatten();
    let Some((path, held)) = rooted.update.zip(held) else {
        return Ok(Errand::new(replica, Cosigned::sign(chain.fleet(), &[], next)));
    };
    let other =
        |problem: &str| AuthorityError::OtherUpdate { path: path.to_owned(), problem: problem.to_owned() };
    if held.authority().fleet() != chain.fleet() {
        return Err(other("is of another fleet"));
    }
    if !is_same(&held.update().body().change, &next.change) {
        return Err(other("holds an update that does something else"));
    }
    placed(&held, chain, path)?;
    Ok(Errand::new(replica, held.update().clone()))
}

/// Whether what waits in a file still comes next.
///
/// # Errors
/// When it does not.
pub(super) fn placed(held: &Errand, chain: &RootChain, path: &Path) -> Result<(), AuthorityError> {
    if held.is_next(chain) {
        return Ok(());
    }
    let problem = "holds an update for another place of the chain, which has gone on since".to_owned();
    Err(AuthorityError::OtherUpdate { path: path.to_owned(), problem })
}

/// Whether two changes do the same, whoever drafted them and when.
fn is_same(one: &RootChange, other: &RootChange) -> bool {
    match (one, other) {
        (RootChange::Lift(one), RootChange::Lift(other)) => one.stops == other.stops,
        (RootChange::Revoke(one), RootChange::Revoke(other)) => one.whom == other.whom,
        (RootChange::Certify(one), RootChange::Certify(other)) => {
            let (not_before, not_after) = (other.not_before, other.not_after);
            let lasts = |certificate: &Certificate| certificate.not_after.since(certificate.not_before);
            lasts(one) == lasts(other) && Certificate { not_before, not_after, ..one.clone() } == *other
        }
        (RootChange::Checkpoint(_), RootChange::Checkpoint(_)) => true,
        (RootChange::Recover(one), RootChange::Recover(other)) => {
            (&one.by, &one.roots) == (&other.by, &other.roots)
        }
        (RootChange::Deny(one), RootChange::Deny(other)) => one.recovery == other.recovery,
        (one, other) => one == other,
    }
}

/// The keys that were named, each once.
///
/// # Errors
/// When one cannot be used.
pub(super) fn keys<'a>(rooted: &Rooted<'a>) -> Result<Vec<(&'a Path, RootSigner)>, AuthorityError> {
    let ways = ways();
    rooted.keys.iter().map(|word| Ok((&**word, RootSigner::find(word, &ways)?))).collect()
}

/// Signs with the keys that are given. True if that is enough to hand it over; else it waits in the file.
///
/// # Errors
/// When there is neither a key nor a file, one does not govern, or they are too few and there is no file.
pub(super) fn sign(errand: &mut Errand, rooted: &Rooted<'_>) -> Result<bool, AuthorityError> {
    let keys = keys(rooted)?;
    if keys.is_empty() && rooted.update.is_none() {
        let roots = errand.authority().chain().roots();
        return Err(AuthorityError::NoRootKey { threshold: roots.threshold, of: roots.keys.len() });
    }
    errand.sign(&keys)?;
    let lacking = errand.lacking();
    if lacking.is_nothing() {
        return Ok(true);
    }
    let Some(path) = rooted.update else {
        return Err(AuthorityError::TooFewRoots {
            have: lacking.have,
            threshold: lacking.threshold,
            unproved: lacking.unproved.len(),
        });
    };
    errand.write(path)?;
    Ok(false)
}
