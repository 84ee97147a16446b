//! Reads a text into a tree, by the grammar of the targeting language, within its bounds.
//!
//! `not` binds closer than `and`, `and` closer than `or`; nothing is implied. Every level of recursion is
//! counted against [`DEPTH_MAX`] before it is entered, so no text can exhaust the stack.

use super::error::{Position, SelectorError};
use super::expression::{Expression, Test};
use super::path::{Path, clipped};
use super::reading::{Reading, unordered};
use super::spelling::{self, KEYWORDS};
use super::token::{Kind, Token, bare_parts, tokens};

/// The longest text, as written and as printed, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 4096;
/// How deep parentheses and `not` nest.
const DEPTH_MAX: usize = 32;
/// How many tests, operators and values of lists there are.
const NODES_MAX: usize = 256;

/// Reads `text`.
pub(super) fn parse(text: &str) -> Result<Expression, SelectorError> {
    if text.len() > TEXT_BYTES_MAX {
        let over = Position { offset: TEXT_BYTES_MAX, length: text.len() - TEXT_BYTES_MAX };
        return Err(too_long(over, text.len()));
    }
    let tokens = tokens(text)?;
    let end = Token { kind: Kind::End, position: Position { offset: text.len(), length: 0 } };
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), end, nodes: 0 };
    if parser.peek().kind == Kind::End {
        return Err(SelectorError::new(parser.peek().position, "the selector is empty")
            .hint("write all for every host"));
    }
    let expression = parser.or(0)?;
    parser.finish()?;
    let printed = expression.to_string().len();
    if printed > TEXT_BYTES_MAX {
        return Err(too_long(Position { offset: 0, length: text.len() }, printed));
    }
    Ok(expression)
}

fn too_long(position: Position, bytes: usize) -> SelectorError {
    SelectorError::new(position, format!("the selector is {bytes} bytes long; {TEXT_BYTES_MAX} is the most"))
        .hint("put a tag on these hosts and select by it")
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    end: Token,
    nodes: usize,
}

impl Parser {
    fn or(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        let mut members = vec![self.and(depth)?];
        while let Some(position) = self.take_word("or") {
            if members.len() == 1 {
                self.count(position)?;
            }
            members.push(self.and(depth)?);
        }
        Ok(Expression::or(members))
    }

    fn and(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        let mut members = vec![self.unary(depth)?];
        while let Some(position) = self.take_word("and") {
            if members.len() == 1 {
                self.count(position)?;
            }
            members.push(self.unary(depth)?);
        }
        Ok(Expression::and(members))
    }

    fn unary(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        if let Some(position) = self.take_word("not") {
            self.count(position)?;
            let inner = self.unary(deeper(depth, position)?)?;
            return Ok(Expression::Not(Box::new(inner)));
        }
        self.primary(depth)
    }

    fn primary(&mut self, depth: usize) -> Result<Expression, SelectorError> {
        let token = self.next();
        let position = token.position;
        let fault = |message: &str| SelectorError::new(position, message);
        let word = match token.kind {
            Kind::Open => return self.group(depth, position),
            Kind::Word(word) => word,
            Kind::Dotted(parts) => return self.comparison(Path::from_parts(parts, position)?, position),
            Kind::End => return Err(fault("a test is missing here").hint("write tag.role = web, or all")),
            Kind::At => return Err(fault("saved selectors are not built yet").hint("write the selector out")),
            Kind::Text(_) => return Err(fault("a test starts with a path, without quotes around all of it")),
            _ => return Err(fault("a test should stand here").hint("write tag.role = web, or all")),
        };
        match word.as_str() {
            "all" => self.counted(Expression::All, position),
            "none" => self.counted(Expression::None, position),
            "has" => {
                let path = self.path("has")?;
                self.counted(Expression::Has(path), position)
            }
            "missing" => {
                let path = self.path("missing")?;
                self.counted(Expression::Missing(path), position)
            }
            "any" | "every" | "ver" | "num" => Err(fault(&format!("{word} is not built yet"))),
            keyword if KEYWORDS.contains(&keyword) => {
                Err(fault(&format!("{keyword} stands where a test should"))
                    .hint("write tag.role = web, or all"))
            }
            path => self.comparison(Path::from_parts(bare_parts(path).collect(), position)?, position),
        }
    }

    fn group(&mut self, depth: usize, open: Position) -> Result<Expression, SelectorError> {
        let inner = self.or(deeper(depth, open)?)?;
        match self.peek().kind {
            Kind::Close => {
                self.next();
                Ok(inner)
            }
            Kind::End => {
                Err(SelectorError::new(open, "this parenthesis is not closed").hint("close it with )"))
            }
            _ => Err(self.unexpected()),
        }
    }

    fn path(&mut self, after: &str) -> Result<Path, SelectorError> {
        let token = self.next();
        match token.kind {
            Kind::Word(word) => Path::from_parts(bare_parts(&word).collect(), token.position),
            Kind::Dotted(parts) => Path::from_parts(parts, token.position),
            _ => Err(SelectorError::new(token.position, format!("a path should follow {after}"))
                .hint(format!("write {after} tag.role"))),
        }
    }

