//! Saved selectors within a selector: who writes an order, a document or a certificate puts in their place what
//! they stand for, so that whoever judges it needs to look up nothing, and what was signed stays what it was.

use super::error::{Position, SelectorError};
use super::expression::Expression;
use super::parse::{DEPTH_MAX, NODES_MAX};
use super::path::clipped;
use super::query::Selector;
use super::token::{Kind, tokens};

/// How groups are looked up.
type Lookup<'l> = &'l dyn Fn(&str) -> Option<Selector>;

/// Why a group cannot be put in its place.
enum Fault {
    Unknown(String),
    Circle(Vec<String>),
    TooDeep,
    TooMany,
}

impl Selector {
    /// The names of the groups in it, each once, in the order of the text.
    pub fn groups(&self) -> Vec<&str> {
        let mut leaves = Vec::new();
        self.expression().gather_leaves(&mut leaves);
        let mut names: Vec<&str> = Vec::new();
        for leaf in leaves {
            if let Expression::Group(name) = leaf
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        names
    }

    /// Puts in the place of every group what `group` says that it stands for, groups in it as well. Without
    /// groups it stays as it was written.
    ///
    /// Fails where a group is not known or is within itself, and where the whole exceeds the bounds of a
    /// selector. The position of the error is the group's in this selector.
    pub fn expand(&self, group: &dyn Fn(&str) -> Option<Self>) -> Result<Self, SelectorError> {
        let names: Vec<String> = self.groups().into_iter().map(str::to_owned).collect();
        if names.is_empty() {
            return Ok(self.clone());
        }
        let mut expansion = Expansion { group, within: Vec::new(), nodes: 0 };
        // Each alone first: which one is at fault?
        for name in &names {
            expansion.nodes = 0;
            expansion.named(name, 0).map_err(|fault| self.fault(name, fault))?;
        }
        expansion.nodes = 0;
        let last = names.last().map(String::as_str).unwrap_or_default();
        let expanded = expansion.all(self.expression(), 0).map_err(|fault| self.fault(last, fault))?;
        Self::from_expression(&expanded).map_err(|error| SelectorError {
            position: Position { offset: 0, length: self.text().len() },
            message: format!("with its groups written out, {}", error.message),
            hint: error.hint,
        })
    }

    fn fault(&self, name: &str, fault: Fault) -> SelectorError {
        let named = |kind: &Kind| matches!(kind, Kind::Group(here) if here == name);
        let found =
            tokens(self.text()).ok().and_then(|tokens| tokens.into_iter().find(|token| named(&token.kind)));
        let position =
            found.map_or(Position { offset: 0, length: self.text().len() }, |token| token.position);
        match fault {
            Fault::Unknown(unknown) if unknown == name => {
                SelectorError::new(position, format!("no group is called {}", clipped(name)))
                    .hint("those that there are: muster group ls")
            }
            Fault::Unknown(unknown) => SelectorError::new(
                position,
                format!("@{name} asks for @{}, which is no group", clipped(&unknown)),
            )
            .hint(format!("see what it is: muster group ls {name}")),
            Fault::Circle(way) => {
                let way: Vec<String> = way.iter().map(|name| format!("@{name}")).collect();
                SelectorError::new(position, format!("a group is within itself: {}", clipped(&way.join(" "))))
                    .hint(format!("see what it is: muster group ls {name}"))
            }
            Fault::TooDeep => SelectorError::new(
                position,
                format!("groups and parentheses are nested more than {DEPTH_MAX} deep"),
            )
            .hint("put a tag on these hosts and select by it"),
            Fault::TooMany => SelectorError::new(
                position,
                format!(
                    "with its groups written out, the selector has more than {NODES_MAX} tests and operators"
                ),
            )
            .hint("put a tag on these hosts and select by it"),
        }
    }
}

/// One expansion under way.
struct Expansion<'l> {
    group: Lookup<'l>,
    /// The groups that are being expanded, from the outermost.
    within: Vec<String>,
    /// What was put together so far: each look-up counts, so that no chain of groups takes long.
    nodes: usize,
}

impl Expansion<'_> {
    fn all(&mut self, expression: &Expression, depth: usize) -> Result<Expression, Fault> {
        if depth > 2 * DEPTH_MAX {
            return Err(Fault::TooDeep);
        }
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Fault::TooMany);
        }
        let mut members = |members: &[Expression]| {
            members.iter().map(|member| self.all(member, depth + 1)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match expression {
            Expression::And(inner) => Expression::and(members(inner)?),
            Expression::Or(inner) => Expression::or(members(inner)?),
            Expression::Not(inner) => Expression::Not(Box::new(self.all(inner, depth + 1)?)),
            Expression::Group(name) => self.named(name, depth + 1)?,
            test => test.clone(),
        })
    }

    fn named(&mut self, name: &str, depth: usize) -> Result<Expression, Fault> {
        if let Some(at) = self.within.iter().position(|within| within == name) {
            let way = self.within.get(at..).unwrap_or_default().iter().cloned();
            return Err(Fault::Circle(way.chain([name.to_owned()]).collect()));
        }
        let Some(selector) = (self.group)(name) else { return Err(Fault::Unknown(name.to_owned())) };
        self.within.push(name.to_owned());
        let expanded = self.all(selector.expression(), depth);
        self.within.pop();
        expanded
    }
}
