//! What hosts write, as lines with a margin of this program's.
//!
//! Always holds: what a host wrote is escaped, and on a terminal every row of it stands behind a margin, also
//! where a line is wrapped. A host that never ends its line is cut; at most [`LINE_BYTES_MAX`] of it are held.

use std::fmt::Write as _;

use crate::terminal::{escape, wrap};

/// Longest part of a line that is held, in escaped bytes; a longer line is cut, and the cut shows.
pub(super) const LINE_BYTES_MAX: usize = 4096;
/// What shows that a line was cut, at its end or its beginning.
const CUT: &str = "…";

/// A line, or a part of one that is too long to be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Escaped, without a line end.
    text: String,
    /// Whether a line begins with it.
    begins: bool,
    /// Whether the line ends with it.
    ends: bool,
}

/// Cuts one output stream of one host into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    escaper: escape::Stream,
    held: String,
    cut: bool,
}

impl Lines {
    /// Takes the next piece; gives the lines that it ends.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<Part> {
        let text = self.escaper.push(piece);
        self.take(&text)
    }

    /// Gives the line that was never ended.
    pub(super) fn finish(mut self) -> Vec<Part> {
        let text = std::mem::take(&mut self.escaper).finish();
        let mut parts = self.take(&text);
        if !self.held.is_empty() {
            parts.push(Part { text: std::mem::take(&mut self.held), begins: !self.cut, ends: true });
        }
        parts
    }

    fn take(&mut self, text: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        for piece in text.split_inclusive('\n') {
            let (mut piece, ends) = piece.strip_suffix('\n').map_or((piece, false), |line| (line, true));
            while self.held.len() + piece.len() > LINE_BYTES_MAX {
                let room = LINE_BYTES_MAX.saturating_sub(self.held.len());
                let at = (0..=room).rev().find(|at| piece.is_char_boundary(*at)).unwrap_or(0);
                let (now, later) = piece.split_at(at);
                self.held.push_str(now);
                piece = later;
                parts.push(Part { text: std::mem::take(&mut self.held), begins: !self.cut, ends: false });
                self.cut = true;
            }
            self.held.push_str(piece);
            if ends {
                parts.push(Part { text: std::mem::take(&mut self.held), begins: !self.cut, ends: true });
                self.cut = false;
            }
        }
        parts
    }
}

/// What stands before each row, and how wide rows may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Margin {
    /// Before a line.
    pub(super) first: String,
    /// Before the rows on which it goes on.
    pub(super) rest: String,
    /// How many columns both take.
    pub(super) width: usize,
    /// How many the terminal has; without one, lines are as long as they are.
    pub(super) columns: Option<usize>,
    /// Whether nothing comes between the parts of a line, so that they are put together again.
    pub(super) alone: bool,
}

impl Margin {
    /// Appends the rows of `part`, each with its line end.
    pub(super) fn write(&self, part: &Part, out: &mut String) {
        let Some(columns) = self.columns else {
            if self.alone {
                out.push_str(if part.begins { &self.first } else { "" });
                out.push_str(&part.text);
                out.push_str(if part.ends { "\n" } else { "" });
                return;
            }
            let before = if part.begins { "" } else { CUT };
            let after = if part.ends { "" } else { CUT };
            let _ = writeln!(out, "{}{before}{}{after}", self.first, part.text);
            return;
        };
        for (at, text) in wrap::hard(&part.text, columns.saturating_sub(self.width)).iter().enumerate() {
            let margin = if at == 0 && part.begins { &self.first } else { &self.rest };
            let _ = writeln!(out, "{margin}{text}");
        }
    }

    /// As [`Margin::write`], for several.
    pub(super) fn written(&self, parts: &[Part]) -> String {
        let mut out = String::new();
        for part in parts {
            self.write(part, &mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn margin(columns: Option<usize>) -> Margin {
        Margin { first: "a │ ".to_owned(), rest: "  ┆ ".to_owned(), width: 4, columns, alone: false }
    }

    fn shown(pieces: &[&[u8]], columns: Option<usize>) -> String {
        let mut lines = Lines::default();
        let mut parts: Vec<Part> = pieces.iter().flat_map(|piece| lines.push(piece)).collect();
        parts.extend(lines.finish());
        margin(columns).written(&parts)
    }

    #[test]
    fn lines_are_escaped_and_put_together_across_cuts() {
        assert_eq!(shown(&[b"one\ntw", b"o\x1b[31m \xc3", b"\xa9"], None), "a │ one\na │ two\\x1b[31m é\n");
        assert_eq!(shown(&[b"\n\n"], None), "a │ \na │ \n");
    }

    #[test]
    fn a_wrapped_line_never_reaches_the_edge() {
        let fake = format!("{}✓ web-1 (1) exit 0", "x".repeat(16));
        assert_eq!(
            shown(&[fake.as_bytes()], Some(20)),
            "a │ xxxxxxxxxxxxxxxx\n  ┆ ✓ web-1 (1) exit\n  ┆  0\n"
        );
    }

    #[test]
    fn a_line_without_end_is_cut_and_says_so() {
        let mut lines = Lines::default();
        let mut shown = String::new();
        for _ in 0..1000 {
            shown += &margin(None).written(&lines.push(&[b'x'; 100]));
            assert!(lines.held.len() <= LINE_BYTES_MAX);
        }
        shown += &margin(None).written(&lines.push(b"\nnext\n"));
        assert!(shown.starts_with("a │ xxx") && shown.contains("xx…\na │ …xx"), "{}", &shown[..200]);
        assert!(shown.ends_with("x\na │ next\n"));
        assert_eq!(shown.matches('x').count(), 100_001, "and the x of next");
    }

    proptest! {
        #[test]
        fn every_row_has_its_margin_and_fits(bytes in any::<Vec<u8>>(), text in any::<String>(), columns in 8_usize..60) {
            let bytes = [text.as_bytes(), &bytes].concat();
            for row in shown(&[&bytes], Some(columns)).lines() {
                prop_assert!(row.starts_with("a │ ") || row.starts_with("  ┆ "), "{row:?}");
                prop_assert!(escape::width(row) <= columns, "{row:?}");
            }
        }
    }
}
