//! What takes root keys: signed by as many as are at hand, handed over once they are enough.
//!
//! The keys of an M-of-N fleet are seldom in one place. Then the update waits in a file, which goes from one holder
//! to the next; each runs the same command with their key and sees what they sign. The file gives nobody anything:
//! too few signatures are none.

use std::{fs, io, path::Path};

use super::{AuthorityError, Rooted};
use crate::{
    authority::{Certificate, RootChain, RootChange, RootUpdate},
    identity::{Cosigned, Root, SecretKey},
    journal::keyfile,
};

/// Longest file with an update, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What came of signing.
#[derive(Debug)]
pub(super) enum Signed {
    /// Enough: to be handed over.
    Enough(Cosigned<RootUpdate>),
    /// It waits for more.
    Waits(Cosigned<RootUpdate>),
}

/// The update that is to be signed: the one in the file, if there is one, which must be of the same meaning.
///
/// # Errors
/// When the file cannot be read, or holds something else.
pub(super) fn drafted(
    chain: &RootChain,
    change: RootChange,
    rooted: &Rooted<'_>,
) -> Result<(RootUpdate, Option<Cosigned<RootUpdate>>), AuthorityError> {
    let next = chain.next(change);
    let Some(path) = rooted.update else { return Ok((next, None)) };
    let Some(bytes) = read(path)? else { return Ok((next, None)) };
    let other = |problem: String| AuthorityError::OtherUpdate { path: path.to_owned(), problem };
    let held = Cosigned::<RootUpdate>::verify(&bytes, chain.fleet())
        .map_err(|error| other(format!("is no update of this fleet: {error}")))?;
    if !is_same(&held.body().change, &next.change) {
        return Err(other("holds an update that does something else".to_owned()));
    }
    if (held.body().parent, held.body().sequence) != (next.parent, next.sequence) {
        return Err(other(
            "holds an update for another place of the chain, which has gone on since".to_owned(),
        ));
    }
    Ok((held.body().clone(), Some(held)))
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
        (one, other) => one == other,
    }
}

/// Signs a draft with the keys that are given.
///
/// # Errors
/// When there is none, one does not govern, or they are too few and there is no file for the draft.
pub(super) fn sign(
    chain: &RootChain,
    (draft, held): (RootUpdate, Option<Cosigned<RootUpdate>>),
    rooted: &Rooted<'_>,
) -> Result<Signed, AuthorityError> {
    let roots = chain.roots();
    if rooted.keys.is_empty() {
        return Err(AuthorityError::NoRootKey { threshold: roots.threshold, of: roots.keys.len() });
    }
    let mut keys: Vec<SecretKey<Root>> = Vec::new();
    for path in rooted.keys {
        let key = keyfile::read::<Root>(path)?;
        if !roots.keys.contains(&key.public()) {
            return Err(AuthorityError::NotARoot { path: path.clone() });
        }
        if keys.iter().all(|other| other.public() != key.public()) {
            keys.push(key);
        }
    }
    let keys: Vec<&SecretKey<Root>> = keys.iter().collect();
    let update = match held {
        Some(held) => held.also_by(&keys),
        None => Cosigned::sign(chain.fleet(), &keys, draft),
    };
    if roots.met_by(update.signers()) {
        return Ok(Signed::Enough(update));
    }
    let Some(path) = rooted.update else {
        return Err(AuthorityError::TooFewRoots { have: update.signers().len(), threshold: roots.threshold });
    };
    keyfile::replace_file(path, update.bytes())
        .map_err(|source| AuthorityError::Update { path: path.to_owned(), source })?;
    Ok(Signed::Waits(update))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, AuthorityError> {
    let failed = |source| AuthorityError::Update { path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(about) if about.len() > FILE_BYTES_MAX => Err(AuthorityError::OtherUpdate {
            path: path.to_owned(),
            problem: "is too long for an update".to_owned(),
        }),
        Ok(_) => fs::read(path).map(Some).map_err(failed),
    }
}
