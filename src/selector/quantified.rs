//! `any` and `every`: what is asked of each row of a table.
//!
//! Of the truths of all rows `any` is the greatest and `every` the least, as `or` and `and` have it. So of a
//! table that is known to have no rows `any` is false and `every` true. Of a table that nobody has told, neither
//! is known; unless no row whatever could change the answer.

use super::evaluate::{Look, Rows, Wanted};
use super::expression::{Expression, Test};
use super::kind::Kind;
use super::number::Number;
use super::outcome::{Outcomes, Truth};
use super::path::Path;
use super::root::Root;
use super::schema::Source;
use std::fmt;

/// A table, and what is asked of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Quantified {
    every: bool,
    table: Path,
    body: Expression,
    /// The cells that the body looks at, by osquery's names.
    columns: Vec<String>,
    /// The cell that must have this text, or no row makes `any` true.
    only: Option<(usize, String)>,
}

impl Quantified {
    pub(super) fn new(every: bool, table: Path, body: Expression) -> Self {
        let mut columns = Vec::new();
        gather_cells(&body, &mut columns);
        let only = if every { None } else { required(&body, &columns) };
        Self { every, table, body, columns, only }
    }

    /// The table, as a path.
    pub(super) fn table(&self) -> &Path {
        &self.table
    }

    /// What `rows` make of it, which are asked for one table after the other.
    pub(super) fn outcomes<'a>(&self, rows: impl Fn(&Wanted<'_>) -> Rows<'a>) -> Outcomes {
        let without_rows = Outcomes::only(Truth::from(self.every));
        let settled = Outcomes::only(Truth::from(!self.every));
        let mut sofar = without_rows;
        let join =
            |sofar: Outcomes, more: Outcomes| if self.every { sofar.and(more) } else { sofar.or(more) };
        for (table, package) in self.table.sources() {
            let only = self.only.as_ref().map(|(column, text)| (*column, text.as_str()));
            // What a row may come to of which nothing is known.
            let unseen = || {
                let row = Row { columns: &self.columns, cells: &[], package, undecided: true };
                self.body.outcomes_in(&row)
            };
            // Of several tables most can change nothing: `eco = npm` makes short work of packages of dpkg.
            if self.table.root() == Root::Pkg && unseen() == without_rows {
                continue;
            }
            match rows(&Wanted { table, columns: &self.columns, only }) {
                Rows::Known(cells) => {
                    for cells in cells.rows() {
                        let row = Row { columns: &self.columns, cells, package, undecided: false };
                        sofar = join(sofar, self.body.outcomes_in(&row));
                        if sofar == settled {
                            return sofar;
                        }
                    }
                }
                Rows::Unknown if unseen() == without_rows => {}
                Rows::Unknown => sofar = join(sofar, Outcomes::only(Truth::Unknown)),
                Rows::Undecided => {
                    let rows = unseen();
                    // Some number of rows, none of which is, or nobody has told: all of it is possible.
                    let unknown = if rows == without_rows { without_rows } else { Truth::Unknown.into() };
                    sofar = join(sofar, without_rows.with(rows).with(unknown));
                }
            }
        }
        sofar
    }
}

impl fmt::Display for Quantified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}({})", if self.every { "every" } else { "any" }, self.table, self.body)
    }
}

fn gather_cells(body: &Expression, columns: &mut Vec<String>) {
    let mut leaves = Vec::new();
    body.gather_leaves(&mut leaves);
    let sources = leaves.into_iter().filter_map(|leaf| leaf.path()?.column());
    for name in sources.flat_map(cells_of) {
        if !columns.iter().any(|known| known == name) {
            columns.push(name.to_owned());
        }
    }
}

/// The cells that make up a column.
pub(super) fn cells_of(source: &Source) -> impl Iterator<Item = &str> {
    let (one, other) = match source {
        Source::Cell(name) => (Some(name.as_ref()), None),
        Source::Product(a, b) => (Some(*a), Some(*b)),
        Source::Ecosystem => (None, None),
    };
    one.into_iter().chain(other)
}

/// The first cell that a member of a conjunction compares with a text.
fn required(body: &Expression, columns: &[String]) -> Option<(usize, String)> {
    let one = |member: &Expression| match member {
        Expression::Compare(left, Test::Equal(text)) if left.kind() == Kind::Text => match left.path.column()
        {
            Some(Source::Cell(name)) => {
                columns.iter().position(|column| column == name).map(|column| (column, text.clone()))
            }
            _ => None,
        },
        _ => None,
    };
    match body {
        Expression::And(members) => members.iter().find_map(one),
        other => one(other),
    }
}

/// One row of a table.
pub(super) struct Row<'r> {
    columns: &'r [String],
    cells: &'r [Option<&'r str>],
    package: Option<Root>,
    /// Nothing is known but that it is a row of this table.
    undecided: bool,
}

impl Row<'_> {
    /// Whose package it is about, if it is about one.
    pub(super) fn package(&self) -> Option<Root> {
        self.package
    }

    pub(super) fn look(&self, path: &Path) -> Look<'_> {
        let cell = |name: &str| {
            let place = self.columns.iter().position(|column| column == name)?;
            self.cells.get(place).copied().flatten()
        };
        match path.column() {
            Some(Source::Ecosystem) => {
                self.package.map_or(Look::Unknown, |package| Look::Value(package.name().into()))
            }
            _ if self.undecided => Look::Undecided,
            Some(source) => value(source, cell),
            None => Look::Unknown,
        }
    }
}

/// What the cells of a row make of a column.
pub(super) fn value<'a>(source: &Source, cell: impl Fn(&str) -> Option<&'a str>) -> Look<'a> {
    match source {
        Source::Cell(name) => match cell(name) {
            None => Look::Unknown,
            Some("") => Look::Absent,
            Some(text) => Look::Value(text.into()),
        },
        Source::Product(a, b) => match (cell(a), cell(b)) {
            (None, _) | (_, None) => Look::Unknown,
            (Some(""), _) | (_, Some("")) => Look::Absent,
            (Some(a), Some(b)) => product(a, b).map_or(Look::Unknown, |product| Look::Value(product.into())),
        },
        Source::Ecosystem => Look::Unknown,
    }
}

/// The product of two whole numbers.
fn product(a: &str, b: &str) -> Option<String> {
    let whole = |text| Number::read_lax(text).and_then(Number::whole);
    Some(whole(a)?.checked_mul(whole(b)?)?.to_string())
}
