//! The calls to the system that Rust cannot check: the only module with `unsafe`.
//!
//! Decides nothing: each function is one wish to the system, made safe to ask for. All that `rustix`
//! offers safely is used from there instead. A process that uses [`fork_into`] must have one thread, which
//! the executor and its supervisors do.
#![expect(unsafe_code, reason = "fork, exec, signals and the user database have no safe interface")]

mod account;
mod process;

pub use account::Account;
pub(super) use process::{
    close_all_on_exec, close_others, ignore_signals, next_signal, reset_signals, set_stdio, take_signals,
    unblock_signals,
};
pub(crate) use process::{exec, fork_into};
