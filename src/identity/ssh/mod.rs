//! What OpenSSH's keys and signatures look like, as far as an operator's key can be one of them.
//!
//! Decides which bytes such a key signs for us and what a key is called. Always holds: an SSH key signs
//! for us only under our namespace, over one hash and in one form, so that a signature has one encoding
//! here; what it signs to log in anywhere (RFC 4252) or for `git` is none. It knows nothing of agents or
//! files. After OpenSSH's `PROTOCOL.sshsig` and `PROTOCOL.u2f`.
//!
//! **Why a FIDO key goes by a hash.** Everywhere else an operator's key is 32 bytes: in certificates'
//! streams, in what an object says of its signer, in each comparison of the two. An ed25519 key's are its
//! point; those of a key on a FIDO token are the SHA-256 hash over its kind, point and application: what
//! its OpenSSH fingerprint shows. So each of these comparisons also compares kind and application, and
//! none can forget to: the token's point by itself, or under another application, is another key.
//! A field for the kind beside the point, to be compared where the point is, was rejected: a place that
//! forgets it takes a signature by software for one by hardware.

mod format;
mod key;
mod proof;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

pub use format::{FormatError, SshReader, put_string};
pub use key::{APPLICATION_BYTES_MAX, ED25519, OperatorKey, SK_ED25519};
pub use proof::{NAMESPACE, Proof, SkProof, SshSignature, TOUCHED, VERIFIED, sshsig_message};
