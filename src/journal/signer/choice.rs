//! Which key a person means.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{OperatorSigner, SignError, SshAgent, Ways};
use crate::{
    identity::ssh::OperatorKey,
    journal::{
        KeyFileError, OperatorError, keyfile,
        openssh::{OpensshError, OpensshFile, is_openssh},
        operator::signer_of_file,
    },
};

/// A key that is there already, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// In an agent, under this comment.
    Agent(OperatorKey, String),
    /// In a file of this absolute path.
    File(OperatorKey, PathBuf),
}

impl Choice {
    /// It, to be asked to sign.
    ///
    /// # Errors
    /// When its file cannot be used any more.
    pub fn signer(&self, ways: Ways) -> Result<OperatorSigner, OperatorError> {
        match self {
            Self::Agent(key, _) => Ok(OperatorSigner::agent(key.clone(), ways)),
            Self::File(_, path) => signer_of_file(path, ways),
        }
    }

    /// Its public half.
    pub fn key(&self) -> &OperatorKey {
        match self {
            Self::Agent(key, _) | Self::File(key, _) => key,
        }
    }
}

/// Why it cannot be told which key is meant, or that cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// The agent.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The agent has no such key.
    #[error("the SSH agent has no ed25519 key {0:?}")]
    NotThere(String),
    /// The agent has several with this comment.
    #[error("the SSH agent has several keys {0:?}; name one by its fingerprint")]
    Several(String),
    /// There is no agent, and no such file.
    #[error("{0:?} is no file, and SSH_AUTH_SOCK names no SSH agent that could have such a key")]
    Nowhere(String),
    /// The file's key cannot be an operator's.
    #[error("{path} holds no key that can be an operator's: {problem}")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

/// Longest `.pub` file, in bytes.
const PUBLIC_BYTES_MAX: u64 = 16 * 1024;

/// Finds the key that `word` means: a file of a private key, a `.pub` file of one in the agent, the fingerprint of
/// one in the agent (`SHA256:…`), or its comment.
///
/// # Errors
/// See [`ChoiceError`].
pub fn choose(word: &str, ways: &Ways) -> Result<Choice, ChoiceError> {
    let path = Path::new(word);
    if !word.starts_with("SHA256:") && path.is_file() {
        return in_file(path, ways);
    }
    let Some(mut agent) = SshAgent::connect(ways)? else { return Err(ChoiceError::Nowhere(word.to_owned())) };
    let keys = agent.keys()?;
    let mut found = keys.into_iter().filter(|(key, comment)| key.fingerprint() == word || comment == word);
    match (found.next(), found.next()) {
        (Some((key, comment)), None) => Ok(Choice::Agent(key, comment)),
        (None, _) => Err(ChoiceError::NotThere(word.to_owned())),
        (Some(_), Some(_)) => Err(ChoiceError::Several(word.to_owned())),
    }
}

fn in_file(path: &Path, ways: &Ways) -> Result<Choice, ChoiceError> {
    let not = |problem: String| ChoiceError::NotAKey { path: path.to_owned(), problem };
    let length = fs::metadata(path).map_or(0, |about| about.len());
    if length > PUBLIC_BYTES_MAX {
        return Err(not("it is too long".to_owned()));
    }
    if path.extension().is_some_and(|extension| extension == "pub") {
        return public(path, ways);
    }
    let text = keyfile::read_text(path)?;
    if !is_openssh(&text) {
        return Err(not("not a file that ssh-keygen made".to_owned()));
    }
    match OpensshFile::read(&text) {
        Ok(file) => {
            let path = fs::canonicalize(path)
                .map_err(|source| KeyFileError::Io { path: path.to_owned(), source })?;
            Ok(Choice::File(file.public.into(), path))
        }
        // Of a key on a token the file holds no key, only its handle: the agent knows what to do with that.
        Err(OpensshError::OtherKind) => public(&path.with_extension("pub"), ways)
            .map_err(|_| not("one on a token needs its .pub file, and ssh-add".to_owned())),
        Err(error) => Err(not(error.to_string())),
    }
}

/// The key of a `.pub` file, which the agent must have.
fn public(path: &Path, ways: &Ways) -> Result<Choice, ChoiceError> {
    let not = |problem: String| ChoiceError::NotAKey { path: path.to_owned(), problem };
    let text = fs::read_to_string(path).map_err(|error| not(error.to_string()))?;
    let (key, _) = OperatorKey::from_line(&text)
        .map_err(|error| not(error.to_string()))?
        .ok_or_else(|| not("not an ed25519 key".to_owned()))?;
    let Some(mut agent) = SshAgent::connect(ways)? else {
        return Err(SignError::NoAgent(key.fingerprint()).into());
    };
    match agent.keys()?.into_iter().find(|(known, _)| *known == key) {
        Some((key, comment)) => Ok(Choice::Agent(key, comment)),
        None => Err(SignError::Lacks(key.fingerprint()).into()),
    }
}
