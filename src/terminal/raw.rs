//! What a terminal gets of a host's own bytes where a person asked for just those.
//!
//! A command without a terminal of its own colours its words and redraws a line to show progress; both
//! stay. Everything else that a terminal would act on is dropped: the clipboard, titles and their
//! reports, device queries that make the terminal type, modes, other screens and, so that nobody
//! writes over what this program said, every movement that leaves the line. What is no command but
//! hides or reorders text is written out, as [`super::escape`] does it.
//!
//! A list of what may pass, not of what may not: a terminal's next invention is dropped too. The states
//! are those of Paul Williams's parser (<https://vt100.net/emu/dec_ansi_parser>), but for one: a string that never
//! ends does, at its line's end, because its beginning was dropped and so nothing is waiting for its end.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

use super::escape::{self, MARKS_IN_A_ROW_MAX};

/// Longest parameters of a sequence that passes, in bytes.
const PARAMETERS_BYTES_MAX: usize = 64;

/// Filters a stream that arrives in pieces, whose cuts may fall inside a character or a sequence.
#[derive(Debug)]
pub struct Filter {
    color: bool,
    held: Vec<u8>,
    state: State,
    parameters: String,
    marks: usize,
    coloured: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Text.
    Ground,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate.
    Designation,
    /// After CSI.
    Control,
    /// Inside of OSC, DCS, SOS, PM or APC.
    Text,
}

impl Filter {
    /// A stream that has had no bytes. `color`: whether the host's colours pass.
    #[must_use]
    pub fn new(color: bool) -> Self {
        Self {
            color,
            held: Vec::new(),
            state: State::Ground,
            parameters: String::new(),
            marks: 0,
            coloured: false,
        }
    }

    /// Filters the next piece. A character or sequence that the piece cuts comes with the next one.
    pub fn push(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        let keep = bytes.len() - escape::cut_character(&bytes);
        self.held = bytes.split_off(keep);
        self.bytes(&bytes)
    }

    /// Ends the stream, and the colours that it left on.
    pub fn finish(mut self) -> String {
        let held = std::mem::take(&mut self.held);
        let mut out = self.bytes(&held);
        if self.coloured {
            out.push_str("\x1b[0m");
        }
        out
    }

    fn bytes(&mut self, bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                self.char(c, &mut out);
            }
            for byte in chunk.invalid() {
                // No letter and no command in UTF-8; a terminal that is not in UTF-8 could obey it.
                self.state = State::Ground;
                self.marks = 0;
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
        out
    }

