//! Who or what is stopped, and what of theirs stands all the same.

use crate::{
    identity::{EntryId, HostId, Operator, PublicKey, StreamId},
    wire_choice, wire_record,
};

/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 512;
/// Most places that a cut names, of either kind.
const PLACES_MAX: usize = 1_500;

/// Who, or what, a suspension or a revocation is about. None of them is a root key: nobody can lock the roots out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whom {
    /// A person, with every key that a certificate names for them.
    Person {
        /// As the certificates have it.
        name: String,
    },
    /// One key, under whatever certificate.
    Key {
        /// The key.
        key: PublicKey<Operator>,
    },
    /// One certificate.
    Certificate {
        /// Its id.
        id: EntryId,
    },
    /// A host.
    Host {
        /// Its id.
        id: HostId,
    },
    /// A join token, and with it every host that redeemed it: which of them is genuine, no signature can say.
    Token {
        /// The id of its invitation.
        id: EntryId,
    },
}
wire_choice!(Whom closed {
    0 = Person { name },
    1 = Key { key },
    2 = Certificate { id },
    3 = Host { id },
    4 = Token { id },
});

/// What stands of what the stopped signed before: everything else of theirs is void, whenever it says that it was
/// made, for the time in it is only the word of who signed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Of each stream the last sequence that stands. Nothing stands of a stream that is not named.
    pub streams: Vec<(StreamId, u64)>,
    /// The first halves of the ids of what stands of that which is in no stream: invitations, and certificates
    /// that were passed on. In a revocation also suspensions and halts; a suspension voids none of those.
    pub alone: Vec<[u8; 16]>,
}
wire_record!(Cut closed { streams, alone });

impl Cut {
    /// Whether it is in its one form: in order, each place once, and not too many.
    pub fn is_well_formed(&self) -> bool {
        self.streams.len() <= PLACES_MAX
            && self.alone.len() <= PLACES_MAX
            && self.streams.is_sorted_by(|a, b| a.0 < b.0)
            && self.alone.is_sorted_by(|a, b| a < b)
    }

    /// Whether what stands at `mark` stands still.
    pub fn stands(&self, mark: Mark) -> bool {
        match mark {
            Mark::Now => false,
            Mark::Op(stream, sequence) => self.last(&stream).is_some_and(|last| sequence <= last),
            Mark::Alone(id) => self.alone.binary_search(&half(&id)).is_ok(),
        }
    }

    /// Leaves only what this and the other leave.
    pub(super) fn lower(&mut self, other: &Self) {
        self.streams.retain_mut(|(stream, last)| {
            let theirs = other.last(stream);
            *last = theirs.map_or(*last, |theirs| theirs.min(*last));
            theirs.is_some()
        });
        self.alone.retain(|half| other.alone.binary_search(half).is_ok());
    }

    /// The last sequence of a stream that stands.
    pub fn last(&self, stream: &StreamId) -> Option<u64> {
        let at = self.streams.binary_search_by(|(named, _)| named.cmp(stream)).ok()?;
        self.streams.get(at).map(|(_, last)| *last)
    }
}

/// The half of an id that a cut names.
pub fn half(id: &EntryId) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(id.0.split_at(16).0);
    half
}

/// Where a signed object stands, as far as that decides whether a stop leaves it standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is to be acted on now: an order, a card. No stop leaves that.
    Now,
    /// At this place of an operator's stream.
    Op(StreamId, u64),
    /// In no stream.
    Alone(EntryId),
}
