//! The protocol by which a stranger with a token becomes a member.

use crate::{
    net::{Protocol, Standing},
    replica::Item,
    wire::Bytes,
    wire_choice,
};

/// Entries of [`JoinReply::Invitation`] that vouch, at most.
pub(super) const VOUCHING_MAX: usize = 64;

/// What a joiner says.
#[derive(Clone, Debug)]
pub(super) enum JoinRequest {
    /// First: which token.
    Token {
        /// The token's public key.
        key: [u8; 32],
    },
    /// Then: who it is.
    Admit {
        /// The signed host certificate.
        certificate: Bytes,
    },
}
wire_choice!(JoinRequest { 0 = Token { key }, 1 = Admit { certificate } });

/// What a member answers.
#[derive(Clone, Debug)]
pub(super) enum JoinReply {
    /// What the token stands for, with all that it takes to check it.
    Invitation {
        /// The root chain, genesis first, and certificates that were passed on under it: those that all the rest of
        /// this hangs on.
        updates: Vec<Bytes>,
        /// The signed invitation.
        invitation: Bytes,
        /// The signed host certificate of who answers: it must be a member itself.
        host: Bytes,
        /// What operators said of who answers.
        vouching: Vec<Bytes>,
    },
    /// Admitted; the fleet's entries follow.
    Admitted {},
    /// Entries; the last message has `more` false.
    Items {
        /// The entries.
        items: Vec<Item>,
        /// Whether another such message follows.
        more: bool,
    },
    /// Not admitted, and why.
    Refused {
        /// In words.
        why: String,
    },
    /// It is known, and waits until an operator lets it in: said at once, and again before the member hangs up.
    Waits {},
}
wire_choice!(JoinReply {
    0 = Invitation { updates, invitation, host, vouching },
    1 = Admitted {},
    2 = Items { items, more },
    3 = Refused { why },
    4 = Waits {},
});

/// Joining.
#[derive(Debug)]
pub(super) enum Join {}
impl Protocol for Join {
    const NAME: &'static str = "/muster/join/1";
    const MESSAGE_BYTES_MAX: usize = 512 * 1024;
    // A host certificate; three such messages, more than a joiner has to say, are less than 64 KiB.
    const REQUEST_BYTES_MAX: usize = 21 * 1024;
    const ADMITS: Standing = Standing::Stranger;
    type Request = JoinRequest;
    type Reply = JoinReply;
}