    fn char(&mut self, c: char, out: &mut String) {
        match (self.state, c) {
            (_, '\x1b') => self.state = State::Escape,
            (State::Text, '\x07' | '\u{9c}' | '\n') => {
                self.state = State::Ground;
                out.push_str(if c == '\n' { "\n" } else { "" });
            }
            // These abandon whatever was begun.
            (_, '\x18' | '\x1a') => self.state = State::Ground,
            (State::Text, _) => {}
            // A terminal obeys these inside of a sequence too.
            (_, '\n' | '\r' | '\t' | '\x08') => {
                if self.state != State::Control {
                    self.state = State::Ground;
                }
                self.marks = 0;
                out.push(c);
            }
            (_, '\u{9b}') | (State::Escape, '[') => {
                self.state = State::Control;
                self.parameters.clear();
            }
            (_, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') | (State::Escape, ']' | 'P' | 'X' | '^' | '_') => {
                self.state = State::Text;
            }
            (State::Escape | State::Designation, ' '..='/') => self.state = State::Designation,
            // One letter or digit after ESC ends it; so does the backslash that ends a string.
            (State::Escape | State::Designation, '0'..='~') => self.state = State::Ground,
            (State::Control, ' '..='?') => {
                if self.parameters.len() <= PARAMETERS_BYTES_MAX {
                    self.parameters.push(c);
                }
            }
            (State::Control, '@'..='~') => {
                self.state = State::Ground;
                self.command(c, out);
            }
            // No part of any sequence: it was none, and this is a letter again.
            (..) => {
                self.state = State::Ground;
                self.letter(c, out);
            }
        }
    }

    fn letter(&mut self, c: char, out: &mut String) {
        if c.is_control() {
            return;
        }
        let mark = c.width() == Some(0);
        self.marks = if mark { self.marks + 1 } else { 0 };
        if escape::is_hidden(c) || self.marks > MARKS_IN_A_ROW_MAX {
            self.marks = 0;
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }

    fn command(&mut self, last: char, out: &mut String) {
        let parameters = self.parameters.as_str();
        let plain = parameters.len() <= PARAMETERS_BYTES_MAX
            && parameters.bytes().all(|byte| byte.is_ascii_digit() || byte == b';' || byte == b':');
        let passes = match last {
            'm' => plain && self.color,
            // Erase in the line; right, left and to a column of it.
            'K' | 'C' | 'D' | 'G' => plain,
            _ => false,
        };
        if passes {
            let _ = write!(out, "\x1b[{parameters}{last}");
            if last == 'm' {
                self.coloured = !matches!(parameters, "" | "0");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filtered(bytes: &[u8]) -> String {
        let mut filter = Filter::new(true);
        let mut out = filter.push(bytes);
        out.push_str(&filter.finish());
        out
    }

    #[test]
    fn what_would_write_the_clipboard_or_make_the_terminal_type_is_dropped() {
        for sent in [
            "\x1b]52;c;cm0gLXJmIC8=\x07",
            "\x1b]52;c;?\x1b\\",
            "\u{9d}52;c;cm0=\u{9c}",
            "\x1b]0;title\x07",
            "\x1b[21t",
            "\x1b[c",
            "\x1b[>c",
            "\x1b[=c",
            "\u{9b}c",
            "\x1b[5n",
            "\x1b[6n",
            "\x1b[?6n",
            "\x1bP$qm\x1b\\",
            "\x1bP+q544e\x1b\\",
            "\u{90}$q\"p\u{9c}",
            "\x1b[?1049h",
            "\x1b[2J\x1b[H",
            "\x1b[1A",
            "\x1b[3;4H",
            "\x1bM",
            "\x1b7\x1b8\x1bc",
            "\x1b[?2004h",
            "\x1b[?1000h",
            "\x1b]8;;http://x\x1b\\\x1b]8;;\x1b\\",
            "\x1b(0",
            "\x1b%@",
            "\x1b_G payload\x1b\\",
            "\x1b^pm\x1b\\",
            "\x1bXsos\x1b\\",
            "\x05\x07\x0e\x0f\x00\x7f\x0b\x0c",
            "\x1b]4;1;?\x07",
            "\x1b[14t",
            "\x1b[0x",
        ] {
            assert_eq!(filtered(format!("a{sent}z").as_bytes()), "az", "{sent:?}");
        }
    }

    #[test]
    fn colours_and_a_line_that_redraws_itself_stay() {
        for sent in ["\x1b[1;31mred\x1b[0m", "\x1b[38:2:1:2:3mx\x1b[m", "10%\r\x1b[K20%", "ab\x08c\x1b[5Gd\n"]
        {
            assert_eq!(filtered(sent.as_bytes()), sent);
        }
        assert_eq!(filtered(b"\x1b[31mred"), "\x1b[31mred\x1b[0m", "what was left on is ended");
    }

    #[test]
    fn without_colour_colours_go_too() {
        let mut filter = Filter::new(false);
        assert_eq!(filter.push(b"\x1b[31mred\x1b[0m\n"), "red\n");
        assert_eq!(filter.finish(), "");
    }

    #[test]
    fn what_hides_or_is_no_text_is_written_out() {
        assert_eq!(filtered("txt.\u{202e}exe".as_bytes()), "txt.\\u{202e}exe");
        assert_eq!(filtered(b"\xff\x9b31m \xe2\x82"), "\\xff\\x9b31m \\xe2\\x82");
        assert_eq!(filtered("Zürich 東京".as_bytes()), "Zürich 東京");
    }

    #[test]
    fn a_string_that_never_ends_costs_its_line_and_no_more() {
        assert_eq!(filtered(b"a\x1b]0;never\nb\n"), "a\nb\n");
        assert_eq!(filtered(b"a\x1b[12\nb"), "a\n", "a sequence goes on after a line end, as in a terminal");
        assert_eq!(filtered(b"a\x1b["), "a");
        let long = format!("\x1b[{}m", "1;".repeat(100));
        assert_eq!(filtered(long.as_bytes()), "");
    }

    /// What stands after each ESC of `text`.
    fn commands(text: &str) -> impl Iterator<Item = &str> {
        text.split('\x1b').skip(1)
    }

    proptest! {
        #[test]
        fn nothing_passes_but_what_is_listed(bytes in prop::collection::vec(prop_oneof![
            any::<u8>(), prop::sample::select(b"\x1b[]P\\;0123456789mKGCDHJ?\x07\n\x9b\x9d\xc2".to_vec()),
        ], 0..200)) {
            let out = filtered(&bytes);
            for command in commands(&out) {
                let rest = command.strip_prefix('[').unwrap_or("!");
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';' && c != ':');
                let last = end.and_then(|at| rest[at..].chars().next());
                prop_assert!(matches!(last, Some('m' | 'K' | 'C' | 'D' | 'G')), "{out:?}");
            }
            prop_assert!(!out.chars().any(|c| c.is_control() && !"\x1b\n\r\t\x08".contains(c)), "{out:?}");
        }

        #[test]
        fn pieces_read_as_the_whole(bytes in any::<Vec<u8>>(), text in any::<String>(), size in 1_usize..7) {
            let bytes = [text.as_bytes(), b"\x1b[31m\x1b]52;c;x\x07", &bytes].concat();
            let mut filter = Filter::new(true);
            let mut out: String = bytes.chunks(size).map(|piece| filter.push(piece)).collect();
            out.push_str(&filter.finish());
            prop_assert_eq!(out, filtered(&bytes));
        }
    }
}
