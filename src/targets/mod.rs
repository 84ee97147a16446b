//! Which hosts a command is for: every way to say it, read by one rule for all commands.
//!
//! Decides what the flags `-t`, `-l`, `-H`, `-g`, `--all`, `--ssm-targets`, `--limit` and `--sample` mean. What is
//! given narrows: a host must be in all of it. Always holds: nothing given is an error and never every host; a set
//! of names is not expanded before it is known to fit; the same words and the same fleet give the same hosts, also
//! of a sample; what an order carries asks for no group, for the group's words were put in its place.
//!
//! It does not know what the hosts are wanted for. What authorises is judged elsewhere, on signed tags alone.

mod error;
mod find;
mod given;
mod resolve;
mod share;
mod ssm;
#[cfg(test)]
mod tests;

pub use error::TargetError;
pub use find::{group_selector, with_groups};
pub use given::{Asked, Targets};
pub use resolve::{Resolved, resolve};
pub use share::{Share, ShareError};
