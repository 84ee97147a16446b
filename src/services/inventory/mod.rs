//! What every host says of itself, known on all of them: published by each, asked on any.
//!
//! Decides what a host says next, when, and from what a question about the fleet is answered. Who
//! may ask is whoever may use the agent's socket. Writes this host's heads, nothing else. Always holds: what did
//! not change costs nobody an entry, not even over a restart; what cannot be looked at stays as it was said last;
//! every answer comes with its age. What hosts say of themselves is their word: it is good to know and to narrow
//! by, and never authorises; neither does what an agent answers, which is not verified on the way to a person.
//!
//! `publish` looks at this host and seals heads, by what `diff` decides; `index` has all rows of the fleet;
//! `asking` answers from it; `verb` and `view` are the operator's side.

mod asking;
mod diff;
mod index;
mod publish;
mod select;
#[cfg(test)]
mod tests;
mod verb;
mod view;

pub use asking::Inventory;
pub use publish::{AuditHeads, Publisher, Sources, describe};
pub use select::{explain, select};
pub use verb::{Asked, InventoryError, compare, search, show, types};
