//! OpenSSH's own file of a private key (`PROTOCOL.key` of OpenSSH), for ed25519 keys: what `ssh-keygen`
//! makes, and what it puts a passphrase on with `-p`.
//!
//! Decides which of these files are read: one key, without a passphrase or under what `ssh-keygen` does by
//! itself (bcrypt, AES-256 in counter mode). Always holds: a file is read whole or not at all, the public
//! half is derived and compared, nothing is allocated by a length from the file.

use aes::{
    Aes256,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use zeroize::Zeroizing;

use crate::identity::{
    Operator, PublicKey, Purpose, SecretKey,
    ssh::{ED25519, FormatError, OperatorKey, SshReader, armour, put_string, unarmour},
};

const LABEL: &str = "OPENSSH PRIVATE KEY";
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Most rounds of bcrypt that are gone through: `ssh-keygen` takes 16 to 24 by itself, a hundredth of a second each.
const ROUNDS_MAX: u32 = 1024;
const BLOCK: usize = 16;

type Cipher = ctr::Ctr128BE<Aes256>;

/// Why a file in OpenSSH's format gives no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpensshError {
    /// Not such a file, or damaged.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A key of another kind than ed25519 in software.
    #[error("not an ed25519 key")]
    OtherKind,
    /// Locked in a way that is not read.
    #[error("locked by something else than bcrypt and aes256-ctr (ssh-keygen -p -Z aes256-ctr changes that)")]
    OtherLock,
    /// The passphrase does not open it.
    #[error("the passphrase does not open it")]
    Passphrase,
}

/// A file that was read, whose key may still be locked.
#[derive(Clone, Debug)]
pub(super) struct OpensshFile {
    /// The public half, as the file says; the private one must fit it.
    pub(super) public: PublicKey<Operator>,
    lock: Option<Lock>,
    private: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Lock {
    salt: Vec<u8>,
    rounds: u32,
}

/// Whether a text is such a file.
pub(super) fn is_openssh(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----")
}

impl OpensshFile {
    /// Reads a file's text.
    pub(super) fn read(text: &str) -> Result<Self, OpensshError> {
        let bytes = Zeroizing::new(unarmour(LABEL, text.trim())?);
        let mut reader = SshReader::new(&bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(FormatError("not a private key of OpenSSH").into());
        }
        let (cipher, kdf, options) = (reader.string()?, reader.string()?, reader.string()?);
        if reader.number()? != 1 {
            return Err(FormatError("not one key").into());
        }
        let public = reader.string()?;
        let private = Zeroizing::new(reader.string()?.to_vec());
        reader.end()?;
        let lock = match (cipher, kdf) {
            (b"none", b"none") if options.is_empty() => None,
            (b"aes256-ctr", b"bcrypt") => {
                let mut options = SshReader::new(options);
                let (salt, rounds) = (options.string()?.to_vec(), options.number()?);
                options.end()?;
                if salt.is_empty() || rounds == 0 || rounds > ROUNDS_MAX {
                    return Err(OpensshError::OtherLock);
                }
                Some(Lock { salt, rounds })
            }
            _ => return Err(OpensshError::OtherLock),
        };
        if private.is_empty() || !private.len().is_multiple_of(if lock.is_some() { BLOCK } else { 8 }) {
            return Err(FormatError("not of whole blocks").into());
        }
        let Some(OperatorKey::Ed25519(public)) = OperatorKey::from_blob(public)? else {
            return Err(OpensshError::OtherKind);
        };
        Ok(Self { public, lock, private })
    }

    /// Whether it takes a passphrase.
    pub(super) fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// The key; `passphrase` is not looked at where there is none.
    pub(super) fn unlock<P: Purpose>(&self, passphrase: &[u8]) -> Result<SecretKey<P>, OpensshError> {
        let mut private = self.private.clone();
        if let Some(Lock { salt, rounds }) = &self.lock {
            let mut secret = Zeroizing::new([0; 48]);
            bcrypt_pbkdf::bcrypt_pbkdf(passphrase, salt, *rounds, &mut *secret)
                .map_err(|_| OpensshError::Passphrase)?;
            let (key, start) = secret.split_at(32);
            Cipher::new_from_slices(key, start)
                .map_err(|_| OpensshError::Passphrase)?
                .apply_keystream(&mut private);
        }
        let mut reader = SshReader::new(&private);
        // The same number twice: that the passphrase was right.
        if reader.number()? != reader.number()? {
            return Err(if self.is_locked() {
                OpensshError::Passphrase
            } else {
                FormatError("it is damaged").into()
            });
        }
        reader.expect(ED25519)?;
        let public = reader.string_of::<32>()?;
        let pair = Zeroizing::new(reader.string_of::<64>()?);
        let _comment = reader.string()?;
        let padding = reader.rest();
        let (seed, twice) = pair.split_at(32);
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| FormatError("it is damaged"))?);
        let key = SecretKey::<P>::from_seed(&seed);
        let padded = padding.iter().zip(1..=u8::MAX).all(|(is, wanted)| *is == wanted);
        let fits = key.public().bytes() == public && public == *twice && public == self.public.bytes();
        if padded && padding.len() < BLOCK && fits {
            Ok(key)
        } else {
            Err(FormatError("it is damaged").into())
        }
    }
}

