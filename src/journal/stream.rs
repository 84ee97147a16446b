//! Where an operator's next op stands.

use super::WriterState;
use crate::{
    identity::{Operator, PublicKey, Signed, StreamId, WriterId},
    replica::Replica,
};

/// Where the next op stands. `fresh` is a writer id of randomness, for when a new stream begins.
///
/// It stands in the stream of this directory's writer only if the replica holds exactly what this directory has
/// signed. If the replica has more, the directory was restored from a copy, and going on would fork the stream; if
/// it has less, an op was signed and never handed over, or has not come to this agent, and going on would leave a
/// gap that this agent could not take. In both cases a new writer starts a stream of its own.
pub fn stream_place(
    replica: &Replica,
    key: &PublicKey<Operator>,
    stored: Option<WriterState>,
    fresh: WriterId,
) -> WriterState {
    let held = |state: &WriterState| {
        let ops = replica.operator_stream(&StreamId::of_operator(key, state.writer));
        ops.len() as u64 == state.next && ops.last().map(Signed::id) == state.previous
    };
    stored.filter(held).unwrap_or(WriterState { writer: fresh, next: 0, previous: None })
}
