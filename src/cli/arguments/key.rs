//! The arguments of `muster key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `key`.
#[derive(Clone, Debug, Subcommand)]
pub enum Key {
    /// List this user's operator keys, and the keys of the SSH agent that could be one
    #[command(
        after_help = "An SSH agent is the one that SSH_AUTH_SOCK names. One that was forwarded from another machine is
not used unless MUSTER_FORWARDED_AGENT=yes: who runs this machine could have it sign anything.

Examples:
  muster key ls
  muster key ls -o json"
    )]
    Ls,
    /// Write an order's signature out, for ssh-keygen to check
    Export(KeyExport),
}

/// `key export`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Writes three files to DIR: what was signed, the signature, and whose key it is. Works for orders that
were signed here, by way of an SSH agent.

Examples:
  muster key export 5f2c ./proof"
)]
pub struct KeyExport {
    /// The job's id, or how it begins
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Where the files go
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}
