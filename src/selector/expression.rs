//! A selector as a tree, and the one way to print it.

use super::character::{is_word, quoted};
use super::kind::Kind;
use super::path::Path;
use super::pattern::Pattern;
use super::quantified::Quantified;
use super::spelling::KEYWORDS;
use std::cmp::Ordering;
use std::fmt;

/// What is asked of a host.
///
/// `And` and `Or` have at least two members, none of which is of the same kind; make them with
/// [`Expression::and`] and [`Expression::or`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Expression {
    All,
    None,
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Has(Path),
    Missing(Path),
    Compare(Left, Test),
    Quantified(Box<Quantified>),
    /// A saved selector. Nothing is known of it before it is expanded.
    Group(String),
}

/// The left side of a comparison: a path, and as what it is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) path: Path,
    pub(super) cast: Option<Cast>,
}

/// As what a text is read, other than as it was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cast {
    /// `ver()`
    Version,
    /// `num()`
    Number,
}

impl Cast {
    /// Its word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Version => "ver",
            Self::Number => "num",
        }
    }
}

impl Left {
    /// How both sides are read.
    pub(super) fn kind(&self) -> Kind {
        match self.cast {
            None => self.path.kind(),
            Some(Cast::Version) => Kind::Natural,
            Some(Cast::Number) => Kind::AnyNumber,
        }
    }
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Test {
    Equal(String),
    NotEqual(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    Like(String),
    Matches(Pattern),
    Ordered(Order, String),
}

/// On which side of the written value a value must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    /// Its mark in the language.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// Whether a value that stands so to the written one is meant.
    pub(super) fn takes(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Expression {
    /// Joins by `and`; one member stays as it is, none is `all`.
    pub(super) fn and(members: Vec<Self>) -> Self {
        let flat = members.into_iter().flat_map(|member| match member {
            Self::And(inner) => inner,
            other => vec![other],
        });
        join(flat.collect(), Self::And, Self::All)
    }

    /// Joins by `or`; one member stays as it is, none is `none`.
    pub(super) fn or(members: Vec<Self>) -> Self {
        let flat = members.into_iter().flat_map(|member| match member {
            Self::Or(inner) => inner,
            other => vec![other],
        });
        join(flat.collect(), Self::Or, Self::None)
    }

    /// What is directly under it, in the order of the text. The inside of `any` and `every` is not: it is
    /// asked of rows.
    pub(super) fn members(&self) -> &[Self] {
        match self {
            Self::And(members) | Self::Or(members) => members,
            Self::Not(inner) => std::slice::from_ref(inner),
            _ => &[],
        }
    }

    /// The tests that it is made of, in the order of the text.
    pub(super) fn gather_leaves<'a>(&'a self, leaves: &mut Vec<&'a Self>) {
        match self {
            Self::And(_) | Self::Or(_) | Self::Not(_) => {
                self.members().iter().for_each(|member| member.gather_leaves(leaves));
            }
            _ => leaves.push(self),
        }
    }

    /// What one test looks at on the host.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Has(path) | Self::Missing(path) => Some(path),
            Self::Compare(left, _) => Some(&left.path),
            Self::Quantified(quantified) => Some(quantified.table()),
            _ => None,
        }
    }

    fn fmt_members(members: &[Self], word: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, member) in members.iter().enumerate() {
            if index > 0 {
                write!(f, " {word} ")?;
            }
            match member {
                // `and` binds closer than `or`; only an `or` within an `and` needs telling.
                Self::Or(_) => write!(f, "({member})")?,
                _ => write!(f, "{member}")?,
            }
        }
        Ok(())
    }
}

fn join(
    mut members: Vec<Expression>,
    many: impl Fn(Vec<Expression>) -> Expression,
    none: Expression,
) -> Expression {
    match members.pop() {
        None => none,
        Some(only) if members.is_empty() => only,
        Some(last) => {
            members.push(last);
            many(members)
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::None => f.write_str("none"),
            Self::And(members) => Self::fmt_members(members, "and", f),
            Self::Or(members) => Self::fmt_members(members, "or", f),
            Self::Not(inner) => match inner.as_ref() {
                Self::And(_) | Self::Or(_) => write!(f, "not ({inner})"),
                _ => write!(f, "not {inner}"),
            },
            Self::Has(path) => write!(f, "has {path}"),
            Self::Missing(path) => write!(f, "missing {path}"),
            Self::Compare(left, test) => write!(f, "{left} {test}"),
            Self::Quantified(quantified) => write!(f, "{quantified}"),
            Self::Group(name) => write!(f, "@{name}"),
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cast {
            None => write!(f, "{}", self.path),
            Some(cast) => write!(f, "{}({})", cast.name(), self.path),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(value) => write!(f, "= {}", written(value)),
            Self::NotEqual(value) => write!(f, "!= {}", written(value)),
            Self::In(values) => write!(f, "in [{}]", list(values)),
            Self::NotIn(values) => write!(f, "not in [{}]", list(values)),
            Self::Like(pattern) => write!(f, "like {}", quoted(pattern)),
            Self::Matches(pattern) => write!(f, "matches {}", quoted(pattern.text())),
            Self::Ordered(order, value) => write!(f, "{} {}", order.mark(), written(value)),
        }
    }
}

fn list(values: &[String]) -> String {
    values.iter().map(|value| written(value)).collect::<Vec<_>>().join(", ")
}

/// A value without quotes where it reads back as itself, else with them.
fn written(value: &str) -> String {
    let bare = !value.is_empty()
        && !value.starts_with('@')
        && value.chars().all(is_word)
        && !KEYWORDS.contains(&value);
    if bare { value.to_owned() } else { quoted(value) }
}
