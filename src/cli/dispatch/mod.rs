//! From what was typed to one call, and from its result to an exit code.

mod documents;
mod surroundings;
mod verbs;
mod words;

pub(super) use surroundings::{Context, Surroundings};
pub(super) use verbs::{connect, wait};
pub use words::main;
#[cfg(test)]
pub(super) use words::run_words;
