//! rpm's order: `[epoch:]version[-release]`, by the rules of rpm's `rpmvercmp` with `~` and `^`. A test compares
//! it with librpm itself.
//!
//! A version and a release are read in segments: runs of digits, runs of letters, tildes and carets. Everything
//! else only parts them, so that `2.0` is `2_0`. Where two differ first, a tilde is less than the end, the end
//! less than a caret, a caret less than letters, letters less than digits. Letters stand by character, digits by
//! number.
//!
//! [`Version::parse`] is for what a person writes: it takes the characters that rpm lets a package be built with.
//! [`Version::parse_lax`] is for what a package database says, and takes any text in which there is a version;
//! characters outside ASCII part segments there, as they do for rpm. Two things differ from rpm on purpose: an
//! empty text is no version, and one with a zero byte, at which rpm would stop reading, is none either.

use super::digits;
use std::cmp::Ordering;
use thiserror::Error;

/// Why a text is no version of rpm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VersionError {
    /// No text.
    #[error("it is empty")]
    Empty,
    /// What stands before the first colon is no number. rpm takes the colon for a part of the version.
    #[error("the epoch before the colon is not a number")]
    EpochNoNumber,
    /// An epoch of more than 4294967295, which no package can have.
    #[error("the epoch is greater than 4294967295")]
    EpochTooBig,
    /// Nothing stands between the epoch and the release.
    #[error("the version itself is empty")]
    VersionEmpty,
    /// Nothing stands after the last hyphen.
    #[error("the release after the last hyphen is empty")]
    ReleaseEmpty,
    /// A character that versions do not have.
    #[error("a version is made of letters, digits and . _ + ~ ^")]
    Character,
    /// A zero byte.
    #[error("it has a zero byte in it")]
    Zero,
}

/// A version, as parts of the text it was read from. Two are equal if neither is newer: `1.0` is `0:1_00`.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    epoch: &'a str,
    upstream: &'a str,
    release: Option<&'a str>,
}

impl<'a> Version<'a> {
    /// Reads what a person wrote.
    pub fn parse(text: &'a str) -> Result<Self, VersionError> {
        let read = Self::parse_lax(text)?;
        if read.upstream.contains(':') {
            return Err(VersionError::EpochNoNumber);
        }
        if text.starts_with(':') {
            return Err(VersionError::EpochNoNumber);
        }
        if digits::compare(read.epoch, "4294967295").is_gt() {
            return Err(VersionError::EpochTooBig);
        }
        if read.upstream.is_empty() {
            return Err(VersionError::VersionEmpty);
        }
        if read.release == Some("") {
            return Err(VersionError::ReleaseEmpty);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '~' | '^');
        if !read.upstream.chars().chain(read.release.unwrap_or_default().chars()).all(plain) {
            return Err(VersionError::Character);
        }
        Ok(read)
    }

    /// Reads what a package database says.
    pub fn parse_lax(text: &'a str) -> Result<Self, VersionError> {
        if text.is_empty() {
            return Err(VersionError::Empty);
        }
        if text.contains('\0') {
            return Err(VersionError::Zero);
        }
        let (epoch, rest) = match digits::take(text, digits::is_digit) {
            (epoch, rest) if rest.starts_with(':') => (epoch, rest.get(1..).unwrap_or_default()),
            _ => ("", text),
        };
        let (upstream, release) = match rest.rsplit_once('-') {
            None => (rest, None),
            Some((upstream, release)) => (upstream, Some(release)),
        };
        Ok(Self { epoch, upstream, release })
    }

    /// What outweighs all else, in digits; empty if none was written, which is 0.
    pub fn epoch(&self) -> &'a str {
        self.epoch
    }

    /// The version of whoever makes the software.
    pub fn upstream(&self) -> &'a str {
        self.upstream
    }

    /// The version of the packaging, if one was written; without one it is less than with any.
    pub fn release(&self) -> Option<&'a str> {
        self.release
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        digits::compare(self.epoch, other.epoch)
            .then_with(|| compare_parts(self.upstream, other.upstream))
            .then_with(|| match (self.release, other.release) {
                (Some(a), Some(b)) => compare_parts(a, b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            })
    }
}

