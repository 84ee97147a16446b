//! A selector that was read and is within its bounds.

use super::error::{Position, SelectorError};
use super::evaluate::Subject;
use super::expression::{Expression, Left, Test};
use super::outcome::{Outcomes, Truth};
use super::parse::parse;
use super::path::Path;
use super::tag::check_tag;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Which hosts are meant. Two are equal if they ask the same in the same order, however they were written.
///
/// Prints in one canonical form, which reads back as an equal selector.
#[derive(Clone, Debug)]
pub struct Selector {
    text: String,
    expression: Expression,
}

impl Selector {
    /// Reads a selector. Says where a text is wrong, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Ok(Self { expression: parse(text)?, text: text.to_owned() })
    }

    /// Every host.
    pub fn all() -> Self {
        Self { text: Expression::All.to_string(), expression: Expression::All }
    }

    /// Hosts that have all of these tags. No labels at all are an error, not every host.
    ///
    /// The position of an error is in the label at fault, written `key=value`.
    pub fn from_labels<K: AsRef<str>, V: AsRef<str>>(labels: &[(K, V)]) -> Result<Self, SelectorError> {
        if labels.is_empty() {
            return Err(SelectorError::new(Position { offset: 0, length: 0 }, "no label was given")
                .hint("write role=web, or ask for all hosts"));
        }
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for (key, value) in labels {
            let (key, value) = (key.as_ref(), value.as_ref());
            let whole = Position { offset: 0, length: key.len() + 1 + value.len() };
            check_tag(key, value).map_err(|error| SelectorError::new(whole, error.to_string()))?;
            match seen.iter().find(|(known, _)| *known == key) {
                Some((_, known)) if *known == value => {}
                Some(_) => {
                    return Err(SelectorError::new(whole, format!("no host has two values of {key}"))
                        .hint("write a selector with in [a, b] for either"));
                }
                None => seen.push((key, value)),
            }
        }
        let tests = seen
            .iter()
            .map(|(key, value)| {
                (Left { path: Path::of_tag(key), cast: None }, Test::Equal((*value).to_owned()))
            })
            .map(|(left, test)| Expression::Compare(left, test));
        Self::from_expression(&Expression::and(tests.collect()))
    }

    /// Narrows this selector by another: true only where both are.
    ///
    /// Fails if the two together exceed the bounds of one; positions are then in the combined text.
    pub fn and(self, other: Self) -> Result<Self, SelectorError> {
        match (&self.expression, &other.expression) {
            (Expression::All, _) => Ok(other),
            (_, Expression::All) => Ok(self),
            _ => Self::from_expression(&Expression::and(vec![self.expression, other.expression])),
        }
    }

    /// Takes a tree by way of its text, so that no selector exists that could not be written.
    pub(super) fn from_expression(expression: &Expression) -> Result<Self, SelectorError> {
        Self::parse(&expression.to_string())
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Which truths are possible for `subject`.
    pub fn outcomes(&self, subject: &impl Subject) -> Outcomes {
        self.expression.outcomes(subject)
    }

    /// Whether `subject` is selected: true, with no other possibility.
    pub fn selects(&self, subject: &impl Subject) -> bool {
        self.outcomes(subject).is(Truth::True)
    }

    /// Whether signed tags alone decide it, as the scope of a certificate must. A group is none until it is
    /// expanded.
    pub fn uses_tags_only(&self) -> bool {
        let mut leaves = Vec::new();
        self.expression.gather_leaves(&mut leaves);
        leaves.into_iter().all(|leaf| match leaf {
            Expression::All | Expression::None => true,
            other => other.path().is_some_and(|path| path.tag().is_some()),
        })
    }

    /// What it looks at, each path once, in the order of the text: the table, of `any` and `every`. There are
    /// at most 256.
    pub fn paths(&self) -> Vec<&Path> {
        let mut leaves = Vec::new();
        self.expression.gather_leaves(&mut leaves);
        let mut paths = Vec::new();
        for path in leaves.into_iter().filter_map(Expression::path) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }

    /// The values that it wants something to have, each with what that is.
    pub fn wanted(&self) -> Vec<(&Path, &str)> {
        let mut leaves = Vec::new();
        self.expression.gather_leaves(&mut leaves);
        let mut wanted = Vec::new();
        for leaf in leaves {
            match leaf {
                Expression::Compare(left, Test::Equal(value)) => wanted.push((&left.path, value.as_str())),
                Expression::Compare(left, Test::In(values)) => {
                    wanted.extend(values.iter().map(|value| (&left.path, value.as_str())));
                }
                _ => {}
            }
        }
        wanted
    }

    pub(super) fn expression(&self) -> &Expression {
        &self.expression
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression
    }
}

impl Eq for Selector {}

impl Hash for Selector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expression.hash(state);
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
