//! The root chain: hash-linked updates under a threshold of root keys. Hundreds in a fleet's life.
//!
//! Each update needs enough of the roots that govern where it stands: those of its parent, which an update on
//! the way there may have made others. An update whose parent is not held is not taken, since nobody can say
//! who had to sign it; it is asked for again.
//!
//! Fork choice is a function of the set: from the genesis on, among the children of an update, those that take
//! something away (a rotation, a revocation) before the others, then the one with the lowest id. Both branches
//! are kept and spread: whoever holds them can prove that the roots signed two histories. A child of a kind, or
//! with a certificate, that this version does not know stops the chain there, whatever stands beside it, and is
//! reported, since a newer version would go on. What it would have allowed stays not allowed, but what was
//! revoked behind it counts.
//!
//! *Revocations* count from every branch that leaves the winning one at its last checkpoint or later: to lose a
//! fork gives nobody back what the roots took. *Lifts* count from the winning branch alone.
//!
//! *Recovery keys*, of which the genesis has a hash, can let other roots govern. Such an update is kept and spread
//! like every other, and passed over until a host says that it waited long enough ([`RootChain::mature`]): a time in
//! it would be the word of who signed it, so each host counts from when it saw it. Then it goes before all that
//! stands beside it. Roots that governed before it, from the last checkpoint there on, can deny it: a denial counts
//! whenever it comes, so two hosts of which one heard of it in time and the other did not agree in the end. So what
//! a chain comes to is a function of the set of updates and of which recoveries have waited, and once all have, of
//! the set alone. The price: whoever finds enough of the keys that were lost can still take a recovery back; and what
//! roots signed beside it meanwhile is lost with them, but for what they revoked.
//!
//! What too few roots signed is not kept at all: an id leaves the signatures out, so a copy that was
//! stripped of some, or anybody's own update, would otherwise stand in the way of the real one.
//!
//! After Tailscale's `tka`, but for two things: there, an unknown kind is passed over; here it stops. There, a
//! lost fork takes its removals with it; here it does not.

use std::collections::{BTreeMap, BTreeSet};

use super::{Certificate, Checkpoint, Genesis, Lift, Recover, Revocation, RootChange, Roots};
use crate::{
    identity::{Cosigned, EntryId, FleetId, Kind, Payload, PublicKey, Root, SecretKey, SignedError},
    wire_record,
};

/// Most updates that are kept, of those that recovery keys began and of the others each: whoever has such a key cannot
/// keep out the roots that deny it.
const UPDATES_MAX: usize = 4096;

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
    const BYTES_MAX: usize = 32 * 1024;
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
    /// The update before it is not held. It may be taken later.
    #[error("the update before it is not known")]
    Gap,
    /// Too few of the roots that govern there signed it; whoever made it has no say.
    #[error("too few of the fleet's roots signed it")]
    TooFewRoots,
    /// A root that it names has not signed it, so nobody knows whether anyone holds that key.
    #[error("a root key that it names has not signed it")]
    NotProved,
    /// It says what no update can.
    #[error("no update that can be: {0}")]
    BadChange(&'static str),
    /// More updates than are kept.
    #[error("more than {UPDATES_MAX} root updates")]
    Full,
}

/// An update with who governs behind it.
#[derive(Clone, Debug)]
struct Held {
    update: Cosigned<RootUpdate>,
    roots: Roots,
    /// Whether it is a recovery, or stands behind one.
    recovered: bool,
}

/// The chain as far as it is known, and where it stands.
#[derive(Clone, Debug)]
pub struct RootChain {
    fleet: FleetId,
    genesis: Genesis,
    updates: BTreeMap<EntryId, Held>,
    children: BTreeMap<EntryId, BTreeSet<EntryId>>,
    path: Vec<EntryId>,
    stopped_at: Option<EntryId>,
    /// Recoveries that have waited long enough here.
    matured: BTreeSet<EntryId>,
}

/// A recovery that is known.
#[derive(Clone, Copy, Debug)]
pub struct Recovering<'a> {
    /// The update.
    pub id: EntryId,
    /// What it says.
    pub recover: &'a Recover,
    /// Whether it can count at all.
    pub state: RecoveryState,
}

