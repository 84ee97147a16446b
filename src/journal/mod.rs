//! Keeps on disk what cannot be rebuilt from peers: keys and what makes a host or an operator, which
//! orders were claimed and what came of them, own sequence numbers, and scalars that may never go back.
//!
//! Decides the format of these files and when they are synced. Always holds: what a function has
//! acknowledged is on disk, survives a power cut at any later moment, and is never silently forgotten:
//! a file that cannot be read whole is an error that names the place, not an empty journal. It does not
//! know what an order means, nor a clock. After the habits of `SQLite` and LMDB: append and check, write
//! aside and rename, two slots in turn. Beside that it keeps, with less ado, what commands read and wrote.

mod audit;
mod claims;
mod disk;
mod host;
#[cfg(feature = "agent")]
mod jobs;
pub mod keyfile;
#[cfg(feature = "agent")]
mod openssh;
#[cfg(feature = "agent")]
mod operator;
mod output;
pub mod shipped;
#[cfg(feature = "agent")]
pub mod signer;
mod slots;
pub mod spool;
#[cfg(feature = "agent")]
mod stream;

pub use audit::{AuditLog, files as audit_files};
pub use claims::{CLAIMS_MAX, Claimed, Claims, RESULT_BYTES_MAX};
pub use disk::JournalError;
pub use host::{Candidate, HostHome, HostHomeError, Member, MeshHome, is_full_disk};
#[cfg(feature = "agent")]
pub use jobs::{JobLock, Stop, Waves};
pub use keyfile::KeyFileError;
#[cfg(feature = "agent")]
pub use openssh::OpensshError;
#[cfg(feature = "agent")]
pub use operator::{KeySource, NO_CERTIFICATE, OperatorError, OperatorHome, Writer, WriterState};
pub use output::Stream;
pub use slots::{SLOT_BODY_BYTES_MAX, Slots};
#[cfg(feature = "agent")]
pub use stream::stream_place;
