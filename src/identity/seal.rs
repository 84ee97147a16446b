//! Seals: bytes that the holder of one X25519 key can read, and nobody in between.
//!
//! By RFC 9180 in its base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. A seal does not say
//! who made it, so what is sealed stands in, or is named by hash in, something that was signed; and everything
//! is sealed for one use ([`Seal`]) in one fleet about one thing: opened for another, it is refused. Randomness
//! is an argument: 32 bytes a seal, never used again.

use std::{convert::Infallible, fmt};

use curve25519_dalek::MontgomeryPoint;
use hpke::{
    Deserializable as _, OpModeR, OpModeS, Serializable as _,
    aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305},
    kdf::HkdfSha256,
    kem::{Kem, X25519HkdfSha256},
    rand_core::{TryCryptoRng, TryRng},
    setup_receiver, setup_sender_with_rng,
};
use zeroize::Zeroizing;

use super::FleetId;
use crate::wire::{Value, Wire, WireError};

/// Bytes by which a seal is longer than what is in it: the encapsulated key, and the tag.
pub const SEAL_BYTES: usize = ENCAPSULATED_BYTES + TAG_BYTES;
const ENCAPSULATED_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Most bytes in one piece of a sealed stream; a longer one is no piece.
pub const PIECE_BYTES_MAX: usize = 256 * 1024;
/// How long the length in front of a piece is.
const LENGTH_BYTES: usize = 4;

/// What is in a seal: one use, one name, so that nothing is read as what it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// The key to an order's command, for one host.
    Stanza,
    /// An order's command.
    Command,
    /// What is shipped beside an order.
    Shipped,
    /// What a command wrote.
    Output,
    /// Nothing: a key tries itself.
    Test,
}

impl Seal {
    fn info(self, fleet: &FleetId) -> Vec<u8> {
        let name = match self {
            Self::Stanza => "stanza",
            Self::Command => "command",
            Self::Shipped => "shipped",
            Self::Output => "output",
            Self::Test => "test",
        };
        [b"muster/seal/v1/", name.as_bytes(), b"/", &fleet.0].concat()
    }
}

/// Why something cannot be sealed or read. Nothing of it was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A public key of small order: what is sealed to it, everybody can read.
    #[error("not a key that anything can be sealed to")]
    Weak,
    /// Sealed to another key, or for another use, or altered.
    #[error("it is not sealed to this key, or not for this")]
    Shut,
    /// It ends before its end.
    #[error("it is cut short")]
    Cut,
}

/// A host's X25519 public key, or the one of an operator's job, to which things are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealPublic(pub [u8; 32]);

impl SealPublic {
    /// Refuses a point of small order: every secret key agrees with it on zero (RFC 7748, section 6.1).
    ///
    /// # Errors
    /// [`SealError::Weak`].
    pub fn check(&self) -> Result<(), SealError> {
        // Any clamped scalar is a multiple of 8, and takes every such point to zero.
        let shared = MontgomeryPoint(self.0).mul_clamped([1; 32]);
        if shared.to_bytes() == [0; 32] { Err(SealError::Weak) } else { Ok(()) }
    }
}

impl Wire for SealPublic {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        <[u8; 32]>::from_value(value, field).map(Self)
    }
}

/// The other half of it.
#[derive(Clone)]
pub struct SealSecret(Zeroizing<[u8; 32]>);

