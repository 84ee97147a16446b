//! What stands on the left of a comparison, and so how the right is read.
//!
//! Nothing is guessed from the right side: a text that is not of the declared kind is an error, with what to
//! write instead. What a host says may be anything, and is then neither equal nor less nor more: unknown.

use super::address;
use super::number::{Number, Unit, size_meant};
use super::path::clipped;
use super::root::Root;
use super::spelling::nearest;
use super::version::{self, Ecosystem, natural};
use std::cmp::Ordering;

/// What the values at a path are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Text: it is the same or it is not.
    Text,
    /// One of these words.
    Words(&'static [&'static str]),
    /// One of these words, from the least to the greatest.
    Ranked(&'static [&'static str]),
    /// True or false.
    Boolean,
    /// A number of this unit.
    Number(Unit),
    /// A number of whatever unit was written: `num()`.
    AnyNumber,
    /// An address: it is the same, or it is in a range.
    Address,
    /// A version of a package of this root.
    Version(Root),
    /// A version of whatever package the row is about.
    RowVersion,
    /// A version of no known rule, in which runs of digits count as numbers: of systems, kernels, and `ver()`.
    Natural,
    /// A cell of which nothing is declared. Two whole numbers or sizes are compared as numbers; else texts, in
    /// which runs of digits count as numbers.
    Cell,
    /// A table or a row: it is there or it is not.
    Presence,
}

/// What is asked of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Is it the same?
    Equal,
    /// Is it less, or more?
    Order,
    /// Is it in a range, or among others?
    Within,
}

/// What is wrong with a value, and what to write instead.
pub(super) type Wrong = (String, Option<String>);

impl Kind {
    /// Whether values of it stand in an order.
    pub(super) fn is_ordered(self) -> bool {
        match self {
            Self::Text | Self::Words(_) | Self::Boolean | Self::Address | Self::Presence => false,
            Self::Ranked(_)
            | Self::Number(_)
            | Self::AnyNumber
            | Self::Version(_)
            | Self::RowVersion
            | Self::Natural
            | Self::Cell => true,
        }
    }

    /// Whether it is so little declared that `ver()` and `num()` may say more of it.
    pub(super) fn is_loose(self) -> bool {
        matches!(self, Self::Text | Self::Natural | Self::Cell)
    }

    /// Compares what a host has with what was written. Nothing if they cannot be compared. `package` is whose
    /// package the row is about.
    pub(super) fn compare(self, has: &str, written: &str, package: Option<Root>) -> Option<Ordering> {
        let among = |words: &[&str], word: &str| words.iter().position(|known| *known == word);
        match self {
            Self::Text | Self::Words(_) => Some(has.cmp(written)),
            Self::Ranked(words) => Some(among(words, has)?.cmp(&among(words, written)?)),
            Self::Boolean => Some(boolean(has)?.cmp(&boolean(written)?)),
            Self::Number(_) | Self::AnyNumber => {
                let (has, written) = (Number::read_lax(has)?, Number::read(written)?);
                let unit = match self {
                    Self::Number(unit) => unit,
                    _ => written.unit,
                };
                // What a host says without a unit is in that of the column.
                let alike = has.unit == unit || has.unit == Unit::Plain;
                alike.then(|| has.millionths.cmp(&written.millionths))
            }
            Self::Address => {
                Some(address::read(has)?.to_canonical().cmp(&address::read(written)?.to_canonical()))
            }
            Self::Version(root) => version_order(root, has, written),
            Self::RowVersion => version_order(package?, has, written),
            Self::Natural if has == written => Some(Ordering::Equal),
            Self::Natural => {
                let both = starts_with_digit(has) && starts_with_digit(written);
                both.then(|| natural(bare(has), bare(written)))
            }
            Self::Cell => {
                let number = |text| Number::read_lax(text).filter(counts_in_a_cell);
                match (number(has), number(written)) {
                    (Some(has), Some(written)) if has.unit == Unit::Plain || written.unit == Unit::Bytes => {
                        Some(has.millionths.cmp(&written.millionths))
                    }
                    (None, Some(written)) if written.unit == Unit::Bytes => None,
                    _ => Some(natural(has, written)),
                }
            }
            Self::Presence => None,
        }
    }

