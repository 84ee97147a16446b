//! What is said between a command line and an agent: on the local socket, and, for a machine that is no host, on
//! a stream of the network.
//!
//! Decides what may be asked there: reads of the replica, and handing over of signed objects, nothing
//! more. Always holds: nothing that comes in so gives a right (the objects are judged like
//! those from the network), a peer is who the kernel says, or who has shown a good card; every message has a
//! bound, and a card's holder has one on all that it asks. It does not know
//! what the answers are made of: the node answers through [`Handler`].

mod anchor;
mod card;
mod client;
mod fleet;
mod listing;
mod message;
mod pick;
mod remote;
mod server;
mod verified;
#[cfg(test)]
pub(crate) mod testing;

pub use anchor::{Anchor, AnchorError};
pub use card::{CERTIFICATE_OF_KEY, CardReply, CardRequest, Cards, Holder, ShowCard};
pub use client::{Client, ControlError, no_answer};
pub use fleet::{fleet, fleet_of, fleet_under, host_lines};
pub use listing::{ClockRow, Health, HostLine};
pub use message::{
    CONTROL_VERSION, FoundRow, HostRow, JobRow, ListAsk, MESSAGE_BYTES_MAX, PeerRow, Reply, Request,
    StatusReport, StoreCheck, StoreProblem, StoreRows, StreamName, TablePart, TruthCount, TypeRow,
};
pub use pick::{Mistyped, PickError, did_you_mean, host_named, hosts_selected, mistyped, nobody};
pub use remote::{Remote, serve_remote};
pub use server::{Answer, Caller, Handler, serve};
pub use verified::Verified;
