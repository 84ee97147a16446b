//! The one envelope of every signed object, shaped after COSE (RFC 9052, section 4.4: what is signed
//! names its context) and narrowed to arrays.
//!
//! ```text
//! envelope  = [ signed: bytes, signatures: [ [kind, key, proof], … ] ]
//! signed    = [ "muster", type, version, fleet, signer | null, body ]
//! proof     = signature: bytes                                       kind 0, 1
//!           | [ point, application, flags, counter, signature ]      kind 2
//! ```
//!
//! The signature is over the `signed` bytes as they are; the id is a keyed hash of the same bytes. A
//! [`Signed`] object names its one signer inside the signed bytes; a [`Cosigned`] one (root chain
//! updates) carries any number of independent signatures, so `signer` is null.

use std::{fmt, sync::Arc};

use super::{
    EntryId, FleetId, Operator, PublicKey, Purpose, Root, SecretKey, count_verification,
    ssh::{Proof, SshSignature, sshsig_message},
};
use crate::wire::{self, Bytes, Fields, Value, Wire, WireError};

/// The first item of all that is signed: no other program's signature can be mistaken for ours.
pub const CONTEXT: &str = "muster";
/// Longest envelope of any kind, in bytes; kinds have lower limits of their own.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
/// Most signatures under one object.
const SIGNATURES_MAX: usize = 16;

/// The kinds of signed objects. A number is given once and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Kind {
    /// An update of the root chain.
    Root = 1,
    /// An op in an operator's stream.
    Op = 2,
    /// What a join token stands for.
    Invitation = 3,
    /// What a joiner says of itself, signed by the token's key.
    Enrolment = 4,
    /// A host's certificate: entry 0 of its stream.
    Host = 5,
    /// A host's newest snapshot.
    Head = 6,
    /// A command.
    Order = 7,
    /// The end of an order before its time.
    Cancellation = 8,
    /// What came of an order on one host.
    Result = 9,
    /// A command line's transport key, vouched for.
    Card = 10,
    /// The right to read an order's output, used.
    Read = 11,
    /// A host's last entry: it left.
    Departure = 12,
    /// A keeper's word that it has results.
    Receipt = 13,
    /// The stop of a person, a key, a certificate, a host or a token.
    Suspension = 14,
    /// The stop of everything on some hosts.
    Halt = 15,
    /// A certificate that is passed on.
    Grant = 16,
    /// One record of a host's audit chain.
    AuditRecord = 18,
    /// What a host asks that has no link to its fleet; a file.
    Request = 20,
    /// An operator's word about a host that waits.
    Admission = 21,
}

impl Kind {
    /// The kind with this number.
    pub fn of(number: u16) -> Option<Self> {
        [
            Self::Root,
            Self::Op,
            Self::Invitation,
            Self::Enrolment,
            Self::Host,
            Self::Head,
            Self::Order,
            Self::Cancellation,
            Self::Result,
            Self::Card,
            Self::Read,
            Self::Departure,
            Self::Receipt,
            Self::Suspension,
            Self::Halt,
            Self::Grant,
            Self::AuditRecord,
            Self::Request,
            Self::Admission,
        ]
        .into_iter()
        .find(|kind| *kind as u16 == number)
    }
}

/// How a signature was made. The first is taken of every key, the others of persons' keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SignatureKind {
    /// ed25519 over the signed bytes.
    Ed25519 = 0,
    /// ed25519 over what SSHSIG makes of the signed bytes: by an SSH agent.
    Sshsig = 1,
    /// By a FIDO token, `sk-ssh-ed25519`, over the same; the key goes by a hash (see [`super::ssh`]).
    SkEd25519 = 2,
}

/// What can stand in the envelope.
pub trait Payload: Wire {
    /// Its kind.
    const KIND: Kind;
    /// The version of its meaning; a new one is a new meaning, not a new field.
    const VERSION: u16 = 1;
    /// Longest envelope, in bytes.
    const BYTES_MAX: usize;
    /// What the signing key is for.
    type Signer: Purpose;
}