impl SealSecret {
    /// The key of these 32 bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*seed))
    }

    /// The bytes to keep.
    pub fn seed(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public half: X25519 (RFC 7748) with the base point.
    pub fn public(&self) -> SealPublic {
        SealPublic(MontgomeryPoint::mul_base_clamped(*self.0).to_bytes())
    }

    /// What is in a seal that was made by [`seal`] with the same words.
    ///
    /// # Errors
    /// [`SealError::Shut`].
    pub fn open(
        &self,
        what: Seal,
        fleet: &FleetId,
        about: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let (key, sealed) = sealed.split_at_checked(ENCAPSULATED_BYTES).ok_or(SealError::Shut)?;
        self.context(what, fleet, key)?.open(sealed, about).map_err(|_| SealError::Shut)
    }

    fn context(
        &self,
        what: Seal,
        fleet: &FleetId,
        key: &[u8],
    ) -> Result<AeadCtxR<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>, SealError> {
        let shut = |_| SealError::Shut;
        let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&*self.0).map_err(shut)?;
        let key = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(key).map_err(shut)?;
        setup_receiver(&OpModeR::Base, &secret, &key, &what.info(fleet)).map_err(shut)
    }

    /// Whether this key reads what is sealed to it, and is the other half of `public`: what a host asks of its
    /// own before it promises to read orders.
    pub fn tries(&self, public: SealPublic, fleet: &FleetId, drawn: &[u8; 32]) -> bool {
        let sealed = seal(public, Seal::Test, fleet, b"", b"itself", drawn);
        let opened = sealed.and_then(|sealed| self.open(Seal::Test, fleet, b"", &sealed));
        self.public() == public && opened.is_ok_and(|opened| opened == b"itself")
    }
}

impl PartialEq for SealSecret {
    fn eq(&self, other: &Self) -> bool {
        self.public() == other.public()
    }
}
impl Eq for SealSecret {}
impl fmt::Debug for SealSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealSecret(…)")
    }
}
impl Wire for SealSecret {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        <[u8; 32]>::from_value(value, field).map(|seed| Self(Zeroizing::new(seed)))
    }
}

/// Seals `plain` to `to`: for one use, in one fleet, `about` something that whoever opens it must name too.
///
/// # Errors
/// [`SealError::Weak`].
pub fn seal(
    to: SealPublic,
    what: Seal,
    fleet: &FleetId,
    about: &[u8],
    plain: &[u8],
    drawn: &[u8; 32],
) -> Result<Vec<u8>, SealError> {
    let (key, mut context) = sender(to, what, fleet, drawn)?;
    let sealed = context.seal(plain, about).map_err(|_| SealError::Weak)?;
    Ok([key, sealed].concat())
}

type Sending = AeadCtxS<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>;

fn sender(
    to: SealPublic,
    what: Seal,
    fleet: &FleetId,
    drawn: &[u8; 32],
) -> Result<(Vec<u8>, Sending), SealError> {
    to.check()?;
    let to = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&to.0).map_err(|_| SealError::Weak)?;
    let (key, context): (_, Sending) =
        setup_sender_with_rng(&OpModeS::Base, &to, &what.info(fleet), &mut Drawn::new(drawn))
            .map_err(|_| SealError::Weak)?;
    Ok((key.to_bytes().to_vec(), context))
}

/// What was drawn, as the source of randomness that a sender wants.
struct Drawn(blake3::OutputReader);

impl Drawn {
    fn new(drawn: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(drawn).update(b"muster/seal/v1").finalize_xof())
    }
}

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(to);
        Ok(())
    }
}
impl TryCryptoRng for Drawn {}

/// Seals a stream as it comes: the encapsulated key, then pieces, each behind its length in 4 bytes; each says in
/// its first byte whether it is the last. Pieces in another order, or one that is left out, do not open.
pub struct Sealer {
    context: Sending,
    about: Vec<u8>,
    /// What is still to go out before the first piece.
    key: Option<Vec<u8>>,
}

/// What the first byte of a piece says.
const MORE: u8 = 0;
const WHOLE: u8 = 1;
const LESS: u8 = 2;

impl Sealer {
    /// Seals to `to`, with the words of [`seal`].
    ///
    /// # Errors
    /// [`SealError::Weak`].
    pub fn new(
        to: SealPublic,
        what: Seal,
        fleet: &FleetId,
        about: &[u8],
        drawn: &[u8; 32],
    ) -> Result<Self, SealError> {
        let (key, context) = sender(to, what, fleet, drawn)?;
        Ok(Self { context, about: about.to_vec(), key: Some(key) })
    }

    /// The next piece, of at most [`PIECE_BYTES_MAX`], as it is kept.
    pub fn piece(&mut self, plain: &[u8]) -> Vec<u8> {
        self.sealed(MORE, plain)
    }

    /// The last one: what is sealed is whole, or there was more that was not.
    pub fn end(mut self, whole: bool) -> Vec<u8> {
        self.sealed(if whole { WHOLE } else { LESS }, b"")
    }

