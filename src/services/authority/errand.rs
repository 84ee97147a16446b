//! A file that carries an update from one holder of a root key to the next.
//!
//! It has in it all that a machine without any link needs to see what it signs: the root chain, which it verifies
//! from the fleet's genesis on, and the entries that the update speaks of. The file gives nobody anything: too few
//! signatures are none, and every host judges what comes of it. Nothing in it is believed: the words that a holder
//! reads are made from the update that is signed.

use std::{fs, io, path::Path};

use super::AuthorityError;
use crate::{
    authority::{Authority, Lift, RootChain, RootChange, RootUpdate, Roots, Whom},
    identity::{Cosigned, EntryId, FleetId, PublicKey, Root},
    journal::{keyfile, signer::RootSigner},
    replica::{Entry, Replica},
    wire::{self, Bytes},
    wire_record,
};

/// Longest file, in bytes.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How such a file begins, for whoever opens it.
const TITLE: &[u8] = b"muster: an update of a fleet's root chain on its way; muster roots sign FILE\n";

/// See the module.
#[derive(Debug)]
pub(super) struct Errand {
    authority: Authority,
    about: Vec<Bytes>,
    update: Cosigned<RootUpdate>,
}

#[derive(Debug)]
struct Packed {
    fleet: FleetId,
    chain: Vec<Bytes>,
    about: Vec<Bytes>,
    update: Bytes,
}
wire_record!(Packed closed { fleet, chain, about, update });

/// What is lacking before hosts take an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lacking {
    /// Signatures of roots that govern.
    pub(super) have: usize,
    /// How many there must be.
    pub(super) threshold: usize,
    /// Keys that are to govern and have not signed.
    pub(super) unproved: Vec<PublicKey<Root>>,
}

impl Lacking {
    pub(super) fn is_nothing(&self) -> bool {
        self.have >= self.threshold && self.unproved.is_empty()
    }
}