/// Why an envelope is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// The bytes are not an envelope, or its body is not of its kind.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Signed by some other program, or not an envelope of ours at all.
    #[error("not signed for muster")]
    Context,
    /// Another kind of object than is wanted here, or an unknown one.
    #[error("a signed object of kind {found}, where {wanted:?} is wanted")]
    WrongKind {
        /// The number that was found.
        found: u16,
        /// What was wanted.
        wanted: Kind,
    },
    /// A version that this build does not know.
    #[error("{kind:?} of version {version} is from a newer muster")]
    Version {
        /// Its kind.
        kind: Kind,
        /// Its version.
        version: u16,
    },
    /// Signed for another fleet.
    #[error("signed for another fleet ({found})")]
    WrongFleet {
        /// The fleet it names.
        found: FleetId,
    },
    /// A kind of signature that this build does not take.
    #[error("signature kind {0} is not taken")]
    SignatureKind(u64),
    /// The signature is not that of the named signer over these bytes.
    #[error("the signature does not match")]
    BadSignature,
    /// A FIDO token signed, and says itself that nobody touched it.
    #[error("nobody touched the token that signed")]
    Untouched,
    /// No signature, one where many are wanted, or the other way round.
    #[error("the wrong number of signatures")]
    SignatureCount,
}

struct OneSignature {
    key: [u8; 32],
    proof: AnyProof,
}

enum AnyProof {
    Known(Proof),
    /// Of a kind from a newer version, as it came.
    Other(u64, Value),
}

impl AnyProof {
    fn kind(&self) -> u64 {
        match self {
            Self::Known(Proof::Ed25519(_)) => SignatureKind::Ed25519 as u64,
            Self::Known(Proof::Sshsig(_)) => SignatureKind::Sshsig as u64,
            Self::Known(Proof::SkEd25519(_)) => SignatureKind::SkEd25519 as u64,
            Self::Other(kind, _) => *kind,
        }
    }
}

// Closed: nothing signs what would stand behind it. Each kind has one form, so a proof has one encoding.
impl Wire for OneSignature {
    fn to_value(&self) -> Value {
        let proof = match &self.proof {
            AnyProof::Known(Proof::Ed25519(signature) | Proof::Sshsig(signature)) => signature.to_value(),
            AnyProof::Known(Proof::SkEd25519(proof)) => proof.to_value(),
            AnyProof::Other(_, value) => value.clone(),
        };
        Value::Array(vec![self.proof.kind().to_value(), self.key.to_value(), proof])
    }

    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let mut fields = Fields::of(value, field)?;
        let (kind, key) = (fields.next("OneSignature.kind")?, fields.next("OneSignature.key")?);
        let field = "OneSignature.proof";
        let proof = match kind {
            0 => AnyProof::Known(Proof::Ed25519(fields.next(field)?)),
            1 => AnyProof::Known(Proof::Sshsig(fields.next(field)?)),
            2 => AnyProof::Known(Proof::SkEd25519(fields.next(field)?)),
            _ => AnyProof::Other(kind, fields.next::<Generic>(field)?.0),
        };
        fields.finish_closed("OneSignature")?;
        Ok(Self { key, proof })
    }
}

struct Envelope {
    signed: Bytes,
    signatures: Vec<OneSignature>,
}
crate::wire_record!(Envelope closed { signed, signatures });

/// What an envelope says of itself, read without checking any signature: enough to pass over what is
/// already held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The object's id.
    pub id: EntryId,
    /// Its kind's number.
    pub kind: u16,
    /// Its version.
    pub version: u16,
    /// The fleet it is for; none for a genesis.
    pub fleet: FleetId,
    /// Who claims to have signed it; none if cosigned.
    pub signer: Option<[u8; 32]>,
}

fn id_of(signed: &[u8]) -> EntryId {
    EntryId(*blake3::Hasher::new_derive_key("muster/entry/v1").update(signed).finalize().as_bytes())
}

fn signed_bytes<T: Payload>(fleet: FleetId, signer: Option<[u8; 32]>, body: &T) -> Vec<u8> {
    generic_bytes::<T>(fleet, signer, body.to_value())
}

fn generic_bytes<T: Payload>(fleet: FleetId, signer: Option<[u8; 32]>, body: Value) -> Vec<u8> {
    let parts = Value::Array(vec![
        Value::from(CONTEXT),
        Value::from(T::KIND as u16),
        Value::from(T::VERSION),
        fleet.to_value(),
        signer.to_value(),
        body,
    ]);
    wire::encode(&Generic(parts))
}

