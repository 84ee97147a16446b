//! What is wrong with a text that is not a selector, where, and what to write instead.

use super::character::is_hidden;
use thiserror::Error;

/// How many characters of a line are shown before the fault.
const SHOWN_BEFORE_MAX: usize = 60;
/// How many characters of the fault itself are shown.
const SHOWN_FAULT_MAX: usize = 40;
/// How many characters of a line are shown after the fault.
const SHOWN_AFTER_MAX: usize = 30;

/// Which part of a text is meant, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Where it starts.
    pub offset: usize,
    /// How long it is; 0 at the end of the text.
    pub length: usize,
}

/// A text that is not a selector. Nothing was selected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SelectorError {
    /// Where in the text that was read.
    pub position: Position,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do next, where one can tell.
    pub hint: Option<String>,
}

impl SelectorError {
    pub(super) fn new(position: Position, message: impl Into<String>) -> Self {
        Self { position, message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Writes the message, the line of `text` that is at fault, and carets under the fault.
    ///
    /// `text` is the text that was read. A long line is shown in part, and no character is written that a
    /// terminal would not show. The hint is left to the caller, who has a place for hints.
    pub fn render(&self, text: &str) -> String {
        let (head, rest) = split(text, self.position.offset);
        let before = head.rsplit('\n').next().unwrap_or_default();
        let rest = rest.split('\n').next().unwrap_or_default();
        let (fault, after) = split(rest, self.position.length);

        let skipped = before.chars().count().saturating_sub(SHOWN_BEFORE_MAX);
        let mut line = String::new();
        if skipped > 0 {
            line.push('…');
        }
        line.extend(before.chars().skip(skipped).map(shown));
        let indent = line.chars().count();
        line.extend(fault.chars().take(SHOWN_FAULT_MAX).map(shown));
        let carets = line.chars().count() - indent;
        let cut = fault.chars().count() > SHOWN_FAULT_MAX;
        if !cut {
            line.extend(after.chars().take(SHOWN_AFTER_MAX).map(shown));
        }
        if cut || after.chars().count() > SHOWN_AFTER_MAX {
            line.push('…');
        }
        format!(
            "{}\n  {}\n  {}{}",
            self.message,
            line.trim_end(),
            " ".repeat(indent),
            "^".repeat(carets.max(1)),
        )
    }
}

/// Splits at `at`, or at the last character boundary before it.
fn split(text: &str, at: usize) -> (&str, &str) {
    let at = at.min(text.len());
    (0..=at).rev().find_map(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

fn shown(c: char) -> char {
    match c {
        '\t' | '\r' => ' ',
        _ if is_hidden(c) => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(offset: usize, length: usize) -> SelectorError {
        SelectorError::new(Position { offset, length }, "broken")
    }

    #[test]
    fn carets_stand_under_the_fault() {
        assert_eq!(error(9, 2).render("tag.role == web"), "broken\n  tag.role == web\n           ^^");
    }

    #[test]
    fn only_the_faulty_line_is_shown() {
        assert_eq!(error(8, 3).render("all and\n foo and\nbar"), "broken\n   foo and\n  ^^^");
    }

    #[test]
    fn the_end_gets_one_caret() {
        assert_eq!(error(3, 0).render("all"), "broken\n  all\n     ^");
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let text = format!("{}HERE{}", "a".repeat(2000), "b".repeat(2000));
        let line = format!("…{}HERE{}…", "a".repeat(60), "b".repeat(30));
        assert_eq!(error(2000, 4).render(&text), format!("broken\n  {line}\n  {}^^^^", " ".repeat(61)));
    }

    #[test]
    fn nothing_hidden_reaches_the_terminal() {
        let rendered = error(0, 1).render("a\u{1b}[2J\u{202e}b");
        assert!(!rendered.chars().any(|c| c != '\n' && is_hidden(c)), "{rendered:?}");
    }

    #[test]
    fn a_position_outside_the_text_is_harmless() {
        assert_eq!(error(99, 99).render("é"), "broken\n  é\n   ^");
        assert_eq!(error(1, 1).render("é"), "broken\n  é\n  ^");
    }
}
