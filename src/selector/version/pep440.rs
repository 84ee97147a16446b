//! Python's order: the version specifiers of PEP 440, as the library `packaging` (and so pip) reads them. A test
//! compares it with that library.
//!
//! `[N!]N(.N)*[{a|b|rc}N][.postN][.devN][+local]`, with the other spellings that the specification takes: a `v`
//! in front, `alpha`, `beta`, `c`, `pre`, `preview`, `rev`, `r` and `-N`, letters of both cases, dots, hyphens
//! and underscores around words, numbers left out, white space around it all.
//!
//! Zeros at the end of the release do not count: `1.0` is `1`. A release in development comes first, then what
//! is before the release, the release, what comes after it. A local part is more than none; in it numbers are
//! more than words, and of two equal beginnings the longer one is more.
//!
//! Only ASCII letters and digits are taken, as the specification has it.

use super::digits;
use std::cmp::Ordering;
use thiserror::Error;

/// Why a text is no version of Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VersionError {
    /// No number where the release should be.
    #[error("the version does not start with a number")]
    NoNumber,
    /// What follows the release is none of what may.
    #[error(
        "the release is followed by a, b or rc, then post, then dev, each with a number, then + and a local part"
    )]
    Rest,
    /// What follows the plus is not words with dots.
    #[error("a local part is words of letters and digits with dots")]
    Local,
}

/// A version, as parts of the text it was read from. Two are equal if neither is newer: `1.0-1` is `v1.post1`.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    epoch: &'a str,
    release: &'a str,
    /// Which of [`BEFORE`], and its number.
    before: Option<(u8, &'a str)>,
    after: Option<&'a str>,
    development: Option<&'a str>,
    local: Option<&'a str>,
}

/// Words for what is before a release, the longer of two that begin alike first, and how each counts.
const BEFORE: [(&str, u8); 8] =
    [("alpha", 0), ("a", 0), ("beta", 1), ("b", 1), ("preview", 2), ("pre", 2), ("rc", 2), ("c", 2)];
const AFTER: [(&str, u8); 3] = [("post", 0), ("rev", 0), ("r", 0)];
const DEVELOPMENT: [(&str, u8); 1] = [("dev", 0)];

impl<'a> Version<'a> {
    /// Reads a version, of a person or of a package database.
    pub fn parse(text: &'a str) -> Result<Self, VersionError> {
        let text = text.trim_matches(is_blank);
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (epoch, text) = match digits::take(text, digits::is_digit) {
            (epoch, rest) if !epoch.is_empty() && rest.starts_with('!') => {
                (epoch, rest.get(1..).unwrap_or_default())
            }
            _ => ("", text),
        };
        let (release, rest) = release(text).ok_or(VersionError::NoNumber)?;
        let (before, rest) = part(rest, &BEFORE);
        let (after, rest) = match rest.strip_prefix('-').map(|rest| digits::take(rest, digits::is_digit)) {
            Some((number, rest)) if !number.is_empty() => (Some((0, number)), rest),
            _ => part(rest, &AFTER),
        };
        let (development, rest) = part(rest, &DEVELOPMENT);
        let local = match rest.strip_prefix('+') {
            Some(local) if local.split(['.', '-', '_']).all(is_word) => Some(local),
            Some(_) => return Err(VersionError::Local),
            None if rest.is_empty() => None,
            None => return Err(VersionError::Rest),
        };
        Ok(Self {
            epoch,
            release,
            before,
            after: after.map(|(_, number)| number),
            development: development.map(|(_, number)| number),
            local,
        })
    }
}

/// White space as Python has it.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The numbers with dots in front, and what follows them.
fn release(text: &str) -> Option<(&str, &str)> {
    let (first, mut rest) = digits::take(text, digits::is_digit);
    if first.is_empty() {
        return None;
    }
    while let Some((number, after)) = rest.strip_prefix('.').map(|rest| digits::take(rest, digits::is_digit))
        && !number.is_empty()
    {
        rest = after;
    }
    text.split_at_checked(text.len().saturating_sub(rest.len()))
}

