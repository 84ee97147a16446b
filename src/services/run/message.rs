//! The protocol by which output is fetched from the host that has it.

use crate::{
    control::StreamName,
    identity::{EntryId, HostId},
    net::{Protocol, Standing},
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
}
wire_record!(FetchRequest { read, order, host, stream, hops });

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
