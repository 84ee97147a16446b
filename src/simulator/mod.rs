//! Many hosts on one thread in virtual time, on the machine that ships.

mod dice;
mod disk;
mod facets;
mod fleet;
mod host;
mod network;
mod report;
mod shared;
mod storm;
mod verifier;

pub use dice::Dice;
pub use facets::{Packages, Published};
pub use fleet::{Fleet, START};
pub use host::Host;
pub use network::{Network, Weather};
pub use report::{Counts, Report, Traffic, name_of};
pub use storm::{Failure, Faults, IDLE_BYTES_MAX, storm, storm_of};

#[cfg(test)]
mod tests;
