//! Reads what follows the left side of a comparison: the operator, and values of the kind that the left has.

use super::error::{Position, SelectorError};
use super::expression::{Expression, Left, Order, Test};
use super::kind::{Ask, Kind as ValueKind};
use super::parse::{PATTERNS_MAX, Parser};
use super::path::clipped;
use super::pattern::{PATTERN_BYTES_MAX, Pattern};
use super::root::Root;
use super::spelling::{self, KEYWORDS};
use super::token::Kind;

impl Parser {
    /// Reads the rest of a comparison whose left side stood at `at`.
    pub(super) fn comparison(&mut self, left: Left, at: Position) -> Result<Expression, SelectorError> {
        let token = self.next();
        let position = token.position;
        let fault = |message: String| SelectorError::new(position, message);
        let operator = match &token.kind {
            Kind::Equal | Kind::NotEqual | Kind::Ordered(_) => true,
            Kind::Word(word) => matches!(word.as_str(), "in" | "like" | "matches" | "not"),
            _ => false,
        };
        if operator && let Some((message, hint)) = left.path.incomparable() {
            return Err(SelectorError::new(at, message).hint(hint));
        }
        let test = match token.kind {
            Kind::Equal => Test::Equal(self.value("=", &left, Ask::Equal)?),
            Kind::NotEqual => Test::NotEqual(self.value("!=", &left, Ask::Equal)?),
            Kind::Ordered(order) => {
                if let Some((message, hint)) = unordered(&left, order) {
                    return Err(fault(message).hint(hint));
                }
                Test::Ordered(order, self.value(order.mark(), &left, Ask::Order)?)
            }
            Kind::Word(word) => match word.as_str() {
                "in" => Test::In(self.list(position, &left)?),
                "like" => self.glob()?,
                "matches" => self.pattern(position)?,
                "not" if self.take_word("in").is_some() => Test::NotIn(self.list(position, &left)?),
                "not" => {
                    return Err(fault("only in follows not here".to_owned())
                        .hint(format!("write not before the path: not {}", clipped(&left.to_string()))));
                }
                "and" | "or" => return Err(no_test(&left, at)),
                other => {
                    let error = fault(format!("{} is no comparison", clipped(other)));
                    return Err(match spelling::keyword(other) {
                        Some(keyword) => error.hint(format!("keywords are small: write {keyword}")),
                        None => error.hint(spelling::comparison(other)),
                    });
                }
            },
            Kind::End | Kind::Close => return Err(no_test(&left, at)),
            _ => {
                return Err(fault("a comparison should stand here".to_owned())
                    .hint("compare with = != < <= > >= in like or matches"));
            }
        };
        self.counted(Expression::Compare(left, test), at)
    }

    fn glob(&mut self) -> Result<Test, SelectorError> {
        let (glob, at) = self.text("like")?;
        if glob.len() > PATTERN_BYTES_MAX {
            let message =
                format!("the pattern is {} bytes long; {PATTERN_BYTES_MAX} is the most", glob.len());
            return Err(SelectorError::new(at, message).hint("a * stands for any characters"));
        }
        Ok(Test::Like(glob))
    }

