//! What is asked and answered.

use crate::{
    identity::EntryId,
    net::{Protocol, Standing},
    wire::Bytes,
    wire_choice,
};

/// Orders in one question.
pub(super) const ORDERS_MAX: usize = 256;

/// A question of a host about itself.
#[derive(Clone, Debug)]
pub(super) enum PastRequest {
    /// What is my newest head, and is there proof that my key signs in two places?
    Head {},
    /// Which results of mine do you keep?
    Results {
        /// Of these orders, at most [`ORDERS_MAX`].
        orders: Vec<EntryId>,
    },
}
wire_choice!(PastRequest { 0 = Head {}, 1 = Results { orders } });

/// The answer.
#[derive(Clone, Debug)]
pub(super) enum PastReply {
    /// What is held of the host.
    Head {
        /// Its signed head.
        head: Option<Bytes>,
        /// The proof that it signed two at one place.
        proof: Option<Bytes>,
    },
    /// The next result.
    Result {
        /// The signed record.
        record: Bytes,
    },
    /// No more results.
    End {},
}
wire_choice!(PastReply { 0 = Head { head, proof }, 1 = Result { record }, 2 = End {} });

/// Asks for one's own past.
#[derive(Debug)]
pub(super) enum AskPast {}
impl Protocol for AskPast {
    const NAME: &'static str = "/muster/past/1";
    const MESSAGE_BYTES_MAX: usize = 64 * 1024;
    const ADMITS: Standing = Standing::Stranger;
    type Request = PastRequest;
    type Reply = PastReply;
}
