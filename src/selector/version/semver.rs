//! npm's order: Semantic Versioning 2.0.0, read as node-semver reads it. A test compares it with node-semver.
//!
//! `major.minor.patch`, then identifiers after a hyphen that make it a version before the release, then a build
//! after a plus, which does not count. Identifiers of digits stand by number and before all others, which stand
//! by character; of two equal beginnings the shorter one is less.
//!
//! [`Version::parse`] is for what a person writes, and takes what node-semver takes strictly: a `v` in front and
//! white space around are allowed. [`Version::parse_lax`] is for what a package database says, and takes what
//! npm takes of old packages (node-semver's loose mode): also `=`, zeros in front of numbers, and identifiers
//! without the hyphen, as in `1.2.3beta`.
//!
//! *Why not the crate `semver`*: it is Cargo's reading. It refuses the `v`, everything that loose mode takes, and
//! numbers of identifiers beyond 64 bits, and takes numbers that npm refuses (above 2^53 - 1, or in more than 256
//! characters). One thing differs from node-semver on purpose: identifiers of digits are compared exactly, as
//! the specification has it; node-semver rounds them to a 64-bit float, and 9007199254740993 is then equal to
//! its neighbour.

use super::digits;
use std::cmp::Ordering;
use thiserror::Error;

/// Why a text is no version of npm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VersionError {
    /// More than 256 characters.
    #[error("it is longer than 256 characters")]
    Long,
    /// There are not three numbers with dots in front.
    #[error("a version starts with three numbers, as in 1.2.3")]
    Numbers,
    /// A number with zeros in front of it.
    #[error("its numbers do not start with 0")]
    Zero,
    /// One of the three numbers is more than 9007199254740991.
    #[error("a number is greater than 9007199254740991")]
    TooBig,
    /// What follows the numbers is neither identifiers nor a build.
    #[error("the numbers are followed by - or + and identifiers of letters, digits and hyphens, with dots")]
    Identifiers,
}

const LENGTH_MAX: usize = 256;
/// The greatest whole number that a number of JavaScript holds exactly.
const NUMBER_MAX: &str = "9007199254740991";

/// A version, as parts of the text it was read from. Two are equal if neither is newer: builds do not count.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    numbers: [&'a str; 3],
    before: &'a str,
}

impl<'a> Version<'a> {
    /// Reads what a person wrote.
    pub fn parse(text: &'a str) -> Result<Self, VersionError> {
        let text = trimmed(text)?;
        let (numbers, rest) = three_numbers(text.strip_prefix('v').unwrap_or(text))?;
        if numbers.iter().any(|number| has_zeros(number)) {
            return Err(VersionError::Zero);
        }
        let (before, build) = match rest.split_once('+') {
            Some((before, build)) => (before, Some(build)),
            None => (rest, None),
        };
        let before = if before.is_empty() {
            ""
        } else {
            let before = before.strip_prefix('-').ok_or(VersionError::Identifiers)?;
            if !are_identifiers(before) {
                return Err(VersionError::Identifiers);
            }
            if before.split('.').any(|word| is_number(word) && has_zeros(word)) {
                return Err(VersionError::Zero);
            }
            before
        };
        if !build.is_none_or(are_identifiers) {
            return Err(VersionError::Identifiers);
        }
        Self { numbers, before }.bounded()
    }

    /// Reads what a package database says.
    pub fn parse_lax(text: &'a str) -> Result<Self, VersionError> {
        let text = trimmed(text)?;
        let text = text.trim_start_matches(|c| matches!(c, 'v' | '=') || is_blank(c));
        let (numbers, rest) = three_numbers(text)?;
        if let Some(before) = loose_identifiers(rest) {
            return Self { numbers, before }.bounded();
        }
        // What looks like the last number may end in the first identifier: 1.2.34.5 is 1.2.3 with 4.5.
        let [major, minor, patch] = numbers;
        let (patch, start) = patch.split_at_checked(patch.len().saturating_sub(1)).unwrap_or((patch, ""));
        let rest = text.get(text.len().saturating_sub(rest.len() + start.len())..).unwrap_or_default();
        match loose_identifiers(rest) {
            Some(before) if !patch.is_empty() => Self { numbers: [major, minor, patch], before }.bounded(),
            _ => Err(VersionError::Identifiers),
        }
    }

    fn bounded(self) -> Result<Self, VersionError> {
        if self.numbers.iter().any(|number| digits::compare(number, NUMBER_MAX).is_gt()) {
            return Err(VersionError::TooBig);
        }
        Ok(self)
    }

    /// Its three numbers, in digits.
    pub fn numbers(&self) -> [&'a str; 3] {
        self.numbers
    }

    /// The identifiers that make it a version before the release; empty for the release.
    pub fn before(&self) -> &'a str {
        self.before
    }
}

fn trimmed(text: &str) -> Result<&str, VersionError> {
    // Counted as JavaScript does, which is at most once a byte.
    if text.len() > LENGTH_MAX && (text.len() > 3 * LENGTH_MAX || text.encode_utf16().count() > LENGTH_MAX) {
        return Err(VersionError::Long);
    }
    Ok(text.trim_matches(is_blank))
}

