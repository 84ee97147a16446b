//! Asks a host what a selector says of it.

use super::expression::{Expression, Test};
use super::glob;
use super::kind::Kind;
use super::outcome::{Outcomes, Truth};
use super::path::Path;
use super::pattern::MATCHED_BYTES_MAX;
use super::quantified::{Row, value};
use super::root::Root;
use std::borrow::Cow;
use std::cmp::Ordering;

/// A host that a selector is asked about, as far as whoever asks may know it.
pub trait Subject {
    /// Looks up what stands at `path`. Must answer the same as long as nothing changed.
    ///
    /// [`Path::tag`], [`Path::deb`] and [`Path::fact`] say what is asked, and [`Path::look_in`] finds what
    /// stands in tables by their rows. Values are lent where they can be: a selector is asked about many hosts.
    fn look(&self, path: &Path) -> Look<'_>;

    /// The rows of a table. Who knows of no tables leaves them undecided.
    fn rows(&self, wanted: &Wanted<'_>) -> Rows<'_> {
        let _ = wanted;
        Rows::Undecided
    }
}

impl<S: Subject + ?Sized> Subject for &S {
    fn look(&self, path: &Path) -> Look<'_> {
        (**self).look(path)
    }

    fn rows(&self, wanted: &Wanted<'_>) -> Rows<'_> {
        (**self).rows(wanted)
    }
}

/// What a host has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<'a> {
    /// This value.
    Value(Cow<'a, str>),
    /// Several: the rows of a table, or the architectures of a package. A test is true if it is true of any of
    /// them (so `!= x` is true where one is not `x`), and else unknown if it is of any. None is
    /// [`Look::Absent`].
    Values(Vec<Cow<'a, str>>),
    /// Nothing: known to be absent.
    Absent,
    /// A tag whose concurrent writes disagree. It is neither there nor absent: every test on it is unknown.
    Conflict,
    /// Nobody has told, and nobody will: no collector looks there. Every test on it is unknown.
    Unknown,
    /// Not for this place to judge: it may have any value, or be absent or unknown, but is not in conflict.
    Undecided,
}

impl<'a> Look<'a> {
    /// Whatever number of values there is. An empty one is left out: a cell without text says nothing.
    pub fn any<V: Into<Cow<'a, str>>>(values: impl IntoIterator<Item = V>) -> Self {
        let mut values: Vec<Cow<'a, str>> =
            values.into_iter().map(Into::into).filter(|value| !value.is_empty()).collect();
        match values.pop() {
            None => Self::Absent,
            Some(only) if values.is_empty() => Self::Value(only),
            Some(last) => {
                values.push(last);
                Self::Values(values)
            }
        }
    }
}

/// Which rows are asked for, and what of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'q> {
    /// The table, by osquery's name.
    pub table: &'q str,
    /// The cells that are wanted, by osquery's names, in this order.
    pub columns: &'q [String],
    /// A place in `columns` and a text: rows that have another text there may be left out; but not
    /// those without one.
    pub only: Option<(usize, &'q str)>,
}

/// What is known of the rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows<'a> {
    /// These are all that there are.
    Known(Cells<'a>),
    /// Nobody has told, and nobody will: no collector looks there.
    Unknown,
    /// Not for this place to judge: there may be any rows or none, or they may be unknown.
    Undecided,
}

/// The wanted cells of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cells<'a> {
    rows: usize,
    width: usize,
    texts: Vec<Option<&'a str>>,
}

impl<'a> Cells<'a> {
    /// No rows, with cells for `wanted` in each that is added.
    pub fn of(wanted: &Wanted<'_>) -> Self {
        Self { rows: 0, width: wanted.columns.len(), texts: Vec::new() }
    }

    /// Adds a row: for each wanted cell its text, which is empty where the row says nothing there, and none
    /// where the table has no such column.
    pub fn push(&mut self, cells: &[Option<&'a str>]) {
        self.rows += 1;
        let end = self.rows * self.width;
        self.texts.extend_from_slice(cells);
        // A row of another length must not shift those after it.
        self.texts.resize(end, None);
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &[Option<&'a str>]> {
        (0..self.rows).map(|row| {
            let start = row * self.width;
            self.texts.get(start..start + self.width).unwrap_or_default()
        })
    }
}

impl Path {
    /// What stands at a path by the rows of its table. A name that no row has is absent.
    pub fn look_in<'a, S: Subject + ?Sized>(&self, subject: &'a S) -> Look<'a> {
        if !self.is_of_tables() {
            return Look::Undecided;
        }
        let (columns, only) = self.cells();
        let (mut values, mut rows_met, mut unknown) = (Vec::new(), 0_usize, false);
        for table in self.tables() {
            let cells = match subject.rows(&Wanted { table, columns, only }) {
                Rows::Undecided => return Look::Undecided,
                Rows::Unknown => {
                    unknown = true;
                    continue;
                }
                Rows::Known(cells) => cells,
            };
            for row in cells.rows() {
                if only.is_some_and(|(place, name)| row.get(place).copied().flatten() != Some(name)) {
                    continue;
                }
                rows_met += 1;
                let cell = |name: &str| {
                    let place = columns.iter().position(|column| column == name)?;
                    row.get(place).copied().flatten()
                };
                match self.column().map(|source| value(source, cell)) {
                    Some(Look::Value(value)) => values.push(value),
                    Some(Look::Unknown) => unknown = true,
                    _ => {}
                }
            }
        }
        match self.column() {
            None if rows_met > 0 => Look::Value(rows_met.to_string().into()),
            // A column that is not told makes the values that are told not all there is.
            _ if unknown => Look::Unknown,
            None => Look::Absent,
            Some(_) => {
                values.sort_unstable();
                values.dedup();
                Look::any(values)
            }
        }
    }
}

