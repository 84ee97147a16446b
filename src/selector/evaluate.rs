//! Asks a host what a selector says of it.

use super::expression::{Expression, Test};
use super::glob;
use super::outcome::{Outcomes, Truth};
use super::path::Path;

/// A host that a selector is asked about, as far as whoever asks may know it.
pub trait Subject {
    /// Looks up what stands at `path`. Must answer the same as long as nothing changed.
    fn look(&self, path: &Path) -> Look;
}

impl<S: Subject + ?Sized> Subject for &S {
    fn look(&self, path: &Path) -> Look {
        (**self).look(path)
    }
}

/// What a host has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// This value.
    Value(String),
    /// Nothing: known to be absent.
    Absent,
    /// A tag whose concurrent writes disagree. It is neither there nor absent: every test on it is unknown.
    Conflict,
    /// Not for this place to judge: it may have any value, or be absent, but is not in conflict.
    Undecided,
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
                Look::Value(value) => Truth::from(test.holds(&value)).into(),
                Look::Absent | Look::Conflict => Outcomes::only(Truth::Unknown),
                Look::Undecided => Outcomes::ANY,
            },
        }
    }
}

fn presence(look: &Look) -> Outcomes {
    match look {
        Look::Value(_) => Outcomes::only(Truth::True),
        Look::Absent => Outcomes::only(Truth::False),
        Look::Conflict => Outcomes::only(Truth::Unknown),
        Look::Undecided => Outcomes::DECIDABLE,
    }
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Equal(want) => want == value,
            Self::NotEqual(want) => want != value,
            Self::In(list) => list.iter().any(|want| want == value),
            Self::NotIn(list) => !list.iter().any(|want| want == value),
            Self::Like(pattern) => glob::matches(pattern, value),
        }
    }
}
