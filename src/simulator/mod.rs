//! Many hosts on one thread in virtual time, on the machine that ships.
//!
//! Decides nothing that a host does: a host here is the shipping [`crate::sync::Machine`] on the shipping
//! [`crate::replica::Replica`], linked as [`crate::routing::Neighbours`] plans. What is played is what stands
//! around them: streams, clocks, disks that are late, the executor, the operator, and all that goes wrong.
//! Always holds: everything follows from one seed, so a failure is repeated by the line that it prints
//! (`MUSTER_SEEDS=5..6 cargo test --lib simulator::`).
//! Thousands of seeds want optimised code: `MUSTER_SEEDS=0..5000 cargo test --no-default-features --lib --config
//! profile.dev.opt-level=1 simulator::tests::after_any_storm`. It deliberately does not know what the messages say:
//! only their names and lengths. Part of every build and pure, though it stands late in the order of modules.
//!
//! A storm (after `FoundationDB`'s and `TigerBeetle`'s simulators: faults first, then calm, in which what was
//! promised must come true) ends with checks: all hosts have one root; every entry that some host acknowledged
//! is on all, or something newer in its place; results are with the issuer's host; no signature was checked without
//! need, no table grew beyond its bounds, no honest host is named as a liar; then nothing is sent but pings.
//!
//! What it does not show: the real store, sockets, and how long work takes. Signatures are real, but each is
//! checked once in the whole network and counted at every host.

mod dice;
mod disk;
mod facets;
mod fleet;
mod host;
mod liar;
mod network;
mod report;
mod rest;
mod returning;
mod shared;
mod split;
mod storm;
mod verifier;

pub use dice::Dice;
pub use facets::{Packages, Published};
pub use fleet::{Fleet, START};
pub use host::Host;
pub use network::{Network, Weather};
pub use report::{Counts, Report, Traffic, name_of};
pub use rest::{Figures, figures};
pub use returning::{Home, Returning, home};
pub use split::{Split, split};
pub use storm::{Failure, Faults, IDLE_BYTES_MAX, lacking, storm, storm_of};

#[cfg(test)]
mod tests;
