//! An operator's key where it is.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{SignError, SshAgent, Ways, passphrase};
use crate::{
    identity::{
        FleetId, Kind, Operator, Payload, PublicKey, SecretKey, Signed,
        ssh::{OperatorKey, Proof},
    },
    journal::openssh::OpensshFile,
};

/// An operator's key, which can be asked to sign.
#[derive(Debug)]
pub struct OperatorSigner {
    key: OperatorKey,
    held: Held,
    ways: Ways,
    touches: AtomicU32,
}

#[derive(Debug)]
enum Held {
    Open(Box<SecretKey<Operator>>),
    Locked { file: Box<OpensshFile>, path: PathBuf, opened: OnceLock<Box<SecretKey<Operator>>> },
    Agent,
}

/// Where a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file that anybody who has it can use.
    File,
    /// In a file under a passphrase.
    LockedFile,
    /// In an SSH agent.
    Agent,
    /// On a FIDO token behind an SSH agent.
    Token,
}

impl Place {
    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::LockedFile => "file with passphrase",
            Self::Agent => "ssh-agent",
            Self::Token => "token by ssh-agent",
        }
    }
}

impl OperatorSigner {
    /// A key that is in memory.
    pub fn open(key: SecretKey<Operator>) -> Self {
        Self::new(key.public().into(), Held::Open(Box::new(key)), Ways::default())
    }

    /// A key in a file that was read, under a passphrase.
    pub(in crate::journal) fn locked(file: OpensshFile, path: &Path, ways: Ways) -> Self {
        let key = file.public.into();
        let held = Held::Locked { file: Box::new(file), path: path.to_owned(), opened: OnceLock::new() };
        Self::new(key, held, ways)
    }

    /// A key in an agent.
    pub(in crate::journal) fn agent(key: OperatorKey, ways: Ways) -> Self {
        Self::new(key, Held::Agent, ways)
    }

    fn new(key: OperatorKey, held: Held, ways: Ways) -> Self {
        Self { key, held, ways, touches: AtomicU32::new(0) }
    }

    /// The key's public half.
    pub fn key(&self) -> &OperatorKey {
        &self.key
    }

    /// The 32 bytes that the key goes by.
    pub fn name(&self) -> PublicKey<Operator> {
        self.key.name()
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        match &self.held {
            Held::Open(_) => Place::File,
            Held::Locked { .. } => Place::LockedFile,
            Held::Agent if self.key.is_on_token() => Place::Token,
            Held::Agent => Place::Agent,
        }
    }

    /// Signs `body` for `fleet`. Blocks while a person types a passphrase, confirms or touches; a passphrase is
    /// asked for once. Each touch is announced on standard error, with its number.
    ///
    /// # Errors
    /// See [`SignError`]; nothing was signed then.
    pub fn sign<T: Payload<Signer = Operator>>(
        &self,
        fleet: FleetId,
        body: T,
    ) -> Result<Signed<T>, SignError> {
        match &self.held {
            Held::Open(key) => Ok(Signed::sign(fleet, key, body)),
            Held::Locked { file, path, opened } => {
                if let Some(key) = opened.get() {
                    return Ok(Signed::sign(fleet, key, body));
                }
                let passphrase = passphrase::ask(&self.ways, path)?;
                let key = file
                    .unlock(&passphrase)
                    .map_err(|source| SignError::File { path: path.clone(), source })?;
                Ok(Signed::sign(fleet, opened.get_or_init(|| Box::new(key)), body))
            }
            Held::Agent => Signed::sign_by(fleet, self.name(), body, |signed| self.by_agent(T::KIND, signed)),
        }
    }

    fn by_agent(&self, kind: Kind, signed: &[u8]) -> Result<Proof, SignError> {
        let Some(mut agent) = SshAgent::connect(&self.ways)? else {
            return Err(SignError::NoAgent(self.key.fingerprint()));
        };
        if self.key.is_on_token() {
            let touch = self.touches.fetch_add(1, Ordering::Relaxed) + 1;
            let line =
                format!("touch the token of {}: touch {touch}, {}\n", self.key.fingerprint(), word(kind));
            // Without a standard error there is nobody to tell, and the token blinks all the same.
            let _told = io::stderr().write_all(line.as_bytes());
        }
        agent.sign(&self.key, signed)
    }
}

/// What is signed, for who is to touch.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Order => "to order it",
        Kind::Cancellation => "to cancel it",
        Kind::Read => "to read its output",
        Kind::Card => "to be let in by agents for a while",
        Kind::Invitation => "to invite hosts",
        Kind::Op => "to change what the fleet knows",
        _ => "to sign for the fleet",
    }
}
