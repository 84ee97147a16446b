//! What the roots can say: the closed kinds of root updates.

use super::{Certificate, Cut, Whom, whom::REASON_BYTES_MAX};
use crate::{
    identity::{EntryId, PublicKey, Root},
    time::Timestamp,
    wire::{Fields, Value, Wire, WireError, choice_parts},
    wire_record,
};

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
    /// Who can let other roots govern when these are lost, if anybody can.
    pub recovery: Option<Recovery>,
}

/// As a record that is closed; without recovery keys its last field is left out, as before there were any.
impl Wire for Genesis {
    fn to_value(&self) -> Value {
        let Self { name, roots, threshold, founded, nonce, recovery } = self;
        let mut fields = vec![
            name.to_value(),
            roots.to_value(),
            threshold.to_value(),
            founded.to_value(),
            nonce.to_value(),
        ];
        fields.extend(recovery.as_ref().map(Wire::to_value));
        Value::Array(fields)
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let mut fields = Fields::of(value, field)?;
        let genesis = Self {
            name: fields.next("Genesis.name")?,
            roots: fields.next("Genesis.roots")?,
            threshold: fields.next("Genesis.threshold")?,
            founded: fields.next("Genesis.founded")?,
            nonce: fields.next("Genesis.nonce")?,
            recovery: fields.next("Genesis.recovery")?,
        };
        fields.finish_closed("Genesis").map(|()| genesis)
    }
}

/// Who can let other roots govern, after a while in which the roots that do can deny it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Of the recovery keys and of how many of them must sign: see [`Roots::hash`]. Nobody learns them before they are
    /// used.
    pub keys: [u8; 32],
    /// How long everybody sees it before it counts, in ms.
    pub delay_ms: u64,
}
wire_record!(Recovery closed { keys, delay_ms });

/// Who governs: keys, and how many of them must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The keys, in order.
    pub keys: Vec<PublicKey<Root>>,
    /// How many of them must sign.
    pub threshold: u8,
}
wire_record!(Roots closed { keys, threshold });

impl Roots {
    /// Why they could not govern, if they could not.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.keys.is_empty() || !self.keys.is_sorted_by(|a, b| a < b) {
            return Some("its root keys must be there, in order, each once");
        }
        if self.threshold == 0 || usize::from(self.threshold) > self.keys.len() {
            return Some("its threshold cannot be met");
        }
        if self.keys.iter().any(|key| PublicKey::<Root>::import(key.bytes()).is_err()) {
            return Some("a root key is weak or no key");
        }
        None
    }

    /// A hash of them, which tells nobody what they are.
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key("muster/recovery-keys/v1", &crate::wire::encode(self))
    }

    /// Whether enough of them are among these.
    pub fn met_by(&self, signers: &[PublicKey<Root>]) -> bool {
        signers.iter().filter(|key| self.keys.contains(key)).count() >= usize::from(self.threshold)
    }
}

/// What is taken away for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// From whom.
    pub whom: Whom,
    /// What stands of what they did.
    pub cut: Cut,
    /// Why, for people.
    pub reason: String,
}
wire_record!(Revocation closed { whom, cut, reason });

/// Suspensions and halts that end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lift {
    /// Which, in order.
    pub stops: Vec<EntryId>,
    /// When this was decided. What the suspended ordered up to then stays refused: it may have waited somewhere.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
}
wire_record!(Lift closed { stops, at, reason });

/// What the roots write down once in a while. Behind it nothing counts any more of what branched off before, not even
/// what it revokes; and of stops under certificates that were past by then only those that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// When it was decided.
    pub at: Timestamp,
    /// The first halves of the ids of the suspensions and halts that stand, of those under certificates that were past
    /// at that time; in order.
    pub stands: Vec<[u8; 16]>,
}
wire_record!(Checkpoint closed { at, stands });

/// What recovery keys say: other roots shall govern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recover {
    /// The recovery keys, whose hash is in the genesis.
    pub by: Roots,
    /// Who shall govern.
    pub roots: Roots,
    /// When it was signed. It counts no earlier than the delay after that, and after a host saw it first.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
}
wire_record!(Recover closed { by, roots, at, reason });

/// What the roots that govern say of a recovery: it never counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The update with the recovery.
    pub recovery: EntryId,
    /// Why, for people.
    pub reason: String,
}
wire_record!(Denial closed { recovery, reason });

/// What an update changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootChange {
    /// The first update.
    Found(Genesis),
    /// Gives an operator a certificate; its id is this update's id.
    Certify(Certificate),
    /// Other roots govern from here on. Signed by enough of those before, and by each key that is new.
    Roots(Roots),
    /// Takes something away for ever.
    Revoke(Revocation),
    /// Ends suspensions and halts.
    Lift(Lift),
    /// What went before is written down.
    Checkpoint(Checkpoint),
    /// Other roots govern from here on, if nobody denies it in time. Signed by enough recovery keys, and by each key
    /// that is new.
    Recover(Recover),
    /// A recovery does not count, now or later.
    Deny(Denial),
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
            Self::Roots(roots) => (2, roots.to_value()),
            Self::Revoke(revocation) => (3, revocation.to_value()),
            Self::Lift(lift) => (4, lift.to_value()),
            Self::Checkpoint(checkpoint) => (5, checkpoint.to_value()),
            Self::Recover(recover) => (6, recover.to_value()),
            Self::Deny(denial) => (7, denial.to_value()),
            Self::Unknown { tag } => (*tag, Value::Null),
        };
        Value::Array(vec![Value::from(tag), body])
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let (tag, mut fields): (u64, Fields) = choice_parts(value, field)?;
        let known = match tag {
            0 => fields.next("genesis").map(Self::Found),
            1 => fields.next("certificate").map(Self::Certify),
            2 => fields.next("roots").map(Self::Roots),
            3 => fields.next("revocation").map(Self::Revoke),
            4 => fields.next("lift").map(Self::Lift),
            5 => fields.next("checkpoint").map(Self::Checkpoint),
            6 => fields.next("recover").map(Self::Recover),
            7 => fields.next("denial").map(Self::Deny),
            tag => return Ok(Self::Unknown { tag }),
        };
        match known.and_then(|change| fields.finish_closed("RootChange").map(|()| change)) {
            Err(error) if error.is_newer() => Ok(Self::Unknown { tag }),
            read => read,
        }
    }
}

impl RootChange {
    /// Why the roots cannot say that, if they cannot.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Roots(roots) => roots.problem(),
            Self::Recover(recover) if recover.by.problem().or_else(|| recover.roots.problem()).is_some() => {
                Some("a recovery by keys, or for keys, that cannot be")
            }
            Self::Revoke(revocation) if !revocation.cut.is_well_formed() => Some("its cut is not in order"),
            Self::Revoke(Revocation { reason, .. })
            | Self::Lift(Lift { reason, .. })
            | Self::Recover(Recover { reason, .. })
            | Self::Deny(Denial { reason, .. })
                if reason.len() > REASON_BYTES_MAX =>
            {
                Some("its reason is too long")
            }
            Self::Lift(lift) if !lift.stops.is_sorted_by(|a, b| a < b) => {
                Some("what it lifts is not in order")
            }
            Self::Checkpoint(checkpoint) if !checkpoint.stands.is_sorted_by(|a, b| a < b) => {
                Some("what it leaves standing is not in order")
            }
            _ => None,
        }
    }
}
