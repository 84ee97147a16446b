//! How this machine's agent is, on one screen.
//!
//! Decides what of the agent's report a person sees first. For whoever may use the socket; writes
//! nothing. The report is the agent's word about itself; the names of hosts are verified.

#[cfg(test)]
mod tests;
mod verb;

pub use verb::{StatusError, status};