struct Generic(Value);
impl Wire for Generic {
    fn to_value(&self) -> Value {
        self.0.clone()
    }
    fn from_value(value: Value, _: &'static str) -> Result<Self, WireError> {
        Ok(Self(value))
    }
}

fn open(bytes: &[u8], bytes_max: usize) -> Result<(Header, Value, Envelope), SignedError> {
    let envelope: Envelope = wire::decode(bytes, bytes_max)?;
    let value = wire::canonical(&envelope.signed.0, bytes_max)?;
    let mut fields = Fields::of(value, "signed")?;
    let context: String = fields.next("signed.context").map_err(|_| SignedError::Context)?;
    if context != CONTEXT {
        return Err(SignedError::Context);
    }
    let header = Header {
        id: id_of(&envelope.signed.0),
        kind: fields.next("signed.type")?,
        version: fields.next("signed.version")?,
        fleet: fields.next("signed.fleet")?,
        signer: fields.next("signed.signer")?,
    };
    let body: Generic = fields.next("signed.body")?;
    fields.finish_closed("signed")?;
    Ok((header, body.0, envelope))
}

/// Reads what an envelope says of itself. Checks its form, not its signature.
///
/// # Errors
/// When the bytes are not an envelope of ours.
pub fn peek(bytes: &[u8]) -> Result<Header, SignedError> {
    open(bytes, ENVELOPE_BYTES_MAX).map(|(header, ..)| header)
}

fn check_header<T: Payload>(header: &Header, fleet: FleetId) -> Result<(), SignedError> {
    if header.kind != T::KIND as u16 {
        return Err(SignedError::WrongKind { found: header.kind, wanted: T::KIND });
    }
    if header.version != T::VERSION {
        return Err(SignedError::Version { kind: T::KIND, version: header.version });
    }
    if header.fleet != fleet {
        return Err(SignedError::WrongFleet { found: header.fleet });
    }
    Ok(())
}

/// Whether a key for `P` may sign in this way at all.
fn check_kind<P: Purpose>(one: &OneSignature) -> Result<&Proof, SignedError> {
    match &one.proof {
        AnyProof::Known(proof @ Proof::Ed25519(_)) => Ok(proof),
        AnyProof::Known(proof @ Proof::Sshsig(_)) if P::SIGNS_BY_SSH => Ok(proof),
        AnyProof::Known(proof @ Proof::SkEd25519(_)) if P::ON_TOKEN => Ok(proof),
        other => Err(SignedError::SignatureKind(other.kind())),
    }
}

fn check_signature<P: Purpose>(
    kind: Kind,
    signed: &[u8],
    one: &OneSignature,
) -> Result<PublicKey<P>, SignedError> {
    let proof = check_kind::<P>(one)?;
    count_verification(kind as u16);
    let key = PublicKey::from_bytes(one.key);
    let good = match proof {
        Proof::Ed25519(signature) => key.verify(signed, signature),
        Proof::Sshsig(signature) => key.verify(&sshsig_message(signed), signature),
        Proof::SkEd25519(proof) => {
            // The name binds kind, point and application: another application is another key.
            let named = proof.name().is_some_and(|name| name.bytes() == one.key);
            if named && !proof.is_touched() {
                return Err(SignedError::Untouched);
            }
            named && proof.verify(signed)
        }
    };
    if good { Ok(key) } else { Err(SignedError::BadSignature) }
}

/// The signature of an envelope by an operator, in OpenSSH's form; `None` if it was not made by way of SSH. It
/// is not checked.
///
/// # Errors
/// When the bytes are not an envelope under one signature.
pub fn ssh_signature(bytes: &[u8]) -> Result<Option<SshSignature>, SignedError> {
    let (_, _, envelope) = open(bytes, ENVELOPE_BYTES_MAX)?;
    let [one] = envelope.signatures.as_slice() else { return Err(SignedError::SignatureCount) };
    let proof = check_kind::<Operator>(one)?;
    Ok(SshSignature::of(&envelope.signed.0, PublicKey::from_bytes(one.key), proof))
}

/// An object whose one signature was checked over the bytes as received. Says who said it, not
/// whether they may.
#[derive(Clone)]
pub struct Signed<T: Payload> {
    bytes: Arc<[u8]>,
    id: EntryId,
    signer: PublicKey<T::Signer>,
    body: T,
}

