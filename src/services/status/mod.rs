//! How this machine's agent is, on one screen.
//!
//! Decides what of the agent's report a person sees first. For whoever may use the socket; writes
//! nothing. The report is the agent's word about itself, the names of hosts too: it is for looking at. Which fleet
//! it is, and who this user is there, is verified against the user's own anchor.

#[cfg(test)]
mod tests;
mod verb;

pub use verb::{StatusError, status};
