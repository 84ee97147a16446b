//! The orders in which packages' versions stand: each as its ecosystem has it, bit for bit.
//!
//! It decides which of two versions is the newer one, and which texts are versions at all. What always holds:
//! every order is total, takes time in proportion to the text, and has no number that could overflow.
//!
//! It does not know where a version comes from, nor what a newer one is good for.

/// What follows for a `Version` from its total order: two that stand at one place are equal.
macro_rules! equal_as_ordered {
    () => {
        impl PartialOrd for Version<'_> {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl PartialEq for Version<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other) == Ordering::Equal
            }
        }

        impl Eq for Version<'_> {}
    };
}

pub mod apk;
pub mod deb;
mod digits;
mod natural;
pub mod pep440;
pub mod rpm;
pub mod semver;

pub use natural::compare as natural;

use std::cmp::Ordering;
use std::fmt;
use thiserror::Error;

/// Who made the rule by which versions are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ecosystem {
    /// Debian's dpkg.
    Deb,
    /// rpm.
    Rpm,
    /// Alpine's apk.
    Apk,
    /// Python's packages: PEP 440.
    Pip,
    /// npm's packages: Semantic Versioning.
    Npm,
}

impl Ecosystem {
    /// All that are known, in the order of their documentation.
    pub const EVERY: [Self; 5] = [Self::Deb, Self::Rpm, Self::Apk, Self::Pip, Self::Npm];

    /// Its word, which is the root of its packages in the targeting language.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Apk => "apk",
            Self::Pip => "pip",
            Self::Npm => "npm",
        }
    }

    /// A version as a person would write it.
    pub fn example(self) -> &'static str {
        match self {
            Self::Deb => "3.0.13-1~deb12u1",
            Self::Rpm => "5.14.0-427.13.1.el9_4",
            Self::Apk => "3.1.4-r5",
            Self::Pip => "2.31.0",
            Self::Npm => "4.17.21",
        }
    }

    /// The one with this word.
    pub fn named(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|ecosystem| ecosystem.name() == name)
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of two texts that were to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    First,
    /// The second.
    Second,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::Second => "second",
        })
    }
}

