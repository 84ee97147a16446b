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
}
wire_record!(Genesis closed { name, roots, threshold, founded, nonce });

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
            Self::Revoke(revocation) if !revocation.cut.is_well_formed() => Some("its cut is not in order"),
            Self::Revoke(Revocation { reason, .. }) | Self::Lift(Lift { reason, .. })
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
