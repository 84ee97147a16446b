//! `muster` manages a fleet of machines without a server.

pub mod authority;
pub mod identity;
pub mod replica;
pub mod routing;
pub mod selector;
pub mod sync;
pub mod time;
pub mod wire;
// ---- above: pure; below: effects ----
#[cfg(feature = "agent")]
pub mod cli;
#[cfg(feature = "agent")]
pub mod control;
pub mod executor;
#[cfg(feature = "agent")]
pub mod host;
pub mod journal;
#[cfg(feature = "agent")]
pub mod net;
#[cfg(feature = "agent")]
pub mod node;
#[cfg(feature = "agent")]
pub mod services;
#[cfg(feature = "agent")]
pub mod store;
#[cfg(feature = "agent")]
pub mod terminal;
