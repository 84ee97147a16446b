//! Runs commands on hosts.

mod message;
mod serve;

pub use message::OutputRequest;
pub use serve::{News, Parts, Runs, Sink, Ways};
