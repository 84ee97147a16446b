//! Keys by purpose: the compiler keeps a host's transport key from signing an order.

use std::{
    fmt,
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::ssh;
use crate::wire::{Value, Wire, WireError};

/// What a key is for; one type each.
pub trait Purpose: Copy + 'static {
    /// Its name, in errors and file names.
    const NAME: &'static str;
    /// Whether it is a person's and may sign by way of SSH. A program's key signs in one way only.
    const SIGNS_BY_SSH: bool = false;
    /// Whether it may be on a FIDO token.
    const ON_TOKEN: bool = false;
}

macro_rules! purposes {
    ($($(#[$doc:meta])* $name:ident = $text:literal $($may:ident)*),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name;
        impl Purpose for $name {
            const NAME: &'static str = $text;
            $(const $may: bool = true;)*
        }
    )*};
}
purposes! {
    /// Proves a host, or a command line, on the wire (libp2p's Noise); signs nothing of ours.
    Transport = "transport",
    /// Signs a host's own stream; held by the mesh process.
    Stream = "stream",
    /// Signs results; held by the executor alone.
    Executor = "executor",
    /// A person's; signs orders, tags, invitations, cards.
    Operator = "operator" SIGNS_BY_SSH ON_TOKEN,
    /// Founds and governs a fleet; kept offline.
    Root = "root" SIGNS_BY_SSH,
    /// Lives in a join token and signs what the joiner brings.
    Token = "token",
}

/// Why bytes are not a key that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a point on the curve.
    #[error("not an ed25519 public key")]
    NotAPoint,
    /// A point of small order: signatures under it prove nothing (RFC 8032 says nothing of it; dalek
    /// calls it weak).
    #[error("a weak ed25519 public key")]
    Weak,
    /// The public half of one of the private keys in `keys/`, which everybody knows.
    #[error("a development key, whose private half is public")]
    Development,
}

/// The public halves of `keys/dev-*.hex`, in the order of their names.
const DEVELOPMENT: [[u8; 32]; 8] = [
    [
        0xbb, 0x25, 0x3e, 0xe1, 0xaf, 0x0b, 0xa2, 0x7c, 0xb2, 0x23, 0x93, 0x39, 0x56, 0xc3, 0xaf, 0xb0, 0x5d,
        0x0f, 0x17, 0x49, 0x1e, 0x94, 0x6a, 0xdb, 0x5e, 0x46, 0xb6, 0x6a, 0xb2, 0xf5, 0x89, 0x87,
    ],
    [
        0x19, 0xd8, 0xa3, 0x44, 0x5b, 0xca, 0x64, 0x53, 0xee, 0xb1, 0x21, 0x0e, 0x12, 0xdb, 0xfa, 0x45, 0xca,
        0xdf, 0x04, 0xbe, 0xe9, 0x25, 0xfa, 0xc4, 0x40, 0xdd, 0x6e, 0x4d, 0x9d, 0x2a, 0xa2, 0x2b,
    ],
    [
        0x37, 0x9f, 0x64, 0x9c, 0x90, 0x2f, 0xb1, 0xc4, 0xad, 0x03, 0x97, 0x5a, 0x8d, 0xeb, 0xbf, 0xe3, 0x63,
        0xca, 0xb3, 0x6b, 0xb8, 0xe6, 0x3f, 0x36, 0x4f, 0x77, 0xf2, 0xe5, 0x7d, 0x4a, 0x91, 0xc8,
    ],
    [
        0x1a, 0x28, 0x3a, 0x44, 0xb3, 0x9c, 0x41, 0xba, 0x3c, 0xc7, 0xda, 0x28, 0x96, 0x1b, 0xda, 0x29, 0xe7,
        0xd6, 0x4f, 0xdf, 0x46, 0x95, 0x56, 0xc7, 0x86, 0xc0, 0x10, 0xe9, 0x9a, 0xdc, 0xa6, 0xd3,
    ],
    [
        0xff, 0x10, 0x03, 0x40, 0x51, 0x41, 0xd2, 0x08, 0x8c, 0x21, 0x2c, 0x49, 0x09, 0x08, 0x1d, 0xc4, 0x7a,
        0x74, 0x1b, 0x8f, 0x3e, 0xa0, 0x05, 0xc8, 0x61, 0xcb, 0x35, 0x6c, 0x7d, 0xae, 0x4c, 0x24,
    ],
    [
        0x20, 0xa3, 0x90, 0xa0, 0x89, 0x23, 0x3f, 0xa8, 0x87, 0x67, 0x7e, 0xb9, 0xec, 0x12, 0x8c, 0x0b, 0xd1,
        0x5c, 0x53, 0x01, 0xb7, 0x18, 0x06, 0x55, 0x17, 0x3e, 0xf3, 0xc0, 0xee, 0x99, 0x98, 0x1f,
    ],
    [
        0x65, 0x54, 0x0f, 0x8e, 0xc3, 0x7e, 0x62, 0x2c, 0xb9, 0xb7, 0xd4, 0xbd, 0xcc, 0xc3, 0xd3, 0x30, 0x48,
        0x33, 0xe0, 0xe0, 0x3b, 0x03, 0xc0, 0xaa, 0xf7, 0x1b, 0xa7, 0x09, 0x32, 0xc7, 0xf1, 0x33,
    ],
    [
        0x6b, 0x93, 0x09, 0x85, 0xe6, 0x50, 0xe8, 0x59, 0x31, 0x96, 0x80, 0x1e, 0x0c, 0x60, 0x7e, 0x9d, 0x23,
        0xf6, 0x7c, 0x69, 0x0a, 0x6a, 0xcf, 0xf7, 0x84, 0xcc, 0x29, 0xef, 0x20, 0xe7, 0xdc, 0x13,
    ],
];