    fn comparison(&mut self, path: Path, at: Position) -> Result<Expression, SelectorError> {
        let reading = Reading::of(&path);
        let token = self.next();
        let position = token.position;
        let test = match token.kind {
            Kind::Equal => Test::Equal(self.value("=", reading)?),
            Kind::NotEqual => Test::NotEqual(self.value("!=", reading)?),
            Kind::Ordered(order) => {
                if let Some((message, hint)) = unordered(&path, order.mark()) {
                    return Err(SelectorError::new(position, message).hint(hint));
                }
                let (value, at) = self.text(order.mark())?;
                checked(reading, true, &value, at)?;
                Test::Ordered(order, value)
            }
            Kind::Word(word) => match word.as_str() {
                "in" => Test::In(self.list(position, reading)?),
                "like" => Test::Like(self.value("like", Reading::Text)?),
                "not" if self.take_word("in").is_some() => Test::NotIn(self.list(position, reading)?),
                "not" => {
                    return Err(SelectorError::new(position, "only in follows not here")
                        .hint(format!("write not before the path: not {}", clipped(&path.to_string()))));
                }
                "matches" => {
                    return Err(SelectorError::new(position, "matches is not built yet")
                        .hint("compare with like \"glob\""));
                }
                "and" | "or" => return Err(no_test(&path, at)),
                other => {
                    let error = SelectorError::new(position, format!("{} is no comparison", clipped(other)));
                    return Err(match spelling::keyword(other) {
                        Some(keyword) => error.hint(format!("keywords are small: write {keyword}")),
                        None => error.hint(spelling::comparison(other)),
                    });
                }
            },
            Kind::End | Kind::Close => return Err(no_test(&path, at)),
            _ => {
                return Err(SelectorError::new(position, "a comparison should stand here")
                    .hint("compare with = != in or like"));
            }
        };
        self.counted(Expression::Compare(path, test), at)
    }

    fn value(&mut self, after: &str, reading: Reading) -> Result<String, SelectorError> {
        let (value, position) = self.text(after)?;
        checked(reading, false, &value, position)?;
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
            _ => Err(fault(format!("a value should follow {after}"))),
        }
    }

    fn list(&mut self, operator: Position, reading: Reading) -> Result<Vec<String>, SelectorError> {
        let open = self.next();
        if open.kind != Kind::ListOpen {
            return Err(SelectorError::new(open.position, "a list should follow in").hint("write in [a, b]"));
        }
        if self.peek().kind == Kind::ListClose {
            return Err(SelectorError::new(self.peek().position, "the list is empty")
                .hint("write at least one value: in [a, b]"));
        }
        let mut values = Vec::new();
        loop {
            self.count(operator)?;
            values.push(self.value(if values.is_empty() { "[" } else { "," }, reading)?);
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

    fn finish(&mut self) -> Result<(), SelectorError> {
        if self.peek().kind == Kind::End { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Says what is wrong with whatever follows a complete test.
    fn unexpected(&mut self) -> SelectorError {
        let token = self.next();
        let fault = |message: &str| SelectorError::new(token.position, message);
        match &token.kind {
            Kind::Close => fault("this parenthesis was never opened"),
            Kind::Comma => fault("tests are not joined by commas").hint("join them with and or or"),
            Kind::Word(word) => match spelling::keyword(word) {
                Some(keyword) => fault(&format!("{} is not part of the language", clipped(word)))
                    .hint(format!("keywords are small: write {keyword}")),
                None => fault("and or or is missing before this")
                    .hint("join tests with and or or; nothing is implied"),
            },
            Kind::Text(_) | Kind::Dotted(_) | Kind::Open | Kind::At => {
                fault("and or or is missing before this")
                    .hint("join tests with and or or; nothing is implied")
            }
            _ => fault("the test before this is complete").hint("join tests with and or or"),
        }
    }

    fn counted(&mut self, expression: Expression, position: Position) -> Result<Expression, SelectorError> {
        self.count(position)?;
        Ok(expression)
    }

    fn count(&mut self, position: Position) -> Result<(), SelectorError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(SelectorError::new(
                position,
                format!("the selector has more than {NODES_MAX} tests, operators and values of lists"),
            )
            .hint("put a tag on these hosts and select by it"));
        }
        Ok(())
    }

    fn take_word(&mut self, word: &str) -> Option<Position> {
        let found = self.tokens.next_if(|token| matches!(&token.kind, Kind::Word(here) if here == word));
        found.map(|token| token.position)
    }

    fn peek(&mut self) -> &Token {
        self.tokens.peek().unwrap_or(&self.end)
    }

    fn next(&mut self) -> Token {
        self.tokens.next().unwrap_or_else(|| self.end.clone())
    }
}

fn checked(reading: Reading, ordered: bool, value: &str, position: Position) -> Result<(), SelectorError> {
    reading.check(value, ordered).map_err(|(message, hint)| {
        let error = SelectorError::new(position, message);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

fn deeper(depth: usize, position: Position) -> Result<usize, SelectorError> {
    if depth >= DEPTH_MAX {
        return Err(SelectorError::new(
            position,
            format!("parentheses and not are nested more than {DEPTH_MAX} deep"),
        ));
    }
    Ok(depth + 1)
}

fn no_test(path: &Path, position: Position) -> SelectorError {
    let path = clipped(&path.to_string());
    SelectorError::new(position, format!("{path} alone is no test"))
        .hint(format!("write has {path}, or {path} = value"))
}
