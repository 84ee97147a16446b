//! Cuts a text into words, strings and marks, and refuses marks that the language spells otherwise.

use super::character::{is_hidden, is_word, named};
use super::error::{Position, SelectorError};
use super::expression::Order;
use super::tag::check_group_name;

/// One piece of a text, and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) position: Position,
}

/// What a piece is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word without quotes: a keyword, a path or a value.
    Word(String),
    /// A string that stood in quotes.
    Text(String),
    /// A path with a part in quotes, such as `tag."k8s.io/role"`.
    Dotted(Vec<Part>),
    Open,
    Close,
    ListOpen,
    ListClose,
    Comma,
    /// The name of a saved selector, after its `@`.
    Group(String),
    Equal,
    NotEqual,
    /// `<`, `<=`, `>` or `>=`.
    Ordered(Order),
    /// After the last piece.
    End,
}

/// One part of a path, between dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: String,
    pub(super) quoted: bool,
}

/// Marks, longest first, with their meaning or the spelling to use instead.
const MARKS: &[(&str, Result<Kind, &str>)] = &[
    ("===", Err("compare with =")),
    ("==", Err("compare with =")),
    ("=~", Err("compare with matches \"pattern\"")),
    ("=>", Err("write >=")),
    ("=<", Err("write <=")),
    ("!=", Ok(Kind::NotEqual)),
    ("!~", Err("write not, and compare with matches \"pattern\"")),
    ("!", Err("write not")),
    ("&&", Err("write and")),
    ("&", Err("write and")),
    ("||", Err("write or")),
    ("|", Err("write or")),
    ("<>", Err("write !=")),
    ("<=", Ok(Kind::Ordered(Order::LessOrEqual))),
    (">=", Ok(Kind::Ordered(Order::GreaterOrEqual))),
    ("<", Ok(Kind::Ordered(Order::Less))),
    (">", Ok(Kind::Ordered(Order::Greater))),
    ("=", Ok(Kind::Equal)),
    ("(", Ok(Kind::Open)),
    (")", Ok(Kind::Close)),
    ("[", Ok(Kind::ListOpen)),
    ("]", Ok(Kind::ListClose)),
    (",", Ok(Kind::Comma)),
    ("*", Err("write all for every host, or a pattern in quotes: name like \"db-*\"")),
    ("?", Err("write a pattern in quotes: name like \"db-?\"")),
    ("{", Err("write a list in brackets: [a, b]")),
    ("}", Err("write a list in brackets: [a, b]")),
    (";", Err("join tests with and or or")),
];

/// Quotation marks of other languages, and of word processors.
const FOREIGN_QUOTES: &[char] = &['\'', '`', '´', '‘', '’', '“', '”', '„', '«', '»'];

/// Cuts `text` into tokens. The last one is always [`Kind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SelectorError> {
    let mut reader = Reader { rest: text, offset: 0 };
    let mut tokens = Vec::new();
    loop {
        reader.skip_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
        let start = reader.offset;
        let kind = reader.token()?;
        let done = kind == Kind::End;
        tokens.push(Token { kind, position: reader.since(start) });
        if done {
            return Ok(tokens);
        }
    }
}

/// What is left of the text.
struct Reader<'a> {
    rest: &'a str,
    offset: usize,
}

impl<'a> Reader<'a> {
    fn token(&mut self) -> Result<Kind, SelectorError> {
        let Some(first) = self.peek() else { return Ok(Kind::End) };
        if first == '"' {
            return Ok(Kind::Text(self.string()?));
        }
        if first == '@' {
            return self.group();
        }
        if is_word(first) {
            return self.word();
        }
        let start = self.offset;
        for (mark, meaning) in MARKS {
            if let Some(rest) = self.rest.strip_prefix(mark) {
                self.rest = rest;
                self.offset += mark.len();
                return meaning.clone().map_err(|instead| {
                    SelectorError::new(self.since(start), format!("{mark} is not part of the language"))
                        .hint(instead)
                });
            }
        }
        self.next();
        let error = SelectorError::new(self.since(start), format!("{} cannot stand here", named(first)));
        Err(error.hint(if FOREIGN_QUOTES.contains(&first) {
            "quote with \""
        } else if is_hidden(first) {
            "take it out; it cannot be seen"
        } else {
            "a value with such a character stands in quotes: \"…\""
        }))
    }

    /// Reads the name of a saved selector.
    fn group(&mut self) -> Result<Kind, SelectorError> {
        let start = self.offset;
        self.next();
        let name = self.skip_while(is_word);
        check_group_name(name).map_err(|error| {
            SelectorError::new(self.since(start), format!("no group has this name: {error}"))
                .hint("a group is written @name; a value that starts with @ stands in quotes")
        })?;
        Ok(Kind::Group(name.to_owned()))
    }

    /// Reads a word, and where a string follows its last dot, the whole path.
    fn word(&mut self) -> Result<Kind, SelectorError> {
        let word = self.skip_while(is_word);
        let Some(before) = word.strip_suffix('.').filter(|_| self.peek() == Some('"')) else {
            return Ok(Kind::Word(word.to_owned()));
        };
        let mut parts: Vec<Part> = bare_parts(before).collect();
        loop {
            parts.push(Part { text: self.string()?, quoted: true });
            let start = self.offset;
            let word = self.skip_while(is_word);
            if word.is_empty() {
                return Ok(Kind::Dotted(parts));
            }
            let Some(after_dot) = word.strip_prefix('.') else {
                return Err(SelectorError::new(self.since(start), "a dot is missing after the quotes"));
            };
            if self.peek() != Some('"') {
                parts.extend(bare_parts(after_dot));
                return Ok(Kind::Dotted(parts));
            }
            if after_dot.is_empty() {
                continue;
            }
            let Some(between) = after_dot.strip_suffix('.') else {
                return Err(SelectorError::new(self.since(start), "a dot is missing before the quotes"));
            };
            parts.extend(bare_parts(between));
        }
    }

    /// Reads a string in quotes. `\"`, `\\` and `\u{…}` are all there is to escape with.
    fn string(&mut self) -> Result<String, SelectorError> {
        let start = self.offset;
        self.next();
        let mut text = String::new();
        loop {
            let at = self.offset;
            match self.next() {
                None => {
                    return Err(SelectorError::new(self.since(start), "the quotes are not closed")
                        .hint("end the string with \""));
                }
                Some('"') => return Ok(text),
                Some('\\') => match self.escape() {
                    Some(c) => text.push(c),
                    None => {
                        return Err(SelectorError::new(self.since(at), "this escape is not known")
                            .hint("write \\\\ for \\, \\\" for \", \\u{e9} for a character by number"));
                    }
                },
                Some(c) if is_hidden(c) => {
                    return Err(SelectorError::new(
                        self.since(at),
                        format!("{} cannot be seen in a string", named(c)),
                    )
                    .hint(format!("write {}", c.escape_unicode())));
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        match self.next()? {
            c @ ('"' | '\\') => Some(c),
            'u' => {
                let (digits, rest) = self.rest.strip_prefix('{')?.split_once('}')?;
                if !(1..=6).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                self.offset += digits.len() + 2;
                self.rest = rest;
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)
            }
            _ => None,
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        self.offset += c.len_utf8();
        Some(c)
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.offset += taken.len();
        taken
    }

    fn since(&self, start: usize) -> Position {
        Position { offset: start, length: self.offset - start }
    }
}

/// Cuts a word into the parts of a path.
pub(super) fn bare_parts(word: &str) -> impl Iterator<Item = Part> {
    word.split('.').map(|text| Part { text: text.to_owned(), quoted: false })
}
