//! How a fleet and its hosts come to be and go: founding, inviting, leaving.
//!
//! Decides what is signed and in which order it is written, so that a failure half way leaves either
//! nothing that counts or something that can be gone on with. Who may found: anyone, a fleet of their
//! own; who may invite: the holder of a certificate with that verb. Writes a recovery file, an operator's
//! directory, a host's state directory, and invitations into the replica.

mod found;
mod invite;
mod join;
mod leave;
mod message;
mod offline;
mod serve;
#[cfg(test)]
mod tests;

pub use found::{
    FoundError, FoundRequest, Founded, RootCount, check_found, enrol, found, member, prepare_candidate,
    seal_public,
};
pub use invite::{InviteError, InviteRequest, Invited, invite};
pub use join::{JoinError, JoinWith, Joined, join};
pub use leave::leave;
pub use offline::{
    Answer, AnswerWith, OfflineJoinError, accept, announce, answer, ask, read_answer, read_request,
};
pub use serve::serve;
