//! Keeps this host's replica equal to everybody's: drives the sync machine over the network.
//!
//! Nobody asks for it; it writes entries that others signed. Its one loop waits for links, neighbours,
//! changes of the store and the clock, and does what the machine says. It decides nothing itself but
//! whom to open a stream to: the end that dialled does.
//!
//! Of each neighbour one message at a time is read, and the next when that one is done; entries are
//! verified a few at a time, so that nobody's flood keeps the others waiting. `driver` is the loop, `dial` makes
//! and gives up links, `stream` reads and writes, `handle` is what the other services see of it.

mod dial;
mod driver;
mod handle;
mod message;
mod patience;
mod stream;

pub use crate::sync::Event;
pub use driver::start;
pub use handle::{LinkRow, Mail, Misbehaved, Replication};
pub use message::Sync;