    fn sealed(&mut self, first: u8, plain: &[u8]) -> Vec<u8> {
        let mut out = self.key.take().unwrap_or_default();
        // Fails after 2^64 pieces, and where a piece is over all bounds: nothing goes out in the open then.
        let sealed = self.context.seal(&[&[first], plain].concat(), &self.about).unwrap_or_default();
        let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
        out.extend(length.to_be_bytes());
        out.extend(sealed);
        out
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

/// Opens what a [`Sealer`] sealed, in whatever pieces it comes.
pub struct Opener {
    secret: SealSecret,
    what: Seal,
    fleet: FleetId,
    about: Vec<u8>,
    context: Option<AeadCtxR<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>>,
    held: Vec<u8>,
    ended: Option<bool>,
}

impl Opener {
    /// Opens with the words that the sealer was given.
    pub fn new(secret: SealSecret, what: Seal, fleet: FleetId, about: &[u8]) -> Self {
        Self { secret, what, fleet, about: about.to_vec(), context: None, held: Vec::new(), ended: None }
    }

    /// Takes what came, and gives what can be read of it.
    ///
    /// # Errors
    /// [`SealError::Shut`]; nothing more can be read then.
    pub fn push(&mut self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.held.extend_from_slice(sealed);
        let mut plain = Vec::new();
        let mut at = 0;
        if self.context.is_none() {
            let Some(key) = self.held.get(..ENCAPSULATED_BYTES) else { return Ok(plain) };
            self.context = Some(self.secret.context(self.what, &self.fleet, key)?);
            at = ENCAPSULATED_BYTES;
        }
        let context = self.context.as_mut().ok_or(SealError::Shut)?;
        loop {
            let rest = self.held.get(at..).unwrap_or_default();
            let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else { break };
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > PIECE_BYTES_MAX + TAG_BYTES + 1 || self.ended.is_some() {
                return Err(SealError::Shut);
            }
            let Some(piece) = rest.get(..length) else { break };
            let opened = context.open(piece, &self.about).map_err(|_| SealError::Shut)?;
            match opened.split_first() {
                Some((&MORE, piece)) => plain.extend_from_slice(piece),
                Some((&WHOLE, [])) => self.ended = Some(true),
                Some((&LESS, [])) => self.ended = Some(false),
                _ => return Err(SealError::Shut),
            }
            at += LENGTH_BYTES + length;
        }
        self.held.drain(..at);
        Ok(plain)
    }

    /// Whether all there was had been sealed; some of it was not where a bound or a full disk cut it.
    ///
    /// # Errors
    /// [`SealError::Cut`] when it ends before its last piece.
    pub fn whole(&self) -> Result<bool, SealError> {
        self.ended.filter(|_| self.held.is_empty()).ok_or(SealError::Cut)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: FleetId = FleetId([7; 32]);
    const DRAWN: [u8; 32] = [3; 32];

    fn secret(number: u8) -> SealSecret {
        SealSecret::from_seed(&[number; 32])
    }

    #[test]
    fn a_seal_opens_for_its_key_its_use_its_fleet_and_its_matter_alone() {
        let sealed = seal(secret(1).public(), Seal::Command, &FLEET, b"order", b"canary", &DRAWN).unwrap();
        assert_eq!(sealed.len(), 6 + SEAL_BYTES);
        assert_eq!(secret(1).open(Seal::Command, &FLEET, b"order", &sealed).unwrap(), b"canary");
        let shut = Err(SealError::Shut);
        assert_eq!(secret(2).open(Seal::Command, &FLEET, b"order", &sealed), shut);
        assert_eq!(secret(1).open(Seal::Output, &FLEET, b"order", &sealed), shut);
        assert_eq!(secret(1).open(Seal::Command, &FleetId([8; 32]), b"order", &sealed), shut);
        assert_eq!(secret(1).open(Seal::Command, &FLEET, b"other", &sealed), shut);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(secret(1).open(Seal::Command, &FLEET, b"order", &altered), shut, "byte {at}");
            assert_eq!(secret(1).open(Seal::Command, &FLEET, b"order", &sealed[..at]), shut, "cut at {at}");
        }
    }

    #[test]
    fn two_seals_of_the_same_share_nothing_where_what_was_drawn_differs() {
        let seal = |drawn: u8| {
            seal(secret(1).public(), Seal::Command, &FLEET, b"", b"canary", &[drawn; 32]).unwrap()
        };
        assert_ne!(seal(1)[..32], seal(2)[..32]);
        assert_eq!(seal(1), seal(1));
    }

    /// The points of small order of Curve25519, and those that are the same modulo p: as in the list of
    /// cr.yp.to/ecdh.html, "small-order points".
    #[test]
    fn nothing_is_sealed_to_a_point_of_small_order() {
        let mut weak = vec![[0; 32]];
        weak.push({
            let mut one = [0; 32];
            one[0] = 1;
            one
        });
        for text in [
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            weak.push(unhex(text));
        }
        for point in weak {
            let to = SealPublic(point);
            assert_eq!(to.check(), Err(SealError::Weak), "{point:02x?}");
            assert_eq!(seal(to, Seal::Command, &FLEET, b"", b"canary", &DRAWN), Err(SealError::Weak));
        }
        secret(1).public().check().unwrap();
    }

    fn unhex(text: &str) -> [u8; 32] {
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    #[test]
    fn a_seal_key_has_the_public_half_that_rfc_7748_gives() {
        // Section 6.1: Bob's keys.
        let secret = unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let public = unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(SealSecret::from_seed(&secret).public(), SealPublic(public));
    }

    #[test]
    fn a_key_that_is_not_the_other_half_fails_its_own_test() {
        assert!(secret(1).tries(secret(1).public(), &FLEET, &DRAWN));
        assert!(!secret(1).tries(secret(2).public(), &FLEET, &DRAWN));
        assert!(!secret(1).tries(SealPublic([0; 32]), &FLEET, &DRAWN));
    }

    fn stream(pieces: &[&[u8]], whole: bool) -> Vec<u8> {
        let mut sealer = Sealer::new(secret(1).public(), Seal::Output, &FLEET, b"1", &DRAWN).unwrap();
        let mut sealed: Vec<u8> = pieces.iter().flat_map(|piece| sealer.piece(piece)).collect();
        sealed.extend(sealer.end(whole));
        sealed
    }

    fn opener(about: &[u8]) -> Opener {
        Opener::new(secret(1), Seal::Output, FLEET, about)
    }

    #[test]
    fn a_stream_opens_however_it_is_cut_up_on_the_way() {
        let sealed = stream(&[b"one ", b"two ", b""], true);
        for step in 1..=sealed.len() {
            let mut opener = opener(b"1");
            let mut plain = Vec::new();
            for part in sealed.chunks(step) {
                plain.extend(opener.push(part).unwrap());
            }
            assert_eq!(
                (plain.as_slice(), opener.whole()),
                (&b"one two "[..], Ok(true)),
                "in steps of {step}"
            );
        }
        let mut short = opener(b"1");
        short.push(&stream(&[b"one"], false)).unwrap();
        assert_eq!(short.whole(), Ok(false), "there was more");
    }

    #[test]
    fn a_stream_that_was_cut_or_changed_is_found_out() {
        let sealed = stream(&[b"one ", b"two "], true);
        for end in 0..sealed.len() {
            let mut opener = opener(b"1");
            if opener.push(&sealed[..end]).is_ok() {
                assert_eq!(opener.whole(), Err(SealError::Cut), "cut at {end}");
            }
        }
        // The second piece in the place of the first.
        let piece = LENGTH_BYTES + 4 + 1 + TAG_BYTES;
        let mut swapped = sealed.clone();
        swapped[32..32 + piece].copy_from_slice(&sealed[32 + piece..32 + 2 * piece]);
        assert_eq!(opener(b"1").push(&swapped), Err(SealError::Shut));
        assert_eq!(opener(b"2").push(&sealed), Err(SealError::Shut), "of another stream");
        let long = [&sealed[..32], &u32::MAX.to_be_bytes()].concat();
        assert_eq!(opener(b"1").push(&long), Err(SealError::Shut), "nobody waits for 4 GiB");
    }
}