/// The text of a key without a passphrase; `check` is any number.
pub(super) fn write<P: Purpose>(key: &SecretKey<P>, comment: &str, check: u32) -> Zeroizing<String> {
    let public = key.public().bytes();
    let mut blob = Vec::new();
    put_string(&mut blob, ED25519);
    put_string(&mut blob, &public);
    let mut private = Zeroizing::new(Vec::with_capacity(256 + comment.len()));
    private.extend_from_slice(&check.to_be_bytes());
    private.extend_from_slice(&check.to_be_bytes());
    put_string(&mut private, ED25519);
    put_string(&mut private, &public);
    let mut pair = Zeroizing::new([0; 64]);
    let (seed, twice) = pair.split_at_mut(32);
    seed.copy_from_slice(&*key.seed());
    twice.copy_from_slice(&public);
    put_string(&mut private, &*pair);
    put_string(&mut private, comment.as_bytes());
    for byte in 1..=u8::MAX {
        if private.len().is_multiple_of(8) {
            break;
        }
        private.push(byte);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(512 + comment.len()));
    bytes.extend_from_slice(MAGIC);
    put_string(&mut bytes, b"none");
    put_string(&mut bytes, b"none");
    put_string(&mut bytes, b"");
    bytes.extend_from_slice(&1_u32.to_be_bytes());
    put_string(&mut bytes, &blob);
    put_string(&mut bytes, &private);
    Zeroizing::new(armour(LABEL, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By OpenSSH 9.2, for this test alone: `ssh-keygen -t ed25519`, without and with a passphrase.
    const PLAIN: &str = include_str!("openssh-plain.key");
    const LOCKED: &str = include_str!("openssh-locked.key");
    const PASSPHRASE: &[u8] = b"not a secret";

    #[test]
    fn a_key_of_ssh_keygen_is_read_and_written_back() {
        let file = OpensshFile::read(PLAIN).unwrap();
        assert!(!file.is_locked() && is_openssh(PLAIN));
        let key = file.unlock::<Operator>(b"").unwrap();
        assert_eq!(key.public(), file.public);
        let check = u32::from_be_bytes(file.private[..4].try_into().unwrap());
        assert_eq!(*write(&key, "test key of muster", check), PLAIN);
    }

    #[test]
    fn a_passphrase_opens_what_ssh_keygen_locked_and_no_other_does() {
        let file = OpensshFile::read(LOCKED).unwrap();
        assert!(file.is_locked());
        assert_eq!(file.unlock::<Operator>(PASSPHRASE).unwrap().public(), file.public);
        for wrong in [&b""[..], b"not a secreT", b"not a secret "] {
            assert_eq!(file.unlock::<Operator>(wrong).unwrap_err(), OpensshError::Passphrase);
        }
    }

    #[test]
    fn a_damaged_file_gives_no_key() {
        for text in [PLAIN, LOCKED] {
            for at in 0..text.trim_end().len() {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] ^= 1;
                let Ok(damaged) = String::from_utf8(bytes) else { continue };
                let Ok(file) = OpensshFile::read(&damaged) else { continue };
                // Bcrypt takes its time; what is locked is looked at in part.
                if !file.is_locked() || at % 97 == 0 {
                    let read = file.unlock::<Operator>(PASSPHRASE).map(|key| key.public());
                    // The comment and the second of the two check numbers' likes protect nothing.
                    assert!(read.is_err() || read == Ok(OpensshFile::read(text).unwrap().public), "at {at}");
                }
                assert!(OpensshFile::read(&text[..at]).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn another_public_half_than_the_private_one_has_is_found() {
        let mut file = OpensshFile::read(PLAIN).unwrap();
        file.public = SecretKey::<Operator>::from_seed(&[1; 32]).public();
        assert!(file.unlock::<Operator>(b"").is_err());
    }
}