impl Errand {
    /// A draft, with what a reader elsewhere needs to understand it.
    pub(super) fn new(replica: &Replica, update: Cosigned<RootUpdate>) -> Self {
        let about = about(replica, &update.body().change);
        Self { authority: replica.authority().clone(), about, update }
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or does not hold together.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, AuthorityError> {
        let failed = |source| AuthorityError::Update { path: path.to_owned(), source };
        let other = |problem: String| AuthorityError::OtherUpdate { path: path.to_owned(), problem };
        let bytes = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
            Ok(about) if about.len() > FILE_BYTES_MAX => {
                return Err(other("is too long for an update".to_owned()));
            }
            Ok(_) => fs::read(path).map_err(failed)?,
        };
        let body =
            bytes.strip_prefix(TITLE).ok_or_else(|| other("holds no update of a root chain".to_owned()))?;
        let packed: Packed = wire::decode(body, usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX))
            .map_err(|error| other(format!("is damaged: {error}")))?;
        let mut chain = packed.chain.iter();
        let genesis = chain
            .next()
            .ok_or_else(|| other("says of which fleet it is, and not what founded it".to_owned()))?;
        let broken = |error: crate::authority::ChainError| {
            other(format!("has a root chain that does not hold: {error}"))
        };
        let mut authority = Authority::new(RootChain::open(&genesis.0, packed.fleet).map_err(broken)?);
        for update in chain {
            authority.absorb_root(&update.0).map_err(broken)?;
        }
        for entry in &packed.about {
            // What does not hold is only not spoken of.
            let _left_out = match Entry::verify(&entry.0, packed.fleet) {
                Ok(Entry::Grant(grant)) => authority.absorb_grant(grant),
                Ok(Entry::Suspension(suspension)) => authority.absorb_suspension(suspension),
                Ok(Entry::Halt(halt)) => authority.absorb_halt(halt),
                _ => Ok(false),
            };
        }
        let update = Cosigned::<RootUpdate>::read(&packed.update.0, packed.fleet)
            .map_err(|error| other(format!("holds no update of this fleet: {error}")))?;
        let errand = Self { authority, about: packed.about, update };
        if !errand.is_next(errand.authority.chain()) {
            return Err(other("holds an update for another place than the end of its chain".to_owned()));
        }
        Ok(Some(errand))
    }

    /// Writes it to a file, over what is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result<(), AuthorityError> {
        let chain = self.authority.chain();
        let packed = Packed {
            fleet: chain.fleet(),
            chain: chain.updates().iter().map(|update| Bytes::from(update.bytes())).collect(),
            about: self.about.clone(),
            update: Bytes::from(self.update.bytes()),
        };
        let mut bytes = TITLE.to_vec();
        bytes.extend(wire::encode(&packed));
        keyfile::replace_file(path, &bytes)
            .map_err(|source| AuthorityError::Update { path: path.to_owned(), source })
    }

    /// What is known where it is read.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The update.
    pub(super) fn update(&self) -> &Cosigned<RootUpdate> {
        &self.update
    }

    /// Whether it comes next on a chain.
    pub(super) fn is_next(&self, chain: &RootChain) -> bool {
        let next = chain.next(self.update.body().change.clone());
        *self.update.body() == next
    }

    /// What is lacking before hosts take it.
    pub(super) fn lacking(&self) -> Lacking {
        let (roots, signers) = (self.by(), self.update.signers());
        let proven = |key: &PublicKey<Root>| match self.update.body().change {
            RootChange::Recover(_) => false,
            _ => roots.keys.contains(key),
        };
        let unproved = |key: &&PublicKey<Root>| !proven(key) && !signers.contains(key);
        Lacking {
            have: signers.iter().filter(|key| roots.keys.contains(key)).count(),
            threshold: usize::from(roots.threshold),
            unproved: self.named().into_iter().flat_map(|to| &to.keys).filter(unproved).copied().collect(),
        }
    }

    fn named(&self) -> Option<&Roots> {
        match &self.update.body().change {
            RootChange::Roots(roots) => Some(roots),
            RootChange::Recover(recover) => Some(&recover.roots),
            _ => None,
        }
    }

    /// Whose signatures it takes.
    pub(super) fn by(&self) -> Roots {
        match &self.update.body().change {
            RootChange::Recover(recover) => recover.by.clone(),
            _ => self.authority.chain().roots(),
        }
    }

    /// Adds the signatures of these keys.
    ///
    /// # Errors
    /// When one has no say in it, or does not sign.
    pub(super) fn sign(&mut self, keys: &[(&Path, RootSigner)]) -> Result<(), AuthorityError> {
        if let RootChange::Unknown { .. } | RootChange::Found(_) = &self.update.body().change {
            // Nobody signs what this version cannot show in words.
            return Err(AuthorityError::NothingToDo(
                "this version does not know that kind of update".to_owned(),
            ));
        }
        let roots = self.by();
        for (path, key) in keys {
            let has_say = |of: &Roots| of.keys.contains(&key.public());
            if !has_say(&roots) && !self.named().is_some_and(has_say) {
                return Err(AuthorityError::NotARoot { path: (*path).to_owned() });
            }
            self.update = key.sign(self.update.clone())?;
        }
        // What an agent made is not believed before it was checked.
        if !keys.is_empty() {
            self.update = Cosigned::verify(self.update.bytes(), self.authority.fleet())?;
        }
        Ok(())
    }
}

/// The entries that a change speaks of.
fn about(replica: &Replica, change: &RootChange) -> Vec<Bytes> {
    let ids: Vec<EntryId> = match change {
        RootChange::Lift(Lift { stops, .. }) => stops.clone(),
        RootChange::Revoke(revocation) => match &revocation.whom {
            Whom::Certificate { id } => vec![*id],
            _ => Vec::new(),
        },
        RootChange::Checkpoint(checkpoint) => replica.authority().stops_of_the_past(checkpoint.at),
        _ => Vec::new(),
    };
    let mut about = Vec::new();
    for id in ids {
        let authority = replica.authority();
        let under = authority.suspension(&id).map(|suspension| suspension.body().certificate);
        let under = under.or_else(|| authority.signed_halt(&id).map(|halt| halt.body().certificate));
        // The certificate first: without it the stop is one of nobody.
        let bytes = [under, Some(id)].into_iter().flatten().filter_map(|id| replica.entry_item(&id));
        about.extend(bytes.map(|item| item.entry));
    }
    about
}
