//! The one renderer of text that a host chose.
//!
//! What would move the cursor, change its colour, hide, reorder or fake text is written out instead:
//! `\x1b`, `\u{202e}`. That covers C0 and C1 controls, DEL, bidirectional controls, zero-width and
//! other invisible characters, line and paragraph separators, and bytes that are not UTF-8. A
//! backslash stays as it is: paths and patterns must stay readable, so what is written out can be
//! told from the same text sent as such only in JSON, which is lossless.
//!
//! Combining marks are letters to most of the world and stay, but at most
//! [`MARKS_IN_A_ROW_MAX`] on one letter: more of them cover the lines above.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Characters without width that may follow one another before the rest is written out.
pub const MARKS_IN_A_ROW_MAX: usize = 4;

/// What a text may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// One line: tabs and line ends are written out.
    Line,
    /// Several lines: tabs and line feeds stay.
    Block,
    /// A cell of a table: as a line, and nothing that looks like the edge of a column.
    Cell,
}

/// Makes `text` safe on one line: tabs and line ends are written out.
#[must_use]
pub fn line(text: &str) -> String {
    let mut writer = Writer::new(Keep::Line);
    writer.text(text);
    writer.out
}

/// Makes `text` safe as several lines: tabs and line feeds stay, carriage returns do not.
#[must_use]
pub fn block(text: &str) -> String {
    let mut writer = Writer::new(Keep::Block);
    writer.text(text);
    writer.out
}

/// Makes `text` safe in a table: as [`line()`], and what could pass for the edge of a column or for
/// a mark of this program (spaces in a row or at an end, other kinds of space, ✓ and ✗) is written out.
#[must_use]
pub fn cell(text: &str) -> String {
    let inner = text.trim_matches(' ');
    let mut writer = Writer::new(Keep::Cell);
    let (before, after) = match text.find(inner) {
        Some(at) if !inner.is_empty() => (at, text.len() - at - inner.len()),
        _ => (text.len(), 0),
    };
    writer.out.push_str(&"\\x20".repeat(before));
    writer.text(inner);
    writer.out.push_str(&"\\x20".repeat(after));
    writer.out
}

/// As [`line()`], for bytes: those that are not UTF-8 are written as `\xNN`.
#[must_use]
pub fn line_bytes(bytes: &[u8]) -> String {
    let mut writer = Writer::new(Keep::Line);
    writer.bytes(bytes);
    writer.out
}

/// As [`block()`], for bytes: those that are not UTF-8 are written as `\xNN`.
#[must_use]
pub fn block_bytes(bytes: &[u8]) -> String {
    let mut writer = Writer::new(Keep::Block);
    writer.bytes(bytes);
    writer.out
}

/// Escapes a stream that arrives in pieces, whose cuts may fall inside a character. Gives the same
/// text as [`block_bytes`] over the whole; holds at most three bytes.
#[derive(Debug)]
pub struct Stream {
    held: Vec<u8>,
    marks: usize,
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl Stream {
    /// A stream that has had no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self { held: Vec::new(), marks: 0 }
    }

    /// Escapes the next piece. A character that the piece cuts comes with the next one.
    pub fn push(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        let keep = bytes.len() - cut_character(&bytes);
        self.held = bytes.split_off(keep);
        self.write(&bytes)
    }

    /// Escapes what is still held: the stream ended inside a character.
    pub fn finish(mut self) -> String {
        let held = std::mem::take(&mut self.held);
        self.write(&held)
    }

    fn write(&mut self, bytes: &[u8]) -> String {
        let mut writer = Writer::new(Keep::Block);
        writer.marks = self.marks;
        writer.bytes(bytes);
        self.marks = writer.marks;
        writer.out
    }
}

/// How many bytes at the end of `bytes` begin a character that is not complete.
pub(super) fn cut_character(bytes: &[u8]) -> usize {
    match bytes.utf8_chunks().last() {
        // An invalid part that more bytes could complete: it is at the end and is a proper beginning.
        Some(chunk) if std::str::from_utf8(chunk.invalid()).is_err_and(|e| e.error_len().is_none()) => {
            chunk.invalid().len()
        }
        _ => 0,
    }
}

/// How many terminal columns `text` takes. For text that was escaped.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// Cuts escaped `text` to at most `columns` terminal columns; a cut shows as `…`.
#[must_use]
pub fn clamp(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    if columns == 0 {
        return out;
    }
    for c in text.chars() {
        out.push(c);
        // The whole is measured, since the width of a sequence is not always the sum of its parts.
        if width(&out) > columns - 1 {
            out.pop();
            break;
        }
    }
    out.push('…');
    out
}

/// Whether `c` shows nothing, or changes how its neighbours show.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

struct Writer {
    out: String,
    keep: Keep,
    marks: usize,
    after_space: bool,
}