impl<T: Payload> Signed<T> {
    /// Signs `body` for `fleet`.
    pub fn sign(fleet: FleetId, key: &SecretKey<T::Signer>, body: T) -> Self {
        let public = key.public();
        let signed = signed_bytes(fleet, Some(public.bytes()), &body);
        let signature = key.sign(&signed);
        let id = id_of(&signed);
        let one = OneSignature { key: public.bytes(), proof: AnyProof::Known(Proof::Ed25519(signature)) };
        let bytes = wire::encode(&Envelope { signed: Bytes(signed), signatures: vec![one] });
        Self { bytes: bytes.into(), id, signer: public, body }
    }

    /// Has `body` signed for `fleet` by the key that goes by `signer`, wherever that is: `prove` gets the bytes
    /// to sign. What it gives is believed no more than what came from elsewhere.
    ///
    /// # Errors
    /// What `prove` fails with, and [`SignedError`] when what it gave is not `signer`'s signature over these
    /// bytes.
    pub fn sign_by<E: From<SignedError>>(
        fleet: FleetId,
        signer: PublicKey<T::Signer>,
        body: T,
        prove: impl FnOnce(&[u8]) -> Result<Proof, E>,
    ) -> Result<Self, E> {
        let signed = signed_bytes(fleet, Some(signer.bytes()), &body);
        let one = OneSignature { key: signer.bytes(), proof: AnyProof::Known(prove(&signed)?) };
        check_signature::<T::Signer>(T::KIND, &signed, &one)?;
        let id = id_of(&signed);
        let bytes = wire::encode(&Envelope { signed: Bytes(signed), signatures: vec![one] });
        Ok(Self { bytes: bytes.into(), id, signer, body })
    }

    /// `body` as it will be once `signer` has signed it, for a look ahead: its bytes bear no signature and verify
    /// nowhere.
    // A command line's alone, like `again`.
    #[cfg(feature = "agent")]
    pub(crate) fn foreseen(fleet: FleetId, signer: PublicKey<T::Signer>, body: T) -> Self {
        let signed = signed_bytes(fleet, Some(signer.bytes()), &body);
        let id = id_of(&signed);
        let bytes = wire::encode(&Envelope { signed: Bytes(signed), signatures: Vec::new() });
        Self { bytes: bytes.into(), id, signer, body }
    }

    /// Checks received bytes: length, form, kind, version, fleet, then the signature, then the body.
    ///
    /// # Errors
    /// See [`SignedError`]; the cheapest check that fails is named.
    pub fn verify(bytes: &[u8], fleet: FleetId) -> Result<Self, SignedError> {
        let (header, body, envelope) = open(bytes, T::BYTES_MAX)?;
        check_header::<T>(&header, fleet)?;
        let [one] = envelope.signatures.as_slice() else { return Err(SignedError::SignatureCount) };
        if header.signer != Some(one.key) {
            return Err(SignedError::BadSignature);
        }
        let signer = check_signature(T::KIND, &envelope.signed.0, one)?;
        let body = T::from_value(body, "body")?;
        Ok(Self { bytes: bytes.into(), id: header.id, signer, body })
    }

    /// Reads an envelope of which this very run of bytes was verified before, by whoever calls, for the same
    /// fleet: all of [`Signed::verify`] but the signature. Who calls answers for that.
    ///
    /// # Errors
    /// As [`Signed::verify`].
    // A command line's alone: without it no signature goes unchecked.
    #[cfg(feature = "agent")]
    pub(crate) fn again(bytes: &[u8], fleet: FleetId) -> Result<Self, SignedError> {
        let (header, body, envelope) = open(bytes, T::BYTES_MAX)?;
        check_header::<T>(&header, fleet)?;
        let [one] = envelope.signatures.as_slice() else { return Err(SignedError::SignatureCount) };
        if header.signer != Some(one.key) {
            return Err(SignedError::BadSignature);
        }
        check_kind::<T::Signer>(one)?;
        let body = T::from_value(body, "body")?;
        Ok(Self { bytes: bytes.into(), id: header.id, signer: PublicKey::from_bytes(one.key), body })
    }

