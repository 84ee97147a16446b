//! One signature of a person's key, in the ways that such keys sign.

use sha2::{Digest as _, Sha256, Sha512};

use super::{OperatorKey, key::is_application, put_string};
use crate::{
    identity::{Operator, PublicKey, base64},
    wire_record,
};

/// What an SSH key signs for us is signed under this name, and nothing else is.
pub const NAMESPACE: &str = "signed@muster";
/// The one hash that is taken: what `ssh-keygen -Y sign` takes unless told otherwise.
const HASH: &[u8] = b"sha512";
const MAGIC: &[u8; 6] = b"SSHSIG";
const SSHSIG_VERSION: u32 = 1;
/// The flag by which a token says that it was touched.
pub const TOUCHED: u8 = 0x01;
/// The flag by which a token says that it knows who touched it: a PIN or a finger.
pub const VERIFIED: u8 = 0x04;
/// Columns of the text of a signature.
const COLUMNS: usize = 70;

/// What shows that a key signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// ed25519 over the bytes.
    Ed25519([u8; 64]),
    /// ed25519 over what SSHSIG makes of them.
    Sshsig([u8; 64]),
    /// By a token, over what SSHSIG makes of them.
    SkEd25519(SkProof),
}

/// What a token signed, and what else it signed with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkProof {
    /// The key's point.
    pub point: [u8; 32],
    /// The key's application.
    pub application: String,
    /// Whether it was touched, and more.
    pub flags: u8,
    /// How many signatures it had made; one that goes back means a copied token, but some never count.
    pub counter: u32,
    /// The signature.
    pub signature: [u8; 64],
}
wire_record!(SkProof closed { point, application, flags, counter, signature });

impl SkProof {
    /// The name of the key that it says it is by. `None`: its application can be no key's.
    pub fn name(&self) -> Option<PublicKey<Operator>> {
        let application = self.application.clone();
        let key = OperatorKey::SkEd25519 { point: self.point, application };
        is_application(&self.application).then(|| key.name())
    }

    /// Whether the token says that it was touched.
    pub fn is_touched(&self) -> bool {
        self.flags & TOUCHED != 0
    }

    /// Whether the token of this point signed this for these bytes. Whose point it is and whether the
    /// token was touched are other questions.
    pub fn verify(&self, signed: &[u8]) -> bool {
        let mut message = Vec::with_capacity(69);
        message.extend_from_slice(&Sha256::digest(&self.application));
        message.push(self.flags);
        message.extend_from_slice(&self.counter.to_be_bytes());
        message.extend_from_slice(&Sha256::digest(sshsig_message(signed)));
        PublicKey::<Operator>::from_bytes(self.point).verify(&message, &self.signature)
    }
}

/// What an SSH key signs for these bytes (`PROTOCOL.sshsig`, section 3): what is given to an agent.
pub fn sshsig_message(signed: &[u8]) -> Vec<u8> {
    let mut message = MAGIC.to_vec();
    put_string(&mut message, NAMESPACE.as_bytes());
    put_string(&mut message, b"");
    put_string(&mut message, HASH);
    put_string(&mut message, &Sha512::digest(signed));
    message
}

/// A signature in the form in which `ssh-keygen -Y verify` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSignature {
    /// The bytes that were signed.
    pub signed: Vec<u8>,
    /// By whom.
    pub key: OperatorKey,
    /// The text of the signature.
    pub armoured: String,
}

impl SshSignature {
    /// The form of `proof` over `signed` by the key that goes by `name`; `None` if it was not made by way
    /// of SSH.
    pub(in crate::identity) fn of(signed: &[u8], name: PublicKey<Operator>, proof: &Proof) -> Option<Self> {
        let mut signature = Vec::new();
        let key = match proof {
            Proof::Ed25519(_) => return None,
            Proof::Sshsig(bytes) => {
                put_string(&mut signature, super::ED25519);
                put_string(&mut signature, bytes);
                OperatorKey::Ed25519(name)
            }
            Proof::SkEd25519(proof) => {
                put_string(&mut signature, super::SK_ED25519);
                put_string(&mut signature, &proof.signature);
                signature.push(proof.flags);
                signature.extend_from_slice(&proof.counter.to_be_bytes());
                OperatorKey::SkEd25519 { point: proof.point, application: proof.application.clone() }
            }
        };
        let mut blob = MAGIC.to_vec();
        blob.extend_from_slice(&SSHSIG_VERSION.to_be_bytes());
        put_string(&mut blob, &key.blob());
        put_string(&mut blob, NAMESPACE.as_bytes());
        put_string(&mut blob, b"");
        put_string(&mut blob, HASH);
        put_string(&mut blob, &signature);
        let mut armoured = "-----BEGIN SSH SIGNATURE-----\n".to_owned();
        let text = base64::encode(&blob);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at_checked(COLUMNS).unwrap_or((rest, ""));
            armoured.push_str(line);
            armoured.push('\n');
            rest = after;
        }
        armoured.push_str("-----END SSH SIGNATURE-----\n");
        Some(Self { signed: signed.to_vec(), key, armoured })
    }
}
