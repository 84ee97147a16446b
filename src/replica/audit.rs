//! A host's audit chain: what its executor accepted, refused and ended, each record signed and naming the one
//! before it.
//!
//! Decides whether records are a chain, and if not, where the first one stands that does not fit and what is
//! wrong with it. Always holds: a walk that comes to its end has seen every record between its first and its last,
//! unaltered, once, in order; and its last is at or beyond every head that it was told of. A host can lie about
//! what it did; it cannot take back what it once showed: two records at one place, both signed by it, prove that
//! to anyone ([`fork`]). A chain begins with record 0, or with one that says that older ones were dropped.
//!
//! Knows nothing of who asks or where records are kept. After Certificate Transparency (RFC 9162), of which a
//! single chain needs only the list.

use crate::{
    authority::Verb,
    identity::{EntryId, Executor, FleetId, Kind, Operator, Payload, PublicKey, Signed},
    time::Timestamp,
    wire::{Value, Wire, WireError},
    wire_choice, wire_record,
};

use super::Outcome;

/// What happened, as far as this version knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditEvent {
    /// An order was accepted and claimed.
    Accepted {
        /// The order.
        order: EntryId,
        /// Whose it is.
        issuer: PublicKey<Operator>,
        /// What it asked for.
        verb: Verb,
        /// As whom.
        run_as: String,
        /// Who approved it, where somebody had to.
        approved_by: Vec<String>,
    },
    /// An order of somebody with a certificate was refused.
    Refused {
        /// The order.
        order: EntryId,
        /// Whose it is.
        issuer: PublicKey<Operator>,
        /// What it asked for.
        verb: Verb,
        /// The reason, in words.
        why: String,
    },
    /// What was accepted has ended.
    Ended {
        /// The order.
        order: EntryId,
        /// How.
        outcome: Outcome,
        /// The signed result.
        result: EntryId,
    },
    /// Records before this one are not kept any more. It names the last of them as every record does.
    Rotated {},
    /// What was accepted was cancelled by who ordered it.
    Cancelled {
        /// The order.
        order: EntryId,
        /// Whose it is.
        issuer: PublicKey<Operator>,
    },
    /// What was running was ended, since its issuer or this host was stopped.
    Stopped {
        /// The order.
        order: EntryId,
        /// The reason, in words.
        why: String,
    },
    /// The host left the fleet by its own word: the last record, which goes with the host unless somebody reads it.
    Left {},
    /// The file with the records before this one was damaged and is set aside. It names the last of them that is known.
    Renewed {},
    /// This host was restored from an older copy of its state: what was ordered before this is not run any more.
    Restored {
        /// Orders issued up to here are refused, unless it is known what came of them.
        before: Timestamp,
    },
    /// What came of an order was learned from a peer that kept this host's own signed result.
    Recovered {
        /// The order.
        order: EntryId,
        /// The signed result.
        result: EntryId,
    },
}
wire_choice!(AuditEvent {
    0 = Accepted { order, issuer, verb, run_as, approved_by },
    1 = Refused { order, issuer, verb, why },
    2 = Ended { order, outcome, result },
    3 = Rotated {},
    4 = Cancelled { order, issuer },
    5 = Stopped { order, why },
    6 = Left {},
    7 = Renewed {},
    20 = Restored { before },
    21 = Recovered { order, result },
});

/// What a record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audited {
    /// This.
    Known(AuditEvent),
    /// Something that only a newer version knows: it counts as a record, and is kept.
    Newer {
        /// Its number.
        tag: u64,
    },
}

impl Wire for Audited {
    fn to_value(&self) -> Value {
        match self {
            Self::Known(event) => event.to_value(),
            Self::Newer { tag } => Value::Array(vec![Value::from(*tag)]),
        }
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        match AuditEvent::from_value(value, field) {
            Err(WireError::UnknownTag { what: "AuditEvent", tag }) => Ok(Self::Newer { tag }),
            event => event.map(Self::Known),
        }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its place, counted from zero without a gap.
    pub sequence: u64,
    /// The record before it; none for the first.
    pub previous: Option<EntryId>,
    /// When, by the host's clock.
    pub at: Timestamp,
    /// How many orders this executor has thrown away since it started because nobody with a certificate had
    /// signed them: they are worth no record of their own, or whoever sends them fills the disk.
    pub dropped: u64,
    /// What happened.
    pub what: Audited,
}
wire_record!(AuditRecord { sequence, previous, at, dropped, what });
impl Payload for AuditRecord {
    const KIND: Kind = Kind::AuditRecord;
    const BYTES_MAX: usize = 4 * 1024;
    type Signer = Executor;
}

/// The place and the id of a record: it stands for all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditHead {
    /// Its place.
    pub sequence: u64,
    /// Its id.
    pub id: EntryId,
}
wire_record!(AuditHead { sequence, id });

impl AuditHead {
    /// That of a record.
    pub fn of(record: &Signed<AuditRecord>) -> Self {
        Self { sequence: record.body().sequence, id: record.id() }
    }
}