    /// Takes an envelope apart without checking its signature: its body as it stands there, and the signature
    /// bytes. What [`Signed::joined`] makes of these and of the signer is the envelope again; where it would not
    /// be (another kind, version or fleet, or a signature of another kind), it is refused.
    ///
    /// # Errors
    /// As [`Signed::verify`], but for the signature and what the body says.
    pub(crate) fn apart(bytes: &[u8], fleet: FleetId) -> Result<(Value, [u8; 64]), SignedError> {
        let (header, body, envelope) = open(bytes, T::BYTES_MAX)?;
        check_header::<T>(&header, fleet)?;
        let [one] = envelope.signatures.as_slice() else { return Err(SignedError::SignatureCount) };
        let AnyProof::Known(Proof::Ed25519(signature)) = &one.proof else {
            return Err(SignedError::SignatureKind(one.proof.kind()));
        };
        Ok((body, *signature))
    }

    /// An envelope out of its parts, as bytes. It says nothing of whether the signature matches.
    pub(crate) fn joined(
        fleet: FleetId,
        signer: PublicKey<T::Signer>,
        body: Value,
        signature: [u8; 64],
    ) -> Vec<u8> {
        let key = signer.bytes();
        let signed = Bytes(generic_bytes::<T>(fleet, Some(key), body));
        let one = OneSignature { key, proof: AnyProof::Known(Proof::Ed25519(signature)) };
        wire::encode(&Envelope { signed, signatures: vec![one] })
    }

    /// Reads the body of an envelope that this process made itself, or verified before and kept. Checks
    /// no signature: not for anything that came from elsewhere.
    ///
    /// # Errors
    /// When the bytes are not such an envelope.
    pub fn own(bytes: &[u8]) -> Result<T, SignedError> {
        let (_, body, _) = open(bytes, T::BYTES_MAX)?;
        Ok(T::from_value(body, "body")?)
    }

    /// The envelope as received or made.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, shared.
    pub fn shared_bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    /// The object's id.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// Whose signature it bears.
    pub fn signer(&self) -> PublicKey<T::Signer> {
        self.signer
    }

    /// What was said.
    pub fn body(&self) -> &T {
        &self.body
    }
}

impl<T: Payload + fmt::Debug> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("id", &self.id).field("body", &self.body).finish_non_exhaustive()
    }
}

impl<T: Payload> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// An object under any number of independent root signatures. Those that match were counted; whether
/// they are enough is for the root chain to say.
#[derive(Clone)]
pub struct Cosigned<T: Payload> {
    bytes: Arc<[u8]>,
    id: EntryId,
    signers: Vec<PublicKey<Root>>,
    body: T,
}

impl<T: Payload<Signer = Root>> Cosigned<T> {
    /// Signs `body` with every key of `keys`. A genesis is for no fleet yet: `fleet` is all zeros.
    pub fn sign(fleet: FleetId, keys: &[&SecretKey<Root>], body: T) -> Self {
        let signed = signed_bytes(fleet, None, &body);
        let mut signatures: Vec<_> = keys
            .iter()
            .map(|key| OneSignature {
                key: key.public().bytes(),
                proof: AnyProof::Known(Proof::Ed25519(key.sign(&signed))),
            })
            .collect();
        signatures.sort_by_key(|one| one.key);
        let mut signers: Vec<_> = signatures.iter().map(|one| PublicKey::from_bytes(one.key)).collect();
        signers.dedup();
        let id = id_of(&signed);
        let bytes = wire::encode(&Envelope { signed: Bytes(signed), signatures });
        Self { bytes: bytes.into(), id, signers, body }
    }

    /// The same object with the signatures of `keys` beside those that it bears. A key signs once.
    #[must_use]
    pub fn also_by(self, keys: &[&SecretKey<Root>]) -> Self {
        let Ok(mut envelope) = wire::decode::<Envelope>(&self.bytes, T::BYTES_MAX) else { return self };
        for key in keys.iter().filter(|key| !self.signers.contains(&key.public())) {
            let proof = AnyProof::Known(Proof::Ed25519(key.sign(&envelope.signed.0)));
            envelope.signatures.push(OneSignature { key: key.public().bytes(), proof });
        }
        envelope.signatures.sort_by_key(|one| one.key);
        let signers = envelope.signatures.iter().map(|one| PublicKey::from_bytes(one.key)).collect();
        Self { bytes: wire::encode(&envelope).into(), signers, ..self }
    }

