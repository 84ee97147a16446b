//! Asks a host what a selector says of it.

use super::expression::{Expression, Test};
use super::glob;
use super::outcome::{Outcomes, Truth};
use super::path::Path;
use super::reading::Reading;
use std::borrow::Cow;
use std::cmp::Ordering;

/// A host that a selector is asked about, as far as whoever asks may know it.
pub trait Subject {
    /// Looks up what stands at `path`. Must answer the same as long as nothing changed.
    ///
    /// [`Path::tag`], [`Path::deb`] and [`Path::fact`] say what is asked. Values are lent where they can be:
    /// a selector is asked about many hosts.
    fn look(&self, path: &Path) -> Look<'_>;
}

impl<S: Subject + ?Sized> Subject for &S {
    fn look(&self, path: &Path) -> Look<'_> {
        (**self).look(path)
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
    /// Not for this place to judge: it may have any value, or be absent, but is not in conflict.
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

impl Expression {
    pub(super) fn outcomes(&self, subject: &impl Subject) -> Outcomes {
        match self {
            Self::All => Outcomes::only(Truth::True),
            Self::None => Outcomes::only(Truth::False),
            Self::And(members) => members
                .iter()
                .fold(Outcomes::only(Truth::True), |sofar, member| sofar.and(member.outcomes(subject))),
            Self::Or(members) => members
                .iter()
                .fold(Outcomes::only(Truth::False), |sofar, member| sofar.or(member.outcomes(subject))),
            Self::Not(inner) => inner.outcomes(subject).negated(),
            Self::Has(path) => presence(&subject.look(path)),
            Self::Missing(path) => presence(&subject.look(path)).negated(),
            Self::Compare(path, test) => match subject.look(path) {
                Look::Value(value) => test.truth(Reading::of(path), &value).into(),
                Look::Values(values) => {
                    let reading = Reading::of(path);
                    let truths = values.iter().map(|value| test.truth(reading, value));
                    truths.max().unwrap_or(Truth::Unknown).into()
                }
                Look::Absent | Look::Conflict => Outcomes::only(Truth::Unknown),
                Look::Undecided => Outcomes::ANY,
            },
        }
    }
}

fn presence(look: &Look<'_>) -> Outcomes {
    match look {
        Look::Values(values) => Truth::from(!values.is_empty()).into(),
        Look::Value(_) => Outcomes::only(Truth::True),
        Look::Absent => Outcomes::only(Truth::False),
        Look::Conflict => Outcomes::only(Truth::Unknown),
        Look::Undecided => Outcomes::DECIDABLE,
    }
}

impl Test {
    /// What the test says of one value.
    fn truth(&self, reading: Reading, value: &str) -> Truth {
        let ordered = |written: &str, takes: &dyn Fn(Ordering) -> bool| {
            reading.compare(value, written).map_or(Truth::Unknown, |order| takes(order).into())
        };
        let equal = |written: &String| ordered(written, &Ordering::is_eq);
        // The greatest truth of the members is what `or` makes of them.
        let among = |list: &[String]| list.iter().map(equal).max().unwrap_or(Truth::False);
        match self {
            Self::Equal(written) => equal(written),
            Self::NotEqual(written) => equal(written).negated(),
            Self::In(list) => among(list),
            Self::NotIn(list) => among(list).negated(),
            Self::Like(pattern) => glob::matches(pattern, value).into(),
            Self::Ordered(order, written) => ordered(written, &|found| order.takes(found)),
        }
    }
}
