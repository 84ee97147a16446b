//! A root key at hand: in a file, in a file of OpenSSH under a passphrase, or in an SSH agent.

use std::{io, path::Path};

use super::{ChoiceError, SignError, SshAgent, Ways, choose, passphrase};
use crate::{
    identity::{
        Cosigned, Payload, PublicKey, Root, SecretKey,
        ssh::{OperatorKey, Proof},
    },
    journal::{
        keyfile,
        openssh::{OpensshFile, is_openssh},
        signer::Choice,
    },
};

/// A root key, and how it signs.
#[derive(Debug)]
pub struct RootSigner {
    public: PublicKey<Root>,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Open(Box<SecretKey<Root>>),
    Agent(OperatorKey, Ways),
}

impl RootSigner {
    /// The key that `word` means: a file of a private key, whose passphrase is asked for here, or what [`choose`]
    /// finds in an SSH agent.
    ///
    /// # Errors
    /// When there is none, or it is on a token: those name an application, and a root key is named without one.
    pub fn find(word: &Path, ways: &Ways) -> Result<Self, ChoiceError> {
        let is_public = word.extension().is_some_and(|extension| extension == "pub");
        if word.is_file() && !is_public {
            return Self::in_file(word, ways);
        }
        match choose(&word.to_string_lossy(), ways)? {
            Choice::Agent(key @ OperatorKey::Ed25519(_), _) => {
                let public = PublicKey::from_bytes(key.name().bytes());
                Ok(Self { public, held: Held::Agent(key, ways.clone()) })
            }
            Choice::Agent(..) => Err(ChoiceError::NotAKey {
                path: word.to_owned(),
                problem: "a key on a token cannot be a root key".to_owned(),
            }),
            Choice::File(_, path) => Self::in_file(&path, ways),
        }
    }

    fn in_file(path: &Path, ways: &Ways) -> Result<Self, ChoiceError> {
        let text = keyfile::read_text(path)?;
        let file = is_openssh(&text).then(|| OpensshFile::read(&text));
        let key = match file {
            Some(Ok(file)) if file.is_locked() => {
                let passphrase = passphrase::ask(ways, path)?;
                file.unlock::<Root>(&passphrase)
                    .map_err(|source| SignError::File { path: path.to_owned(), source })?
            }
            _ => keyfile::read::<Root>(path)?,
        };
        Ok(Self { public: key.public(), held: Held::Open(Box::new(key)) })
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey<Root> {
        self.public
    }

    /// Puts its signature beside those that an object bears. Blocks while a person confirms.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn sign<T: Payload<Signer = Root>>(&self, object: Cosigned<T>) -> Result<Cosigned<T>, SignError> {
        match &self.held {
            Held::Open(key) => Ok(object.also_by(&[key])),
            Held::Agent(key, ways) => object.also_with(self.public, |signed| -> Result<Proof, SignError> {
                let Some(mut agent) = SshAgent::connect(ways)? else {
                    return Err(SignError::NoAgent(key.fingerprint()));
                };
                agent.sign(key, signed)
            }),
        }
    }
}

/// The public half of a root key from what a person gives: 64 hexadecimal digits, or a `.pub` file.
///
/// # Errors
/// When it is neither, or the key is weak.
pub fn root_public(word: &str) -> io::Result<PublicKey<Root>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{word:?} {what}"));
    let bytes = if let Some(bytes) = keyfile::unhex(word) {
        *bytes
    } else {
        let text = std::fs::read_to_string(word)?;
        match OperatorKey::from_line(&text) {
            Ok(Some((key @ OperatorKey::Ed25519(_), _))) => key.name().bytes(),
            _ => return Err(bad("is no public ed25519 key of OpenSSH")),
        }
    };
    PublicKey::import(bytes).map_err(|_| bad("is a weak key, or none"))
}
