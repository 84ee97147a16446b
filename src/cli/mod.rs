//! The command line: argument tree, failures, exit codes.
//!
//! Decides how what a person typed becomes a call of one capability, and how what went wrong reads. It
//! alone turns errors into words with a next step, reads the clock, draws randomness and looks at the
//! environment; what it calls takes all of that as arguments. It does not know how anything is done.

mod agent;
mod approval;
mod audit;
mod arguments;
mod chance;
mod complete;
mod config;
mod context;
mod demo;
mod dispatch;
mod doctor;
mod failure;
mod hosts;
mod inventory;
mod key;
mod manual;
mod membership;
mod run;
mod scenario;
mod schema;
mod signals;
mod targeting;
mod teller;
mod trust;
mod upkeep;
mod watching;
#[cfg(test)]
mod tests;

pub use arguments::{Arguments, command};
pub use dispatch::main;
pub use failure::{ExitCode, Failure};
