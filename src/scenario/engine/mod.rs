//! Plays a scenario on real processes.
//!
//! Decides when a step has come true, and what is told of it. The hosts are agents as anyone starts them; what a
//! person would type is typed: every command line of a file, and those that enrol and remove hosts, are processes
//! of this program with their own arguments and a sealed environment. Between the hosts stands the proxy.
//! Always holds: when it has ended, no process of it is left.

mod act;
mod checks;
mod clock;
mod commands;
mod copies;
mod disk;
mod fleet;
mod forge;
mod network;
mod play;

pub use fleet::end_all;
pub use play::{Played, play};
