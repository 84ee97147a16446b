//! Deterministic CBOR over `ciborium`: its decoder is lenient, so what it read is encoded again and
//! compared (the check that RFC 8949, section 4.2.1 leaves to the application).

use super::{Value, Wire, WireError};

/// Arrays inside arrays that a value may have.
pub const DEPTH_MAX: usize = 16;

/// Encodes a value.
pub fn encode(value: &impl Wire) -> Vec<u8> {
    encode_generic(&value.to_value())
}

fn encode_generic(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to a `Vec` cannot fail, and a `Value` always serialises.
    let written = ciborium::into_writer(value, &mut bytes);
    debug_assert!(written.is_ok(), "a value in memory encodes");
    bytes
}

/// Decodes `bytes`, which may be at most `bytes_max` long and must be the deterministic encoding.
pub fn decode<T: Wire>(bytes: &[u8], bytes_max: usize) -> Result<T, WireError> {
    T::from_value(canonical(bytes, bytes_max)?, "value")
}

/// Reads `bytes` as one generic value and checks that they are its only encoding.
pub fn canonical(bytes: &[u8], bytes_max: usize) -> Result<Value, WireError> {
    if bytes.len() > bytes_max {
        return Err(WireError::TooLong { bytes: bytes.len(), limit: bytes_max });
    }
    let mut rest = bytes;
    let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX + 2)
        .map_err(|error| WireError::Malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(WireError::Malformed("bytes after the value".to_owned()));
    }
    plain(&value, DEPTH_MAX)?;
    if encode_generic(&value) != bytes {
        return Err(WireError::NotCanonical);
    }
    Ok(value)
}

fn plain(value: &Value, depth: usize) -> Result<(), WireError> {
    match value {
        Value::Integer(_) | Value::Bytes(_) | Value::Text(_) | Value::Bool(_) | Value::Null => Ok(()),
        Value::Array(items) => {
            let depth = depth.checked_sub(1).ok_or(WireError::Forbidden("arrays nested too deep"))?;
            items.iter().try_for_each(|item| plain(item, depth))
        }
        Value::Map(_) => Err(WireError::Forbidden("a map")),
        Value::Float(_) => Err(WireError::Forbidden("a float")),
        Value::Tag(..) => Err(WireError::Forbidden("a tag")),
        _ => Err(WireError::Forbidden("an item of unknown kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Value, WireError> {
        canonical(bytes, 1024)
    }

    #[test]
    fn odd_encodings_of_good_values_are_refused() {
        for (what, bytes) in [
            ("integer not in its shortest form", &b"\x18\x01"[..]),
            ("length not in its shortest form", b"\x58\x01a"),
            ("indefinite array", b"\x9f\x01\xff"),
            ("indefinite bytes", b"\x5f\x41a\xff"),
            ("map", b"\xa1\x01\x02"),
            ("float", b"\xf9\x3c\x00"),
            ("tag", b"\xc1\x01"),
            ("big integer tag", b"\xc2\x41\x01"),
            ("undefined", b"\xf7"),
            ("two values", b"\x01\x02"),
            ("nothing", b""),
            ("cut array", b"\x82\x01"),
            ("array of 2^63 items", b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"),
            ("text that is not UTF-8", b"\x61\xff"),
        ] {
            assert!(read(bytes).is_err(), "{what} was accepted");
        }
        assert!(read(b"\x82\x01\x41a").is_ok());
    }

    #[test]
    fn depth_is_bounded() {
        let mut nested = vec![0x81; DEPTH_MAX];
        nested.push(0x01);
        assert!(read(&nested).is_ok());
        nested.insert(0, 0x81);
        assert!(read(&nested).is_err());
        assert!(canonical(&vec![0x81; 100_000], 1 << 20).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_accepted_re_encodes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = read(&bytes) {
                prop_assert_eq!(encode_generic(&value), bytes);
            }
        }
    }
}