/// Where and why records are no chain of this host. `index` counts the records that were shown, from zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// Bytes of a record were changed, added or taken out, or it is no record.
    #[error("record {index} of those shown is altered: {why}")]
    Altered {
        /// Where.
        index: u64,
        /// What about it does not hold.
        why: String,
    },
    /// Signed by some other key than the host's executor.
    #[error("record {index} of those shown is signed by another key than the host's executor's")]
    Stranger {
        /// Where.
        index: u64,
        /// Who.
        found: PublicKey<Executor>,
    },
    /// Records are left out before this one.
    #[error("records {expected} to {} are missing before record {index} of those shown", found - 1)]
    Missing {
        /// Where.
        index: u64,
        /// The sequence that should stand here.
        expected: u64,
        /// The one that does.
        found: u64,
    },
    /// A record that was shown before, again.
    #[error("record {index} of those shown is number {found} again, where {expected} belongs")]
    Repeated {
        /// Where.
        index: u64,
        /// The sequence that should stand here.
        expected: u64,
        /// The one that does.
        found: u64,
    },
    /// The first record is neither number 0 nor one that says that those before it are not kept.
    #[error("the records begin with number {found}, and nothing says where those before it are")]
    Beheaded {
        /// The sequence of the first one.
        found: u64,
    },
    /// It names another record before it than the one that stands there: one of the two is of another chain.
    #[error("record {index} of those shown follows another record than the one that stands before it")]
    Forked {
        /// Where.
        index: u64,
        /// The id of the record before it.
        expected: Option<EntryId>,
        /// The id that it names.
        found: Option<EntryId>,
    },
    /// The host showed another record at this place before: it has two chains.
    #[error("number {} is {found}, and this host showed {} there before", known.sequence, known.id)]
    Rewritten {
        /// What was seen.
        known: AuditHead,
        /// What is shown now.
        found: EntryId,
    },
    /// The host showed more before: the end is cut off.
    #[error("the records end before number {}, which this host showed before", known.sequence)]
    CutShort {
        /// What was seen.
        known: AuditHead,
        /// The last one that is shown now.
        last: Option<AuditHead>,
    },
}

/// Takes the records of one host one after the other.
#[derive(Debug)]
pub struct AuditWalk {
    fleet: FleetId,
    executor: PublicKey<Executor>,
    /// Heads that the host showed before, latest first.
    known: Vec<AuditHead>,
    index: u64,
    first: Option<u64>,
    last: Option<AuditHead>,
}

impl AuditWalk {
    /// For the host whose results this key signs, and that showed these heads before, in any order.
    pub fn new(fleet: FleetId, executor: PublicKey<Executor>, mut known: Vec<AuditHead>) -> Self {
        known.sort_unstable_by(|a, b| b.cmp(a));
        Self { fleet, executor, known, index: 0, first: None, last: None }
    }

    /// Takes the next record, as received.
    ///
    /// # Errors
    /// The first thing that is wrong with it. The walk is over then.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Signed<AuditRecord>, AuditFault> {
        let index = self.index;
        let record = Signed::<AuditRecord>::verify(bytes, self.fleet)
            .map_err(|error| AuditFault::Altered { index, why: error.to_string() })?;
        if record.signer() != self.executor {
            return Err(AuditFault::Stranger { index, found: record.signer() });
        }
        let (found, body) = (record.body().sequence, record.body());
        match self.last {
            Some(last) => {
                let expected = last.sequence.saturating_add(1);
                if found > expected {
                    return Err(AuditFault::Missing { index, expected, found });
                }
                if found < expected {
                    return Err(AuditFault::Repeated { index, expected, found });
                }
                if body.previous != Some(last.id) {
                    let (expected, found) = (Some(last.id), body.previous);
                    return Err(AuditFault::Forked { index, expected, found });
                }
            }
            None if found == 0 && body.previous.is_some() => {
                return Err(AuditFault::Forked { index, expected: None, found: body.previous });
            }
            None if found > 0
                && !matches!(body.what, Audited::Known(AuditEvent::Rotated {} | AuditEvent::Renewed {})) =>
            {
                return Err(AuditFault::Beheaded { found });
            }
            None => {}
        }
        // What stands before the first one that is kept is known by the id that this one names.
        let before = body.previous.filter(|_| self.last.is_none()).zip(found.checked_sub(1));
        let shown = [Some((record.id(), found)), before];
        for (id, sequence) in shown.into_iter().flatten() {
            for known in &self.known {
                if known.sequence == sequence && known.id != id {
                    return Err(AuditFault::Rewritten { known: *known, found: id });
                }
            }
        }
        self.first.get_or_insert(found);
        self.last = Some(AuditHead::of(&record));
        self.index = index.saturating_add(1);
        Ok(record)
    }

    /// The end of what is shown: the first number and the last record.
    ///
    /// # Errors
    /// When the host showed more before.
    pub fn end(self) -> Result<Option<(u64, AuditHead)>, AuditFault> {
        let known = self.known.first().copied();
        match known.filter(|known| self.last.is_none_or(|last| last.sequence < known.sequence)) {
            Some(known) => Err(AuditFault::CutShort { known, last: self.last }),
            None => Ok(self.first.zip(self.last)),
        }
    }
}

/// Whether two records prove that a host has two chains: both of its executor's key, at one place, and not
/// the same. Who holds both needs nobody's word to show it.
pub fn fork(
    fleet: FleetId,
    executor: PublicKey<Executor>,
    one: &[u8],
    other: &[u8],
) -> Option<(AuditHead, AuditHead)> {
    let read = |bytes| Signed::<AuditRecord>::verify(bytes, fleet).ok();
    let (one, other) = (read(one)?, read(other)?);
    let own = one.signer() == executor && other.signer() == executor;
    let (one, other) = (AuditHead::of(&one), AuditHead::of(&other));
    (own && one.sequence == other.sequence && one.id != other.id).then_some((one, other))
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
