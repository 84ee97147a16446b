//! dpkg's order: `[epoch:]upstream[-revision]`, after deb-version(7) and dpkg's `lib/dpkg/version.c` and
//! `parsehelp.c`. A test compares it with libdpkg itself.
//!
//! There are two readings. [`Version::parse`] is for what a person writes: it refuses whatever dpkg refuses
//! and whatever dpkg warns of. [`Version::parse_lax`] is for what a package database says: what dpkg only
//! warns of (no digit in front, an odd character) is read, since dpkg installs and orders such versions too.
//! Both take spaces and tabs around a version, and `+1:` and `-0:` as epochs, as dpkg does.
//!
//! Two things differ from dpkg on purpose. An empty text is no version; `dpkg --compare-versions` takes it for
//! one before or after all others, as the operator has it. And a character outside ASCII is refused in both
//! readings: dpkg warns and then orders it by whether `char` has a sign on that machine, and what is asked here
//! must come out the same everywhere.

use std::cmp::Ordering;
use thiserror::Error;

/// Why a text is no version of dpkg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VersionError {
    /// Nothing but spaces.
    #[error("it is empty")]
    Empty,
    /// A space or a tab between other characters.
    #[error("it has a space in it")]
    Space,
    /// Nothing stands before the first colon.
    #[error("the epoch before the colon is empty")]
    EpochEmpty,
    /// What stands before the first colon is no number.
    #[error("the epoch before the colon is not a number")]
    EpochNoNumber,
    /// A negative epoch.
    #[error("the epoch is negative")]
    EpochNegative,
    /// An epoch of more than 2147483647.
    #[error("the epoch is greater than 2147483647")]
    EpochTooBig,
    /// Nothing stands after the colon of the epoch.
    #[error("nothing stands after the epoch")]
    NothingAfterEpoch,
    /// Nothing stands after the last hyphen.
    #[error("the revision after the last hyphen is empty")]
    RevisionEmpty,
    /// Nothing stands before the last hyphen.
    #[error("nothing stands before the hyphen")]
    UpstreamEmpty,
    /// The upstream version starts with something else. dpkg warns of this.
    #[error("the version does not start with a digit")]
    NoDigit,
    /// A character that versions do not have. dpkg warns of this, if it is an ASCII character.
    #[error("a version is made of letters, digits and . + - ~ :")]
    Character,
    /// A character in the revision that revisions do not have. dpkg warns of this.
    #[error("a revision is made of letters, digits and . + ~")]
    RevisionCharacter,
}

/// A version, as parts of the text it was read from. Two are equal if neither is newer: `1.0` is `0:1.00-0`.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    epoch: u32,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Version<'a> {
    /// Reads what a person wrote.
    pub fn parse(text: &'a str) -> Result<Self, VersionError> {
        let version = Self::parse_lax(text)?;
        if !version.upstream.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(VersionError::NoDigit);
        }
        let plain = |marks: &'static [char]| move |c: char| c.is_ascii_alphanumeric() || marks.contains(&c);
        if !version.upstream.chars().all(plain(&['.', '-', '+', '~', ':'])) {
            return Err(VersionError::Character);
        }
        if !version.revision.chars().all(plain(&['.', '+', '~'])) {
            return Err(VersionError::RevisionCharacter);
        }
        Ok(version)
    }

    /// Reads what a package database says: what dpkg warns of and takes is taken.
    pub fn parse_lax(text: &'a str) -> Result<Self, VersionError> {
        const BLANK: [char; 2] = [' ', '\t'];
        let text = text.trim_matches(BLANK);
        if text.is_empty() {
            return Err(VersionError::Empty);
        }
        if text.contains(BLANK) {
            return Err(VersionError::Space);
        }
        if !text.is_ascii() || text.contains('\0') {
            return Err(VersionError::Character);
        }
        let (epoch, rest) = match text.split_once(':') {
            None => (0, text),
            Some(("", _)) => return Err(VersionError::EpochEmpty),
            Some((epoch, rest)) => (read_epoch(epoch)?, rest),
        };
        if rest.is_empty() {
            return Err(VersionError::NothingAfterEpoch);
        }
        let (upstream, revision) = match rest.rsplit_once('-') {
            None => (rest, ""),
            Some((_, "")) => return Err(VersionError::RevisionEmpty),
            Some(parts) => parts,
        };
        if upstream.is_empty() {
            return Err(VersionError::UpstreamEmpty);
        }
        Ok(Self { epoch, upstream, revision })
    }

    /// What outweighs all else; 0 if none was written.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The version of whoever makes the software.
    pub fn upstream(&self) -> &'a str {
        self.upstream
    }

    /// The version of the packaging; empty if none was written, which is the same as `0`.
    pub fn revision(&self) -> &'a str {
        self.revision
    }
}