/// Why a text is no version of its ecosystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VersionError {
    /// Not one of dpkg's.
    #[error(transparent)]
    Deb(#[from] deb::VersionError),
    /// Not one of rpm's.
    #[error(transparent)]
    Rpm(#[from] rpm::VersionError),
    /// Not one of apk's.
    #[error(transparent)]
    Apk(#[from] apk::VersionError),
    /// Not one of Python's.
    #[error(transparent)]
    Pip(#[from] pep440::VersionError),
    /// Not one of npm's.
    #[error(transparent)]
    Npm(#[from] semver::VersionError),
}

/// One of two texts is no version. Nothing was compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the {side} is no {ecosystem} version: {why}")]
pub struct CompareError {
    /// Which of the two; the first one, if neither is a version.
    pub side: Side,
    /// Whose versions were expected.
    pub ecosystem: Ecosystem,
    /// What is wrong with it.
    pub why: VersionError,
}

/// A version of some ecosystem, as parts of the text it was read from.
#[derive(Clone, Copy, Debug)]
enum Version<'a> {
    Deb(deb::Version<'a>),
    Rpm(rpm::Version<'a>),
    Apk(apk::Version<'a>),
    Pip(pep440::Version<'a>),
    Npm(semver::Version<'a>),
}

impl<'a> Version<'a> {
    fn parse(ecosystem: Ecosystem, text: &'a str) -> Result<Self, VersionError> {
        Ok(match ecosystem {
            Ecosystem::Deb => Self::Deb(deb::Version::parse(text)?),
            Ecosystem::Rpm => Self::Rpm(rpm::Version::parse(text)?),
            Ecosystem::Apk => Self::Apk(apk::Version::parse(text)?),
            Ecosystem::Pip => Self::Pip(pep440::Version::parse(text)?),
            Ecosystem::Npm => Self::Npm(semver::Version::parse(text)?),
        })
    }

    fn parse_lax(ecosystem: Ecosystem, text: &'a str) -> Result<Self, VersionError> {
        Ok(match ecosystem {
            Ecosystem::Deb => Self::Deb(deb::Version::parse_lax(text)?),
            Ecosystem::Rpm => Self::Rpm(rpm::Version::parse_lax(text)?),
            Ecosystem::Npm => Self::Npm(semver::Version::parse_lax(text)?),
            // These have one reading.
            Ecosystem::Apk | Ecosystem::Pip => return Self::parse(ecosystem, text),
        })
    }

    /// Compares two of one ecosystem; nothing for two of different ones.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Deb(a), Self::Deb(b)) => Some(a.cmp(b)),
            (Self::Rpm(a), Self::Rpm(b)) => Some(a.cmp(b)),
            (Self::Apk(a), Self::Apk(b)) => Some(a.cmp(b)),
            (Self::Pip(a), Self::Pip(b)) => Some(a.cmp(b)),
            (Self::Npm(a), Self::Npm(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// Compares two versions as package databases have them: what an ecosystem's own tools read is read, even where
/// a person may not write it. Nothing if either is no version of `ecosystem`.
pub fn compare(ecosystem: Ecosystem, first: &str, second: &str) -> Option<Ordering> {
    let first = Version::parse_lax(ecosystem, first).ok()?;
    first.compare(&Version::parse_lax(ecosystem, second).ok()?)
}

/// Checks a version that a person wrote: it must keep the rule of `ecosystem` to the letter.
pub fn check(ecosystem: Ecosystem, text: &str) -> Result<(), VersionError> {
    Version::parse(ecosystem, text).map(|_| ())
}

/// Compares two versions that a person wrote; see [`check`].
pub fn compare_written(ecosystem: Ecosystem, first: &str, second: &str) -> Result<Ordering, CompareError> {
    let read =
        |side, text| Version::parse(ecosystem, text).map_err(|why| CompareError { side, ecosystem, why });
    let (first, second) = (read(Side::First, first)?, read(Side::Second, second)?);
    // Both are of one ecosystem, so that there is an order.
    Ok(first.compare(&second).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each is before all that come after it, and after all before it.
    pub(super) fn rise<V: Ord>(texts: &[&'static str], version: impl Fn(&'static str) -> V) {
        for (i, a) in texts.iter().enumerate() {
            for (j, b) in texts.iter().enumerate() {
                assert_eq!(version(a).cmp(&version(b)), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn who_is_no_version_is_named() {
        assert_eq!(compare_written(Ecosystem::Deb, "1.0~rc1", "1.0"), Ok(Ordering::Less));
        let why = VersionError::Deb(deb::VersionError::NoDigit);
        let ecosystem = Ecosystem::Deb;
        assert_eq!(
            compare_written(ecosystem, "v1", "1"),
            Err(CompareError { side: Side::First, ecosystem, why })
        );
        let error = compare_written(ecosystem, "1", "v1").unwrap_err();
        assert_eq!(error.side, Side::Second);
        assert_eq!(
            error.to_string(),
            "the second is no deb version: the version does not start with a digit"
        );
        assert_eq!(compare_written(ecosystem, "", "v1").unwrap_err().side, Side::First);
    }

    #[test]
    fn what_a_database_has_is_compared_with_what_was_written() {
        assert_eq!(compare(Ecosystem::Npm, "1.2.3beta", "1.2.3"), Some(Ordering::Less));
        assert!(compare_written(Ecosystem::Npm, "1.2.3beta", "1.2.3").is_err());
        assert_eq!(compare(Ecosystem::Apk, "1bc", "1"), None);
    }

    #[test]
    fn one_text_is_ordered_as_its_ecosystem_has_it() {
        use Ecosystem::*;
        for (ecosystem, expected) in [
            (Deb, Some(Ordering::Greater)),
            (Rpm, Some(Ordering::Greater)),
            (Apk, None),
            (Pip, None),
            (Npm, Some(Ordering::Less)),
        ] {
            assert_eq!(compare(ecosystem, "1.0.0-x", "1.0.0"), expected, "{ecosystem}");
        }
    }

    #[test]
    fn ecosystems_are_found_by_their_word() {
        for ecosystem in Ecosystem::EVERY {
            assert_eq!(Ecosystem::named(ecosystem.name()), Some(ecosystem));
            assert_eq!(check(ecosystem, ecosystem.example()), Ok(()), "{ecosystem}");
        }
        assert_eq!(Ecosystem::named("Deb"), None);
    }

    /// Close to each other, so that every rule is reached.
    fn near() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "([01][:!])?v?[0-2](\\.[0-2]{1,3}){0,3}[-._]?(a|b|rc|beta|p|pre|dev|post|git)?[0-2]{0,2}([-.+~^_][0-2a]{1,3}){0,2}(-r?[0-2]{1,2})?",
            2 => "[0-2]\\.[0-2]\\.[0-2]{1,2}[-.]?[0-1aA-]{0,3}(\\.[0-1a-]{1,2}){0,2}(\\+[0a])?",
            1 => "[0-1~^.+a_é]{0,6}",
            1 => "\\PC{0,8}",
            1 => "[0-9]{1,60}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn every_order_is_total(texts in prop::collection::vec(near(), 3)) {
            for ecosystem in Ecosystem::EVERY {
                let read: Vec<&String> =
                    texts.iter().filter(|text| compare(ecosystem, text, text).is_some()).collect();
                for x in &read {
                    prop_assert_eq!(compare(ecosystem, x, x), Some(Ordering::Equal));
                    for y in &read {
                        let order = compare(ecosystem, x, y).unwrap();
                        prop_assert_eq!(Some(order.reverse()), compare(ecosystem, y, x));
                        for z in &read {
                            let (next, both) = (compare(ecosystem, y, z).unwrap(), compare(ecosystem, x, z).unwrap());
                            prop_assert!(!(order.is_le() && next.is_le()) || both.is_le(), "{x:?} {y:?} {z:?}");
                            prop_assert!(!(order.is_eq() && next.is_eq()) || both.is_eq(), "{x:?} {y:?} {z:?}");
                        }
                    }
                }
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in prop_oneof![any::<String>(), near()], nines in 0usize..4000) {
            let long = format!("{}{text}", "9".repeat(nines));
            for text in [&text, &long] {
                for ecosystem in Ecosystem::EVERY {
                    if check(ecosystem, text).is_ok() {
                        prop_assert_eq!(compare(ecosystem, text, text), Some(Ordering::Equal));
                    }
                }
            }
        }
    }
}