/// Whether this is the public half of a private key that is published in `keys/`.
pub fn is_development_key(bytes: &[u8; 32]) -> bool {
    DEVELOPMENT.contains(bytes)
}

/// The signature checks done since the process started, and those of orders among them.
static VERIFICATIONS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// How many signatures over objects of type `type_tag` were checked since the process started.
pub fn verifications(type_tag: u16) -> u64 {
    VERIFICATIONS.get(usize::from(type_tag)).map_or(0, |count| count.load(Ordering::Relaxed))
}

#[cfg(test)]
thread_local! {
    static HERE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many signatures were checked on this thread: other tests run on others.
#[cfg(test)]
pub fn verifications_here() -> u64 {
    HERE.get()
}

/// Counts one check.
pub fn count_verification(type_tag: u16) {
    #[cfg(test)]
    HERE.set(HERE.get() + 1);
    if let Some(count) = VERIFICATIONS.get(usize::from(type_tag)) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A public key for one purpose. Not proven to be a good point until something is verified under it.
pub struct PublicKey<P>([u8; 32], PhantomData<P>);

impl<P> PublicKey<P> {
    /// Takes bytes as they are; [`PublicKey::verify`] refuses what is no key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes, PhantomData)
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Refuses bytes that are no key or a weak one; in a release build, a development key too.
    pub fn import(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        if !cfg!(debug_assertions) && is_development_key(&bytes) {
            return Err(KeyError::Development);
        }
        Ok(Self::from_bytes(bytes))
    }

    /// Whether `signature` over `message` is this key's, under strict rules.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else { return false };
        key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }

    /// The fingerprint that OpenSSH prints for the same key: `SHA256:` and base 64 without padding
    /// over the key blob of RFC 4253, section 6.6 (ed25519: RFC 8709).
    pub fn fingerprint(&self) -> String {
        ssh::OperatorKey::Ed25519(PublicKey::from_bytes(self.0)).fingerprint()
    }
}

impl<P> Clone for PublicKey<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P> Copy for PublicKey<P> {}
impl<P> PartialEq for PublicKey<P> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<P> Eq for PublicKey<P> {}
impl<P> PartialOrd for PublicKey<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<P> Ord for PublicKey<P> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<P> std::hash::Hash for PublicKey<P> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<P> fmt::Debug for PublicKey<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", super::short(&self.0, 8))
    }
}
impl<P> Wire for PublicKey<P> {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        <[u8; 32]>::from_value(value, field).map(Self::from_bytes)
    }
}

/// A secret key for one purpose. The public half is always derived, never stored beside it.
pub struct SecretKey<P> {
    key: SigningKey,
    purpose: PhantomData<P>,
}

impl<P: Purpose> SecretKey<P> {
    /// The key of these 32 bytes (of randomness, or read from its file).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(seed), purpose: PhantomData }
    }

    /// The bytes to keep; wiped when dropped.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey<P> {
        PublicKey::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// Signs `message` as it is; only the envelope calls this.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl<P: Purpose> Clone for SecretKey<P> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), purpose: PhantomData }
    }
}

impl<P: Purpose> fmt::Debug for SecretKey<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey<{}>(…)", P::NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_keys_are_refused_at_import_and_sign_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::<Operator>::import(identity).unwrap_err(), KeyError::Weak);
        // R is the identity and S is zero: non-strict verification takes this for any message.
        let mut forged = [0; 64];
        forged[0] = 1;
        assert!(!PublicKey::<Operator>::from_bytes(identity).verify(b"anything", &forged));
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert_eq!(PublicKey::<Root>::import(no_point).unwrap_err(), KeyError::NotAPoint);
    }

    #[test]
    fn a_fingerprint_is_the_one_that_openssh_prints() {
        // `ssh-keygen -lf` over the public key of RFC 8032, section 7.1, test 1.
        let key = PublicKey::<Operator>::from_bytes([
            0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
            0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
        ]);
        assert_eq!(key.fingerprint(), "SHA256:bbXpuKG6zhzdmnxq256TlqzFBzRl2f6OOg722cYNbU8");
    }
}
