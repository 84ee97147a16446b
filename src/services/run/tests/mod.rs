//! Claims about one order and the accounting of its hosts.

mod account;
mod agent;
pub(super) mod attacks;
mod jobs;
mod running;
mod screens;
mod targets;
