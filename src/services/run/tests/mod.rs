//! Claims about one order and the accounting of its hosts.

mod account;
mod agent;
pub(super) mod attacks;
mod foreseen;
mod jobs;
mod live;
mod managed;
mod many;
mod running;
mod screens;
mod waves;