equal_as_ordered!();

/// What stands next in a version, from the least to the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment<'a> {
    Tilde,
    End,
    Caret,
    Letters(&'a str),
    Digits(&'a str),
}

/// Compares two versions, or two releases: `rpmvercmp`.
pub fn compare_parts(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (of_a, of_b);
        (of_a, a) = segment(a);
        (of_b, b) = segment(b);
        let order = match (of_a, of_b) {
            (Segment::End, Segment::End) => return Ordering::Equal,
            (Segment::Digits(a), Segment::Digits(b)) => digits::compare(a, b),
            (a, b) => a.cmp(&b),
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn segment(text: &str) -> (Segment<'_>, &str) {
    let text = text.trim_start_matches(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '~' | '^'));
    let after = text.get(1..).unwrap_or_default();
    match text.bytes().next() {
        None => (Segment::End, ""),
        Some(b'~') => (Segment::Tilde, after),
        Some(b'^') => (Segment::Caret, after),
        Some(b) if b.is_ascii_digit() => {
            let (digits, rest) = digits::take(text, digits::is_digit);
            (Segment::Digits(digits), rest)
        }
        Some(_) => {
            let (letters, rest) = digits::take(text, |b| b.is_ascii_alphabetic());
            (Segment::Letters(letters), rest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version<'_> {
        Version::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    /// From the least to the greatest.
    const RISING: &[&str] = &[
        "0~",
        "0",
        "0a",
        "1~~",
        "1~rc1",
        "1~rc1-1",
        "1~rc1^git1",
        "1",
        "1-0~",
        "1-0",
        "1-1.el9",
        "1-1.el9_4",
        "1-1.el10",
        "1^~",
        "1^",
        "1^20240101",
        "1^20240101^git1",
        "1a",
        "1b",
        "1.0",
        "1.0.1",
        "1.9",
        "1.10",
        "5.14.0-427.13.1.el9_4",
        "5.14.0-427.20.1.el9_4",
        "99999999999999999999998",
        "99999999999999999999999",
        "1:0",
        "4294967295:0",
    ];

    #[test]
    fn versions_rise_as_rpm_has_them() {
        crate::selector::version::tests::rise(RISING, version);
    }

    #[test]
    fn what_is_written_differently_may_be_equal() {
        for (a, b) in [("1.0", "0:1.0"), ("2.0", "2_0"), ("1.01", "1.1"), ("1.0", "1..0"), ("007:1", "7:1")] {
            assert_eq!(version(a), version(b), "{a} {b}");
        }
        assert_eq!(Version::parse_lax("1.é"), Version::parse_lax("1.ß"));
        assert_eq!(Version::parse_lax("é"), Version::parse_lax("+"));
    }

    #[test]
    fn what_a_person_may_not_write_is_named() {
        use VersionError::*;
        for (text, error) in [
            ("", Empty),
            (":1", EpochNoNumber),
            ("a:1", EpochNoNumber),
            ("4294967296:1", EpochTooBig),
            ("1:", VersionEmpty),
            ("-1", VersionEmpty),
            ("1:-1", VersionEmpty),
            ("1-", ReleaseEmpty),
            ("1 2", Character),
            ("1-2-3", Character),
            ("1-é", Character),
            ("1\0", Zero),
        ] {
            assert_eq!(Version::parse(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn a_version_knows_its_parts() {
        let version = version("2:1.0~rc1-3.el9");
        assert_eq!((version.epoch(), version.upstream(), version.release()), ("2", "1.0~rc1", Some("3.el9")));
        let lax = Version::parse_lax("a:b-c-d").unwrap();
        assert_eq!((lax.epoch(), lax.upstream(), lax.release()), ("", "a:b-c", Some("d")));
    }
}
