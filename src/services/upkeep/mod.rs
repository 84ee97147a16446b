//! Looking after the store on this machine's disk.
//!
//! Decides what is said of it. A running agent reads its own and writes again what is damaged; where none
//! runs, a copy is read, and what is on disk stays as it is: what is damaged there is for the agent to fetch
//! again when it starts. For whoever may use the socket, or read the directory. Knows nothing of how rows are
//! kept.

mod offline;
#[cfg(test)]
mod tests;
mod verb;

pub use offline::{OfflineError, check_offline};
pub use verb::{check_online, report, show};
