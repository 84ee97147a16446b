//! Claims about one order and the accounting of its hosts.

mod account;
mod agent;
mod foreseen;
mod jobs;
mod managed;
mod running;
mod screens;

mod waves;
