//! Turns values into bytes and back: deterministic CBOR, and frames.
//!
//! Decides what an encoding may look like (RFC 8949, section 4.2.1, further narrowed: only integers,
//! byte strings, text, booleans, null and arrays) and how long it may be. Always holds: what
//! [`decode`] accepts re-encodes to the same bytes, and no byte string makes it panic or allocate
//! more than a small multiple of its own length. It knows nothing of keys or of what a value means.
//!
//! A record is an array of its fields in order. Fields are only ever added at the end: a reader that
//! knows fewer ignores the rest (the signed bytes are kept and relayed as received), a reader that
//! knows more takes an absent field as `None`. A choice is an array whose first item is its tag.

mod cbor;
mod frame;
mod impls;

pub use cbor::{DEPTH_MAX, canonical, decode, encode};
pub use ciborium::Value;
pub use frame::{FRAME_HEADER_BYTES, FrameError, FrameReader, frame};
pub use impls::{Bytes, Fields, choice_parts};

/// Why bytes are not a value. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Longer than its kind allows; nothing of it was read.
    #[error("{bytes} bytes is over the limit of {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not CBOR, or cut short.
    #[error("not CBOR: {0}")]
    Malformed(String),
    /// CBOR, but not the one encoding that its value has.
    #[error("not the deterministic encoding of its value")]
    NotCanonical,
    /// A kind of item that no record uses (map, float, tag), or arrays inside arrays too deep.
    #[error("holds {0}, which no record may")]
    Forbidden(&'static str),
    /// A field is missing or of the wrong kind.
    #[error("{field}: {problem}")]
    Field {
        /// The record and field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A choice that this version does not know.
    #[error("{what}: unknown kind {tag}")]
    UnknownTag {
        /// The choice.
        what: &'static str,
        /// The tag that was found.
        tag: u64,
    },
    /// A closed record has more fields than this version knows, so its meaning is not known.
    #[error("{0} has fields that this version does not know")]
    UnknownField(&'static str),
}

impl WireError {
    /// Whether the bytes are whole and say something that a newer version could read.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::UnknownTag { .. } | Self::UnknownField(_))
    }
}

/// A value with exactly one encoding.
pub trait Wire: Sized {
    /// Makes its generic form.
    fn to_value(&self) -> Value;
    /// Reads it from its generic form; `field` names it in errors.
    fn from_value(value: Value, field: &'static str) -> Result<Self, WireError>;
    /// What an absent trailing field means, if it may be absent.
    fn absent() -> Option<Self> {
        None
    }
}

/// Implements [`Wire`] for a struct as an array of its named fields, in this order.
///
/// `closed` refuses unknown trailing fields (for structs that grant something); without it they are
/// ignored.
#[macro_export]
macro_rules! wire_record {
    (@closed $name:ident closed $fields:ident) => { $fields.finish_closed(stringify!($name))? };
    (@closed $name:ident $fields:ident) => { $fields.finish() };
    ($name:ident $($closed:ident)? { $($field:ident),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn to_value(&self) -> $crate::wire::Value {
                $crate::wire::Value::Array(vec![$($crate::wire::Wire::to_value(&self.$field)),*])
            }
            fn from_value(
                value: $crate::wire::Value,
                field: &'static str,
            ) -> Result<Self, $crate::wire::WireError> {
                let mut fields = $crate::wire::Fields::of(value, field)?;
                let record = Self {
                    $($field: fields.next(concat!(stringify!($name), ".", stringify!($field)))?,)*
                };
                $crate::wire_record!(@closed $name $($closed)? fields);
                Ok(record)
            }
        }
    };
}

/// Implements [`Wire`] for an enum as an array of its tag and the variant's fields.
///
/// Variants are written `0 = Name { field, … }`; a variant without fields as `0 = Name {}`. `closed` as
/// for [`wire_record!`].
#[macro_export]
macro_rules! wire_choice {
    ($name:ident $($closed:ident)? { $($tag:literal = $variant:ident { $($field:ident),* $(,)? }),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn to_value(&self) -> $crate::wire::Value {
                match self {
                    $(Self::$variant { $($field),* } => $crate::wire::Value::Array(vec![
                        $crate::wire::Value::from($tag as u64),
                        $($crate::wire::Wire::to_value($field)),*
                    ]),)*
                }
            }
            fn from_value(
                value: $crate::wire::Value,
                field: &'static str,
            ) -> Result<Self, $crate::wire::WireError> {
                let (tag, mut fields) = $crate::wire::choice_parts(value, field)?;
                let made = match tag {
                    $($tag => Self::$variant {
                        $($field: fields.next(concat!(stringify!($variant), ".", stringify!($field)))?,)*
                    },)*
                    tag => return Err($crate::wire::WireError::UnknownTag { what: stringify!($name), tag }),
                };
                $crate::wire_record!(@closed $name $($closed)? fields);
                Ok(made)
            }
        }
    };
}
