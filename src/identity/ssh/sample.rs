//! A FIDO token in software, after OpenSSH's `PROTOCOL.u2f`: for tests, which have no other.

use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};

use super::{OperatorKey, SkProof, sshsig_message};

/// A token with one key.
#[derive(Debug)]
pub(crate) struct SoftToken {
    key: SigningKey,
    pub(crate) application: String,
    pub(crate) flags: u8,
    pub(crate) counter: u32,
}

impl SoftToken {
    pub(crate) fn new(seed: u8, application: &str) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        Self { key, application: application.to_owned(), flags: super::TOUCHED, counter: 7 }
    }

    pub(crate) fn key(&self) -> OperatorKey {
        let point = self.key.verifying_key().to_bytes();
        OperatorKey::SkEd25519 { point, application: self.application.clone() }
    }

    /// Signs a message as an agent would hand it over: whatever it is.
    pub(crate) fn sign(&mut self, message: &[u8]) -> SkProof {
        self.counter += 1;
        let mut signed = Sha256::digest(&self.application).to_vec();
        signed.push(self.flags);
        signed.extend(self.counter.to_be_bytes());
        signed.extend(Sha256::digest(message));
        SkProof {
            point: self.key.verifying_key().to_bytes(),
            application: self.application.clone(),
            flags: self.flags,
            counter: self.counter,
            signature: self.key.sign(&signed).to_bytes(),
        }
    }

    /// Signs for us.
    pub(crate) fn prove(&mut self, signed: &[u8]) -> SkProof {
        self.sign(&sshsig_message(signed))
    }
}
