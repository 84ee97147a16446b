//! Hosts that come from a number: what they say is decided by what they are asked.

use muster::selector::{Cells, Look, Path, Root, Rows, Subject, Wanted};

use crate::chance::digest;

/// Texts that say something to some kind of value.
const CELLS: &[&str] = &[
    "",
    "web",
    "true",
    "0",
    "2",
    "95.5",
    "17179869184",
    "3.0.11-1~deb12u2",
    "1:2.0-1",
    "5.14.0-362.8.1.el9_3",
    "4.17.15",
    "1.0rc1",
    "1.2_p1-r0",
    "10.20.3.4",
    "fe80::1",
    "high",
    "failed",
    "/",
    "12 (bookworm)",
    "\u{e9}",
    "9999999999999999999999",
];

/// A host, with what the selector at hand asks for among its words, so that tests are true at times.
pub(super) struct Host<'w> {
    pub(super) seed: u64,
    pub(super) words: &'w [String],
    /// What is not known of it, by chance: none of it, or about one thing in so many.
    pub(super) hidden: Option<(u64, u64)>,
    /// Whether rows are left out that may be.
    pub(super) narrow: bool,
}

impl Host<'_> {
    fn chance(&self, parts: &[&[u8]]) -> u64 {
        digest(&[&[&self.seed.to_le_bytes()[..]], parts].concat())
    }

    fn hides(&self, what: &[u8]) -> bool {
        self.hidden.is_some_and(|(seed, times)| digest(&[&seed.to_le_bytes(), what]).is_multiple_of(times))
    }

    fn text(&self, number: u64) -> &str {
        let number = usize::try_from(number >> 8).unwrap_or_default();
        let place = number % (CELLS.len() + 2 * self.words.len());
        match CELLS.get(place) {
            Some(text) => text,
            None => &self.words[(place - CELLS.len()) / 2],
        }
    }
}

impl Subject for Host<'_> {
    fn look(&self, path: &Path) -> Look<'_> {
        let shown = path.to_string();
        let number = self.chance(&[b"look", shown.as_bytes()]);
        // What stands in a table is found there, mostly; a subject may as well know it otherwise.
        let in_table = path.tables().next().is_some() && !number.is_multiple_of(4);
        let conflict = path.root() == Root::Tag && number % 16 == 9;
        if self.hides(shown.as_bytes()) && !conflict {
            return Look::Undecided;
        }
        if in_table {
            return path.look_in(self);
        }
        if conflict {
            return Look::Conflict;
        }
        match (number >> 4) % 8 {
            0 => Look::Absent,
            1 => Look::Unknown,
            2 => Look::any((0..=number % 3).map(|more| self.text(number.rotate_left(9) ^ (more << 9)))),
            _ => Look::any([self.text(number.rotate_left(17))]),
        }
    }

    fn rows(&self, wanted: &Wanted<'_>) -> Rows<'_> {
        let table = wanted.table.as_bytes();
        if self.hides(table) {
            return Rows::Undecided;
        }
        let number = self.chance(&[b"table", table]);
        if number.is_multiple_of(6) {
            return Rows::Unknown;
        }
        let mut cells = Cells::of(wanted);
        for row in 0..(number >> 8) % 5 {
            let cell = |column: &String| {
                if self.chance(&[b"column", table, column.as_bytes()]).is_multiple_of(12) {
                    return None;
                }
                Some(self.text(self.chance(&[b"cell", table, &row.to_le_bytes(), column.as_bytes()])))
            };
            let texts: Vec<Option<&str>> = wanted.columns.iter().map(cell).collect();
            let other = |(place, only): (usize, &str)| {
                texts.get(place).copied().flatten().is_some_and(|text| !text.is_empty() && text != only)
            };
            if !(self.narrow && wanted.only.is_some_and(other)) {
                cells.push(&texts);
            }
        }
        Rows::Known(cells)
    }
}

/// The words of a text that may stand as values somewhere.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text
        .split(|c: char| c.is_whitespace() || "()[],=<>!\"".contains(c))
        .filter(|word| !word.is_empty() && word.len() < 200)
        .flat_map(|word| {
            let last = word.rsplit('.').next().unwrap_or(word);
            [word.to_owned(), last.to_owned(), format!("{last}.service")]
        })
        .collect();
    words.sort_unstable();
    words.dedup();
    words.truncate(64);
    words
}
