//! What the surroundings offer to sign with.

use std::{path::PathBuf, sync::OnceLock};

/// What the surroundings offer to sign with. The command line says so once; nothing else looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// The socket of an SSH agent (`SSH_AUTH_SOCK`).
    pub agent: Option<PathBuf>,
    /// Whether an agent may be used that was forwarded from another machine.
    pub forwarded: bool,
    /// Whether this session came by SSH (`SSH_CONNECTION`).
    pub by_ssh: bool,
    /// The descriptor that a passphrase is read from, if not the terminal.
    pub passphrase_descriptor: Option<u32>,
}

static WAYS: OnceLock<Ways> = OnceLock::new();

/// Says what there is; only the first time counts.
///
/// One for the process, not handed from call to call: which key signs is settled where an operator's
/// directory is opened, and what is in the environment does not change.
pub fn set_ways(ways: Ways) {
    let _already_set = WAYS.set(ways);
}

/// What there is; nothing, unless somebody said otherwise.
pub fn ways() -> Ways {
    WAYS.get().cloned().unwrap_or_default()
}
