//! The language as a whole: what it accepts, what it says to what it refuses, and the laws it keeps.

use super::*;
use std::collections::BTreeMap;

mod evaluation;
mod examples;
mod groups;
mod laws;
mod reading;
mod refusals;
mod rows;

/// A host of which this is known. A path that is not set has nothing, and a table that is not set is not told.
#[derive(Clone, Debug, Default)]
struct Host {
    looks: BTreeMap<String, Look<'static>>,
    tables: BTreeMap<String, Told>,
}

/// What a host tells of a table.
#[derive(Clone, Debug)]
enum Told {
    Rows { columns: Vec<String>, rows: Vec<Vec<String>> },
    Unknown,
    Undecided,
}

impl Host {
    fn with(pairs: &[(&str, &str)]) -> Self {
        let value = |value: &str| Look::Value(value.to_owned().into());
        Self::looking(pairs.iter().map(|(path, text)| (*path, value(text))))
    }

    fn looking<'p>(looks: impl IntoIterator<Item = (&'p str, Look<'static>)>) -> Self {
        let looks = looks.into_iter().map(|(path, look)| (path.to_owned(), look)).collect();
        Self { looks, tables: BTreeMap::new() }
    }

    fn table(mut self, name: &str, columns: &str, rows: &[&[&str]]) -> Self {
        let columns = columns.split(' ').map(str::to_owned).collect();
        let rows = rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        self.tables.insert(name.to_owned(), Told::Rows { columns, rows });
        self
    }
}

impl Subject for Host {
    fn look(&self, path: &Path) -> Look<'_> {
        match self.looks.get(&path.to_string()) {
            Some(look) => look.clone(),
            None if path.tables().any(|table| self.tables.contains_key(table)) => path.look_in(self),
            None if matches!(path.root(), Root::Fact | Root::Deb) => Look::Absent,
            None if path.tables().next().is_some() => path.look_in(self),
            None => Look::Absent,
        }
    }

    fn rows(&self, wanted: &Wanted<'_>) -> Rows<'_> {
        match self.tables.get(wanted.table) {
            None | Some(Told::Unknown) => Rows::Unknown,
            Some(Told::Undecided) => Rows::Undecided,
            Some(Told::Rows { columns, rows }) => {
                let places: Vec<Option<usize>> = wanted
                    .columns
                    .iter()
                    .map(|name| columns.iter().position(|known| known == name))
                    .collect();
                let mut cells = Cells::of(wanted);
                for row in rows {
                    let row = places.iter().map(|place| row.get((*place)?).map(String::as_str));
                    cells.push(&row.collect::<Vec<_>>());
                }
                Rows::Known(cells)
            }
        }
    }
}

fn parse(text: &str) -> Selector {
    Selector::parse(text).unwrap_or_else(|error| panic!("{}", error.render(text)))
}

/// What is wrong with `text`: the part at fault, the message and the hint.
fn refused(text: &str) -> (&str, String, String) {
    let error = Selector::parse(text).expect_err(text);
    let Position { offset, length } = error.position;
    (&text[offset..offset + length], error.message, error.hint.unwrap_or_default())
}

fn truth(text: &str, host: &Host) -> Truth {
    let outcomes = parse(text).outcomes(host);
    Truth::EVERY.into_iter().find(|truth| outcomes.is(*truth)).expect("one truth")
}