    /// Whether a value is the written one; nothing if that cannot be told.
    pub(super) fn is_same(self, has: &str, written: &str, package: Option<Root>) -> Option<bool> {
        match self {
            // Texts that stand in no order are known to differ all the same.
            Self::Natural => {
                Some(has == written || self.compare(has, written, package).is_some_and(Ordering::is_eq))
            }
            _ => self.compare(has, written, package).map(Ordering::is_eq),
        }
    }

    /// Whether a value is the written one, or in the written range; nothing if that cannot be told.
    pub(super) fn is_within(self, has: &str, written: &str, package: Option<Root>) -> Option<bool> {
        match self {
            Self::Address => Some(address::Range::read(written)?.holds(address::read(has)?)),
            _ => self.is_same(has, written, package),
        }
    }

    /// Checks what was written on the right.
    pub(super) fn check(self, written: &str, ask: Ask) -> Result<(), Wrong> {
        match self {
            Self::Words(words) | Self::Ranked(words) => check_word(words, written),
            Self::Boolean => check_boolean(written),
            Self::Number(unit) => check_number(unit, written),
            Self::AnyNumber => check_any_number(written),
            Self::Address => check_address(written, ask),
            Self::Version(root) => check_version(root, written),
            Self::RowVersion => check_row_version(written),
            Self::Natural if ask == Ask::Order && !starts_with_digit(written) => Err((
                format!("{} is no version", shown(written)),
                Some("a version starts with a digit, such as 12 or 6.1.0".to_owned()),
            )),
            Self::Cell if ask == Ask::Order => match size_meant(written) {
                Some(meant) => Err(unit_unknown(written, &meant)),
                None => Ok(()),
            },
            Self::Text | Self::Natural | Self::Cell | Self::Presence => Ok(()),
        }
    }
}

fn version_order(root: Root, has: &str, written: &str) -> Option<Ordering> {
    version::compare(Ecosystem::named(root.name())?, has, written)
}

fn check_version(root: Root, written: &str) -> Result<(), Wrong> {
    let Some(ecosystem) = Ecosystem::named(root.name()) else { return Ok(()) };
    let Err(why) = version::check(ecosystem, written) else { return Ok(()) };
    let tool = if ecosystem == Ecosystem::Deb { "dpkg" } else { root.name() };
    let hint = format!("write a version as {tool} shows it, such as {}", ecosystem.example());
    Err((format!("{} is no version of {} package: {why}", shown(written), one(root)), Some(hint)))
}

/// Its word after the article that it is said with.
fn one(root: Root) -> String {
    let article = if matches!(root, Root::Rpm | Root::Apk | Root::Npm) { "an" } else { "a" };
    format!("{article} {}", root.name())
}

fn check_row_version(written: &str) -> Result<(), Wrong> {
    if Ecosystem::EVERY.into_iter().any(|ecosystem| version::check(ecosystem, written).is_ok()) {
        return Ok(());
    }
    let hint = "write a version, such as 4.17.21, and before it whose: eco = npm".to_owned();
    Err((format!("{} is no version of any kind of package", shown(written)), Some(hint)))
}

fn boolean(text: &str) -> Option<bool> {
    // osquery's tables have numbers.
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn check_boolean(written: &str) -> Result<(), Wrong> {
    let hint = match written {
        "true" | "false" => return Ok(()),
        _ => match written.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" | "y" | "t" => "write true",
            "false" | "no" | "off" | "0" | "n" | "f" => "write false",
            _ => "write true or false",
        },
    };
    Err((format!("{} is neither true nor false", shown(written)), Some(hint.to_owned())))
}

fn check_word(words: &[&str], written: &str) -> Result<(), Wrong> {
    if words.contains(&written) {
        return Ok(());
    }
    let hint = match nearest(written, words.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("write one of {}", words.join(" ")),
    };
    Err((format!("{} is not a word that stands here", shown(written)), Some(hint)))
}

