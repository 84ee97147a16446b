//! How the two sides of a comparison are read. The kind of what stands on the left decides.

use super::number::{Number, size_meant};
use super::path::{Path, Root, clipped};
use super::version::{deb, natural};
use std::cmp::Ordering;

/// What the values at a path are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Text: it is the same or it is not.
    Text,
    /// A version of dpkg.
    Deb,
    /// A cell of a table. Two whole numbers or sizes are compared as numbers; else texts, in which runs of
    /// digits count as numbers.
    Cell,
}

impl Reading {
    /// How values at `path` are read.
    pub(super) fn of(path: &Path) -> Self {
        match path.root() {
            Root::Deb => Self::Deb,
            Root::Fact => Self::Cell,
            _ => Self::Text,
        }
    }

    /// Compares what a host has with what was written. Nothing if they cannot be compared: a host may say
    /// anything where a version should stand.
    pub(super) fn compare(self, has: &str, written: &str) -> Option<Ordering> {
        match self {
            Self::Text => Some(has.cmp(written)),
            Self::Deb => {
                let written = deb::Version::parse(written).ok()?;
                Some(deb::Version::parse_lax(has).ok()?.cmp(&written))
            }
            Self::Cell => match (Number::read(has), Number::read(written)) {
                (Some(has), Some(written)) => Some(has.thousandths.cmp(&written.thousandths)),
                (None, Some(written)) if written.is_size => None,
                _ => Some(natural(has, written)),
            },
        }
    }

    /// Checks what was written on the right. An error is a message and a hint.
    pub(super) fn check(self, written: &str, ordered: bool) -> Result<(), (String, Option<String>)> {
        match self {
            Self::Deb => deb::Version::parse(written).map(|_| ()).map_err(|why| {
                let hint = "write a version as dpkg shows it, such as 3.0.13-1~deb12u1".to_owned();
                (format!("{} is no version of a deb package: {why}", shown(written)), Some(hint))
            }),
            Self::Cell if ordered => match size_meant(written) {
                Some(meant) => {
                    let message = format!("{} is not in a unit that is known", shown(written));
                    Err((message, Some(format!("write {meant}"))))
                }
                None => Ok(()),
            },
            Self::Text | Self::Cell => Ok(()),
        }
    }
}

fn shown(written: &str) -> String {
    if written.is_empty() { "an empty text".to_owned() } else { clipped(written) }
}

/// Why `<` and its kin cannot be asked of `path`, and what to write; nothing if they can.
pub(super) fn unordered(path: &Path, mark: &str) -> Option<(String, String)> {
    let shown = clipped(&path.to_string());
    match path.root() {
        Root::Deb | Root::Fact => None,
        Root::Name | Root::Id | Root::Site | Root::State | Root::Tag => Some((
            format!("{shown} is text, of which none is less or more"),
            format!("name the values: {shown} in [a, b]"),
        )),
        root => Some((
            format!("{mark}: ordered comparisons of {} are not built yet", root.name()),
            "compare with = != in or like".to_owned(),
        )),
    }
}
