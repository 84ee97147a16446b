//! What peers know of this host's own past: found out before it signs or runs anything.
//!
//! A state directory can be an older copy: a disk or a machine was restored from a snapshot. Then peers hold a
//! later head of this host than the directory says it signed, and results of orders that it has no claim for. Or it
//! can be one of two copies that both run: then peers hold two heads at one place. So a host that starts asks its
//! neighbours first. Until [`ASK_WITHIN`] has passed it neither signs a head nor hands an order to the executor; a
//! host that reaches nobody goes on then, and takes the risk, as it must where there is no link. An order that was
//! issued before the start is handed over only after the neighbours and its keepers were asked whether they hold
//! this host's result of it.
//!
//! Peers are believed only what this host's own keys signed: they can withhold, and nothing more. Who may ask: a
//! member for what is its own; anybody who holds the fleet's shield for the proof that its key signs in two places,
//! since a host that is out of the fleet for that is no member and should hear why. It writes such proofs into the
//! store and tells the executor of results and of a restoration.

mod ask;
mod message;
mod serve;

pub use ask::{Found, Parts, Past, start};
pub use serve::serve;

/// How long a host that starts waits for a neighbour to tell it of its own past.
pub const ASK_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);