/// What becomes of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryState {
    /// It waits; the roots can deny it.
    Waits,
    /// The roots denied it.
    Denied,
    /// It counts.
    Counts,
    /// It waited long enough, and another history counts.
    Lost,
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
        let update = Cosigned::<RootUpdate>::verify(bytes, FleetId([0; 32]))?;
        let body = update.body();
        let RootChange::Found(genesis) = &body.change else { return Err(ChainError::NotGenesis(fleet)) };
        if update.id().0 != fleet.0 || body.sequence != 0 || body.parent.is_some() {
            return Err(ChainError::NotGenesis(fleet));
        }
        let roots = Roots { keys: genesis.roots.clone(), threshold: genesis.threshold };
        if let Some(problem) = roots.problem() {
            return Err(ChainError::BadGenesis(problem));
        }
        if !roots.met_by(update.signers()) {
            return Err(ChainError::BadGenesis("too few of its roots signed it"));
        }
        let genesis = genesis.clone();
        let id = update.id();
        Ok(Self {
            fleet,
            genesis,
            updates: BTreeMap::from([(id, Held { update, roots, recovered: false })]),
            children: BTreeMap::new(),
            path: vec![id],
            stopped_at: None,
            matured: BTreeSet::new(),
        })
    }

    /// Takes an update into the set; true if it was not there.
    ///
    /// # Errors
    /// When it is not one of this fleet, its parent is not held, too few roots signed it, it says what cannot
    /// be, or the set is full.
    pub fn absorb(&mut self, bytes: &[u8]) -> Result<bool, ChainError> {
        let update = Cosigned::<RootUpdate>::verify(bytes, self.fleet)?;
        let id = update.id();
        if self.updates.contains_key(&id) {
            return Ok(false);
        }
        let body = update.body();
        let parent = body.parent.ok_or(ChainError::BadChange("it follows nothing"))?;
        let before = self.updates.get(&parent).ok_or(ChainError::Gap)?;
        let (by, proven) = match &body.change {
            RootChange::Recover(recover) => {
                if self.genesis.recovery.is_none_or(|recovery| recovery.keys != recover.by.hash()) {
                    return Err(ChainError::TooFewRoots);
                }
                (&recover.by, &[][..])
            }
            _ => (&before.roots, before.roots.keys.as_slice()),
        };
        if !by.met_by(update.signers()) {
            return Err(ChainError::TooFewRoots);
        }
        if before.update.body().sequence.checked_add(1) != Some(body.sequence) {
            return Err(ChainError::BadChange("it stands at another place than behind its parent"));
        }
        if let Some(problem) = body.change.problem() {
            return Err(ChainError::BadChange(problem));
        }
        let roots = match &body.change {
            RootChange::Roots(roots) | RootChange::Recover(Recover { roots, .. }) => {
                let proved = |key: &PublicKey<Root>| proven.contains(key) || update.signers().contains(key);
                if !roots.keys.iter().all(proved) {
                    return Err(ChainError::NotProved);
                }
                roots.clone()
            }
            _ => before.roots.clone(),
        };
        let recovered = before.recovered || matches!(body.change, RootChange::Recover(_));
        if self.updates.values().filter(|held| held.recovered == recovered).count() >= UPDATES_MAX {
            return Err(ChainError::Full);
        }
        let denies = matches!(body.change, RootChange::Deny(_));
        self.updates.insert(id, Held { update, roots, recovered });
        self.children.entry(parent).or_default().insert(id);
        self.choose(if denies { EntryId(self.fleet.0) } else { parent });
        Ok(true)
    }

    /// Says that recoveries have waited long enough; true if that was not said of all of them before.
    pub(super) fn mature(&mut self, recoveries: &[EntryId]) -> bool {
        let before = self.matured.len();
        self.matured.extend(recoveries);
        let more = self.matured.len() > before;
        if more {
            self.choose(EntryId(self.fleet.0));
        }
        more
    }

    /// Whether the roots denied a recovery: those that governed before it, from the last checkpoint there on.
    fn is_denied(&self, recovery: &EntryId) -> bool {
        let denies = |held: &Held| matches!(&held.update.body().change, RootChange::Deny(denial) if denial.recovery == *recovery);
        if !self.updates.values().any(denies) {
            return false;
        }
        let parent = |id: &EntryId| self.updates.get(id).and_then(|held| held.update.body().parent);
        let mut from = parent(recovery);
        while let Some(id) = from {
            let is_checkpoint = |held: &Held| matches!(held.update.body().change, RootChange::Checkpoint(_));
            if self.updates.get(&id).is_some_and(is_checkpoint) || parent(&id).is_none() {
                break;
            }
            from = parent(&id);
        }
        let mut waiting: Vec<EntryId> = from.into_iter().collect();
        while let Some(id) = waiting.pop() {
            if id == *recovery {
                continue;
            }
            if self.updates.get(&id).is_some_and(denies) {
                return true;
            }
            waiting.extend(self.children.get(&id).into_iter().flatten());
        }
        false
    }

    /// The recoveries that are known, in the order of their ids.
    pub fn recoveries(&self) -> impl Iterator<Item = Recovering<'_>> {
        self.updates.iter().filter_map(|(id, held)| {
            let RootChange::Recover(recover) = &held.update.body().change else { return None };
            let state = if self.is_denied(id) {
                RecoveryState::Denied
            } else if self.wins(id) {
                RecoveryState::Counts
            } else if self.matured.contains(id) {
                RecoveryState::Lost
            } else {
                RecoveryState::Waits
            };
            Some(Recovering { id: *id, recover, state })
        })
    }

    /// Goes along the winning branch again from `changed` on, which got a child; what is off the branch changes
    /// nothing on it.
    fn choose(&mut self, changed: EntryId) {
        let Some(at) = self.path.iter().position(|id| *id == changed) else { return };
        self.path.truncate(at + 1);
        self.stopped_at = None;
        while let Some(children) = self.path.last().and_then(|head| self.children.get(head)) {
            let change = |id: &EntryId| self.updates.get(id).map(|held| &held.update.body().change);
            let strange =
                |id: &&EntryId| matches!(change(id), Some(RootChange::Unknown { .. } | RootChange::Found(_)));
            // In order of ids, so the first is the lowest.
            if let Some(stranger) = children.iter().find(strange) {
                self.stopped_at = Some(*stranger);
                return;
            }
            let recovers = |id: &EntryId| matches!(change(id), Some(RootChange::Recover(_)));
            let waits = |id: &EntryId| !self.matured.contains(id) || self.is_denied(id);
            let rank = |id: &EntryId| match change(id) {
                Some(RootChange::Recover(_)) => 0,
                Some(RootChange::Roots(_) | RootChange::Revoke(_)) => 1,
                _ => 2,
            };
            let count = children.iter().filter(|id| !(recovers(id) && waits(id)));
            let Some(next) = count.min_by_key(|id| (rank(id), **id)).copied() else { return };
            self.path.push(next);
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

    /// Who governs now: at the end of the winning branch, as far as this version can follow it.
    pub fn roots(&self) -> Roots {
        let head = self.path.last().and_then(|id| self.updates.get(id));
        let genesis = || Roots { keys: self.genesis.roots.clone(), threshold: self.genesis.threshold };
        head.map_or_else(genesis, |held| held.roots.clone())
    }

    /// The end of the winning branch.
    pub fn head(&self) -> Option<EntryId> {
        self.path.last().copied()
    }

    /// The certificates of the winning branch, each with its id.
    pub fn certificates(&self) -> impl Iterator<Item = (EntryId, &Certificate)> {
        self.winning().filter_map(|update| match &update.body().change {
            RootChange::Certify(certificate) => Some((update.id(), certificate)),
            _ => None,
        })
    }

    /// The last checkpoint of the winning branch.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.winning()
            .filter_map(|update| match &update.body().change {
                RootChange::Checkpoint(checkpoint) => Some(checkpoint),
                _ => None,
            })
            .last()
    }

    fn winning(&self) -> impl Iterator<Item = &Cosigned<RootUpdate>> {
        self.path.iter().filter_map(|id| Some(&self.updates.get(id)?.update))
    }

    /// The certificates of all branches, each with its id: whose objects are kept and relayed. It only
    /// grows, so what was kept once is kept on every host; only [`RootChain::certificates`] allow anything.
    pub(super) fn certificates_ever(&self) -> impl Iterator<Item = (EntryId, &Certificate)> {
        self.updates.iter().filter_map(|(id, held)| match &held.update.body().change {
            RootChange::Certify(certificate) => Some((*id, certificate)),
            _ => None,
        })
    }

    /// What is revoked, each with the id of the update: of every branch that left the winning one at its last
    /// checkpoint or later.
    pub fn revocations(&self) -> impl Iterator<Item = (EntryId, &Revocation)> {
        let counts = self.counted();
        self.updates.iter().filter_map(move |(id, held)| match &held.update.body().change {
            RootChange::Revoke(revocation) if counts.contains(id) => Some((*id, revocation)),
            _ => None,
        })
    }

    /// The updates of the winning branch, and of those that left it at its last checkpoint or later.
    fn counted(&self) -> BTreeSet<EntryId> {
        let checkpoint = self
            .winning()
            .filter(|update| matches!(update.body().change, RootChange::Checkpoint(_)))
            .last()
            .or_else(|| self.winning().next())
            .map(Cosigned::id);
        let mut counted: BTreeSet<EntryId> = self.path.iter().copied().collect();
        let mut waiting: Vec<EntryId> = checkpoint.into_iter().collect();
        while let Some(id) = waiting.pop() {
            counted.insert(id);
            waiting.extend(self.children.get(&id).into_iter().flatten());
        }
        counted
    }

    /// What the winning branch lifts, each with the id of the update.
    pub fn lifts(&self) -> impl Iterator<Item = (EntryId, &Lift)> {
        self.winning().filter_map(|update| match &update.body().change {
            RootChange::Lift(lift) => Some((update.id(), lift)),
            _ => None,
        })
    }

    /// How many updates stand beside another at their place: more than none means that the roots signed
    /// two histories.
    pub fn forks(&self) -> usize {
        let histories = |children| self.histories(children).count().saturating_sub(1);
        self.children.values().map(histories).sum()
    }

    /// Those that the roots signed: a recovery, which others did, is no second history of theirs.
    fn histories<'a>(
        &'a self,
        children: &'a BTreeSet<EntryId>,
    ) -> impl Iterator<Item = &'a Cosigned<RootUpdate>> {
        let updates = children.iter().filter_map(|id| self.updates.get(id)).map(|held| &held.update);
        updates.filter(|update| !matches!(update.body().change, RootChange::Recover(_)))
    }

    /// The pairs of updates that stand beside each other: the proof that the roots signed two histories.
    pub fn fork_evidence(&self) -> Vec<(&Cosigned<RootUpdate>, &Cosigned<RootUpdate>)> {
        let pair = |children| {
            let mut pair = self.histories(children);
            pair.next().zip(pair.next())
        };
        self.children.values().filter_map(pair).collect()
    }

    /// Every update that is held, genesis first, then in order of their places.
    pub fn updates(&self) -> Vec<&Cosigned<RootUpdate>> {
        let mut all: Vec<_> = self.updates.values().map(|held| &held.update).collect();
        all.sort_by_key(|update| (update.body().sequence, update.id()));
        all
    }

    /// One update that is held.
    pub fn update(&self, id: &EntryId) -> Option<&Cosigned<RootUpdate>> {
        self.updates.get(id).map(|held| &held.update)
    }

    /// Whether this update is held.
    pub fn holds(&self, id: &EntryId) -> bool {
        self.updates.contains_key(id)
    }

    /// Whether this update is on the winning branch.
    pub fn wins(&self, id: &EntryId) -> bool {
        self.updates.get(id).is_some_and(|held| {
            let at = usize::try_from(held.update.body().sequence).unwrap_or(usize::MAX);
            self.path.get(at) == Some(id)
        })
    }

    /// The update before which the chain stopped, if this version is too old to go on.
    pub fn stopped_at(&self) -> Option<EntryId> {
        self.stopped_at
    }
}
