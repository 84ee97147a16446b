//! Connects this host to others and carries typed messages between them.
//!
//! Decides which connection to a peer is kept (exactly one), who may open which stream (the gate: a
//! protocol says the least [`Standing`] it takes), and how many of everything there may be at once.
//! Always holds: a stream below its protocol's standing is refused before a byte of it is read; a
//! service that is slow loses only what is over its own slots; nothing is sent while nobody asks, and
//! nothing is dialled that nobody asked for. It knows nothing of fleets, operators or entries: its
//! callers say who is a member, and ping on their own streams.
//!
//! One task ([`NetTask`]) owns the libp2p Swarm, everybody else holds a [`Net`]. Below Noise, which
//! proves the peer's key, every TCP connection is wrapped in a pre-shared key (libp2p's pnet), so that
//! a port scan learns nothing.
//!
//! Why not `libp2p-stream`: it opens on any connection of a peer, dials by itself, and drops inbound
//! streams that arrive faster than its reader is scheduled. `streams` is its idea with these three
//! removed: a stream takes one of its service's slots when it arrives, and the queue holds as many.

mod channel;
mod gate;
mod handle;
mod hints;
mod key;
mod links;
mod quiet;
mod streams;
mod swarm;
mod task;
#[cfg(test)]
mod tests;

pub use channel::{Channel, ChannelError, Io, Protocol, Receiver, Sender};
pub use gate::Standing;
pub use handle::{Arrival, Counts, Incoming, Net, NetError, Settings, start};
pub use hints::Hints;
pub use key::PeerKey;
pub use links::{Link, Links};
pub use task::NetTask;
