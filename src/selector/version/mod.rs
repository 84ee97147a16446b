//! The orders in which packages' versions stand: each as its ecosystem has it, bit for bit.
//!
//! It decides which of two versions is the newer one, and which texts are versions at all. What always holds:
//! every order is total, takes time in proportion to the text, and has no number that could overflow.
//!
//! It does not know where a version comes from, nor what a newer one is good for.

pub mod deb;
mod natural;

pub use natural::compare as natural;

use std::cmp::Ordering;
use std::fmt;
use thiserror::Error;

/// Who made the rule by which versions are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ecosystem {
    /// Debian's dpkg.
    Deb,
}

impl Ecosystem {
    /// All that are known, in the order of their documentation.
    pub const EVERY: [Self; 1] = [Self::Deb];

    /// Its word, which is the root of its packages in the targeting language.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deb => "deb",
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

/// One of two texts is no version. Nothing was compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the {side} is no {ecosystem} version: {why}")]
pub struct CompareError {
    /// Which of the two; the first one, if neither is a version.
    pub side: Side,
    /// Whose versions were expected.
    pub ecosystem: Ecosystem,
    /// What is wrong with it.
    pub why: deb::VersionError,
}

/// Compares two versions that a person wrote: each must keep the rule of `ecosystem` to the letter.
pub fn compare(ecosystem: Ecosystem, first: &str, second: &str) -> Result<Ordering, CompareError> {
    let read = |side, text| deb::Version::parse(text).map_err(|why| CompareError { side, ecosystem, why });
    match ecosystem {
        Ecosystem::Deb => Ok(read(Side::First, first)?.cmp(&read(Side::Second, second)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_no_version_is_named() {
        assert_eq!(compare(Ecosystem::Deb, "1.0~rc1", "1.0"), Ok(Ordering::Less));
        let why = deb::VersionError::NoDigit;
        let ecosystem = Ecosystem::Deb;
        assert_eq!(compare(ecosystem, "v1", "1"), Err(CompareError { side: Side::First, ecosystem, why }));
        let error = compare(ecosystem, "1", "v1").unwrap_err();
        assert_eq!(error.side, Side::Second);
        assert_eq!(
            error.to_string(),
            "the second is no deb version: the version does not start with a digit"
        );
        assert_eq!(compare(ecosystem, "", "v1").unwrap_err().side, Side::First);
    }

    #[test]
    fn ecosystems_are_found_by_their_word() {
        for ecosystem in Ecosystem::EVERY {
            assert_eq!(Ecosystem::named(ecosystem.name()), Some(ecosystem));
        }
        assert_eq!(Ecosystem::named("Deb"), None);
    }
}