/// One of `words` with its number, which is none where it was left out, and what follows; all of the text where
/// none of them stands. A mark may stand on either side of the word.
fn part<'a>(text: &'a str, words: &[(&str, u8)]) -> (Option<(u8, &'a str)>, &'a str) {
    const MARKS: [char; 3] = ['-', '_', '.'];
    let bare = text.strip_prefix(MARKS).unwrap_or(text);
    for (word, kind) in words {
        let Some((start, rest)) = bare.split_at_checked(word.len()) else { continue };
        if start.eq_ignore_ascii_case(word) {
            let rest = rest.strip_prefix(MARKS).unwrap_or(rest);
            let (number, rest) = digits::take(rest, digits::is_digit);
            return (Some((*kind, number)), rest);
        }
    }
    (None, text)
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        digits::compare(self.epoch, other.epoch)
            .then_with(|| compare_releases(self.release, other.release))
            .then_with(|| self.stage().cmp(&other.stage()))
            .then_with(|| compare_numbers(self.before.map(|(_, n)| n), other.before.map(|(_, n)| n)))
            .then_with(|| compare_numbers(self.after, other.after))
            // Without a word for development it is finished, which is more.
            .then_with(|| match (self.development, other.development) {
                (Some(a), Some(b)) => digits::compare(a, b),
                (a, b) => a.is_none().cmp(&b.is_none()),
            })
            .then_with(|| match (self.local, other.local) {
                (Some(a), Some(b)) => compare_local(a, b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            })
    }
}

impl Version<'_> {
    /// How far it has come: in development alone, before the release by word, or released.
    fn stage(&self) -> u8 {
        match (self.before, self.after, self.development) {
            (Some((kind, _)), _, _) => kind + 1,
            (None, None, Some(_)) => 0,
            (None, _, _) => 4,
        }
    }
}

fn compare_numbers(a: Option<&str>, b: Option<&str>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => digits::compare(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn compare_releases(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let (of_a, of_b) = (a.next(), b.next());
        if of_a.is_none() && of_b.is_none() {
            return Ordering::Equal;
        }
        let order = digits::compare(of_a.unwrap_or_default(), of_b.unwrap_or_default());
        if order.is_ne() {
            return order;
        }
    }
}

fn compare_local(a: &str, b: &str) -> Ordering {
    const MARKS: [char; 3] = ['.', '-', '_'];
    let (mut a, mut b) = (a.split(MARKS), b.split(MARKS));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (Some(a), Some(b)) => {
                let is_number = |word: &str| word.bytes().all(digits::is_digit);
                match (is_number(a), is_number(b)) {
                    (true, true) => digits::compare(a, b),
                    (false, false) => a
                        .bytes()
                        .map(|b| b.to_ascii_lowercase())
                        .cmp(b.bytes().map(|b| b.to_ascii_lowercase())),
                    (a, b) => a.cmp(&b),
                }
            }
            (a, b) => a.is_some().cmp(&b.is_some()),
        };
        if order.is_ne() {
            return order;
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
        "1.dev1",
        "1.dev2",
        "1a1.dev1",
        "1a1",
        "1a1.post1.dev1",
        "1a1.post1",
        "1b1",
        "1rc1",
        "1rc2",
        "1",
        "1+a",
        "1+a.1",
        "1+b",
        "1+0",
        "1+0.a",
        "1+0.1",
        "1+10",
        "1.post1.dev1",
        "1.post1",
        "1.0.1",
        "1.9",
        "1.10",
        "99999999999999999999998",
        "99999999999999999999999",
        "1!0",
    ];

    #[test]
    fn versions_rise_as_python_has_them() {
        crate::selector::version::tests::rise(RISING, version);
    }

    #[test]
    fn other_spellings_are_equal() {
        for (a, b) in [
            ("1.0.0", "1"),
            ("v1.0", "1"),
            ("0!1", "1"),
            ("1.01", "1.1"),
            ("1-alpha", "1a0"),
            ("1.Beta_2", "1b2"),
            ("1c1", "1rc1"),
            ("1preview1", "1rc1"),
            ("1-5", "1.post5"),
            ("1-r5", "1.post5"),
            ("1.rev", "1.post0"),
            ("1DEV", "1.dev0"),
            ("1a.", "1a0"),
            ("1a.dev1", "1a0.dev1"),
            ("1+Ubuntu-1", "1+ubuntu.1"),
            (" \t1.0\n", "1.0"),
        ] {
            assert_eq!(version(a), version(b), "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_version_is_named() {
        use VersionError::*;
        for (text, error) in [
            ("", NoNumber),
            ("v", NoNumber),
            ("lolwat", NoNumber),
            ("!1", NoNumber),
            (".1", NoNumber),
            ("1!", NoNumber),
            ("1.", Rest),
            ("1-", Rest),
            ("1..0", Rest),
            ("1. 0", Rest),
            ("1x", Rest),
            ("1-5-r", Rest),
            ("1.dev1a1", Rest),
            ("1é", Rest),
            ("1+", Local),
            ("1+a+", Local),
            ("1+_a", Local),
            ("1+é", Local),
        ] {
            assert_eq!(Version::parse(text).unwrap_err(), error, "{text:?}");
        }
    }
}
