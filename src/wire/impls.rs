//! The encodings of the plain kinds, and the reader of a record's fields.

use super::{Value, Wire, WireError};

/// A byte string (a `Vec<u8>` would read as an array of numbers).
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

fn wrong(field: &'static str, problem: &'static str) -> WireError {
    WireError::Field { field, problem }
}

impl Wire for Bytes {
    fn to_value(&self) -> Value {
        Value::Bytes(self.0.clone())
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        value.into_bytes().map(Bytes).map_err(|_| wrong(field, "not a byte string"))
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn to_value(&self) -> Value {
        Value::Bytes(self.to_vec())
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let bytes = value.into_bytes().map_err(|_| wrong(field, "not a byte string"))?;
        bytes.try_into().map_err(|_| wrong(field, "a byte string of the wrong length"))
    }
}

impl Wire for String {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        value.into_text().map_err(|_| wrong(field, "not text"))
    }
}

impl Wire for bool {
    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        value.into_bool().map_err(|_| wrong(field, "not true or false"))
    }
}

macro_rules! integers {
    ($($kind:ty),*) => {$(
        impl Wire for $kind {
            fn to_value(&self) -> Value {
                Value::from(*self)
            }
            fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
                let number = value.into_integer().map_err(|_| wrong(field, "not an integer"))?;
                Self::try_from(number).map_err(|_| wrong(field, "an integer out of range"))
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i32, i64);

impl<T: Wire> Wire for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, Wire::to_value)
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        match value {
            Value::Null => Ok(None),
            value => T::from_value(value, field).map(Some),
        }
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn to_value(&self) -> Value {
        Value::Array(self.iter().map(Wire::to_value).collect())
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let items = value.into_array().map_err(|_| wrong(field, "not an array"))?;
        items.into_iter().map(|item| T::from_value(item, field)).collect()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn to_value(&self) -> Value {
        Value::Array(vec![self.0.to_value(), self.1.to_value()])
    }
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError> {
        let mut fields = Fields::of(value, field)?;
        let pair = (fields.next(field)?, fields.next(field)?);
        fields.finish();
        Ok(pair)
    }
}

/// Reads a record's fields one after the other.
#[derive(Debug)]
pub struct Fields(std::vec::IntoIter<Value>);

impl Fields {
    /// Starts on `value`, which must be an array.
    pub fn of(value: Value, field: &'static str) -> Result<Self, WireError> {
        let items = value.into_array().map_err(|_| wrong(field, "not an array"))?;
        Ok(Self(items.into_iter()))
    }

    /// The next field; an absent one is what its type says absence means.
    pub fn next<T: Wire>(&mut self, field: &'static str) -> Result<T, WireError> {
        match self.0.next() {
            Some(value) => T::from_value(value, field),
            None => T::absent().ok_or(wrong(field, "missing")),
        }
    }

    /// Ends an open record: what follows was written by a newer version and is not looked at.
    pub fn finish(self) {}

    /// Ends a closed record.
    pub fn finish_closed(self, what: &'static str) -> Result<(), WireError> {
        if self.0.as_slice().is_empty() { Ok(()) } else { Err(WireError::UnknownField(what)) }
    }
}

/// Splits a choice into its tag and the fields behind it.
pub fn choice_parts(value: Value, field: &'static str) -> Result<(u64, Fields), WireError> {
    let mut fields = Fields::of(value, field)?;
    let tag = fields.next::<u64>(field)?;
    Ok((tag, fields))
}

#[cfg(test)]
mod tests {
    use crate::wire::{Bytes, WireError, decode, encode};
    use crate::{wire_choice, wire_record};

    #[derive(Debug, PartialEq)]
    struct Old {
        a: u32,
        b: String,
    }
    wire_record!(Old { a, b });

    #[derive(Debug, PartialEq)]
    struct New {
        a: u32,
        b: String,
        c: Option<Bytes>,
    }
    wire_record!(New { a, b, c });

    #[derive(Debug, PartialEq)]
    struct Closed {
        a: u32,
    }
    wire_record!(Closed closed { a });

    #[derive(Debug, PartialEq)]
    enum Choice {
        Nothing {},
        Pair { left: u8, right: Vec<u8Pair> },
    }
    #[derive(Debug, PartialEq)]
    #[expect(non_camel_case_types, reason = "a name for the test alone")]
    struct u8Pair {
        x: u8,
    }
    wire_record!(u8Pair { x });
    wire_choice!(Choice { 0 = Nothing {}, 1 = Pair { left, right } });

    #[test]
    fn old_and_new_records_read_each_other() {
        let old = encode(&Old { a: 1, b: "b".into() });
        assert_eq!(old, b"\x82\x01\x61b");
        assert_eq!(decode::<New>(&old, 99).unwrap(), New { a: 1, b: "b".into(), c: None });
        let new = encode(&New { a: 1, b: "b".into(), c: Some(Bytes(vec![7])) });
        assert_eq!(decode::<Old>(&new, 99).unwrap(), Old { a: 1, b: "b".into() });
        assert_eq!(decode::<Closed>(&new, 99), Err(WireError::UnknownField("Closed")));
    }

    #[test]
    fn choices_carry_their_tag_and_unknown_ones_are_named() {
        for choice in [Choice::Nothing {}, Choice::Pair { left: 3, right: vec![u8Pair { x: 1 }] }] {
            assert_eq!(decode::<Choice>(&encode(&choice), 99).unwrap(), choice);
        }
        assert_eq!(decode::<Choice>(b"\x81\x09", 99), Err(WireError::UnknownTag { what: "Choice", tag: 9 }));
    }

    #[test]
    fn numbers_out_of_range_and_wrong_kinds_name_their_field() {
        let field = |bytes: &[u8]| decode::<Old>(bytes, 99).unwrap_err().to_string();
        assert_eq!(field(b"\x82\x1b\x00\x00\x00\x01\x00\x00\x00\x00\x61b"), "Old.a: an integer out of range");
        assert_eq!(field(b"\x82\x20\x61b"), "Old.a: an integer out of range");
        assert_eq!(field(b"\x82\x01\x41b"), "Old.b: not text");
        assert_eq!(field(b"\x81\x01"), "Old.b: missing");
    }
}
