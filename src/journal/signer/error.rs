//! Why nothing was signed.

use std::{io, path::PathBuf};

use crate::{
    identity::{SignedError, ssh::FormatError},
    journal::openssh::OpensshError,
};

/// Why nothing was signed. What was signed before it stands.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key is in an agent, and no agent is known.
    #[error("the key {0} is in an SSH agent, and SSH_AUTH_SOCK names none")]
    NoAgent(String),
    /// The agent cannot be spoken to.
    #[error("cannot use the SSH agent at {path}: {source}")]
    Agent {
        /// Its socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent, or who should touch or confirm, took too long.
    #[error("the SSH agent did not sign within {0} s")]
    Slow(u64),
    /// The agent's answer is none.
    #[error("the SSH agent's answer makes no sense: {0}")]
    Odd(#[from] FormatError),
    /// The agent has the key and does not sign.
    #[error("the SSH agent did not sign with {0}: it was refused, or nobody touched the token")]
    Declined(String),
    /// The agent does not have the key.
    #[error("the SSH agent does not have the key {0}")]
    Lacks(String),
    /// The agent is on another machine.
    #[error("the SSH agent at {path} is forwarded from another machine ({why})")]
    Forwarded {
        /// Its socket.
        path: PathBuf,
        /// What makes it so.
        why: String,
    },
    /// What came is not this key's signature over what was to be signed.
    #[error("what came back is no signature by this key over what was to be signed: {0}")]
    Lied(#[from] SignedError),
    /// The key file has a passphrase, and nobody can be asked for it.
    #[error("{0} has a passphrase, and there is no terminal to ask for it")]
    NobodyToAsk(PathBuf),
    /// The passphrase cannot be read.
    #[error("cannot read the passphrase: {0}")]
    Passphrase(#[source] io::Error),
    /// The key file gives no key.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: OpensshError,
    },
}
