//! The root chain: hash-linked updates under a threshold of root keys. Hundreds in a fleet's life.
//!
//! Fork choice is a function of the set: from the genesis on, among the children that the roots of
//! that moment signed in sufficient number, the one with the lowest id. A child of a kind, or with a
//! certificate, that this version does not know stops the chain there (what it would have allowed
//! stays not allowed) and is reported, since a newer version would go on.
//!
//! What too few roots signed is not kept at all: an id leaves the signatures out, so a copy that was
//! stripped of some, or anybody's own update, would otherwise stand in the way of the real one.

use std::collections::{BTreeMap, BTreeSet};

use super::Certificate;
use crate::{
    identity::{Cosigned, EntryId, FleetId, Kind, Payload, PublicKey, Root, SecretKey, SignedError},
    time::Timestamp,
    wire::{Fields, Value, Wire, WireError, choice_parts},
    wire_record,
};

/// Most updates that are kept.
const UPDATES_MAX: usize = 4096;

/// What founds a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The fleet's label.
    pub name: String,
    /// The keys that govern it.
    pub roots: Vec<PublicKey<Root>>,
    /// How many of them must sign.
    pub threshold: u8,
    /// When it was founded.
    pub founded: Timestamp,
    /// Makes two fleets with the same keys two fleets.
    pub nonce: [u8; 16],
}
wire_record!(Genesis closed { name, roots, threshold, founded, nonce });

/// What an update changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootChange {
    /// The first update.
    Found(Genesis),
    /// Gives an operator a certificate; its id is this update's id.
    Certify(Certificate),
    /// A kind that this version does not know, or a known one that says more than this version can read;
    /// the chain stops before it.
    Unknown {
        /// Its number.
        tag: u64,
    },
}

impl Wire for RootChange {
    fn to_value(&self) -> Value {
        let (tag, body) = match self {
            Self::Found(genesis) => (0, genesis.to_value()),
            Self::Certify(certificate) => (1, certificate.to_value()),
            Self::Unknown { tag } => (*tag, Value::Null),
        };
        Value::Array(vec![Value::from(tag), body])
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let (tag, mut fields): (u64, Fields) = choice_parts(value, field)?;
        let known = match tag {
            0 => fields.next("genesis").map(Self::Found),
            1 => fields.next("certificate").map(Self::Certify),
            tag => return Ok(Self::Unknown { tag }),
        };
        match known.and_then(|change| fields.finish_closed("RootChange").map(|()| change)) {
            Err(error) if error.is_newer() => Ok(Self::Unknown { tag }),
            read => read,
        }
    }
}

/// One update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootUpdate {
    /// Its place, counted from zero.
    pub sequence: u32,
    /// The update before it; none for the genesis.
    pub parent: Option<EntryId>,
    /// What it changes.
    pub change: RootChange,
}
wire_record!(RootUpdate closed { sequence, parent, change });

impl Payload for RootUpdate {
    const KIND: Kind = Kind::Root;
    const BYTES_MAX: usize = 16 * 1024;
    type Signer = Root;
}

/// Why an update is not taken. The chain is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Not an envelope of an update, or its signatures do not match.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// The bytes are not the genesis of this fleet.
    #[error("not the genesis of fleet {0}")]
    NotGenesis(FleetId),
    /// A genesis without roots, with a threshold that cannot be met, or not signed by its own roots.
    #[error("the genesis does not found a fleet: {0}")]
    BadGenesis(&'static str),
    /// Too few of the fleet's roots signed it; whoever made it has no say.
    #[error("too few of the fleet's roots signed it")]
    TooFewRoots,
    /// More updates than are kept.
    #[error("more than {UPDATES_MAX} root updates")]
    Full,
}

/// The chain as far as it is known, and where it stands.
#[derive(Clone, Debug)]
pub struct RootChain {
    fleet: FleetId,
    genesis: Genesis,
    updates: BTreeMap<EntryId, Cosigned<RootUpdate>>,
    path: Vec<EntryId>,
    stopped_at: Option<EntryId>,
}

impl RootChain {
    /// Founds a fleet: signs the genesis with `keys`.
    ///
    /// # Errors
    /// [`ChainError::BadGenesis`] when it could not govern itself.
    pub fn found(genesis: Genesis, keys: &[&SecretKey<Root>]) -> Result<Self, ChainError> {
        let update = RootUpdate { sequence: 0, parent: None, change: RootChange::Found(genesis) };
        let signed = Cosigned::sign(FleetId([0; 32]), keys, update);
        Self::open(signed.bytes(), FleetId(signed.id().0))
    }

