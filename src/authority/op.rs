//! Ops in operators' streams: hash-linked, each naming what it supersedes.

use super::Mark;
use crate::{
    identity::{EntryId, HostId, Kind, Operator, Payload, Signed, StreamId, WriterId},
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
    /// Saves a selector under a name, or takes the name away.
    Group {
        /// The name, without its `@`.
        name: String,
        /// The selector's text; none takes the name away.
        selector: Option<String>,
    },
    /// Calls a host by another name; its id stays.
    Rename {
        /// The host.
        host: HostId,
        /// Its new label.
        name: String,
    },
    /// Says that a host is gone for good.
    Retire {
        /// The host.
        host: HostId,
    },
    /// A kind that this version does not know, or a known one that says more than this version can read:
    /// kept and relayed, not applied.
    Unknown {
        /// Its number.
        tag: u64,
    },
}

impl OpAction {
    /// The host that it is about, if it is about one.
    pub fn host(&self) -> Option<HostId> {
        match self {
            Self::Tag { host, .. } | Self::Rename { host, .. } | Self::Retire { host } => Some(*host),
            Self::Group { .. } | Self::Unknown { .. } => None,
        }
    }
}

impl Wire for OpAction {
    fn to_value(&self) -> Value {
        match self {
            Self::Tag { host, changes } => {
                Value::Array(vec![Value::from(0), host.to_value(), changes.to_value()])
            }
            Self::Group { name, selector } => {
                Value::Array(vec![Value::from(1), name.to_value(), selector.to_value()])
            }
            Self::Rename { host, name } => {
                Value::Array(vec![Value::from(3), host.to_value(), name.to_value()])
            }
            Self::Retire { host } => Value::Array(vec![Value::from(4), host.to_value()]),
            Self::Unknown { tag } => Value::Array(vec![Value::from(*tag)]),
        }
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let (tag, mut fields): (u64, Fields) = choice_parts(value, field)?;
        let read = match tag {
            0 => {
                let host = fields.next("op.host")?;
                let changes = fields.next("op.changes");
                changes.and_then(|changes| fields.finish_closed("op").map(|()| Self::Tag { host, changes }))
            }
            1 => {
                let name = fields.next("op.name")?;
                let selector = fields.next("op.selector")?;
                fields.finish_closed("op").map(|()| Self::Group { name, selector })
            }
            3 => {
                let host = fields.next("op.host")?;
                let name = fields.next("op.name")?;
                fields.finish_closed("op").map(|()| Self::Rename { host, name })
            }
            4 => {
                let host = fields.next("op.host")?;
                fields.finish_closed("op").map(|()| Self::Retire { host })
            }
            _ => return Ok(Self::Unknown { tag }),
        };
        match read {
            Err(error) if error.is_newer() => Ok(Self::Unknown { tag }),
            read => read,
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

impl Signed<Op> {
    /// The stream that it is in.
    pub fn stream(&self) -> StreamId {
        StreamId::of_operator(&self.signer(), self.body().writer)
    }

    /// Where it stands.
    pub fn mark(&self) -> Mark {
        Mark::Op(self.stream(), self.body().sequence)
    }
}
