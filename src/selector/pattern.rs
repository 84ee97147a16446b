//! Regular expressions that end: in time proportional to the text, after R. Cox, "Regular Expression Matching
//! Can Be Simple And Fast", by the crate `regex`, which has neither look-around nor references.

use regex::{Regex, RegexBuilder};
use std::fmt;
use std::hash::{Hash, Hasher};

/// The largest program that a pattern may become, in bytes; and what matching keeps beside it.
const PROGRAM_BYTES_MAX: usize = 64 * 1024;
/// How deep groups nest.
const NEST_MAX: u32 = 32;
/// The longest pattern, in bytes.
pub(super) const PATTERN_BYTES_MAX: usize = 512;
/// The longest text that is matched, by a glob as well; what a longer one says is unknown.
pub(super) const MATCHED_BYTES_MAX: usize = 4096;

/// A pattern that was read. Two are equal if they were written the same.
#[derive(Clone)]
pub(super) struct Pattern {
    text: String,
    program: Regex,
}

impl Pattern {
    /// Reads a pattern. An error is what is wrong with it, in a sentence, and a hint.
    pub(super) fn read(text: &str) -> Result<Self, (String, String)> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err((
                format!("the pattern is {} bytes long; {PATTERN_BYTES_MAX} is the most", text.len()),
                "match less, or compare with like".to_owned(),
            ));
        }
        if names_a_class(text) {
            return Err((
                "a pattern has no classes of Unicode by name".to_owned(),
                "write which letters are meant, such as [a-z], or \\\\w for any".to_owned(),
            ));
        }
        let build = |text: &str| {
            RegexBuilder::new(text)
                .size_limit(PROGRAM_BYTES_MAX)
                .dfa_size_limit(PROGRAM_BYTES_MAX)
                .nest_limit(NEST_MAX)
                .build()
        };
        build(text).map_err(|error| explained(&error))?;
        // The whole text must match. Read alone first: its parentheses are in pairs, so that they are within
        // these. Only a comment at its end could take in the last one, and is then an error.
        let program = build(&format!("\\A(?:{text})\\z")).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => explained(&error),
            _ => ("a pattern has no comments".to_owned(), "take out what follows #".to_owned()),
        })?;
        Ok(Self { text: text.to_owned(), program })
    }

    /// Its text, as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches all of `text`; nothing if that is too long.
    pub(super) fn matches(&self, text: &str) -> Option<bool> {
        (text.len() <= MATCHED_BYTES_MAX).then(|| self.program.is_match(text))
    }
}

/// Whether it has `\p` or `\P`. Which names these know is decided where the crate is built, and not the same
/// everywhere.
fn names_a_class(text: &str) -> bool {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\\' && matches!(letters.next(), Some('p' | 'P')) {
            return true;
        }
    }
    false
}

/// The last line of the parser's message, which says what is wrong, without its drawing.
fn explained(error: &regex::Error) -> (String, String) {
    if let regex::Error::CompiledTooBig(_) = error {
        let hint = "repeat fewer times, or compare with like".to_owned();
        return ("the pattern becomes too large a program".to_owned(), hint);
    }
    let said = error.to_string();
    let last =
        said.lines().rev().find_map(|line| line.trim().strip_prefix("error: ")).unwrap_or("not readable");
    let hint = if last.contains("look-around") || last.contains("backreference") {
        "a pattern looks neither ahead nor back: join two tests with and"
    } else {
        "a mark that stands for itself has \\ before it, which in quotes is written \\\\"
    };
    (format!("this is no pattern: {last}"), hint.to_owned())
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::read(pattern).unwrap().matches(text).unwrap()
    }

    #[test]
    fn the_whole_text_must_match() {
        assert!(matches("db-[0-9]+", "db-17"));
        assert!(!matches("db-[0-9]+", "a-db-17"));
        assert!(!matches("db-[0-9]+", "db-17\n"));
        assert!(matches("a|ab", "ab"));
        assert!(!matches("a|b", "ab"));
        assert!(matches("", "") && !matches("", "a"));
        assert!(matches("(?i)WEB.*", "web-1"));
        assert!(matches("\\w\\d\\s?", "é1"));
    }

    #[test]
    fn bombs_are_refused_or_end() {
        for bomb in ["(a{1000}){1000}", "((a{100}){100}){100}", "(\\w{200}){10}"] {
            assert_eq!(
                Pattern::read(bomb).unwrap_err().0,
                "the pattern becomes too large a program",
                "{bomb}"
            );
        }
        assert!(Pattern::read(&"(".repeat(500)).is_err());
        assert!(Pattern::read(&format!("{}a{}", "(".repeat(100), ")".repeat(100))).is_err());
        assert!(Pattern::read(&"a".repeat(513)).is_err());
        assert!(!matches("(a*)*(a*)*(a|aa)+b", &"a".repeat(MATCHED_BYTES_MAX)));
        assert_eq!(Pattern::read("a*").unwrap().matches(&"a".repeat(MATCHED_BYTES_MAX + 1)), None);
    }

    #[test]
    fn what_would_escape_from_the_ends_is_refused() {
        for text in ["a)|(b", "(?x)a #", "a\\", "[a", "(?=a)", "\\1", "\\pL", "\\\\\\P{Greek}"] {
            assert!(Pattern::read(text).is_err(), "{text}");
        }
        assert_eq!(Pattern::read("(?x)a # b").unwrap_err().0, "a pattern has no comments");
    }
}