    fn pattern(&mut self, position: Position) -> Result<Test, SelectorError> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(SelectorError::new(
                position,
                format!("the selector has more than {PATTERNS_MAX} patterns"),
            )
            .hint("join them: matches \"a|b\""));
        }
        let (text, at) = self.text("matches")?;
        Pattern::read(&text)
            .map(Test::Matches)
            .map_err(|(message, hint)| SelectorError::new(at, message).hint(hint))
    }

    fn value(&mut self, after: &str, left: &Left, ask: Ask) -> Result<String, SelectorError> {
        let (value, position) = self.text(after)?;
        let kind = match (left.kind(), self.package) {
            (ValueKind::RowVersion, Some(root)) => ValueKind::Version(root),
            (kind, _) => kind,
        };
        kind.check(&value, ask).map_err(|(message, hint)| {
            let error = SelectorError::new(position, message);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        Ok(value)
    }

    /// Takes a value, whatever it is, and where it stood.
    fn text(&mut self, after: &str) -> Result<(String, Position), SelectorError> {
        let token = self.next();
        let fault = |message: String| SelectorError::new(token.position, message);
        match token.kind {
            Kind::Text(text) => Ok((text, token.position)),
            // These would swallow the next test if someone forgot the value.
            Kind::Word(word)
                if KEYWORDS.contains(&word.as_str())
                    && !matches!(word.as_str(), "all" | "none" | "any" | "every") =>
            {
                Err(fault(format!("a value should follow {after}, not the keyword {word}"))
                    .hint(format!("if it is the value, write \"{word}\"")))
            }
            Kind::Word(word) => Ok((word, token.position)),
            Kind::ListOpen => {
                Err(fault(format!("a single value should follow {after}")).hint("compare with in [a, b]"))
            }
            Kind::Group(name) => Err(fault(format!("a value should follow {after}, not a group"))
                .hint(format!("if it is the value, write \"@{name}\""))),
            _ => Err(fault(format!("a value should follow {after}"))),
        }
    }

    fn list(&mut self, operator: Position, left: &Left) -> Result<Vec<String>, SelectorError> {
        if left.kind() == ValueKind::Address && matches!(self.peek().kind, Kind::Word(_) | Kind::Text(_)) {
            self.count(operator)?;
            return Ok(vec![self.value("in", left, Ask::Within)?]);
        }
        let open = self.next();
        match &open.kind {
            Kind::ListOpen => {}
            Kind::Word(word) if !KEYWORDS.contains(&word.as_str()) => {
                return Err(SelectorError::new(open.position, "a list should follow in").hint(format!(
                    "write in [{}], or = {}",
                    clipped(word),
                    clipped(word)
                )));
            }
            _ => {
                let (what, example) = match left.kind() {
                    ValueKind::Address => ("a range", "in 10.20.0.0/16"),
                    _ => ("a list", "in [a, b]"),
                };
                return Err(SelectorError::new(open.position, format!("{what} should follow in"))
                    .hint(format!("write {example}")));
            }
        }
        if self.peek().kind == Kind::ListClose {
            return Err(SelectorError::new(self.peek().position, "the list is empty")
                .hint("write at least one value: in [a, b]"));
        }
        let mut values = Vec::new();
        loop {
            self.count(operator)?;
            values.push(self.value(if values.is_empty() { "[" } else { "the comma" }, left, Ask::Within)?);
            let token = self.next();
            match token.kind {
                Kind::Comma => {}
                Kind::ListClose => return Ok(values),
                Kind::End => {
                    return Err(
                        SelectorError::new(open.position, "this list is not closed").hint("close it with ]")
                    );
                }
                _ => {
                    return Err(SelectorError::new(token.position, "a comma is missing in the list")
                        .hint("write [a, b]"));
                }
            }
        }
    }
}

/// Why `<` and its kin cannot be asked of what stands on the left, and what to write; nothing if they can.
fn unordered(left: &Left, order: Order) -> Option<(String, String)> {
    let kind = left.kind();
    if kind.is_ordered() {
        return None;
    }
    let shown = clipped(&left.to_string());
    let mark = order.mark();
    Some(match kind {
        ValueKind::Address => (
            format!("{shown} is an address, of which none is less or more"),
            format!("name a range: {shown} in 10.20.0.0/16"),
        ),
        ValueKind::Boolean => {
            (format!("{shown} is true or false, neither of which is less"), format!("write {shown} = true"))
        }
        ValueKind::Words(words) => (
            format!("{shown} is a word, of which none is less or more"),
            format!("name the words: {shown} in [{}]", words.get(..2).unwrap_or(words).join(", ")),
        ),
        _ if matches!(left.path.root(), Root::Name | Root::Id | Root::Site | Root::State) => (
            format!("{shown} is text, of which none is less or more"),
            format!("name the values: {shown} in [a, b]"),
        ),
        _ => (
            format!("{shown} is text, of which none is less or more"),
            format!("say as what: num({shown}) {mark} 3, or ver({shown}) {mark} 1.2"),
        ),
    })
}

fn no_test(left: &Left, position: Position) -> SelectorError {
    let shown = clipped(&left.to_string());
    let path = clipped(&left.path.to_string());
    let test = match (left.cast, left.path.incomparable()) {
        (Some(_), _) => format!("{shown} >= 1.2"),
        (None, Some((_, hint))) => {
            let error = SelectorError::new(position, format!("{shown} alone is no test"));
            return error.hint(format!("write has {path}; or {}", hint.trim_start_matches("write ")));
        }
        (None, None) => format!("{shown} = value"),
    };
    SelectorError::new(position, format!("{shown} alone is no test"))
        .hint(format!("write has {path}, or {test}"))
}