impl Writer {
    fn new(keep: Keep) -> Self {
        Self { out: String::new(), keep, marks: 0, after_space: false }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            self.text(chunk.valid());
            for byte in chunk.invalid() {
                self.hex(u32::from(*byte));
            }
        }
    }

    fn text(&mut self, text: &str) {
        for c in text.chars() {
            self.char(c);
        }
    }

    fn char(&mut self, c: char) {
        let space_again = self.after_space && c == ' ' && self.keep == Keep::Cell;
        self.after_space = c == ' ';
        match c {
            '\n' | '\t' if self.keep == Keep::Block => {
                self.marks = 0;
                self.out.push(c);
            }
            '\n' => self.written_out("\\n"),
            '\t' => self.written_out("\\t"),
            '\r' => self.written_out("\\r"),
            _ if space_again || is_hidden(c) || (self.keep == Keep::Cell && is_edge(c)) => self.code(c),
            _ if c.width() == Some(0) => {
                self.marks += 1;
                if self.marks > MARKS_IN_A_ROW_MAX { self.code(c) } else { self.out.push(c) }
            }
            _ => {
                self.marks = 0;
                self.out.push(c);
            }
        }
    }

    fn written_out(&mut self, text: &str) {
        self.marks = 0;
        self.out.push_str(text);
    }

    fn code(&mut self, c: char) {
        if c.is_ascii() {
            self.hex(u32::from(c));
        } else {
            let _ = write!(self.out, "\\u{{{:x}}}", u32::from(c));
        }
    }

    fn hex(&mut self, byte: u32) {
        self.marks = 0;
        let _ = write!(self.out, "\\x{byte:02x}");
    }
}

/// Whether `c` could pass for the gap between two columns, or for one of this program's marks.
fn is_edge(c: char) -> bool {
    (c.is_whitespace() && c != ' ') || matches!(c, '✓' | '✗' | '│' | '┃' | '…')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        for (sent, shown) in [
            ("\x1b[2J\x1b[1;1H", "\\x1b[2J\\x1b[1;1H"),
            ("\x1b]52;c;cm0gLXJmIC8=\x07", "\\x1b]52;c;cm0gLXJmIC8=\\x07"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\x7f\x08\x00", "\\x7f\\x08\\x00"),
            ("safe\rEVIL", "safe\\rEVIL"),
            ("txt.\u{202e}exe", "txt.\\u{202e}exe"),
            ("\u{2066}\u{2069}", "\\u{2066}\\u{2069}"),
            ("ad\u{200b}min\u{feff}\u{2060}", "ad\\u{200b}min\\u{feff}\\u{2060}"),
            ("a\u{2028}b\u{2029}c\u{85}d", "a\\u{2028}b\\u{2029}c\\u{85}d"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
        ] {
            assert_eq!(line(sent), shown);
            assert_eq!(block(sent), shown);
        }
    }

    #[test]
    fn only_a_block_keeps_tabs_and_line_ends() {
        assert_eq!(line("a\tb\nc\r\n"), "a\\tb\\nc\\r\\n");
        assert_eq!(block("a\tb\nc\r\n"), "a\tb\nc\\r\n");
    }

    #[test]
    fn text_of_the_world_stays_as_it_is() {
        for text in ["Zürich", "東京", "Việt Nam", "e\u{301}te\u{301}", "🦀", "C:\\dir", "a b  c"] {
            assert_eq!(line(text), text);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_in_hex() {
        assert_eq!(line_bytes(b"ok \xff\xc3( \xe2\x82"), "ok \\xff\\xc3( \\xe2\\x82");
        assert_eq!(line_bytes("é\x1b".as_bytes()), "é\\x1b");
        // A C1 control as a single byte, which a Latin-1 terminal would obey.
        assert_eq!(block_bytes(b"\x9b31m"), "\\x9b31m");
    }

    #[test]
    fn marks_piled_on_one_letter_are_written_out() {
        let piled = format!("z{}", "\u{301}".repeat(200));
        let shown = line(&piled);
        assert_eq!(shown.chars().filter(|c| *c == '\u{301}').count(), MARKS_IN_A_ROW_MAX);
        assert!(shown.ends_with("\\u{301}"));
    }

    #[test]
    fn a_cell_cannot_fake_a_column_beside_it() {
        assert_eq!(cell("web-1   ✓ up"), "web-1 \\x20\\x20\\u{2713} up");
        assert_eq!(cell("  a "), "\\x20\\x20a\\x20");
        assert_eq!(cell("a\u{a0}\u{3000}b"), "a\\u{a0}\\u{3000}b");
        assert_eq!(cell("   "), "\\x20\\x20\\x20");
        assert_eq!(cell("two words"), "two words");
        assert_eq!(cell(""), "");
    }

    #[test]
    fn a_cut_shows_and_never_exceeds_its_columns() {
        assert_eq!(clamp("abcdef", 6), "abcdef");
        assert_eq!(clamp("abcdefg", 6), "abcde…");
        assert_eq!(clamp("東京都庁", 6), "東京…");
        assert_eq!(clamp("東京", 1), "…");
        assert_eq!(clamp("abc", 0), "");
    }

    proptest! {
        #[test]
        fn nothing_hidden_survives(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            for shown in [line(&text), cell(&text), line_bytes(&bytes), line_bytes(text.as_bytes())] {
                prop_assert!(!shown.chars().any(is_hidden), "{shown:?}");
            }
            for shown in [block(&text), block_bytes(&bytes)] {
                prop_assert!(!shown.chars().any(|c| is_hidden(c) && c != '\n' && c != '\t'), "{shown:?}");
            }
        }

        #[test]
        fn a_clamped_text_fits(text in any::<String>(), columns in 0_usize..40) {
            prop_assert!(width(&clamp(&line(&text), columns)) <= columns);
        }

        #[test]
        fn pieces_read_as_the_whole(text in any::<String>(), mut bytes in any::<Vec<u8>>(), size in 1_usize..7) {
            bytes.splice(0..0, text.bytes());
            let mut stream = Stream::new();
            let mut shown = String::new();
            for piece in bytes.chunks(size) {
                shown.push_str(&stream.push(piece));
                prop_assert!(stream.held.len() <= 3);
            }
            shown.push_str(&stream.finish());
            prop_assert_eq!(shown, block_bytes(&bytes));
        }
    }
}
