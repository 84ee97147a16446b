//! Who is who, and who said what: ids, keys by purpose, the one envelope of every signed object, and
//! the join token.
//!
//! Decides whether bytes were signed, under strict verification (RFC 8032 with the checks of
//! `verify_strict`; Chalkias et al., "Taming the many `EdDSAs`"), for exactly this type, version and
//! fleet. Always holds: what is verified are the bytes as received, an id does not depend on the
//! signature, and no bytes are valid as two types or in two fleets. It knows nothing of rights: that a
//! key signed something says nothing about whether it may.

mod base64;
mod ids;
mod keys;
mod signed;
pub mod ssh;
mod token;
mod words;

pub use ids::{EntryId, FleetId, HostId, StreamId, WriterId, short};
#[cfg(test)]
pub use keys::verifications_here;
pub use keys::{
    Executor, KeyError, Operator, PublicKey, Purpose, Root, SealPublic, SecretKey, Stream, Token, Transport,
    count_verification, is_development_key, verifications,
};
pub use signed::{
    CONTEXT, Cosigned, ENVELOPE_BYTES_MAX, Header, Kind, Payload, SignatureKind, Signed, SignedError, peek,
    ssh_signature,
};
pub use token::{JoinToken, TOKEN_ADDRESSES_MAX, TokenError};
pub use words::words;
