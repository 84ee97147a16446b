//! What is asked for, and why it was not done.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    authority::Refusal,
    control::{AnchorError, ControlError},
    journal::{KeyFileError, OperatorError},
    selector::SelectorError,
    terminal::{AskError, OutputError, escape},
};

/// Who shall be stopped.
#[derive(Clone, Copy, Debug)]
pub struct StopRequest<'a> {
    /// In the words that were typed.
    pub who: super::Named<'a>,
    /// How long ago it went wrong: what they signed since then does not stand.
    pub since: Duration,
    /// Why.
    pub reason: &'a str,
    /// Whether only to say what would be done.
    pub dry_run: bool,
}

/// Where everything shall stop.
#[derive(Clone, Copy, Debug)]
pub struct HaltRequest<'a> {
    /// A selector over tags; everywhere, if none is given.
    pub selector: Option<&'a str>,
    /// Why.
    pub reason: &'a str,
    /// Whether only to say what would be done.
    pub dry_run: bool,
}

/// With which root keys.
#[derive(Clone, Copy, Debug)]
pub struct Rooted<'a> {
    /// Files of root keys.
    pub keys: &'a [PathBuf],
    /// Where the update waits for more signatures.
    pub update: Option<&'a Path>,
    /// Why.
    pub reason: &'a str,
    /// Whether only to say what would be done.
    pub dry_run: bool,
}

/// Why a command about authority did not do its work. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The agent.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No anchor to verify against.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// No host, or not one, is called so.
    #[error(transparent)]
    Pick(#[from] crate::control::PickError),
    /// Nobody is called so.
    #[error("no operator is called {}", escape::line(who))]
    NoSuchOperator {
        /// What was given.
        who: String,
        /// Who is.
        known: Vec<String>,
    },
    /// There is nothing to end.
    #[error("{0}")]
    NothingToLift(String),
    /// The selector cannot be read.
    #[error("the selector cannot be read")]
    Selector {
        /// The text.
        text: String,
        /// What is wrong with it.
        error: SelectorError,
    },
    /// The selector looks at more than tags.
    #[error(
        "a halt is decided on every host by its signed tags alone, so its selector must look at tags only"
    )]
    NotTags,
    /// This user holds no operator key of the fleet.
    #[error("this user has no operator key for fleet {fleet}")]
    NotAnOperator {
        /// The fleet's label.
        fleet: String,
    },
    /// The certificate does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The operator's directory cannot be used.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// No root key was given.
    #[error("this takes the fleet's root keys ({threshold} of {of}), and none was given")]
    NoRootKey {
        /// How many must sign.
        threshold: u8,
        /// Of how many.
        of: usize,
    },
    /// A key that does not govern.
    #[error("{path} is no root key of this fleet, or is one no more")]
    NotARoot {
        /// The file.
        path: PathBuf,
    },
    /// Too few keys, and no file for what was signed so far.
    #[error("{have} of {threshold} root signatures")]
    TooFewRoots {
        /// How many there are.
        have: usize,
        /// How many must sign.
        threshold: u8,
    },
    /// A root key's file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The file with the update cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Update {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no update, or one of something else.
    #[error("{path} {problem}")]
    OtherUpdate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The roots cannot say that.
    #[error(transparent)]
    Chain(#[from] crate::authority::ChainError),
    /// Not agreed to.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}
