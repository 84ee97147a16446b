//! What an operator's directory remembers of private jobs: the keys, and the command in the open.
//!
//! ```text
//! private/KEY    0600; KEY is the public key that the output of the job's hosts is sealed to
//! ```

use std::{fs, os::unix::fs::DirBuilderExt as _, path::PathBuf};

use super::operator::{OperatorError, OperatorHome, read_file, write_file};
use crate::{
    identity::{SealPublic, SealSecret, short},
    replica::Command,
    wire_record,
};

/// What was made for a private job. Without it nobody reads what the job's commands wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateJob {
    /// Opens what its commands write.
    pub reader: SealSecret,
    /// What they are.
    pub command: Command,
}
wire_record!(PrivateJob { reader, command });

impl OperatorHome {
    /// Remembers a private job, synced, before its first order is handed over.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_private(&self, job: &PrivateJob) -> Result<(), OperatorError> {
        let path = self.private_path(&job.reader.public());
        if let Some(dir) = path.parent() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|source| OperatorError::Io { path: dir.to_owned(), source })?;
        }
        write_file(&path, job, true)
    }

    /// The private job whose output is sealed to `reader`; none if it was not ordered from here.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn private(&self, reader: &SealPublic) -> Result<Option<PrivateJob>, OperatorError> {
        read_file(&self.private_path(reader))
    }

    fn private_path(&self, reader: &SealPublic) -> PathBuf {
        self.dir().join("private").join(short(&reader.0, 64))
    }
}
