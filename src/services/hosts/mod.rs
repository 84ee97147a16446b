//! The hosts of a fleet: listing them, showing one, letting in, tagging, renaming, retiring, pinging.
//!
//! Decides how a host shows, and which op changes its tags. Reading is for whoever may use the agent's
//! socket; changing tags takes a certificate with that verb for those tags, and the change is signed
//! here, in the command line's own process. Always holds: where hosts are picked, shown singly or changed, what
//! is said of membership and tags was verified here against the command line's own anchor; only links and ages
//! are the agent's word. The list of all hosts is the agent's word whole: it is for looking at. Writes ops into
//! this operator's stream.

mod admit;
pub mod listing;
mod notice;
pub mod serve;
mod tag;
#[cfg(test)]
mod tests;
mod verb;
mod view;

pub use admit::admit;
pub use notice::{Notice, notice};
pub use tag::{Plan, TagError, plan};
pub use verb::{HostsError, PingReport, Which, list, ping, show, tag};
pub use view::{HOST_SHEET, details, rows};
