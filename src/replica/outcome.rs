//! What came of an order on one host, as its executor signs it.

use crate::{
    identity::{EntryId, Executor, HostId, Kind, Payload, Stream},
    time::Timestamp,
    wire::Bytes,
    wire_choice, wire_record,
};

/// Output up to this many bytes (both streams together) travels with the result; longer output is
/// fetched.
pub const INLINE_OUTPUT_BYTES_MAX: u64 = 4 * 1024;

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ended with this code.
    Exited {
        /// The code.
        code: i32,
    },
    /// A signal ended the command.
    Signaled {
        /// Its number.
        signal: i32,
    },
    /// It ran longer than it may, and was ended with all its descendants.
    TimedOut {},
    /// It was cancelled, and was ended with all its descendants.
    Cancelled {},
    /// The host claimed it and cannot say what came of it; it is never run again.
    Indeterminate {
        /// What happened, in words.
        why: String,
    },
    /// The host refused: nothing was started.
    Refused {
        /// The reason, in words.
        why: String,
    },
    /// The command could not be started (it does not exist, is not executable, …).
    NotStarted {
        /// The code a shell would give: 127 not found, 126 not executable.
        code: i32,
        /// The reason, in words.
        why: String,
    },
}
wire_choice!(Outcome {
    0 = Exited { code },
    1 = Signaled { signal },
    2 = TimedOut {},
    3 = Cancelled {},
    4 = Indeterminate { why },
    5 = Refused { why },
    6 = NotStarted { code, why },
});

impl Outcome {
    /// Whether the command ran and said that it succeeded.
    pub fn ok(&self) -> bool {
        matches!(self, Self::Exited { code: 0 })
    }
}

/// One output stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The BLAKE3 hash of what was kept.
    pub hash: [u8; 32],
    /// How much was kept, in bytes.
    pub kept: u64,
    /// How much there was, in bytes; more than `kept` where it was cut.
    pub produced: u64,
}
wire_record!(Output { hash, kept, produced });

impl Output {
    /// That of a stream into which nothing was written.
    pub fn nothing() -> Self {
        Self { hash: *blake3::hash(&[]).as_bytes(), kept: 0, produced: 0 }
    }
}

/// A signed result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultRecord {
    /// The order.
    pub order: EntryId,
    /// The host.
    pub host: HostId,
    /// How it ended.
    pub outcome: Outcome,
    /// When the command was started, or the refusal was made.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// Processes that were still there when the command ended, and were ended.
    pub left_behind: u32,
}
wire_record!(ResultRecord { order, host, outcome, started, took_ms, stdout, stderr, left_behind });
impl Payload for ResultRecord {
    const KIND: Kind = Kind::Result;
    const BYTES_MAX: usize = 4 * 1024;
    type Signer = Executor;
}

/// A result as it travels: the signed record, and its output where that is short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The order, so that who carries it need not open the record.
    pub order: EntryId,
    /// The host.
    pub host: HostId,
    /// The signed [`ResultRecord`].
    pub record: Bytes,
    /// Standard output, if it travels along.
    pub stdout: Option<Bytes>,
    /// Standard error, if it travels along.
    pub stderr: Option<Bytes>,
}
wire_record!(Report { order, host, record, stdout, stderr });

impl Report {
    /// What a keeper calls the record: all of its bytes, the signature too, so that a copy that does not
    /// verify is another record.
    pub fn record_hash(&self) -> [u8; 32] {
        *blake3::hash(&self.record.0).as_bytes()
    }

    /// What a receipt says of it.
    pub fn kept(&self) -> Kept {
        Kept { order: self.order, host: self.host, record: self.record_hash() }
    }
}

/// One report on a keeper's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The order.
    pub order: EntryId,
    /// The host.
    pub host: HostId,
    /// [`Report::record_hash`].
    pub record: [u8; 32],
}
wire_record!(Kept { order, host, record });

/// Most reports in one receipt.
pub const RECEIPT_REPORTS_MAX: usize = 64;

/// A keeper's word that these reports are on its disk. Signed, since it goes back through hosts that
/// could say so in its place, and then the result would be nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which, at most [`RECEIPT_REPORTS_MAX`].
    pub kept: Vec<Kept>,
}
wire_record!(Receipt { kept });
impl Payload for Receipt {
    const KIND: Kind = Kind::Receipt;
    const BYTES_MAX: usize = 16 * 1024;
    type Signer = Stream;
}
