//! How entries spread and how replicas come to hold the same, as a machine: events in, effects out.
//!
//! Decides what is sent to which neighbour and when two replicas compare themselves; which way
//! results go back; and who shows as up (`presence`, `watch`). Always holds: an entry that was merged is offered to every neighbour that does not
//! have it; two replicas that stay connected come to lack nothing of each other; a result is offered
//! again until a keeper says that it holds it; what one member can make this host send, check and remember
//! is bounded, whatever it says; when nothing changes nothing is sent but pings. It waits for nothing, opens
//! nothing and knows no address.
//!
//! Spreading is an epidemic over the neighbour graph with duplicates dropped by id before any signature
//! is checked (Demers et al., "Epidemic Algorithms for Replicated Database Maintenance", 1987: push,
//! with anti-entropy behind it). Commands and what gives rights are pushed; heads, of which every change of any
//! host makes one, are announced and asked for once (`feed`, `wants`, `arrivals`). Who was away is told what
//! came since it was here last; who is new here compares roots and exchanges tips (`compare`). The lists that orders
//! for many mark hosts of are no entries: who lacks one asks for it (`lists`).
//!
//! `tests/` runs whole networks in virtual time; a failing run prints its seed, and
//! `MUSTER_SEEDS=5..6 cargo test --lib sync::` repeats it.

mod account;
mod arrivals;
mod bits;
mod bucket;
mod combine;
mod compare;
mod feed;
mod held;
mod lists;
mod machine;
mod message;
mod neighbour;
mod presence;
mod returns;
mod rows;
mod tables;
mod wants;
mod watch;
mod window;

pub use combine::{
    COMBINED_HOSTS_MAX, COMBINED_ROWS_MAX, NoResults, Row, SMALL_ROSTER, in_messages, pack, pack_places,
    unpack, unpack_places,
};
pub use machine::{Effect, Event, Machine};
pub use message::{Cursor, MESSAGE_BYTES_MAX, Message, Part, SYNC_VERSION, Sum};
pub use presence::{Ended, NOTES_MAX, Note, Presence, Said, Seen, WITNESSES_MAX};
pub use returns::{RETRY_AFTER, Returned, Returns};
pub use rows::{HeadRow, NoRows, ROWS_MAX, pack_halves, pack_heads, prefix, unpack_halves, unpack_heads};
pub use tables::Tables;
