//! Ops in operators' streams: hash-linked, each naming what it supersedes.

use crate::{
    identity::{EntryId, HostId, Kind, Operator, Payload, WriterId},
    time::Hlc,
    wire::{Fields, Value, Wire, WireError, choice_parts},
    wire_record,
};

/// Puts a tag on a host, or takes it off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagChange {
    /// The tag's key.
    pub key: String,
    /// Its new value; none takes it off.
    pub value: Option<String>,
}
wire_record!(TagChange closed { key, value });

/// What an op does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpAction {
    /// Changes a host's tags.
    Tag {
        /// The host.
        host: HostId,
        /// The changes, each key once.
        changes: Vec<TagChange>,
    },
    /// A kind that this version does not know, or a known one that says more than this version can read:
    /// kept and relayed, not applied.
    Unknown {
        /// Its number.
        tag: u64,
    },
}

impl Wire for OpAction {
    fn to_value(&self) -> Value {
        match self {
            Self::Tag { host, changes } => {
                Value::Array(vec![Value::from(0), host.to_value(), changes.to_value()])
            }
            Self::Unknown { tag } => Value::Array(vec![Value::from(*tag)]),
        }
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let (tag, mut fields): (u64, Fields) = choice_parts(value, field)?;
        if tag != 0 {
            return Ok(Self::Unknown { tag });
        }
        let host = fields.next("op.host")?;
        match fields.next("op.changes").and_then(|changes| fields.finish_closed("op").map(|()| changes)) {
            Ok(changes) => Ok(Self::Tag { host, changes }),
            Err(error) if error.is_newer() => Ok(Self::Unknown { tag }),
            Err(error) => Err(error),
        }
    }
}

/// One op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Who writes: one state directory of one key.
    pub writer: WriterId,
    /// Its place in that stream, counted from zero.
    pub sequence: u64,
    /// The op before it in that stream.
    pub previous: Option<EntryId>,
    /// When, later than all that the writer had seen.
    pub at: Hlc,
    /// The certificate it is written under.
    pub certificate: EntryId,
    /// Earlier writes that this one saw and replaces.
    pub supersedes: Vec<EntryId>,
    /// What it does.
    pub action: OpAction,
}
wire_record!(Op { writer, sequence, previous, at, certificate, supersedes, action });

impl Payload for Op {
    const KIND: Kind = Kind::Op;
    const BYTES_MAX: usize = 16 * 1024;
    type Signer = Operator;
}