/// What a test is asked of: a host, or a row of one of its tables.
pub(super) trait Scope {
    fn look(&self, path: &Path) -> Look<'_>;
    fn rows(&self, wanted: &Wanted<'_>) -> Rows<'_>;
    /// Whose package it is about.
    fn package(&self) -> Option<Root>;
}

impl Scope for Row<'_> {
    fn look(&self, path: &Path) -> Look<'_> {
        Row::look(self, path)
    }

    fn rows(&self, _wanted: &Wanted<'_>) -> Rows<'_> {
        Rows::Unknown
    }

    fn package(&self) -> Option<Root> {
        Row::package(self)
    }
}

/// A subject as a whole.
struct Whole<'s, S>(&'s S);

impl<S: Subject> Scope for Whole<'_, S> {
    fn look(&self, path: &Path) -> Look<'_> {
        self.0.look(path)
    }

    fn rows(&self, wanted: &Wanted<'_>) -> Rows<'_> {
        self.0.rows(wanted)
    }

    fn package(&self) -> Option<Root> {
        None
    }
}

impl Expression {
    pub(super) fn outcomes(&self, subject: &impl Subject) -> Outcomes {
        self.outcomes_in(&Whole(subject))
    }

    pub(super) fn outcomes_in(&self, scope: &impl Scope) -> Outcomes {
        match self {
            Self::All => Outcomes::only(Truth::True),
            // Nobody who decides knows groups: who writes a selector expands it first.
            Self::Group(_) => Outcomes::only(Truth::Unknown),
            Self::None => Outcomes::only(Truth::False),
            Self::And(members) => {
                let settled = Outcomes::only(Truth::False);
                joined(members, Outcomes::only(Truth::True), settled, |sofar, member| {
                    sofar.and(member.outcomes_in(scope))
                })
            }
            Self::Or(members) => {
                let settled = Outcomes::only(Truth::True);
                joined(members, Outcomes::only(Truth::False), settled, |sofar, member| {
                    sofar.or(member.outcomes_in(scope))
                })
            }
            Self::Not(inner) => inner.outcomes_in(scope).negated(),
            Self::Has(path) => presence(&scope.look(path)),
            Self::Missing(path) => presence(&scope.look(path)).negated(),
            Self::Compare(left, test) => {
                let (kind, package) = (left.kind(), scope.package());
                match scope.look(&left.path) {
                    Look::Value(value) => test.truth(kind, package, &value).into(),
                    Look::Values(values) => {
                        let truths = values.iter().map(|value| test.truth(kind, package, value));
                        truths.max().unwrap_or(Truth::Unknown).into()
                    }
                    Look::Absent | Look::Conflict | Look::Unknown => Outcomes::only(Truth::Unknown),
                    Look::Undecided => Outcomes::ANY,
                }
            }
            Self::Quantified(quantified) => quantified.outcomes(|wanted| scope.rows(wanted)),
        }
    }
}

/// Joins members until nothing can change any more. Which one settles it makes no difference to the outcome.
fn joined(
    members: &[Expression],
    mut sofar: Outcomes,
    settled: Outcomes,
    join: impl Fn(Outcomes, &Expression) -> Outcomes,
) -> Outcomes {
    for member in members {
        sofar = join(sofar, member);
        if sofar == settled {
            break;
        }
    }
    sofar
}

fn presence(look: &Look<'_>) -> Outcomes {
    match look {
        Look::Values(values) => Truth::from(!values.is_empty()).into(),
        Look::Value(_) => Outcomes::only(Truth::True),
        Look::Absent => Outcomes::only(Truth::False),
        Look::Conflict | Look::Unknown => Outcomes::only(Truth::Unknown),
        Look::Undecided => Outcomes::ANY,
    }
}

impl Test {
    /// What the test says of one value. `package` is whose package the row is about.
    fn truth(&self, kind: Kind, package: Option<Root>, value: &str) -> Truth {
        let told = |told: Option<bool>| told.map_or(Truth::Unknown, Truth::from);
        let same = |written: &String| told(kind.is_same(value, written, package));
        // The greatest truth of the members is what `or` makes of them.
        let among = |list: &[String]| {
            let truths = list.iter().map(|written| told(kind.is_within(value, written, package)));
            truths.max().unwrap_or(Truth::False)
        };
        match self {
            Self::Equal(written) => same(written),
            Self::NotEqual(written) => same(written).negated(),
            Self::In(list) => among(list),
            Self::NotIn(list) => among(list).negated(),
            Self::Like(pattern) => {
                told((value.len() <= MATCHED_BYTES_MAX).then(|| glob::matches(pattern, value)))
            }
            Self::Matches(pattern) => told(pattern.matches(value)),
            Self::Ordered(order, written) => {
                let found: Option<Ordering> = kind.compare(value, written, package);
                told(found.map(|found| order.takes(found)))
            }
        }
    }
}