fn check_number(unit: Unit, written: &str) -> Result<(), Wrong> {
    let read = Number::read(written);
    let is = |wanted: Unit| read.is_some_and(|number| number.unit == wanted);
    let shown = shown(written);
    match unit {
        Unit::Plain if is(Unit::Plain) => Ok(()),
        Unit::Plain => {
            let digits: String = written.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            let hint = match Number::read(&digits) {
                Some(_) if digits.len() <= 20 => format!("write it without a unit: {digits}"),
                _ => "write a number without a unit, such as 3".to_owned(),
            };
            Err((format!("{shown} is no number"), Some(hint)))
        }
        Unit::Bytes if is(Unit::Bytes) || is(Unit::Plain) => Ok(()),
        Unit::Bytes => match size_meant(written) {
            Some(meant) => Err(unit_unknown(written, &meant)),
            None => Err((
                format!("{shown} is no size"),
                Some("write a number and a unit, such as 16GiB, or 16GB in powers of ten".to_owned()),
            )),
        },
        Unit::Percent => match read.filter(|number| number.unit == Unit::Percent) {
            Some(number) if (0..=100_000_000).contains(&number.millionths) => Ok(()),
            Some(_) => Err((format!("{shown} is no part of a whole"), Some("write 0% to 100%".to_owned()))),
            None if is(Unit::Plain) => {
                Err((format!("{shown} is no percentage"), Some(format!("write {written}%"))))
            }
            None => Err((format!("{shown} is no percentage"), Some("write it such as 90%".to_owned()))),
        },
        Unit::Seconds if is(Unit::Seconds) => Ok(()),
        Unit::Seconds => {
            let hint = if is(Unit::Plain) {
                format!("say of what: {written}s {written}m {written}h or {written}d")
            } else {
                "write it such as 90s 15m 2h or 7d".to_owned()
            };
            Err((format!("{shown} is no duration"), Some(hint)))
        }
    }
}

fn check_any_number(written: &str) -> Result<(), Wrong> {
    if Number::read(written).is_some() {
        return Ok(());
    }
    match size_meant(written) {
        Some(meant) => Err(unit_unknown(written, &meant)),
        None => Err((
            format!("{} is no number", shown(written)),
            Some("write a number, such as 3, 0.5, 16GiB, 90% or 7d".to_owned()),
        )),
    }
}

fn unit_unknown(written: &str, meant: &str) -> Wrong {
    (format!("{} is not in a unit that is known", shown(written)), Some(format!("write {meant}")))
}

fn check_address(written: &str, ask: Ask) -> Result<(), Wrong> {
    let shown = shown(written);
    let Some(range) = address::Range::read(written) else {
        let hint = if ask == Ask::Within {
            "write an address or a range, such as 10.20.0.0/16 or fd00::/8"
        } else {
            "write an address, such as 10.20.0.1 or fd00::1"
        };
        return Err((format!("{shown} is no address"), Some(hint.to_owned())));
    };
    if ask != Ask::Within && written.contains('/') {
        return Err((format!("{shown} is a range, not an address"), Some(format!("write in {written}"))));
    }
    if range.is_crooked() {
        let hint = format!("write {}/{}", range.begins(), range.bits());
        return Err((format!("{shown} does not stand at the beginning of its range"), Some(hint)));
    }
    Ok(())
}

/// Whole numbers and sizes: a point makes a version of it, and `5m` may be anything.
fn counts_in_a_cell(number: &Number) -> bool {
    match number.unit {
        Unit::Plain => !number.pointed,
        Unit::Bytes => true,
        Unit::Percent | Unit::Seconds => false,
    }
}

/// A version without the letter that some write before it.
fn bare(version: &str) -> &str {
    version.strip_prefix('v').unwrap_or(version)
}

fn starts_with_digit(version: &str) -> bool {
    bare(version).starts_with(|c: char| c.is_ascii_digit())
}

fn shown(written: &str) -> String {
    if written.is_empty() { "an empty text".to_owned() } else { clipped(written) }
}