/// Reads an epoch as `strtol` does: white space, one sign, digits.
fn read_epoch(text: &str) -> Result<u32, VersionError> {
    let digits = text.trim_start_matches(['\n', '\u{b}', '\u{c}', '\r']);
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(VersionError::EpochNoNumber);
    }
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    if negative {
        return Err(VersionError::EpochNegative);
    }
    let epoch = digits.parse::<i32>().map_err(|_| VersionError::EpochTooBig)?;
    u32::try_from(epoch).map_err(|_| VersionError::EpochNegative)
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare_parts(self.upstream, other.upstream))
            .then_with(|| compare_parts(self.revision, other.revision))
    }
}

equal_as_ordered!();

/// Compares two upstream versions, or two revisions: in turns what is no digit, by character, and digits, by
/// number. dpkg's `verrevcmp`.
pub(super) fn compare_parts(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        while starts_with_mark(a) || starts_with_mark(b) {
            let order = weight(a).cmp(&weight(b));
            if order.is_ne() {
                return order;
            }
            // Equal weights are equal characters: the end and digits weigh less than any mark but a tilde.
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let (number_a, number_b);
        (number_a, a) = number(a);
        (number_b, b) = number(b);
        let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn starts_with_mark(text: &[u8]) -> bool {
    text.first().is_some_and(|b| !b.is_ascii_digit())
}

/// How much the first character counts: a tilde less than the end, letters less than other marks.
fn weight(text: &[u8]) -> i32 {
    match text.first() {
        Some(b'~') => -1,
        Some(b) if b.is_ascii_digit() => 0,
        Some(b) if b.is_ascii_alphabetic() => i32::from(*b),
        Some(b) => i32::from(*b) + 256,
        None => 0,
    }
}

/// The digits in front without leading zeros, however many there are, and what follows.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let zeros = text.iter().take_while(|b| **b == b'0').count();
    let text = text.get(zeros..).unwrap_or_default();
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    text.split_at_checked(digits).unwrap_or((text, &[]))
}

/// Whether a package of dpkg may have this name: dpkg's own rule, with the small letters of its database.
pub fn is_package_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain) && name.chars().all(|c| plain(c) || matches!(c, '-' | '+' | '.' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version<'_> {
        Version::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    /// From the least to the greatest.
    const RISING: &[&str] = &[
        "0~~",
        "0~",
        "0",
        "0a",
        "0+",
        "1.0~~",
        "1.0~~a",
        "1.0~",
        "1.0~rc1",
        "1.0",
        "1.0-0+b1",
        "1.0-1~bpo12+1",
        "1.0-1",
        "1.0-1+b1",
        "1.0-1.1",
        "1.0-10",
        "1.0a",
        "1.0+dfsg-1",
        "1.0-1-1",
        "1.0.1",
        "1.9",
        "1.10",
        "3.0.13-1~deb12u1",
        "3.0.13-1",
        "99999999999999999999998",
        "99999999999999999999999",
        "100000000000000000000000",
        "1:0",
        "1:0:1",
        "2:0~",
        "2147483647:0",
    ];

    #[test]
    fn versions_rise_as_dpkg_has_them() {
        crate::selector::version::tests::rise(RISING, version);
    }

    #[test]
    fn what_is_written_differently_may_be_equal() {
        for (a, b) in [
            ("1.0", "0:1.0"),
            ("1.0", "1.0-0"),
            ("1.0", "01.000"),
            (" 1.0\t", "1.0"),
            ("+1:1", "1:1"),
            ("-0:1", "1"),
            ("1.", "1.0"),
            ("0000000000000000000000000000000000000001:1", "1:1"),
        ] {
            assert_eq!(version(a), version(b), "{a} {b}");
        }
    }

    #[test]
    fn what_dpkg_refuses_is_no_version() {
        use VersionError::*;
        for (text, error) in [
            ("", Empty),
            (" \t", Empty),
            ("1 0", Space),
            ("1:1 2", Space),
            (":1", EpochEmpty),
            ("a:1", EpochNoNumber),
            ("1a:1", EpochNoNumber),
            ("+:1", EpochNoNumber),
            ("+-1:1", EpochNoNumber),
            ("-1:1", EpochNegative),
            ("-99999999999999999999:1", EpochNegative),
            ("2147483648:1", EpochTooBig),
            ("99999999999999999999:1", EpochTooBig),
            ("1:", NothingAfterEpoch),
            ("1-", RevisionEmpty),
            ("-", RevisionEmpty),
            ("-1", UpstreamEmpty),
            ("1:-1", UpstreamEmpty),
            ("1é", Character),
            ("1\0", Character),
        ] {
            assert_eq!(Version::parse(text).unwrap_err(), error, "{text:?}");
            assert_eq!(Version::parse_lax(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn what_dpkg_warns_of_is_read_from_a_database_alone() {
        use VersionError::*;
        for (text, error) in [
            ("v1", NoDigit),
            ("y", NoDigit),
            ("~1", NoDigit),
            ("1:a", NoDigit),
            ("1_2", Character),
            ("1\n", Character),
            ("1^1", Character),
            ("1:1-1:1", RevisionCharacter),
            ("1-1_1", RevisionCharacter),
        ] {
            assert!(Version::parse_lax(text).is_ok(), "{text:?}");
            assert_eq!(Version::parse(text).unwrap_err(), error, "{text:?}");
        }
        assert!(Version::parse_lax("1^1").unwrap() > version("1a1"));
    }

    #[test]
    fn a_version_knows_its_parts() {
        let version = version("2:1.0-rc1-3");
        assert_eq!((version.epoch(), version.upstream(), version.revision()), (2, "1.0-rc1", "3"));
        assert_eq!(Version::parse("1").unwrap().revision(), "");
    }

    #[test]
    fn package_names() {
        for name in ["openssl", "libstdc++6", "python3.11", "x", "0ad"] {
            assert!(is_package_name(name), "{name}");
        }
        for name in ["", "-a", "libc6:amd64", "OpenSSL", "a b", "é"] {
            assert!(!is_package_name(name), "{name}");
        }
    }

    /// Close to each other, so that every rule is reached.
    fn near() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "([01]:)?[0-2][.~+a-]?[0-2]{0,3}[.~+ab]?0{0,2}[0-1]{0,2}(-[0-1~+b]{1,3})?",
            1 => "\\PC{0,8}",
            1 => "[0-9]{1,60}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn the_order_is_total(a in near(), b in near(), c in near()) {
            let read: Vec<Version<'_>> =
                [&a, &b, &c].into_iter().filter_map(|text| Version::parse_lax(text).ok()).collect();
            for x in &read {
                prop_assert_eq!(x.cmp(x), Ordering::Equal);
                for y in &read {
                    prop_assert_eq!(x.cmp(y), y.cmp(x).reverse());
                    for z in &read {
                        prop_assert!(!(x <= y && y <= z) || x <= z, "{x:?} {y:?} {z:?}");
                        prop_assert!(!(x == y && y == z) || x == z, "{x:?} {y:?} {z:?}");
                    }
                }
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), zeros in 0usize..4000) {
            let long = format!("{}{text}", "9".repeat(zeros));
            for text in [&text, &long] {
                if let Ok(strict) = Version::parse(text) {
                    prop_assert_eq!(Version::parse_lax(text), Ok(strict));
                }
            }
        }
    }
}
