//! Operators' streams of ops: straight up to the first fork, then the proof of it.

use super::{Merged, Replica, ledger::Spot, state::bounded};
use crate::{
    authority::{Op, Refusal},
    identity::{Signed, StreamId},
};

const OPS_MAX: usize = 200_000;

#[derive(Clone, Debug, Default)]
pub(super) struct OperatorStream {
    pub(super) ops: Vec<Signed<Op>>,
    /// Two different ops that follow the last one: proof, kept and spread. Of more, the two lowest ids.
    pub(super) fork: Option<Box<(Signed<Op>, Signed<Op>)>>,
}

impl OperatorStream {
    /// The two ops at its fork, if it has one.
    pub(super) fn forked(&self) -> impl Iterator<Item = &Signed<Op>> {
        self.fork.iter().flat_map(|pair| [&pair.0, &pair.1])
    }
}

impl Replica {
    /// Takes an op that follows what is held of its stream. All that is held of a stream are the ops
    /// before its first fork and the two lowest ids at it: a function of the set, since every op names the
    /// one before it.
    pub(super) fn merge_op(&mut self, op: Signed<Op>) -> Result<Merged, Refusal> {
        let id = StreamId::of_operator(&op.signer(), op.body().writer);
        let (ops, fork) = match self.operators.get(&id) {
            Some(stream) => (stream.ops.as_slice(), stream.fork.as_deref()),
            None => (&[][..], None),
        };
        let place = usize::try_from(op.body().sequence).map_err(|_| Refusal::Gap)?;
        if fork.is_some() && place > ops.len() {
            return Ok(Merged::Known);
        }
        let before = place.checked_sub(1).map(|before| ops.get(before).ok_or(Refusal::Gap)).transpose()?;
        if op.body().previous != before.map(Signed::id) {
            return Err(Refusal::Gap);
        }
        if let Some(held) = ops.get(place) {
            self.authority.keeps_op(&op)?;
            let pair = (held.clone(), op);
            self.freeze(&id, place, pair);
            return Ok(Merged::Forked);
        }
        if let Some((low, high)) = fork {
            if op.id() >= high.id() {
                return Ok(Merged::Known);
            }
            self.authority.keeps_op(&op)?;
            let pair = (low.clone(), op);
            self.freeze(&id, place, pair);
            return Ok(Merged::Forked);
        }
        bounded(self.ops, OPS_MAX, "ops")?;
        self.authority.absorb_op(&op)?;
        self.ledger.enter(op.id(), Spot::Op { stream: id, sequence: op.body().sequence }, None);
        self.operators.entry(id).or_default().ops.push(op);
        self.ops += 1;
        Ok(Merged::New)
    }

    /// Ends a stream before `place`: which of the two came first must not matter.
    fn freeze(&mut self, id: &StreamId, place: usize, (one, other): (Signed<Op>, Signed<Op>)) {
        let Some(stream) = self.operators.get_mut(id) else { return };
        for op in stream.ops.split_off(place.min(stream.ops.len())) {
            self.authority.retract_op(&op);
            self.ledger.strike(&op.id());
            self.ops -= 1;
        }
        for op in stream.forked() {
            self.ledger.strike(&op.id());
        }
        let pair = if one.id() < other.id() { (one, other) } else { (other, one) };
        for op in [&pair.0, &pair.1] {
            self.ledger.enter(op.id(), Spot::Fork(*id), None);
        }
        stream.fork = Some(Box::new(pair));
    }

    /// Every operator's stream, in order.
    pub fn operator_streams(&self) -> impl Iterator<Item = (StreamId, &[Signed<Op>])> {
        self.operators.iter().map(|(id, stream)| (*id, stream.ops.as_slice()))
    }

    /// An operator's stream, in order.
    pub fn operator_stream(&self, id: &StreamId) -> &[Signed<Op>] {
        self.operators.get(id).map_or(&[], |stream| stream.ops.as_slice())
    }

    /// The operator ops that bear on one host's tags, name and stay, in the order in which they can be applied.
    pub fn ops_about(&self, host: &crate::identity::HostId) -> Vec<&Signed<Op>> {
        self.operators
            .values()
            .flat_map(|stream| &stream.ops)
            .filter(|op| op.body().action.host() == Some(*host))
            .collect()
    }
}
