//! The local socket between a command line and its agent.
//!
//! Decides what may be asked there: reads of the replica, and handing over of signed objects, nothing
//! more. Always holds: nothing that comes in by the socket gives a right (the objects are judged like
//! those from the network), a peer is who the kernel says, every message has a bound. It does not know
//! what the answers are made of: the node answers through [`Handler`].

mod anchor;
mod client;
mod fleet;
mod listing;
mod message;
mod pick;
mod server;
mod verified;
#[cfg(test)]
pub(crate) mod testing;

pub use anchor::{Anchor, AnchorError};
pub use client::{Client, ControlError};
pub use fleet::{fleet, fleet_of, fleet_under, host_lines};
pub use listing::{ClockRow, Health, HostLine};
pub use message::{
    CONTROL_VERSION, FoundRow, HostRow, JobRow, MESSAGE_BYTES_MAX, PeerRow, Reply, Request, StatusReport,
    StoreCheck, StoreProblem, StoreRows, StreamName, TablePart, TruthCount, TypeRow,
};
pub use pick::{Mistyped, PickError, did_you_mean, host_named, hosts_selected, mistyped, nobody};
pub use server::{Answer, Caller, Handler, serve};
pub use verified::Verified;
