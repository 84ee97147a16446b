//! How a fleet and its hosts begin and end.

mod join;
mod message;
mod serve;

pub use join::{JoinError, JoinWith, Joined, join};
pub use serve::serve;