    /// Checks received bytes; every signature must match, and a key counts once.
    ///
    /// # Errors
    /// See [`SignedError`].
    pub fn verify(bytes: &[u8], fleet: FleetId) -> Result<Self, SignedError> {
        let (header, body, envelope) = open(bytes, T::BYTES_MAX)?;
        check_header::<T>(&header, fleet)?;
        if header.signer.is_some()
            || envelope.signatures.is_empty()
            || envelope.signatures.len() > SIGNATURES_MAX
        {
            return Err(SignedError::SignatureCount);
        }
        let mut signers = Vec::with_capacity(envelope.signatures.len());
        for one in &envelope.signatures {
            signers.push(check_signature(T::KIND, &envelope.signed.0, one)?);
        }
        if !signers.is_sorted_by(|a, b| a < b) {
            return Err(SignedError::SignatureCount);
        }
        let body = T::from_value(body, "body")?;
        Ok(Self { bytes: bytes.into(), id: header.id, signers, body })
    }

    /// The envelope as received or made.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, shared.
    pub fn shared_bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    /// The object's id.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// Whose signatures it bears, each key once, in order.
    pub fn signers(&self) -> &[PublicKey<Root>] {
        &self.signers
    }

    /// What was said.
    pub fn body(&self) -> &T {
        &self.body
    }
}

