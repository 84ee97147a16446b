//! Admin mode from a machine that is no host: contexts, and the client that a command line starts in itself.
//!
//! Decides where a fleet is found (the addresses that a person gave, and those that its hosts gave since), which
//! member is asked, and what is shown when none answers. The client is a transport of the command line's own, with a
//! key that is made anew each time and vouched for by the operator's key ([`Card`](crate::replica::Card)); to
//! all else in the program it is a socket in a directory that only this user enters, at which the same questions are
//! asked as at an agent's. It listens nowhere, is in no list of hosts, and holds nothing for others.
//!
//! Always holds: what is kept of a fleet was verified under its genesis, whose hash is the fleet's id; a member that
//! is asked is one by the fleet's own entries and proved its transport key; what changes something is never answered
//! from what is kept. Who may use it: whoever has an operator key of the fleet. Writes its own directory and, where
//! there is none yet, the operator's for that fleet.

mod bridge;
mod cache;
mod saved;
mod session;
#[cfg(test)]
mod tests;
mod verb;
mod way;

pub use cache::{Kept, words_at};
pub use saved::{Contexts, Saved, SavedError, read_shield};
pub use session::{ContextError, Session, Standing, With};
pub use verb::{AddRequest, Added, add, list, show};
pub use way::WayError;
