//! Text in rows of a terminal's width, wrapped by this program and not by the terminal.
//!
//! A terminal goes on at its left edge, where this program's own marks stand; what a host said must never
//! begin there. So what is wider than the room it has is cut into rows here, and whoever asks puts its
//! margin before each. All text was escaped before: there is no control character but the tab in it.

use unicode_width::UnicodeWidthChar as _;

/// How far tabs reach.
const TAB_COLUMNS: usize = 8;

/// Cuts one escaped line into rows of at most `columns` terminal columns (at least 2), wherever they are
/// full, as a terminal would. Tabs become spaces. An empty line is one empty row.
#[must_use]
pub fn hard(line: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let (mut rows, mut row, mut width) = (Vec::new(), String::new(), 0);
    for c in line.chars() {
        // A mark without width belongs to what stands before it, also at the end of a full row. What a
        // sequence measures as a whole is never more than the sum of its parts, so rows never exceed.
        let wide = if c == '\t' { TAB_COLUMNS - width % TAB_COLUMNS } else { c.width().unwrap_or(1) };
        if width + wide > columns && width > 0 && wide > 0 {
            rows.push(std::mem::take(&mut row));
            width = 0;
        }
        if c == '\t' {
            let gap = wide.min(columns - width);
            row.extend(std::iter::repeat_n(' ', gap));
            width += gap;
        } else {
            row.push(c);
            width += wide;
        }
    }
    rows.push(row);
    rows
}

/// As [`hard`], for sentences: rows end between words, where a word is not longer than a row.
#[must_use]
pub fn soft(line: &str, columns: usize) -> Vec<String> {
    let (mut rows, mut row) = (Vec::new(), String::new());
    for word in line.split(' ') {
        let room = super::escape::width(&row) + 1 + super::escape::width(word);
        if !row.is_empty() && room > columns.max(2) {
            rows.push(std::mem::take(&mut row));
        } else if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    rows.push(row);
    rows.iter().flat_map(|row| hard(row, columns)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::terminal::escape;

    #[test]
    fn rows_are_full_and_wide_letters_stay_whole() {
        assert_eq!(hard("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(hard("東京都", 5), ["東京", "都"]);
        assert_eq!(hard("", 5), [""]);
        assert_eq!(hard("a\tb", 20), ["a       b"]);
        assert_eq!(hard("abcde\u{301}f", 5), ["abcde\u{301}", "f"]);
        assert_eq!(hard("東", 1), ["東"]);
    }

    #[test]
    fn sentences_break_between_words_and_long_words_anyway() {
        assert_eq!(
            soft("exit 0 · 0.4s · differs in 1 line", 16),
            ["exit 0 · 0.4s ·", "differs in 1", "line"]
        );
        assert_eq!(soft("a-very-long-name b", 6), ["a-very", "-long-", "name", "b"]);
    }

    proptest! {
        #[test]
        fn no_row_is_wider_than_its_room_and_nothing_is_lost(text in "\\PC*", columns in 2_usize..90) {
            let text = escape::line(&text);
            let rows = hard(&text, columns);
            prop_assert!(rows.iter().all(|row| escape::width(row) <= columns), "{rows:?}");
            prop_assert_eq!(rows.concat(), text.clone());
            prop_assert!(soft(&text, columns).iter().all(|row| escape::width(row) <= columns));
        }
    }
}
