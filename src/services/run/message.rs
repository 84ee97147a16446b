//! The protocol by which output is fetched from the host that has it.

use crate::{
    control::StreamName,
    identity::{EntryId, HostId},
    net::{Protocol, Standing},
    replica::Blob,
    wire::Bytes,
    wire_choice, wire_record,
};

/// Bytes of output in one message.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;

/// Asks for one output stream.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The signed `ReadRequest`.
    pub read: Bytes,
    /// The order.
    pub order: EntryId,
    /// The host that ran it.
    pub host: HostId,
    /// Which stream.
    pub stream: StreamName,
    /// How many more hosts may pass it on.
    pub hops: u8,
    /// From which byte on; from the first one, if not said.
    pub from: Option<u64>,
}
wire_record!(FetchRequest { read, order, host, stream, hops, from });

/// The answer, piece by piece.
#[derive(Clone, Debug)]
pub(super) enum OutputReply {
    /// A piece.
    Chunk {
        /// Its bytes.
        bytes: Bytes,
    },
    /// The end.
    End {},
    /// No output, and why.
    Error {
        /// In words.
        why: String,
    },
}
wire_choice!(OutputReply { 0 = Chunk { bytes }, 1 = End {}, 2 = Error { why } });

/// Fetches output.
#[derive(Debug)]
pub(super) enum FetchOutput {}
impl Protocol for FetchOutput {
    const NAME: &'static str = "/muster/output/1";
    const MESSAGE_BYTES_MAX: usize = 128 * 1024;
    const ADMITS: Standing = Standing::Card;
    type Request = FetchRequest;
    type Reply = OutputReply;
}

/// Asks for what a command writes, as it writes it.
#[derive(Clone, Debug)]
pub(super) struct LiveRequest {
    /// The signed `ReadRequest`.
    pub read: Bytes,
    /// The order.
    pub order: EntryId,
    /// The host that runs it.
    pub host: HostId,
    /// How many more hosts may pass it on.
    pub hops: u8,
}
wire_record!(LiveRequest { read, order, host, hops });

/// What a command wrote: the host's word, until its signed result says what the whole was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePiece {
    /// To which stream.
    pub stream: StreamName,
    /// Where in that it begins; pieces of a stream come without a gap.
    pub at: u64,
    /// The bytes.
    pub bytes: Bytes,
}
wire_record!(LivePiece { stream, at, bytes });

/// The answer, piece by piece.
#[derive(Clone, Debug)]
pub(super) enum LiveReply {
    /// A piece.
    Piece {
        /// It.
        piece: LivePiece,
    },
    /// The command has ended, and this was all.
    End {},
    /// No more, and why.
    Error {
        /// In words.
        why: String,
    },
}
wire_choice!(LiveReply { 0 = Piece { piece }, 1 = End {}, 2 = Error { why } });

/// Follows output.
#[derive(Debug)]
pub(super) enum WatchLive {}
impl Protocol for WatchLive {
    const NAME: &'static str = "/muster/live/1";
    const MESSAGE_BYTES_MAX: usize = 32 * 1024;
    const ADMITS: Standing = Standing::Card;
    type Request = LiveRequest;
    type Reply = LiveReply;
}

/// What is asked of a neighbour about what is shipped with orders.
#[derive(Clone, Debug)]
pub(super) enum ShipRequest {
    /// Whether it has it, or soon will.
    Want {
        /// The order that names it.
        order: EntryId,
        /// What.
        blob: Blob,
    },
    /// All of it, please.
    Go {},
}
wire_choice!(ShipRequest { 0 = Want { order, blob }, 1 = Go {} });

/// The answer.
#[derive(Clone, Debug)]
pub(super) enum ShipReply {
    /// It has it.
    Here {},
    /// It does not, and nobody brought it.
    NotHere {},
    /// The next piece.
    Piece {
        /// Its bytes.
        bytes: Bytes,
    },
}
wire_choice!(ShipReply { 0 = Here {}, 1 = NotHere {}, 2 = Piece { bytes } });

/// Fetches what is shipped with an order.
#[derive(Debug)]
pub(super) enum ShipBlob {}
impl Protocol for ShipBlob {
    const NAME: &'static str = "/muster/ship/1";
    const MESSAGE_BYTES_MAX: usize = 128 * 1024;
    const ADMITS: Standing = Standing::Member;
    type Request = ShipRequest;
    type Reply = ShipReply;
}
