//! A selector as a tree, and the one way to print it.

use super::character::{is_word, quoted};
use super::path::Path;
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
    Compare(Path, Test),
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Test {
    Equal(String),
    NotEqual(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    Like(String),
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

    /// Whether every test in it looks at a tag.
    pub(super) fn uses_tags_only(&self) -> bool {
        match self {
            Self::All | Self::None => true,
            Self::And(members) | Self::Or(members) => members.iter().all(Self::uses_tags_only),
            Self::Not(inner) => inner.uses_tags_only(),
            Self::Has(path) | Self::Missing(path) | Self::Compare(path, _) => path.tag().is_some(),
        }
    }

    /// Adds the paths that it looks at, each once, as they come.
    pub(super) fn gather_paths<'a>(&'a self, paths: &mut Vec<&'a Path>) {
        match self {
            Self::All | Self::None => {}
            Self::And(members) | Self::Or(members) => {
                for member in members {
                    member.gather_paths(paths);
                }
            }
            Self::Not(inner) => inner.gather_paths(paths),
            Self::Has(path) | Self::Missing(path) | Self::Compare(path, _) => {
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
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
            Self::Compare(path, test) => write!(f, "{path} {test}"),
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
