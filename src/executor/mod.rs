//! The privileged process: it judges orders itself, claims them and runs them.
//!
//! Decides which process starts on this machine, as whom and until when. It knows neither the network nor
//! the fleet: what it is handed it verifies, from the original bytes, against its own copy of what it
//! needs (the root chain, its own host's certificate and tags). It is one thread that waits in one
//! place, and holds the host's executor key. The mesh process, its child, parses the network; it can
//! withhold from this process, and nothing more.

mod agent;
mod child;
mod judge;
mod orders;
mod os;
mod past;
pub mod supervisor;
mod trust;

pub use crate::link::message;
pub use agent::{AgentError, Executor, ExecutorSettings};
pub use os::Account;
pub use trust::{Trust, TrustError};

#[cfg(test)]
mod tests;

/// What tests of the confinement try and must not succeed with.
#[cfg(all(test, feature = "agent"))]
pub(crate) mod for_tests {
    pub(crate) use super::os::{exec, fork_into};
}
