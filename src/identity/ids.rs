//! Ids are types: a hash or a public key, 32 bytes each, printed in the alphabet of bech32 (no two
//! characters that look alike).

use std::fmt;

use super::{Operator, PublicKey, Stream};
use crate::wire::{Value, Wire, WireError};

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The first `chars` characters of `bytes` in base 32.
pub fn short(bytes: &[u8], chars: usize) -> String {
    let mut text = String::with_capacity(chars);
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        if text.len() >= chars {
            return text;
        }
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 && text.len() < chars {
            bits -= 5;
            let digit = usize::try_from((held >> bits) & 31).unwrap_or_default();
            text.push(char::from(ALPHABET.get(digit).copied().unwrap_or(b'?')));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 && text.len() < chars {
        let digit = usize::try_from((held << (5 - bits)) & 31).unwrap_or_default();
        text.push(char::from(ALPHABET.get(digit).copied().unwrap_or(b'?')));
    }
    text
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&short(&self.0, 52))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), short(&self.0, 8))
            }
        }
        impl Wire for $name {
            fn to_value(&self) -> Value {
                self.0.to_value()
            }
            fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
                <[u8; $bytes]>::from_value(value, field).map(Self)
            }
        }
    };
}

id!(
    /// A fleet: the id of its genesis.
    FleetId,
    32
);
id!(
    /// A host: its first stream key.
    HostId,
    32
);
id!(
    /// A signed object: the hash of its signed bytes, without the signature.
    EntryId,
    32
);
id!(
    /// One state directory's writer, made once at random; two laptops with one key are two writers.
    WriterId,
    16
);
id!(
    /// A stream of entries: one key and one writer.
    StreamId,
    32
);

/// The bytes of an id by its whole text, of which each has one.
fn read(text: &str) -> Option<[u8; 32]> {
    let mut id = [0_u8; 32];
    let (mut held, mut bits, mut digits) = (0_u32, 0_u32, text.bytes());
    for byte in &mut id {
        while bits < 8 {
            let digit = digits.next()?;
            let value = ALPHABET.iter().position(|known| *known == digit)?;
            held = held << 5 | u32::try_from(value).ok()?;
            bits += 5;
        }
        bits -= 8;
        *byte = u8::try_from(held >> bits).ok()?;
        held &= (1 << bits) - 1;
    }
    (short(&id, 52) == text).then_some(id)
}

impl FleetId {
    /// The fleet whose id is written so, as it is shown; white space around it and capitals do not matter.
    pub fn from_text(text: &str) -> Option<Self> {
        read(&text.trim().to_ascii_lowercase()).map(Self)
    }
}

impl HostId {
    /// The host whose first stream key this is.
    pub fn of(key: &PublicKey<Stream>) -> Self {
        Self(key.bytes())
    }

    /// The characters people see: enough to tell a few thousand hosts apart.
    pub fn short(&self) -> String {
        short(&self.0, 8)
    }
}

impl EntryId {
    /// Reads the whole text of an id; none for anything else.
    pub fn from_text(text: &str) -> Option<Self> {
        read(text).map(Self)
    }

    /// The characters people see and type; a unique prefix is accepted.
    pub fn short(&self) -> String {
        short(&self.0, 6)
    }
}

impl StreamId {
    /// The stream of operator key `key` as written from one state directory.
    pub fn of_operator(key: &PublicKey<Operator>, writer: WriterId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("muster/operator-stream/v1");
        hasher.update(&key.bytes()).update(&writer.0);
        Self(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleets_id_is_read_as_it_is_shown_and_in_no_other_way() {
        for bytes in [[0; 32], [255; 32], *blake3::hash(b"acme").as_bytes()] {
            let text = FleetId(bytes).to_string();
            assert_eq!(FleetId::from_text(&format!(" {text}\n")), Some(FleetId(bytes)));
            assert_eq!(FleetId::from_text(&text[1..]), None);
            assert_eq!(FleetId::from_text(&format!("{text}q")), None);
        }
        let text = FleetId([0; 32]).to_string();
        assert_eq!(FleetId::from_text(&format!("{}p", &text[..51])), None, "bits beyond the last byte");
        assert_eq!(FleetId::from_text("bio1"), None);
        assert_eq!(FleetId::from_text(""), None);
    }

    #[test]
    fn an_id_is_read_from_its_own_text_alone() {
        for id in [[0; 32], [0xff; 32], *blake3::hash(b"id").as_bytes()] {
            let text = EntryId(id).to_string();
            assert_eq!(EntryId::from_text(&text), Some(EntryId(id)));
            for other in [&text[1..], &text[..51], &format!("{text}y"), &text.to_uppercase(), ""] {
                assert_eq!(EntryId::from_text(other), None, "{other}");
            }
            // Bits beyond the last byte.
            assert_eq!(EntryId::from_text(&format!("{}9", &text[..51])), None);
        }
    }

    #[test]
    fn text_is_base_32_most_significant_bits_first() {
        assert_eq!(short(&[0xff, 0x00], 99), "luqq");
        assert_eq!(short(&[0; 32], 52).len(), 52);
        assert_eq!(short(&[0b0000_1000], 1), "p");
    }
}
