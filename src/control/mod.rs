//! The local socket between a command line and its agent.
//!
//! Decides what may be asked there: reads of the replica, and handing over of signed objects, nothing
//! more. Always holds: nothing that comes in by the socket gives a right (the objects are judged like
//! those from the network), a peer is who the kernel says, every message has a bound. It does not know
//! what the answers are made of: the node answers through [`Handler`].

mod client;
mod fleet;
mod message;
mod server;

pub use client::{Client, ControlError};
pub use fleet::fleet;
pub use message::{
    CONTROL_VERSION, HostRow, JobRow, MESSAGE_BYTES_MAX, PeerRow, Reply, Request, StatusReport, StreamName,
};
pub use server::{Answer, Caller, Handler, serve};
