//! Lines that are too long for a terminal, broken between words.

use super::escape;

/// With less room than this beside an indent, what follows the first line is indented by less.
const ROOM_MIN: usize = 24;
/// That less.
const INDENT_LEAST: usize = 4;

/// Breaks escaped `text`, which begins in column `at`, between words so that it fits into `columns`; the lines
/// after the first are indented to `at`, or a little where that leaves no room. A word that is longer than a
/// line (a path, a key) is not broken: it is there to be copied. Without `columns` nothing is broken.
#[must_use]
pub fn wrapped(text: &str, at: usize, columns: Option<usize>) -> String {
    let Some(columns) = columns else { return text.to_owned() };
    let indent = if columns < at.saturating_add(ROOM_MIN) { INDENT_LEAST.min(columns / 4) } else { at };
    let mut out = String::new();
    let (mut column, mut fresh) = (at, true);
    for (place, word) in text.split(' ').enumerate() {
        let width = escape::width(word);
        let gap = usize::from(!fresh);
        // Where a whole line would hold no more than this one, breaking helps nobody.
        if column + gap + width > columns && column > indent && (place > 0 || at > indent) {
            while out.ends_with(' ') {
                out.pop();
            }
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if place > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
        fresh = false;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_broken_between_words_and_indented() {
        assert_eq!(wrapped("one two three four", 2, Some(40)), "one two three four");
        assert_eq!(wrapped("one two three four", 10, Some(34)), "one two three four");
        assert_eq!(
            wrapped("a long line of some words", 10, Some(34)),
            "a long line of some\n          words"
        );
        assert_eq!(wrapped("a long line", 10, None), "a long line");
    }

    #[test]
    fn a_narrow_terminal_gets_a_small_indent_and_no_word_is_cut() {
        let text = "fix: chmod 600 /var/lib/muster/executor/executor.key";
        let narrow = wrapped(text, 24, Some(20));
        assert_eq!(narrow, "\n    fix: chmod 600\n    /var/lib/muster/executor/executor.key");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&narrow), words(text));
        for columns in 0..60 {
            for at in 0..30 {
                let broken = wrapped(text, at, Some(columns));
                assert_eq!(words(&broken), words(text), "{columns} {at}");
                for line in broken.lines().skip(1) {
                    let alone = line.split_whitespace().count() == 1;
                    assert!(alone || escape::width(line) <= columns, "{columns} {at}: {line:?}");
                }
            }
        }
    }
}
