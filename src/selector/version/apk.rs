//! Alpine's order: `digits{.digits}[letter]{_suffix[digits]}[~hash][-r digits]`, by the rules of apk-tools 3.
//!
//! A version is read in parts, and the first part that differs decides. Of two different kinds, these come one
//! after the other: `_alpha` `_beta` `_pre` `_rc`, the end, `-r`, `~`, the digits of a suffix, `_cvs` `_svn`
//! `_git` `_hg` `_p`, a letter, and more `.digits`. Digits stand by number; but those after a dot, of which one
//! starts with a zero, stand by character, as Gentoo has it: `1.002` is before `1.01`.
//!
//! apk-tools orders what is no version too, as far as it can be read. What is no version here is none.

use super::digits;
use std::cmp::Ordering;
use thiserror::Error;

/// Why a text is no version of apk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VersionError {
    /// It does not start with a digit.
    #[error("the version does not start with a digit")]
    NoDigit,
    /// A dot or `-r` is not followed by digits.
    #[error("digits are missing after a dot or -r")]
    DigitsMissing,
    /// A word after an underscore that apk does not know.
    #[error("an underscore is followed by alpha, beta, pre, rc, cvs, svn, git, hg or p")]
    Suffix,
    /// A tilde that is not followed by a commit.
    #[error("a tilde is followed by a commit in hexadecimal digits")]
    Hash,
    /// A character that stands where it may not.
    #[error(
        "a version is digits with dots, one small letter, suffixes such as _rc1, and -r with digits, in this order"
    )]
    Character,
}

/// A version that apk takes, as the text it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    text: &'a str,
}

/// A part of a version. The order of its variants is that of the parts in a text, and from a later one a version
/// does not come back to an earlier one.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    First(&'a str),
    Digits(&'a str),
    Letter(u8),
    Suffix(i8),
    SuffixDigits(&'a str),
    Hash(&'a str),
    Revision(&'a str),
    End,
}

/// Suffixes, and how each counts: less than none, or more.
const SUFFIXES: [(&str, i8); 9] = [
    ("alpha", -4),
    ("beta", -3),
    ("pre", -2),
    ("rc", -1),
    ("cvs", 1),
    ("svn", 2),
    ("git", 3),
    ("hg", 4),
    ("p", 5),
];

impl<'a> Version<'a> {
    /// Reads a version, of a person or of a package database.
    pub fn parse(text: &'a str) -> Result<Self, VersionError> {
        let (mut part, mut rest) = first(text)?;
        while !matches!(part, Part::End) {
            (part, rest) = next(part, rest)?;
        }
        Ok(Self { text })
    }
}

fn first(text: &str) -> Result<(Part<'_>, &str), VersionError> {
    match digits::take(text, digits::is_digit) {
        ("", _) => Err(VersionError::NoDigit),
        (digits, rest) => Ok((Part::First(digits), rest)),
    }
}

/// The part after `last`, which stands at the front of `text`.
fn next<'a>(last: Part<'_>, text: &'a str) -> Result<(Part<'a>, &'a str), VersionError> {
    let after = text.get(1..).unwrap_or_default();
    let place = last.place();
    let some_digits = |text: &'a str| match digits::take(text, digits::is_digit) {
        ("", _) => Err(VersionError::DigitsMissing),
        parts => Ok(parts),
    };
    match text.bytes().next() {
        None => Ok((Part::End, "")),
        Some(b'.') if place <= 1 => some_digits(after).map(|(digits, rest)| (Part::Digits(digits), rest)),
        Some(letter @ b'a'..=b'z') if place <= 1 => Ok((Part::Letter(letter), after)),
        Some(b'_') if place <= 4 => {
            let (word, rest) = digits::take(after, |b| b.is_ascii_lowercase());
            let suffix = SUFFIXES.iter().find(|(name, _)| *name == word).ok_or(VersionError::Suffix)?;
            Ok((Part::Suffix(suffix.1), rest))
        }
        Some(b'0'..=b'9') if place == 3 => {
            some_digits(text).map(|(digits, rest)| (Part::SuffixDigits(digits), rest))
        }
        Some(b'~') if place <= 4 => match digits::take(after, |b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            ("", _) => Err(VersionError::Hash),
            (hash, rest) => Ok((Part::Hash(hash), rest)),
        },
        Some(b'-') if place <= 5 => {
            let after = after.strip_prefix('r').ok_or(VersionError::Character)?;
            some_digits(after).map(|(digits, rest)| (Part::Revision(digits), rest))
        }
        Some(_) => Err(VersionError::Character),
    }
}

impl Part<'_> {
    /// Where in a version it stands.
    fn place(self) -> u8 {
        match self {
            Self::First(_) => 0,
            Self::Digits(_) => 1,
            Self::Letter(_) => 2,
            Self::Suffix(_) => 3,
            Self::SuffixDigits(_) => 4,
            Self::Hash(_) => 5,
            Self::Revision(_) => 6,
            Self::End => 7,
        }
    }

    /// How it counts against a part of another kind.
    fn weight(self) -> i8 {
        match self {
            Self::Suffix(suffix) if suffix < 0 => -1,
            Self::End => 0,
            Self::Revision(_) => 1,
            Self::Hash(_) => 2,
            Self::SuffixDigits(_) => 3,
            Self::Suffix(_) => 4,
            Self::Letter(_) => 5,
            Self::Digits(_) => 6,
            Self::First(_) => 7,
        }
    }

    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Digits(a), Self::Digits(b)) if a.starts_with('0') || b.starts_with('0') => a.cmp(b),
            (Self::First(a), Self::First(b))
            | (Self::Digits(a), Self::Digits(b))
            | (Self::SuffixDigits(a), Self::SuffixDigits(b))
            | (Self::Revision(a), Self::Revision(b)) => digits::compare(a, b),
            (Self::Letter(a), Self::Letter(b)) => a.cmp(&b),
            (Self::Suffix(a), Self::Suffix(b)) => a.cmp(&b),
            (Self::Hash(a), Self::Hash(b)) => a.cmp(b),
            _ => self.weight().cmp(&other.weight()),
        }
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (Ok((mut a, mut rest_a)), Ok((mut b, mut rest_b))) = (first(self.text), first(other.text)) else {
            return Ordering::Equal;
        };
        loop {
            let order = a.compare(b);
            if order.is_ne() || matches!(a, Part::End) {
                return order;
            }
            // Both were read to their end when they were parsed.
            let (Ok(next_a), Ok(next_b)) = (next(a, rest_a), next(b, rest_b)) else {
                return Ordering::Equal;
            };
            (a, rest_a) = next_a;
            (b, rest_b) = next_b;
        }
    }
}

