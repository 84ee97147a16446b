//! What a command may take, and the control group that holds it to that where the system has one.
//!
//! Part of the privileged process, and apart from `executor` since it judges nothing and starts nothing: it is
//! told the number of a supervisor and writes into the system's own files.

mod group;
mod limits;

pub use group::{Group, Groups};
pub use limits::Limits;