    /// Starts a chain from a fleet's genesis, which must hash to `fleet`.
    ///
    /// # Errors
    /// When the bytes are not that, or found nothing that could govern itself.
    pub fn open(bytes: &[u8], fleet: FleetId) -> Result<Self, ChainError> {
        let signed = Cosigned::<RootUpdate>::verify(bytes, FleetId([0; 32]))?;
        let body = signed.body();
        let RootChange::Found(genesis) = &body.change else { return Err(ChainError::NotGenesis(fleet)) };
        if signed.id().0 != fleet.0 || body.sequence != 0 || body.parent.is_some() {
            return Err(ChainError::NotGenesis(fleet));
        }
        if genesis.roots.is_empty() || !genesis.roots.is_sorted_by(|a, b| a < b) {
            return Err(ChainError::BadGenesis("its root keys must be there, in order, each once"));
        }
        if genesis.threshold == 0 || usize::from(genesis.threshold) > genesis.roots.len() {
            return Err(ChainError::BadGenesis("its threshold cannot be met"));
        }
        if genesis.roots.iter().any(|key| PublicKey::<Root>::import(key.bytes()).is_err()) {
            return Err(ChainError::BadGenesis("a root key is weak or no key"));
        }
        if !enough(genesis, signed.signers()) {
            return Err(ChainError::BadGenesis("too few of its roots signed it"));
        }
        let genesis = genesis.clone();
        let id = signed.id();
        Ok(Self { fleet, genesis, updates: BTreeMap::from([(id, signed)]), path: vec![id], stopped_at: None })
    }

    /// Takes an update into the set; true if it was not there.
    ///
    /// # Errors
    /// When it is not one of this fleet, too few roots signed it, or the set is full.
    pub fn absorb(&mut self, bytes: &[u8]) -> Result<bool, ChainError> {
        let signed = Cosigned::<RootUpdate>::verify(bytes, self.fleet)?;
        if self.updates.contains_key(&signed.id()) {
            return Ok(false);
        }
        if !enough(&self.genesis, signed.signers()) {
            return Err(ChainError::TooFewRoots);
        }
        if self.updates.len() >= UPDATES_MAX {
            return Err(ChainError::Full);
        }
        self.updates.insert(signed.id(), signed);
        self.choose();
        Ok(true)
    }

    fn choose(&mut self) {
        self.path.truncate(1);
        self.stopped_at = None;
        while let Some(head) = self.path.last().copied() {
            let sequence = u32::try_from(self.path.len()).unwrap_or(u32::MAX);
            // In order of ids, so the first that fits is the lowest.
            let next = self
                .updates
                .values()
                .find(|update| update.body().parent == Some(head) && update.body().sequence == sequence);
            let Some(next) = next else { return };
            if !matches!(next.body().change, RootChange::Certify(_)) {
                self.stopped_at = Some(next.id());
                return;
            }
            self.path.push(next.id());
        }
    }

    /// Makes the update that would come next.
    pub fn next(&self, change: RootChange) -> RootUpdate {
        RootUpdate {
            sequence: u32::try_from(self.path.len()).unwrap_or(u32::MAX),
            parent: self.path.last().copied(),
            change,
        }
    }

    /// The fleet it governs.
    pub fn fleet(&self) -> FleetId {
        self.fleet
    }

    /// What founded it.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The certificates of the winning branch, each with its id.
    pub fn certificates(&self) -> impl Iterator<Item = (EntryId, &Certificate)> {
        self.path.iter().filter_map(|id| match &self.updates.get(id)?.body().change {
            RootChange::Certify(certificate) => Some((*id, certificate)),
            RootChange::Found(_) | RootChange::Unknown { .. } => None,
        })
    }

    /// The certificates of all branches, each with its id: whose objects are kept and relayed. It only
    /// grows, so what was kept once is kept on every host; only [`RootChain::certificates`] allow anything.
    pub(super) fn certificates_ever(&self) -> impl Iterator<Item = (EntryId, &Certificate)> {
        self.updates.iter().filter_map(|(id, update)| match &update.body().change {
            RootChange::Certify(certificate) => Some((*id, certificate)),
            RootChange::Found(_) | RootChange::Unknown { .. } => None,
        })
    }

    /// How many updates stand beside another at their place: more than none means that the roots signed
    /// two histories.
    pub fn forks(&self) -> usize {
        let places: BTreeSet<_> =
            self.updates.values().map(|update| (update.body().sequence, update.body().parent)).collect();
        self.updates.len() - places.len()
    }

    /// Every update that is held, genesis first, then in order of their places.
    pub fn updates(&self) -> Vec<&Cosigned<RootUpdate>> {
        let mut all: Vec<_> = self.updates.values().collect();
        all.sort_by_key(|update| (update.body().sequence, update.id()));
        all
    }

    /// One update that is held.
    pub fn update(&self, id: &EntryId) -> Option<&Cosigned<RootUpdate>> {
        self.updates.get(id)
    }

    /// Whether this update is held.
    pub fn holds(&self, id: &EntryId) -> bool {
        self.updates.contains_key(id)
    }

    /// The update before which the chain stopped, if this version is too old to go on.
    pub fn stopped_at(&self) -> Option<EntryId> {
        self.stopped_at
    }
}

fn enough(genesis: &Genesis, signers: &[PublicKey<Root>]) -> bool {
    signers.iter().filter(|key| genesis.roots.contains(key)).count() >= usize::from(genesis.threshold)
}
