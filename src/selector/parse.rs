//! Reads a text into a tree, by the grammar of the targeting language, within its bounds.
//!
//! `not` binds closer than `and`, `and` closer than `or`; nothing is implied. Every level of recursion is
//! counted against [`DEPTH_MAX`] before it is entered, so no text can exhaust the stack.

use super::error::{Position, SelectorError};
use super::expression::{Cast, Expression, Left, Test};
use super::kind::Kind as ValueKind;
use super::path::{Path, clipped};
use super::quantified::Quantified;
use super::root::Root;
use super::spelling::{self, KEYWORDS};
use super::token::{Kind, Part, Token, bare_parts, tokens};

/// The longest text, as written and as printed, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 4096;
/// How deep parentheses and `not` nest.
pub(super) const DEPTH_MAX: usize = 32;
/// How many tests, operators and values of lists there are.
pub(super) const NODES_MAX: usize = 256;
/// How many patterns there are: each is a program, of up to 64 KiB.
pub(super) const PATTERNS_MAX: usize = 8;

/// Reads `text`.
pub(super) fn parse(text: &str) -> Result<Expression, SelectorError> {
    if text.len() > TEXT_BYTES_MAX {
        // Whole characters: the last one that begins within the bound may end beyond it.
        let offset = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let over = Position { offset, length: text.len() - offset };
        return Err(too_long(over, text.len()));
    }
    let tokens = tokens(text)?;
    let end = Token { kind: Kind::End, position: Position { offset: text.len(), length: 0 } };
    let mut parser = Parser {
        tokens: tokens.into_iter().peekable(),
        end,
        nodes: 0,
        patterns: 0,
        table: None,
        package: None,
    };
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

/// What is read next, and what was read so far.
pub(super) struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    end: Token,
    nodes: usize,
    pub(super) patterns: usize,
    /// The table whose rows are asked, within `any` and `every`.
    pub(super) table: Option<Path>,
    /// Whose packages the rows are by a test that was read and must hold as well: `eco = npm`.
    pub(super) package: Option<Root>,
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
        let outer = self.package;
        let mut members = vec![self.unary(depth)?];
        self.package = package_of(members.last()).or(self.package);
        while let Some(position) = self.take_word("and") {
            if members.len() == 1 {
                self.count(position)?;
            }
            members.push(self.unary(depth)?);
            self.package = package_of(members.last()).or(self.package);
        }
        self.package = outer;
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
        let example = self.example();
        let token = self.next();
        let position = token.position;
        let fault = |message: &str| SelectorError::new(position, message);
        let word = match token.kind {
            Kind::Open => return self.parentheses(depth, position),
            Kind::Word(word) => word,
            Kind::Dotted(parts) => return self.compared(parts, position),
            Kind::Group(_) if self.table.is_some() => {
                return Err(fault("a group is a selector of hosts, not of rows")
                    .hint("write it outside of the parentheses"));
            }
            Kind::Group(name) => return self.counted(Expression::Group(name), position),
            Kind::End => return Err(fault("a test is missing here").hint(example)),
            Kind::Text(_) => return Err(fault("a test starts with a path, without quotes around all of it")),
            _ => return Err(fault("a test should stand here").hint(example)),
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
            "any" | "every" => self.quantified(&word, position, depth),
            "ver" => self.cast(Cast::Version, position),
            "num" => self.cast(Cast::Number, position),
            keyword if KEYWORDS.contains(&keyword) => {
                Err(fault(&format!("{keyword} stands where a test should")).hint(example))
            }
            path => self.compared(bare_parts(path).collect(), position),
        }
    }

    fn parentheses(&mut self, depth: usize, open: Position) -> Result<Expression, SelectorError> {
        let inner = self.or(deeper(depth, open)?)?;
        self.close(open)?;
        Ok(inner)
    }

    /// Takes the parenthesis that closes the one at `open`.
    fn close(&mut self, open: Position) -> Result<(), SelectorError> {
        match self.peek().kind {
            Kind::Close => {
                self.next();
                Ok(())
            }
            Kind::End => {
                Err(SelectorError::new(open, "this parenthesis is not closed").hint("close it with )"))
            }
            _ => Err(self.unexpected()),
        }
    }

    fn quantified(&mut self, word: &str, at: Position, depth: usize) -> Result<Expression, SelectorError> {
        if self.table.is_some() {
            return Err(SelectorError::new(
                at,
                format!("{word} stands within any or every, whose rows have no rows"),
            )
            .hint("write it outside of the parentheses"));
        }
        self.count(at)?;
        let token = self.next();
        let table = match token.kind {
            Kind::Word(name) => Path::table_from_parts(bare_parts(&name).collect(), token.position)?,
            Kind::Dotted(parts) => Path::table_from_parts(parts, token.position)?,
            _ => {
                return Err(SelectorError::new(token.position, format!("a table should follow {word}"))
                    .hint(format!("write {word} disk(mount = /)")));
            }
        };
        let open = self.next();
        if open.kind != Kind::Open {
            let table = clipped(&table.to_string());
            return Err(SelectorError::new(open.position, format!("( should follow {word} {table}"))
                .hint(format!("write {word} {table}(…); whether it has rows at all says has {table}")));
        }
        let depth = deeper(depth, open.position)?;
        self.table = Some(table.clone());
        let body = self.or(depth)?;
        self.table = None;
        self.close(open.position)?;
        Ok(Expression::Quantified(Box::new(Quantified::new(word == "every", table, body))))
    }

    fn cast(&mut self, cast: Cast, at: Position) -> Result<Expression, SelectorError> {
        let name = cast.name();
        let open = self.next();
        if open.kind != Kind::Open {
            return Err(SelectorError::new(open.position, format!("( should follow {name}"))
                .hint(format!("write {name}(tag.release)")));
        }
        let token = self.peek().clone();
        let path = self.path(&format!("{name}("))?;
        if let Some((message, hint)) = path.incomparable() {
            return Err(SelectorError::new(token.position, message).hint(hint));
        }
        if !path.kind().is_loose() {
            let shown = clipped(&path.to_string());
            return Err(SelectorError::new(at, format!("{shown} is declared, and read as what it is"))
                .hint(format!("write {shown} alone")));
        }
        let close = self.next();
        if close.kind != Kind::Close {
            return Err(SelectorError::new(close.position, format!(") should follow the path in {name}("))
                .hint(format!("write {name}({})", clipped(&path.to_string()))));
        }
        let whole = Position { offset: at.offset, length: close.position.offset + 1 - at.offset };
        self.comparison(Left { path, cast: Some(cast) }, whole)
    }

    fn path(&mut self, after: &str) -> Result<Path, SelectorError> {
        let token = self.next();
        let parts = match token.kind {
            Kind::Word(word) if !KEYWORDS.contains(&word.as_str()) => bare_parts(&word).collect(),
            Kind::Dotted(parts) => parts,
            _ => {
                let example = if self.table.is_some() { "name" } else { "tag.role" };
                let hint = if after.ends_with('(') {
                    format!("write {after}{example})")
                } else {
                    format!("write {after} {example}")
                };
                return Err(
                    SelectorError::new(token.position, format!("a path should follow {after}")).hint(hint)
                );
            }
        };
        Path::from_parts(parts, token.position, self.table.as_ref())
    }

    fn compared(&mut self, parts: Vec<Part>, at: Position) -> Result<Expression, SelectorError> {
        let path = Path::from_parts(parts, at, self.table.as_ref())?;
        self.comparison(Left { path, cast: None }, at)
    }

    /// Says how a test is written here.
    fn example(&self) -> String {
        match &self.table {
            None => "write tag.role = web, or all".to_owned(),
            Some(table) => match table.root().schema().and_then(|schema| schema.words().next()) {
                Some(word) => format!("write {word} = value"),
                None => "write name = value".to_owned(),
            },
        }
    }

    fn finish(&mut self) -> Result<(), SelectorError> {
        if self.peek().kind == Kind::End { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Says what is wrong with whatever follows a complete test.
    pub(super) fn unexpected(&mut self) -> SelectorError {
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
            Kind::Text(_) | Kind::Dotted(_) | Kind::Open | Kind::Group(_) => {
                fault("and or or is missing before this")
                    .hint("join tests with and or or; nothing is implied")
            }
            _ => fault("the test before this is complete").hint("join tests with and or or"),
        }
    }

    pub(super) fn counted(
        &mut self,
        expression: Expression,
        position: Position,
    ) -> Result<Expression, SelectorError> {
        self.count(position)?;
        Ok(expression)
    }

    pub(super) fn count(&mut self, position: Position) -> Result<(), SelectorError> {
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

    pub(super) fn take_word(&mut self, word: &str) -> Option<Position> {
        let found = self.tokens.next_if(|token| matches!(&token.kind, Kind::Word(here) if here == word));
        found.map(|token| token.position)
    }

    pub(super) fn peek(&mut self) -> &Token {
        self.tokens.peek().unwrap_or(&self.end)
    }

    pub(super) fn next(&mut self) -> Token {
        self.tokens.next().unwrap_or_else(|| self.end.clone())
    }
}

/// Whose packages a conjunction is about that has this member.
fn package_of(member: Option<&Expression>) -> Option<Root> {
    match member? {
        Expression::Compare(left, Test::Equal(word))
            if left.path.root() == Root::Pkg && matches!(left.kind(), ValueKind::Words(_)) =>
        {
            Root::named(word)
        }
        Expression::And(members) => members.iter().rev().find_map(|member| package_of(Some(member))),
        _ => None,
    }
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
