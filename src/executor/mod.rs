//! The privileged process: it judges orders itself, claims them and runs them.
//!
//! Decides which process starts on this machine, as whom and until when. It knows neither the network nor
//! the fleet: what it is handed it verifies.

pub mod confine;
mod os;
pub mod supervisor;

pub use os::Account;
