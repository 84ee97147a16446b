//! What the executor and its mesh process say to each other over their socket pair, in frames.
//!
//! The mesh process parses bytes from the network and may be taken over: it can ask for nothing here
//! that is not judged by signatures, and each of its messages is bounded.

use crate::{
    identity::EntryId,
    journal::Member,
    replica::{AuditHead, Handed, Report},
    time::Timestamp,
    wire::{Bytes, WireError},
    wire_choice, wire_record,
};

/// Longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 512 * 1024;

/// What a mesh process is told before anything else. A descriptor comes with it: the socket that
/// command lines connect to.
#[derive(Clone, Debug)]
pub struct Start {
    /// What makes this host a member.
    pub member: Member,
    /// The mesh process's own directory.
    pub dir: String,
    /// Where outputs are, to be read.
    pub spool: String,
    /// The user and group to become, if the agent runs as root.
    pub become_user: Option<(u32, u32)>,
    /// What else the mesh process is told, encoded: passed on unread.
    pub settings: Bytes,
    /// The executor's pid.
    pub executor_pid: u32,
    /// The user that the executor is.
    pub executor_uid: u32,
}
wire_record!(Start { member, dir, spool, become_user, settings, executor_pid, executor_uid });

/// From the executor.
#[derive(Clone, Debug)]
pub enum ToMesh {
    /// First.
    Start {
        /// Everything it needs to know.
        start: Start,
    },
    /// What came of an order here.
    Report {
        /// The signed result, with its output where that is short.
        report: Report,
    },
    /// An order is being worked on and has no result yet.
    Running {
        /// The order.
        order: EntryId,
    },
    /// What was learned is on disk.
    Learned {
        /// How many of the entries that were sent.
        entries: u32,
    },
    /// Numbers for the status.
    Counters {
        /// Each with its name.
        counters: Vec<(String, u64)>,
    },
    /// The host's part is erased; the mesh process should end.
    Erased {},
    /// Asks for [`ToExecutor::Alive`].
    Alive {},
    /// How far the audit chain is; none without a record.
    AuditHead {
        /// Its last record.
        head: Option<AuditHead>,
    },
}
wire_choice!(ToMesh {
    0 = Start { start },
    1 = Report { report },
    2 = Running { order },
    3 = Learned { entries },
    4 = Counters { counters },
    5 = Erased {},
    10 = Alive {},
    20 = AuditHead { head },
});

/// From the mesh process.
#[derive(Clone, Debug)]
pub enum ToExecutor {
    /// It is confined and about to use the network.
    Ready {
        /// What the confinement is, in words.
        confinement: String,
    },
    /// Root updates, grants, suspensions, halts, and ops on this host's tags. Answered by [`ToMesh::Learned`] once they are synced.
    Learn {
        /// The entries, in the order in which they can be applied.
        entries: Vec<Bytes>,
    },
    /// An order with this host in its roster.
    Order {
        /// The signed order, with this host's place in its list where it has one.
        order: Handed,
    },
    /// The end of an order.
    Cancel {
        /// The signed cancellation, as received.
        cancellation: Bytes,
    },
    /// A keeper holds this result.
    Settled {
        /// The order.
        order: EntryId,
    },
    /// Asks for [`ToMesh::Counters`].
    Count {},
    /// The host leaves: everything that makes it a member is erased.
    Leave {
        /// The signed departure.
        departure: Bytes,
    },
    /// It answers command lines.
    Serving {},
    /// Its loops turn.
    Alive {},
    /// A peer kept this result of an order, which this executor signed and may have forgotten.
    Adopt {
        /// The signed order, as received: its id says when it expires.
        order: Bytes,
        /// The signed result.
        record: Bytes,
    },
    /// Peers have seen later heads of this host than its own directory knows of: it is an older copy.
    Restored {
        /// What was issued up to here may have been run.
        before: Timestamp,
    },
    /// Asks for [`ToMesh::AuditHead`].
    AuditHead {},
}
wire_choice!(ToExecutor {
    0 = Ready { confinement },
    1 = Learn { entries },
    2 = Order { order },
    3 = Cancel { cancellation },
    4 = Settled { order },
    5 = Count {},
    6 = Leave { departure },
    10 = Serving {},
    11 = Alive {},
    12 = Adopt { order, record },
    13 = Restored { before },
    20 = AuditHead {},
});

/// Why the two can no longer talk. The executor starts a new mesh process then.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other end is gone.
    #[error("the other process is gone")]
    Gone,
    /// The socket failed.
    #[error("the socket pair failed: {0}")]
    Io(#[from] std::io::Error),
    /// A message that cannot be read.
    #[error("a message that cannot be read: {0}")]
    Malformed(String),
}

impl From<WireError> for LinkError {
    fn from(error: WireError) -> Self {
        Self::Malformed(error.to_string())
    }
}