impl<T: Payload + fmt::Debug> fmt::Debug for Cosigned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cosigned").field("id", &self.id).field("body", &self.body).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::{Operator, Token},
        wire_record,
    };

    #[derive(Clone, Debug, PartialEq)]
    struct Say {
        word: String,
    }
    wire_record!(Say { word });
    impl Payload for Say {
        const KIND: Kind = Kind::Order;
        const BYTES_MAX: usize = 1024;
        type Signer = Operator;
    }
    #[derive(Debug)]
    struct Other {
        word: String,
    }
    wire_record!(Other { word });
    impl Payload for Other {
        const KIND: Kind = Kind::Cancellation;
        const BYTES_MAX: usize = 1024;
        type Signer = Operator;
    }
    #[derive(Debug)]
    struct Rule {
        word: String,
    }
    wire_record!(Rule { word });
    impl Payload for Rule {
        const KIND: Kind = Kind::Root;
        const BYTES_MAX: usize = 4096;
        type Signer = Root;
    }

    const FLEET: FleetId = FleetId([7; 32]);

    fn key() -> SecretKey<Operator> {
        SecretKey::from_seed(&[1; 32])
    }

    #[test]
    fn what_was_signed_verifies_and_nothing_else_does() {
        let made = Signed::sign(FLEET, &key(), Say { word: "hi".into() });
        let read = Signed::<Say>::verify(made.bytes(), FLEET).unwrap();
        assert_eq!((read.id(), read.signer(), read.body()), (made.id(), key().public(), made.body()));
        assert_eq!(peek(made.bytes()).unwrap().id, made.id());

        let other_fleet = FleetId([8; 32]);
        assert_eq!(
            Signed::<Say>::verify(made.bytes(), other_fleet).unwrap_err(),
            SignedError::WrongFleet { found: FLEET }
        );
        assert_eq!(
            Signed::<Other>::verify(made.bytes(), FLEET).unwrap_err(),
            SignedError::WrongKind { found: 7, wanted: Kind::Cancellation }
        );
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_accepted() {
        let made = Signed::sign(FLEET, &key(), Say { word: "hi".into() });
        for at in 0..made.bytes().len() {
            for bit in 0..8 {
                let mut bytes = made.bytes().to_vec();
                bytes[at] ^= 1 << bit;
                assert!(Signed::<Say>::verify(&bytes, FLEET).is_err(), "bit {bit} of byte {at}");
            }
            assert!(Signed::<Say>::verify(&made.bytes()[..at], FLEET).is_err(), "cut at {at}");
        }
        let mut longer = made.bytes().to_vec();
        longer.push(0);
        assert!(Signed::<Say>::verify(&longer, FLEET).is_err());
    }

    #[test]
    fn a_signature_cannot_move_to_another_object_or_signer() {
        let a = Signed::sign(FLEET, &key(), Say { word: "a".into() });
        let b = Signed::sign(FLEET, &key(), Say { word: "b".into() });
        let mut of_a: Envelope = wire::decode(a.bytes(), 1024).unwrap();
        let of_b: Envelope = wire::decode(b.bytes(), 1024).unwrap();
        of_a.signatures = of_b.signatures;
        assert_eq!(
            Signed::<Say>::verify(&wire::encode(&of_a), FLEET).unwrap_err(),
            SignedError::BadSignature
        );
        // Another key's good signature over bytes that name the first signer.
        let thief = SecretKey::<Operator>::from_seed(&[2; 32]);
        let mut stolen: Envelope = wire::decode(a.bytes(), 1024).unwrap();
        let signature = thief.sign(&stolen.signed.0);
        stolen.signatures = vec![OneSignature {
            key: thief.public().bytes(),
            proof: AnyProof::Known(Proof::Ed25519(signature)),
        }];
        assert_eq!(
            Signed::<Say>::verify(&wire::encode(&stolen), FLEET).unwrap_err(),
            SignedError::BadSignature
        );
    }

    #[test]
    fn a_signature_of_an_unknown_kind_is_not_taken_and_is_read_as_newer() {
        let made = Signed::sign(FLEET, &key(), Say { word: "a".into() });
        for proof in [Value::Null, Value::Bytes(vec![0; 64]), Value::Array(vec![])] {
            let mut envelope: Envelope = wire::decode(made.bytes(), 1024).unwrap();
            envelope.signatures[0].proof = AnyProof::Other(9, proof);
            let bytes = wire::encode(&envelope);
            assert_eq!(Signed::<Say>::verify(&bytes, FLEET).unwrap_err(), SignedError::SignatureKind(9));
            assert_eq!(peek(&bytes).unwrap().id, made.id());
        }
    }

    #[test]
    fn a_root_may_sign_by_ssh_and_counts_as_the_same_key() {
        let (a, b) = (SecretKey::<Root>::from_seed(&[3; 32]), SecretKey::<Root>::from_seed(&[4; 32]));
        let made = Cosigned::sign(FLEET, &[&a, &b], Rule { word: "r".into() });
        let mut envelope: Envelope = wire::decode(made.bytes(), 1024).unwrap();
        let by_ssh = |key: &SecretKey<Root>, signed: &[u8]| OneSignature {
            key: key.public().bytes(),
            proof: AnyProof::Known(Proof::Sshsig(key.sign(&sshsig_message(signed)))),
        };
        let signed = envelope.signed.0.clone();
        envelope.signatures = vec![by_ssh(&a, &signed), by_ssh(&b, &signed)];
        envelope.signatures.sort_by_key(|one| one.key);
        let read = Cosigned::<Rule>::verify(&wire::encode(&envelope), FLEET).unwrap();
        assert_eq!((read.id(), read.signers()), (made.id(), made.signers()));
        envelope.signatures = vec![by_ssh(&a, &signed)];
        envelope.signatures.extend(wire::decode::<Envelope>(made.bytes(), 1024).unwrap().signatures);
        envelope.signatures.sort_by_key(|one| one.key);
        let twice = Cosigned::<Rule>::verify(&wire::encode(&envelope), FLEET).unwrap_err();
        assert_eq!(twice, SignedError::SignatureCount, "one key in two ways counts once");
    }

    #[test]
    fn a_key_counts_once_under_a_cosigned_object() {
        let (a, b) = (SecretKey::<Root>::from_seed(&[3; 32]), SecretKey::<Root>::from_seed(&[4; 32]));
        let made = Cosigned::sign(FLEET, &[&a, &b], Rule { word: "r".into() });
        let read = Cosigned::<Rule>::verify(made.bytes(), FLEET).unwrap();
        assert_eq!(read.signers().len(), 2);
        assert_eq!(read.body().word, "r");
        let twice = Cosigned::sign(FLEET, &[&a, &a], Rule { word: "r".into() });
        assert_eq!(Cosigned::<Rule>::verify(twice.bytes(), FLEET).unwrap_err(), SignedError::SignatureCount);
        assert_eq!(made.id(), twice.id(), "an id leaves the signatures out");
        let _ = SecretKey::<Token>::from_seed(&[5; 32]);
    }
}
