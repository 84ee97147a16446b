//! Base 64 (RFC 4648, section 4), as OpenSSH writes keys, signatures and fingerprints.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of `bytes`, without padding.
pub(super) fn encode_unpadded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let digit = usize::try_from((word >> (18 - 6 * place)) & 63).unwrap_or_default();
            text.push(char::from(ALPHABET.get(digit).copied().unwrap_or(b'?')));
        }
    }
    text
}

/// The text of `bytes`, padded to a multiple of four.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = encode_unpadded(bytes);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// The bytes of a padded `text` without white space, if it is their only encoding.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.as_bytes().chunks(4) {
        let mut word = 0_u32;
        for byte in chunk {
            let digit = ALPHABET.iter().position(|known| known == byte)?;
            word = (word << 6) | u32::try_from(digit).ok()?;
        }
        word <<= 6 * (4 - chunk.len());
        bytes.extend_from_slice(word.to_be_bytes().get(1..chunk.len())?);
    }
    (encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc_hold_and_nothing_else_is_read() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        for bad in ["Zg", "Zg=", "Zg===", "Zh==", "Z===", "Z", "=", "Zm9v Yg==", "Zm9v\n", "Zm9-"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