equal_as_ordered!();

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version<'_> {
        Version::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    /// From the least to the greatest.
    const RISING: &[&str] = &[
        "0",
        "1_alpha_pre1",
        "1_alpha",
        "1_alpha1",
        "1_alpha_p1",
        "1_beta",
        "1_pre",
        "1_rc",
        "1_rc2",
        "1",
        "1-r0",
        "1-r2",
        "1-r10",
        "1~0a",
        "1~0a-r1",
        "1~0b",
        "1_cvs",
        "1_svn",
        "1_git",
        "1_git20240101",
        "1_hg",
        "1_p",
        "1_p1",
        "1a",
        "1b",
        "1.0",
        "1.00",
        "1.002",
        "1.01",
        "1.1_rc1",
        "1.1",
        "1.9",
        "1.10",
        "2",
        "99999999999999999999998",
        "99999999999999999999999",
    ];

    #[test]
    fn versions_rise_as_apk_has_them() {
        crate::selector::version::tests::rise(RISING, version);
    }

    #[test]
    fn numbers_that_are_written_differently_are_equal() {
        for (a, b) in [("006", "6"), ("1-r01", "1-r1"), ("1_rc01", "1_rc1")] {
            assert_eq!(version(a), version(b), "{a} {b}");
        }
        assert!(version("1.1") > version("1.01"));
    }

    #[test]
    fn what_is_no_version_is_named() {
        use VersionError::*;
        for (text, error) in [
            ("", NoDigit),
            ("a", NoDigit),
            ("-r1", NoDigit),
            (" 1", NoDigit),
            ("1.", DigitsMissing),
            ("1..2", DigitsMissing),
            ("1-r", DigitsMissing),
            ("1_", Suffix),
            ("1_foo", Suffix),
            ("1_prefix", Suffix),
            ("1~", Hash),
            ("1~x", Hash),
            ("1bc", Character),
            ("1b2", Character),
            ("1b.2", Character),
            ("1_p1.2", Character),
            ("1-1", Character),
            ("1-r1_p1", Character),
            ("1-r1-r2", Character),
            ("1~ab~ab", Character),
            ("1A", Character),
            ("1 ", Character),
            ("1é", Character),
            ("1\0", Character),
        ] {
            assert_eq!(Version::parse(text).unwrap_err(), error, "{text:?}");
        }
    }
}
