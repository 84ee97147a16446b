//! The replica, in memory and on disk; the only writer of either.
//!
//! Decides when what was merged is on disk, and what happens to a disk that cannot be read: it is a
//! cache, so it is moved aside and fetched again. Always holds: what is read was checked by hash on the
//! way in from disk; a merge is visible to every reader at once and is announced once; what
//! [`Store::flushed`] waited for survives a crash; what a disk refused is written when it no longer does;
//! what was superseded or is past has no row after the next start. It does not know what entries mean (the
//! replica does) nor who needs to hear of them.

mod backend;
mod check;
mod disk;
mod kept;
mod keys;
mod place;
mod restore;
mod state;
mod writer;

pub use backend::{Backend, Loaded, Memory, Row, StoreError};
pub use check::{Check, check};
pub use disk::{Sled, open, read};
pub use keys::kind;
pub use place::disk_bytes;
pub use restore::Finding;
pub use state::{Change, Merging, Store};
