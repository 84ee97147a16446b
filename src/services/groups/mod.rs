//! Saved selectors: lists them, saves them, takes them away.
//!
//! Decides what an op about a group says and names. Whoever may use the socket may list; who may write is the
//! authority's rule (any tag on any host). Writes one op in the operator's stream. Always holds: a group is saved
//! only if this version can read it and everything within it, and it is not within itself; a new write names every
//! live one that it saw, so that it settles a conflict among them.

#[cfg(test)]
mod tests;
mod verb;

pub use verb::{GroupError, list, set};
