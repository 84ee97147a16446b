//! What cannot be rebuilt: keys, claims, ratchets, own sequence numbers.

mod host;
pub mod keyfile;
mod operator;

pub use host::{Candidate, HostHome, HostHomeError, Member, MeshHome};
pub use keyfile::KeyFileError;
pub use operator::{OperatorError, OperatorHome, Writer, WriterState};