/// White space as JavaScript has it.
fn is_blank(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

fn three_numbers(text: &str) -> Result<([&str; 3], &str), VersionError> {
    let (major, rest) = digits::take(text, digits::is_digit);
    let (minor, rest) = digits::take(rest.strip_prefix('.').unwrap_or_default(), digits::is_digit);
    let (patch, rest) = digits::take(rest.strip_prefix('.').unwrap_or_default(), digits::is_digit);
    if [major, minor, patch].contains(&"") {
        Err(VersionError::Numbers)
    } else {
        Ok(([major, minor, patch], rest))
    }
}

/// What stands between the numbers and the build, if both are right for loose mode. The hyphen is part of the
/// first identifier where nothing else would be left of it.
fn loose_identifiers(rest: &str) -> Option<&str> {
    let (before, build) = match rest.split_once('+') {
        Some((before, build)) => (before, Some(build)),
        None => (rest, None),
    };
    if !build.is_none_or(are_identifiers) {
        return None;
    }
    let bare = before.strip_prefix('-').unwrap_or(before);
    match before {
        "" => Some(""),
        _ if are_identifiers(bare) => Some(bare),
        _ if are_identifiers(before) => Some(before),
        _ => None,
    }
}

fn are_identifiers(text: &str) -> bool {
    text.split('.')
        .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_digit())
}

fn has_zeros(number: &str) -> bool {
    number.len() > 1 && number.starts_with('0')
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        for (a, b) in self.numbers.iter().zip(other.numbers) {
            let order = digits::compare(a, b);
            if order.is_ne() {
                return order;
            }
        }
        match (self.before, other.before) {
            ("", b) => (!b.is_empty()).cmp(&false),
            (_, "") => Ordering::Less,
            (a, b) => a.split('.').map(Identifier::of).cmp(b.split('.').map(Identifier::of)),
        }
    }
}

/// One of the words between dots. Numbers are less than other words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier<'a> {
    /// How many digits, and which: without zeros in front the longer one is more.
    Number(usize, &'a str),
    Word(&'a str),
}

impl<'a> Identifier<'a> {
    fn of(word: &'a str) -> Self {
        if !is_number(word) {
            return Self::Word(word);
        }
        let word = word.trim_start_matches('0');
        Self::Number(word.len(), word)
    }
}

equal_as_ordered!();

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version<'_> {
        Version::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    /// From the least to the greatest. The ones with alpha, beta and rc are those of the specification's item 11.
    const RISING: &[&str] = &[
        "0.0.0-0",
        "0.0.0",
        "0.0.1",
        "0.9.0",
        "0.10.0",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "2.0.0-0",
        "2.0.0-9007199254740992",
        "2.0.0-9007199254740993",
        "2.0.0--",
        "2.0.0--1",
        "2.0.0-A",
        "2.0.0-a",
        "2.0.0-a-b",
        "2.0.0",
        "4.17.21",
        "9007199254740991.0.0",
    ];

    #[test]
    fn versions_rise_as_semver_has_them() {
        crate::selector::version::tests::rise(RISING, version);
    }

    #[test]
    fn a_build_and_a_v_do_not_count() {
        for (a, b) in [("1.2.3+a.b", "1.2.3"), ("v1.2.3", "1.2.3"), (" v1.2.3-rc.1+x \n", "1.2.3-rc.1")] {
            assert_eq!(version(a), version(b), "{a} {b}");
        }
    }

    #[test]
    fn what_a_person_may_not_write_is_named() {
        use VersionError::*;
        let long = format!("1.2.3-{}", "a".repeat(251));
        for (text, error) in [
            ("", Numbers),
            ("1", Numbers),
            ("1.2", Numbers),
            ("1.2.x", Numbers),
            ("=1.2.3", Numbers),
            ("vv1.2.3", Numbers),
            ("01.2.3", Zero),
            ("1.2.3-01", Zero),
            ("1.2.3.4", Identifiers),
            ("1.2.3beta", Identifiers),
            ("1.2.3-", Identifiers),
            ("1.2.3-a..b", Identifiers),
            ("1.2.3+", Identifiers),
            ("1.2.3+a+b", Identifiers),
            ("1.2.3-é", Identifiers),
            ("9007199254740992.0.0", TooBig),
            (&long, Long),
        ] {
            assert_eq!(Version::parse(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn what_npm_has_of_old_is_read_from_a_database_alone() {
        for (text, same) in [
            ("=v 1.2.3", "1.2.3"),
            ("01.02.03", "1.2.3"),
            ("1.2.3beta", "1.2.3-beta"),
            ("1.2.3-01", "1.2.3-1"),
            ("1.2.3beta.1+x", "1.2.3-beta.1"),
            ("1.2.34.5", "1.2.3-4.5"),
            ("1.2.3-", "1.2.3--"),
        ] {
            assert!(Version::parse(text).is_err(), "{text}");
            assert_eq!(Version::parse_lax(text), Ok(version(same)), "{text}");
        }
        for text in ["1.2.3.4", "1.2", "1.2.3+", "1.2.3é", "1.2.3.", "1.2.34."] {
            assert!(Version::parse_lax(text).is_err(), "{text}");
        }
    }
}
