//! This machine: what can be said of it, and when to look again.
//!
//! Decides what becomes of the system's own files: tables by osquery's names. Always holds: every look is
//! bounded in time, memory and size, one that hangs holds up no other, and nothing is told that changes by
//! itself (load, free space, counters), since each change costs the fleet an entry. A package list that cannot
//! be told whole is refused instead of cut: what is absent from it counts as not installed. It does not know
//! who is told, nor what was told before.
//!
//! [`Watch`] says when, [`Looks`] runs a [`Collector`] in a thread of its own, [`Machine`] is the collector
//! that looks at this machine (or at any directory that looks like one), and [`Fake`] one that says what a test
//! made up.

mod collector;
mod looks;
mod schedule;
mod watch;
mod machine;
mod text;
mod system;
mod storage;
mod network;
mod deb;
mod stanzas;

pub use collector::{
    Collected, Collector, FACET_DEB, FACET_NETWORK, FACET_STORAGE, FACET_SYSTEM, FACETS, Fake, Progress,
};
pub use looks::Looks;
pub use machine::{Machine, Paths};
pub use watch::Watch;

#[cfg(test)]
mod tests;
