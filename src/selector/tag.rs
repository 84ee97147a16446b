//! What a tag's key and value may be, and the name of a group. One rule for whoever writes, signs, reads or
//! compares one.

use super::character::{is_hidden, named};
use thiserror::Error;

/// The longest key, in characters.
const KEY_CHARS_MAX: usize = 63;
/// The longest value, in characters.
const VALUE_CHARS_MAX: usize = 128;

/// A key or a value that no tag may have. Nothing was tagged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TagError {
    /// A label without `=`.
    #[error("a label is written key=value")]
    NotALabel,
    /// Nothing stands before `=`.
    #[error("the key is empty")]
    KeyEmpty,
    /// A key of more than 63 characters.
    #[error("the key is longer than 63 characters")]
    KeyTooLong,
    /// A key that starts with a mark.
    #[error("a key starts with a small letter or a digit, not with {0}")]
    KeyStart(String),
    /// A character that no key has.
    #[error("a key is made of small letters, digits and . _ / -, without {0}")]
    KeyCharacter(String),
    /// Nothing stands after `=`.
    #[error("the value is empty")]
    ValueEmpty,
    /// A value of more than 128 characters.
    #[error("the value is longer than 128 characters")]
    ValueTooLong,
    /// A value that starts or ends with a space.
    #[error("a value neither starts nor ends with a space")]
    ValueSpace,
    /// A character in a value that cannot be seen.
    #[error("the value has a character that cannot be seen: {0}")]
    ValueCharacter(String),
    /// Nothing stands after `@`.
    #[error("the name is empty")]
    GroupEmpty,
    /// The name of a group of more than 63 characters.
    #[error("the name is longer than 63 characters")]
    GroupTooLong,
    /// A character that no name of a group has, or does not start with.
    #[error(
        "a name is made of small letters, digits and . _ -, and starts with a letter or digit: without {0}"
    )]
    GroupCharacter(String),
}

impl TagError {
    /// Whether the key is at fault, rather than the value.
    pub fn is_of_key(&self) -> bool {
        matches!(self, Self::KeyEmpty | Self::KeyTooLong | Self::KeyStart(_) | Self::KeyCharacter(_))
    }
}

/// Checks that a host may be tagged `key=value`.
///
/// A key is 1 to 63 of small letters, digits and `. _ / -`, and starts with a letter or digit. A value is 1 to
/// 128 characters that can be seen: no control characters, no marks of direction, no space at either end.
pub fn check_tag(key: &str, value: &str) -> Result<(), TagError> {
    check_key(key)?;
    if value.is_empty() {
        return Err(TagError::ValueEmpty);
    }
    if value.chars().nth(VALUE_CHARS_MAX).is_some() {
        return Err(TagError::ValueTooLong);
    }
    if value.starts_with(' ') || value.ends_with(' ') {
        return Err(TagError::ValueSpace);
    }
    match value.chars().find(|c| is_hidden(*c)) {
        Some(c) => Err(TagError::ValueCharacter(named(c))),
        None => Ok(()),
    }
}

/// Checks a key alone, as [`check_tag`] does.
pub(super) fn check_key(key: &str) -> Result<(), TagError> {
    let Some(first) = key.chars().next() else { return Err(TagError::KeyEmpty) };
    if key.chars().nth(KEY_CHARS_MAX).is_some() {
        return Err(TagError::KeyTooLong);
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if let Some(c) = key.chars().find(|c| !plain(*c) && !matches!(c, '.' | '_' | '/' | '-')) {
        return Err(TagError::KeyCharacter(named(c)));
    }
    if !plain(first) {
        return Err(TagError::KeyStart(named(first)));
    }
    Ok(())
}

/// Checks the name of a saved selector: 1 to 63 of small letters, digits and `. _ -`, a letter or digit first.
pub fn check_group_name(name: &str) -> Result<(), TagError> {
    check_key(name).map_err(|error| match error {
        TagError::KeyEmpty => TagError::GroupEmpty,
        TagError::KeyTooLong => TagError::GroupTooLong,
        TagError::KeyStart(c) | TagError::KeyCharacter(c) => TagError::GroupCharacter(c),
        other => other,
    })?;
    if name.contains('/') { Err(TagError::GroupCharacter("/".to_owned())) } else { Ok(()) }
}

/// Reads a label as it is written on the command line: `role=web`. A value may have `=` in it, a key may not.
pub fn parse_label(label: &str) -> Result<(String, String), TagError> {
    let (key, value) = label.split_once('=').ok_or(TagError::NotALabel)?;
    check_tag(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_split_at_the_first_equals_sign() {
        assert_eq!(parse_label("role=web"), Ok(("role".into(), "web".into())));
        assert_eq!(parse_label("k8s.io/role=a=b"), Ok(("k8s.io/role".into(), "a=b".into())));
        assert_eq!(parse_label("city=São Paulo"), Ok(("city".into(), "São Paulo".into())));
        assert_eq!(parse_label("role"), Err(TagError::NotALabel));
    }

    #[test]
    fn keys_keep_their_rule() {
        for key in ["a", "0", "a-b_c.d/e", &"k".repeat(63)] {
            assert_eq!(check_tag(key, "v"), Ok(()), "{key}");
        }
        assert_eq!(check_tag("", "v"), Err(TagError::KeyEmpty));
        assert_eq!(check_tag(&"k".repeat(64), "v"), Err(TagError::KeyTooLong));
        assert_eq!(check_tag(".a", "v"), Err(TagError::KeyStart(".".into())));
        assert_eq!(check_tag("Role", "v"), Err(TagError::KeyCharacter("R".into())));
        assert_eq!(check_tag("a b", "v"), Err(TagError::KeyCharacter("a space".into())));
        assert_eq!(check_tag("rôle", "v"), Err(TagError::KeyCharacter("ô".into())));
    }

    #[test]
    fn values_keep_their_rule() {
        assert_eq!(check_tag("k", &"é".repeat(128)), Ok(()));
        assert_eq!(check_tag("k", &"é".repeat(129)), Err(TagError::ValueTooLong));
        assert_eq!(check_tag("k", ""), Err(TagError::ValueEmpty));
        assert_eq!(check_tag("k", "v "), Err(TagError::ValueSpace));
        assert_eq!(check_tag("k", "a\u{202e}b"), Err(TagError::ValueCharacter("U+202E".into())));
        assert_eq!(check_tag("k", "a\nb"), Err(TagError::ValueCharacter("U+000A".into())));
        assert_eq!(check_tag("k", "a\u{1b}[2Jb"), Err(TagError::ValueCharacter("U+001B".into())));
    }
}
