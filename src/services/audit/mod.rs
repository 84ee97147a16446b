//! A host's audit chain, shown and verified.
//!
//! The agent hands over its own chain as its executor wrote it, to whoever may use its socket; the command line
//! verifies every record and the links between them against the host's certificate, and says exactly where it does
//! not hold. A chain that was exported is verified the same way, wherever it is.

mod serve;
mod verb;

pub use serve::show_chain;
pub use verb::{AuditError, Whence, export, log, verify};
