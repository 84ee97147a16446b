//! What is wrong with this machine's part in its fleet, and what to do about each thing.
//!
//! Decides what counts as wrong ([`checks`], a pure function of what was found). Looks at files as whoever
//! runs it may, and asks the agent for what only that knows; where no agent answers, or a file may not be
//! looked at, it says so and goes on. Writes nothing. What the agent says of itself is its word: a doctor is
//! for an agent that is ill, not for one that lies. Knows nothing of what is checked elsewhere (the store's
//! rows, the operator's certificate): its caller brings that along.

mod checks;
mod found;
#[cfg(test)]
mod tests;
mod verb;

pub use checks::{Check, Verdict, checks};
pub use found::{Found, Mode, Room, TimeService, look};
pub use verb::{DoctorError, Online, ask, show};
